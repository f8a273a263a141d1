"""docker-archives for tests, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any


def tar(members: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]] = ()) -> bytes:
    """An uncompressed tar of files, and of symbolic links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
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
        return tar([*files, (f"{self.id[7:]}.json", self.config), ("manifest.json", json.dumps(manifest).encode()), *self.more], self.links)

    @property
    def compressed(self) -> bytes:
        return gzip.compress(self.archive, mtime=0)
