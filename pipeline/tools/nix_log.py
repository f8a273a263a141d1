"""What `nix --log-format internal-json` tells while it builds, as text for people and as the evidence for an error.

The format has no specification; its numbers are in nix's source, src/libutil/logging.hh (ActivityType, ResultType), and have been
the same from 2.0 to 2.3x. A line that is not of that form is kept as it is: builders write what they like.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from pipeline import jsontext

PREFIX = "@nix "
BUILD, BUILDS, COPY, DOWNLOAD, SUBSTITUTE = 105, 104, 100, 101, 108  # activities
LOG_LINE, PHASE, PROGRESS, POST_BUILD_LINE = 101, 104, 105, 107  # results
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
NAME = re.compile(r"/nix/store/[0-9a-z]{32}-(.+?)(?:\.drv)?(?:!.*)?")
LINES, DERIVATIONS, MESSAGES = 10, 64, 50  # how much is remembered of how many


class NixLog:
    """Reads a build's output line by line; remembers little, whatever the output's size.

    `messages` are nix's own errors, `others` the last lines of neither nix nor a builder, `tails` the last lines of each
    derivation (by its .drv path), `building` the names of those under way.
    """

    def __init__(self) -> None:
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self.others: deque[str] = deque(maxlen=MESSAGES)
        self.tails: dict[str, deque[str]] = {}
        self.building: dict[int, str] = {}
        self.began = 0
        self._drvs: dict[int, str] = {}
        self._fetching: dict[int, str] = {}
        self._overall = -1
        self._counts = (0, 0)

    def feed(self, line: str) -> str | None:
        """The line as a person reads it, None where it is only for machines."""
        if not line.startswith(PREFIX):
            text = plain(line)
            self.others.append(text)
            return text
        try:
            event = jsontext.loads(line[len(PREFIX) :])
            return self._event(event)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            text = plain(line)
            self.others.append(text)
            return text

    @property
    def status(self) -> str:
        """What is under way, in one line."""
        if self.building:
            names = list(self.building.values())
            done, expected = self._counts
            left = f", {expected - done} of {expected} left" if expected else ""
            return "builds " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") + left
        if self._fetching:
            return "fetches " + list(self._fetching.values())[-1]
        return "evaluates" if not self.began else "finishes"

    def tail(self, drv: str = "") -> list[str]:
        """The last lines of the derivation `drv`, or of the one that wrote last."""
        if drv in self.tails:
            return list(self.tails[drv])
        return list(next(reversed(self.tails.values()))) if self.tails else []

    def _event(self, event: dict[str, Any]) -> str | None:
        action = event["action"]
        if action == "msg":
            return self._message(event)
        if action == "start":
            return self._start(event)
        if action == "stop":
            self.building.pop(event["id"], None)
            self._fetching.pop(event["id"], None)
            self._drvs.pop(event["id"], None)
            return None
        if action == "result":
            return self._result(event)
        raise ValueError(action)

    def _message(self, event: dict[str, Any]) -> str:
        text = plain(str(event["msg"]))
        if event.get("level", 0) == 0:
            self.messages.append(text)
        return text

    def _start(self, event: dict[str, Any]) -> str | None:
        kind, number = event["type"], event["id"]
        if kind == BUILDS:
            self._overall = number
        elif kind == BUILD:
            drv = str(event["fields"][0])
            self.began += 1
            self._drvs[number] = drv
            self.building[number] = name_of(drv)
            return f"building {name_of(drv)}"
        elif kind in (COPY, DOWNLOAD, SUBSTITUTE):
            self._fetching[number] = plain(str(event.get("fields", [""])[0])) or plain(str(event.get("text", "")))
        return None

    def _result(self, event: dict[str, Any]) -> str | None:
        kind, number, fields = event["type"], event["id"], event["fields"]
        if kind in (LOG_LINE, POST_BUILD_LINE):
            return self._line(number, plain(str(fields[0])))
        if kind == PHASE and number in self.building:
            self.building[number] = f"{name_of(self._drvs[number])} ({plain(str(fields[0]))})"
        if kind == PROGRESS and number == self._overall:
            self._counts = (int(fields[0]), int(fields[1]))
        return None

    def _line(self, number: int, text: str) -> str:
        drv = self._drvs.get(number, "")
        tail = self.tails.get(drv)
        if tail is None:
            tail = self.tails[drv] = deque(maxlen=LINES)
            if len(self.tails) > DERIVATIONS:
                del self.tails[next(iter(self.tails))]
        tail.append(text)
        return f"{name_of(drv)}> {text}" if drv else text


def plain(text: str) -> str:
    """`text` without colours, cursor movements and other control characters (tab and line end stay)."""
    text = ANSI.sub("", text)
    return "".join(char if char >= " " or char in "\t\n" else "" for char in text) if not text.isprintable() else text


def name_of(path: str) -> str:
    """The name in a store path or derivation: `/nix/store/<hash>-app.drv` is app."""
    match = NAME.fullmatch(path)
    return match[1] if match else path
