"""A blueprint becomes a plan, and everything that is wrong with it is told with its place and its mend."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import shutil
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import drivers, plan, schema
from pipeline.artifacts import Bundle, Images, Release, Report, Source, Tree
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError, explain
from pipeline.plan import NAME, SiteFile, blueprint_schema, blueprints, load, read_site
from pipeline.stage import VERBS, HostSpec
from pipeline.testing import FakeClock
from pipeline.yamlfile import Document, Place, read
from tests.world import Options, World

ROOT = Path(__file__).parents[1]
BASE = """\
app: probe
environment: lab
site: config/site.yml
stages:
  sync: {driver: fake}
  build: {driver: fake, note: x}
  push:
    driver: fake
  deploy: {driver: fake}
  verify: {driver: fake}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one blueprint over fake drivers, that of the world of files."""
    world = World(tmp_path / "world")
    for verb in ("sync", "build", "push", "deploy", "verify"):
        module = types.ModuleType(f"fake_{verb}")
        module.DRIVER = world.driver(verb)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(drivers.DRIVERS, (verb, "fake"), module.__name__)
    folder = tmp_path / "copy" / "config"
    folder.mkdir(parents=True)
    (folder / "probe.yml").write_text(BASE)
    (folder / "probe.lab.yml").write_text("stages:\n  push: {note: lab}\n")
    (folder / "probe.production.yml").write_text("protected: true\nstages:\n  push: {note: production}\n")
    (folder / "site.yml").write_text("hosts:\n  builder: {address: 10.0.0.1}\n")
    return folder


def refusal(config: Path, text: str = "", **options: str) -> ConfigError:
    if text:
        (config / "probe.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(config, **options)
    return caught.value


def test_a_blueprint_becomes_a_plan(config: Path) -> None:
    found = load(config)
    assert [(stage.verb, stage.driver.name) for stage in found.plan] == [(verb, "fake") for verb in VERBS if verb != "provision"]
    assert [stage.spec for stage in found.plan] == [Options(), Options("x"), Options("lab"), Options(), Options()]
    assert (found.name, found.environment, found.app) == ("probe", "lab", "probe")
    assert (found.root, found.site_path) == (config.parent, config / "site.yml")


def test_the_environment_that_is_named_is_laid_over(config: Path) -> None:
    assert load(config, env="production").plan[2].spec == Options("production")
    (config / "probe.yml").write_text(BASE.replace("environment: lab\n", ""))
    assert load(config).plan[2].spec == Options()
    assert load(config).environment == ""


def test_a_protected_environment_must_be_named(config: Path) -> None:
    error = refusal(config, BASE.replace("environment: lab", "environment: production"))
    assert error.what == "environment production is protected"
    assert error.mend == "name it: --env production"
    assert load(config, env="production").environment == "production"
    assert (load(config, env="production").dirty, load(config, env="lab").dirty) == ("refuse", "allow")
    (config / "probe.production.yml").write_text("protected: true\ndirty: allow\n")
    assert load(config, env="production").dirty == "allow"
    assert "no environment to name" in refusal(config, BASE.replace("environment: lab", "protected: true")).what


def test_an_unknown_environment_lists_those_there_are(config: Path) -> None:
    error = refusal(config, env="prodution")
    assert error.what == "blueprint probe has no environment 'prodution'; did you mean 'production'?"
    assert "lab, production" in error.mend


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", ".", "..", "-x", "a.b", "a b", "x\n", "a\x00b", "x" * 200])
def test_i01_y06_names_do_not_lead_out_of_the_folder(config: Path, name: str) -> None:
    (config.parent / "evil.yml").write_text(BASE)
    assert "is not a plain name" in refusal(config, name=name).what
    assert "is not a plain name" in refusal(config, env=name).what


@pytest.mark.parametrize(
    "app",
    ["Probe", "a_b", "-a", "a-", "a;touch p", "$(id)", "`id`", "a b", "../x", "a&&b", "a|b", "'a'", '"a b"', "x" * 54, "a\u0430", "é"],
)
def test_i01_app_names_are_refused_not_cleaned(config: Path, app: str) -> None:
    error = refusal(config, BASE.replace("app: probe", f"app: {json.dumps(app)}"))
    assert "is not a name" in error.what
    assert "probe.yml:1" in error.what
    assert error.mend


@pytest.mark.parametrize("app", ["a", "a1", "ihp-railiance-probe", "x" * 53, "0a"])
def test_good_app_names_are_taken(config: Path, app: str) -> None:
    (config / "probe.yml").write_text(BASE.replace("app: probe", f'app: "{app}"'))
    assert load(config).app == app


def test_control_characters_do_not_reach_a_terminal(config: Path) -> None:
    error = refusal(config, BASE.replace("note: x", 'note: "\\x1b[2J"'))
    assert "control character" in error.what
    assert "\x1b" not in explain(error)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("driver: fake, note: x", "driver: fkae", "probe.yml:6: build has no driver 'fkae'; did you mean 'fake'?"),
        ("driver: fake, note: x", "note: x", "probe.yml:6: build does not say its driver"),
        ("{driver: fake, note: x}", "fake", "probe.yml:6: build does not say its driver"),
        ("driver: fake, note: x", "driver: [fake]", "probe.yml:6: build does not say its driver"),
        ("note: x", "nite: x", "probe.yml:6: stages.build.nite is not known; did you mean 'note'?"),
        ("note: x", "note: 5", "probe.yml:6: stages.build.note takes text, not 5; put quotes around it"),
        ("  push:\n", "  psuh:\n", "probe.yml:7: 'psuh' is not a stage; did you mean 'push'?"),
        ("app: probe", "ap: probe", "probe.yml:1: ap is not known; did you mean 'app'?"),
        ("app: probe\n", "", "probe.yml:1: the file lacks app"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(config: Path, old: str, new: str, says: str) -> None:
    error = refusal(config, BASE.replace(old, new))
    assert says in error.what
    assert error.mend or "takes text" in error.what


def test_a_refusal_in_the_overlay_names_the_overlay(config: Path) -> None:
    (config / "probe.lab.yml").write_text("stages:\n  push:\n    nope: 1\n")
    assert "probe.lab.yml:3: stages.push.nope is not known" in refusal(config).what


def test_stages_in_an_order_that_does_not_fit_are_refused_by_type(config: Path) -> None:
    error = refusal(config, BASE.replace("  build: {driver: fake, note: x}\n", ""))
    assert "push (fake) takes Bundle, but sync gives Tree" in error.what
    assert "probe.yml:6" in error.what
    lines = BASE.splitlines(keepends=True)
    swapped = "".join([*lines[:4], lines[5], lines[4], *lines[6:]])
    assert "build (fake) takes Tree, but the source gives Source" in refusal(config, swapped).what


@pytest.mark.parametrize("stages", ["stages: {}", "stages: ~", "stages: []", "stages: x", ""])
def test_no_stages_is_not_a_blueprint(config: Path, stages: str) -> None:
    assert "stages" in refusal(config, f"app: probe\n{stages}\n").what


def test_an_overlay_can_take_a_stage_away(config: Path) -> None:
    (config / "probe.lab.yml").write_text("stages: {verify: ~}")
    assert [stage.verb for stage in load(config).plan] == ["sync", "build", "push", "deploy"]


def test_which_blueprint(config: Path) -> None:
    assert blueprints(config) == ["probe"]
    (config / "other.yml").write_text(BASE)
    error = refusal(config)
    assert error.what == "which blueprint?"
    assert "other, probe" in error.mend
    assert "no blueprint 'missing'" in refusal(config, name="missing").what
    assert refusal(config, name="prboe").what.endswith("did you mean 'probe'?")
    for path in config.glob("*.yml"):
        path.unlink()
    assert "there is no blueprint" in refusal(config).what


# the site


def test_the_site_of_a_blueprint(config: Path) -> None:
    clock = FakeClock()
    with load(config).site(clock=clock) as site:
        assert site.app == "probe"
        assert site.clock is clock
        assert site.records.path == config.parent / ".pipeline" / "probe.lab.db"
        assert "builder" in site.hosts
        with pytest.raises(ConfigError, match="the site has no registry 'x'") as caught:
            site.registry("x")
        assert "none" in caught.value.mend
        with pytest.raises(ConfigError, match="no host 'bulder'") as caught:
            site.host("bulder")
        assert "builder" in caught.value.mend
    assert isinstance(load(config).site().clock, SystemClock)


def test_i07_what_configuration_names_as_a_secret_is_known_to_the_site(config: Path) -> None:
    (config / "site.yml").write_text(
        "hosts: {builder: {address: build.example.org, identity_file: keys/builder}}\n"
        "remotes: {gitea: {url: 'ssh://git@gitea.example.org/x.git', identity_file: ~nobody-here/id}}\n"
        "registries: {gitea: {address: gitea.example.org, username: a, password: 'file:pw/gitea'}}\n"
        "clusters: {one: {kubeconfig: kube/one.yaml}, two: {kubeconfig: 'output:kubeconfig'}}\n"
    )
    with load(config).site() as site:
        private = {str(path) for path in site.private}
    assert {"keys/builder", "~nobody-here/id", "pw/gitea", "kube/one.yaml"} <= private
    assert not any("output" in path for path in private)


def test_the_lab_that_does_not_run_says_how_to_start_it(config: Path) -> None:
    (config / "probe.yml").write_text(BASE.replace("site: config/site.yml", "site: .pipeline/lab/site.yml"))
    with pytest.raises(ConfigError, match="the lab is not running") as caught:
        load(config).site()
    assert caught.value.mend == "inv lab.up"


def test_a_site_file_that_is_missing_or_wrong_is_named(config: Path) -> None:
    (config / "site.yml").unlink()
    with pytest.raises(ConfigError, match=r"no file .*site\.yml"):
        load(config).site()
    (config / "site.yml").write_text("hosts:\n  builder: {adress: x}\n")
    with pytest.raises(ConfigError, match=r"site\.yml:2: hosts\.builder\.adress is not known; did you mean 'address'"):
        load(config).site()


def test_a_host_is_opened_once_and_only_when_it_is_asked_for(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Ssh:
        def __init__(self, name: str, **options: Any) -> None:
            made.append((name, options["address"], options["user"]))
            self.closed = 0

        def close(self) -> None:
            self.closed += 1

    module = types.ModuleType("pipeline.host.ssh")
    module.SshHost = Ssh  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.host.ssh", module)
    site = load(config).site()
    assert made == []
    host: Any = site.host("builder")
    assert site.host("builder") is host
    assert made == [("builder", "10.0.0.1", HostSpec("x").user)]
    site.close()
    site.close()
    assert vars(host) == {"closed": 1}


@pytest.mark.parametrize(
    ("host", "words", "crictl"),
    [
        ("{address: x}", "", ("k3s", "crictl")),
        ("{address: x, user: tegwick}", "", ("sudo", "-n", "k3s", "crictl")),
        ("{address: x, user: tegwick}", ", crictl: [crictl]", ("crictl",)),
    ],
    ids=["root", "another", "another, by its own words"],
)
def test_a_user_other_than_root_asks_the_nodes_runtime_by_sudo(config: Path, host: str, words: str, crictl: tuple[str, ...]) -> None:
    (config / "site.yml").write_text(f"hosts: {{node: {host}}}\nclusters: {{prod: {{kubeconfig: ~/k, node: node{words}}}}}\n")
    cluster = load(config).site().cluster("prod")
    assert cluster.crictl == crictl
    assert cluster.ctr == (*(("sudo", "-n") if "user" in host else ()), "k3s", "ctr", "-n", "k8s.io")


# drivers of other packages


class Point:
    """An entry point as importlib gives it."""

    def __init__(self, name: str, loads: Any) -> None:
        self.name = name
        self.value = f"elsewhere:{name}"
        self.loads = loads

    def load(self) -> Any:
        if isinstance(self.loads, BaseException):
            raise self.loads
        return self.loads


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    found: list[Point] = []
    monkeypatch.setattr(metadata, "entry_points", lambda group: found if group == "pipeline.drivers" else [])
    return found


def test_another_package_adds_a_driver(config: Path, points: list[Point], tmp_path: Path) -> None:
    theirs = dataclasses.replace(World(tmp_path / "w").driver("build"), name="bazel")
    points.append(Point("build.bazel", theirs))
    (config / "probe.yml").write_text(BASE.replace("driver: fake, note: x", "driver: bazel"))
    assert load(config).plan[1].driver is theirs
    assert "bazel" in drivers.drivers("build")
    assert "did you mean 'bazel'" in refusal(config, BASE.replace("driver: fake, note: x", "driver: bazl")).what


@pytest.mark.parametrize("broken", [ImportError("No module named 'their_dependency'"), KeyError("their own"), AttributeError("their own")])
def test_a_broken_driver_is_not_a_missing_one(config: Path, points: list[Point], broken: Exception) -> None:
    points.append(Point("build.bazel", broken))
    (config / "probe.yml").write_text(BASE.replace("driver: fake, note: x", "driver: bazel"))
    with pytest.raises(type(broken)) as caught:
        load(config)
    assert caught.value is broken


@pytest.mark.parametrize("loads", ["not a driver", None, World.driver])
def test_an_entry_point_to_something_else_is_named(config: Path, points: list[Point], loads: Any) -> None:
    points.append(Point("build.bazel", loads))
    (config / "probe.yml").write_text(BASE.replace("driver: fake, note: x", "driver: bazel"))
    assert "the entry point build.bazel leads to elsewhere:build.bazel" in refusal(config).what


def test_an_entry_point_cannot_stand_in_for_another_driver(config: Path, points: list[Point], tmp_path: Path) -> None:
    points.append(Point("build.bazel", World(tmp_path / "w").driver("push")))
    (config / "probe.yml").write_text(BASE.replace("driver: fake, note: x", "driver: bazel"))
    assert "is not that driver" in refusal(config).what


def test_built_in_drivers_do_not_ask_for_entry_points(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the metadata of every installed package costs more than a whole no-op."""

    def asked(**_options: str) -> Any:
        raise AssertionError("entry points were read")

    monkeypatch.setattr(metadata, "entry_points", asked)
    assert len(load(config).plan) == 5


