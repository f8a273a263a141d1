from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    Ambiguous,
    AuthError,
    ConfigError,
    HostKeyError,
    IntegrityError,
    Locked,
    PipelineError,
    ResourceError,
    Transient,
    Unknown,
)
from pipeline.stage import Remote
from pipeline.tools import git

CASES = Path(__file__).parents[1] / "cases" / "git"


@pytest.mark.parametrize(
    "url",
    [
        "ssh://git@10.0.0.1:30022/coulomb/{app}.git",
        "git@gitea.example.org:coulomb/{app}.git",
        "https://gitea.example.org/coulomb/{app}.git",
        "ssh://[fd00::1]:22/x",
    ],
)
def test_addresses_that_are_used(url: str) -> None:
    assert git.remote_url(Remote(url), "probe") == url.replace("{app}", "probe")


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /x",
        "file:///etc",
        "/etc/passwd",
        "http://plain.example.org/x",
        "git://example.org/x",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-oProxyCommand=x/y",
        "--upload-pack=x",
        "https://user:password@example.org/x",
        "ssh://host/a b",
        "host:-x",
        "ssh://host/a;id",
        "ssh://host/$(id)",
        "ssh://host/a\n",
        "",
    ],
)
def test_i02_i03_addresses_that_run_programs_or_become_options_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        git.remote_url(Remote(url), "probe")


@pytest.mark.parametrize("name", ["main", "feature/x-1", "release/2.0", "user@x", "#12"])
def test_branches_that_are_pushed(name: str) -> None:
    assert git.branch_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--upload-pack=x", "a b", "a..b", "a//b",
      "a/", "/a", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a@{1}", "a:b", "a;b", "$(x)", "a\n", "~", "^"]
)  # fmt: skip
def test_i01_i02_branches_that_are_not(name: str) -> None:
    with pytest.raises(ConfigError, match="not taken here"):
        git.branch_name(name)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_i01_every_word_of_the_ssh_command_stays_one_word(path: str) -> None:
    words = shlex.split(git.ssh_command(Remote("x", identity_file=path, known_hosts=path)))
    assert f'IdentityFile="{path}"' in words
    assert f'UserKnownHostsFile="{path}"' in words
    assert words[0] == "ssh"
    assert set(words[1::2]) == {"-o"}


def test_ssh_never_asks_never_learns_and_notices_a_dead_line() -> None:
    words = shlex.split(git.ssh_command(Remote("x")))
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3", "ForwardAgent=no"):
        assert option in words
    assert not any(word.startswith(("IdentityFile", "UserKnownHostsFile")) for word in words)


def test_a_push_is_never_forced() -> None:
    words = git.push("ssh://h/x", "1" * 40, "refs/heads/main")
    assert words[-3:] == ("--", "ssh://h/x", f"{'1' * 40}:refs/heads/main")
    assert not any("force" in word or word.startswith("+") for word in words)
    assert "--no-verify" in words


@pytest.mark.parametrize(
    ("name", "flag", "done"),
    [("push-done", " ", True), ("push-new", "*", True), ("push-same", "=", True), ("push-behind", "!", False)],
)
def test_what_a_push_did(name: str, flag: str, done: bool) -> None:
    pushed = git.read_push((CASES / f"{name}.txt").read_bytes())
    assert pushed is not None
    assert (pushed.flag, pushed.done) == (flag, done)


def test_a_push_that_did_not_get_far_says_nothing() -> None:
    assert git.read_push(b"") is None
    assert git.read_push(b"To ssh://h/x\nDone\n") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ssh: connect to host h port 22: Connection refused", Transient),
        ("ssh: connect to host h port 22: Connection timed out", Transient),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution", Transient),
        ("kex_exchange_identification: read: Connection reset by peer", Transient),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 503", Transient),
        ("Timeout, server h not responding.", Transient),
        ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.", HostKeyError),
        ("No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.", HostKeyError),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", AuthError),
        ("fatal: Authentication failed for 'https://h/x/'", AuthError),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", AuthError),
        ("Gitea: Repository not found\nfatal: Could not read from remote repository.", ConfigError),
        ("error: unable to write file: No space left on device", ResourceError),
        ("remote: error: pre-receive hook declined", ConfigError),
        ("fatal: the remote end hung up unexpectedly", Ambiguous),
        ("fetch-pack: unexpected disconnect while reading sideband packet", Ambiguous),
        ("something new", Unknown),
    ],
)
def test_what_a_failed_push_means(text: str, kind: type[PipelineError]) -> None:
    error = git.remote_error(text, "git remote x", writing=True)
    assert type(error) is kind
    assert error.cause
    if kind is Ambiguous:
        assert type(git.remote_error(text, "git remote x")) is Transient


@pytest.mark.parametrize(
    ("code", "text", "kind", "what"),
    [
        (71, "lacks flock", ConfigError, "flock is not installed"),
        (72, "held by anna@laptop", Locked, "at work"),
        (74, "found 123", IntegrityError, "are not tree"),
        (75, "fatal: pack has 3 unresolved deltas\nspace 90000\ninodes 500", IntegrityError, "does not hold together"),
        (128, "fatal: write error: No space left on device\nspace 12\ninodes 40000", ResourceError, r"full: 0\.0 MiB left"),
        (1, "error: unable to write file x\nspace 12\ninodes 40000", ResourceError, "full"),
        (1, "mkdir: No space left on device\nspace 900000\ninodes 0", ResourceError, "full: 0 inodes left"),
        (1, "mkdir: cannot create directory: Permission denied\nspace 900000\ninodes 5000", ConfigError, "cannot be written"),
        (128, "fatal: unknown option\nspace 900000\ninodes 5000", ConfigError, "failed with code 128"),
    ],
)
def test_what_the_hosts_script_means(code: int, text: str, kind: type[PipelineError], what: str) -> None:
    with pytest.raises(kind, match=what) as caught:
        raise git.receive_error(code, text, "haskelseed", "1234567890ab")
    assert "space " not in caught.value.cause.replace("No space left", "")


def test_what_a_person_types_reaches_the_remote_as_we_do() -> None:
    """In the lab the mend was a git pull that the user's own ssh settings refuse."""
    assert git.by_hand(Remote("ssh://git@h/x.git")) == ""
    words = shlex.split(git.by_hand(Remote("ssh://git@h/x.git", "/keys/id", "/keys/known hosts")) + "git pull")
    assert words[1:] == ["git", "pull"]
    assert 'IdentityFile="/keys/id"' in shlex.split(words[0].removeprefix("GIT_SSH_COMMAND="))


def test_a_repository_that_is_not_there_in_gitea_s_own_words() -> None:
    """Recorded of Gitea's SSH server: asked for a repository that the first push makes."""
    said = "error: Cannot find repository: coulomb/probe\nerror: \nfatal: Could not read from remote repository."
    assert git.is_missing(said)
    assert isinstance(git.remote_error(said, "git remote x"), ConfigError)
