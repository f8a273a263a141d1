"""OpenSSH's files are read as ssh reads them: against a real sshd, with the user's own ~/.ssh."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, HostKeyError, Transient
from pipeline.host import Cmd, Output
from pipeline.host.ssh import SshHost
from pipeline.host.ssh_config import Way, route
from pipeline.host.ssh_keys import lines_about
from pipeline.records import actor
from tests.sshd import KEYGEN, Sshd, fingerprint, keygen, processes, settled

TRUE = Cmd(("true",))


@dataclasses.dataclass(frozen=True)
class User:
    """A home with ~/.ssh, and what its config says; {port}, {key} and {known} are those of `sshd`."""

    ssh: Path
    sshd: Sshd

    def says(self, config: str, known: str | None = None) -> None:
        sshd = self.sshd
        (self.ssh / "config").write_text(config.format(port=sshd.address.port, key=sshd.key, known=sshd.known))
        (self.ssh / "known_hosts").write_text(sshd.known.read_text() if known is None else known)

    def run(self, name: str = "builder.lan", cmd: Cmd = TRUE, port: int = 22) -> Output:
        with contextlib.closing(SshHost("builder", name, port, self.sshd.user)) as host:
            return host.run(cmd)

    @property
    def word(self) -> str:
        """The host key, as a line of known_hosts ends."""
        return " ".join((self.sshd.folder / "host.pub").read_text().split()[:2])


HOST = "Host builder.lan\n HostName 127.0.0.1\n Port {port}\n IdentityFile {key}\n"


SHORT = {"rsa": ("-b", "2048")}  # the shortest that is still in use: to find the primes of a longer one takes a second


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd").running() as sshd:
        yield User(tmp_path / ".ssh", sshd)


def sign(authority: Path, public: Path, *words: str) -> Path:
    """A certificate of `public`, beside it."""
    subprocess.run((KEYGEN, "-q", "-s", str(authority), "-I", "an identity", *words, str(public)), check=True)
    return public.with_name(public.name.replace(".pub", "-cert.pub"))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(HOST + "Match final all\n ServerAliveInterval 20\n", id="Match final"),
        pytest.param("Match final host 127.0.0.1\n IdentityFile {key}\n" + HOST.replace("{key}", "none"), id="Match final host"),
        pytest.param(HOST.replace("Host ", "Match exec true host ", 1), id="Match exec"),
        pytest.param("Match host builder.lan exec false\n ProxyCommand false\n" + HOST, id="Match exec that is not so"),
        pytest.param(HOST + " ProxyJump none\nHost *\n ProxyJump bastion.invalid\n", id="ProxyJump none"),
        pytest.param(HOST + " ProxyCommand none\nHost *\n ProxyCommand false\n", id="ProxyCommand none"),
        pytest.param(HOST + " ProxyCommand busybox nc %h %p 2>/dev/null\n", id="ProxyCommand that is a shell's"),
        pytest.param(HOST + " ProxyCommand ssh -F none -i {key} -o UserKnownHostsFile={known} -p %p -W %h:%p %r@%h\n", id="-W"),
        pytest.param(HOST + " AddressFamily inet\n BindAddress 127.0.0.1\n", id="AddressFamily"),
        pytest.param(HOST.replace("{key}", "%d/sshd/cl${{PART}}"), id="tokens and variables in a path"),
        pytest.param(HOST.replace("IdentityFile {key}", 'IdentityFile "~/a key"'), id="a blank in a path"),
        pytest.param("Host = builder.lan\nHostName=127.0.0.1\n\tport\t{port}\n identityfile={key}\n", id="= and tabs"),
        pytest.param(HOST + " Ciphers aes256-ctr\n PubkeyAcceptedAlgorithms +ssh-rsa\n", id="algorithms"),
    ],
)  # fmt: skip
def test_the_configuration_means_what_ssh_takes_it_for(user: User, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PART", "ient")
    shutil.copy(user.sshd.key, user.ssh.parent / "a key")
    user.says(config)
    assert user.run().ok


def test_a_file_that_is_included_counts(user: User) -> None:
    user.says("Include conf.d/* ~/more\n")
    (user.ssh / "conf.d").mkdir()
    (user.ssh / "conf.d" / "lan").write_text(f"Host builder.lan\n HostName 127.0.0.1\n Port {user.sshd.address.port}\n")
    (user.ssh.parent / "more").write_text(f"IdentityFile {user.sshd.key}\n")
    assert user.run().ok


@pytest.mark.parametrize(
    ("config", "given", "meant"),
    [
        ("Host builder.lan\n User tegwick\n", "", "tegwick"),
        ("Match host builder.lan\n User tegwick\nHost *\n User anna\n", "", "tegwick"),
        ("Host builder.lan\n User tegwick\n", "anna", "anna"),
        ("Host another.lan\n User tegwick\n", "", "root"),
        ("", "", "root"),
    ],
)
def test_the_user_is_that_of_the_site_then_that_of_the_file_then_root(
    user: User, config: str, given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.says(config)
    for program in (shutil.which("ssh"), None):
        monkeypatch.setattr(shutil, "which", lambda _name, found=program: found)
        assert route(Way("builder", "builder.lan", user=given))[-1].user == meant


def test_the_user_of_a_machine_on_the_way_is_this_ones(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    user.says("Host builder.lan\n ProxyJump bastion.lan\n")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert [hop.user for hop in route(Way("builder", "builder.lan"))] == ["anna", "root"]


def test_what_ssh_refuses_is_told_in_its_words(user: User) -> None:
    user.says("Host *\n NoSuchThing yes\n")
    with pytest.raises(ConfigError, match=r"builder\.lan cannot be used") as caught:
        user.run()
    assert "nosuchthing" in caught.value.cause
    assert "ssh -G builder.lan" in caught.value.mend


def test_ssh_is_asked_once_for_each_machine_and_run(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = shutil.which("ssh"), user.ssh / "asked"
    (user.ssh.parent / "bin").mkdir()
    stand_in = user.ssh.parent / "bin" / "ssh"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >>{asked}\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    user.says(HOST)
    host = SshHost("builder", "builder.lan", 22, user.sshd.user)
    for _ in range(2):
        assert host.run(TRUE).ok
        host.close()
    assert len(asked.read_text().splitlines()) == 1
    named = user.sshd.host()
    assert named.run(TRUE).ok
    named.close()
    assert len(asked.read_text().splitlines()) == 1, "the site says all of it"


@pytest.fixture
def bastion(user: User, tmp_path: Path) -> Sshd:
    """A machine that our key is known to, and whose key is known to us."""
    (tmp_path / "bastion").mkdir()
    sshd = Sshd(tmp_path / "bastion")
    shutil.copy(user.sshd.folder / "client.pub", sshd.folder / "authorized_keys")
    return sshd


def over(bastion: Sshd, user: User, jump: str) -> None:
    """Have the way to the builder go over `jump`; `bastion` and `first` are names of machines."""
    named = f"Host bastion\n HostName 127.0.0.1\n Port {bastion.address.port}\nHost first\n HostName 127.0.0.1\n Port {{port}}\n"
    user.says(
        HOST + f" ProxyJump {jump}\n" + named + "Host *\n IdentityFile {key}\n", user.sshd.known.read_text() + bastion.known.read_text()
    )


def test_a_way_over_two_machines_and_one_that_goes_in_a_circle(user: User, bastion: Sshd) -> None:
    over(bastion, user, f"first,ssh://{user.sshd.user}@bastion")
    inner, outer = str(user.sshd.address), str(bastion.address)
    assert [hop.place for hop in route(Way("builder", "builder.lan"))] == [inner, outer, inner]
    with bastion.running():
        assert user.run().ok
    assert user.sshd.log.read_text().count("Accepted publickey") == 2
    user.says(HOST + " ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(ConfigError, match="in a circle"):
        user.run()
    user.says(HOST + " ProxyJump 127.0.0.1:{port}\n")
    with pytest.raises(ConfigError) as caught:
        user.run()
    assert "jumphost loop" in caught.value.cause


def test_a_bastion_that_forwards_nothing_is_told_with_its_setting(user: User, bastion: Sshd) -> None:
    bastion.options = ("AllowTcpForwarding no",)
    over(bastion, user, "bastion")
    with bastion.running(), pytest.raises(ConfigError, match=f"no way to {user.sshd.address} over {bastion.address}") as caught:
        user.run()
    assert "AllowTcpForwarding yes" in caught.value.mend


def test_a_machine_that_the_bastion_does_not_reach_may_come_back(user: User, bastion: Sshd) -> None:
    over(bastion, user, "bastion")
    user.sshd.stop()
    with bastion.running(), pytest.raises(Transient, match=f"no way to {user.sshd.address} over {bastion.address}"):
        user.run()


def test_a_proxy_command_that_fails_has_the_first_word(user: User) -> None:
    user.says(HOST + " ProxyCommand echo 'Service Unavailable' >&2; exit 1\n")
    with pytest.raises(Transient, match="through ProxyCommand") as caught:
        user.run()
    assert caught.value.cause == "Service Unavailable"
    user.says(HOST + " ProxyCommand no-such-program %h\n")
    with pytest.raises(ConfigError, match="through ProxyCommand") as refused:
        user.run()
    assert "not found" in refused.value.cause


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (" UserKnownHostsFile ~/.ssh/first ~/.ssh/second\n", {"second": "[127.0.0.1]:{port} {word}\n"}),
        (' UserKnownHostsFile /dev/null "~/.ssh/a second"\n', {"a second": "[127.0.0.1]:{port} {word}\n"}),
        (" GlobalKnownHostsFile ~/.ssh/all\n", {"all": "[127.0.0.1]:{port} {word}\n"}),
        ("", {"known_hosts2": "[127.0.0.1]:{port} {word}\n"}),
        (" HostKeyAlias the-builder\n", {"known_hosts": "the-builder {word}\n"}),
        ("", {"known_hosts": "127.0.0.1 {word}\n"}),
        ("", {"known_hosts": "127.0.0.* {word}\n"}),
        ("", {"known_hosts": "[?27.0.0.1]:{port} {word}\n"}),
        ("", {"known_hosts": "[127.0.0.1]:{port} {other}\n[127.0.0.1]:{port} {word}\n"}),
        ("", {"known_hosts": "other,[127.0.0.?]:*,!10.* {word} a comment\n"}),
        (" StrictHostKeyChecking accept-new\n", {}),
    ],
    ids=[
        "second file",
        "a blank",
        "global",
        "known_hosts2",
        "alias",
        "no port",
        "pattern",
        "pattern with a port",
        "an old key beside",
        "list",
        "accept-new",
    ],
)
def test_a_host_key_is_found_where_ssh_finds_it(user: User, config: str, known: dict[str, str]) -> None:
    user.says(HOST + config, known="")
    for name, line in known.items():
        other = " ".join((user.sshd.folder / "other.pub").read_text().split()[:2])
        (user.ssh / name).write_text(line.format(port=user.sshd.address.port, word=user.word, other=other))
    assert user.run().ok


@pytest.mark.parametrize(
    "line",
    ["!127.0.0.1,127.0.0.* {word}\n", "[127.0.0.1]:1 {word}\n", "#[127.0.0.1]:{port} {word}\n", "builder.lan {word}\n"],
    ids=["exception", "another port", "comment", "the name before HostName"],
)
def test_a_line_about_another_machine_is_none_about_this_one(user: User, line: str) -> None:
    user.says(HOST, known=line.format(port=user.sshd.address.port, word=user.word))
    with pytest.raises(HostKeyError, match="is not known") as caught:
        user.run()
    assert fingerprint(user.sshd.folder / "host.pub") in caught.value.cause


def test_what_only_ssh_itself_follows_is_said_where_it_may_be_the_cause(user: User) -> None:
    user.says(HOST + " KnownHostsCommand /usr/bin/our-hosts %H\n", known="")
    with pytest.raises(HostKeyError) as caught:
        user.run()
    assert "KnownHostsCommand /usr/bin/our-hosts %H is not asked" in caught.value.cause
    user.says(HOST.replace("{key}", "none") + " PKCS11Provider /usr/lib/opensc-pkcs11.so\n")
    with pytest.raises(AuthError) as refused:
        user.run()
    assert "ssh-add -s /usr/lib/opensc-pkcs11.so" in refused.value.cause


def test_hashed_names_are_found(user: User) -> None:
    user.says(HOST)
    subprocess.run((KEYGEN, "-H", "-f", str(user.ssh / "known_hosts")), check=True, capture_output=True)
    assert "127.0.0.1" not in (user.ssh / "known_hosts").read_text()
    assert user.run().ok


def test_taking_any_key_is_not_followed_and_told(user: User) -> None:
    user.says(HOST + " StrictHostKeyChecking" + " no\n UserKnownHostsFile /dev/null\n", known="")
    with pytest.raises(HostKeyError, match="is not known") as caught:
        user.run()
    assert "any key (StrictHostKeyChecking) is not followed" in caught.value.cause
    assert "known_hosts of this host in the site file" in caught.value.mend


@pytest.mark.parametrize("form", ["list", "krl"])
def test_a_key_that_revokedhostkeys_names_is_refused(user: User, form: str) -> None:
    user.says(HOST + " RevokedHostKeys ~/.ssh/revoked\n")
    public = user.sshd.folder / "host.pub"
    revoked = user.ssh / "revoked"
    if form == "list":
        shutil.copy(public, revoked)
    else:
        subprocess.run((KEYGEN, "-q", "-k", "-f", str(revoked), str(public)), check=True)
    with pytest.raises(HostKeyError, match="is revoked"):
        user.run()
    if form == "list":
        shutil.copy(user.sshd.folder / "other.pub", revoked)
    else:
        revoked.unlink()
        subprocess.run((KEYGEN, "-q", "-k", "-f", str(revoked), str(user.sshd.folder / "other.pub")), check=True)
    assert user.run().ok


@contextlib.contextmanager
def certified(user: User, kind: str, *words: str, signer: str = "authority") -> Iterator[User]:
    """The user of a sshd that shows a certificate; known is the authority, and no key."""
    folder = user.ssh.parent / "certified"
    folder.mkdir()
    keygen(folder / "authority")
    keygen(folder / "stranger-authority")
    subprocess.run((KEYGEN, "-q", "-t", kind, *SHORT.get(kind, ()), "-N", "", "-f", str(folder / "shown")), check=True)
    certificate = sign(folder / signer, folder / "shown.pub", *words)
    with Sshd(folder, f"HostKey {folder / 'shown'}", f"HostCertificate {certificate}").running() as sshd:
        there = User(user.ssh, sshd)
        authority = " ".join((folder / "authority.pub").read_text().split()[:2])
        there.says(HOST + " HostKeyAlias builder.example.org\n", known=f"@cert-authority *.example.org,!no.example.org {authority}\n")
        yield there


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_is_known_by_its_authority(user: User, kind: str) -> None:
    with certified(user, kind, "-h", "-n", "builder.example.org") as there:
        assert there.run().ok


def test_an_authority_at_another_port_is_asked_for_the_bare_name(user: User) -> None:
    with certified(user, "ed25519", "-h", "-n", "127.0.0.1") as there:
        authority = (there.ssh / "known_hosts").read_text().split()
        there.says(HOST, known=f"@cert-authority 127.0.0.1 {' '.join(authority[2:])}\n")
        assert there.run().ok


@pytest.mark.parametrize(
    ("words", "signer", "said"),
    [
        (("-h", "-n", "other.example.org"), "authority", "it is for other.example.org"),
        (("-n", "builder.example.org"), "authority", "it is not one of a host"),
        (("-h", "-n", "builder.example.org", "-V", "20200101:20200102"), "authority", "it has run out"),
        (("-h", "-n", "builder.example.org", "-V", "+1d:+2d"), "authority", "it is not valid yet"),
        (("-h", "-n", "builder.example.org"), "stranger-authority", "which is no authority for it"),
    ],
    ids=["another host", "a user's", "old", "of tomorrow", "another authority"],
)
def test_a_certificate_that_ssh_would_not_take_is_refused(user: User, words: tuple[str, ...], signer: str, said: str) -> None:
    with certified(user, "ed25519", *words, signer=signer) as there, pytest.raises(HostKeyError) as caught:
        there.run()
    assert said in str(caught.value) + caught.value.cause
    assert "Accepted" not in there.sshd.log.read_text()


def test_a_revoked_authority_vouches_for_nobody(user: User) -> None:
    with certified(user, "ed25519", "-h", "-n", "builder.example.org") as there:
        with (there.ssh / "known_hosts").open("a") as known:
            known.write((there.ssh / "known_hosts").read_text().replace("@cert-authority *.example.org,!no.example.org", "@revoked *"))
        with pytest.raises(HostKeyError, match="is revoked"):
            there.run()


def test_without_ssh_the_plain_file_is_read_and_the_rest_told(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(user.ssh.parent / "nothing"))
    user.says(HOST + " ProxyJump none\n")
    assert user.run().ok
    user.says(HOST, known=f"!10.0.0.1,127.0.0.* {user.word}\n")
    assert user.run().ok
    user.says(HOST + "Match final all\n")
    with pytest.raises(ConfigError, match="without OpenSSH") as caught:
        user.run()
    assert "openssh-client" in caught.value.mend


def test_lines_are_found_alike_with_and_without_ssh_keygen(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    file = user.ssh / "known_hosts"
    other = " ".join((user.sshd.folder / "other.pub").read_text().split()[:2])
    file.write_text(
        f"plain {user.word}\n*.org,!no.org {other} x\n@cert-authority *.ca {user.word}\n@revoked * {other}\nbad line\n"
        f"hashed {user.word}\n[plain]:2222 {other}\nUPPER {other}\n"
    )
    lone = user.ssh / "lone"
    lone.write_text(f"hashed {user.word}\n")
    subprocess.run((KEYGEN, "-H", "-f", str(lone)), check=True, capture_output=True)
    names = ("plain", "a.org", "no.org", "x.ca", "hashed", "[plain]:2222", "upper", "none")
    asked = {name: list(lines_about(name, (file, lone))) for name in names}
    monkeypatch.setenv("PATH", "")
    assert {name: list(lines_about(name, (file, lone))) for name in names} == asked
    assert [len(lines) for lines in asked.values()] == [2, 2, 1, 2, 3, 2, 2, 1]


def test_a_silent_proxy_command_ends_with_its_connection(user: User) -> None:
    mark = f"7{time.time_ns() % 10**8:08}"
    user.says(HOST + f" ProxyCommand sleep {mark} & exec busybox nc %h %p\n")
    assert user.run().ok
    assert settled(lambda: not processes(mark))


def test_a_login_that_nobody_can_make_says_so(user: User) -> None:
    user.says(HOST.replace("IdentityFile {key}", "IdentityFile none"))
    with pytest.raises(AuthError, match="there is no key to log in"):
        user.run()


def test_who_stands_in_no_password_file_is_their_number_and_needs_no_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs as any number: OpenSSH ends with "No user exists for uid", and Python with a KeyError."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "set, so that it is as it was after the test")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host box\n  HostName box.example.org\n  Port 2222\n")
    (hop,) = route(Way("box", "box", user="root"))
    assert (hop.place, hop.user) == ("box.example.org:2222", "root")
    assert actor() == f"{os.getuid()}@{socket.gethostname()}"