# the whole file as JSON Schema


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(blueprint_schema())


def valid(data: Any) -> bool:
    return bool(validator().is_valid(data))


def test_the_schema_of_a_blueprint_takes_the_blueprint(config: Path) -> None:
    shape = blueprint_schema()
    jsonschema.Draft202012Validator.check_schema(shape)
    assert valid(load(config).document.data)
    assert set(shape["properties"]["stages"]["properties"]) == set(VERBS) - {"provision"}
    names = [option["properties"]["driver"]["const"] for option in shape["properties"]["stages"]["properties"]["build"]["oneOf"]]
    assert "fake" in names


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["fake", "x", 1, True, None, [], {}, {"driver": "fake"}, {"driver": "nope"}, {"driver": "fake", "note": "n"}, {"note": "n"}]
)
PATHS = st.sampled_from([
    ("app",), ("environment",), ("site",), ("protected",), ("unknown",), ("stages",), ("stages", "sync"), ("stages", "verify"),
    ("stages", "nope"), ("stages", "push", "driver"), ("stages", "push", "note"), ("stages", "push", "unknown"),
])  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(PATHS, VALUES), min_size=1, max_size=2))
def test_both_schemas_refuse_the_same(config: Path, changes: list[tuple[tuple[str, ...], Any]]) -> None:
    data = copy.deepcopy(load(config).document.data)
    for path, value in changes:
        spot = data
        for key in path[:-1]:
            spot = spot[key] if isinstance(spot.get(key), dict) else {}
        spot[path[-1]] = copy.deepcopy(value)
    document = Document(data, {(): Place("x", 1)})
    try:
        found = schema.build(plan.BlueprintFile, document)
        taken = bool(NAME.fullmatch(found.app)) and bool([plan._stage(document, verb) for verb in found.stages])
    except ConfigError:
        taken = False
    assert valid(data) == taken, data


