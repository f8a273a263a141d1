"""What a commit of the pipeline says of itself, and what can be told of a release from it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.values import Wanted
from pipeline.records import actor
from pipeline.tools import references
from pipeline.tools.gitops_history import Entry
from pipeline.tools.gitops_message import Message, Trailers

BEFORE, RESTORES, FAILED = (
    "Before",
    "Restores",
    "Failed",
)  # more trailers: what served before, what was written again, why it was taken back
CONTENT = "Secret"  # and the mark of the Secret's content
CODE = "Code"  # the trailer that names what runs, whatever commit it came from: see `pipeline.deploy.values.Wanted`
NOTHING = Source("", "", False, "")


def release(spec: Flux, app: str, images: Images, want: Wanted, before: str, secret: str = "") -> Message:
    """The message of a release; `before` is the commit whose lines served until then, "" where none did; `secret` the Secret's mark."""
    source = images.source
    those = tuple(f"{image.repository}:{image.tag}@{image.digest}" if image.tag else image.reference for image in images.images)
    facts = _facts(source, [image.reference for image in images.images], images.images[0].tag if images.images else "")
    more = {**facts, CODE: want.code, BEFORE: before, CONTENT: secret}
    return Message(
        f"{app}: {source.label} to {where(spec)}",
        "\n".join(those),
        Trailers(app, source.commit, want.inputs, actor(), more=_said(more)),
    )


def again(spec: Flux, app: str, goal: Entry, reverts: str, failed: str = "") -> Message:
    """The message of a commit that writes the lines of `goal` again, and takes back the commit `reverts`; `failed` says why it had to.

    Where it did not have to, what it takes back served before.
    """
    label = source_of(goal).label if goal.trailers.commit else goal.commit[:7]
    facts = _facts(source_of(goal), images_of(goal), goal.trailers.more.get("Tag", "")) if goal.trailers.commit else {}
    more = {RESTORES: goal.commit, FAILED: failed.split("\n", 1)[0], BEFORE: "" if failed else reverts}
    return Message(
        f"{app}: back to {label} in {where(spec)}",
        failed,
        Trailers(
            app,
            goal.trailers.commit,
            goal.trailers.inputs,
            actor(),
            reverts,
            _said({**facts, CODE: goal.trailers.more.get(CODE, ""), CONTENT: secret_of(goal), **more}),
        ),
    )


def undone(spec: Flux, app: str, bad: Entry, failed: str) -> Message:
    """The message of a commit that leaves nothing of a first release."""
    label = source_of(bad).label if bad.trailers.commit else bad.commit[:7]
    more = _said({FAILED: failed.split("\n", 1)[0]})
    return Message(f"{app}: {label} is taken out of {where(spec)}", failed, Trailers(app, "", "", actor(), bad.commit, more))


def where(spec: Flux) -> str:
    """What people call the place that a release goes to: the last word of the cluster's folder."""
    return spec.path.rstrip("/").rpartition("/")[2]


def secret_of(entry: Entry) -> str:
    """The mark of the Secret that a release was made with, "" if its commit does not say."""
    return entry.trailers.more.get(CONTENT, "")


def source_of(entry: Entry) -> Source:
    """What a commit was made from, as far as it says so."""
    more = entry.trailers.more
    return Source(more.get("Tree", ""), entry.trailers.commit, more.get("Dirty") == "true", "")


def images_of(entry: Entry) -> list[str]:
    """The images of a commit, by digest."""
    return entry.trailers.more.get("Images", "").split()


def image(reference: str, tag: str) -> Image:
    """An image from its name by digest."""
    found = references.read(reference)
    return Image(found.repository, found.digest, tag)


def called(entry: Entry) -> str:
    """A commit of the GitOps repository in words: "1a2b3c4 (of 5d6e7f8)"; of a person's the author."""
    source = source_of(entry)
    if source.commit:
        return f"{entry.commit[:7]} (of {source.label})"
    return f"{entry.commit[:7]}" + (f" (by {entry.author})" if entry.human else "")


def _facts(source: Source, images: Iterable[str], tag: str) -> dict[str, str]:
    return {"Tree": source.tree, "Dirty": "true" if source.dirty else "", "Images": " ".join(images), "Tag": tag}


def _said(more: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in more.items() if value}
