"""Logging in as ssh does: real agents, certificates, hardware keys (of which the agent is an imitation, and sshd is real)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipeline.errors import AuthError
from pipeline.host import Cmd
from pipeline.host.ssh import SshHost
from tests.host.test_ssh_config import HOST, SHORT, User, sign, user  # noqa: F401  # the fixture
from tests.sshd import KEYGEN, Sshd, keygen

SK = "sk-ssh-ed25519@openssh.com"
BARE = "Host builder.lan\n HostName 127.0.0.1\n Port {port}\n"


def strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


@pytest.fixture
def agent(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:  # noqa: F811
    """A real ssh-agent; the words of ssh-add."""
    path = user.ssh.parent / "agent"
    with subprocess.Popen(("ssh-agent", "-D", "-a", str(path)), stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

        def add(*words: str) -> None:
            subprocess.run(("ssh-add", "-q", *words), check=True)

        yield add
        process.terminate()


def hide(key: Path) -> None:
    """Take the private key away; its .pub stays."""
    key.rename(key.with_name(f"{key.name}.hidden"))


def test_the_agents_key_is_used_where_no_file_has_it(user: User, agent: Callable[..., None]) -> None:  # noqa: F811
    agent(str(user.sshd.key))
    hide(user.sshd.key)
    user.says(BARE)
    assert user.run().ok


def test_a_public_file_names_the_agents_key(user: User, agent: Callable[..., None]) -> None:  # noqa: F811
    """As those write it whose keys are on a card, or in a password manager."""
    for name in ("stranger", "other", "client"):
        agent(str(user.sshd.folder / name))
    hide(user.sshd.key)
    user.says(BARE + " IdentityFile {key}.pub\n IdentitiesOnly yes\n")
    assert user.run().ok
    assert user.sshd.log.read_text().count("Failed publickey") == 0
    user.says(BARE + " IdentityFile {key}.pub\n IdentitiesOnly yes\n IdentityAgent none\n")
    with pytest.raises(AuthError, match="there is no key to log in") as caught:
        user.run()
    assert "client.pub is neither beside it nor in an agent" in caught.value.cause


@pytest.mark.parametrize("named", ["$MY_AGENT", "${{MY_AGENT}}", "~/agent", "SSH_AUTH_SOCK"])
def test_the_agent_is_the_one_that_is_configured(
    user: User,  # noqa: F811
    agent: Callable[..., None],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent(str(user.sshd.key))
    hide(user.sshd.key)
    monkeypatch.setenv("MY_AGENT", os.environ["SSH_AUTH_SOCK"])
    if named != "SSH_AUTH_SOCK":
        monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent")
    user.says(BARE + f" IdentityAgent {named}\n")
    assert user.run().ok


def test_a_locked_key_is_used_through_the_agent_and_told_without(user: User, agent: Callable[..., None]) -> None:  # noqa: F811
    agent(str(user.sshd.key))
    subprocess.run((KEYGEN, "-q", "-p", "-P", "", "-N", "a passphrase", "-f", str(user.sshd.key)), check=True, stdout=subprocess.DEVNULL)
    user.says(HOST)
    assert user.run().ok
    with contextlib.closing(user.sshd.host()) as host:
        assert host.run(Cmd(("true",))).ok, "the site's own identity_file too"
    agent("-D")
    with pytest.raises(AuthError) as caught:
        user.run()
    assert f"{user.sshd.key} is locked by a passphrase: unlock it first: ssh-add {user.sshd.key}" in caught.value.cause


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
@pytest.mark.parametrize("where", ["file", "named file", "agent", "agent that has nothing but it", "agent for a file"])
def test_a_user_is_known_by_a_certificate(user: User, agent: Callable[..., None], kind: str, where: str) -> None:  # noqa: F811
    folder = user.ssh.parent / "certified"
    folder.mkdir()
    keygen(folder / "authority")
    key = folder / "id"
    subprocess.run((KEYGEN, "-q", "-t", kind, *SHORT.get(kind, ()), "-N", "", "-f", str(key)), check=True)
    certificate = sign(folder / "authority", key.with_name("id.pub"), "-n", user.sshd.user)
    config = {"file": f" IdentityFile {key}\n", "named file": f" IdentityFile {key}\n CertificateFile ~/the-cert.pub\n"}.get(where, "")
    if where.startswith("agent"):
        agent(str(key))
        if where == "agent that has nothing but it":
            agent("-d", "-k", str(key))
        hide(key)
        if where == "agent for a file":
            agent("-D")
            key.with_name("id.hidden").rename(key)
            agent("-k", str(key))
            hide(key)
            config = f" IdentityFile {key}\n"
        else:
            certificate.unlink()
    elif where == "named file":
        certificate.rename(user.ssh.parent / "the-cert.pub")
    with Sshd(folder, f"TrustedUserCAKeys {folder / 'authority.pub'}").running() as sshd:
        (folder / "authorized_keys").write_text("")
        there = User(user.ssh, sshd)
        there.says(BARE + config)
        assert there.run().ok


class Card(threading.Thread):
    """An agent with a hardware key, which signs once somebody has touched it."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self.key = Ed25519PrivateKey.generate()
        self.seconds = seconds
        self.blob = strings(SK.encode(), self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), b"ssh:")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self.server.accept()
                with line, contextlib.suppress(struct.error):
                    while True:
                        (size,) = struct.unpack(">I", line.recv(4))
                        line.sendall(strings(self.answer(line.recv(size, socket.MSG_WAITALL))))

    def answer(self, question: bytes) -> bytes:
        if question[0] == 11:
            return bytes([12]) + struct.pack(">I", 1) + strings(self.blob, b"a card")
        time.sleep(self.seconds)
        message = paramiko.Message(question[1:])
        message.get_binary()
        after = bytes([1]) + struct.pack(">I", 7)  # somebody was there; how often it has signed
        signed = hashlib.sha256(b"ssh:").digest() + after + hashlib.sha256(message.get_binary()).digest()
        return bytes([14]) + strings(strings(SK.encode(), self.key.sign(signed)) + after)


