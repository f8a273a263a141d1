"""A docker-archive's identity from what the build host read of it: one image, every layer what its config says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.errors import IntegrityError, PipelineError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REASONS = {
    "script": (
        "the attribute gives a program that writes the image, not the image",
        "use dockerTools.buildLayeredImage in place of streamLayeredImage, or run it in a derivation of its own",
    ),
    "zstd": ("the archive is compressed with zstd", 'write compressor = "gz" or "none" into the image\'s attributes'),
    "empty": ("the archive is empty", ""),
    "layer zstd": ("a layer is compressed with zstd, which the host cannot read", "install zstd there, or write the layers with gzip"),
    "oci": (
        "the archive is one of OCI, not of docker: it has no manifest.json",
        "let it be written in the other form: podman save --format docker-archive, docker buildx build --output type=docker, skopeo copy",
    ),
}
REBUILD = (
    "does the attribute give a docker-archive, as dockerTools.buildLayeredImage does? Then it is damaged, and on the host:\n"
    "nix store verify --no-trust PATH; nix store repair PATH; then build again"
)


@dataclass(frozen=True)
class Facts:
    """What `build.sh` read: the `out` path, the `archive` in it, `size` in bytes then and `now` (-1 where it was not asked), `built` and
    `info` as nix wrote them, the two JSON files, per member the sha256 of its bytes and of its uncompressed bytes, and where each of its
    symbolic `links` leads."""

    out: str
    archive: str
    size: int
    now: int
    link: str
    built: bytes
    info: bytes
    manifest: bytes
    config: bytes
    members: dict[str, str]
    contents: dict[str, str]
    links: dict[str, str]
    bad: str
    complete: bool


def read(lines: Iterable[str]) -> Facts:
    """The facts in the lines that `build.sh` or `look.sh` printed. Raises IntegrityError where they are not such lines."""
    single: dict[str, str] = {}
    chunks: dict[str, list[str]] = {"built": [], "info": [], "manifest": [], "config": []}
    members: list[tuple[str, str]] = []
    contents: dict[str, str] = {}
    links: list[tuple[str, str]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word in chunks:
            chunks[word].append(rest)
        elif word in ("sha", "raw"):
            digest, _, name = rest.partition(" ")
            if word == "sha":
                members.append((name, digest))
            else:
                contents[name] = digest
        elif word == "soft":
            name, _, target = rest.partition(" ")
            links.append((name, target))
        else:
            single[word] = rest
    if len({name for name, _ in members + links}) != len(members) + len(links):
        single["bad"] = "a member is there twice"
    try:
        blobs = {word: base64.b64decode("".join(parts), validate=True) for word, parts in chunks.items()}
        return Facts(
            out=single.get("out", ""),
            archive=single.get("archive", ""),
            size=int(single.get("size", -1)),
            now=int(single.get("now") or -1),
            link=single.get("link", ""),
            **blobs,
            members=dict(members),
            contents=contents,
            links={name: posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) for name, target in links},
            bad=single.get("bad", ""),
            complete="end" in single,
        )
    except (ValueError, binascii.Error) as error:
        raise IntegrityError("what the build host says of the archive cannot be read", cause=str(error)) from error


def image_id(facts: Facts) -> str:
    """The digest of the image's config, when everything in the archive is what the config says it is. Raises IntegrityError otherwise."""
    if facts.bad or not facts.complete:
        raise _refused(facts)
    manifest = _json(facts.manifest, "manifest.json", facts)
    if not isinstance(manifest, list) or len(manifest) != 1 or not isinstance(manifest[0], dict):
        count = len(manifest) if isinstance(manifest, list) else 0
        raise IntegrityError(f"{facts.archive} holds {count} images, not one", mend="name an attribute that gives an archive of one image")
    for name in (*facts.members, *facts.links, *facts.links.values()):
        if name.startswith("/") or ".." in name.split("/"):
            raise _wrong(facts, f"member {name!r} leads out of the archive")
    named, layers = manifest[0].get("Config"), manifest[0].get("Layers")
    if not isinstance(named, str) or not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise _wrong(facts, "its manifest names no config or no layers")
    digest = hashlib.sha256(facts.config).hexdigest()
    if facts.members.get(posixpath.normpath(named)) != digest:
        raise _wrong(facts, f"its config {named!r} is not there, or not what it was read as")
    stem = named.rsplit("/", 1)[-1].removesuffix(".json").removeprefix("sha256:")
    if re.fullmatch(r"[0-9a-f]{64}", stem) and stem != digest:
        raise _wrong(facts, f"its config is named {stem[:12]}… and is {digest[:12]}…")
    config = _json(facts.config, "the config", facts)
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        raise _wrong(facts, f"its config does not list its {len(layers)} layers")
    for layer, expected in zip(layers, diff_ids, strict=True):
        if not isinstance(expected, str) or not DIGEST.fullmatch(expected):
            raise _wrong(facts, f"its config names layer {expected!r}, which is no sha256 digest")
        file = _file(layer, layers, facts)
        found = facts.contents.get(file, facts.members.get(file))
        if found is None:
            raise _wrong(facts, f"layer {layer!r} is missing")
        if f"sha256:{found}" != expected:
            raise _wrong(facts, f"layer {layer!r} is sha256:{found[:12]}…, its config says {expected[:19]}…")
    return f"sha256:{digest}"


