"""What `lab.status` and `lab.logs` print: columns that fit, one sentence on what is wrong, names to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import lab
from pipeline.errors import ConfigError
from pipeline.lab import NodeStatus, layout
from pipeline.lab.table import table, verdict

ROWS = [
    NodeStatus("etcd", "the cluster's store", "running", "on the node", 7, "etcd.log"),
    NodeStatus("kube-controller-manager", "controllers", "stopped", "10.211.7.9:30022, 10.211.7.9:32166", 0, "kcm.log"),
]


def test_every_column_starts_at_one_place_in_every_line() -> None:
    lines = table(ROWS)
    starts = [[line.index(word) for word in words] for line, words in zip(
        lines,
        [("NODE", "STATE", "ADDRESS", "WHAT"), ("etcd", "running", "on the", "the cluster"), ("kube", "stopped", "10.211", "controllers")],
        strict=True,
    )]  # fmt: skip
    assert starts[0] == starts[1] == starts[2]
    assert [line for line in lines if line != line.rstrip()] == []


def test_the_verdict_names_what_is_down_and_what_to_do() -> None:
    assert verdict(ROWS[:1]) == ""
    assert verdict(ROWS).startswith("kube-controller-manager is stopped: inv lab.up")
    assert "inv lab.up" in verdict([])


def test_logs_are_listed_and_an_unknown_name_brings_the_one_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "HOME", tmp_path / "home")
    with pytest.raises(ConfigError, match="there is no lab"):
        lab.logged(tmp_path)
    known = layout.choose(tmp_path)
    for name in ("gitea", "traefik"):
        known.log(name).touch()
    assert lab.logged(tmp_path) == ["gitea", "traefik"]
    assert lab.logs(tmp_path, "gitea") == known.log("gitea")
    with pytest.raises(ConfigError, match="did you mean 'traefik'") as caught:
        lab.logs(tmp_path, "trafik")
    assert "gitea, traefik" in caught.value.mend