# the blueprints of this repository


@pytest.mark.parametrize("env", ["lab", "production"])
def test_the_main_blueprint_is_whole(env: str) -> None:
    found = load(ROOT / "config", "ihp-railiance-probe", env)
    assert [(stage.verb, stage.driver.name) for stage in found.plan] == [
        ("sync", "git"), ("build", "nix"), ("push", "skopeo"), ("deploy", "helm"), ("verify", "checks"),
    ]  # fmt: skip
    assert [stage.driver.takes for stage in found.plan] == [Source, Tree, Bundle, Images, Release]
    assert found.plan[-1].driver.gives is Report
    assert valid(found.document.data)
    for stage in found.plan:
        assert len(stage.key("parent")) == 64


def test_a_release_does_not_stand_alone() -> None:
    """A no-op asks the registry beside the cluster: a release whose image is gone cannot start a pod on another node."""
    alone = {stage.verb: stage.driver.stands_alone for stage in load(ROOT / "config", "ihp-railiance-probe", env="lab").plan}
    assert not alone["deploy"]
    assert alone["push"]


def test_the_site_file_is_whole() -> None:
    path = ROOT / "config" / "site.yml"
    jsonschema.validate(read(path).data, schema.json_schema(SiteFile))
    site = read_site(path)
    for env in ("lab", "production"):
        for stage in load(ROOT / "config", "ihp-railiance-probe", env=env).plan:
            for kind, known in (("host", site.hosts), ("cluster", site.clusters), ("registry", site.registries), ("via", site.remotes)):
                assert getattr(stage.spec, kind, "") in ("", *known) or stage.verb == "verify"


def test_production_is_only_touched_when_it_is_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "ihp-railiance-probe.yml"
    path.write_text(path.read_text().replace("environment: lab", "environment: production"))
    with pytest.raises(ConfigError, match="production is protected"):
        load(tmp_path / "config", "ihp-railiance-probe")
