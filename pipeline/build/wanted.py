"""What a source is to become: of each image the tags, the labels, and a name for the content before it exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.artifacts import Source, content_hash
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.stage import Site
from pipeline.tools import git_ref, tag_rules
from pipeline.tools import tags as tagging
from pipeline.tools.tags import LABEL, Ref, Tag, Tags

VERSION = 1  # of what the same options give
VERSION_LABEL = f"{LABEL}version"
BUILT = r"built-[0-9a-f]{16}"


@dataclass(frozen=True)
class Wanted:
    """One image. `built` is a tag of our own, which no rule gives, that stands for this content once it is pushed; what it stands for is
    proved before it is believed. By it an image of a set that is not whole yet is found again."""

    name: str
    spec: ImageSpec
    labels: Mapping[str, str]
    tags: tuple[Tag, ...]
    content: str

    @property
    def built(self) -> str:
        return f"built-{self.content[:16]}"

    @property
    def tag(self) -> str:
        """What the image is called by where a tag is asked for: one that does not move, where there is one."""
        return next((tag.name for tag in self.tags if not tag.moves), self.built)


@dataclass(frozen=True)
class Set:
    """All images that a source is to become, with the `ref` that it is."""

    ref: Ref
    images: tuple[Wanted, ...]


def wanted(spec: Buildx, source: Source, site: Site) -> Set:
    """The set. One git process. Raises ConfigError where git cannot say what is built or a tag breaks the grammar."""
    ref = git_ref.ref_of(source, site.tool("git"))
    given = tagging.tags(tag_rules.parse(spec.tags), ref)
    labels = tagging.labels(given, ref, title=site.app)
    return Set(ref, tuple(_image(name, image, spec, source, given, labels) for name, image in spec.images.items()))


def _image(name: str, image: ImageSpec, spec: Buildx, source: Source, given: Tags, labels: Mapping[str, str]) -> Wanted:
    """What does not change the image (who builds it, where secrets come from, its cache) is no part of its name, and the label `version` is
    none either: a commit that is released later keeps its image, since the tag of the commit cannot stand for two."""
    lasting = {key: value for key, value in labels.items() if key != VERSION_LABEL}
    options = {**dataclasses.asdict(image), "secrets": sorted(image.secrets), "platforms": sorted(image.platforms)}
    content = content_hash([VERSION, source.id, options, lasting, spec.provenance])
    return Wanted(name, image, labels, given.all, content)
