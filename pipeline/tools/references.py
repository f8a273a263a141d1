"""The grammar of what an image is called: address, repository, tag, digest; nothing else ever reaches a URL or an argv.

The expressions are those of the OCI distribution specification 1.1 ("Pulling manifests") and of distribution/reference.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pipeline.errors import ConfigError, IntegrityError

REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def address(text: str) -> str:
    """`text` as host[:port]. Raises ConfigError where it is not one (a scheme, a path or a user name do not belong in it)."""
    if not ADDRESS.fullmatch(text):
        raise ConfigError(f"{text!r} is not a registry's address", mend="write host:port, without a scheme or a path")
    return text


def repository(text: str) -> str:
    """`text` as a repository's name. Raises ConfigError where it is not one (capitals, leading dashes, `..`)."""
    if len(text) > 255 or not REPOSITORY.fullmatch(text):
        raise ConfigError(f"{text!r} is not the name of a repository", mend="write lower-case words joined by / . _ or -, like team/app")
    return text


def tag(text: str) -> str:
    """`text` as a tag. Raises ConfigError where it is not one."""
    if not TAG.fullmatch(text):
        raise ConfigError(f"{text!r} is not a tag", mend="use letters, digits, _ . and -, at most 128, not starting with . or -")
    return text


def digest(text: str) -> str:
    """`text` as a sha256 digest. Raises IntegrityError where it is not one: digests come from peers and from files, not from people."""
    if not DIGEST.fullmatch(text):
        raise IntegrityError(f"{text[:80]!r} is not a sha256 digest", mend="nothing but sha256:<64 lower-case hex digits> is taken")
    return text


def tag_or_digest(text: str) -> str:
    """`text` as what may follow `/manifests/`. Raises ConfigError or IntegrityError."""
    return digest(text) if ":" in text else tag(text)


def digest_of(body: bytes) -> str:
    """The digest of these bytes."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


@dataclass(frozen=True)
class Reference:
    """What a manifest or a node calls an image: `repository` (with its registry, if one is named), `tag` and `digest`, "" if not said."""

    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def registry(self) -> str:
        """The registry's address as it is written, "" if none is: Docker Hub is meant then.

        Source: github.com/distribution/reference/normalize.go, splitDockerDomain
        """
        first, slash, _ = self.repository.partition("/")
        return first if slash and (first == "localhost" or "." in first or ":" in first) else ""

    @property
    def path(self) -> str:
        """The repository without its registry, and without the `library/` that Docker Hub's own images may be written with."""
        path = self.repository.removeprefix(f"{self.registry}/") if self.registry else self.repository
        return path.removeprefix("library/")


def read(text: str) -> Reference:
    """The parts of what somebody else wrote, name:tag@digest included: nothing of it is judged, and nothing of it may reach a URL."""
    name, _, digest_ = text.partition("@")
    folder, slash, last = name.rpartition("/")
    last, _, tag_ = last.partition(":")  # the colon of a port stands before the last slash
    return Reference(f"{folder}{slash}{last}", tag_, digest_)


def digest_in(image_id: str) -> str:
    """The digest in a node's imageID: `repo@sha256:…`, `docker-pullable://repo@sha256:…` or, of an image that was carried there, the bare
    digest of its configuration."""
    return image_id.rpartition("@")[2].rpartition("//")[2]


def split(reference: str) -> tuple[str, str, str]:
    """(address, repository, tag or digest) of `address/repository@digest`, `address/repository:tag` or both: then the digest counts.
    Raises ConfigError."""
    found = read(reference)
    where, _, name = found.repository.partition("/")
    if not (where and name and (found.tag or found.digest)):
        raise ConfigError(f"{reference!r} is not an image reference", mend="write address/repository@sha256:… or address/repository:tag")
    return address(where), repository(name), digest(found.digest) if found.digest else tag(found.tag)
