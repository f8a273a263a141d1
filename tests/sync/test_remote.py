from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, Locked, PipelineError, Transient
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


def refs(bare: Path) -> dict[str, str]:
    """Every ref of the remote, with its commit."""
    return {str(path.relative_to(bare)): path.read_text().strip() for path in (bare / "refs").rglob("*") if path.is_file()}


def test_a_clean_commit_is_pushed_and_sent(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    source = snapshot(work.path)
    assert git.find(SPEC, source, site).artifact is None
    tree = git.make(SPEC, source, site)
    assert refs(bare) == {f"refs/pipeline/{source.commit}": source.commit}, "no branch of the team's is touched"
    assert git.find(SPEC, source, site).artifact == tree
    call = ssh_calls(tmp_path)[0]
    assert '-o IdentityFile="/keys/id with blank"' in call
    assert "StrictHostKeyChecking=yes" in call


def test_what_was_pushed_once_is_asked_for_and_not_pushed_again(work: Worktree, site: Site, tmp_path: Path) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    git.find(SPEC, source, site)
    git.make(SPEC, source, site)
    assert [call.split()[-2] for call in ssh_calls(tmp_path)] == [
        "git-upload-pack", "git-receive-pack", "git-upload-pack",
    ], "one question a look"  # fmt: skip


@pytest.mark.parametrize("what", ["deleted", "emptied", "rewritten"])
def test_what_the_remote_lost_is_pushed_again(work: Worktree, site: Site, bare: Path, what: str) -> None:
    """Nothing is remembered: the remote may have lost it since."""
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert git.find(SPEC, source, site).artifact is not None
    if what == "rewritten":
        (bare / f"refs/pipeline/{source.commit}").unlink()
    else:
        shutil.rmtree(bare)
    if what == "emptied":
        work.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    finding = git.find(SPEC, source, site)
    assert finding.artifact is None
    assert "is not in git remote gitea" in finding.why
    if what == "deleted":
        with pytest.raises(ConfigError, match="does not exist"):
            git.make(SPEC, source, site)
    else:
        git.make(SPEC, source, site)
        assert refs(bare) == {f"refs/pipeline/{source.commit}": source.commit}
        assert git.find(SPEC, source, site).artifact is not None


def test_a_remote_that_cannot_be_asked_is_not_called_good(work: Worktree, site: Site, tmp_path: Path) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    (tmp_path / "tools/ssh").write_text("#!/bin/sh\necho 'ssh: connect to host h port 1: Connection refused' >&2\nexit 255\n")
    with pytest.raises(Transient, match="gitea"):
        git.find(SPEC, source, site)


def test_another_machine_finds_it_there(work: Worktree, site: Site, bare: Path) -> None:
    """A clone without records called it missing."""
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    work.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    assert site.records.hint(f"git/gitea/{source.commit}") is None
    assert git.find(SPEC, source, site).artifact is not None


def test_a_ref_that_another_run_makes_at_the_same_moment_is_no_fault(work: Worktree, site: Site, bare: Path) -> None:
    source = snapshot(work.path)
    ref = f"refs/pipeline/{source.commit}"
    work.git("push", "--quiet", str(bare), "HEAD:refs/heads/other")  # what is pushed is in quarantine while the hook runs
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nunset GIT_QUARANTINE_PATH\nexec git update-ref {ref} {source.commit}\n")
    hook.chmod(0o755)
    git.make(SPEC, source, site)
    assert refs(bare)[ref] == source.commit
    assert git.find(SPEC, source, site).artifact is not None


def test_dirty_sources_are_sent_and_not_pushed(work: Worktree, site: Site, tmp_path: Path) -> None:
    work.write("README", "dirty\n")
    source = snapshot(work.path)
    tree = git.make(SPEC, source, site)
    assert git.find(SPEC, source, site).artifact == tree
    assert ssh_calls(tmp_path) == []


def test_the_ref_that_is_pushed_is_told(work: Worktree, site: Site, events: list[Event]) -> None:
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    (told,) = [event.text for event in events if event.what == What.WAIT and "pushes" in event.text]
    assert f"as refs/pipeline/{source.commit[:8]}" in told
    assert "no branch there is moved" in told


@pytest.mark.parametrize("here", ["older", "another history", "detached"])
def test_what_others_have_on_their_branch_stays(work: Worktree, site: Site, bare: Path, tmp_path: Path, here: str) -> None:
    """A build moved the team's main, and a branch that was elsewhere stopped it."""
    if here != "another history":
        work.git("clone", "--quiet", str(work.path), str(tmp_path / "other"))
    other = Worktree(tmp_path / "other")
    other.write("newer", "theirs\n")
    theirs = other.commit()
    other.git("push", "--quiet", str(bare), "HEAD:refs/heads/main")
    if here == "detached":
        work.git("checkout", "--quiet", "--detach")
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert refs(bare) == {"refs/heads/main": theirs, f"refs/pipeline/{source.commit}": source.commit}
    assert git.find(SPEC, source, site).artifact is not None


def test_f02_a_push_whose_answer_was_lost_is_looked_at_again(work: Worktree, site: Site, bare: Path, tmp_path: Path) -> None:
    """The remote took the commit and its process died before it could say so."""
    hook = bare / "hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ "$1" != committed ] || kill -9 $PPID\n')
    hook.chmod(0o755)
    source = snapshot(work.path)
    git.make(SPEC, source, site)
    assert refs(bare) == {f"refs/pipeline/{source.commit}": source.commit}
    assert [call.split()[-2] for call in ssh_calls(tmp_path)] == ["git-upload-pack", "git-receive-pack", "git-upload-pack"]
    assert git.find(SPEC, source, site).artifact is not None


def test_a_refused_connection_passes(work: Worktree, site: Site, tmp_path: Path) -> None:
    (tmp_path / "tools/ssh").write_text("#!/bin/sh\necho 'ssh: connect to host h port 1: Connection refused' >&2\nexit 255\n")
    with pytest.raises(Transient, match="gitea"):
        git.make(SPEC, snapshot(work.path), site)
    with pytest.raises(Transient, match="gitea"):
        git.find(SPEC, snapshot(work.path), site)


@pytest.mark.timeout(60)
def test_a_failed_sending_ends_the_push(work: Worktree, site: Site, tmp_path: Path) -> None:
    (tmp_path / "tools/ssh").write_text(
        '#!/bin/sh\nfor last; do :; done\ncase "$last" in *receive-pack*) exec sleep 3600; esac\nexec sh -c "$last"\n'
    )
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


def test_a_clone_that_is_cut_off_is_told_with_its_mend(work: Worktree, site: Site, bare: Path) -> None:
    """As actions/checkout makes it, which git servers refuse to take commits from."""
    (work.path / "more").write_text("x")
    work.git("add", "more")
    work.git("commit", "--quiet", "--message", "more")
    (work.path / ".git/shallow").write_text(work.git("rev-parse", "HEAD").strip() + "\n")
    with pytest.raises(ConfigError, match="takes no commit of a clone whose history is cut off") as caught:
        git.make(SPEC, snapshot(work.path), site)
    assert "shallow update not allowed" in caught.value.cause
    assert "git fetch --unshallow" in caught.value.mend
    assert refs(bare) == {}


def test_the_reason_of_a_refused_push_is_told(work: Worktree, site: Site, bare: Path) -> None:
    hook = bare / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PipelineError) as caught:
        git.make(SPEC, snapshot(work.path), site)
    assert "[remote rejected] (hook declined)" in caught.value.cause
