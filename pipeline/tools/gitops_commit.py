"""One commit made of changed files and nothing else: no work tree, no index but its own, no setting of the clone's."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, Transient
from pipeline.source.repository import Repository
from pipeline.tools import gitops_call as call
from pipeline.yamlfile import HOSTILE

Changes = Mapping[str, bytes | None]
FILE, EXECUTABLE, FOLDER = "100644", "100755", "040000"
SIGN_TIMEOUT = 60.0  # seconds: an agent may ask a person somewhere


@dataclass(frozen=True)
class Author:
    """Whose commits these are, and what their git says about signing: `key` and its `kind` (openpgp, ssh, x509)."""

    name: str
    email: str
    key: str = ""
    kind: str = "openpgp"

    @property
    def variables(self) -> dict[str, str]:
        """The environment that has git write author and committer."""
        return {
            f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", self.name), ("EMAIL", self.email))
        }


def author(root: Path, program: str) -> Author:
    """The identity that git has for the working copy in `root` (or anywhere), else pipeline <pipeline@HOST>. It names no program."""
    process = Repository(root, program).start("config", "--null", "--get-regexp", r"^(user\.(name|email|signingkey)|gpg\.format)$")
    output, _ = process.communicate()
    pairs = (entry.split("\n", 1) for entry in output.decode(errors="replace").split("\0") if entry)
    said = {pair[0]: HOSTILE.sub(" ", pair[1]).strip() for pair in pairs if len(pair) == 2}
    host = socket.gethostname().split(".", 1)[0] or "localhost"
    name, email, kind = said.get("user.name", ""), said.get("user.email", ""), said.get("gpg.format", "openpgp")
    key = said.get("user.signingkey", "")
    if kind == "ssh" and key and not key.startswith(("~", "key::", "ssh-", "ecdsa-", "sk-")):
        key = str(root / key)  # git takes it from the working copy
    if not (name and email):
        name, email = name or "pipeline", email or f"pipeline@{host}"
    return Author(name, email, key, kind)


def tree_entries(clone: Repository, commit: str, *paths: str) -> dict[str, tuple[str, str]]:
    """Mode and object of those of `paths` that are there at a commit."""
    if not commit or not paths:
        return {}
    output = call.run(clone, "ls-tree", "-z", "--full-tree", commit, "--", *paths).decode(errors="surrogateescape")
    entries = (entry.split("\t", 1) for entry in output.split("\0") if entry)
    return {path: (words[0], words[2]) for head, path in entries if len(words := head.split(" ")) == 3}


def content(clone: Repository, commit: str, path: str) -> bytes | None:
    """The bytes of a file at a commit ("" for none), None where there is none. Raises ConfigError where a folder or a link stands there."""
    there = tree_entries(clone, commit, checked(path)).get(path)
    if there is None:
        return None
    mode, blob = there
    if mode not in (FILE, EXECUTABLE):
        raise ConfigError(f"{path} is not a file in the GitOps repository", mend="name the file itself")
    return call.run(clone, "cat-file", "blob", blob)


def names(clone: Repository, commit: str, folder: str) -> tuple[str, ...]:
    """The paths of all files below `folder` ("" for the root) at a commit, sorted; none where `commit` is ""."""
    if not commit:
        return ()
    words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *([folder] if folder else []))
    output = call.run(clone, *words).decode(errors="surrogateescape")
    return tuple(sorted(name for name in output.split("\0") if name))


def tree(clone: Repository, parent: str, changes: Changes) -> str:
    """The tree of `parent` ("" for none) with `changes`; a file keeps its mode. Raises ConfigError for a path that cannot be written."""
    for path in changes:
        checked(path)
    above = {str(folder) for path in changes for folder in Path(path).parents if str(folder) != "."}
    there = tree_entries(clone, parent, *sorted({*changes, *above}))
    for path in changes:
        _writable(path, there)
    with _index(clone) as env:
        if parent:
            call.run(clone, "read-tree", parent, env=env)
        lines = []
        for path, content in changes.items():
            if content is None:
                if path not in there:
                    continue
                mode, blob = "0", "0" * len(parent)
            else:
                mode = there.get(path, (FILE, ""))[0]
                blob = call.run(clone, "hash-object", "-w", "--no-filters", "--stdin", stdin=content).decode().strip()
            lines.append(f"{mode} {blob}\t{path}\0")
        call.run(clone, "update-index", "-z", "--index-info", stdin="".join(lines).encode(), env=env)
        return call.run(clone, "write-tree", env=env).decode().strip()


def commit(clone: Repository, tree: str, parent: str, text: str, who: Author, *, sign: bool = False) -> str:
    """A commit of `tree` on `parent` with the message `text`, signed where asked for. Raises ConfigError where it cannot be signed."""
    words = (*(("-p", parent) if parent else ()), "-F", "-", tree)
    encoding = ("-c", "i18n.commitEncoding=UTF-8")
    if not sign:
        # commit.gpgSign does not hold for commit-tree, and no setting is asked to sign what was not asked for
        return call.run(clone, *encoding, "commit-tree", *words, stdin=text.encode(), env=who.variables).decode().strip()
    settings = ("-c", f"gpg.format={who.kind}", *(("-c", f"user.signingkey={who.key}") if who.key else ()))
    env = {**who.variables, "SSH_ASKPASS_REQUIRE": "never"}
    try:
        done = call.call(clone, *encoding, *settings, "commit-tree", "-S", *words, stdin=text.encode(), env=env, timeout=SIGN_TIMEOUT)
    except Transient as error:
        raise call.signing_error(f"Timeout: no answer in {SIGN_TIMEOUT:.0f} s", who.kind) from error
    if done.code:
        raise call.signing_error(done.errors, who.kind)
    return done.output.decode().strip()


def checked(path: str) -> str:
    """`path`, where it names a file within a repository. Raises ConfigError."""
    parts = path.split("/")
    if HOSTILE.search(path) or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\n" in path:
        raise ConfigError(f"{path!r} is not a path within a repository", mend="name it as clusters/production/fade/release.yaml")
    return path


def _writable(path: str, there: Mapping[str, tuple[str, str]]) -> None:
    """Whether a file may be written at `path`. Raises ConfigError: a link or a submodule leads elsewhere."""
    for each in (path, *(str(folder) for folder in Path(path).parents if str(folder) != ".")):
        mode = there.get(each, ("", ""))[0]
        if mode and mode not in ((FILE, EXECUTABLE) if each == path else (FOLDER,)):
            what = {"120000": "a link", "160000": "a submodule", FOLDER: "a folder"}.get(mode, "a file")
            raise ConfigError(f"{each} is {what} in the GitOps repository: nothing is written there", mend="name the file itself")


@contextlib.contextmanager
def _index(clone: Repository) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="index-", dir=clone.path) as folder:
        yield {"GIT_INDEX_FILE": str(Path(folder) / "index")}
