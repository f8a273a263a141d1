from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.tools.gitops import Message, Repository
from pipeline.tools.gitops_call import signing_error
from pipeline.tools.gitops_commit import Author, author, checked
from tests.sshd import processes, settled
from tests.tools.gitserver import Server, server

__all__ = ["server"]

HELLO = Message("hello")


def config(server: Server, text: str) -> None:
    (server.folder / "own" / ".gitconfig").write_text(text)


def first(repository: Repository, **files: bytes) -> str:
    return repository.publish(lambda _head: files, HELLO, first=True).commit


def test_a_commit_without_a_work_tree_keeps_modes_and_everything_else(server: Server) -> None:
    def change(home: Path) -> None:
        (home / "run.sh").write_text("one\n")
        (home / "run.sh").chmod(0o755)
        (home / "deep" / "er").mkdir(parents=True)
        (home / "deep" / "er" / "x").write_text("x\r\n")
        (home / "grün name").write_bytes(b"\x00\xff")
        (home / ".gitattributes").write_text("* text=auto eol=crlf\n")

    server.at_home(change, "commit", "-qm", "begin")
    repository = server.repository()
    head = repository.look()
    made = repository.commit(head.commit, {"run.sh": b"two\n", "deep/new/y": b"y\r\n", "grün name": None, "never there": None}, HELLO)
    listed = [line.split("\t") for line in _git(repository.folder, "-c", "core.quotePath=false", "ls-tree", "-r", made).splitlines()]
    assert [(head.split(" ")[0], path) for head, path in listed] == [
        ("100644", ".gitattributes"),
        ("100644", "deep/er/x"),
        ("100644", "deep/new/y"),
        ("100755", "run.sh"),
    ]
    assert repository.at(made).read("deep/new/y") == b"y\r\n"
    assert server.head == head.commit
    assert sorted(path.name for path in repository.folder.iterdir() if path.name.startswith("index")) == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".git/config", "a/.GIT/hooks/x", "a\nb", "a\x00b"])
def test_a_path_that_leads_out_is_refused(server: Server, path: str) -> None:
    with pytest.raises(ConfigError, match="not a path within"):
        checked(path)
    with pytest.raises(ConfigError, match="not a path within"):
        first(server.repository(), **{path: b"x"})


def test_links_submodules_and_folders_are_not_written_through(server: Server) -> None:
    def change(home: Path) -> None:
        (home / "link").symlink_to("/etc/passwd")
        (home / "folder").mkdir()
        (home / "folder" / "file").write_text("x")
        (home / "elsewhere").symlink_to("folder")
        subprocess.run(["git", "init", "-q", str(home / "module")], check=True)
        subprocess.run(["git", "-C", str(home / "module"), "commit", "-qm", "x", "--allow-empty"], check=True)

    server.at_home(change, "commit", "-qm", "begin")
    repository = server.repository()
    head = repository.look()
    for path, what in (
        ("link", "a link"),
        ("elsewhere/file", "a link"),
        ("module", "a submodule"),
        ("module/x", "a submodule"),
        ("folder", "a folder"),
        ("folder/file/x", "a file"),
    ):
        with pytest.raises(ConfigError, match=f"is {what} in the GitOps repository"):
            repository.commit(head.commit, {path: b"x"}, HELLO)
    with pytest.raises(ConfigError, match="link is not a file"):
        head.read("link")


def test_the_identity_is_the_users_own_or_the_pipelines(server: Server) -> None:
    root = server.folder / "copy"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert author(root, "git") == Author("Grace", "grace@example.org")
    subprocess.run(["git", "-C", str(root), "config", "user.email", "here@example.org"], check=True)
    subprocess.run(["git", "-C", str(root), "config", "gpg.format", "ssh"], check=True)
    subprocess.run(["git", "-C", str(root), "config", "user.signingkey", "keys/id.pub"], check=True)
    assert author(root, "git") == Author("Grace", "here@example.org", str(root / "keys/id.pub"), "ssh")
    assert author(server.folder, "git").email == "grace@example.org"
    config(server, "")
    host = socket.gethostname().split(".")[0]
    assert author(server.folder, "git") == Author("pipeline", f"pipeline@{host}")
    made = first(server.repository(), x=b"x")
    assert server.git("log", "-1", "--format=%an %ae %cn", made) == f"pipeline pipeline@{host} pipeline"


def test_a_name_obeys_no_terminal(server: Server) -> None:
    config(server, "[user]\n\tname = Gr\x1bace\n\temail = a@example.org\n")
    assert author(server.folder, "git").name == "Gr ace"