def test_a_hardware_key_works_through_the_agent(user: User, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Also if somebody takes longer to touch it than a login may take otherwise."""
    monkeypatch.setattr("pipeline.host.ssh_link.GREETING", 1.0)
    card = Card(user.ssh.parent / "card", 2.0)
    (user.sshd.folder / "authorized_keys").write_bytes(f"{SK} ".encode() + base64.b64encode(card.blob) + b"\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(user.ssh.parent / "card"))
    user.says(BARE)
    assert user.run().ok
    card.server.close()


def test_a_hardware_key_in_a_file_says_that_it_wants_an_agent(user: User) -> None:  # noqa: F811
    public = strings(SK.encode(), bytes(32), b"ssh:")
    inner = b"openssh-key-v1\0" + strings(b"none", b"none", b"") + struct.pack(">I", 1) + strings(public, b"handle")
    text = base64.b64encode(inner).decode()
    file = user.ssh / "id_ed25519_sk"
    file.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}\n-----END OPENSSH PRIVATE KEY-----\n")
    user.says(BARE)
    with pytest.raises(AuthError, match="there is no key to log in") as caught:
        user.run()
    assert caught.value.cause == f"{file} is a hardware key, which only an agent can use: ssh-add {file}"


def test_more_keys_than_sshd_hears_are_told_with_the_setting(user: User, agent: Callable[..., None]) -> None:  # noqa: F811
    for number in range(7):
        keygen(user.ssh.parent / f"key{number}")
        agent(str(user.ssh.parent / f"key{number}"))
    user.says(BARE)
    with pytest.raises(AuthError, match="refused the login") as caught:
        user.run()
    assert re.search(r"closed the connection after \d keys", caught.value.cause)
    assert "IdentitiesOnly yes" in caught.value.mend


def test_a_machine_that_wants_more_than_a_key_is_told_at_once(tmp_path: Path) -> None:
    with Sshd(tmp_path, "AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes").running() as sshd:
        with pytest.raises(AuthError) as caught:
            sshd.host().run(Cmd(("true",)))
        assert "takes the key, and wants keyboard-interactive besides" in caught.value.cause
        assert "AuthenticationMethods publickey" in caught.value.mend


def test_a_machine_that_takes_no_keys_is_told_at_once(tmp_path: Path) -> None:
    with Sshd(tmp_path, "PubkeyAuthentication no", "KbdInteractiveAuthentication yes").running() as sshd:
        with pytest.raises(AuthError) as caught:
            sshd.host().run(Cmd(("true",)))
        assert "it takes no keys, only keyboard-interactive" in caught.value.cause


def test_an_agent_that_is_gone_does_not_hold_up_the_key_in_a_file(user: User, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("SSH_AUTH_SOCK", str(user.ssh / "gone"))
    user.says(HOST)
    assert user.run().ok
    shutil.copy(user.sshd.folder / "stranger", user.sshd.key)
    shutil.copy(user.sshd.folder / "stranger.pub", f"{user.sshd.key}.pub")
    with pytest.raises(AuthError) as caught:
        SshHost("builder", "builder.lan", 22, user.sshd.user).run(Cmd(("true",)))
    assert f"the ssh-agent at {user.ssh / 'gone'} does not answer" in caught.value.cause
