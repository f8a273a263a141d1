"""Where the tags that move stand, and putting one somewhere by hand: the one way that lets it go back to an older image."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Image, Images, Moved, Source
from pipeline.build.buildx_spec import Buildx
from pipeline.build.tagged import Tagged
from pipeline.errors import ConfigError
from pipeline.records import MADE
from pipeline.stage import Plan, Site
from pipeline.tools import git_ref, named, references, tag_rules
from pipeline.tools import tags as tagging
from pipeline.tools.registry import Client, client_of
from pipeline.tools.retag import Placed, moved, retag
from pipeline.tools.tags import Policy, Ref, Tag
from pipeline.yamlfile import keys_like

STAGE = "tags"
BEFORE = "before"
REMEMBERED = 500  # records that are looked through for what a tag stood for


@dataclass(frozen=True)
class Place:
    """One image of a blueprint: its `name`, where it lies, and the tags of it that move."""

    name: str
    client: Client
    address: str
    repository: str
    moving: tuple[str, ...]


@dataclass(frozen=True)
class Where:
    """What a tag of an image stands for: the image's digest ("" for nothing), the commit and version that it is named for, and what it was
    `before` as far as the records here know."""

    image: str
    repository: str
    tag: str
    digest: str
    commit: str
    version: str
    before: str


def show(plan: Plan, site: Site, source: Source) -> list[Where]:
    """Where every moving tag of the blueprint's images stands. Raises what the registry's client raises."""
    found = []
    for place in places(plan, site, source):
        for tag in place.moving:
            digest = place.client.head(place.repository, tag) or ""
            said = named.read(place.client, place.repository, digest) if digest else None
            image, commit, version = (said.image, said.commit, said.version) if said else (digest, "", "")
            found.append(Where(place.name, _called(place), tag, image, commit, version, _before(site, place, tag)))
    return found


def put(plan: Plan, site: Site, source: Source, tag: str, to: str, image: str = "") -> Images:
    """Let `tag` stand for what `to` is (another tag, a digest, or the word before), on every image of the set or on the one that is named;
    what each stood for is recorded.

    Raises ConfigError for an image, a tag or a digest that is not there, and for a tag that never moves, before anything is written.
    """
    references.tag(tag)
    chosen = _chosen(list(places(plan, site, source)), image)
    wanted = [(place, _digest(site, place, tag, to)) for place in chosen]
    for place in chosen:
        if tag not in place.moving and place.client.head(place.repository, tag) is not None:
            raise ConfigError(
                f"tag {tag} of {_called(place)} never moves",
                cause="no rule of the blueprint moves it, and it is there",
                mend=f"tags that move are: {', '.join(place.moving) or 'none'}; a new tag may be any",
            )
    ref, now = git_ref.ref_of(source, site.tool("git")), site.clock.now()
    done: list[Moved] = []
    for place, digest in wanted:
        placed = retag(place.client, place.repository, digest, (Tag(tag, True),), ref, lambda _older, _newer: None, back=True)
        done += moved(place.client, place.repository, placed)
        _tell(site, place, placed)
    result = Images(source, tuple(Image(_called(place), _image(place, digest), tag) for place, digest in wanted), tuple(done))
    site.records.outcome(uuid.uuid4().hex[:12], STAGE, f"{tag} {to}", "", MADE, result, now, {"why": f"{tag} by hand to {to}"})
    return result


def places(plan: Plan, site: Site, source: Source) -> Iterator[Place]:
    """The images of a blueprint. Raises ConfigError where none of its stages has one in a registry by tag."""
    ref = git_ref.ref_of(source, site.tool("git"))
    for stage in plan:
        spec: Any = stage.spec
        if isinstance(spec, Buildx):
            names = _moving(tag_rules.parse(spec.tags), ref)
            for name, image in spec.images.items():
                yield _place(site, name, spec.registry, image.repository, names)
        elif isinstance(spec, Tagged):
            default = () if "{" in spec.default_tag else (spec.default_tag,)
            yield _place(site, spec.repository.rpartition("/")[2], spec.registry, spec.repository, default)
        else:
            continue
        return
    raise ConfigError("this blueprint has no image that is known by tags", mend="its build stage would be buildx or tagged")


def _moving(policy: Policy, ref: Ref) -> tuple[str, ...]:
    """The tags that move by the rules: those of the branch that is checked out, of the branches that rules name, and `latest`."""
    clean = dataclasses.replace(ref, dirty="")
    refs = [clean, *(dataclasses.replace(clean, branch=rule.branch) for rule in policy.rules if rule.branch)]
    names = [tag.name for each in refs for tag in tagging.tags(policy, each).moving]
    released = policy.latest and any(rule.kind in ("tag", "semver") for rule in policy.rules)
    return tuple(dict.fromkeys([*names, *(["latest"] if released else [])]))


def _place(site: Site, name: str, registry: str, repository: str, moving: tuple[str, ...]) -> Place:
    client, address = client_of(site, registry), site.registry(registry).address
    known = [each.tag for each in _history(site, f"{client.origin.address}/{repository}") if each.before]
    return Place(name, client, address, repository, tuple(dict.fromkeys((*moving, *known))))


def _image(place: Place, digest: str) -> str:
    return named.image_of(place.client, place.repository, digest) or digest


def _called(place: Place) -> str:
    return f"{place.address}/{place.repository}"


def _chosen(found: list[Place], image: str) -> list[Place]:
    names = [place.name for place in found]
    if image and image not in names:
        raise ConfigError(f"there is no image {image!r}{keys_like(image, names)}", mend=f"images are: {', '.join(names)}")
    return [place for place in found if image in ("", place.name)]


def _digest(site: Site, place: Place, tag: str, to: str) -> str:
    if to == BEFORE:
        to = _before(site, place, tag)
        if not to:
            raise ConfigError(
                f"what {tag} of {_called(place)} stood for before is not known here", mend="name a tag or a digest: --to v1.2.3"
            )
    digest = place.client.head(place.repository, references.tag_or_digest(to))
    if digest is None:
        known = [name for name in place.client.tags(place.repository) if not name.startswith(("built-", "sha256-"))]
        raise ConfigError(
            f"{_called(place)} has no {'digest' if ':' in to else 'tag'} {to}{keys_like(to, known)}",
            mend=f"there are: {', '.join(sorted(known)[-8:]) or 'none'}",
        )
    return digest


def _before(site: Site, place: Place, tag: str) -> str:
    history = _history(site, f"{place.client.origin.address}/{place.repository}")
    return next((each.before for each in history if each.tag == tag and each.before), "")


def _history(site: Site, repository: str) -> Iterator[Moved]:
    """What was done to the tags of a repository, the newest first, as the records of this working copy know."""
    for record in site.records.history(REMEMBERED):
        if isinstance(record.artifact, Images) and record.state == MADE:
            yield from (each for each in record.artifact.moved if each.repository == repository)


def _tell(site: Site, place: Place, placed: tuple[Placed, ...]) -> None:
    from pipeline.events import What

    for each in placed:
        site.tell(What.LOG, STAGE, f"{place.name}: {each}")
