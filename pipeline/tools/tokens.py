"""What goes into the Authorization header of a registry, and where it comes from: never from an address that a peer has named.

Measured on Gitea 1.26.2: Basic is accepted on every /v2/ request, so a lone request needs no token, but checking a password costs
the registry 14 to 27 ms each time and a token 0.6 ms; the token's answer names no lifetime. So a token in hand is used, one is
fetched where many requests follow or Basic was refused, and Basic goes along with a request on its own.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from pipeline.errors import AuthError, ConfigError
from pipeline.tools.http_faults import refusal
from pipeline.tools.origin import Answer, Origin

TOKEN_CAP = 64 * 1024  # bytes of a token endpoint's answer
LIFETIME = 60.0  # seconds, where the answer names none (distribution's token specification)
CHALLENGE = re.compile(r'Bearer\s+((?:\w+="[^"]*"\s*,?\s*)+)', re.IGNORECASE)
PARAMETER = re.compile(r'(\w+)="([^"]*)"')
TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Account:
    """Who asks: `realm` as in the site file, `password` is called late and gives the value; no `username` means anonymous."""

    realm: str = "follow"
    username: str = ""
    password: Callable[[], str] = str


@dataclass(frozen=True)
class _Token:
    header: str
    stale_at: float


class Authorization:
    """Headers for one registry, from any number of threads; a token is fetched by one of them while the others wait.

    `say` gets a sentence where the realm that the registry names is not the one that is used; `guard` gets every token, to be masked.
    """

    def __init__(
        self,
        origin: Origin,
        account: Account,
        *,
        say: Callable[[str], None] = lambda _: None,
        guard: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._origin = origin
        self._account = account
        self._say = say
        self._guard = guard
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._refused: dict[str, AuthError] = {}
        self._doubted: set[str] = set()  # headers given after a 401 that have not been accepted yet
        self._challenge: str | None = None

    def header(self, repository: str, *, many: bool = False) -> str:
        """The Authorization for a request to `repository`, or "" for none; `many` says that others follow.

        Raises AuthError where the registry has refused this account before in this process: accounts lock.
        """
        with self._lock:
            if repository in self._refused:
                raise self._refused[repository]
            token = self._tokens.get(repository)
            if token and self._origin.clock.monotonic() < token.stale_at:
                return token.header
            if token or many:
                return self._fetched(repository)
            return self._basic() if self._account.realm == "own" else ""

    def again(self, repository: str, used: str, headers: Mapping[str, str]) -> str:
        """The header to try once more after a 401 to `used`. Raises AuthError where there is nothing else to try."""
        with self._lock:
            token = self._tokens.get(repository)
            if token and token.header != used:
                return token.header  # another thread has fetched it meanwhile
            lapsed = token is not None and self._origin.clock.monotonic() >= token.stale_at
            if used in self._doubted and not lapsed:
                raise self.refuse(repository, "HTTP 401, also with a new token")
            self._challenge = headers.get("www-authenticate", "")
            fresh = self._fetched(repository)
            if fresh == used:
                raise self.refuse(repository, "HTTP 401")
            self._doubted.add(fresh)
            return fresh

    def accepted(self, used: str) -> None:
        """The registry has taken this header: a later 401 to it means that it ran out."""
        self._doubted.discard(used)

    def refuse(self, repository: str, cause: str) -> AuthError:
        """The error of an account that was refused twice; from now on it is raised without asking."""
        who = f"user {self._account.username}" if self._account.username else "a request without a user"
        error = AuthError(
            f"{self._origin} refused {who} for {repository}",
            cause=cause,
            mend="check the registry's username and password in the site file: the key must be valid and allowed to write packages",
        )
        self._refused[repository] = error
        return error

    def _basic(self) -> str:
        if not self._account.username:
            return ""
        pair = f"{self._account.username}:{self._account.password()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _fetched(self, repository: str) -> str:
        if self._challenge is None:
            answer = self._origin.ask("GET", "/v2/", {})
            self._challenge = answer.headers.get("www-authenticate", "") if answer.status == 401 else ""
        match = CHALLENGE.search(self._challenge)
        if not match:
            return self._basic()
        named = dict(PARAMETER.findall(match[1]))
        started = self._origin.clock.monotonic()
        origin, path = self._realm(named.get("realm", ""))
        actions = "pull,push" if self._account.username else "pull"
        query = urlencode({"service": named.get("service", ""), "scope": f"repository:{repository}:{actions}"}, safe=":/,")
        basic = self._basic()
        try:
            answer = origin.ask("GET", f"{path}?{query}", {"Authorization": basic} if basic else {}, cap=TOKEN_CAP)
        finally:
            if origin is not self._origin:
                origin.close()
        value, lifetime = self._read(answer, f"{origin}{path}", repository)
        self._guard(value)
        self._tokens[repository] = _Token(f"Bearer {value}", started + 0.8 * lifetime)
        return self._tokens[repository].header

    def _realm(self, seen: str) -> tuple[Origin, str]:
        policy = self._account.realm
        used = f"{self._origin}/v2/token" if policy == "own" else seen if policy == "follow" else policy
        try:
            parts = urlsplit(used)
        except ValueError:
            parts = urlsplit("")
        same = (parts.scheme, parts.netloc.lower()) == (self._origin.scheme, self._origin.address.lower())
        if policy == "follow" and not same:
            raise ConfigError(
                f"{self._origin} names {seen or 'no address'} as the place for tokens, which is not the registry itself: it was not asked",
                mend="write realm: own in the site file if the registry gives tokens at /v2/token, or the token URL if you trust it",
            )
        if self._origin.scheme == "https" and parts.scheme != "https":
            raise ConfigError(f"the realm {used} would send the password in the clear", mend="name an https:// realm in the site file")
        if seen != used:
            self._say(f"{self._origin} names {seen or 'no address'} as the place for tokens; used {used} instead, as configured")
        return (self._origin if same else Origin(parts.scheme, parts.netloc, clock=self._origin.clock)), parts.path or "/"

    def _read(self, answer: Answer, url: str, repository: str) -> tuple[str, float]:
        if answer.status in (401, 403):
            raise self.refuse(repository, f"HTTP {answer.status} from {url}")
        text = answer.body[:200].decode(errors="replace")
        if answer.status != 200:
            if answer.status in (404, 405) or answer.status < 400:
                raise ConfigError(
                    f"{url} gives no tokens", cause=f"HTTP {answer.status}", mend="name the right token URL as the registry's realm"
                )
            raise refusal(answer.status, answer.headers, text, url, "a token", written=False, now=self._origin.clock.now())
        try:
            value = {} if answer.cut else json.loads(answer.body)
            token = value.get("token") or value.get("access_token")
            lifetime = float(value.get("expires_in") or LIFETIME)
        except (ValueError, AttributeError, TypeError):
            token, lifetime = None, LIFETIME
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            size = f"more than {TOKEN_CAP} bytes" if answer.cut else f"{len(answer.body)} bytes"
            kind = answer.headers.get("content-type", "no content type")
            raise ConfigError(
                f"{url} answered, but not with a token",
                cause=f"{size}, {kind}"
                + ("" if answer.body.lstrip()[:1] == b"{" else f": {text.splitlines()[0][:100] if text.strip() else ''}"),
                mend="name the right token URL as the registry's realm in the site file",
            )
        return token, lifetime