def _file(layer: str, layers: list[str], facts: Facts) -> str:
    """Return the member that holds `layer`. Raise IntegrityError if it is a link that skopeo does not follow: it follows those to another
    of the `layers`, as older dockers write them."""
    name = posixpath.normpath(layer)
    target = facts.links.get(name)
    if target is None:
        return name
    if target not in map(posixpath.normpath, layers) or target in facts.links:
        raise _wrong(facts, f"layer {layer!r} is a link to {target!r}, which is no layer")
    return target


def derivation(facts: Facts) -> str:
    """The derivation that was built, from `nix build --json`; "" where nix does not tell."""
    built = _json_or_none(facts.built)
    first = built[0] if isinstance(built, list) and built else None
    drv = first.get("drvPath") if isinstance(first, dict) else None
    return drv if isinstance(drv, str) else ""


def nar_hash(facts: Facts) -> str:
    """The content hash that nix keeps, as `sha256-<base64>`.

    `nix path-info --json` is a list up to nix 2.18, a mapping by path from 2.19, and nests it under "info" with a hash in parts from 2.3x.
    """
    info = _json_or_none(facts.info)
    if isinstance(info, dict) and isinstance(info.get("info"), dict):
        info = info["info"]
    if isinstance(info, dict):
        info = list(info.values())
    for entry in info if isinstance(info, list) else []:
        hashed = entry.get("narHash") if isinstance(entry, dict) else None
        if isinstance(hashed, str):
            return hashed
        if isinstance(hashed, dict) and isinstance(hashed.get("hash"), str):
            return f"{hashed.get('algorithm', 'sha256')}-{hashed['hash'].removeprefix('sha256-')}"
    raise IntegrityError(f"nix does not say what {facts.out} holds", mend=REBUILD.replace("PATH", facts.out))


def _refused(facts: Facts) -> PipelineError:
    if facts.bad.startswith("folder "):
        return IntegrityError(
            f"the attribute gives a folder with {facts.bad.removeprefix('folder ')} archives, not one",
            mend="name an attribute that gives one image archive",
        )
    what, mend = REASONS.get(
        facts.bad, (f"{facts.archive or 'the archive'} is not a whole image: {facts.bad or 'its reading broke off'}", "")
    )
    return IntegrityError(what, mend=mend or REBUILD.replace("PATH", facts.out))


def _wrong(facts: Facts, reason: str) -> IntegrityError:
    return IntegrityError(f"{facts.archive} is not an image that can be trusted: {reason}", mend=REBUILD.replace("PATH", facts.out))


def _json(raw: bytes, what: str, facts: Facts) -> Any:
    try:
        return jsontext.loads(raw)
    except ValueError as error:
        raise _wrong(facts, f"{what} is not JSON") from error


def _json_or_none(raw: bytes) -> Any:
    try:
        return jsontext.loads(raw)
    except ValueError:
        return None
