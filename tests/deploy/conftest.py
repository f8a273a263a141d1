"""A site with one cluster and one node, both in this process, for the tests of the driver whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.deploy import rollback, unfinished
from pipeline.events import Event
from pipeline.host import Output
from pipeline.records import Records
from pipeline.retry import Policy
from pipeline.secrets import Secrets
from pipeline.stage import Cluster as ClusterSpec
from pipeline.stage import Site
from pipeline.testing import FakeHost
from tests.deploy.cluster import Cluster

KEY = "c2Vzc2lvbi1zZWNyZXQ"
CRICTL = ("k3s", "crictl")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder)
    yield made
    if made.fake.up:
        made.fake.close()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def node() -> FakeHost:
    return FakeHost("node", otherwise=lambda _cmd: Output(0, b"present\n"))


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster, node: FakeHost, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(unfinished, "SETTLE", 0.0)
    monkeypatch.setattr(rollback, "PATIENCE", Policy(attempts=30, patience=60.0, base=0.01, cap=0.1))
    root = tmp_path / "copy"
    (root / "chart").mkdir(parents=True)
    (root / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    spec = ClusterSpec(str(cluster.fake.kubeconfig()), identity="", node="node", crictl=CRICTL)
    made = Site(
        app="web",
        root=root,
        hosts={"node": node},
        remotes={},
        registries={},
        clusters={"lab": spec},
        tools={"helm": str(cluster.helm)},
        values={"key": "env:KEY"},
        records=Records(tmp_path / "records.db"),
        secrets=Secrets({"KEY": KEY}),
        sink=events.append,
    )
    yield made
    made.close()
