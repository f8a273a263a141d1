"""An image carried to a node: two runs that carry the same one do not touch each other's archive, and what was left is tidied up."""

from __future__ import annotations

import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Image
from pipeline.deploy.sideload import LEFT, side_load
from pipeline.host import Cmd, Output
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Cluster, Registry, Site
from pipeline.testing import FakeHost
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools import references

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


def image(registry: FakeRegistry) -> Image:
    """An image of one layer that the registry has."""
    config, layer = b"{}", b"a layer"
    for body in (config, layer):
        registry.blobs[references.digest_of(body)] = body
    value = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": references.digest_of(config), "size": len(config)},
        "layers": [{"digest": references.digest_of(layer), "size": len(layer)}],
    }  # fmt: skip
    body = json.dumps(value).encode()
    registry.manifests["team/web", references.digest_of(body)] = (MANIFEST, body)
    return Image(f"{registry.address}/team/web", references.digest_of(body), "main")


def run(root: Path, registry: FakeRegistry, node: FakeHost) -> Site:
    """The site of another run in the same working copy."""
    spec = Registry(registry.address, "http", "own", USER, "env:REG")
    return Site("web", root, {"node": node}, {}, {"reg": spec}, {}, {}, {}, Records(root / "r.db"), Secrets({"REG": PASSWORD}))


def test_two_runs_carry_one_image_without_a_word_between_them(registry: FakeRegistry, tmp_path: Path) -> None:
    carried, cluster, node = image(registry), Cluster("", node="node", ctr=("ctr",)), FakeHost("node", otherwise=lambda _cmd: Output(0))
    first, second = run(tmp_path, registry, node), run(tmp_path, registry, node)
    inside: list[str] = []

    def import_(cmd: Cmd) -> Output:
        """While the first imports, the second does all of its work."""
        if not inside:
            inside.append(cmd.argv[-1])
            side_load(carried, cluster, second)
            names = [argv[-1] for argv in node.argvs if argv[:2] == ("rm", "-f")]
            assert names
            assert cmd.argv[-1] not in names, "the second took away what the first imports"
        return Output(0)

    node.on(("ctr",), import_)
    with first, second:
        side_load(carried, cluster, first)
        side_load(carried, cluster, first)
    places = [place for _, place in node.puts]
    assert len(set(places)) == 2, "a run that tries again goes on with what it has sent"
    assert sorted(argv[-1] for argv in node.argvs if argv[:2] == ("rm", "-f")) == sorted(places)
    assert list((tmp_path / ".pipeline/side-load").iterdir()) == []
    archive = tmp_path / "archive.tar"
    archive.write_bytes(node.files[places[0]])
    with tarfile.open(archive) as tar:
        assert {"oci-layout", "index.json"} <= set(tar.getnames())


def test_what_a_killed_run_left_is_deleted_a_day_later(registry: FakeRegistry, tmp_path: Path) -> None:
    carried, node = image(registry), FakeHost("node", otherwise=lambda _cmd: Output(0))
    folder = tmp_path / ".pipeline/side-load"
    folder.mkdir(parents=True)
    (folder / "new.tar").touch()
    (folder / "old.tar").touch()
    os.utime(folder / "old.tar", (time.time() - LEFT - 60,) * 2)
    with run(tmp_path, registry, node) as site:
        side_load(carried, Cluster("", node="node", ctr=("ctr",)), site)
    assert [path.name for path in folder.iterdir()] == ["new.tar"]
    (swept,) = [argv for argv in node.argvs if argv[0] == "find"]
    assert swept[1] == f"{node.state}/side-load"
    assert f"+{LEFT // 60}" in swept
