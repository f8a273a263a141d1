"""The base image that sample Dockerfiles stand on, made of Debian's packages: no public registry is asked for it.

`python:3.11-slim-bookworm` for amd64 and arm64, with git added. The packages are unpacked and nothing of them is run, so that
the image of the other architecture is made in the same way; what their scripts would have done is done in `_furnish` as far as
Python and git need it. It is made once per user, as an OCI layout in the cache.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import content_hash
from pipeline.errors import BuildError, Transient
from pipeline.lab import local, toolchain
from pipeline.lab.layout import flocked

if TYPE_CHECKING:
    from collections.abc import Callable

NAME, TAG = "library/python", "3.11-slim-bookworm"
SUITE, INCLUDED = "bookworm", "python3,git"
ARCHITECTURES = {"amd64": {}, "arm64": {"variant": "v8"}}
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/lib/python3.11/test", "usr/share/i18n")
CONFIG = {"Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"], "Cmd": ["python3"]}
MADE = "2026-01-01T00:00:00Z"
VERSION = 1  # of the way it is made
INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Layout:
    """An OCI image layout in folder `home` while it is written."""

    home: Path
    entries: list[dict[str, Any]] = field(default_factory=list)

    def put(self, body: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """Store a blob; its descriptor."""
        digest = hashlib.sha256(body).hexdigest()
        folder = self.home / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / digest).write_bytes(body)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(body), **more}

    def put_json(self, value: Any, media_type: str, **more: Any) -> dict[str, Any]:
        return self.put(json.dumps(value, sort_keys=True).encode(), media_type, **more)


def ensure(*, say: Callable[[str], None], env: dict[str, str]) -> Path:
    """The OCI layout that holds the image as `TAG`, made if it is not in the cache. Raises Transient, BuildError."""
    recipe = content_hash([NAME, TAG, SUITE, INCLUDED, ARCHITECTURES, LEFT_OUT, CONFIG, VERSION])[:16]
    home = toolchain.cache() / "images" / f"python-{recipe}"
    work = toolchain.cache() / "building" / "base-image"
    work.mkdir(parents=True, exist_ok=True)
    with flocked(work, wait=3600, waiting=lambda: say("base image: another lab is making it, waiting")):
        if (home / "index.json").exists():
            return home
        say(f"making the base image {TAG} from Debian's packages, usually 60 s")
        for old in work.iterdir():
            shutil.rmtree(old)
        layout = Layout(work / "layout")
        with ThreadPoolExecutor(len(ARCHITECTURES)) as pool:
            images = list(pool.map(lambda name: _image(layout, name, work / name, env), ARCHITECTURES))
        index = layout.put_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX)
        index["annotations"] = {"org.opencontainers.image.ref.name": TAG}
        (layout.home / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (layout.home / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]}))
        home.parent.mkdir(parents=True, exist_ok=True)
        for old in home.parent.glob("python-*"):
            shutil.rmtree(old)
        layout.home.rename(home)
    return home


def _image(layout: Layout, architecture: str, work: Path, env: dict[str, str]) -> dict[str, Any]:
    """Make the image of one architecture; the descriptor of its manifest."""
    root = work / "root"
    root.mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):  # before anything is unpacked over them: /usr is merged
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in _packages(architecture, work / "packages", env):
        done = local.run("dpkg-deb", "--extract", str(package), str(root))
        if done.returncode:
            raise BuildError(f"{package.name} could not be unpacked", cause=done.stderr[-500:])
    _furnish(root)
    body, plain = _layer(root)
    shutil.rmtree(work)
    layer = layout.put(body, "application/vnd.oci.image.layer.v1.tar+gzip")
    config = layout.put_json(
        {
            "architecture": architecture, "os": "linux", **ARCHITECTURES[architecture], "created": MADE, "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [plain]}, "history": [{"created": MADE, "created_by": "Debian " + SUITE}],
        },
        "application/vnd.oci.image.config.v1+json",
    )  # fmt: skip
    platform = {"os": "linux", "architecture": architecture, **ARCHITECTURES[architecture]}
    return layout.put_json({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}, MANIFEST, platform=platform)


def _packages(architecture: str, work: Path, env: dict[str, str]) -> list[Path]:
    """Debian's packages for the architecture, fetched and verified by debootstrap, in the order of their names."""
    mirror = _mirror()
    done = local.run(
        "debootstrap", "--download-only", "--variant=minbase", f"--arch={architecture}", f"--include={INCLUDED}", SUITE, str(work),
        *([mirror] if mirror else []), env=env,
    )  # fmt: skip
    found = sorted((work / "var/cache/apt/archives").glob("*.deb"))
    if done.returncode or not found:
        raise Transient(
            f"Debian's packages for the base image ({architecture}) could not be fetched",
            cause="\n".join((done.stdout + done.stderr).strip().splitlines()[-5:]), mend="check that the machine's Debian mirror answers",
        )  # fmt: skip
    return found


def _mirror() -> str:
    """Where this machine has its own packages from; "" where apt does not say (debootstrap has a default)."""
    done = local.run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)")
    for line in done.stdout.splitlines():
        origin, _, rest = line.partition(" ")
        label, _, uri = rest.partition(" ")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    return ""


def _furnish(root: Path) -> None:
    """What the packages' own scripts would have made, as far as Python and git need it."""
    for folder in LEFT_OUT:
        shutil.rmtree(root / folder, ignore_errors=True)
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    for link, target in (("usr/bin/sh", "dash"), ("usr/bin/awk", "mawk"), ("usr/local/bin/python3", "/usr/bin/python3.11"),
                         ("usr/local/bin/python", "python3")):  # fmt: skip
        if not (root / link).is_symlink():
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(target)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _layer(root: Path) -> tuple[bytes, str]:
    """The tree as a compressed tar archive, and the digest of what it holds; times and owners are the same for everybody."""
    import io

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uname, info.gname = 0, "", ""
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, path.name, filter=plain)
    body = out.getvalue()
    return gzip.compress(body, 1, mtime=0), "sha256:" + hashlib.sha256(body).hexdigest()
