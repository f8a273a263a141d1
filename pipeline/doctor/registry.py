"""The registry: the scheme it really speaks, where it sends its clients for tokens, and what our account may do there."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from pipeline.doctor.verdict import LIMIT, Check, Verdict, ask_all, fail, ok, warn
from pipeline.errors import AuthError, ConfigError, Transient
from pipeline.host import Address
from pipeline.stage import Registry, Site
from pipeline.tools import crictl, references
from pipeline.tools.http_answer import challenges
from pipeline.tools.origin import Answer, Origin
from pipeline.tools.providers import endpoint, full_name, provider_of
from pipeline.tools.registry import client_of, words
from pipeline.tools.tokens import bearer

CONNECT = 2.0  # seconds for a connection to the realm
PATIENCE = 3.0  # seconds the registry may be silent before it is said not to answer
NOTHING = "sha256:" + "0" * 64  # a digest that nothing has
TLS_ONLY = re.compile(rb"HTTP request (?:was sent )?to (?:an )?HTTPS|plain HTTP request was sent to HTTPS", re.IGNORECASE)


@dataclass(frozen=True)
class Realm:
    """Where a registry sends its clients for tokens; `url` is "" where it names no place."""

    url: str
    basic: bool = False

    @property
    def address(self) -> Address | None:
        """Its host and port, None where the url is not one."""
        try:
            parts = urlsplit(self.url)
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            return None
        return Address(parts.hostname, port) if parts.hostname and port else None

    def foreign(self, spec: Registry) -> bool:
        """Whether it is another address than the registry's own."""
        where = self.address
        own = urlsplit(f"{spec.scheme}://{endpoint(spec.address)}")
        return where is not None and where != Address(own.hostname or "", own.port or {"http": 80, "https": 443}[spec.scheme])


def look(name: str, repositories: Sequence[str], site: Site, reads: Sequence[str] = ()) -> Iterator[Verdict]:
    """Every verdict on the registry; of the repositories in `reads` nothing is wanted but pulls.

    Raises what its client raises where it does not answer.
    """
    where, spec = f"{name} (registry)", site.registry(name)
    answer = asked(name, site)
    yield scheme(where, spec, answer)
    if answer.status not in (200, 401):
        return
    named = realm(answer)
    yield _realm(where, spec, named)
    names = dict.fromkeys(repositories, True) | dict.fromkeys(set(reads) - set(repositories), False)
    yield from ask_all(
        [Check(where, "credentials", partial(_account, where, name, repository, writes, site)) for repository, writes in names.items()]
    )
    yield from _quota(where, name, site)


def asked(name: str, site: Site) -> Answer:
    """What the registry says to whoever it does not know, asked once."""

    def ask() -> Answer:
        spec = site.registry(name)
        origin = Origin(spec.scheme, endpoint(references.address(spec.address)), read_timeout=PATIENCE, deadline=LIMIT - 1)
        try:
            return origin.ask("GET", "/v2/", {})
        finally:
            origin.close()

    answer: Answer = site.share(f"doctor {name}", ask)
    return answer


def realm(answer: Answer) -> Realm:
    """The realm that a 401 names. Source: https://distribution.github.io/distribution/spec/auth/token/"""
    challenge = answer.headers.get("www-authenticate", "")
    if named := bearer(challenge):
        return Realm(named.get("realm", ""))
    return Realm("", any(name == "basic" for name, _ in challenges(challenge)))


def scheme(where: str, spec: Registry, answer: Answer) -> Verdict:
    """Whether it speaks what the site file says, and whether that may be read on the way."""
    url = f"{spec.scheme}://{spec.address}"
    if answer.status == 400 and TLS_ONLY.search(answer.body):
        return fail(where, "scheme", f"{spec.address} speaks HTTPS, the site file says http", "write scheme: https for it in the site file")
    if answer.status not in (200, 401):
        mend = "is the address right? GET /v2/ of a registry answers 200 or 401"
        return fail(where, "scheme", f"{url}/v2/ answers HTTP {answer.status}: {words(answer)[:100] or 'nothing'}", mend)
    if spec.scheme == "http" and spec.username and not _near(spec.address):
        return warn(
            where,
            "scheme",
            f"{url} answers; HTTP carries the password in the clear over a network that is not private",
            "put TLS before the registry and write scheme: https; or reach it through a VPN",
        )
    return ok(where, "scheme", f"{url} answers as a registry")


def _near(address: str) -> bool:
    try:
        number = ipaddress.ip_address(urlsplit(f"//{address}").hostname or "")
    except ValueError:
        return False
    return number.is_private or number.is_loopback


