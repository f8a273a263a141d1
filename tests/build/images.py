"""docker-archives for tests, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from typing import Any


def tar(
    members: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]] = (), hard: Sequence[tuple[str, str]] = (), prefix: str = ""
) -> bytes:
    """An uncompressed tar of files, and of symbolic and hard links, with `prefix` before every name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for kind, pairs in ((tarfile.SYMTYPE, links), (tarfile.LNKTYPE, hard)):
            for name, target in pairs:
                info = tarfile.TarInfo(prefix + name)
                info.type, info.linkname = kind, target
                archive.addfile(info)
    return buffer.getvalue()


def layer(content: bytes) -> bytes:
    return tar([("etc/motd", content)])


class Image:
    """The parts of a docker-archive with two layers; a test changes one and takes `archive`."""

    def __init__(self, text: bytes = b"hello\n") -> None:
        self.layers = [layer(b"base"), layer(text)]
        self.diff_ids = ["sha256:" + hashlib.sha256(one).hexdigest() for one in self.layers]
        self.names = [f"{digest[7:]}/layer.tar" for digest in self.diff_ids]
        self.links: list[tuple[str, str]] = []
        self.hard: list[tuple[str, str]] = []
        self.prefix = ""
        self.name = "manifest.json"
        self.more: list[tuple[str, bytes]] = []
        self.manifest: Any = None

    @property
    def config(self) -> bytes:
        return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}).encode()

    @property
    def id(self) -> str:
        return "sha256:" + hashlib.sha256(self.config).hexdigest()

    @property
    def entry(self) -> dict[str, Any]:
        return {"Config": f"{self.id[7:]}.json", "RepoTags": ["probe:1"], "Layers": self.names}

    @property
    def archive(self) -> bytes:
        manifest = [self.entry] if self.manifest is None else self.manifest
        files = list(zip(self.names, self.layers, strict=False))
        files += [(f"{self.id[7:]}.json", self.config), (self.name, json.dumps(manifest).encode())]
        return tar([*files, *self.more], self.links, self.hard, self.prefix)

    @property
    def compressed(self) -> bytes:
        return gzip.compress(self.archive, mtime=0)


def of_crane(image: Image) -> None:
    """What `crane save` and ko write: the config without a suffix, layers compressed beside it."""
    image.names = [f"{hashlib.sha256(one).hexdigest()}.tar.gz" for one in image.layers]
    image.layers = [gzip.compress(one, mtime=0) for one in image.layers]
    image.manifest = [{**image.entry, "Config": image.id}]
    image.more = [(image.id, image.config)]


def of_docker(image: Image) -> None:
    """What `docker save` writes since 25: the layout of an OCI image, with a manifest.json."""
    image.names = [f"blobs/sha256/{digest[7:]}" for digest in image.diff_ids]
    config = f"blobs/sha256/{image.id[7:]}"
    image.manifest = [{**image.entry, "Config": config}]
    image.more = [(config, image.config), ("index.json", b"{}"), ("oci-layout", b"{}"), ("repositories", b"{}")]


def of_podman(image: Image) -> None:
    """What `podman save` and `skopeo copy` write: each layer under its digest, and links to them for readers of the first form."""
    image.names = [f"{digest[7:]}.tar" for digest in image.diff_ids]
    image.links = [(f"{place}/layer.tar", f"../{name}") for place, name in zip(("1" * 64, "2" * 64), image.names, strict=True)]
    image.more = [(f"{'1' * 64}/VERSION", b"1.0"), (f"{'1' * 64}/json", b"{}"), ("repositories", b"{}")]


def of_docker_24(image: Image) -> None:
    """What `docker save` wrote up to 24 of an image that has one layer twice."""
    image.diff_ids.append(image.diff_ids[1])
    image.names.append("third/layer.tar")
    image.links = [("third/layer.tar", f"../{image.names[1]}")]


def of_buildkit(image: Image) -> None:
    """What `buildx --output type=docker` writes: as docker, with compressed layers."""
    image.layers = [gzip.compress(one, mtime=0) for one in image.layers]
    image.names = [f"blobs/sha256/{hashlib.sha256(one).hexdigest()}" for one in image.layers]
    config = f"blobs/sha256/{image.id[7:]}"
    image.manifest = [{**image.entry, "Config": config}]
    image.more = [(config, image.config), ("index.json", b"{}"), ("oci-layout", b"{}")]


def of_tar(image: Image) -> None:
    """What `tar -c .` writes in a folder: ./ before every name, here in the manifest too."""
    image.manifest = [{**image.entry, "Layers": [f"./{name}" for name in image.names]}]
    image.prefix = "./"


def with_zstd(image: Image) -> None:
    """What `buildx --output type=docker,compression=zstd` writes."""
    image.layers = [subprocess.run(["zstd", "-c"], input=one, capture_output=True, check=True).stdout for one in image.layers]


SHAPES: tuple[Callable[[Image], None], ...] = (of_crane, of_docker, of_podman, of_docker_24, of_buildkit, of_tar, with_zstd)
