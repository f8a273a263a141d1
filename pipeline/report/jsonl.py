"""Events as JSON lines, and back: one object a line, with a schema_version, in ASCII so that nothing in it can reach a terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from pipeline.artifacts import Artifact, to_json
from pipeline.errors import PipelineError
from pipeline.events import Event, What
from pipeline.report.progress import failure

VERSION = 1


class JsonSink:
    """Writes each event as one line, at once. Safe for threads; `explained` says that an error was told in full."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.explained = False
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = dumps(event)
        with self._lock:
            self.explained |= event.what is What.FAILED
            self.stream.write(line + "\n")
            self.stream.flush()

    def close(self) -> None:
        self.stream.flush()


def dumps(event: Event) -> str:
    """The event as one line of JSON."""
    data = {**event.data, "error": failure(event)} if isinstance(event.data.get("error"), PipelineError) else dict(event.data)
    value = {
        "schema_version": VERSION,
        "what": event.what.value,
        "stage": event.stage,
        "text": event.text,
        "at": round(event.at, 3),
        "data": data,
    }
    return json.dumps(value, default=_plain)


def loads(lines: Iterable[str]) -> Iterator[Event]:
    """The events that `dumps` wrote, artifacts as mappings. Raises ValueError where a line is none, or of a newer version."""
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            version = value["schema_version"]
            event = Event(What(value["what"]), value["stage"], value["text"], float(value["at"]), value["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} is no event") from error
        if version != VERSION:
            raise ValueError(f"line {number} has schema_version {version}, this reads {VERSION}")
        yield event


def _plain(value: Any) -> Any:
    return to_json(value) if isinstance(value, Artifact) else str(value)
