"""The part of the OCI distribution API that a release needs: what a tag is, whether content is there, putting a tag on it.

Nothing is taken from an answer that can be computed: a manifest's digest is that of its bytes. Redirects are followed only to the
registry itself, and for content to the stores it is known to have. Retries are the runner's. Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, urlsplit

from pipeline import jsontext
from pipeline.errors import ConfigError, IntegrityError, PipelineError
from pipeline.events import What
from pipeline.tools import http_answer, http_faults, quota, references, stores
from pipeline.tools.credentials import account_of
from pipeline.tools.origin import ERROR_CAP, SAFE, Answer, Origin
from pipeline.tools.providers import endpoint, full_name, provider_of
from pipeline.tools.tokens import Authorization

if TYPE_CHECKING:
    from pipeline.stage import Site

MANIFEST_CAP = 4 * 1024 * 1024  # bytes, the limit of the specification
PIECE = 8 << 20  # bytes of a blob that are asked for at once
TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
PAGES = 20  # of tags
REDIRECTS = 5
NEXT = re.compile(r"<([^<>\s]*)>\s*;[^,]*\brel=\"?next\b", re.IGNORECASE)  # RFC 8288, as the specification has it for tags
ACCEPT = {"Accept": ", ".join(TYPES)}


@dataclass(frozen=True)
class Manifest:
    """A manifest as it lies in the registry: `digest` was computed from `body`; an index has no `config` and no `layers` (digest, size)."""

    digest: str
    media_type: str
    body: bytes
    config: str
    layers: tuple[tuple[str, int], ...]


class Memory(Protocol):
    """What keeps facts that never change, by name, beyond a process: the records do."""

    def hint(self, name: str) -> str | None: ...

    def remember(self, name: str, value: str) -> None: ...


class Brief(dict[str, str]):
    """A memory of this process alone."""

    hint = dict.get
    remember = dict.__setitem__


class Client:
    """One registry, safe to use from several threads.

    Every method raises Transient, RateLimited, AuthError or ConfigError as the registry's answer means, and Ambiguous for a write
    whose outcome is unknown. `quota` is what the registry last said it still takes (None: nothing); `say` is told once when that gets low.
    """

    def __init__(
        self, origin: Origin, authorization: Authorization, say: Callable[[str], None] = lambda _: None, stores: tuple[str, ...] = (),
        memory: Memory | None = None,
    ) -> None:  # fmt: skip
        self.origin = origin
        self.memory: Memory = Brief() if memory is None else memory
        self.stores = stores
        self.authorization = authorization
        self.quota: quota.Quota | None = None
        self._say = say

    def head(self, repository: str, reference: str) -> str | None:
        """The digest that a tag (or a digest) stands for, or None. One request. The registry's word: compare it with one you trust."""
        answer = self._ask("HEAD", repository, f"manifests/{references.tag_or_digest(reference)}", ACCEPT)
        if answer.status == 404:
            return None
        if "docker-content-digest" in answer.headers:
            return references.digest(answer.headers["docker-content-digest"])
        found = self.manifest(repository, reference)
        return found.digest if found else None

    resolve = head

    def exists(self, reference: str) -> bool:
        """Whether `address/repository@digest` is in this registry. Raises ConfigError where the reference names another registry."""
        where, repository, suffix = references.split(reference)
        if endpoint(where) != self.origin.address:
            raise ConfigError(f"{reference} is not in {self.origin.address}", mend=f"ask {where}, or correct the reference")
        found = self.head(repository, suffix)
        return found is not None and (":" not in suffix or found == suffix)

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest behind a tag or digest, or None. Raises IntegrityError where its bytes do not have the digest that the registry
        or the reference says, or where they are not a manifest."""
        answer = self._ask("GET", repository, f"manifests/{references.tag_or_digest(reference)}", ACCEPT, cap=MANIFEST_CAP)
        if answer.status == 404:
            return None
        where = f"{self.origin.address}/{repository}:{reference}"
        if answer.cut:
            raise IntegrityError(f"the manifest of {where} is larger than {MANIFEST_CAP} bytes", mend="look what was pushed there")
        digest = references.digest_of(answer.body)
        said = {answer.headers.get("docker-content-digest", digest), reference if ":" in reference else digest}
        if said != {digest}:
            raise IntegrityError(
                f"the manifest of {where} is not what the registry says it is",
                cause=f"its bytes are {digest}, said was {', '.join(sorted(said - {digest}))}",
                mend="do not deploy it; look at the registry, or at what stands between",
            )
        return read_manifest(answer.body, answer.headers.get("content-type", ""), where)

    def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> str:
        """Put these very bytes under a tag; the digest they have. Raises Ambiguous where the outcome is unknown."""
        path = f"manifests/{references.tag_or_digest(reference)}"
        answer = self._ask("PUT", repository, path, {"Content-Type": manifest.media_type}, manifest.body)
        if answer.status == 404:
            raise ConfigError(f"{self.origin} has no repository {repository}", cause=answer.body[:200].decode(errors="replace"))
        return manifest.digest

    def blob(self, repository: str, digest: str) -> int | None:
        """The size in bytes that the registry says a blob has, or None. One HEAD; see `opens` for proof."""
        answer = self._ask("HEAD", repository, f"blobs/{references.digest(digest)}", {})
        length = answer.headers.get("content-length", "")
        return None if answer.status == 404 else int(length) if length.isascii() and length.isdigit() else 0

    def opens(self, repository: str, digest: str) -> bool:
        """Whether the registry really gives the first byte of a blob.

        HEAD is no proof: Gitea has answered it from its database where the file was gone (go-gitea/gitea#19586; 1.26.2 says 404
        to both). A 500 counts as not given; a redirect to a store elsewhere is not followed and counts as given.
        """
        answer = self._ask(
            "GET", repository, f"blobs/{references.digest(digest)}", {"Range": "bytes=0-0"}, cap=1, accept=(200, 206, 307, 302, 404, 500)
        )
        return answer.status not in (404, 500)

    def fetch(self, repository: str, digest: str, cap: int) -> bytes | None:
        """A small blob, or None. Raises IntegrityError where its bytes are others than its digest says, or more than `cap`."""
        answer = self._ask("GET", repository, f"blobs/{references.digest(digest)}", {}, cap=cap)
        if answer.status == 404:
            return None
        if answer.cut or references.digest_of(answer.body) != digest:
            raise IntegrityError(f"blob {digest} of {self.origin.address}/{repository} is not what its digest says")
        return answer.body

    def pieces(self, repository: str, digest: str, size: int) -> Iterator[bytes]:
        """A blob of `size` bytes, PIECE bytes at a time. Raises ConfigError where the registry gives no parts of a blob. The caller
        compares the digest."""
        path = f"blobs/{references.digest(digest)}"
        for start in range(0, size, PIECE):
            wanted = {"Range": f"bytes={start}-{min(start + PIECE, size) - 1}"}
            answer = self._ask("GET", repository, path, wanted, cap=PIECE, accept=(200, 206))
            if answer.status == 200 and size > PIECE:
                raise ConfigError(f"{self.origin} gives a blob whole or not at all, and {digest} has {size} bytes")
            yield answer.body

    def put_blob(self, repository: str, body: bytes) -> str:
        """Store a small blob, unless it is there; its digest. Raises Ambiguous where the outcome is unknown."""
        digest, inside = references.digest_of(body), f"/v2/{references.repository(repository)}/"
        if self.blob(repository, digest) is None:
            begun = self._ask("POST", repository, "blobs/uploads/", {}, accept=(202,))
            there, own = self._led(inside, begun)
            if not own or not there.path.startswith(inside):
                raise ConfigError(f"{self.origin} sends uploads on to {there.scheme}://{there.netloc}{there.path}, which was not asked")
            target = f"{there.path.removeprefix(inside)}?{there.query}{'&' if there.query else ''}digest={digest}"
            self._ask("PUT", repository, target, {"Content-Type": "application/octet-stream"}, body, accept=(201,))
        return digest

    def put_referrer(self, repository: str, body: bytes, media_type: str) -> bool:
        """Put a manifest that has a subject, under its digest. Whether the registry keeps a list of what refers to that subject: it
        says so by OCI-Subject (OCI distribution specification 1.1, "Pushing Manifests with Subject")."""
        path = f"manifests/{references.digest_of(body)}"
        answer = self._ask("PUT", repository, path, {"Content-Type": media_type}, body, accept=(200, 201))
        return "oci-subject" in answer.headers

    def referrers(self, repository: str, digest: str) -> bytes | None:
        """The index of what refers to a digest, or None where the registry keeps none (404)."""
        answer = self._ask("GET", repository, f"referrers/{references.digest(digest)}", {"Accept": TYPES[3]}, cap=MANIFEST_CAP)
        return None if answer.status == 404 else answer.body

    def delete(self, repository: str, digest: str) -> bool:
        """Take the manifest `digest` away, and with it every tag that stands for it; whether it was there.

        By a tag alone distribution 2 deletes nothing (400), and Gitea takes the image along with its last tag. Raises ConfigError where the
        registry deletes nothing, Ambiguous where the outcome is unknown.
        """
        answer = self._ask("DELETE", repository, f"manifests/{references.digest(digest)}", {}, accept=(200, 202, 404, 405))
        if answer.status == 405:
            raise ConfigError(
                f"{self.origin} does not delete images",
                cause=f"HTTP 405 {words(answer)}".strip(),
                mend="a registry of your own: REGISTRY_STORAGE_DELETE_ENABLED=true; GHCR and Docker Hub: on the package's own page",
            )
        return answer.status != 404

    def tags(self, repository: str, *, whole: bool = False) -> tuple[str, ...]:
        """The repository's tags, page by page, at most PAGES of them; none where there is no such repository. Raises ConfigError if there
        are more and the `whole` list is needed."""
        names: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(PAGES):
            answer = self._ask("GET", repository, path, {}, cap=MANIFEST_CAP)
            try:
                page = [] if answer.status == 404 else jsontext.loads(answer.body).get("tags") or []
            except (ValueError, AttributeError) as error:
                raise IntegrityError(f"{self.origin} gave no list of tags for {repository}", cause=str(error)) from error
            names += [name for name in page if isinstance(name, str) and references.TAG.fullmatch(name)]
            # of the next page's address only its query is taken: the place is known
            more = NEXT.search(answer.headers.get("link", ""))
            if not more or not page:
                break
            path = f"tags/list?{urlsplit(more[1]).query}"
        else:
            if whole:
                what = f"{self.origin} has more than {len(names)} tags of {repository}"
                raise ConfigError(what, cause=f"{PAGES} pages were read", mend="delete the oldest of them in the registry's own way first")
        return tuple(dict.fromkeys(names))

    def close(self) -> None:
        self.origin.close()

    def _ask(
        self,
        method: str,
        repository: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        cap: int = ERROR_CAP,
        accept: tuple[int, ...] = (200, 201, 206, 404),
    ) -> Answer:
        repository = full_name(self.origin.address, references.repository(repository))
        target = f"/v2/{repository}/{path}"
        writing = method not in SAFE

        def ask(used: str) -> Answer:
            answer = self._followed(method, target, headers, used, body, cap, accept)
            if foreign := http_faults.in_place(answer.status, answer.headers, answer.body, str(self.origin), f"{method} {target}"):
                raise foreign
            return answer

        used = self.authorization.header(repository)
        answer = ask(used)
        if answer.status == 401:
            used = self.authorization.again(repository, used, answer.headers, writing=writing)
            answer = ask(used)
            if answer.status == 401:
                raise self.authorization.refuse(repository, f"HTTP 401 {words(answer)}", writing=writing)
        self.authorization.accepted(used)
        self._count(answer)
        if answer.status in accept:
            return answer
        raise self._refused(method, repository, target, answer)

    def _followed(
        self, method: str, target: str, headers: Mapping[str, str], used: str, body: bytes, cap: int, accept: tuple[int, ...]
    ) -> Answer:
        sent = {**headers, "Authorization": used} if used else dict(headers)
        for _ in range(REDIRECTS):
            answer = self.origin.ask(method, target, sent, body, cap=cap)
            if answer.status not in (301, 302, 303, 307, 308) or answer.status in accept or method not in SAFE:
                return answer
            there, own = self._led(target, answer)
            if not own and "/blobs/" in target:
                return stores.download(self.origin, there, self.stores, headers, method, cap)
            if not own:
                raise ConfigError(
                    f"{self.origin} sends {method} {target} on to {there.scheme}://{there.netloc}, which was not asked",
                    mend="give the registry's final address in the site file",
                )
            target = http_answer.target(there)
        return answer

    def _led(self, target: str, answer: Answer) -> tuple[SplitResult, bool]:
        """Where an answer to `target` sends us, and whether that is the registry itself."""
        named = answer.headers.get("location", "")
        try:
            there = http_answer.redirected(f"{self.origin}{target}", named)
            return there, http_answer.leads_to(there, self.origin.scheme, self.origin.address)
        except ValueError as error:
            raise ConfigError(f"{self.origin} sends {target} on to what is no address", cause=f"Location: {named[:200]}") from error

    def _count(self, answer: Answer) -> None:
        """Docker Hub tells the rest with every manifest."""
        now = quota.read(answer.headers)
        if now and now.low and not (self.quota and self.quota.low):
            self._say(f"{self.origin}: {now}; log in for more, or wait")
        self.quota = now or self.quota

    def _refused(self, method: str, repository: str, target: str, answer: Answer) -> PipelineError:
        what = f"{method} {target}"
        if answer.status == 403:
            return self.authorization.forbidden(repository, f"HTTP 403 {words(answer)}", writing=method not in SAFE)
        now = self.origin.clock.now()
        if answer.status == 429 and (self.quota or "pull rate limit" in words(answer)):
            return quota.spent(
                self.quota, str(self.origin), words(answer), http_faults.retry_after(answer.headers.get("retry-after", ""), now)
            )
        return http_faults.refusal(
            answer.status, answer.headers, words(answer), str(self.origin), what, written=method not in SAFE, now=now
        )


def read_manifest(body: bytes, media_type: str, where: str) -> Manifest:
    """The manifest that these bytes are. Raises IntegrityError where they are not one, or name content by anything but sha256."""
    try:
        value = jsontext.loads(body)
        kind = media_type.partition(";")[0].strip() or str(value.get("mediaType", ""))
        config = references.digest(str(value["config"]["digest"])) if "config" in value else ""
        layers = tuple((references.digest(str(layer["digest"])), int(layer["size"])) for layer in value.get("layers", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"what lies at {where} is not an image manifest", cause=f"{type(error).__name__}: {error}") from error
    return Manifest(references.digest_of(body), kind or TYPES[0], body, config, layers)


def words(answer: Answer) -> str:
    """What the registry said, on one line."""
    return http_faults.words(answer.body)


def client_of(site: Site, name: str, actions: str = "pull,push") -> Client:
    """The client for the site's registry `name`, kept by the site; its password is read late. `actions` are what its tokens are good for.
    Raises ConfigError for a bad address."""

    def made() -> Client:
        spec = site.registry(name)
        origin = Origin(spec.scheme, endpoint(references.address(spec.address)), clock=site.clock)
        say = partial(site.tell, What.WARN, "push")
        tell = partial(site.tell, What.LOG, "push")
        known = (*provider_of(spec.address, spec.provider).stores, *spec.stores)
        account = account_of(site, name, say)
        return Client(origin, Authorization(origin, account, say=tell, guard=site.secrets.guard, actions=actions), say, known, site.records)

    client: Client = site.share(f"registry {name} {actions}", made)
    return client


def needs(site: Site, name: str) -> None:
    """What a stage needs of a registry before anything is done, nobody contacted: its address, its password. Raises ConfigError or
    AuthError."""
    client_of(site, name)
    if password := site.registry(name).password:
        site.secrets.get(password)
