"""A stream that cannot fail: whoever listened may go away in the middle of a deploy, and the deploy goes on."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


class Steady:
    """`stream`, as far as a face needs it. What its encoding cannot say is escaped; once it is broken (a closed pipe, a terminal that
    is gone) it is led to nowhere, so that neither a write nor the flush at the end of the process fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        except (OSError, ValueError):
            self._nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._nowhere()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _nowhere(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
