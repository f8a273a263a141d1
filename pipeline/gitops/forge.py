"""Who keeps the repository, asked: whether it is there, which deploy keys it knows. Gitea by its API, GitHub by gh.

Sources: Gitea's API (/api/v1/swagger), docs.github.com "REST API endpoints for deploy keys" (2022-11-28), gh's manual.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from pipeline import jsontext
from pipeline.errors import AuthError, ConfigError, IntegrityError
from pipeline.gitops.keys import body
from pipeline.gitops.spec import Forge as Spec
from pipeline.host import Cmd, Host
from pipeline.host.local import LocalHost
from pipeline.tools import gh
from pipeline.tools.http_faults import refusal, words
from pipeline.tools.origin import Origin

if TYPE_CHECKING:
    from pipeline.stage import Site

PAGE = 50  # keys of one answer; nobody has more
CAP = 1 << 20  # bytes of one answer
SECONDS = 60.0


@dataclass(frozen=True)
class Known:
    """A deploy key that a repository knows."""

    id: int
    title: str
    key: str
    read_only: bool


class Forge(Protocol):
    """What is asked of it; all of it raises AuthError, ConfigError, Transient or RateLimited as the answer means."""

    def create(self) -> bool:
        """Make the repository, private and empty, where it is not there; says whether it was made."""

    def known(self) -> list[Known]: ...

    def add(self, title: str, key: str, *, read_only: bool) -> None: ...

    def remove(self, key: Known) -> None: ...


def registered(forge: Forge, title: str, public: str, *, read_only: bool) -> str:
    """Let the repository know a key, and say what was done: "" where it did already, with the right it shall have."""
    known = next((each for each in forge.known() if body(each.key) == body(public)), None)
    if known and known.read_only == read_only:
        return ""
    if known:
        forge.remove(known)  # no forge changes the right of a key that is there
    forge.add(title, public, read_only=read_only)
    right = "may read" if read_only else "may read and write"
    return f"{known.title} {right} now" if known else f"{title} is known there, and {right}"


def owner_and_name(url: str) -> tuple[str, str]:
    """The repository that a git address means. Raises ConfigError where it is not OWNER/NAME."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    parts = path.removesuffix(".git").strip("/").split("/")
    if len(parts) < 2 or not all(parts[-2:]):
        raise ConfigError(f"{url} does not name a repository as OWNER/NAME", mend="correct the remote's url in the site file")
    return parts[-2], parts[-1]


def open_forge(spec: Spec, url: str, site: Site) -> Forge:
    """The forge that keeps the repository at `url`. Contacts nobody. Raises AuthError where its token cannot be read."""
    owner, name = owner_and_name(url)
    if spec.kind == "github":
        return GitHub(owner, name, LocalHost(), site.tool("gh"))
    if spec.registry:
        registry = site.registry(spec.registry)
        login = f"{registry.username}:{site.secrets.get(registry.password).reveal()}"
        site.secrets.guard(encoded := base64.b64encode(login.encode()).decode())
        return Gitea(_origin(site, registry.scheme, registry.address), "", f"Basic {encoded}", owner, name, registry.username)
    parts = urlsplit(spec.api)
    return Gitea(
        _origin(site, parts.scheme, parts.netloc), parts.path.rstrip("/"), f"token {site.secrets.get(spec.token).for_header()}", owner, name
    )


def _origin(site: Site, scheme: str, address: str) -> Origin:
    found: Origin = site.share(f"forge {scheme}://{address}", lambda: Origin(scheme, address, clock=site.clock))
    return found


