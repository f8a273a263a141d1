"""A stand-in for buildx: a program that builds nothing, pushes what it was asked for, and leaves word of how it was called.

What lies in files beside it changes what it does: `fail-<repository's last word>` holds the output it fails with, `drop` leaves out one
platform, `lose` pushes an index without its last child, `inspect` is what it says of the builder, `hang` makes it wait for a while.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import Source
from pipeline.build.buildx_spec import Buildx
from pipeline.events import Event
from pipeline.places import Builder
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.source import snapshot
from pipeline.stage import Registry, Site
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools import named
from pipeline.tools.registry import client_of
from tests.source.worktree import Worktree

INSPECT = """Name: lab
Driver: remote

Nodes:
Name:             lab0
Endpoint:         unix:///run/b.sock
Status:           running
Platforms:        linux/amd64, linux/arm64
"""
PROGRAM = """
import base64, hashlib, json, os, sys, time, urllib.request
from pathlib import Path
here = Path(__file__).parent
argv, config = sys.argv[1:], Path(os.environ["DOCKER_CONFIG"])
said = {"argv": argv, "mode": oct(config.stat().st_mode & 0o777), "env": sorted(os.environ), "files": {}}
opt = lambda name: [argv[i + 1] for i, word in enumerate(argv) if word == name]
if argv[0] == "build":
    said["login"] = json.loads((config / "config.json").read_text())["auths"]
    said["secrets"] = {}
    for secret in opt("--secret"):
        name, _, file = secret.partition(",src=")
        said["secrets"][name.removeprefix("id=")] = [Path(file).read_text(), oct(Path(file).stat().st_mode & 0o777)]
    context = Path(argv[-1])
    said["files"] = {str(p.relative_to(context)): p.read_text() for p in sorted(context.rglob("*")) if p.is_file()}
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(said) + "\\n")
if argv[0] == "inspect":
    print((here / "inspect").read_text())
if argv[0] != "build":
    sys.exit(0)
output = dict(pair.split("=", 1) for pair in opt("--output")[0].split(","))
address, _, repository = output["name"].partition("/")
repository, _, tag = repository.partition(":")
fail = here / ("fail-" + repository.rpartition("/")[2])
if (here / "hang").exists():
    time.sleep(30)
if fail.exists():
    sys.stderr.write(fail.read_text())
    sys.exit(1)
auth = said["login"].get(address, {})
header = "Bearer " + auth["registrytoken"] if "registrytoken" in auth else "Basic " + auth.get("auth", "")
def ask(method, path, body=None, kind="application/octet-stream"):
    url = path if path.startswith("http") else f"http://{address}/v2/{repository}/{path}"
    request = urllib.request.Request(url, data=body, method=method, headers={"Authorization": header, "Content-Type": kind})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.headers
digest = lambda body: "sha256:" + hashlib.sha256(body).hexdigest()
def blob(body):
    place = ask("POST", "blobs/uploads/", b"")["Location"]
    place = place if place.startswith("http") else f"http://{address}{place}"
    ask("PUT", place + ("&" if "?" in place else "?") + "digest=" + digest(body), body)
    return {"digest": digest(body), "size": len(body), "mediaType": "application/octet-stream"}
def put(value, name=""):
    body = json.dumps(value).encode()
    ask("PUT", "manifests/" + (name or digest(body)), body, value["mediaType"])
    return {"digest": digest(body), "size": len(body), "mediaType": value["mediaType"]}
asked = opt("--platform")[0].split(",") if opt("--platform") else ["linux/amd64"]
if (here / "drop").exists():
    asked = asked[:-1]
children = []
for name in asked:
    words = name.split("/")
    platform = {"os": words[0], "architecture": words[1], **({"variant": words[2]} if words[2:] else {})}
    config = {**platform, "config": {"Labels": dict(label.split("=", 1) for label in opt("--label"))}}
    layer = json.dumps([said["files"], opt("--build-arg")]).encode()
    children.append({**put({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                            "config": blob(json.dumps(config).encode()), "layers": [blob(layer)]}), "platform": platform})
if (here / "lose").exists():
    children[-1]["digest"] = digest(b"never pushed")
top = children[0] if len(children) == 1 and not (here / "lose").exists() else put(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": children}, tag)
Path(opt("--metadata-file")[0]).write_text(json.dumps({"containerimage.digest": top["digest"]}))
"""


@dataclass
class World:
    """A working copy, a registry, and the stand-in in `folder`."""

    work: Worktree
    registry: FakeRegistry
    folder: Path
    site: Site
    events: list[Event] = field(default_factory=list)

    @property
    def source(self) -> Source:
        return snapshot(self.work.path)

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def builds(self) -> list[str]:
        """What was built, by the last word of its repository."""
        outputs = [call["argv"][call["argv"].index("--output") + 1] for call in self.calls if call["argv"][0] == "build"]
        return [output.split("name=")[1].split(",")[0].rpartition("/")[2].partition(":")[0] for output in outputs]

    def say(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def tags(self, repository: str) -> dict[str, str]:
        """What people know the images by, and the digest of the image that each leads to."""
        client = client_of(self.site, "lab")
        leads = {tag: digest for (place, tag), digest in self.registry.tags.items() if place == repository and not tag.startswith("built-")}
        return {tag: named.image_of(client, repository, digest) for tag, digest in leads.items()}


def spec(**options: Any) -> Buildx:
    from pipeline.build.buildx_spec import ImageSpec

    images = options.pop("images", {"web": ImageSpec("team/web", "web")})
    return Buildx("lab", images, **{"builders": ("lab",), "tags": ("sha", "branch"), **options})


@contextlib.contextmanager
def world(folder: Path, realm: str = "follow", **options: Any) -> Iterator[World]:
    """A clean working copy with the contexts web and worker, nothing in the registry. `options` are more of the site."""
    work, place = Worktree(folder / "work"), folder / "buildx"
    place.mkdir()
    (place / "buildx").write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
    (place / "buildx").chmod(0o755)
    (place / "inspect").write_text(INSPECT)
    for name in ("web", "worker"):
        work.write(f"{name}/Dockerfile", f"FROM scratch\nCOPY . /{name}\n")
    work.write(".gitignore", ".pipeline/\nignored\n")
    work.commit()
    events: list[Event] = []
    nothing: dict[str, Any] = {name: {} for name in ("hosts", "remotes", "clusters", "values")}
    with FakeRegistry() as registry:
        lab = Registry(registry.address, "http", realm, USER, "env:PASSWORD")
        with Site(
            app="probe",
            root=work.path,
            registries={"lab": lab},
            tools={"buildx": str(place / "buildx")},
            records=Records(folder / "records.db"),
            secrets=Secrets({"PASSWORD": PASSWORD, "TOKEN": "a-token-of-some-length"}),
            sink=events.append,
            **{"builders": {"lab": Builder("unix:///run/b.sock")}, **nothing, **options},
        ) as site:
            yield World(work, registry, place, site, events)
