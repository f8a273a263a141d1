"""What `buildx build --progress rawjson` tells while it builds, as text for people and as the evidence for an error.

Each line is a JSON object of BuildKit's SolveStatus (github.com/moby/buildkit, client/graph.go): vertexes are the steps, statuses what
is transferred within one, logs their output in base64. A line that is not of that form is buildx's own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from datetime import datetime
from typing import Any

from pipeline import jsontext

LINES, OWN = 20, 200  # how much is remembered: of a step, of buildx itself
STEPS = 500  # steps that are remembered
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
QUIET = re.compile(r"\[(?:[^\]]* )?(?:internal|auth)\]")  # steps that are BuildKit's own


class BuildxLog:
    """Reads a build's output line by line and remembers little of it. `said` are buildx's own last lines, `failed` the output of the step
    that failed, `built` counts the steps that ran and `cached` those that did not have to."""

    def __init__(self) -> None:
        self.said: deque[str] = deque(maxlen=OWN)
        self.built = 0
        self.cached = 0
        self.failed: list[str] = []
        self._tails: dict[str, deque[str]] = {}
        self._running: dict[str, str] = {}
        self._over: set[str] = set()

    def feed(self, line: str) -> str | None:
        """The line as a person reads it, None where it is only for machines."""
        if not line.startswith("{"):
            self.said.append(line)
            return line if line.strip() else None
        try:
            status = jsontext.loads(line)
            told = [text for each in status.get("vertexes") or () for text in self._vertex(each)]
            told += [text for each in status.get("logs") or () for text in self._log(each)]
            told += [f"warning: {_decoded(each['short'])}" for each in status.get("warnings") or ()]
        except (ValueError, TypeError, KeyError, AttributeError):
            self.said.append(line)
            return line
        return "\n".join(told) if told else None

    @property
    def status(self) -> str:
        """What is under way, in one line."""
        return ", ".join(list(self._running.values())[-3:])

    def _vertex(self, vertex: dict[str, Any]) -> list[str]:
        key, name = str(vertex["digest"]), DIGEST.sub("", str(vertex.get("name", "")))
        quiet = bool(QUIET.match(name))
        if vertex.get("error"):
            self._running.pop(key, None)
            self.failed = list(self._tails.get(key, ()))
            return [] if key in self._over else self._end(key, f"{name}: failed")
        if vertex.get("completed"):
            self._running.pop(key, None)
            if key in self._over or not vertex.get("started"):
                return []
            seconds = _seconds(vertex["completed"]) - _seconds(vertex["started"])
            cached = bool(vertex.get("cached"))
            if name.startswith("[") and not quiet and " FROM " not in name:
                self.cached += cached
                self.built += not cached
            return self._end(key, f"{name}: " + ("cached" if cached else f"{seconds:.1f} s"), quiet)
        if vertex.get("started"):
            self._over.discard(key)
            if not quiet:
                self._running[key] = name
        return []

    def _end(self, key: str, text: str, quiet: bool = False) -> list[str]:
        self._over.add(key)
        return [] if quiet else [text]

    def _log(self, log: dict[str, Any]) -> list[str]:
        key = str(log.get("vertex", ""))
        lines = _decoded(log.get("data") or "").splitlines()
        if key in self._tails or len(self._tails) < STEPS:
            self._tails.setdefault(key, deque(maxlen=LINES)).extend(lines)
        return lines


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return text


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
