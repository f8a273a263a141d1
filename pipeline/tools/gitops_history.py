"""What a GitOps repository tells of its past: who changed a file, in which commit, and what was taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.tools.gitops_message import Trailers


@dataclass(frozen=True)
class Entry:
    """A commit: its `author` as Name <address>, `when` as ISO 8601, the commit it `reverts` ("" where none). `human` where the pipeline
    did not write it (no Pipeline-App trailer, or picked from another branch by a person)."""

    commit: str
    subject: str
    author: str
    when: str
    trailers: Trailers
    reverts: str
    human: bool


def taken_back(entries: Sequence[Entry]) -> frozenset[str]:
    """The commits among `entries` (newest first) whose change does not stand any more: reverted, and the revert not reverted itself."""
    raise NotImplementedError
