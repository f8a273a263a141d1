"""An application of images alone, built by the lab's BuildKit into its registries: a working copy with a repository name of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.events import Event
from pipeline.plan import Blueprint, load
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.tools.image_index import children
from pipeline.tools.registry import Client, client_of

BASE = "FROM python:3.11-slim-bookworm\n"


@dataclass
class Copy:
    """A working copy in `root`, its repositories below `space`; `events` are those of every site that was opened."""

    root: Path
    space: str
    lab: dict[str, Any]
    events: list[Event] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *words: str) -> str:
        argv = ["git", "-C", str(self.root), "-c", "user.name=lab", "-c", "user.email=lab@lab.invalid", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Change")
        return self.git("rev-parse", "--short=7", "HEAD")

    def blueprint(self, images: dict[str, Any], **options: Any) -> Blueprint:
        """Images by name; each is pushed to a repository of this copy's own."""
        those = {name: {"repository": f"{self.space}/{name}", "context": name, **image} for name, image in images.items()}
        build = {"driver": "buildx", "registry": "ghcr", "builders": ["lab"], "images": those, **options}
        self.write("config/app.yml", yaml.safe_dump({"app": "app", "site": "site.yml", "stages": {"build": build}}))
        return load(self.root / "config", "app")

    @contextlib.contextmanager
    def site(self, blueprint: Blueprint, records: str = "records") -> Iterator[Site]:
        own = Records(self.root.parent / f"{records}.db")
        with dataclasses.replace(blueprint.site(self.events.append), records=own) as site:
            yield site

    def change_site(self, **sections: Any) -> None:
        """Lay entries over the lab's own."""
        self.lab = {name: {**self.lab.get(name, {}), **sections.get(name, {})} for name in {*self.lab, *sections}}
        self.write("site.yml", yaml.safe_dump(self.lab))

    def built(self) -> list[str]:
        """The names of the images that were built, in order, not those that were found."""
        return [str(event.data["image"]) for event in self.events if event.data.get("built") is not None]


@contextlib.contextmanager
def copy(folder: Path, lab_site_file: Path) -> Iterator[Copy]:
    lab = yaml.safe_load(lab_site_file.read_text())
    if "builders" not in lab or "ghcr" not in lab.get("registries", {}):
        pytest.fail("these tests need the lab's hub and docker: inv lab.up --with docker,hub", pytrace=False)
    made = Copy(folder / "copy", f"test-{secrets.token_hex(4)}", lab)
    made.root.mkdir()
    made.write(".gitignore", ".pipeline/\nsite.yml\nconfig/\n")
    made.change_site()
    made.git("init", "--quiet", "--initial-branch=main")
    yield made


def everything(client: Client, repository: str, digest: str) -> bytes:
    """All bytes that the registry keeps of an image or an index: manifests, configurations, layers unpacked."""
    top = client.manifest(repository, digest)
    assert top is not None
    parts = [top.body]
    if not top.config:
        return b"".join([*parts, *(everything(client, repository, child) for child, _ in children(top))])
    for blob in (top.config, *(layer for layer, _ in top.layers)):
        body = client.fetch(repository, blob, 1 << 28)
        assert body is not None
        parts.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    return b"".join(parts)


def platforms(client: Client, repository: str, digest: str) -> set[str]:
    top = client.manifest(repository, digest)
    assert top is not None
    return {platform for _, platform in children(top)}


def history(client: Client, repository: str, digest: str) -> str:
    top = client.manifest(repository, digest)
    assert top is not None
    config = client.fetch(repository, top.config, 1 << 22)
    assert config is not None
    return json.dumps(json.loads(config)["history"])


__all__ = ["BASE", "Copy", "client_of", "copy", "everything", "history", "platforms"]
