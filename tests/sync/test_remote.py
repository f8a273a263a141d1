from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, Locked, Transient
from pipeline.events import Event, What
from pipeline.host import Output
from pipeline.source import snapshot
from pipeline.stage import Remote, Site
from pipeline.sync import git
from pipeline.sync.git import Git
from tests.source.worktree import Worktree
from tests.sync.machine import Machine

SPEC = Git(host="builder", via="gitea")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A remote repository; `ssh` runs what git asks of it here, and notes how it was called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ssh").write_text(f'#!/bin/sh\necho "$*" >>{tools}/calls\nfor last; do :; done\nexec sh -c "$last"\n')
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    repository = tmp_path / "gitea" / "probe.git"
    Worktree(tmp_path / "seed").git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    return repository


@pytest.fixture
def site(work: Worktree, tmp_path: Path, bare: Path, site_of: Callable[..., Site]) -> Site:
    site = site_of(work, Machine(tmp_path / "state"))
    assert isinstance(site.remotes, dict)
    site.remotes["gitea"] = Remote(f"ssh://git@gitea.example.org:30022{bare.parent}/{{app}}.git", "/keys/id with blank", "/keys/known")
    return site


def ssh_calls(tmp_path: Path) -> list[str]:
    calls = tmp_path / "tools/calls"
    return calls.read_text().splitlines() if calls.exists() else []


def tip(bare: Path, ref: str = "refs/heads/main") -> str:
    path = bare / ref
    return path.read_text().strip() if path.exists() else ""


