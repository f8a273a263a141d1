from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, PipelineError, ResourceError, Transient
from pipeline.source.repository import Repository
from pipeline.tools.git import Pushed, read_push
from pipeline.tools.gitops_call import Damaged, call, is_broken, raced, run, server_error

CASES = Path(__file__).parents[1] / "cases" / "git"
WHERE = "branch main of ssh://git@10.0.0.1:30022/coulomb/fade-gitops.git"


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("gitea-*.txt")))
def test_what_gitea_says_by_ssh_is_not_of_the_clone_here(case: str) -> None:
    text = (CASES / f"{case}.txt").read_text()
    error = server_error(text, WHERE, writing=True)
    assert WHERE in error.what
    assert not is_broken(text)
    assert "error:" not in error.cause.splitlines()


# https://docs.github.com/authentication/troubleshooting-ssh, .../troubleshooting-commits and https://docs.github.com/repositories
@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("ERROR: Repository not found.", ConfigError, "does not exist, or the key may not see it"),
        ("ERROR: The key you are authenticating with has been marked as read only.", AuthError, "may not write"),
        ("ERROR: Permission to ada/fade.git denied to grace", AuthError, "may not write"),
        ("remote: error: GH006: Protected branch update failed for refs/heads/main.", ConfigError, "refuses the commit"),
        ("remote: error: GH013: Repository rule violations found for refs/heads/main.", ConfigError, "refuses the commit"),
        ("error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403", AuthError, "may not write"),
        ("error: RPC failed; HTTP 503 Service Unavailable", Transient, "error of its own"),
        ("error: unable to write file: No space left on device", ResourceError, "no space"),
        ("fatal: the remote end hung up unexpectedly", Transient, "went away"),
    ],
)
def test_what_other_servers_say(text: str, kind: type[PipelineError], says: str) -> None:
    error = server_error(text, WHERE, writing=True)
    assert isinstance(error, kind)
    assert says in error.what


@pytest.mark.parametrize(
    ("summary", "lost"),
    [
        ("[rejected] (fetch first)", True),
        ("[rejected] (non-fast-forward)", True),
        ("[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)", True),
        ("[remote rejected] (failed to update ref)", True),
        ("[remote rejected] (incorrect old value provided)", True),
        ("[remote rejected] (reference already exists)", True),
        ("[remote rejected] (pre-receive hook declined)", False),
        ("[remote failure] (remote failed to report status)", False),
    ],
)
def test_a_race_is_told_from_a_refusal_f01(summary: str, lost: bool) -> None:
    assert raced(Pushed("!", summary)) is lost
    assert not raced(Pushed(" ", summary))
    assert not raced(None)


def test_the_recorded_race_and_the_recorded_refusal_f01() -> None:
    assert raced(read_push((CASES / "push-behind.txt").read_bytes()))
    assert not raced(read_push((CASES / "push-declined.txt").read_bytes()))


def test_what_is_broken_over_there_is_not_broken_here() -> None:
    assert is_broken("fatal: bad object 0123")
    assert not is_broken("remote: fatal: bad object 0123\nremote: aborting due to possible repository corruption on the remote side.")
    read = server_error("fatal: unable to access 'https://x/': The requested URL returned error: 403", WHERE)
    assert isinstance(read, AuthError)
    assert "may not read" in read.what


def test_git_that_is_not_there_and_git_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-git is not installed"):
        call(Repository(tmp_path, "no-git"), "version", env={}, timeout=5)
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    with pytest.raises(Transient, match=r"took longer than 0 s"):
        call(Repository(tmp_path, str(program)), "fetch", env={}, timeout=0.3)


def test_a_folder_that_is_no_repository_is_damaged(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(Damaged, match="is damaged") as caught:
        run(Repository(tmp_path), "log")
    assert f"rm -r {tmp_path}" in caught.value.mend
