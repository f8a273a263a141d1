"""The wheel in another repository: everything is in it, and its tasks, its chart and a release to the lab work there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.host import Cmd
from pipeline.stage import Site
from tests.elsewhere import ROOT, Elsewhere, build_wheel, install, make

# nothing listens on port 1 of loopback
SITE = """hosts:
  builder: {address: 127.0.0.1, port: 1, known_hosts: /dev/null, identity_file: ""}
registries:
  registry: {address: "127.0.0.1:1", scheme: http, realm: own}
clusters:
  cluster: {kubeconfig: absent}
values: {session_secret: "env:NOT_SET", database_url: "env:NOT_SET"}
"""


def once(factory: pytest.TempPathFactory, name: str, made: Callable[[Path], Path]) -> Path:
    """What is made in the folder `name`, by the first that asks: the others of this run, in other processes too, get the same."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    done = base / f"{name}.path"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(base / name, ignore_errors=True)  # of one whose making failed
            (base / name).mkdir()
            done.write_text(str(made(base / name)))
    return Path(done.read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install '.[test]'")
    return once(tmp_path_factory, "wheel", build_wheel)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "environment", lambda folder: install(wheel, folder))


@pytest.fixture
def shop(python: Path, tmp_path: Path) -> Elsewhere:
    return make("shop", tmp_path / "shop", python, SITE)


def test_every_file_of_the_package_and_the_chart_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "pipeline", "chart"], check=True, capture_output=True, text=True).stdout
    there = [name for name in listed.splitlines() if (ROOT / name).exists()]
    wanted = {name if name.startswith("pipeline/") else f"pipeline/{name}" for name in there}
    assert wanted - names == set()
    for kind in (".go", "go.mod", "go.sum", ".sh", ".nix", ".c", ".tpl", "values.schema.json"):
        assert any(name.endswith(kind) for name in names), kind
    assert not [name for name in names if name.startswith(("tests/", "config/")) or "__pycache__" in name]


def test_the_package_comes_from_the_wheel_and_stays_light(shop: Elsewhere) -> None:
    code = "import sys, pipeline, json; print(json.dumps([pipeline.__file__, sorted(sys.modules)]))"
    file, modules = json.loads(shop.run("-c", code).stdout)
    assert Path(file).is_relative_to(shop.python.parents[1])
    assert {"fabric", "paramiko", "docker", "kubernetes", "rich"} & set(modules) == set()


def test_the_tasks_are_there(shop: Elsewhere) -> None:
    done = shop.inv("--list")
    assert done.returncode == 0, done.stderr
    names = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "}
    assert {"sync", "build", "push", "deploy", "verify", "release", "plan", "doctor", "status", "lab.up"} <= names


def test_the_schema_is_printed(shop: Elsewhere) -> None:
    done = shop.inv("schema")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["properties"]["stages"]["properties"]) == {"sync", "build", "push", "deploy", "verify"}


def test_the_chart_in_the_wheel_is_the_one_of_this_repository(shop: Elsewhere) -> None:
    from pipeline.deploy import chart

    code = """
from pathlib import Path
from pipeline.deploy import chart
found = chart.read(Path.cwd(), "pipeline:chart")
print(found.digest, found.folder)
"""
    digest, folder = shop.run("-c", code).stdout.split()
    assert digest == chart.read(ROOT, "chart").digest
    assert Path(folder).is_relative_to(shop.python.parents[1])


def test_the_scripts_are_found_in_the_wheel(shop: Elsewhere) -> None:
    code = """
from pipeline.build.nix import script as build
from pipeline.doctor.build_host import script as doctor
from pipeline.host.scripts import script as host
from pipeline.push.skopeo import _script as push
from pipeline.sync.git import script as sync
print([len(text) > 100 for text in (build("build"), doctor("node"), host("job"), push(), sync("receive"))])
"""
    done = shop.run("-c", code)
    assert done.stdout.strip() == "[True, True, True, True, True]", done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("plan", "--env", "mars"), 2, "has no environment 'mars'"),
        (("plan", "--blueprint", "other"), 2, "other.yml"),
        (("history",), 0, "nothing yet"),
        (("verify",), 2, "kubeconfig"),
    ],
)
def test_exit_codes_and_texts(shop: Elsewhere, words: tuple[str, ...], code: int, text: str) -> None:
    done = shop.inv(*words)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_the_blueprint_is_told_with_its_line(shop: Elsewhere) -> None:
    path = shop.root / "config/shop.yml"
    path.write_text(path.read_text().replace("registry: registry,", "registri: registry,"))
    done = shop.inv("plan")
    assert done.returncode == 2
    assert "config/shop.yml:5" in done.stderr
    assert "registry" in done.stderr


