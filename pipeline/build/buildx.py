"""Images from Dockerfiles: built by BuildKit, pushed by digest, read back, and tagged once the whole set is there.

Each image that is built and proved gets a tag that names its content, at once: where another of the set fails, it is found again by that
and not built twice. What people know it by is put on only when the set is whole, so no tag ever leads to half of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artifacts import Image, Images, Source
from pipeline.build.buildx_spec import Buildx
from pipeline.build.wanted import BUILT, Set, Wanted, wanted
from pipeline.errors import IntegrityError
from pipeline.events import What
from pipeline.stage import Driver, Finding, Site, Store
from pipeline.tools.registry import Client, client_of, needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.artifacts import Moved
    from pipeline.tools.retag import Placed

STAGE = "build"
AT_ONCE = 6  # images that are asked for side by side


@dataclass(frozen=True)
class _Ask:
    """What every question needs."""

    spec: Buildx
    source: Source
    site: Site
    set: Set
    client: Client

    def hint(self, image: Wanted) -> str:
        """Names the fact that this content was proved, and all its tags put on for this commit."""
        tags = ",".join(tag.name for tag in image.tags)
        return f"image {self.place(image)} {image.content} {self.set.ref.commit} {tags}"

    def there(self, image: Wanted) -> str:
        """The digest of what was built of this content, "" if nothing was."""
        tags = (image.built, image.before)
        return next((digest for tag in tags if (digest := self.client.head(image.spec.repository, tag))), "")

    def place(self, image: Wanted) -> str:
        return f"{self.site.registry(self.spec.registry).address}/{image.spec.repository}"

    def images(self, digests: dict[str, str], moved: Sequence[Moved] = ()) -> Images:
        """The artifact, once every image has its digest."""
        found = tuple(Image(self.place(image), digests[image.name], image.tag) for image in self.set.images)
        return Images(self.source, found, tuple(moved))


def find(spec: Buildx, source: Source, site: Site) -> Finding:
    """Whether every image of this source is in the registry, under all its tags. One HEAD for each where a former look has proved it, else
    the index, its images and the first byte of each layer. Raises what git and the registry's client raise."""
    ask = _ask(spec, source, site)
    digests: dict[str, str] = {}
    for image, (digest, why) in zip(ask.set.images, _all_at_once(ask), strict=True):
        if why:
            return Finding(None, why if len(ask.set.images) == 1 else f"{image.name}: {why}")
        digests[image.name] = digest
    return Finding(ask.images(digests))


def _all_at_once(ask: _Ask) -> list[tuple[str, str]]:
    """`_look` at every image, side by side: a far registry is waited for once."""
    if len(ask.set.images) == 1:
        return [_look(ask, ask.set.images[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(AT_ONCE, len(ask.set.images)), "look") as pool:
        return list(pool.map(lambda image: _look(ask, image), ask.set.images))


def _look(ask: _Ask, image: Wanted) -> tuple[str, str]:
    """(digest, "") of an image that is there with all its tags, else ("", why not)."""
    known = ask.site.records.hint(ask.hint(image))
    if known:
        lead, _, digest = known.partition(" ")
        if ask.client.head(image.spec.repository, image.tag) == lead:
            return digest, ""
    digest = ask.there(image)
    if not digest:
        return "", f"{image.spec.repository} of {ask.source.label} is not built"
    from pipeline.build.proof import open_tags, wrong  # a run that changes nothing never comes here

    if why := wrong(ask.client, image, digest):
        return "", why
    try:
        placed = open_tags(ask.client, ask.set.ref, ask.source, image, digest)
    except IntegrityError as error:
        return "", error.what
    for each in placed:
        if each.open:
            return "", f"tag {each.tag.name} does not stand for it yet"
    _remember(ask, image, digest, placed)
    return digest, ""


def _remember(ask: _Ask, image: Wanted, digest: str, placed: Sequence[Placed]) -> None:
    lead = next((each.digest for each in placed if each.tag.name == image.tag), digest)
    ask.site.records.remember(ask.hint(image), f"{lead} {digest}")


def make(spec: Buildx, source: Source, site: Site) -> Images:
    """Build what is not there, each image on its own, then tag the set.

    Raises BuildError, ConfigError, AuthError, ResourceError or Transient as buildx and the registry mean it, for the image that failed
    and after the others were tried; IntegrityError where the registry does not give what was pushed or a tag stands for something else.
    """
    from pipeline.build import proof
    from pipeline.build.turn import build_missing

    ask = _ask(spec, source, site)
    digests: dict[str, str] = {}
    for image in ask.set.images:
        digest = ask.there(image)
        if digest and not proof.wrong(ask.client, image, digest):
            digests[image.name] = digest
    missing = [image for image in ask.set.images if image.name not in digests]
    if missing:
        kept = tuple(digests)
        digests |= build_missing(spec, source, site, ask.client, missing, kept)
    placed = proof.tag_all(ask.client, ask.set.ref, source, [(image, digests[image.name]) for image in ask.set.images])
    for text in _told(placed):
        site.tell(What.LOG, STAGE, text)
    for image, those in placed:
        _remember(ask, image, digests[image.name], those)
    return ask.images(digests, proof.moves(ask.client, placed))


def _told(placed: Sequence[tuple[Wanted, tuple[Placed, ...]]]) -> list[str]:
    return [f"{image.name}: {each}" for image, all_of_it in placed for each in all_of_it if each.open or each.kept]


def check(spec: Buildx, site: Site) -> None:
    """Whether the site knows registry and builders, and the secrets can be read. Raises ConfigError or AuthError."""
    from pipeline.build.builders import nodes

    for name in (spec.registry, *spec.logins):
        needs(site, name)
    nodes(spec.builders, site)
    for image in spec.images.values():
        for source in image.secrets.values():
            site.secrets.get(source)


def rehearse(spec: Buildx, source: Source, site: Site) -> None:
    """Raise ConfigError for what must not travel: see `pipeline.source.vet.vet`."""
    from pipeline.build.context import contexts
    from pipeline.source.vet import vet

    vet(source, site.tool("git"), not_secret=site.not_secret, contexts=contexts(spec.images.values()))


def _ask(spec: Buildx, source: Source, site: Site) -> _Ask:
    return _Ask(spec, source, site, wanted(spec, source, site), client_of(site, spec.registry))


def stores(spec: Buildx, _site: Site) -> tuple[Store, ...]:
    """The repository of each image, and what its images are called after their commits; the tag of their content names none."""
    from pipeline.tools import tag_rules, tags

    names = (*tags.by_commit(tag_rules.parse(spec.tags)), tags.by_commit(tag_rules.parse(["sha"]))[0], BUILT)
    return tuple(Store(spec.registry, image.repository, names) for image in spec.images.values())


DRIVER = Driver("build", "buildx", Source, Images, Buildx, find, make, check=check, rehearse=rehearse, stores=stores)
