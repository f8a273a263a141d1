"""The story as plain lines, for a pipe and a CI log: seconds since the start, stage, what happened."""

from __future__ import annotations

import threading
from typing import TextIO

from pipeline.events import Event, What
from pipeline.report.frame import explained, plain
from pipeline.report.progress import artifact_of, failure
from pipeline.report.words import duration, told
from pipeline.safe import clean, cut

LONGEST = 400  # columns of one line of a tool; the whole is in the stage's log
WIDE = 1 << 16  # an error is not wrapped in a pipe: whoever searches it finds it in one line
WORDS = {
    What.PLAN: "plan",
    What.FOUND: "found",
    What.ACT: "begins",
    What.WAIT: "now",
    What.WARN: "WARNING",
    What.RETRY: "retries",
    What.MADE: "made",
    What.FAILED: "FAILED",
    What.DONE: "done",
}


class PlainSink:
    """Writes a line as soon as something happens. Safe for threads; `explained` says that an error was told in full.

    Each line starts with columns of our own, the output of tools behind a bar: no line of a tool can pass for one of the pipeline's, or be
    the first thing in its line, where CI runners look for commands.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.explained = False
        self._since: float | None = None
        self._waits: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._since is None:
                self._since = event.at
            for line in self._lines(event):
                self.stream.write(line + "\n")
            self.stream.flush()

    def close(self) -> None:
        self.stream.flush()

    def _lines(self, event: Event) -> list[str]:
        head = f"{max(0.0, event.at - (self._since or 0.0)):7.1f} s  {clean(event.stage):<8}"
        if event.what is What.LOOK or (event.what is What.WAIT and self._waits.get(event.stage) == event.text):
            return []
        if event.what is What.LOG:
            return [f"{head}| {cut(clean(event.text), LONGEST)}"]
        if event.what is What.WAIT:
            self._waits[event.stage] = event.text
        found = [f"{head}{WORDS[event.what]:<8} {cut(clean(_text(event)), 5 * LONGEST)}".rstrip()]
        if event.what is What.FAILED:
            self.explained = True
            found += [plain(line) for line in explained(failure(event), "", WIDE)[1:]]
        return found


def _text(event: Event) -> str:
    data = event.data
    artifact = artifact_of(event)
    what = told(artifact) if artifact else event.text
    match event.what:
        case What.MADE | What.DONE if isinstance(data.get("seconds"), int | float):
            return f"{what}  ({duration(data['seconds'])})"
        case What.FOUND if artifact and event.text not in ("", artifact.id):
            return f"{what}  ({event.text})"
        case What.ACT if isinstance(data.get("usual"), int | float):
            return f"{what}  (usually {duration(data['usual'])})"
        case What.FAILED:
            told_of = failure(event)
            return f"{event.text}  [{told_of.get('kind', 'ERROR')}, exit {told_of.get('exit_code', 1)}]"
    return what
