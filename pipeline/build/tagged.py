"""An image that somebody else built: found by its tag in the registry, taken by its digest, never made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.artifacts import Image, Images, Source
from pipeline.errors import ConfigError, IntegrityError, PipelineError
from pipeline.events import What
from pipeline.stage import Driver, Finding, Site, Store
from pipeline.tools import named, placeholders, references
from pipeline.tools.named import Named
from pipeline.tools.registry import Client, client_of, needs
from pipeline.yamlfile import keys_like

STAGE = "build"
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True)
class Tagged:
    """`repository` in the site's `registry`; the image under `tag` where one is pinned (or a digest), else under `default_tag`.

    A tag may have {commit} and {short} of the working copy in it: `sha-{short}` is what was built from this very commit. What a tag stands
    for is asked at each look.
    """

    registry: str
    repository: str
    default_tag: str = "latest"
    tag: str = ""

    def __post_init__(self) -> None:
        references.repository(self.repository)
        for text in filter(None, (self.default_tag, self.tag)):
            references.tag_or_digest(_filled(text, "0" * 40, "0" * 7))


def find(spec: Tagged, source: Source, site: Site) -> Finding:
    """What the tag stands for now: one HEAD, and once for each digest what it leads to. Its source is the commit that it names
    (org.opencontainers.image.revision), if it names one: that is what is released.

    Raises IntegrityError where the manifest is not what its digest says, and what the registry's client raises.
    """
    client, tag = client_of(site, spec.registry), _tag(spec, source)
    digest = client.head(spec.repository, tag)
    if digest is None:
        return Finding(None, f"{spec.repository} has no tag {tag}")
    place = f"{site.registry(spec.registry).address}/{spec.repository}"
    said = _named(client, spec, digest, site)
    image = Image(place, said.image, "" if ":" in tag else tag, said.config)
    origin = f", built from commit {said.commit[:7]}" if said.commit else ""
    return Finding(Images(_built_from(said.commit, source), (image,)), f"{tag} stands for {said.image[:19]}{origin}")


def make(spec: Tagged, source: Source, site: Site) -> Images:
    """Nothing is made here: what is there by now, or a ConfigError that says which tags there are."""
    found = find(spec, source, site).artifact
    if isinstance(found, Images):
        return found
    tag = _tag(spec, source)
    known = client_of(site, spec.registry).tags(spec.repository)
    where = f"{site.registry(spec.registry).address}/{spec.repository}"
    if not known:
        raise ConfigError(
            f"{where} has no image under any tag",
            cause="the registry lists no tags of it: it does not exist, or it is private",
            mend="correct the repository, push the image first, or give the registry a username and password in the site file",
        )
    mend = f"name one that is there: {', '.join(_newest(known))}"
    if source.dirty and "{" in (spec.tag or spec.default_tag):
        mend = f"commit, and let the image be built from it; or {mend}"
    elif "{" in (spec.tag or spec.default_tag):
        mend = f"wait until the image of this commit is built (inv ci.watch), or {mend}"
    raise ConfigError(f"{where} has no tag {tag}{keys_like(tag, list(known))}", mend=mend)


def _tag(spec: Tagged, source: Source) -> str:
    return references.tag_or_digest(_filled(spec.tag or spec.default_tag, source.commit, source.label))


def _filled(text: str, commit: str, short: str) -> str:
    return str(placeholders.render(text, {"commit": commit, "short": short, "label": short}, "tag"))


def _named(client: Client, spec: Tagged, digest: str, site: Site) -> Named:
    """What a digest leads to. What it says of itself is good to know, no more."""
    try:
        said = named.read(client, spec.repository, digest)
    except PipelineError as error:
        site.tell(What.WARN, STAGE, f"what {digest[:19]} was built from cannot be read: {error.what}")
        manifest = client.manifest(spec.repository, digest)
        said = Named(digest, manifest.config, {}) if manifest else None
    if said is None:
        raise IntegrityError(
            f"{spec.repository}@{digest} is not there, though a tag names it", mend="run again; if it lasts, look at the registry's storage"
        )
    return said


def _built_from(commit: str, here: Source) -> Source:
    """The source that is released: what the image says it was built from, else the working copy that asks for it."""
    return Source("", commit, False, here.path) if COMMIT.fullmatch(commit) and commit != here.commit else here


def _newest(tags: Sequence[str]) -> list[str]:
    """A few tags, those that move before those of one commit."""
    return sorted(tags, key=lambda tag: (any(char.isdigit() for char in tag), len(tag)))[:6]


def check(spec: Tagged, site: Site) -> None:
    """Whether the site knows the registry and its credentials. Raises ConfigError or AuthError."""
    needs(site, spec.registry)


def stores(spec: Tagged, _site: Site) -> tuple[Store, ...]:
    """The repository that it takes images from; it puts none there."""
    return (Store(spec.registry, spec.repository),)


DRIVER = Driver("build", "tagged", Source, Images, Tagged, find, make, check=check, stores=stores)
