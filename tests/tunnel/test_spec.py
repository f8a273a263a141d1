"""What a blueprint may say of its route."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tunnel.cloudflare import TUNNEL, route


@pytest.mark.parametrize(
    "wrong",
    [
        {"hostname": "*.token.place"}, {"hostname": "staging"}, {"hostname": "a b.place"}, {"hostname": "A.place"},
        {"service": "traefik"}, {"service": "http://a/b"}, {"service": "ssh://a"}, {"service": "http://-a"}, {"service": "http://a;b"},
        {"tunnel": "staging"}, {"account": "x" * 32}, {"zone": "token.place"}, {"zone": "../accounts"}, {"host_header": "a\nb"},
        {"api": "http://api.cloudflare.com/client/v4"}, {"api": "http://127.0.0.1.example.org/"},
    ],
)  # fmt: skip
def test_i01_what_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        route(**wrong)


def test_the_name_that_the_cname_has() -> None:
    assert route().target == f"{TUNNEL}.cfargtunnel.com"
