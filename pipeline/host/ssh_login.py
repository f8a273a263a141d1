"""Logging in as `ssh` does: the agent's keys and those of files, with their certificates, in its order. Nobody is asked for anything."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob, UnknownKeyType

from pipeline.errors import AuthError
from pipeline.host.ssh_config import Hop

SIGN_REQUEST, SIGN_RESPONSE = b"\x0d", 14  # https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent
CERTIFICATE = "-cert-v01@openssh.com"
HASHES = {"rsa-sha2-256": 2, "rsa-sha2-512": 4}
ENOUGH = "closed the connection after"
TOUCH = 60.0  # seconds that a key of the agent may want to be touched for
PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\0"


class Held(paramiko.PKey):
    """A key, or a certificate, that an agent holds: of any kind, since the agent signs."""

    def __init__(self, agent: AgentSSH, blob: bytes, comment: str) -> None:
        self.blob = blob
        self.comment = comment
        self.public_blob: PublicBlob | None = None
        self._agent = agent

    def get_name(self) -> str:
        return paramiko.Message(self.blob).get_text()

    def asbytes(self) -> bytes:
        return self.blob

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> bytes:  # type: ignore[override]  # the blob goes as it is
        message = paramiko.Message()
        message.add_byte(SIGN_REQUEST)
        message.add_string(self.blob)
        message.add_string(data)
        message.add_int(HASHES.get((algorithm or "").removesuffix(CERTIFICATE), 0))
        kind, answer = self._agent._send_message(message)  # type: ignore[attr-defined]  # the one way to speak to it
        if kind != SIGN_RESPONSE:
            raise paramiko.SSHException(f"the agent did not sign with its key {self.comment}: it is locked, or somebody said no")
        return bytes(answer.get_binary())


class _Agent(AgentSSH):
    """The agent behind a socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(TOUCH)
        try:
            self.line.connect(path)
            self._connect(self.line)  # type: ignore[attr-defined]  # paramiko's Agent reads one variable only
        except BaseException:
            self.line.close()
            raise

    def held(self) -> list[Held]:
        return [Held(self, key.blob, key.comment or fingerprint(key.blob)) for key in self.get_keys()]


