"""Whatever the login shell on a machine is, and whatever stands in its place: a command runs as it is, or the reason is told soon."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.host import Cmd
from pipeline.host.scripts import login_line
from tests.sshd import Sshd

pytestmark = pytest.mark.real  # fish and tcsh are installed beside the tests of programs
NASTY = ("a b", "'", '"', "\\", "\\\\", "\\'", "!", "!!", "!x", "$HOME", "`id`", "$(id)", "a\nb", "\n", "end\n", "*", "~", "", "-n", "%s",
         "%b", "\t", "ä€", "^a^b", "#", ";", "&", "|", "<", "{a,b}", "[a]", "=a",
         "\x01\x7f", b"\xff\xfe".decode(errors="surrogateescape"))  # fmt: skip
SHELLS = ("sh", "bash", "tcsh", "fish", "busybox sh", "rbash")


def program(shell: str) -> str:
    name, _, applet = shell.partition(" ")
    found = shutil.which(name)
    assert found, f"install {name} (python -m tests.programs does): without it nothing shows that such a login shell works"
    return f"{found} {applet}".strip()


def as_login_shell(shell: str) -> str:
    return f'ForceCommand exec {program(shell)} -c "$SSH_ORIGINAL_COMMAND"'


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_arrives_as_it_is(tmp_path: Path, shell: str) -> None:
    with Sshd(tmp_path, as_login_shell(shell)).running() as sshd, contextlib.closing(sshd.host()) as host:
        done = host.run(Cmd(("printf", "%s\\0", *NASTY), env={"X": "it's!\n"}))
        assert done.stdout.decode(errors="surrogateescape").split("\0")[:-1] == list(NASTY)
        assert host.run(Cmd(("sh", "-c", 'printf "%s" "$X"; exit 3'), env={"X": "it's!\n"})).stdout == b"it's!\n"
        assert host.run(Cmd(("sh", "-c", "cat; exit 7"), stdin=b"in\0put")).code == 7


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_a_file_is_put_and_a_script_runs(tmp_path: Path, shell: str) -> None:
    source, target = tmp_path / "source", tmp_path / "a folder" / "it's"
    source.write_bytes(bytes(range(256)) * 1000)
    with Sshd(tmp_path, as_login_shell(shell)).running() as sshd, contextlib.closing(sshd.host()) as host:
        host.put(source, str(target))
        long = "x" * 50_000 + "\n'"
        assert host.run(Cmd(("printf", "%s", long))).stdout.decode() == long
    assert target.read_bytes() == source.read_bytes()


def test_what_would_be_too_long_goes_as_a_posix_shell_reads_it(tmp_path: Path) -> None:
    long = "'\n" * 8000
    assert login_line(("printf", long)).startswith(b"printf ")
    with Sshd(tmp_path).running() as sshd, contextlib.closing(sshd.host()) as host:
        assert host.run(Cmd(("printf", "%s", long))).stdout.decode() == long


@pytest.mark.parametrize("path", ["/nonexistent", "/usr/bin:/bin"])
def test_a_path_that_lacks_the_usual_places_is_added_to(tmp_path: Path, path: str) -> None:
    forced = f'ForceCommand PATH={path}; export PATH; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
    with Sshd(tmp_path, forced).running() as sshd, contextlib.closing(sshd.host()) as host:
        if path == "/nonexistent":
            with pytest.raises(ConfigError, match="runs no commands") as caught:
                host.run(Cmd(("true",)))
            assert "sh: not found" in caught.value.cause
            return
        said = host.run(Cmd(("sh", "-c", "echo $PATH; command -v sshd"))).text
    assert said.startswith(f"{path}:/usr/local/sbin:")
    assert "/nix/var/nix/profiles/default/bin" in said
    assert said.endswith("/sbin/sshd")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exec cat", ""),
        ("exec bash", "command not found"),
        ("echo 'Choose: 1) status 2) restart'; exec sleep 30", "Choose"),
        ("echo 'fatal: Interactive git shell is not enabled.' >&2; exit 128", "git shell is not enabled"),
        ("internal-sftp", ""),
    ],
    ids=["cat", "a shell", "a menu", "git-shell", "sftp"],
)
def test_a_forced_command_that_is_not_ours_is_told_soon(tmp_path: Path, command: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.ssh_talk.STRANGE", 1.0)
    sshd = Sshd(tmp_path, f"ForceCommand {command}")
    with sshd.running(), contextlib.closing(sshd.host()) as host, pytest.raises(ConfigError, match="runs no commands") as caught:
        host.run(Cmd(("true",), timeout=25))
    assert said in caught.value.cause
    assert "ForceCommand" in caught.value.mend


def test_a_key_with_a_command_of_its_own_is_told(tmp_path: Path) -> None:
    with Sshd(tmp_path).running() as sshd:
        keys = sshd.folder / "authorized_keys"
        keys.write_text(f'restrict,command="echo no shell for you" {keys.read_text()}')
        with contextlib.closing(sshd.host()) as host, pytest.raises(ConfigError, match="runs no commands") as caught:
            host.run(Cmd(("true",)))
    assert caught.value.cause == "no shell for you"
