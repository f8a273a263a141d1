from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.host import Address, Output
from pipeline.tools import git_daemon

CASES = Path(__file__).parents[1] / "cases" / "git_daemon"
URL = "git://127.0.0.1:9418/secret.git"
COMMIT = "62409c15f60f314bbf67cab3714c11e400df2f98"


def test_refs_are_read_and_named_as_git_looks_for_them() -> None:
    found = git_daemon.refs((CASES / "refs.txt").read_text())
    assert found == {"refs/heads/main": COMMIT, "refs/tags/v1": COMMIT}
    assert git_daemon.named(found, "main") == "refs/heads/main"
    assert git_daemon.named(found, "heads/main") == "refs/heads/main"
    assert git_daemon.named(found, "v1") == "refs/tags/v1"
    assert git_daemon.named(found, "ain") == ""


def test_an_annotated_tag_is_the_commit_it_stands_for() -> None:
    text = f"{'1' * 40}\trefs/tags/v2\n{COMMIT}\trefs/tags/v2^{{}}\nwarning: noise\n"
    assert git_daemon.refs(text) == {"refs/tags/v2": COMMIT}


def test_no_connection_is_told_from_a_bad_answer() -> None:
    refused, closed = (git_daemon.failure(Output(128, stderr=(CASES / f"{case}.txt").read_bytes())) for case in ("refused", "closed"))
    assert isinstance(refused, git_daemon.Unreachable)
    assert not isinstance(closed, git_daemon.Unreachable)


def test_git_that_is_not_here_is_a_mistake_of_this_machine() -> None:
    assert isinstance(git_daemon.failure(Output(127)), ConfigError)


def test_a_ref_or_a_url_can_be_no_option() -> None:
    argv = git_daemon.ls_remote("git", URL, "main")
    assert argv[argv.index("--") + 1 :] == (URL, "main", "main^{}")
    assert git_daemon.url(Address("::1", 9418), "/repo.git") == "git://[::1]:9418/repo.git"
    for wrong in ("git://-oProxyCommand=x/a", "git://h/a b", "ssh://h/a", "git://h", "git://h/a;b"):
        assert not git_daemon.URL.fullmatch(wrong)
    for wrong in ("--upload-pack=x", "a..b", "a b", "a/.b", "x.lock"):
        assert not git_daemon.REF.fullmatch(wrong)
