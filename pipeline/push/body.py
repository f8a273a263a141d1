"""A request's body as a client sends it: counted or chunked, read in pieces, never whole unless it is small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from io import BufferedIOBase

from pipeline.tools.registry import MANIFEST_CAP

PIECE = 256 * 1024  # bytes moved at once
LINE = 64 * 1024  # bytes of a chunk's head


class ClientGone(Exception):
    """The client went away in the middle of a request: nobody is left to be told."""


@dataclass(frozen=True)
class Body:
    """How the client sends its body: `length` bytes or chunked; `held` are its bytes where it is small, and can be sent twice."""

    stream: BufferedIOBase
    length: int
    chunked: bool
    held: bytes | None = None

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; small chunks are gathered into larger pieces. Raises ClientGone where it ends early."""
        return self._chunks() if self.chunked else self._counted(self.length)

    def _counted(self, length: int) -> Iterator[bytes]:
        while length > 0:
            piece = self._read(min(length, PIECE))
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        gathered = bytearray()
        while True:
            try:
                length = int(self._line().partition(b";")[0], 16)
            except ValueError:
                raise ClientGone from None
            if length == 0:
                while self._line() not in (b"\r\n", b"\n", b""):
                    pass
                break
            for piece in self._counted(length):
                gathered += piece
            self._line()
            if len(gathered) >= PIECE:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    def _read(self, size: int) -> bytes:
        try:
            piece = self.stream.read(size)
        except OSError as error:
            raise ClientGone from error
        if not piece:
            raise ClientGone
        return piece

    def _line(self) -> bytes:
        try:
            return self.stream.readline(LINE)
        except OSError as error:
            raise ClientGone from error


def incoming(stream: BufferedIOBase, headers: Mapping[str, str] | Message, *, manifest: bool) -> Body | None:
    """The body that these headers announce. A manifest is held; None where it is too large or has no length, or the length is no number."""
    length = headers.get("Content-Length", "0")
    chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    if not (length.isascii() and length.isdigit()) or (manifest and (chunked or int(length) > MANIFEST_CAP)):
        return None
    body = Body(stream, int(length), chunked)
    if chunked or (body.length and not manifest):
        return body
    return Body(stream, body.length, chunked, b"".join(body.pieces()))
