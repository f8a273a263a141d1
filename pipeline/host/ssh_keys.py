"""Host keys: known ones are checked, unknown and changed ones refused with all that is needed to decide."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

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
        self._revoked: dict[str, Path] = {}

    def load(self, client: paramiko.SSHClient) -> None:
        """Give `client` the keys. Raises ConfigError if a file cannot be read.

        Lines that are none are passed over, as OpenSSH does; so are those of authorities, whose certificates paramiko cannot check: a
        host that has nothing else is unknown. A key that is revoked counts for no host.
        """
        entries = [entry for file in self.files for entry in self._read(file)]
        keys: paramiko.HostKeys = client._system_host_keys  # type: ignore[attr-defined]  # it can only be filled from whole files else
        keys._entries.extend(entry for entry in entries if entry.key.get_base64() not in self._revoked)  # type: ignore[attr-defined]
        client.set_missing_host_key_policy(self)

    def _read(self, file: Path) -> Iterator[Any]:
        """Yield the entries of a known_hosts file, and note which keys it revokes."""
        try:
            lines = file.read_text(errors="surrogateescape").splitlines() if file.exists() else []
        except OSError as error:
            raise ConfigError(f"known hosts file {file} cannot be read", cause=str(error), mend=f"ls -l {file}") from error
        for number, line in enumerate(lines, 1):
            words = line.split()
            if words[:1] == ["@revoked"]:
                self._revoked |= dict.fromkeys(words[3:4], file)
            elif len(words) >= 3 and words[0][0] not in "#@":
                with contextlib.suppress(paramiko.SSHException, InvalidHostKey, ValueError, IndexError):
                    if entry := HostKeyEntry.from_line(" ".join(words), number):
                        yield entry

    def knows(self, client: paramiko.SSHClient, place: str) -> bool:
        keys: paramiko.HostKeys = client._system_host_keys  # type: ignore[attr-defined]  # what `load` filled; it has no other name
        return keys.lookup(place) is not None

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002  # paramiko's signature
        line = f"{hostname} {key.get_name()} {key.get_base64()}"
        if file := self._revoked.get(key.get_base64()):
            raise HostKeyError(
                f"{self._name}: the SSH host key of {hostname} is revoked",
                cause=f"it shows {key.get_name()} {fingerprint(key)}, which {file} marks as @revoked",
                mend="do not log in there: whoever has this key may pretend to be the machine; ask who revoked it",
            )
        if self._accept_new:
            try:
                self.files[0].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with self.files[0].open("a") as known:
                    known.write(line + "\n")
            except OSError as error:
                what = f"{self._name}: the SSH host key of {hostname} cannot be stored in {self.files[0]}"
                raise ConfigError(what, cause=str(error), mend=f"make it writable, or add this line: {line}") from error
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
            keys = paramiko.HostKeys()
            keys._entries.extend(self._read(file))  # type: ignore[attr-defined]
            if keys.lookup(hostname) is not None:
                return file
        return self.files[0]


def _short(key: paramiko.PKey) -> str:
    return {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key.get_name(), "ecdsa")
