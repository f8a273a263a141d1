"""The site file names every node of the parts that run, and no secret."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.lab import ALL, down, layout, logs, packages, status
from pipeline.lab.machine import Machine, recorded, remember
from pipeline.lab.process import drop
from pipeline.lab.site import site

LAB = layout.Lab("0123abcd", "/srv/app", "10.211.7.8/30", 2201, 30022, 32166, 5432)


def test_all_parts() -> None:
    value = site(LAB, ALL, "sha256:00")
    assert list(value) == ["hosts", "remotes", "registries", "clusters", "tools", "values"]
    assert set(value["hosts"]) == {"haskelseed", "railiance01"}
    assert value["registries"]["coulombcore"]["address"] == "10.211.7.9:32166"
    assert value["remotes"]["coulombcore"]["url"] == "ssh://git@10.211.7.9:30022/coulomb/{app}.git"
    assert value["clusters"]["railiance01"]["node"] in value["hosts"]
    assert value["clusters"]["railiance01"]["identity"] == "sha256:00"


def test_secrets_are_named_not_written() -> None:
    value = site(LAB, ALL, "sha256:00")
    sources = [value["registries"]["coulombcore"]["password"], *value["values"].values()]
    assert all(source.startswith("file:/var/lib/pipeline-lab/0123abcd/") for source in sources)


def test_a_part_that_does_not_run_is_not_named() -> None:
    value = site(LAB, frozenset({"host"}))
    assert set(value) == {"hosts", "values"}
    assert set(value["hosts"]) == {"haskelseed"}
    assert "database_url" not in value["values"]


def test_no_lab_is_no_status(tmp_path: Path) -> None:
    assert status(tmp_path) == []
    with pytest.raises(ConfigError, match="there is no lab") as caught:
        logs(tmp_path, "gitea")
    assert caught.value.mend == "inv lab.up"


def test_down_without_a_lab_leaves_everything_alone(tmp_path: Path) -> None:
    (tmp_path / ".pipeline").mkdir()
    (tmp_path / ".pipeline" / "records.db").touch()
    down(tmp_path, say=lambda _: None)
    assert [path.name for path in (tmp_path / ".pipeline").iterdir()] == ["records.db"]


def test_a_process_is_known_by_its_start(tmp_path: Path) -> None:
    import os

    record = tmp_path / "x.pid"
    remember(record, os.getpid())
    assert recorded(record) == os.getpid()
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"started": values["started"] - 1}))
    assert recorded(record) == 0, "another process with the same number is not it"
    record.write_text(json.dumps(values | {"boot": "another"}))
    assert recorded(record) == 0
    assert recorded(tmp_path / "none") == 0


def test_a_machine_that_does_not_run_says_so() -> None:
    from pipeline.errors import PipelineError

    with pytest.raises(PipelineError, match="haskelseed does not run") as caught:
        Machine(LAB, "haskelseed").argv(["true"])
    assert caught.value.mend == "inv lab.up"


def test_dropping_root() -> None:
    assert drop("") == []
    assert shlex.join(drop("64320")) == "setpriv --reuid 64320 --regid 64320 --clear-groups --"
    assert "--init-groups" in drop("postgres")


def test_packages_that_dpkg_does_not_know_are_missing() -> None:
    assert packages.missing(["dpkg", "no-such-package-at-all"]) == ["no-such-package-at-all"]
