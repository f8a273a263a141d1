"""Who asks a Kubernetes API: the credentials of a kubeconfig's user, obtained when they are first needed and again before they end.

An exec plugin is run here and not by the official package, which goes on without an identity if the plugin fails, and waits for it for
ever. Protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import jsontext
from pipeline.errors import AuthError, ConfigError
from pipeline.secrets import sendable

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
EXTENSION = "client.authentication.k8s.io/exec"  # where a cluster's entry has words for its plugin
PATIENCE = 60.0  # seconds a plugin may take
EARLY = 60.0  # seconds before its end from which a token is not used any more
LEAST = 5.0  # seconds between two runs of a plugin, even if what it gives has ended: this clock may be wrong
NOBODY = re.compile(r"system:(?:anonymous|unauthenticated)")
SHOWN = 800  # characters of a plugin's output


@dataclass(frozen=True)
class Credentials:
    """A bearer `token`, or a client `certificate` with its `key` as PEM, good until `ends` (seconds since 1970)."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    ends: float = math.inf


class Login:
    """The credentials of one user, which `read` obtains. Safe for threads. Each secret is given to `guard` before it is used."""

    def __init__(self, read: Callable[[], Credentials], guard: Callable[[str], None] = lambda _: None, least: float = LEAST) -> None:
        self._read, self._guard, self._least = read, guard, least
        self._now: Credentials | None = None
        self._until = 0.0
        self._lock = threading.Lock()

    def credentials(self) -> Credentials:
        """Return what is to be shown to the API now. Raise AuthError if there is nothing."""
        with self._lock:
            if self._now is None or time.time() >= self._until:
                return self._renew()
            return self._now

    def renewed(self, refused: Credentials) -> bool:
        """Return whether there are other credentials than those that the API did not know: they are obtained once more."""
        with self._lock:
            return (self._renew() if self._now == refused else self._now) != refused

    def _renew(self) -> Credentials:
        found = self._read()
        for secret in filter(None, (found.token, found.key)):
            self._guard(secret)
        self._until = max(found.ends - EARLY, time.time() + self._least)
        self._now = found
        return found


def forbidden(what: str, *, cause: str, mend: str) -> AuthError:
    """Return the error of a right that is missing; `mend` says how to give it. Who is nobody gets no rights, but an identity."""
    if not NOBODY.search(cause):
        return AuthError(what, cause=cause, mend=mend)
    mend = "name credentials that this cluster knows in the kubeconfig; do not give rights to system:anonymous or system:unauthenticated"
    return AuthError(f"{what}: it does not know who asks", cause=cause, mend=mend)


def bearer(shown: Credentials) -> dict[str, str]:
    """Return the header that shows a token; none if there is none to show."""
    return {"Authorization": f"Bearer {shown.token}"} if shown.token else {}


def kept(found: Credentials, guard: Callable[[str], None]) -> Login:
    """Return the login of credentials that stay as they are."""
    login = Login(lambda: found, guard)
    login.credentials()  # masked from now on
    return login


def of_file(path: Path, certificate: str, key: str, guard: Callable[[str], None]) -> Login:
    """Return the login by the token in a file that is written anew as the token ends: it is read for each request."""

    def read() -> Credentials:
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthError(f"the token in {path} cannot be read", cause=str(error), mend="look who is to write that file") from error
        if not token:
            raise AuthError(f"the token in {path} is empty", mend="look who is to write that file")
        return Credentials(sendable(token, f"the token in {path}"), certificate, key, ends=0.0)

    return Login(read, guard, least=0.0)


def of_plugin(plugin: Mapping[str, Any], cluster: Mapping[str, Any], place: str, guard: Callable[[str], None]) -> Login:
    """Return the login by an exec plugin; `cluster` is what the tools' kubeconfig says of it, `place` where the plugin is named."""
    if plugin.get("apiVersion") not in VERSIONS:
        raise ConfigError(
            f"{place}: the exec plugin speaks {plugin.get('apiVersion')!r}",
            mend=f"write the kubeconfig anew with the cloud's own command; known are {' and '.join(VERSIONS)}",
        )
    if not isinstance(plugin.get("command"), str) or not plugin["command"]:
        raise ConfigError(f"{place}: the exec plugin has no command", mend="write the kubeconfig anew with the cloud's own command")
    return Login(lambda: _asked(plugin, cluster, place), guard)


