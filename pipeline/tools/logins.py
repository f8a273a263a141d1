"""The registry logins that this machine has: docker's and containers' files, their credential helpers, GitHub's variables.

Order: GHCR_PAT (for GHCR alone, where somebody has set it for this), docker's variable DOCKER_AUTH_CONFIG, the files in the order of
containers-auth.json(5), each with its helpers first as docker has it, then GITHUB_TOKEN. Nothing is written, and a helper is asked for the
one registry that is used.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import jsontext
from pipeline.closed import open_to_others
from pipeline.errors import AuthError, ConfigError
from pipeline.tools.providers import Provider

HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HELPER_TIME = 60.0  # seconds: a helper may ask a person to unlock the keyring
LARGEST = 1 << 20  # bytes of a file or of a helper's answer
ABSENT = "credentials not found in native keychain"  # docker-credential-helpers, credentials/error.go
IDENTITY = "<token>"  # the user name of an identity token, ibid.
CONTENT = "DOCKER_AUTH_CONFIG"  # a config.json as the value of a variable: docker/cli, cli/config/configfile/file.go
VERSIONS = re.compile(r"(/(v1|v2))?/?")  # what docker's own older keys have behind the host
ANYBODY = "x-access-token"  # GHCR looks at the token alone


@dataclass(frozen=True)
class Login:
    """A user and a `password`; `kind` is password, identity (to be exchanged for a token) or bearer (a token itself). `source` says where
    it was found."""

    username: str
    password: str = field(repr=False)
    source: str
    kind: str = "password"


@dataclass(frozen=True)
class Place:
    """Where to look: an environment and a home folder. `run` asks a helper: (argv, what it reads) -> (exit, what it said)."""

    env: Mapping[str, str]
    home: Path
    run: Callable[[list[str], bytes], tuple[int, bytes]]
    say: Callable[[str], None] = lambda _: None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that may hold logins, the first one first."""
        env = self.env
        first = [Path(env["REGISTRY_AUTH_FILE"])] if env.get("REGISTRY_AUTH_FILE") else []
        if env.get("XDG_RUNTIME_DIR"):
            first.append(Path(env["XDG_RUNTIME_DIR"]) / "containers/auth.json")
        settings = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else self.home / ".config"
        docker = Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else self.home / ".docker"
        return (*first, settings / "containers/auth.json", docker / "config.json", self.home / ".dockercfg")

    def contents(self) -> Iterator[tuple[Path | str, Mapping[str, Any]]]:
        """What may hold logins, the first one first: where it stands, and what it says. Raises ConfigError for a file that is broken."""
        if text := self.env.get(CONTENT, "").strip():
            yield f"the variable {CONTENT}", _parsed(text, f"the variable {CONTENT}")
        for path in self.files:
            if (found := _read(path)) is not None:
                content = _parsed(found, str(path))
                yield path, {"auths": content} if path.name == ".dockercfg" else content


def here(say: Callable[[str], None] = lambda _: None) -> Place:
    """This process's own place."""
    return Place(os.environ, Path.home(), _run, say)


def find(place: Place, address: str, repository: str, provider: Provider) -> Login | None:
    """The login for `repository` of the registry that people call `address`, None where this machine has none.

    Raises ConfigError for a file that is broken or open to others, AuthError for a helper that fails.
    """
    for name, before in provider.tokens:
        if before and (found := _variable(place, name)):
            return found
    for where, content in place.contents():
        if found := _in(place, where, content, address, repository, provider):
            return found
    for name, before in provider.tokens:
        if not before and (found := _variable(place, name)):
            return found
    return None


def _variable(place: Place, name: str) -> Login | None:
    value = place.env.get(name, "").strip()
    return Login(place.env.get("GITHUB_ACTOR") or ANYBODY, value, f"the variable {name}") if value else None


def _in(place: Place, where: Path | str, content: Mapping[str, Any], address: str, repository: str, provider: Provider) -> Login | None:
    hosts = dict.fromkeys((address, *provider.keys))
    helpers = content.get("credHelpers")
    servers = [host for host in (*hosts, provider.server) if host in helpers] if isinstance(helpers, dict) else []
    named = [helpers[server] for server in servers] if isinstance(helpers, dict) else []
    store = content.get("credsStore")
    if "" not in named:  # docker's word for no helper at all
        for helper in [*named, *([store] if store else [])]:
            if found := _asked(place, where, helper, provider.server or address):
                return found
    auths = content.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in _keys(tuple(hosts), repository, auths):
        if found := _entry(where, key, auths[key]):
            return found
    return None