@dataclass(frozen=True)
class Gitea:
    """A repository in Gitea (or Forgejo), by its API. `user` is who asks, where that is known."""

    origin: Origin
    prefix: str
    authorization: str = field(repr=False)
    owner: str
    name: str
    user: str = ""

    def create(self) -> bool:
        """See Forge."""
        if self._ask("GET", self._path()) is not None:
            return False
        user = self.user or str((self._ask("GET", "/user") or {}).get("login", ""))
        where = "/user/repos" if user == self.owner else f"/orgs/{quote(self.owner, safe='')}/repos"
        if self._ask("POST", where, {"name": self.name, "private": True, "auto_init": False}) is None:
            raise ConfigError(
                f"{self.origin} has no user and no organization {self.owner}", mend="make it there, or correct the remote's url"
            )
        return True

    def known(self) -> list[Known]:
        """See Forge."""
        found = self._ask("GET", f"{self._path()}/keys?limit={PAGE}")
        if found is None:
            raise ConfigError(f"{self.origin} shows no repository {self.owner}/{self.name} to this user", mend="may it administer it?")
        return _read(found, f"{self.origin}")

    def add(self, title: str, key: str, *, read_only: bool) -> None:
        """See Forge."""
        self._ask("POST", f"{self._path()}/keys", {"title": title, "key": key, "read_only": read_only})

    def remove(self, key: Known) -> None:
        """See Forge."""
        self._ask("DELETE", f"{self._path()}/keys/{key.id}")

    def _path(self) -> str:
        return f"/repos/{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    def _ask(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> Any:
        headers = {"Authorization": self.authorization, "Accept": "application/json"}
        sent = b"" if value is None else json.dumps(value).encode()
        if sent:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(sent))}
        answer = self.origin.ask(method, f"{self.prefix}/api/v1{path}", headers, sent, cap=CAP)
        what, said = f"{method} {path}", words(answer.body)
        if answer.status == 404:
            return None
        if answer.status in (401, 403):
            raise AuthError(
                f"{self.origin} refuses to let {self.owner}/{self.name} be administered", cause=f"HTTP {answer.status} to {what}: {said}",
                mend="the token needs the rights read and write of repositories, of a user who administers this one",
            )  # fmt: skip
        if answer.status == 409:
            return {}  # it is there already: another one was quicker
        if answer.status in (408, 429) or answer.status >= 500:
            raise refusal(answer.status, answer.headers, said, str(self.origin), what, written=method != "GET", now=self.origin.clock.now())
        if answer.status >= 400:
            raise ConfigError(
                f"{self.origin} refuses {what}", cause=f"HTTP {answer.status}: {said}", mend="look at the repository's settings there"
            )
        try:
            return jsontext.loads(answer.body or b"{}")
        except ValueError as error:
            raise IntegrityError(
                f"{self.origin} gave no JSON", cause=answer.body[:200].decode(errors="replace"), mend="is its api right?"
            ) from error


@dataclass(frozen=True)
class GitHub:
    """A repository on GitHub, by `program` (gh), with the login that it has."""

    owner: str
    name: str
    host: Host
    program: str = "gh"

    def create(self) -> bool:
        """See Forge."""
        if self._call("api", "--", f"repos/{self.owner}/{self.name}", missing=True) is not None:
            return False
        self._call("repo", "create", "--private", "--", f"{self.owner}/{self.name}")
        return True

    def known(self) -> list[Known]:
        """See Forge."""
        text = self._call("api", "--", f"repos/{self.owner}/{self.name}/keys?per_page=100")
        try:
            return _read(jsontext.loads(text or ""), "GitHub")
        except ValueError as error:
            raise IntegrityError("gh's answer is no list of keys", cause=(text or "")[:200], mend="gh --version: 2.20 or newer") from error

    def add(self, title: str, key: str, *, read_only: bool) -> None:
        """See Forge."""
        fields = ("-f", f"title={title}", "-f", f"key={key}", "-F", f"read_only={str(read_only).lower()}")
        self._call("api", "--method", "POST", *fields, "--", f"repos/{self.owner}/{self.name}/keys")

    def remove(self, key: Known) -> None:
        """See Forge."""
        self._call("api", "--method", "DELETE", "--", f"repos/{self.owner}/{self.name}/keys/{key.id}")

    def _call(self, *arguments: str, missing: bool = False) -> str | None:
        done = self.host.run(Cmd((self.program, *arguments), env=gh.ENV, timeout=SECONDS))
        if done.ok:
            return done.text
        if missing and gh.is_missing(done.errors):
            return None
        raise gh.failure(done.code, done.errors or done.text)


def _read(found: Any, who: str) -> list[Known]:
    try:
        return [Known(int(each["id"]), str(each["title"]), str(each["key"]), bool(each["read_only"])) for each in found]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{who} gave no list of deploy keys", cause=f"{type(error).__name__}: {error}", mend="is its api right?"
        ) from error
