"""Host keys: known ones are checked, unknown and changed ones refused with all that is needed to decide."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko

from pipeline.errors import ConfigError, HostKeyError

USER_FILE = "~/.ssh/known_hosts"
SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


class KnownHosts(paramiko.MissingHostKeyPolicy):
    """The known_hosts `files` of one site; the first is where a new key belongs.

    With `accept_new`, an unknown key is written there on first sight. A changed key is refused all the same.
    """

    def __init__(self, name: str, files: Sequence[Path], accept_new: bool) -> None:
        self._name = name
        self.files = tuple(files)
        self._accept_new = accept_new

    def load(self, client: paramiko.SSHClient) -> None:
        """Give `client` the keys. Raises ConfigError where a file cannot be read."""
        for file in self.files:
            try:
                client.load_system_host_keys(str(file))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, paramiko.SSHException) as error:
                raise ConfigError(f"known hosts file {file} cannot be read", cause=str(error)) from error
        client.set_missing_host_key_policy(self)

    def knows(self, client: paramiko.SSHClient, place: str) -> bool:
        keys: paramiko.HostKeys = client._system_host_keys  # type: ignore[attr-defined]  # what `load` filled; it has no other name
        return keys.lookup(place) is not None

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002  # paramiko's signature
        line = f"{hostname} {key.get_name()} {key.get_base64()}"
        if self._accept_new:
            self.files[0].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.files[0].open("a") as file:
                file.write(line + "\n")
            return
        raise HostKeyError(
            f"{self._name}: the SSH host key of {hostname} is not known",
            cause=f"it shows {key.get_name()} {fingerprint(key)}; no key is on file in {', '.join(map(str, self.files))}",
            mend=f"compare the fingerprint on the machine itself: ssh-keygen -lf /etc/ssh/ssh_host_{_short(key)}_key.pub\n"
            f"if it is the same, add this line to {self.files[0]}:\n{line}",
        )

    def changed(self, hostname: str, error: paramiko.BadHostKeyException) -> HostKeyError:
        """The refusal of a key that is not the one on file."""
        return HostKeyError(
            f"{self._name}: the SSH host key of {hostname} has changed: somebody may be listening in, or the machine was set up anew",
            cause=f"it shows {error.key.get_name()} {fingerprint(error.key)},\n"
            f"on file is {error.expected_key.get_name()} {fingerprint(error.expected_key)}",
            mend=f"compare the fingerprint on the machine itself: ssh-keygen -lf /etc/ssh/ssh_host_{_short(error.key)}_key.pub\n"
            f"only if it is the same: ssh-keygen -R '{hostname}' -f '{self._holder(hostname)}', then add the line\n"
            f"{hostname} {error.key.get_name()} {error.key.get_base64()}",
        )

    def _holder(self, hostname: str) -> Path:
        for file in self.files:
            if file.exists() and paramiko.HostKeys(str(file)).lookup(hostname) is not None:
                return file
        return self.files[0]


def _short(key: paramiko.PKey) -> str:
    return {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key.get_name(), "ecdsa")