@pytest.fixture
def key(server: Server) -> Path:
    """An ssh key of the test's, without a passphrase."""
    path = server.folder / "signing"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_a_commit_is_signed_with_an_ssh_key_where_it_is_asked_for(server: Server, key: Path) -> None:
    config(server, f"[user]\n\tname = Grace\n\temail = grace@example.org\n\tsigningkey = {key}.pub\n[gpg]\n\tformat = ssh\n")
    made = first(server.repository(sign=True), x=b"x")
    (server.folder / "allowed").write_text(f"grace@example.org {key.with_suffix('.pub').read_text()}")
    verified = subprocess.run(
        ["git", "-C", str(server.path), "-c", f"gpg.ssh.allowedSignersFile={server.folder / 'allowed'}", "verify-commit", made],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert 'Good "git" signature for grace@example.org' in verified.stderr
    assert "gpgsig" not in server.git("cat-file", "commit", first(server.repository(), x=b"y"))


def test_settings_of_the_users_change_nothing_of_a_commit(server: Server) -> None:
    more = "[commit]\n\tgpgSign = true\n[core]\n\tautocrlf = true\n[safe]\n\tbareRepository = explicit\n[i18n]\n\tcommitEncoding = latin1\n"
    config(server, f"[user]\n\tname = Gr\u00fcn\n\temail = g@example.org\n\tuseConfigOnly = true\n{more}")
    made = first(server.repository(), x=b"a\r\nb\n")
    assert server.repository().look().need("x") == b"a\r\nb\n"
    config(server, "")
    raw = server.git("cat-file", "commit", made)
    assert "encoding" not in raw
    assert "gpgsig" not in raw
    assert "Gr\u00fcn <g@example.org>" in raw


def test_no_key_no_program_and_a_passphrase_are_told_apart(server: Server, key: Path) -> None:
    repository = server.repository(sign=True)
    who = "[user]\n\tname = Grace\n\temail = grace@example.org\n"
    config(server, f"{who}[gpg]\n\tformat = ssh\n")
    with pytest.raises(ConfigError, match="there is no signing key") as caught:
        first(repository, x=b"x")
    assert "user.signingkey" in caught.value.mend
    config(server, f"{who}\tsigningkey = {server.folder / 'absent'}\n[gpg]\n\tformat = ssh\n")
    with pytest.raises(ConfigError, match="there is no signing key"):
        first(repository, x=b"x")
    config(server, f'{who}\tsigningkey = {key}.pub\n[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tprogram = no-such-program\n')
    with pytest.raises(ConfigError, match="the program that signs is not installed"):
        first(repository, x=b"x")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)], check=True)
    config(server, f"{who}\tsigningkey = {key}\n[gpg]\n\tformat = ssh\n")
    with pytest.raises(ConfigError, match="locked by a passphrase"):
        first(repository, x=b"x")
    assert server.git("for-each-ref") == ""


def test_a_commit_signed_with_gpg(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with _gpg_home() as home:
        monkeypatch.setenv("GNUPGHOME", str(home))
        gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-generate-key", "Grace <grace@example.org>", "ed25519", "sign"], check=True, capture_output=True)
        made = first(server.repository(sign=True), x=b"x")
        assert "-----BEGIN PGP SIGNATURE-----" in server.git("cat-file", "commit", made)
        config(server, "[user]\n\tname = Nobody\n\temail = nobody@example.org\n\tsigningkey = 0123456789ABCDEF\n")
        with pytest.raises(ConfigError, match="the commit could not be signed") as caught:  # git 2.39 keeps gpg's reason to itself
            first(server.repository(sign=True), x=b"y")
        assert "gpg --list-secret-keys" in caught.value.mend


def test_a_program_that_waits_for_somebody_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    program = server.folder / "bin" / "asks"
    program.write_text(f"#!/bin/sh\necho $$ > {server.folder / 'pid'}\nsleep 60\n")
    program.chmod(0o755)
    config(server, f"[user]\n\tname = Grace\n\temail = grace@example.org\n[gpg]\n\tprogram = {program}\n")
    monkeypatch.setattr("pipeline.tools.gitops_commit.SIGN_TIMEOUT", 0.5)
    with pytest.raises(ConfigError, match="locked by a passphrase, and nobody is asked"):
        first(server.repository(sign=True), x=b"x")
    assert settled(lambda: not processes(str(program)))


def test_an_unknown_reason_is_told_as_it_is() -> None:
    error = signing_error("error: gpg failed to sign the data\nfatal: failed to write commit object", "openpgp")
    assert error.what == "the commit could not be signed"
    assert "failed to sign" in error.cause
    assert "sign: false" in error.mend


@contextlib.contextmanager
def _gpg_home() -> Iterator[Path]:
    """A folder for gpg's keys and its agent's socket, whose path has to be short."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        try:
            yield Path(folder)
        finally:
            subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, capture_output=True)


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()
