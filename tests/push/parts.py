"""What the push tests are made of: an image archive, a site with one host and one registry, a host that is this machine."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import Bundle, Source
from pipeline.clock import Clock, SystemClock
from pipeline.events import Event
from pipeline.host import Cmd, Host, Output
from pipeline.records import Records
from pipeline.stage import Registry, Site
from pipeline.testing import FakeHost
from pipeline.testing.registry_handler import PASSWORD, USER

COMMIT = "1234567890abcdef1234567890abcdef12345678"


@dataclass
class Archive:
    """A docker-archive: one layer per seed, half of each layer's `size` bytes random."""

    path: Path
    seeds: tuple[int, ...] = (1, 2, 3)
    size: int = 60_000
    config: str = ""
    bytes: int = 0
    diff_ids: list[str] = field(default_factory=list)

    def write(self) -> Archive:
        with tarfile.open(self.path, "w") as archive:
            names = []
            for seed in self.seeds:
                layer = _layer(seed, self.size)
                name = hashlib.sha256(layer).hexdigest()
                self.diff_ids.append(f"sha256:{name}")
                if f"{name}.tar" not in names:
                    _add(archive, f"{name}.tar", layer)
                names.append(f"{name}.tar")
            rootfs = {"type": "layers", "diff_ids": self.diff_ids}
            config = json.dumps(
                {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, "history": [{} for _ in names]}
            ).encode()
            self.config = f"sha256:{hashlib.sha256(config).hexdigest()}"
            _add(archive, f"{self.config[7:]}.json", config)
            _add(archive, "manifest.json", json.dumps([{"Config": f"{self.config[7:]}.json", "RepoTags": None, "Layers": names}]).encode())
        self.bytes = self.path.stat().st_size
        return self


def _layer(seed: int, size: int) -> bytes:
    noise = random.Random(seed).randbytes(size // 2)  # noqa: S311  # the same layer in every run
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, f"file-{seed}", noise + b"the same line\n" * (size // 28))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def here(state: Path) -> FakeHost:
    """This machine as a host: what it is asked to run, it runs."""

    def run(cmd: Cmd) -> Output:
        done = subprocess.run(cmd.argv, input=cmd.stdin, capture_output=True, timeout=cmd.timeout, check=False, env=None)
        return Output(done.returncode, done.stdout, done.stderr)

    return FakeHost("seed", str(state), otherwise=run)


def site(
    folder: Path, address: str, host: Host | None = None, *, realm: str = "own", username: str = USER, password: str = PASSWORD,
    events: list[Event] | None = None, clock: Clock | None = None,
) -> Site:  # fmt: skip
    """A site with registry `lab` at `address` and host `seed`."""
    from pipeline.secrets import Secrets

    return Site(
        app="probe",
        root=folder,
        hosts={"seed": host or here(folder / "state")},
        remotes={},
        registries={"lab": Registry(address, "http", realm, username, "env:REGISTRY_PASSWORD" if username else "")},
        clusters={},
        tools={},
        values={},
        records=Records(folder / "records.db"),
        secrets=Secrets({"REGISTRY_PASSWORD": password}),
        clock=clock or SystemClock(),
        sink=(events if events is not None else []).append,
    )


def bundle(archive: Archive, commit: str = COMMIT) -> Bundle:
    source = Source("0" * 40, commit, dirty=False, path="/src")
    return Bundle(source, "seed", str(archive.path), "sha256-x", archive.config, size=archive.bytes)