@dataclass
class Login:
    """The attempts to log in to `hop`: what was `tried`, and what had to be left out (`notes`), for the error that may come of it."""

    hop: Hop
    name: str
    tried: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Log in, as Fabric asks a strategy of authentication to. Raise AuthError if no key is taken, paramiko's if it is lost."""
        said = ""
        with contextlib.ExitStack() as stack:
            for label, key in self._candidates(stack):
                self.tried.append(label)
                transport.auth_timeout = max(transport.auth_timeout, TOUCH) if isinstance(key, Held) else transport.auth_timeout
                try:
                    wanted = transport.auth_publickey(self.hop.user, key)
                except paramiko.BadAuthenticationType as error:
                    raise self._refused(f"it takes no keys, only {', '.join(error.allowed_types)}") from error
                except paramiko.SSHException as error:
                    said = str(error)
                    if not transport.is_active() and len(self.tried) > 1 and isinstance(error, paramiko.AuthenticationException):
                        raise self._refused(f"it {ENOUGH} {len(self.tried)} keys") from error
                    if not transport.is_active() or "imeout" in said:
                        raise
                    continue
                if wanted:
                    said = f"it takes the key, and wants {' or '.join(wanted)} besides: nobody is here to give that"
                    raise self._refused(said)
                return
        raise self._refused(said)

    def _refused(self, said: str) -> AuthError:
        hop, name = self.hop, self.name
        cause = "\n".join(filter(None, (said, *self.notes, *hop.apart)))
        if not self.tried:
            mend = "ssh-add a key, or name one that nobody has to unlock: identity_file in the site file"
            return AuthError(f"{name}: there is no key to log in to {hop.user}@{hop.place} with", cause=cause, mend=mend)
        what = f"{name}: {hop.user}@{hop.place} refused the login with key {', '.join(self.tried)}"
        if "wants" in said or "takes no keys" in said:
            mend = f"let {hop.user} log in with a key alone (AuthenticationMethods publickey), or name another user"
        elif ENOUGH in said:
            mend = "say which of them it is: identity_file in the site file, or IdentityFile with IdentitiesOnly yes in ~/.ssh/config"
        else:
            mend = f"add the key's .pub line to ~{hop.user}/.ssh/authorized_keys on {hop.host}, or name another key"
        return AuthError(what, cause=cause, mend=mend)

    def _candidates(self, stack: contextlib.ExitStack) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield the keys as ssh offers them: certificates of files, the agent's keys that are configured, its others, those of files."""
        held = self._held(stack)
        named = {path: blob for path in self.hop.keys if (blob := public_part(path))}
        loaded: dict[Path, paramiko.PKey | None] = {}

        def loaded_key(path: Path) -> paramiko.PKey | None:
            if path not in loaded:
                loaded[path] = self._load(path, any(key.blob == named.get(path) for key in held))
            return loaded[path]

        beside = [path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub") for path in self.hop.keys]
        for file in dict.fromkeys((*self.hop.certificates, *beside)):
            if (certificate := _certificate(file)) is None:
                continue
            kind, blob, of = certificate
            key: paramiko.PKey | None = next((each for each in held if each.blob in (blob, of)), None)
            key = key or next((found for path, part in named.items() if part == of and (found := loaded_key(path))), None)
            if key is not None:
                signer = copy.copy(key)
                signer.public_blob = PublicBlob(kind, blob)
                yield str(file), signer
        order = list(named.values())
        for key in sorted((key for key in held if _plain(key.blob) in order), key=lambda key: order.index(_plain(key.blob))):
            yield f"{next(path for path, blob in named.items() if blob == _plain(key.blob))} (agent)", key
        if not self.hop.only:
            yield from ((f"{key.comment} (agent)", key) for key in held if _plain(key.blob) not in order)
        for path, blob in named.items():
            if not any(key.blob == blob for key in held) and (found := loaded_key(path)):
                yield str(path), found

    def _held(self, stack: contextlib.ExitStack) -> list[Held]:
        if not self.hop.agent:
            return []
        try:
            agent = _Agent(self.hop.agent)
        except (OSError, paramiko.SSHException, ValueError) as error:
            self.notes.append(f"the ssh-agent at {self.hop.agent} does not answer: {error}")
            return []
        stack.callback(agent.line.close)
        return agent.held()

    def _load(self, path: Path, in_agent: bool) -> paramiko.PKey | None:
        """Return the private key in a file; None, with a note, if it cannot be used without somebody or something else."""
        try:
            if not path.is_file() or not (text := path.read_bytes()).startswith(b"-----BEGIN"):
                if not in_agent:
                    self.notes.append(f"the private key of {path} is neither beside it nor in an agent")
                return None
            if paramiko.Message(public_part(path) or b"").get_text().startswith("sk-") and PRIVATE in text:
                self.notes.append(f"{path} is a hardware key, which only an agent can use: ssh-add {path}")
                return None
            key = paramiko.PKey.from_path(path)
            key.public_blob = None  # its certificate has been offered
        except (paramiko.PasswordRequiredException, TypeError):  # the second is cryptography's word for it
            self.notes.append(f"{path} is locked by a passphrase: unlock it first: ssh-add {path}")
        except (OSError, ValueError, UnsupportedAlgorithm, paramiko.SSHException, UnknownKeyType) as error:
            self.notes.append(f"{path} cannot be read: {error}")
        else:
            return key
        return None


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def public_part(path: Path) -> bytes | None:
    """Return the public key of an identity file: of the .pub beside it, of itself, b"?" if it is a private key that does not show it."""
    for file in (path.with_name(f"{path.name}.pub"), path):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = file.read_bytes()
            if text.startswith(PRIVATE):
                inner = base64.b64decode(b"".join(text.strip().splitlines()[1:-1]))
                if inner.startswith(MAGIC):
                    message = paramiko.Message(inner[len(MAGIC) :])
                    for _ in range(3):  # cipher, key derivation and its options
                        message.get_binary()
                    message.get_int()
                    return bytes(message.get_binary())
            if text.startswith(b"-----BEGIN"):
                with contextlib.suppress(TypeError, UnsupportedAlgorithm, paramiko.SSHException, UnknownKeyType):
                    return paramiko.PKey.from_path(path).asbytes()
                return b"?"
            return base64.b64decode(text.split()[1], validate=True)
    return None


def _certificate(file: Path) -> tuple[str, bytes, bytes] | None:
    """Return kind and blob of a certificate, and the public key that it is for."""
    try:
        found = PublicBlob.from_file(str(file))
    except (OSError, ValueError, IndexError):
        return None
    return found.key_type, found.key_blob, _plain(found.key_blob)


def _plain(blob: bytes) -> bytes:
    """Return the public key in a certificate; what is none as it is."""
    kind = paramiko.Message(blob).get_text()
    if not kind.endswith(CERTIFICATE):
        return blob
    fields = {"ssh-ed25519": 1, "ssh-rsa": 2, "sk-ssh-ed25519": 2, "sk-ecdsa-sha2-nistp256": 3}.get(kind.removesuffix(CERTIFICATE), 2)
    message = paramiko.Message(blob)
    message.get_binary(), message.get_binary()  # kind and nonce
    plain = paramiko.Message()
    name = kind.removesuffix(CERTIFICATE)
    plain.add_string(f"{name}@openssh.com" if name.startswith("sk-") else name)
    for _ in range(fields):
        plain.add_string(message.get_binary())
    return plain.asbytes()
