"""The message of a commit in a GitOps repository: a subject, a body and trailers that say what was released, and what was taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    raise NotImplementedError


def parse(message: str) -> Message:
    """What a commit's message says; of a person's commit the subject and the body, its trailers empty."""
    raise NotImplementedError


def reverted(message: str) -> str:
    """The commit that a message says it takes back, by Pipeline-Reverts or by git's own sentence; "" where it says nothing of the kind."""
    raise NotImplementedError
