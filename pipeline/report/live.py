"""The live view on a terminal: a row a stage, redrawn in place while the run goes on, a compact summary when it has ended.

rich draws it, and is loaded only once something has lasted long enough to be worth watching: a run that finds everything there ends
before, and prints its summary without it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.events import Event, What
from pipeline.report.frame import ASCII, RICH, Line, coloured, frame, plain, summary, warning
from pipeline.report.progress import Progress, after

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

PATIENCE = 0.3  # seconds that a look or an act may last before the live view is worth loading
PER_SECOND = 8


class LiveSink:
    """Shows a run on the terminal `stream`. Safe for threads; `explained` says that an error was told in full.

    `now` is wall time, as in events; `width` (columns) is the terminal's where it is not given.
    """

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.time, width: int = 0, patience: float = PATIENCE) -> None:
        self.stream = stream
        self.explained = False
        self.progress = Progress()
        self._now = now
        self._width = width
        self._patience = patience
        self._colour = not os.environ.get("NO_COLOR")
        self._unicode = "utf" in (stream.encoding or "utf-8").lower()
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._live: Live | None = None
        self._warned = 0
        self._closed = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.progress = after(self.progress, event)
            if event.what in (What.LOOK, What.ACT) and self._timer is None:
                self._timer = threading.Timer(self._patience, self._start)
                self._timer.daemon = True
                self._timer.start()
            elif self._timer and self._live is None and not any(row.active for row in self.progress.rows):
                self._timer.cancel()
                self._timer = None
            if event.what is What.WARN:
                self._warn()

    def close(self) -> None:
        """End the view and leave the summary. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._timer:
                self._timer.cancel()
            live, self._live = self._live, None
        if live:
            live.stop()
        for line in summary(self.progress, self._now(), self._columns()):
            self._write(line)
        self.explained = self.progress.failure is not None
        self.stream.flush()

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with self._lock:
            if self._closed or self._live:
                return
            console = Console(
                file=self.stream, force_terminal=True, highlight=False, markup=False, no_color=not self._colour, width=self._width or None
            )
            self._live = Live(
                get_renderable=self._view,
                console=console,
                refresh_per_second=PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _view(self) -> Text:
        """Called by rich's own thread, which holds rich's lock: to wait for ours here would be a deadlock, and what is read is frozen."""
        live = self._live
        width = live.console.width if live else self._columns()
        return text(frame(self.progress, self._now(), width - 1), self._shown)

    def _warn(self) -> None:
        stage, said = self.progress.warnings[-1]
        lines = warning(stage, said, self._columns() - 1)
        if self._live:
            self._live.console.print(text(lines, self._shown))
        else:
            for line in lines:
                self._write(line)

    def _write(self, line: Line) -> None:
        self.stream.write(self._shown(coloured(line) if self._colour else plain(line)) + "\n")

    def _shown(self, value: str) -> str:
        return value if self._unicode else value.translate(ASCII)

    def _columns(self) -> int:
        if self._width:
            return self._width
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return shutil.get_terminal_size().columns


def text(lines: list[Line], shown: Callable[[str], str] = str) -> Text:
    """The lines for rich, never read as markup."""
    from rich.text import Text

    found: Any = Text(no_wrap=True, overflow="ellipsis", end="")
    for number, line in enumerate(lines):
        found.append("\n" if number else "")
        for span in line:
            found.append(shown(span.text), style=RICH[span.style])
    return found  # type: ignore[no-any-return]  # Text, loaded late
