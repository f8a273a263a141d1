"""Host keys: known ones are checked, unknown and changed ones refused with all that is needed to decide.

Which lines of a file are about a machine is asked of OpenSSH (`ssh-keygen -F`): hashed names, patterns, exceptions. Certificates of hosts
are checked as ssh does, by the authorities (`@cert-authority`) that those lines name.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from paramiko.pkey import PublicBlob

from pipeline.errors import ConfigError, HostKeyError
from pipeline.host.ssh_config import Hop
from pipeline.host.ssh_login import CERTIFICATE, fingerprint

AUTHORITY, REVOKED = "@cert-authority", "@revoked"
SHA2 = ("rsa-sha2-512", "rsa-sha2-256")  # what a key of kind ssh-rsa signs with
KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", *SHA2)


@dataclass(frozen=True)
class Known:
    """A line of a known_hosts file: `marker` is "", @cert-authority or @revoked."""

    marker: str
    kind: str
    key: bytes
    file: Path


class Keys:
    """What is known of one machine, and the judgement of the key that it shows. With `accept_new` an unknown one is written down."""

    def __init__(self, name: str, hop: Hop) -> None:
        """Raise ConfigError if a file cannot be read."""
        self._name, self._hop = name, hop
        found = [list(lines_about(each, hop.known)) for each in hop.names]
        self._lines = found[0]
        # a machine at another port is known by its bare name too, if the key is the very one
        self._bare = [line for more in found[1:] for line in more]

    @property
    def is_known(self) -> bool:
        return any(line.marker != REVOKED for line in self._lines)

    def algorithms(self) -> tuple[str, ...]:
        """Return the kinds of keys to ask the machine for, those that can be checked first."""
        named = [kind for line in self._lines if not line.marker for kind in (SHA2 if line.kind == "ssh-rsa" else (line.kind,))]
        plain = tuple(dict.fromkeys((*(kind for kind in named if kind in KINDS), *KINDS)))
        if any(line.marker == AUTHORITY for line in (*self._lines, *self._bare)):
            return (*(kind + CERTIFICATE for kind in KINDS), *plain)
        return plain

    def missing_host_key(self, _client: object, _name: str, key: paramiko.PKey) -> None:
        """Check `key`, as Fabric's client asks its policy to: it knows no file of its own."""
        self.check(key)

    def check(self, key: paramiko.PKey) -> None:
        """Raise HostKeyError if the machine that shows `key` is not the one that is known."""
        plain = key.asbytes()
        shown: PublicBlob | None = getattr(key, "public_blob", None)
        self._refuse_revoked(plain)
        refused = ""
        if shown is not None:
            refused = self._refusal(shown)
            if not refused:
                return
        own = [line for line in self._lines if not line.marker]
        if any(line.key == plain for line in (*own, *(line for line in self._bare if not line.marker))):
            return
        if own:
            raise self._changed(key.get_name(), plain, own)
        self._unknown(key.get_name(), plain, refused)

    def _refuse_revoked(self, plain: bytes) -> None:
        file = next((line.file for line in (*self._lines, *self._bare) if line.marker == REVOKED and line.key == plain), None)
        if file is None and self._hop.revoked is not None and _is_revoked(self._hop.revoked, plain):
            file = self._hop.revoked
        if file is not None:
            raise HostKeyError(
                f"{self._name}: the SSH host key of {self._hop.names[0]} is revoked",
                cause=f"it shows {_kind(plain)} {fingerprint(plain)}, which {file} revokes",
                mend="do not log in there: whoever has this key may pretend to be the machine; ask who revoked it",
            )

    def _refusal(self, shown: PublicBlob) -> str:
        """Return why a certificate says nothing, "" if it is good. Raise HostKeyError if its authority is known, but it is not valid."""
        try:
            certificate = load_ssh_public_identity(shown.key_type.encode() + b" " + base64.b64encode(shown.key_blob))
            if not isinstance(certificate, SSHCertificate):
                return "what it shows is no certificate"
            signer = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            authority = base64.b64decode(signer.split()[1])
            certificate.verify_cert_signature()
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            return f"its certificate cannot be checked: {error or type(error).__name__}"
        self._refuse_revoked(authority)
        if not any(line.marker == AUTHORITY and line.key == authority for line in (*self._lines, *self._bare)):
            return f"its certificate is signed by {_kind(authority)} {fingerprint(authority)}, which is no authority for it"
        name = self._hop.names[-1]  # certificates know no port
        principals = [each.decode(errors="replace") for each in certificate.valid_principals]
        now = time.time()
        reasons = {
            "it is not one of a host": certificate.type is not SSHCertificateType.HOST,
            f"it is for {', '.join(principals)}": bool(principals) and not any(_fits(name, each) for each in principals),
            "it is not valid yet: look at this machine's clock": now < certificate.valid_after,
            "it has run out": now >= certificate.valid_before,
            "it has options that are not known": bool(certificate.critical_options),
        }
        if wrong := [reason for reason, holds in reasons.items() if holds]:
            raise HostKeyError(
                f"{self._name}: the SSH host certificate of {name} is not valid: {wrong[0]}",
                cause=f"signed by {_kind(authority)} {fingerprint(authority)}, for {certificate.key_id.decode(errors='replace')}",
                mend="have the machine's certificate renewed by whoever keeps that authority (ssh-keygen -L -f shows it there)",
            )
        return ""

    def _changed(self, kind: str, key: bytes, own: Sequence[Known]) -> HostKeyError:
        """The refusal of a key that is not the one on file."""
        line = next((line for line in own if line.kind == kind), own[0])
        name = self._hop.names[0]
        return HostKeyError(
            f"{self._name}: the SSH host key of {name} has changed: somebody may be listening in, or the machine was set up anew",
            cause=f"it shows {kind} {fingerprint(key)},\non file is {line.kind} {fingerprint(line.key)}",
            mend=f"compare the fingerprint on the machine itself: ssh-keygen -lf /etc/ssh/ssh_host_{_short(kind)}_key.pub\n"
            f"only if it is the same: ssh-keygen -R '{name}' -f '{line.file}', then add the line\n"
            f"{name} {kind} {base64.b64encode(key).decode()}",
        )

    def _unknown(self, kind: str, key: bytes, refused: str) -> None:
        """Write the key of a machine that nobody knows down, if that is wished for; else raise HostKeyError."""
        hop, name = self._hop, self._hop.names[0]
        line = f"{name} {kind} {base64.b64encode(key).decode()}"
        file = hop.known[0]
        if hop.accept_new:
            try:
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with file.open("a") as known:
                    known.write(line + "\n")
            except OSError as error:
                what = f"{self._name}: the SSH host key of {name} cannot be stored in {file}"
                raise ConfigError(what, cause=str(error), mend=f"make it writable, or add this line: {line}") from error
            return
        lax = (
            "\nthat ssh would take any key (StrictHostKeyChecking) is not followed here; `accept-new` is, at first sight of a machine"
            if hop.lax
            else ""
        )
        kept = file if file != Path(os.devnull) else "a file that you name as known_hosts of this host in the site file"
        unknown = HostKeyError(
            f"{self._name}: the SSH host key of {name} is not known",
            cause=f"it shows {kind} {fingerprint(key)}; no key is on file in {', '.join(map(str, hop.known))}"
            + (f"\n{refused}" if refused else "")
            + lax
            + "".join(f"\n{each}" for each in hop.apart),
            mend=f"compare the fingerprint on the machine itself: ssh-keygen -lf /etc/ssh/ssh_host_{_short(kind)}_key.pub\n"
            f"if it is the same, add this line to {kept}:\n{line}",
        )
        unknown.offer = (str(file), line, fingerprint(key)) if file != Path(os.devnull) else None
        raise unknown