def test_a_clean_commit_is_pushed_and_sent(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    source = snapshot(work.path)
    assert git.find(SPEC, source, site).artifact is None
    tree = git.make(SPEC, source, site)
    assert tip(bare) == source.commit
    assert git.find(SPEC, source, site).artifact == tree
    call = ssh_calls(tmp_path)[0]
    assert '-o IdentityFile="/keys/id with blank"' in call
    assert "StrictHostKeyChecking=yes" in call


def test_what_was_pushed_once_is_asked_for_and_not_pushed_again(work: Worktree, site: Site, tmp_path: Path) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    git.find(SPEC, source, site)
    git.make(SPEC, source, site)
    assert [call.split()[-2] for call in ssh_calls(tmp_path)] == ["git-receive-pack", "git-upload-pack"], "one question a look"


@pytest.mark.parametrize("what", ["deleted", "emptied", "rewritten"])
def test_what_the_remote_lost_is_pushed_again(work: Worktree, site: Site, bare: Path, tmp_path: Path, what: str) -> None:
    """What is remembered says only what to ask: the remote may have lost it since."""
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert git.find(SPEC, source, site).artifact is not None
    if what == "rewritten":
        other = Worktree(tmp_path / "other")
        other.write("README", "theirs\n")
        other.commit()
        other.git("push", "--quiet", "--force", str(bare), "HEAD:refs/heads/main")
    else:
        shutil.rmtree(bare)
    if what == "emptied":
        work.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    finding = git.find(SPEC, source, site)
    assert finding.artifact is None
    assert "git remote gitea" in finding.why
    if what == "rewritten":
        with pytest.raises(ConfigError, match="has another history"):
            git.make(SPEC, source, site)
    elif what == "emptied":
        git.make(SPEC, source, site)
        assert tip(bare) == source.commit
        assert git.find(SPEC, source, site).artifact is not None
    else:
        with pytest.raises(ConfigError, match="does not exist"):
            git.make(SPEC, source, site)


def test_a_remote_that_moved_on_from_what_was_seen_still_has_it(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    work.git("clone", "--quiet", str(work.path), str(tmp_path / "other"))
    other = Worktree(tmp_path / "other")
    other.write("newer")
    other.commit()
    other.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    for _ in range(2):
        assert git.find(SPEC, source, site).artifact is not None
    assert len(ssh_calls(tmp_path)) == 4, "a push, a question, a fetch of what is new, and a question"


def test_a_remote_that_cannot_be_asked_is_not_called_good(work: Worktree, site: Site, tmp_path: Path) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    (tmp_path / "tools/ssh").write_text("#!/bin/sh\necho 'ssh: connect to host h port 1: Connection refused' >&2\nexit 255\n")
    with pytest.raises(Transient, match="gitea"):
        git.find(SPEC, source, site)


def test_a_machine_that_does_not_remember_pushes_again_and_finds_it_there(work: Worktree, site: Site, tmp_path: Path, bare: Path) -> None:
    source = snapshot(work.path)
    work.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    finding = git.find(SPEC, source, site)
    assert finding.artifact is None
    git.make(SPEC, source, site)
    assert git.find(SPEC, source, site).artifact is not None


def test_dirty_sources_are_sent_and_not_pushed(work: Worktree, site: Site, tmp_path: Path) -> None:
    work.write("README", "dirty\n")
    source = snapshot(work.path)
    tree = git.make(SPEC, source, site)
    assert git.find(SPEC, source, site).artifact == tree
    assert ssh_calls(tmp_path) == []


def test_a_detached_head_is_recorded_under_its_commit(work: Worktree, site: Site, bare: Path) -> None:
    work.git("checkout", "--quiet", "--detach")
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert tip(bare, f"refs/pipeline/{source.commit}") == source.commit
    assert tip(bare) == ""


def test_another_history_is_never_overwritten(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    other = Worktree(tmp_path / "other")
    other.write("README", "theirs\n")
    theirs = other.commit()
    other.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    with pytest.raises(ConfigError, match="has another history") as caught:
        git.make(SPEC, snapshot(work.path), site)
    assert "git pull --rebase" in caught.value.mend
    assert "git switch --create" in caught.value.mend
    assert tip(bare) == theirs
    assert git.find(SPEC, snapshot(work.path), site).artifact is None


def test_an_older_commit_of_the_same_branch_is_there_already(
    work: Worktree, site: Site, bare: Path, tmp_path: Path, events: list[Event]
) -> None:
    work.git("clone", "--quiet", str(work.path), str(tmp_path / "other"))
    other = Worktree(tmp_path / "other")
    other.write("newer")
    newer = other.commit()
    other.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert tip(bare) == newer
    assert git.find(SPEC, source, site).artifact is not None
    assert any("ahead: this releases an older commit" in event.text for event in events if event.what == What.WARN)


def test_f02_a_push_whose_answer_was_lost_is_looked_at_again(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    """The remote took the commit and its process died before it could say so."""
    hook = bare / "hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ "$1" != committed ] || kill -9 $PPID\n')
    hook.chmod(0o755)
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert tip(bare) == source.commit
    assert len(ssh_calls(tmp_path)) == 2
    assert git.find(SPEC, source, site).artifact is not None


def test_a_refused_connection_passes(work: Worktree, site: Site, tmp_path: Path) -> None:
    (tmp_path / "tools/ssh").write_text("#!/bin/sh\necho 'ssh: connect to host h port 1: Connection refused' >&2\nexit 255\n")
    with pytest.raises(Transient, match="gitea"):
        git.make(SPEC, snapshot(work.path), site)
    assert git.find(SPEC, snapshot(work.path), site).artifact is None


@pytest.mark.timeout(60)
def test_a_failed_sending_ends_the_push(work: Worktree, site: Site, tmp_path: Path) -> None:
    (tmp_path / "tools/ssh").write_text("#!/bin/sh\nexec sleep 3600\n")
    machine = site.host("builder")
    assert isinstance(machine, Machine)
    machine.on(lambda cmd: "receive" in cmd.argv, Output(72, stderr=b"held by anna\n"))
    with pytest.raises(Locked, match="at work"):
        git.make(SPEC, snapshot(work.path), site)


def test_i04_hooks_of_the_working_copy_do_not_run(work: Worktree, site: Site, tmp_path: Path) -> None:
    hook = work.path / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git.make(SPEC, snapshot(work.path), site)
    assert not (tmp_path / "ran").exists()
