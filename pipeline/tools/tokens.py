"""What goes into the Authorization header of a registry, and where it comes from: never from an address that a peer has named.

Measured on Gitea 1.26.2: Basic is accepted on every /v2/ request, so a lone request needs no token, but checking a password costs
the registry 14 to 27 ms each time and a token 0.6 ms; the token's answer names no lifetime. So a token in hand is used, one is
fetched where many requests follow or Basic was refused, and Basic goes along with a request on its own.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from pipeline import jsontext
from pipeline.errors import AuthError, ConfigError
from pipeline.secrets import sendable
from pipeline.tools import denials
from pipeline.tools.http_answer import challenges, leads_to, redirected, target
from pipeline.tools.http_faults import in_place, refusal, words
from pipeline.tools.logins import Login
from pipeline.tools.origin import Answer, Origin
from pipeline.tools.providers import Provider, provider_of

TOKEN_CAP = 64 * 1024  # bytes of a token endpoint's answer
LIFETIME = 60.0  # seconds, where the answer names none (distribution's token specification)
SPOKEN = ("basic", "bearer")
TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Account:
    """Who asks: `realm` as in the site file, `password` is called late and gives the value. Where there is no `username`, `find` looks for
    the login of a repository; none means anonymous. `provider` is whose ways the registry has, told by its address where not said."""

    realm: str = "follow"
    username: str = ""
    password: Callable[[], str] = str
    find: Callable[[str], Login | None] = lambda _repository: None
    provider: Provider | None = None


@dataclass(frozen=True)
class _Token:
    header: str
    stale_at: float


class Authorization:
    """Headers for one registry, from any number of threads; a token is fetched by one of them while the others wait.

    `say` gets a sentence where the realm that the registry names is not the one that is used; `guard` gets every token, to be masked;
    `actions` are what a token is asked for.
    """

    def __init__(
        self,
        origin: Origin,
        account: Account,
        *,
        say: Callable[[str], None] = lambda _: None,
        guard: Callable[[str], None] = lambda _: None,
        actions: str = "pull,push",
    ) -> None:
        self._origin = origin
        self._account = account
        self._provider = account.provider or provider_of(origin.address)
        self._logins: dict[str, Login | None] = {}
        self._say = say
        self._guard = guard
        self._actions = actions
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
            return self._basic(repository) if self._account.realm == "own" else ""

    def login(self, repository: str) -> Login | None:
        """Who asks for `repository`, None for nobody; looked for once. Raises ConfigError or AuthError as the search does."""
        if self._account.username:
            return Login(self._account.username, self._account.password(), "the site file")
        if repository not in self._logins:
            self._logins[repository] = self._account.find(repository)
        return self._logins[repository]

    def again(self, repository: str, used: str, headers: Mapping[str, str], *, writing: bool = True) -> str:
        """The header to try once more after a 401 to `used`. Raises AuthError where there is nothing else to try."""
        with self._lock:
            token = self._tokens.get(repository)
            if token and token.header != used:
                return token.header  # another thread has fetched it meanwhile
            lapsed = token is not None and self._origin.clock.monotonic() >= token.stale_at
            challenge = headers.get("www-authenticate", "")
            if used in self._doubted and not lapsed:
                raise self.refuse(repository, f"HTTP 401, also with a new token {_complaint(challenge)}", writing=writing)
            self._challenge = challenge
            fresh = self._fetched(repository)
            if fresh == used:
                raise self.refuse(repository, f"HTTP 401 {_complaint(challenge)}", writing=writing)
            self._doubted.add(fresh)
            return fresh

    def accepted(self, used: str) -> None:
        """The registry has taken this header: a later 401 to it means that it ran out."""
        self._doubted.discard(used)

    def refuse(self, repository: str, cause: str, *, token: bool = False, writing: bool = True) -> AuthError:
        """The error of an account that was refused twice, or by the place for tokens; from now on it is raised without asking."""
        error = denials.told(self._denial(repository, cause, token=token, writing=writing))
        self._refused[repository] = error
        return error

    def forbidden(self, repository: str, cause: str, *, writing: bool) -> AuthError:
        """The error of one request that this account may not make; others may be allowed."""
        return denials.told(self._denial(repository, cause, writing=writing))

    def granted(self, repository: str) -> frozenset[str] | None:
        """What the token in hand says that it is good for, None where there is none, or it does not say."""
        token = self._tokens.get(repository)
        return denials.granted(token.header.removeprefix("Bearer "), repository) if token else None

    def _denial(self, repository: str, cause: str, *, token: bool = False, writing: bool = True) -> denials.Denial:
        status = re.match(r"HTTP ([0-9]{3})\b[, ]*", cause)
        return denials.Denial(
            str(self._origin),
            self._provider.name,
            repository,
            cause[status.end() :] if status else cause,
            int(status[1]) if status else 401,
            token,
            writing,
            self.login(repository),
            self.granted(repository),
        )

    def _basic(self, repository: str) -> str:
        login = self.login(repository)
        if not login or login.kind == "identity":
            return ""
        if login.kind == "bearer":
            return f"Bearer {sendable(login.password, login.source)}"
        return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()

    def _fetched(self, repository: str) -> str:
        if self._challenge is None:
            answer = self._origin.ask("GET", "/v2/", {})
            if foreign := in_place(answer.status, answer.headers, answer.body, str(self._origin), "GET /v2/"):
                raise foreign
            self._challenge = answer.headers.get("www-authenticate", "") if answer.status == 401 else ""
        asked = challenges(self._challenge)
        if asked and not any(scheme in SPOKEN for scheme, _ in asked):
            raise AuthError(
                f"{self._origin} wants a login by {', '.join(dict.fromkeys(scheme for scheme, _ in asked))}, which is not spoken here",
                cause=self._challenge[:300],
                mend="let it take Basic or Bearer; is it the registry that asks, or a proxy before it?",
            )
        named = bearer(self._challenge)
        login = self.login(repository)
        if named is None or (login and login.kind == "bearer"):
            return self._basic(repository)
        started = self._origin.clock.monotonic()
        origin, path = self._realm(named.get("realm", ""))
        service = {"service": named["service"]} if named.get("service") else {}
        wanted = {**service, "scope": f"repository:{repository}:{self._actions if login else 'pull'}"}
        try:
            answer = _asked(origin, path, wanted, login, self._basic(repository))
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
            parts = redirected(f"{self._origin}/v2/", used) if used else urlsplit("")
            same = leads_to(parts, self._origin.scheme, self._origin.address)
        except ValueError:
            parts, same = urlsplit(""), False
        known = bool(self._provider.realm) and used == self._provider.realm
        if policy == "follow" and not same and not known:
            raise ConfigError(
                f"{self._origin} names {seen or 'no address'} as the place for tokens, which is not the registry itself: it was not asked",
                mend="write realm: own in the site file if the registry gives tokens at /v2/token, or the token URL if you trust it",
            )
        if self._origin.scheme == "https" and parts.scheme != "https":
            raise ConfigError(f"the realm {used} would send the password in the clear", mend="name an https:// realm in the site file")
        if seen != used:
            self._say(f"{self._origin} names {seen or 'no address'} as the place for tokens; used {used} instead, as configured")
        return (self._origin if same else Origin(parts.scheme, parts.netloc, clock=self._origin.clock)), target(parts)

    def _read(self, answer: Answer, url: str, repository: str) -> tuple[str, float]:
        if foreign := in_place(answer.status, answer.headers, answer.body, url, "a token"):
            raise foreign
        if answer.status in (401, 403):
            raise self.refuse(repository, f"HTTP {answer.status} from {url} {words(answer.body)}".strip(), token=True)
        text = answer.body[:200].decode(errors="replace")
        if answer.status != 200:
            if answer.status in (404, 405) or answer.status < 400:
                raise ConfigError(
                    f"{url} gives no tokens", cause=f"HTTP {answer.status}", mend="name the right token URL as the registry's realm"
                )
            raise refusal(answer.status, answer.headers, words(answer.body), url, "a token", written=False, now=self._origin.clock.now())
        try:
            value = {} if answer.cut else jsontext.loads(answer.body)
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


def bearer(challenge: str) -> Mapping[str, str] | None:
    """What a challenge says of the tokens that it asks for, None if it asks for none."""
    return next((named for scheme, named in challenges(challenge) if scheme == "bearer" and named), None)


def _asked(origin: Origin, path: str, wanted: Mapping[str, str], login: Login | None, basic: str) -> Answer:
    """A token by GET with the password (distribution's token specification), or by POST for an identity token (its OAuth2 form)."""
    if login and login.kind == "identity":
        form = {"grant_type": "refresh_token", "client_id": "pipeline", **wanted, "refresh_token": login.password}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return origin.ask("POST", path, kind, urlencode(form).encode(), cap=TOKEN_CAP)
    more = f"{path}{'&' if '?' in path else '?'}{urlencode(wanted, safe=':/,')}"
    return origin.ask("GET", more, {"Authorization": basic} if basic else {}, cap=TOKEN_CAP)


def _complaint(challenge: str) -> str:
    """What a challenge says is wrong (RFC 6750, 3.1), "" where it says nothing."""
    said = [named.get(name, "") for _, named in challenges(challenge) for name in ("error", "error_description")]
    return " ".join(filter(None, said))[:300]
