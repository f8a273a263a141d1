"""buildx: the argv of a build and of its builder, and what it answers; `pipeline.tools.buildx_errors` reads its complaints.

Recorded outputs: tests/cases/buildx/ (buildx 0.30.1, BuildKit 0.27.1). The names of flags and attributes are facts of its reference,
https://docs.docker.com/reference/cli/docker/buildx/build/ and https://docs.docker.com/build/exporters/image-registry/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline import jsontext
from pipeline.errors import IntegrityError
from pipeline.host.scripts import one_value
from pipeline.places import Builder
from pipeline.tools import references

INSTALL = "install buildx on this machine (apt install docker-buildx, or the release of docker/buildx), or name it as tools.buildx"
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/v[0-9]+)?")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
CACHE = re.compile(r"type=[a-z0-9]+(,[A-Za-z0-9_.-]+=[^,\s]+)*")
SAME = {"linux/arm64/v8": "linux/arm64", "linux/arm/v7": "linux/arm", "linux/amd64/v1": "linux/amd64"}  # a variant that goes unsaid


@dataclass(frozen=True)
class Build:
    """One image to build: paths are absolute, `name` is address/repository, `secrets` maps ids to files. `tag` is for builders of several
    nodes: buildx joins what they built under a tag, and takes `latest` where none is named."""

    name: str
    context: str
    dockerfile: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    platforms: Sequence[str] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    cache_from: Sequence[str] = ()
    cache_to: Sequence[str] = ()
    provenance: str = "none"
    epoch: int = 0
    plain_http: bool = False
    tag: str = ""


@dataclass(frozen=True)
class Node:
    """One BuildKit of a builder: how buildx calls its `driver`, where it is (`endpoint`, "" for the Docker of this machine), what it is
    to be used for, the driver's `options`."""

    driver: str
    endpoint: str
    platforms: Sequence[str] = ()
    options: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class State:
    """What `inspect` says of one node: whether it runs, the platforms it builds, the error where it does not."""

    endpoint: str
    status: str
    platforms: tuple[str, ...]
    error: str = ""


def node(one: Builder) -> Node:
    """The node at a builder's address as the site file has it."""
    if one.address.startswith(("unix://", "tcp://")):
        return Node("remote", one.address, one.platforms, one.options)
    return Node("docker-container", "" if one.address == "docker" else one.address, one.platforms, one.options)


def create(name: str, one: Node, *, append: bool) -> tuple[str, ...]:
    """Words that make the builder `name` of this node, or add the node to it."""
    words = ["create", "--name", name, "--driver", one.driver, *(["--append"] if append else [])]
    words += ["--platform", ",".join(one.platforms)] if one.platforms else []
    for option, value in one.options:
        words += ["--driver-opt", f"{option}={value}"]
    return (*words, "--", *([one.endpoint] if one.endpoint else []))


def inspect(name: str, *, start: bool = True) -> tuple[str, ...]:
    """Words that say what the builder is; with `start` it is started where it does not run."""
    return ("inspect", *(["--bootstrap"] if start else []), name)


def remove(name: str) -> tuple[str, ...]:
    """Words that take the builder away with all it holds."""
    return ("rm", "--force", name)


def build(builder: str, one: Build, metadata: str) -> tuple[str, ...]:
    """Words that build the image and push it by its digest, under no tag but `one.tag`: a tag is put on what was read back."""
    by_digest = [f"name={one.name}", "push=true", "push-by-digest=true", "name-canonical=true"]
    output = ["type=image", *([f"name={one.name}:{one.tag}", "push=true"] if one.tag else by_digest), "oci-mediatypes=true"]
    output += ["registry.insecure=true"] if one.plain_http else []
    output += ["rewrite-timestamp=true"] if one.epoch else []
    words = ["build", "--builder", builder, "--progress", "rawjson", "--metadata-file", metadata, "--output", ",".join(output)]
    words += ["--provenance=false" if one.provenance == "none" else f"--provenance=mode={one.provenance}", "--sbom=false"]
    words += ["--platform", ",".join(one.platforms)] if one.platforms else []
    words += ["--file", one.dockerfile] if one.dockerfile else []
    words += ["--target", one.target] if one.target else []
    args = {**one.args, **({"SOURCE_DATE_EPOCH": str(one.epoch)} if one.epoch else {})}
    for flag, values in (("--build-arg", args), ("--label", one.labels)):
        for name, value in sorted(values.items()):
            words += [flag, f"{name}={value}"]
    for name, file in sorted(one.secrets.items()):
        words += ["--secret", f"id={name},{one_value(f'src={file}')}"]
    for flag, caches in (("--cache-from", one.cache_from), ("--cache-to", one.cache_to)):
        for cache in caches:
            words += [flag, cache]
    return (*words, "--", one.context)


def registry_cache(name: str, *, to: bool) -> str:
    """The cache that lies in the registry beside the images, under the tag `buildcache`. It does not fail a build."""
    return f"type=registry,ref={name}:buildcache" + (",mode=max,ignore-error=true" if to else "")


def digest(metadata: str) -> str:
    """The digest of what was pushed, as the metadata file says. Raises IntegrityError where it says none."""
    try:
        return references.digest(str(jsontext.loads(metadata)["containerimage.digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("buildx ended well, but named no digest", cause=metadata[:300], mend="look at the build's log") from error


def states(text: str) -> list[State]:
    """The nodes in the output of `inspect`. Platforms that were set by hand carry a star."""
    found = []
    for part in re.split(r"(?m)^Name: ", text.partition("\nNodes:")[2])[1:]:
        said = dict(re.findall(r"(?m)^(Endpoint|Status|Platforms|Error):[ \t]*(.*)$", part))
        platforms = tuple(word.strip().rstrip("*") for word in said.get("Platforms", "").split(",") if word.strip())
        found.append(State(said.get("Endpoint", ""), said.get("Status", ""), platforms, said.get("Error", "")))
    return found


def same(platform: str) -> str:
    """The platform as it is compared: linux/arm64/v8 is linux/arm64."""
    return SAME.get(platform, platform)