def lines_about(name: str, files: Iterable[Path]) -> Iterator[Known]:
    """Yield the lines of `files` that are about a machine; what is no line is passed over. Raise ConfigError for an unreadable file."""
    program = shutil.which("ssh-keygen")
    for file in files:
        try:
            if not file.exists():
                continue
            if program is None:
                text = os.fsdecode(file.read_bytes())
            else:
                file.open("rb").close()
                asked = (program, "-F", name, "-f", str(file))
                text = os.fsdecode(subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"known hosts file {file} cannot be read", cause=str(error), mend=f"ls -l {file}") from error
        for line in text.splitlines():
            words = line.split()
            marker = words.pop(0) if line.startswith("@") else ""
            if line.startswith("#") or len(words) < 3 or (program is None and not _names(words[0], name)):
                continue
            with contextlib.suppress(ValueError):
                key = base64.b64decode(words[2], validate=True)
                if _kind(key) == words[1]:
                    yield Known(marker, words[1], key, file)


def _names(field: str, name: str) -> bool:
    """Whether the first word of a line is about `name`, for a machine without ssh-keygen."""
    if field.startswith("|"):
        with contextlib.suppress(ValueError, IndexError, paramiko.SSHException):
            return paramiko.HostKeys.hash_host(name, field) == field
        return False
    each = field.lower().split(",")
    return any(_fits(name, part) for part in each) and not any(part.startswith("!") and _fits(name, part[1:]) for part in each)


def _fits(name: str, pattern: str) -> bool:
    """Whether OpenSSH's pattern (* and ?) is for `name`."""
    return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def _is_revoked(file: Path, key: bytes) -> bool:
    """Whether a RevokedHostKeys file, a list or one of ssh-keygen's, has `key`; what cannot be read revokes all, as with ssh."""
    text = f"{_kind(key)} {base64.b64encode(key).decode()}"
    try:
        content = file.read_bytes()
    except OSError:
        return True
    if not content.startswith(b"SSHKRL"):
        return any(text in line for line in os.fsdecode(content).splitlines() if not line.startswith("#"))
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".pub") as public:
            public.write(text + "\n")
            public.flush()
            asked = ("ssh-keygen", "-Q", "-f", str(file), public.name)
            return subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


def _kind(key: bytes) -> str:
    """Return the kind that a public key says of itself."""
    size = int.from_bytes(key[:4], "big")
    return key[4 : 4 + size].decode("ascii", "replace") if size < 100 else ""


def _short(kind: str) -> str:
    return {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(re.sub(r"-cert-v01@openssh\.com$", "", kind), "ecdsa")
