"""What a GitOps repository tells of its past: who changed a file, in which commit, and what was taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.source.repository import Repository
from pipeline.tools import gitops_call as call
from pipeline.tools import gitops_message as message
from pipeline.tools.gitops_commit import EXECUTABLE, FILE, tree_entries
from pipeline.tools.gitops_message import Trailers

# no setting of the user's adds a line, follows a rename or renames a person
LOG = (
    "-c",
    "log.follow=false",
    "--literal-pathspecs",
    "log",
    "-z",
    "--no-show-signature",
    "--no-color",
    "--no-mailmap",
    "--encoding=UTF-8",
)
FORMAT = "--format=%H%n%an <%ae>%n%cI%n%B"


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


@dataclass
class Past:
    """What was read of it so far, which never changes: commits that are here, and files by commit and path."""

    commits: set[str] = field(default_factory=set)
    files: dict[tuple[str, str], bytes | None] = field(default_factory=dict)


def log(clone: Repository, commit: str, path: str, limit: int) -> tuple[Entry, ...]:
    """The last `limit` commits up to `commit` that touched `path` ("" for any), newest first. Raises as `gitops_call.run`."""
    words = (*LOG, FORMAT, f"--max-count={limit}", commit, "--", *([path] if path else []))
    return read(call.run(clone, *words).decode(errors="replace"))


def read(output: str) -> tuple[Entry, ...]:
    """The answer of `git log` in FORMAT. Of a commit that a revert names by its first letters, the whole name where it is among them."""
    entries = [_entry(*fields) for each in output.split("\0") if len(fields := each.split("\n", 3)) == 4]
    whole = {entry.commit for entry in entries}
    return tuple(replace(entry, reverts=_whole(entry.reverts, whole)) for entry in entries)


def contents(clone: Repository, commits: Sequence[str], path: str) -> dict[str, bytes]:
    """The file as each of `commits` (newest first) left it, all by one process; none where the newest has no such file."""
    mode = tree_entries(clone, commits[0], path).get(path, ("",))[0] if commits and path and "\n" not in path else ""
    if mode not in (FILE, EXECUTABLE):
        return {}
    output = call.run(clone, "cat-file", "--batch", stdin="".join(f"{commit}:{path}\n" for commit in commits).encode())
    found, at = {}, 0
    for commit in commits:
        end = output.index(b"\n", at)
        words = output[at:end].decode(errors="replace").split(" ")
        at = end + 1
        if len(words) == 3 and words[2].isdigit():
            size = int(words[2])
            if words[1] == "blob":
                found[commit] = output[at : at + size]
            at += size + 1
    return found


def blamed(clone: Repository, commit: str, path: str, line: int) -> str:
    """The commit that a line (from 1) of a file at `commit` stems from. Raises ConfigError where there is no such line."""
    words = ("blame", "--porcelain", "-L", f"{line},{line}", commit, "--", path)
    return call.run(clone, *words).decode(errors="replace").split(" ", 1)[0]


def taken_back(entries: Sequence[Entry]) -> frozenset[str]:
    """The commits among `entries` (newest first) whose change does not stand any more: reverted, and the revert not reverted itself."""
    gone: set[str] = set()
    for entry in entries:
        if entry.reverts and entry.commit not in gone:
            gone.add(entry.reverts)
    return frozenset(gone & {entry.commit for entry in entries})


def _entry(commit: str, author: str, when: str, text: str) -> Entry:
    said = message.parse(text)
    human = not said.trailers.app or message.picked(text)
    return Entry(commit, said.subject, author, when, said.trailers, message.reverted(text), human)


def _whole(commit: str, known: set[str]) -> str:
    found = [each for each in known if commit and each.startswith(commit)]
    return found[0] if len(found) == 1 else commit
