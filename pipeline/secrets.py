"""Secret values: named by a source in configuration, read late and once, never printed."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import AuthError, ConfigError

SOURCES = ("env:NAME", "file:PATH", "cmd:[argv]", "keyring:SERVICE/USER", "sops:FILE#a.b")
SHORTEST = 8  # a shorter value would blot out innocent text when it is masked
MASK = "[secret]"


class Secret:
    """A value that does not print. `reveal` is the one way out, easy to search for."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.source})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written down")


class Secrets:
    """Reads secrets by source, remembers them for this process, and masks them in any text.

    `env` is the environment to read `env:` sources from.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._known: dict[str, Secret] = {}
        self._forms: set[str] = set()

    def get(self, source: str) -> Secret:
        """The secret that `source` names.

        Raises AuthError where there is none, ConfigError where the source is not one of SOURCES or a file is open to others.
        """
        if source not in self._known:
            self._known[source] = Secret(self._read(source), source)
            self.guard(self._known[source].reveal())
        return self._known[source]

    def guard(self, value: str) -> None:
        """Mask `value`, in every form it may be written in, from now on."""
        if len(value) < SHORTEST:
            return
        forms = {value, *(line for line in value.splitlines() if len(line) >= SHORTEST)}
        for form in tuple(forms):
            raw = form.encode()
            forms |= {
                base64.b64encode(raw).decode().rstrip("="),
                base64.urlsafe_b64encode(raw).decode().rstrip("="),
                urllib.parse.quote(form, safe=""),
                json.dumps(form)[1:-1],
                raw.hex(),
            }
        self._forms |= forms

    def mask(self, text: str) -> str:
        """`text` without any secret that was read so far."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text

    def _read(self, source: str) -> str:
        scheme, _, rest = source.partition(":")
        readers = {
            "env": self._from_env,
            "file": self._from_file,
            "cmd": self._from_command,
            "keyring": self._from_keyring,
            "sops": self._from_sops,
        }
        if scheme not in readers or not rest:
            raise ConfigError(f"secret source {source.split(':')[0]!r} is not known", mend="write one of: " + ", ".join(SOURCES))
        value = readers[scheme](rest)
        if not value:
            raise AuthError(f"secret {source} is empty", mend=f"fill {source}, then run again")
        return value

    def _from_env(self, name: str) -> str:
        if name not in self._env:
            raise AuthError(f"secret env:{name} is not set", mend=f"export {name}=… in the shell that runs this")
        return self._env[name]

    def _from_file(self, name: str) -> str:
        path = Path(name).expanduser()
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigError(f"secret file {path} can be read by others", mend=f"chmod 600 {path}")
            return path.read_text().strip()
        except OSError as error:
            raise AuthError(f"secret file {path} cannot be read", cause=str(error), mend=f"write the secret to {path}") from error

    def _from_command(self, text: str) -> str:
        try:
            argv = json.loads(text)
        except ValueError:
            argv = None
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ConfigError("secret source cmd: takes a JSON list of words", mend='write cmd:["pass", "show", "name"]')
        return _run(argv)

    def _from_keyring(self, text: str) -> str:
        service, _, user = text.partition("/")
        return _run(["keyring", "get", "--", service, user])

    def _from_sops(self, text: str) -> str:
        file, _, keys = text.partition("#")
        extract = "".join(f"[{json.dumps(key)}]" for key in keys.split("."))
        return _run(["sops", "decrypt", "--extract", extract, "--", file])


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise ConfigError(f"{argv[0]} is not installed", mend=f"install {argv[0]}, or name another secret source") from error
    except subprocess.TimeoutExpired as error:
        raise AuthError(f"{argv[0]} gave no secret within 60 s") from error
    if done.returncode:
        raise AuthError(f"{argv[0]} gave no secret (exit {done.returncode})", cause=done.stderr.decode(errors="replace")[-500:])
    return done.stdout.decode(errors="replace").strip()