def _realm(where: str, spec: Registry, named: Realm) -> Verdict:
    own = f"{spec.scheme}://{spec.address}"
    if not named.url:
        return ok(where, "realm", "asks for a password with each request" if named.basic else "asks for no login")
    if not named.foreign(spec):
        return ok(where, "realm", f"{named.url}, the registry's own")
    if named.url == provider_of(spec.address, spec.provider).realm:
        return ok(where, "realm", f"{named.url}, known to belong to it")
    at_the_registry = crictl.realm_mend(str(named.address or named.url), spec.address, spec.scheme).splitlines()[0]
    if spec.realm == "follow":
        return fail(
            where,
            "realm",
            f"it sends clients to {named.url} for tokens, which is not the registry itself: the pipeline does not go there",
            f"write realm: own for it in the site file if {own}/v2/token gives tokens, or the URL of one you trust\n{at_the_registry}",
        )
    used = f"{own}/v2/token" if spec.realm == "own" else spec.realm
    state = connects(named.address) if named.address else "which is no address"
    text = f"it names {named.url}, {state}; the pipeline asks {used} instead, other clients and nodes go there"
    return ok(where, "realm", text) if state == ANSWERS else warn(where, "realm", text, at_the_registry)


ANSWERS = "which can be reached from here"


def connects(address: Address) -> str:
    """What comes of a bare connection to it: nothing is sent."""
    try:
        with socket.create_connection((address.host, address.port), CONNECT):
            return ANSWERS
    except socket.gaierror:
        return "whose name does not resolve here"
    except OSError as error:
        return f"which does not answer from here ({error.strerror or 'no answer in time'})"


def _account(where: str, name: str, repository: str, writes: bool, site: Site) -> Iterator[Verdict]:
    yield from _credentials(where, name, repository, writes, site)
    yield from _referrers(where, name, repository, site)


def _credentials(where: str, name: str, repository: str, writes: bool, site: Site) -> Iterator[Verdict]:
    """Who asks, a token for what is needed, what the token says it is good for, and a list of tags with it. Writing is not tried."""
    client = client_of(site, name)
    authorization, repository = client.authorization, full_name(client.origin.address, repository)
    header = authorization.header(repository, many=True)
    tags = client.tags(repository)
    if tags:
        client.head(repository, tags[0])  # the answer that carries a quota, where there is one
    login = authorization.login(repository)
    if login is None:
        text = f"no user for {repository}: it can be read ({len(tags)} tags)"
        mend = "name username and password of the registry in the site file, or docker login"
        yield warn(where, "credentials", f"{text}, a push needs one", mend) if writes else ok(where, "credentials", text)
        return
    need = "push" if writes else "pull"
    granted = authorization.granted(repository)
    if granted is not None and need not in granted:
        error = authorization.forbidden(repository, "", writing=writes)
        yield fail(where, "credentials", error.what, error.mend, AuthError)
        return
    kind = f"a token for {' and '.join(sorted(granted))}" if granted else "a token" if header.startswith("Bearer") else "its password"
    known = "; writing was not tried" if writes and granted is None else ""
    yield ok(
        where,
        "credentials",
        f"{login.username or 'an identity token'} ({login.source}) has {kind} of {repository}, {len(tags)} tags are there{known}",
    )


def _quota(where: str, name: str, site: Site) -> Iterator[Verdict]:
    """What is left of Docker Hub's limit on pulls; a HEAD tells it and does not count."""
    left = client_of(site, name).quota
    if left and left.low:
        yield warn(where, "rate limit", str(left), "log in with an account that has more, or wait until it is filled again")
    elif left:
        yield ok(where, "rate limit", str(left))


def _referrers(where: str, name: str, repository: str, site: Site) -> Iterator[Verdict]:
    """Whether what belongs to an image can be asked for. Source: OCI distribution specification 1.1, "Listing Referrers"."""
    client = client_of(site, name)
    repository = full_name(client.origin.address, references.repository(repository))
    header = client.authorization.header(repository, many=True)
    path = f"/v2/{repository}/referrers/{NOTHING}"
    answer = client.origin.ask("GET", path, {"Authorization": header} if header else {})
    if answer.status == 200:
        yield ok(where, "referrers", "there is an API for them")
    elif answer.status in (404, 405):
        yield ok(where, "referrers", "no API for them: what belongs to an image is found by its tag sha256-<digest>")
    elif answer.status >= 500:
        raise Transient(f"{client.origin}{path} answers HTTP {answer.status}", cause=words(answer))
    else:
        raise ConfigError(f"{client.origin}{path} answers HTTP {answer.status}", cause=words(answer))
