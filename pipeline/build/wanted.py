"""What a source is to become: of each image the tags, the labels, and a name for the content before it exists.

The name is made of what the build can see and is given, and of nothing that names a commit: commits that change nothing of that have one
image. Which commit a tag was put on for stands above the image (`pipeline.tools.named`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Source, content_hash
from pipeline.build import context
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.stage import Site
from pipeline.tools import git_ref, tag_rules
from pipeline.tools import tags as tagging
from pipeline.tools.tags import LABEL, Ref, Tag, Tags

VERSION = 2  # of what the same options give
EPOCH = 315532800  # the time of everything in an image, the first that a zip file can have: 1980-01-01
LASTING = ("title", "source", "url")  # labels that no commit changes
VERSION_LABEL = f"{LABEL}version"
BUILT = r"built-[0-9a-f]{16}"


@dataclass(frozen=True)
class Wanted:
    """One image. `notes` are what its tags say of the commit. `built` is a tag of ours, which no rule gives, that stands for this content
    once it is pushed; what it stands for is proved before it is believed. By it an image of a set that is not whole yet is found again.
    `before` is that tag as earlier releases gave it, which named the commit: what they built of it stays its image."""

    name: str
    spec: ImageSpec
    labels: Mapping[str, str]
    tags: tuple[Tag, ...]
    content: str
    notes: Mapping[str, str]
    before: str

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
    """The set. Two git processes, two more once for each context with a .dockerignore. Raises ConfigError if git cannot say what is built
    or a tag breaks the grammar."""
    program = site.tool("git")
    ref = git_ref.ref_of(source, program)
    given = tagging.tags(tag_rules.parse(spec.tags), ref)
    notes = tagging.labels(given, ref, title=site.app)
    seen = context.contents(source, list(spec.images.values()), site.records, program)
    made = zip(spec.images.items(), seen, strict=True)
    return Set(ref, tuple(_image(name, image, spec, source, given, notes, content) for (name, image), content in made))


def _image(name: str, image: ImageSpec, spec: Buildx, source: Source, given: Tags, notes: Mapping[str, str], seen: Any) -> Wanted:
    """What does not change the image (who builds it, where secrets come from, its cache) is no part of its name."""
    labels = {LABEL + key: notes[LABEL + key] for key in LASTING if LABEL + key in notes}
    options = {**dataclasses.asdict(image), "secrets": sorted(image.secrets), "platforms": sorted(image.platforms)}
    content = content_hash([VERSION, EPOCH, seen, options, labels, spec.provenance])
    old = content_hash([1, source.id, options, {key: value for key, value in notes.items() if key != VERSION_LABEL}, spec.provenance])
    return Wanted(name, image, labels, given.all, content, notes, f"built-{old[:16]}")
