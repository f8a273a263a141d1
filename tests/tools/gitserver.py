"""A Git server behind an `ssh` that is a script: every connection is counted, refused or broken as a test wants it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline.clock import Clock
from pipeline.events import Event
from pipeline.stage import Remote, Site
from pipeline.testing import FakeClock
from pipeline.tools.gitops import Repository
from tests.world import site as bare_site

SSH = """#!/bin/sh
for last; do :; done
echo "$last" >> {log}
if [ -e {down} ]; then cat {down} >&2; exit 255; fi
exec sh -c "$last"
"""


@dataclass
class Server:
    """`path` is the repository there; `down` makes the script say a text and fail, until `up`."""

    folder: Path
    path: Path
    sites: list[Site] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def connections(self) -> list[str]:
        """What was asked of the server so far: the program's name, one for each connection."""
        log = self.folder / "log"
        return [line.split(" ", 1)[0] for line in log.read_text().splitlines()] if log.exists() else []

    def forget(self) -> None:
        (self.folder / "log").unlink(missing_ok=True)

    def down(self, text: str = "ssh: connect to host server.test port 22: Connection refused") -> None:
        (self.folder / "down").write_text(f"{text}\n")

    def up(self) -> None:
        (self.folder / "down").unlink(missing_ok=True)

    def hook(self, name: str, text: str) -> None:
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def unhook(self) -> None:
        for path in (self.path / "hooks").iterdir():
            path.unlink()

    def git(self, *words: str, text: str = "") -> str:
        return _git("-C", str(self.path), *words, text=text)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "main")

    @property
    def count(self) -> int:
        return int(self.git("rev-list", "--count", "main"))

    def repository(self, root: str = "here", *, sign: bool = False, branch: str = "main", clock: Clock | None = None) -> Repository:
        """The pipeline's side, from a working copy of its own."""
        folder = self.folder / root
        folder.mkdir(exist_ok=True)
        site = replace(
            bare_site(folder, self.events.append, clock or FakeClock()), remotes={"gitops": Remote(f"ssh://git@server.test{self.path}")}
        )
        self.sites.append(site)
        return Repository(site, "gitops", branch, sign=sign)

    def person(self, changes: dict[str, str], message: str = "a person's change", author: str = "Ada <ada@example.org>") -> str:
        """A commit that a person pushes from a clone of theirs. Its name."""

        def change(home: Path) -> None:
            for path, text in changes.items():
                (home / path).parent.mkdir(parents=True, exist_ok=True)
                (home / path).write_text(text)

        return self.at_home(change, "commit", "-qm", message, f"--author={author}")

    def at_home(self, change: Callable[[Path], object], *words: str) -> str:
        home = self.folder / "home"
        if not home.exists():
            _git("clone", "-q", str(self.path), str(home))
        _git("-C", str(home), "pull", "-q", "--no-rebase") if self.git("branch") else None
        change(home)
        _git("-C", str(home), "add", "--all")
        _git("-C", str(home), *words)
        _git("-C", str(home), "push", "-q", "origin", "HEAD:main")
        return _git("-C", str(home), "rev-parse", "HEAD")

    def warnings(self) -> list[str]:
        return [event.text for event in self.events if event.what == "warn"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return serve(tmp_path, monkeypatch)


def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with an empty repository; git's own settings are a home of the test's."""
    folder = tmp_path / "world"
    (folder / "bin").mkdir(parents=True)
    ssh = folder / "bin" / "ssh"
    ssh.write_text(SSH.format(log=folder / "log", down=folder / "down"))
    ssh.chmod(0o755)
    home = folder / "own"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (home / ".gitconfig").write_text("[user]\n\tname = Grace\n\temail = grace@example.org\n[init]\n\tdefaultBranch = main\n")
    path = folder / "server.git"
    _git("init", "-q", "--bare", "--template=", "--initial-branch=main", str(path))
    return Server(folder, path)


def _git(*words: str, text: str = "") -> str:
    done = subprocess.run(["git", *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout.strip()
