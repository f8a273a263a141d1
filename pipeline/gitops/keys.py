"""The key that Flux reads a repository with: made here once, kept in its Secret, known at the repository; and the server's own keys."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import ConfigError, HostKeyError
from pipeline.host import Cmd, Host
from pipeline.stage import Remote

IDENTITY, PUBLIC, HOSTS = "identity", "identity.pub", "known_hosts"  # the keys of the Secret that source-controller reads
SSH_PORT = 22
OWN = "~/.ssh/known_hosts"
EVERYBODY = "/etc/ssh/ssh_known_hosts"
SCP = re.compile(r"(?!ssh://)(?:[^@:/]+@)?(?P<host>[^:/]+):")


@dataclass(frozen=True)
class Key:
    """An SSH key: `private` as OpenSSH keeps it (it does not print), `public` the line with its comment."""

    public: str
    private: str = field(repr=False)

    @property
    def body(self) -> str:
        """The public line without its comment: what says that two keys are one."""
        return body(self.public)


def body(public: str) -> str:
    """A public line's first two words."""
    return " ".join(public.split()[:2])


def made(comment: str) -> Key:
    """A new ed25519 key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()).decode()
    return Key(f"{_public(key)} {comment}", private)


def of_secret(secret: Mapping[str, Any] | None, comment: str) -> Key | None:
    """The key in Flux's Secret, None where there is none. Raises ConfigError where it holds something else."""
    data = (secret or {}).get("data") or {}
    if IDENTITY not in data:
        return None
    from cryptography.hazmat.primitives import serialization

    try:
        private = base64.b64decode(data[IDENTITY], validate=True)
        key = (
            serialization.load_ssh_private_key(private, None)
            if b"OPENSSH" in private
            else serialization.load_pem_private_key(private, None)
        )
    except (ValueError, TypeError, binascii.Error) as error:
        raise ConfigError(
            "the Secret with Flux's key holds no key that can be read", cause=type(error).__name__,
            mend="delete that Secret, then inv flux.bootstrap again: a new key is made, and the repository is told",
        ) from error  # fmt: skip
    return Key(f"{_public(key)} {comment}", private.decode())


def secret(name: str, namespace: str, key: Key, hosts: str) -> dict[str, Any]:
    """The Secret as source-controller reads it."""
    texts = {IDENTITY: key.private, PUBLIC: f"{key.public}\n", HOSTS: hosts}
    data = {each: base64.b64encode(text.encode()).decode() for each, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "type": "Opaque", "data": data}


def hosts_of(secret: Mapping[str, Any] | None) -> str:
    """The host keys in Flux's Secret, "" where there are none."""
    try:
        return base64.b64decode(((secret or {}).get("data") or {}).get(HOSTS) or "").decode(errors="replace")
    except binascii.Error:
        return ""


def known_hosts(url: str, remote: Remote, host: Host) -> str:
    """The keys of the server at `url`, by which Flux knows it: those that the site's remote trusts, never what the server says itself.

    Where Flux reaches the same server by another name, the keys go by that name. Raises HostKeyError where none is known.
    """
    wanted, own = address(url), address(remote.url)
    files = [str(Path(name).expanduser()) for name in ([remote.known_hosts] if remote.known_hosts else [OWN, EVERYBODY])]
    for name in dict.fromkeys((wanted, own)):
        lines = [line for file in files for line in _listed(name, file, host)]
        if lines:
            renamed = lines if name == wanted else [f"{wanted} {_key(line)}" for line in lines]
            return "".join(f"{line}\n" for line in dict.fromkeys(renamed))
    raise HostKeyError(
        f"the host key of {own} is not known, so Flux could not know it either",
        cause=f"looked for in {', '.join(files)}",
        mend=f"compare the fingerprint with its owner's word, then add the key there: ssh-keyscan {_scan(own)}",
    )


def address(url: str) -> str:
    """How known_hosts calls the server of a git address: host, or [host]:port where that is not SSH's own."""
    if short := SCP.match(url):
        return short["host"]
    parts = urlsplit(url)
    port = parts.port or SSH_PORT
    return str(parts.hostname) if port == SSH_PORT else f"[{parts.hostname}]:{port}"


def _listed(name: str, file: str, host: Host) -> list[str]:
    """The lines of a known_hosts file about a server; those without names are found too."""
    done = host.run(Cmd(("ssh-keygen", "-F", name, "-f", file)))
    if done.code == 127:
        raise ConfigError("ssh-keygen is not installed on this machine", mend="apt install openssh-client")
    lines = done.text.splitlines() if done.ok else []
    return [line for line in lines if line and not line.startswith(("#", "@revoked"))]


def _key(line: str) -> str:
    return " ".join(line.split()[1:3])


def _scan(name: str) -> str:
    host, _, port = name.removeprefix("[").partition("]:")
    return f"-p {port} -- {host}" if port else f"-- {host}"


def _public(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    text: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return text.decode()