def _asked(plugin: Mapping[str, Any], cluster: Mapping[str, Any], place: str) -> Credentials:
    """Run the plugin and read what it gives. Raise AuthError with its output if that is no identity."""
    code, out, err = _run(plugin, _info(plugin, cluster), place)
    what = f"the credential plugin {plugin['command']} gave no identity ({place})"
    mend = f"run it by hand: {' '.join([plugin['command'], *map(str, plugin.get('args') or ())])}"
    if code:
        said = err.strip() or ("" if "{" in out else out.strip())  # what is JSON may hold a token
        raise AuthError(what, cause=f"exit {code}: {said[-SHOWN:]}", mend=mend)
    try:
        answer = jsontext.loads(out)
        status = answer["status"]
        given = {name: str(status.get(name) or "") for name in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")}
        if answer.get("apiVersion") != plugin["apiVersion"]:
            raise ValueError(f"it speaks {answer.get('apiVersion')}, the kubeconfig {plugin['apiVersion']}")
        if not given["token"] and not (given["clientCertificateData"] and given["clientKeyData"]):
            raise ValueError("neither a token nor a certificate with its key")
        ends = _moment(given["expirationTimestamp"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else "it printed no ExecCredential"  # another error may quote what it printed
        raise AuthError(what, cause="\n".join(filter(None, (why, err.strip()[-SHOWN:]))), mend=mend) from None
    token = sendable(given["token"], f"the token that {plugin['command']} gave ({place})") if given["token"] else ""
    return Credentials(token, given["clientCertificateData"], given["clientKeyData"], ends)


def _run(plugin: Mapping[str, Any], info: str, place: str) -> tuple[int, str, str]:
    """Run the plugin without a terminal. Return its exit code, its output and its complaints."""
    command = str(plugin["command"])
    extra = {str(each.get("name")): str(each.get("value")) for each in plugin.get("env") or () if isinstance(each, dict)}
    argv = [command, *map(str, plugin.get("args") or ())]
    if plugin.get("interactiveMode") == "Always":
        raise AuthError(f"the credential plugin {command} wants a terminal ({place})", mend="name credentials that need nobody to answer")
    try:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, **extra, "KUBERNETES_EXEC_INFO": info}, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
                raise
    except (OSError, ValueError) as error:
        hint = str(plugin.get("installHint") or "").strip() or f"install {command}"
        raise AuthError(f"the credential plugin {command} cannot be run ({place})", cause=str(error), mend=hint) from error
    except subprocess.TimeoutExpired as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr or ""
        raise AuthError(
            f"the credential plugin {command} gave no identity within {PATIENCE:.0f} s ({place})", cause=said.strip()[-SHOWN:],
            mend="run it by hand: it may wait for a browser, a device or the network",
        ) from None  # fmt: skip
    return process.returncode, out, err


def _info(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> str:
    """Return what the plugin finds in KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {key: value for key, value in cluster.items() if key != "extensions"}
        for each in cluster.get("extensions") or ():
            if isinstance(each, dict) and each.get("name") == EXTENSION:
                spec["cluster"]["config"] = each.get("extension")
    return json.dumps({"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec})


def _moment(text: str) -> float:
    """Return an RFC 3339 moment as seconds since 1970; never, if there is none. Raise ValueError if it is no moment."""
    if not text:
        return math.inf
    found = datetime.datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def end_of(token: str) -> float:
    """Return when a JSON Web Token ends, in seconds since 1970; 0 if it is none, or does not say. Source: RFC 7519, 4.1.4."""
    parts = token.split(".")
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
        if len(parts) == 3:
            return float(jsontext.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))["exp"])
    return 0.0
