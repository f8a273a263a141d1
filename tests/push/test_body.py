"""Bodies as clients send them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.push.body import PIECE, ClientGone, incoming

CHUNKED = {"Transfer-Encoding": "chunked"}


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_chunks_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\nnext"
    stream = io.BytesIO(sent)
    body = incoming(stream, CHUNKED, manifest=False)
    assert body is not None
    assert b"".join(body.pieces()) == b"".join(chunks)
    assert stream.read() == b"next"


def test_small_chunks_are_gathered_and_large_ones_kept_in_bounds() -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    body = incoming(io.BytesIO(chunk * 20 + b"0\r\n\r\n"), CHUNKED, manifest=False)
    assert body is not None
    sizes = [len(piece) for piece in body.pieces()]
    assert sizes == [PIECE, PIECE, 0x8000 * 4]


@given(st.integers(0, 5000))
def test_a_body_that_ends_early_is_no_body(cut: int) -> None:
    whole = b"800\r\n" + b"x" * 0x800 + b"\r\n800\r\n" + b"y" * 0x800 + b"\r\n"
    body = incoming(io.BytesIO(whole[:cut]), CHUNKED, manifest=False)
    assert body is not None
    with pytest.raises(ClientGone):
        list(body.pieces())


@pytest.mark.parametrize("headers", [{"Content-Length": "-1"}, {"Content-Length": "1e3"}, {"Content-Length": "²"}])
def test_lengths_that_are_no_numbers(headers: dict[str, str]) -> None:
    assert incoming(io.BytesIO(), headers, manifest=False) is None


def test_only_what_is_small_is_held() -> None:
    for headers, manifest, held in (({}, False, b""), ({"Content-Length": "3"}, True, b"abc"), ({"Content-Length": "3"}, False, None)):
        body = incoming(io.BytesIO(b"abc"), headers, manifest=manifest)
        assert body is not None
        assert body.held == held
