"""The tree id of a working copy, clean or not, without touching its index."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.errors import ConfigError
from pipeline.source.refuse import OWN, is_secret
from pipeline.source.repository import Repository, refusal

READ = 1 << 20  # bytes of a file that git does not know, in which a secret is looked for
STATUS = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--no-renames", "--untracked-files=all", "-z")


@dataclass(frozen=True)
class Look:
    """A working copy at one moment: the `source`, its `branch` ("" if HEAD is detached), and the untracked files that are `left_out`
    since they are secrets or this pipeline's own."""

    source: Source
    branch: str
    left_out: tuple[str, ...] = ()


def snapshot(root: Path, program: str = "git", private: Collection[Path] = ()) -> Source:
    """What would travel from the working copy around `root`: tracked and untracked files, never ignored ones.

    Of untracked files, those stay that hold a secret, and those in `private`, which configuration names as secrets.
    A clean working copy costs two git processes side by side. The objects of a dirty one are written into the repository's own store,
    so that what was named here can be sent however the files change meanwhile; the user's index is only read.
    Raises ConfigError where there is no commit, no working copy, a merge in progress, or a repository within the repository.
    """
    return look(root, program, private).source


def look(root: Path, program: str = "git", private: Collection[Path] = ()) -> Look:
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
            return _read(Repository(Path(top), program), Path(git_dir), commit, tree, headers[b"branch.head"], entries, private)
    raise ConfigError(f"HEAD of {root} keeps moving", mend="run again when nothing else commits here")


def _read(
    repository: Repository, git_dir: Path, commit: str, head_tree: str, head: bytes, entries: list[bytes], private: Collection[Path]
) -> Look:
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
    named = {os.path.realpath(path) for path in private}

    def stays(name: str) -> bool:
        path = repository.path / name
        return (bool(named) and os.path.realpath(path) in named) or is_secret(name, _content(path))

    left_out = tuple(filter(stays, map(os.fsdecode, untracked)))
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
    """Return the head of a file, nothing of what is none: git takes a link as its text, and a pipe would be waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        try:
            return file.read(READ) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        except OSError:
            return b""


def not_files(root: Path, program: str = "git") -> list[str]:
    """Return the pipes, devices and sockets of the working copy at `root` that git does not ignore: it takes none, and is silent."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".git" and (folder != str(root) or name != OWN)]
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  # as many calls as there are files
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                found.append(os.path.relpath(path, root))
    if not found:
        return []
    repository = Repository(root, program)
    ignored = repository.ask("check-ignore", "-z", "--stdin", stdin=b"".join(os.fsencode(name) + b"\0" for name in found))
    return sorted(set(found) - set(map(os.fsdecode, ignored.split(b"\0"))))