def test_the_doctor_runs_there_and_says_what_is_missing(shop: Elsewhere) -> None:
    done = shop.inv("doctor", "--json")
    assert done.returncode == 11, done.stderr  # a secret that is not set outranks what cannot be reached
    rows = {(row["where"], row["name"]): row for row in json.loads(done.stdout)["verdicts"]}
    assert rows["workstation", "chart"]["evidence"].startswith("ihp-railiance-probe in pipeline:chart")
    assert rows["workstation", "files"]["status"] == "ok"
    assert rows["workstation", "secrets"]["code"] == 11
    assert rows["builder (build host)", "ssh"]["status"] == "fail"
    assert rows["registry (registry)", "answers"]["code"] == 10
    assert rows["cluster (cluster)", "kubeconfig"]["code"] == 2


@pytest.mark.real
def test_another_repository_releases_its_own_application_to_the_lab(python: Path, tmp_path: Path, lab_of_this_copy: dict[str, Any]) -> None:
    app = f"elsewhere-{uuid.uuid4().hex[:6]}"
    names = {"haskelseed": "builder", "railiance01": "node"}
    site = {
        **lab_of_this_copy,
        "hosts": {names[name]: host for name, host in lab_of_this_copy["hosts"].items()},
        "registries": {"registry": lab_of_this_copy["registries"]["coulombcore"]},
        "clusters": {"cluster": {**lab_of_this_copy["clusters"]["railiance01"], "node": "node"}},
    }
    there = make(app, tmp_path / app, python, yaml.safe_dump(site))
    (package,) = python.parents[1].glob("lib/python3*/site-packages/pipeline")
    shutil.copytree(package / "lab/probe", there.root / "app")
    there.commit("An application")
    with removed(there, site):
        plan = there.inv("plan")
        assert plan.returncode == 0, plan.stderr
        assert plan.stdout.startswith("sync     to do")
        made = there.inv("sync", "build", "push", "deploy", "verify", seconds=280)
        assert made.returncode == 0, made.stderr
        assert f"http://{app}.lab.test" in made.stdout
        again = there.inv("release", "--json")
        assert again.returncode == 0, again.stderr
        ways = {record["stage"]: record["state"] for record in json.loads(again.stdout)["records"]}
        assert {stage for stage, state in ways.items() if state == "made"} == {"verify"}
        live = there.inv("status")
        assert live.returncode == 0
        assert app in live.stdout


@pytest.fixture
def lab_of_this_copy(lab_site_file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(lab_site_file.read_text())
    return found


@contextlib.contextmanager
def removed(there: Elsewhere, site: dict[str, Any]) -> Iterator[None]:
    """Take the application away from the lab afterwards: release, Secret, lock, folders on the host."""
    from pipeline.plan import load

    try:
        yield
    finally:
        config = ["--kubeconfig", site["clusters"]["cluster"]["kubeconfig"], "--namespace", "coulomb"]
        for argv in (
            [site["tools"]["helm"], "uninstall", there.app, *config, "--ignore-not-found"],
            [site["tools"]["kubectl"], *config, "delete", "--ignore-not-found", f"secret/{there.app}", f"lease/pipeline-{there.app}"],
        ):
            subprocess.run(argv, check=False, capture_output=True)
        with load(there.root / "config").site() as machines:
            _forget(machines, there.app)


def _forget(machines: Site, app: str) -> None:
    host = machines.host("builder")
    host.run(Cmd(("rm", "-rf", "--", f"{host.state}/{app}")))
