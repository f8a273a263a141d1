"""The tree id of a working copy, clean or not, without touching its index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.errors import ConfigError
from pipeline.source.refuse import refused
from pipeline.source.repository import Repository, refusal

STATUS = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--no-renames", "--untracked-files=all", "-z")


@dataclass(frozen=True)
class Look:
    """A working copy at one moment: the `source`, its `branch` ("" where HEAD is detached), and the untracked files that are `left_out`
    since they look like secrets or like this pipeline's own."""

    source: Source
    branch: str
    left_out: tuple[str, ...] = ()


def snapshot(root: Path, program: str = "git") -> Source:
    """What would travel from the working copy around `root`: tracked and untracked files, never ignored ones.

    A clean working copy costs two git processes side by side. The objects of a dirty one are written into the repository's own store,
    so that what was named here can be sent however the files change meanwhile; the user's index is only read.
    Raises ConfigError where there is no commit, no working copy, a merge in progress, or a repository within the repository.
    """
    return look(root, program).source


def look(root: Path, program: str = "git") -> Look:
    """`snapshot`, with what else was seen. Raises as it does."""
    repository = Repository(root, program)
    for _ in range(3):
        status, revision = (
            repository.start(*STATUS),
            repository.start("rev-parse", "HEAD^{commit}", "HEAD^{tree}", "--absolute-git-dir", "--show-toplevel"),
        )
        answer, complaint = revision.communicate()
        entries = repository.finish(status).split(b"\0")
        headers = dict(entry[2:].split(b" ", 1) for entry in entries if entry.startswith(b"# branch."))
        if headers.get(b"branch.oid") == b"(initial)":
            raise ConfigError(f"{root} has no commit yet", mend="git add --all && git commit -m 'First version'")
        if revision.returncode:
            raise refusal(complaint.decode(errors="replace"), root)
        lines = os.fsdecode(answer).splitlines()
        if len(lines) != 4:
            raise ConfigError(f"{root} has a line break in its path", mend="move the working copy")
        commit, tree, git_dir, top = lines
        if headers.get(b"branch.oid", b"").decode() == commit:  # else somebody committed between the two
            return _read(Repository(Path(top), program), Path(git_dir), commit, tree, headers[b"branch.head"], entries)
    raise ConfigError(f"HEAD of {root} keeps moving", mend="run again when nothing else commits here")


def _read(repository: Repository, git_dir: Path, commit: str, head_tree: str, head: bytes, entries: list[bytes]) -> Look:
    changes = [entry for entry in entries if entry and not entry.startswith(b"#")]
    if unmerged := [os.fsdecode(entry.split(b" ", 10)[10]) for entry in changes if entry.startswith(b"u ")]:
        raise ConfigError(
            "a merge is in progress: " + ", ".join(map(repr, unmerged[:5])),
            mend="resolve and git add them, or git merge --abort",
        )
    untracked = [entry[2:] for entry in changes if entry.startswith(b"? ")]
    if nested := [os.fsdecode(path) for path in untracked if path.endswith(b"/")]:
        raise ConfigError(
            f"{nested[0]!r} is a git repository of its own: its files would not travel",
            mend=f"move it away, or write {nested[0]} into .gitignore",
        )
    left_out = tuple(name for name in map(os.fsdecode, untracked) if refused(name, _content(repository.path / name)))
    dirty = len(changes) > len(left_out)
    tree = _tree(repository, git_dir, left_out) if dirty else head_tree
    branch = "" if head == b"(detached)" else os.fsdecode(head)
    return Look(Source(tree, commit, tree != head_tree, str(repository.path)), branch, left_out)


def _tree(repository: Repository, git_dir: Path, left_out: tuple[str, ...]) -> str:
    """The tree of the working copy's files, through an index of its own."""
    import shutil  # only a dirty working copy pays for these
    import tempfile

    with tempfile.TemporaryDirectory(prefix="index-") as folder:
        index = Path(folder) / "index"
        if (git_dir / "index").exists():
            # with its times: git takes a file as unchanged only where it is older than the index
            shutil.copy2(git_dir / "index", index)
        env = {"GIT_INDEX_FILE": str(index)}
        paths = [b":(top)", *(b":(top,exclude,literal)" + os.fsencode(name) for name in left_out)]
        repository.run("add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=b"\0".join(paths) + b"\0", env=env)
        return repository.run("write-tree", env=env).decode().strip()


def _content(path: Path) -> bytes:
    """The head of a file that looks like a key; of any other file nothing, since it need not be read."""
    if path.suffix != ".pem":
        return b""
    try:
        with path.open("rb") as file:
            return file.read(65536)
    except OSError:
        return b""
