"""The message of a commit in a GitOps repository: a subject, a body and trailers that say what was released, and what was taken back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import HOSTILE

PREFIX = "Pipeline-"
FIELDS = ("app", "commit", "inputs", "by", "reverts")
TRAILER = re.compile(r"([A-Za-z0-9-]+)[ \t]*:[ \t]*(.*)")
PICKED = re.compile(r"^\(cherry picked from commit [0-9a-f]{7,64}\)$", re.MULTILINE)
# git revert's own words, of a merge and with --reference too: https://git-scm.com/docs/git-revert
REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{7,64})(?:\.|,? \(|, reversing\b)", re.MULTILINE)


@dataclass(frozen=True)
class Trailers:
    """What a commit of the pipeline says of itself: the `app`, the source's `commit`, `inputs` (the hash of the lines it wrote), `by` whom,
    and the commit of this repository that it `reverts`. `more` holds other Pipeline-* trailers by the rest of their name (Environment)."""

    app: str = ""
    commit: str = ""
    inputs: str = ""
    by: str = ""
    reverts: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """`subject` one line, `body` any number (git's sentence of a revert is put in by `text`), `trailers` the last paragraph."""

    subject: str
    body: str = ""
    trailers: Trailers = field(default_factory=Trailers)


def text(message: Message) -> str:
    """The message as git keeps it. A line break in a trailer becomes a blank: no value can write another trailer."""
    trailers = message.trailers
    pairs = [(name.capitalize(), getattr(trailers, name)) for name in FIELDS] + list(trailers.more.items())
    block = "\n".join(f"{PREFIX}{name}: {_line(value)}" for name, value in pairs if value)
    body = "\n".join(HOSTILE.sub(" ", line).rstrip() for line in message.body.splitlines()).strip("\n")
    sentence = f"This reverts commit {trailers.reverts}." if trailers.reverts and not REVERTS.search(body) else ""
    return "\n\n".join(filter(None, (_line(message.subject) or "no subject", sentence, body, block))) + "\n"


def parse(message: str) -> Message:
    """What a commit's message says; of a person's commit the subject and the body, its trailers empty."""
    subject, _, rest = message.strip("\n").partition("\n")
    rest = rest.strip("\n")
    before, _, last = rest.rpartition("\n\n")
    pairs = _trailers(last)
    if not any(name.startswith(PREFIX) for name in pairs):
        return Message(subject.strip(), rest)
    own = {name.removeprefix(PREFIX): value for name, value in pairs.items() if name.startswith(PREFIX)}
    known = {name: own.pop(name.capitalize(), "") for name in FIELDS}
    return Message(subject.strip(), before.strip("\n"), Trailers(**known, more=own))


def reverted(message: str) -> str:
    """The commit that a message says it takes back, by Pipeline-Reverts or by git's own sentence; "" where it says nothing of the kind."""
    said = parse(message).trailers.reverts
    if re.fullmatch(r"[0-9a-f]{7,64}", said):
        return said
    found = REVERTS.search(message)
    return found[1] if found else ""


def picked(message: str) -> bool:
    """Whether a person took the commit over from elsewhere with `git cherry-pick -x`: its trailers tell of another commit then."""
    return PICKED.search(message) is not None


def _trailers(paragraph: str) -> dict[str, str]:
    """The trailers of a message's last paragraph; none where a line of it is anything else. The last one of a name counts."""
    found: dict[str, str] = {}
    for line in paragraph.splitlines():
        trailer = TRAILER.fullmatch(line)
        if trailer:
            found[trailer[1]] = trailer[2].strip()
        elif not PICKED.fullmatch(line):
            return {}
    return found


def _line(value: str) -> str:
    return " ".join(HOSTILE.sub(" ", value).split())
