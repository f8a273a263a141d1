"""Secret values: named by a source in configuration, read late and once, never printed."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import subprocess
import threading
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from pipeline.closed import is_mounted, open_to_others
from pipeline.errors import AuthError, ConfigError

SOURCES = ("env:NAME", "file:PATH", "cmd:[argv]", "keyring:SERVICE/USER", "sops:FILE#a.b")
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
SHORTEST = 8  # a shorter value would blot out innocent text when it is masked
MASK = "[secret]"
LARGEST = 1 << 20  # bytes of a secret file


class Secret:
    """A value that does not print. `reveal` and `content` are the ways out, easy to search for."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """Return the value as a password or token is meant: without the blanks and line breaks around it, if an editor or a program wrote
        it. Raise ConfigError if it is no text."""
        try:
            self._value.encode()
        except UnicodeEncodeError:  # not as the cause: it would carry the bytes
            raise ConfigError(f"secret {self.source} is not text", mend="write it as UTF-8, or as base64") from None
        return self._value if self._is_exact else self._value.strip()

    def content(self) -> str:
        """Return the value byte for byte (bytes that are no UTF-8 as surrogates, see PEP 383), for a file that is made of it.
        Of a single line of text the line break behind it is left out: it is the editor's or the program's, not the value's."""
        line = self._value.rstrip("\r\n")
        return line if line.replace("\t", "").isprintable() and not self._is_exact else self._value

    @property
    def _is_exact(self) -> bool:
        """Whether nothing is around the value that is not of it: nobody ends the value of a variable with a line break by habit."""
        return self.source.startswith("env:")

    def for_header(self) -> str:
        """Return the value, to stand in an HTTP header. Raise ConfigError with its source if it cannot."""
        return sendable(self.reveal(), f"secret {self.source}")

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
        self._forms: tuple[str, ...] = ()  # the longest first
        self._lock = threading.RLock()
        for name in PROXIES:  # programs and libraries show them in what they complain of
            with contextlib.suppress(ValueError):
                parts = urllib.parse.urlsplit(self._env.get(name, ""))
                for password in {parts.password, urllib.parse.unquote(parts.password or "")}:
                    if password:
                        self.guard(password)
                        self.guard(f"{urllib.parse.unquote(parts.username or '')}:{password}")

    def get(self, source: str) -> Secret:
        """The secret that `source` names.

        Raises AuthError where there is none, ConfigError where the source is not one of SOURCES or a file is open to others.
        """
        with self._lock:  # stages are looked at side by side, and a source may ask a person
            if source not in self._known:
                value = self._read(source)
                self.guard(value)
                self._known[source] = Secret(value, source)
            return self._known[source]

    def guard(self, value: str) -> None:
        """Mask `value`, in every form it may be written in, from now on."""
        with self._lock:  # of two that are read at once both are masked
            forms = {*self._forms, *written(value)}
            self._forms = tuple(sorted(forms, key=len, reverse=True))

    def mask(self, text: str) -> str:
        """`text` without any secret that was read so far."""
        for form in self._forms:
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
            # the text itself is not shown: it may be a password that was written where its source belongs
            raise ConfigError("this is not a source of secrets", mend="write one of: " + ", ".join(SOURCES))
        value = readers[scheme](rest)
        if not value.strip():
            raise AuthError(f"secret {source} is empty", mend=f"fill {source}, then run again")
        return value

    def _from_env(self, name: str) -> str:
        if name not in self._env:
            raise AuthError(f"secret env:{name} is not set", mend=f"export {name}=… in the shell that runs this")
        return self._env[name]

    def _from_file(self, name: str) -> str:
        path = Path(name).expanduser()
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if why := open_to_others(path, state):
                    raise ConfigError(f"secret file {path} can be read by others", mend=why)
                if state.st_uid not in (0, os.geteuid()) and not is_mounted(path):
                    raise ConfigError(f"secret file {path} belongs to another user", mend=f"chown {os.geteuid()} {path}")
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ConfigError(f"secret file {path} is larger than {LARGEST >> 20} MiB", mend="name a file with the secret alone")
            return content.decode(errors="surrogateescape")
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
        if not service or not user:
            raise ConfigError("secret source keyring: takes a service and a user", mend="write keyring:SERVICE/USER")
        return _run(["keyring", "get", "--", service, user])

    def _from_sops(self, text: str) -> str:
        file, _, keys = text.partition("#")
        if not file or not all(keys.split(".")):
            raise ConfigError("secret source sops: takes a file and a path of keys", mend="write sops:FILE#a.b")
        extract = "".join(f"[{json.dumps(key)}]" for key in keys.split("."))
        return _run(["sops", "decrypt", "--extract", extract, "--", file])


def sendable(value: str, source: str) -> str:
    """Return `value`, which is to stand in an HTTP header. Raise ConfigError if it cannot, naming its `source` and never the value."""
    if all("!" <= char <= "~" for char in value):
        return value
    strange = next(char for char in value if not "!" <= char <= "~")
    what = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}.get(strange, f"the character U+{ord(strange):04X}")
    where = " at its end" if value.rstrip(strange) and strange not in value.rstrip(strange) else ""
    raise ConfigError(f"{source} cannot stand in an HTTP header: it has {what}{where}", mend="write it without, or name another")


def written(value: str) -> set[str]:
    """The forms in which a secret turns up in text: as it is, line by line, quoted for URL, JSON, HTML or a shell, as hex, and as base64,
    also inside a longer base64 text (`Basic` and the base64 of `user:value`).

    A form shorter than SHORTEST is left out.
    """
    plain = {text for text in (value, value.strip(), *value.splitlines()) if len(text) >= SHORTEST}
    forms = set(plain)
    for text in plain:
        raw = text.encode(errors="surrogateescape")
        forms |= {
            urllib.parse.quote(raw, safe=""),
            urllib.parse.quote_plus(raw),
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            html.escape(text),
            text.replace("'", "'\"'\"'"),
            raw.hex(),
            raw.hex().upper(),
        }
        for encoded in _base64(raw):
            forms |= {encoded, encoded.translate(str.maketrans("+/", "-_"))}
    return forms


def _base64(raw: bytes) -> list[str]:
    """`raw` as base64 on its own, and what of a longer text's base64 is surely `raw`, for each of the three places it may start at."""
    found = [base64.b64encode(raw).decode().rstrip("=")]
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode()
        found.append(text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return found


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise ConfigError(f"{argv[0]} is not installed", mend=f"install {argv[0]}, or name another secret source") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{argv[0]!r} cannot be run", cause=str(error), mend="name another secret source") from error
    except subprocess.TimeoutExpired as error:
        raise AuthError(f"{argv[0]} gave no secret within 60 s") from error
    if done.returncode:
        raise AuthError(f"{argv[0]} gave no secret (exit {done.returncode})", cause=done.stderr.decode(errors="replace")[-500:])
    return done.stdout.decode(errors="surrogateescape")