def _keys(hosts: tuple[str, ...], repository: str, auths: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a file that are for this repository, the narrowest first; docker's own older keys are for a whole host: URLs, and
    those that end in the version of the API."""
    parts = repository.split("/")
    for length in range(len(parts), -1, -1):
        for host in hosts:
            key = "/".join((host, *parts[:length]))
            if key in auths:
                yield key
    known = {host.lower() for host in hosts}
    for key in auths:
        with contextlib.suppress(ValueError):  # it is no URL
            url = urlsplit(key if "://" in key else f"//{key}")
            if url.netloc.lower() in known and key not in hosts and ("://" in key or VERSIONS.fullmatch(url.path)):
                yield key


def _entry(where: Path | str, key: str, entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    source = f"{where} ({key})"
    texts = {name: value for name, value in entry.items() if isinstance(value, str) and value}
    if isinstance(where, Path) and any(name in texts for name in ("auth", "password", "identitytoken", "registrytoken")):
        _closed(where)
    username, password = _pair(texts["auth"], source, key) if "auth" in texts else (texts.get("username", ""), texts.get("password", ""))
    if "identitytoken" in texts:
        return Login(username, texts["identitytoken"], source, "identity")
    if "registrytoken" in texts:
        return Login(username, texts["registrytoken"], source, "bearer")
    return Login(username, password, source) if username and password else None


def _pair(text: str, source: str, key: str) -> tuple[str, str]:
    """The user and the password of an `auth`, which may have line breaks in it, and no `=` at its end. Raises ConfigError if it is none."""
    plain = "".join(text.split()).rstrip("=")
    what = "is not base64"
    try:
        username, colon, password = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode().partition(":")
        what = "has no USER:PASSWORD in it"
    except ValueError:
        username = colon = password = ""
    if not colon or not username:
        # no cause: it would carry what may be a password
        raise ConfigError(f"{source} has an entry that {what}", mend=f"docker login {urlsplit(f'//{key}').netloc or key}, again")
    return username, password.strip("\0")


def _asked(place: Place, path: Path | str, helper: object, server: str) -> Login | None:
    """What a helper gives for `server`. One that is not installed is told, and the search goes on: docker's own files name helpers
    of another system (WSL) that need not be there."""
    if not isinstance(helper, str) or not HELPER.fullmatch(helper):
        raise ConfigError(f"{path} names a credential helper {str(helper)[:40]!r}, which is not a name", mend=f"correct {path}")
    program = f"docker-credential-{helper}"
    try:
        code, output = place.run([program, "get"], server.encode())
    except FileNotFoundError:
        place.say(f"{path} names {program}, which is not installed here: it was not asked for {server}")
        return None
    except subprocess.TimeoutExpired as error:
        raise AuthError(f"{program} gave no login for {server} within {HELPER_TIME:.0f} s", mend="unlock the keyring it reads") from error
    said = output[:LARGEST].decode(errors="replace").strip()
    if code:
        if ABSENT in said:
            return None
        raise AuthError(f"{program} gave no login for {server}", cause=said[:300] or f"exit {code}", mend=f"docker login {server}, again")
    try:
        value = jsontext.loads(said)
        username, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError):
        username, secret = None, None
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        raise AuthError(f"{program} answered, but not with a login for {server}", mend=f"docker login {server}, again")
    return Login("" if username == IDENTITY else username, secret, program, "identity" if username == IDENTITY else "password")


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", cause=str(error), mend=f"chown it to {os.geteuid()}, or move it away") from error


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    """What a file says; an empty one says nothing, to docker as well."""
    try:
        value = jsontext.loads(text) if text.strip() else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is not JSON with logins in it", mend="docker login writes it anew once it is moved away")
    return value


def _closed(path: Path) -> None:
    """Raises ConfigError where a file with a password in it can be read by others."""
    if mend := open_to_others(path, path.stat()):
        raise ConfigError(f"{path} holds a password and can be read by others", mend=mend)


def _run(argv: list[str], text: bytes) -> tuple[int, bytes]:
    done = subprocess.run(argv, input=text, capture_output=True, timeout=HELPER_TIME, check=False)
    return done.returncode, done.stdout or (done.stderr if done.returncode else b"")
