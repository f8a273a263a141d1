"""Bytes become lines as they come, and an Output at the end."""

from __future__ import annotations

from collections.abc import Callable

LONGEST = 1 << 16  # a line without an end is told in pieces: it must not eat the memory


class Lines:
    """Cuts one stream into lines for `on_line`, and keeps its bytes: all, or the last `keep`."""

    def __init__(self, on_line: Callable[[str], None] | None, keep: int | None) -> None:
        self._on_line = on_line
        self._keep = keep
        self._kept = bytearray()
        self._open = bytearray()

    def feed(self, data: bytes) -> None:
        self._kept += data
        if self._keep is not None and len(self._kept) > 2 * self._keep + LONGEST:
            del self._kept[: len(self._kept) - self._keep]
        if self._on_line is None:
            return
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._tell(bytes(self._open) + line)
            self._open.clear()
        self._open += rest
        while len(self._open) > LONGEST:
            self._tell(bytes(self._open[:LONGEST]))
            del self._open[:LONGEST]

    def close(self) -> bytes:
        """Tell the last line where it has no end, and give what was kept."""
        if self._open:
            self._tell(bytes(self._open))
            self._open.clear()
        if self._keep is not None:
            del self._kept[: max(0, len(self._kept) - self._keep)]
        return bytes(self._kept)

    def _tell(self, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(line.removesuffix(b"\r").decode(errors="replace"))
