"""Flux's key: made once, read again from its Secret, and the server's own keys never learned from the server."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, HostKeyError
from pipeline.gitops import keys
from pipeline.host.local import LocalHost
from pipeline.stage import Remote

SERVER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvYnNlcnZlcmtleWZvcnRlc3RzMDAwMDAwMDAwMDAw"
HERE = LocalHost()


def test_a_key_is_one_that_ssh_takes(tmp_path: Path) -> None:
    made = keys.made("flux here")
    file = tmp_path / "key"
    file.write_text(made.private)
    file.chmod(0o600)
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], check=True, capture_output=True, text=True).stdout
    assert keys.body(said) == made.body
    assert made.public.endswith(" flux here")
    assert made.private not in repr(made)


def test_a_key_is_found_again_in_its_secret() -> None:
    made = keys.made("flux")
    secret = keys.secret("flux-system", "flux-system", made, "host key\n")
    assert keys.of_secret(secret, "flux") == made
    assert keys.hosts_of(secret) == "host key\n"
    assert set(secret["data"]) == {"identity", "identity.pub", "known_hosts"}
    assert keys.of_secret(None, "flux") is None
    assert keys.of_secret({"data": {}}, "flux") is None
    assert keys.hosts_of(None) == ""


def test_a_key_of_the_flux_command_is_read_too() -> None:
    """It writes PKCS8."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found = keys.of_secret({"data": {"identity": base64.b64encode(pem).decode()}}, "flux")
    assert found is not None
    assert found.public.startswith("ecdsa-sha2-nistp384 ")


@pytest.mark.parametrize("private", [b"", b"nothing", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"])
def test_a_secret_with_something_else_is_told_and_not_shown(private: bytes) -> None:
    with pytest.raises(ConfigError, match="holds no key that can be read") as refused:
        keys.of_secret({"data": {"identity": base64.b64encode(private).decode()}}, "flux")
    assert not private or private.decode() not in str(refused.value.cause)


def test_the_servers_keys_are_those_that_the_site_trusts(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[git.test]:2222 {SERVER}\n@revoked * {SERVER}\nother.test {SERVER}\n")
    remote = Remote("ssh://git@git.test:2222/o/x.git", known_hosts=str(file))
    assert keys.known_hosts(remote.url, remote, HERE) == f"[git.test]:2222 {SERVER}\n"
    assert keys.known_hosts("ssh://git@inside.test/o/x.git", remote, HERE) == f"inside.test {SERVER}\n"


def test_hashed_names_are_found(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"git.test {SERVER}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    remote = Remote("git@git.test:o/x.git", known_hosts=str(file))
    found = keys.known_hosts("ssh://git@git.test/o/x.git", remote, HERE)
    assert found.startswith("|1|")
    assert found.strip().endswith(SERVER)


def test_a_server_that_the_site_does_not_know_is_refused(tmp_path: Path) -> None:
    remote = Remote("ssh://git@git.test:2222/o/x.git", known_hosts=str(tmp_path / "none"))
    with pytest.raises(HostKeyError) as refused:
        keys.known_hosts(remote.url, remote, HERE)
    assert refused.value.mend.endswith("ssh-keyscan -p 2222 -- git.test")


@pytest.mark.parametrize(
    ("url", "name"),
    [("ssh://git@h.test/x", "h.test"), ("ssh://git@h.test:22/x", "h.test"), ("ssh://h:30/x", "[h]:30"), ("git@h.test:o/x", "h.test")],
)  # fmt: skip
def test_how_known_hosts_calls_a_server(url: str, name: str) -> None:
    assert keys.address(url) == name
