"""The chain of custody: from the commit to the page that answers, each link by the name that proves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from pipeline.artifacts import Artifact, Bundle, Image, Images, Release, Report, Source, Tree
from pipeline.report.words import volume
from pipeline.safe import clean

Link = tuple[str, str, str]  # what it is, its name, where it is or what is to be said of it


def chain(artifacts: Iterable[Artifact | None], ingress: str = "") -> str:
    """The chain of the artifacts of one run, as aligned text. Where the public name need not be known here, `ingress` is the address that
    was asked in its place: how to ask it stands below.

    What the run did not touch is taken from what knows of it; a link that nothing knows of (a store path, where the image was in the
    registry already) is left out.
    """
    links = list(_links([artifact for artifact in artifacts if artifact is not None]))
    links += [("ask", f"curl --connect-to ::{_place(ingress)} {links[-1][1]}/", "")] if ingress and links and links[-1][0] == "url" else []
    widest = max((len(label) for label, _, _ in links), default=0)
    rows = []
    for number, (label, name, note) in enumerate(links):
        shown = label if number == 0 or links[number - 1][0] != label else ""
        rows.append(f"{shown:<{widest}}  {clean(name)}" + (f"  {clean(note)}" if note else ""))
    return "\n".join(rows)


def result(artifact: Artifact | None) -> str:
    """What a stage's task prints: the one name that the next tool needs, such as an image by its digest or a bundle by its path."""
    match artifact:
        case Source():
            return artifact.label
        case Tree():
            return f"{artifact.host}:{artifact.path}"
        case Bundle():
            return artifact.store_path
        case Image():
            return artifact.reference
        case Images():
            return "\n".join(clean(image.reference) for image in artifact.images)
        case Release():
            return f"{artifact.namespace}/{artifact.name} revision {artifact.revision}"
        case Report():
            return artifact.url or artifact.id
    return "" if artifact is None else artifact.id


def _links(artifacts: list[Artifact]) -> Iterator[Link]:
    report = next((artifact for artifact in artifacts if isinstance(artifact, Report)), None)
    release = report.release if report else next((artifact for artifact in artifacts if isinstance(artifact, Release)), None)
    tree = next((artifact for artifact in artifacts if isinstance(artifact, Tree)), None)
    bundle = next((artifact for artifact in artifacts if isinstance(artifact, Bundle)), None)
    source = _source(artifacts)
    if source:
        yield "commit", source.commit, "with changes that no commit has" if source.dirty else ""
        yield "tree", source.tree, f"{tree.host}:{tree.path}" if tree else ""
    if bundle:
        yield "store", bundle.store_path, f"on {bundle.host}" + (f", {volume(bundle.size)}" if bundle.size else "")
    images = _images(artifacts, release)
    configs = dict.fromkeys([image.config for image in images if image.config] or ([bundle.config] if bundle else []))
    for config in configs:
        yield "config", config, ""
    for image in images:
        yield "image", f"{image.repository}:{image.tag}" if image.tag else image.repository, ""
        yield "digest", image.digest, ""
    if release:
        yield "release", f"{release.namespace}/{release.name} revision {release.revision}", f"on {release.cluster}"
    if report:
        for check in report.checks:
            label = "pods" if check.name == "pods" else "check"
            said = check.evidence if check.name == "pods" else f"{check.name}  {check.evidence}"
            yield label, said if check.passed else f"DOES NOT HOLD: {said}", ""
        if report.url:
            yield "url", report.url, ""


def _place(address: str) -> str:
    """host:port of http://host:port."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _source(artifacts: list[Artifact]) -> Source | None:
    for artifact in reversed(artifacts):
        if isinstance(artifact, Source):
            return artifact
        if isinstance(artifact, Tree | Bundle | Images | Release):
            return artifact.source
        if isinstance(artifact, Report):
            return artifact.release.source
    return None


def _images(artifacts: list[Artifact], release: Release | None) -> tuple[Image, ...]:
    if release:
        return release.images
    found = next((artifact for artifact in artifacts if isinstance(artifact, Images | Image)), None)
    return found.images if isinstance(found, Images) else (found,) if isinstance(found, Image) else ()
