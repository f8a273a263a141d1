"""Brings an image to a node that cannot pull it: fetched here by digest, carried over SSH, imported under that very digest.

A docker-archive would not do: packed anew it has another manifest, and only the digest that was pushed is deployed. So the
manifest's own bytes and blobs travel, as an OCI image layout (OCI image specification 1.1, "image-layout").
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts import Image
from pipeline.errors import ConfigError, IntegrityError, PipelineError
from pipeline.events import What
from pipeline.host import Cmd
from pipeline.stage import Cluster, Site, registry_at
from pipeline.tools import crictl
from pipeline.tools.registry import Client, Manifest, client_of

STAGE = "deploy"
IMPORT = 600.0  # seconds the node may take to unpack
LEFT = 86_400  # seconds after which an archive is one that a run left behind that was killed


def side_load(image: Image, cluster: Cluster, site: Site) -> None:
    """Have `image` lie on the cluster's node as if it had been pulled.

    Raises ConfigError where the site names no node or no registry of that address, IntegrityError where the registry does not have
    the image, ResourceError and Transient as the node and the registry do.
    """
    if not cluster.node:
        raise ConfigError("side-loading needs the node's SSH", mend="name it in the site file: clusters.<name>.node")
    address, _, repository = image.repository.partition("/")
    client = client_of(site, _registry(site, address))
    manifest = client.manifest(repository, image.digest)
    if manifest is None:
        raise IntegrityError(f"{image.reference} is not in the registry", mend="inv push")
    node = site.host(cluster.node)
    with _archive(image, manifest, client, repository, site) as archive:
        size = archive.stat().st_size
        there = f"{node.state}/side-load/{archive.name}"
        site.tell(What.WAIT, STAGE, f"carries {image.digest[:19]} to {cluster.node}, {size / 1e6:.1f} MB", bytes=size)
        node.run(Cmd(("find", f"{node.state}/side-load", "-type", "f", "-mmin", f"+{LEFT // 60}", "-exec", "rm", "-f", "{}", ";")))
        node.put(archive, there)
    words = ("images", "import", "--base-name", image.repository, "--digests", there)
    try:
        output = node.run(Cmd((*cluster.ctr, *words), timeout=IMPORT))
    finally:
        node.run(Cmd(("rm", "-f", "--", there)))
    if not output.ok and (refused := crictl.classify(output.tail())).kind == "rights":
        raise crictl.error(refused, image.reference, cluster.node, "")
    if not output.ok:
        raise ConfigError(
            f"{cluster.node} does not import {image.reference}",
            cause=output.tail(),
            mend="look at `" + " ".join(cluster.ctr) + " images list` there; is `ctr` of the site file the runtime's own?",
        )


def _registry(site: Site, address: str) -> str:
    if name := registry_at(site.registries, address):
        return name
    raise ConfigError(f"the site has no registry at {address}", mend="add it to the site file: registries")


@contextlib.contextmanager
def _archive(image: Image, manifest: Manifest, client: Client, repository: str, site: Site) -> Iterator[Path]:
    """The image as an OCI layout in a tar file, removed afterwards."""
    folder = site.root / ".pipeline" / "side-load"
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    run = site.share("side-load", lambda: secrets.token_hex(8))  # another run may carry the same image; in this one a copy is gone on with
    path = folder / f"{image.digest.removeprefix('sha256:')}-{run}.tar"
    entry = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.body),
        "annotations": {"io.containerd.image.name": f"{image.repository}:{image.tag or 'side-loaded'}"},
    }
    try:
        with tarfile.open(path, "w") as tar:
            _add(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
            _add(tar, _place(manifest.digest), manifest.body)
            sizes = dict(manifest.layers)
            for digest in dict.fromkeys((manifest.config, *sizes)):
                site.tell(What.WAIT, STAGE, f"fetches {digest[:19]}")
                _add_blob(tar, digest, client, repository)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete what runs that were killed have left."""
    for path in folder.glob("*.tar"):
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            if path.stat().st_mtime < time.time() - LEFT:
                path.unlink()


def _add_blob(tar: tarfile.TarFile, digest: str, client: Client, repository: str) -> None:
    """A blob of any size, a piece at a time; its place in the archive is written when its size is known."""
    member = tarfile.TarInfo(_place(digest))
    member.size = client.blob(repository, digest) or 0
    seen = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for piece in client.pieces(repository, digest, member.size):
            seen.update(piece)
            yield piece

    tar.addfile(member, _Reader(pieces()))
    if f"sha256:{seen.hexdigest()}" != digest:
        raise IntegrityError(f"blob {digest} of {client.origin.address}/{repository} is not what its digest says", mend="inv push again")


class _Reader(io.RawIOBase):
    """An iterator of pieces as a file that can be read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    tar.addfile(member, io.BytesIO(body))


def _place(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def told(error: PipelineError) -> str:
    """Why it is side-loaded, on one line."""
    return error.what + (f" ({error.cause.strip().splitlines()[-1]})" if error.cause.strip() else "")
