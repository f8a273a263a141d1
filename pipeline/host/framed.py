"""A command's own bytes, cut out of what comes through its channel: behind the first token, before the last."""

from __future__ import annotations

import re

from pipeline.host.lines import Lines

BANNER = 4096  # bytes of what came before the token that are kept, to quote them


class Framed:
    """One stream of a command under ssh_wrap.sh. `code` is set once its last line is there: an exit code, or -1 for ended."""

    def __init__(self, token: bytes, lines: Lines) -> None:
        self._token = token
        self._lines = lines
        self._held = b""
        self._last = re.compile(re.escape(token) + rb" (\d+|ended)\n")
        self.begun = False
        self.banner = b""
        self.code: int | None = None

    def feed(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        if not self.begun:
            before, mark, data = data.partition(self._token + b"\n")
            if not mark:
                self.banner = before[-BANNER:]
                self._held = before[-max(BANNER, len(self._token)) :]
                return
            self.banner = before[-BANNER:]
            self.begun = True
        if match := self._last.search(data):
            self._lines.feed(data[: match.start()])
            self.code = -1 if match[1] == b"ended" else int(match[1])
            self._held = data[match.end() :]
            return
        keep = self._begins(data)
        self._lines.feed(data[: len(data) - keep])
        self._held = data[len(data) - keep :]

    @property
    def held(self) -> bytes:
        """What has come and belongs to nobody yet."""
        return self._held if self.begun else self.banner

    def _begins(self, data: bytes) -> int:
        """How many of the last bytes may be the start of the last line."""
        at = data.rfind(self._token)
        if at >= 0 and len(data) - at < len(self._token) + 8:
            return len(data) - at
        longest = min(len(self._token) - 1, len(data))
        return next((count for count in range(longest, 0, -1) if data.endswith(self._token[:count])), 0)
