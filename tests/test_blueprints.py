"""Every blueprint of this repository, in each of its environments: it loads, its names are known, and what it names is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.artifacts import Report, Source
from pipeline.build.buildx_spec import Buildx
from pipeline.deploy.flux_spec import Flux
from pipeline.errors import ConfigError
from pipeline.lab.layout import Lab
from pipeline.lab.site import site as lab_site
from pipeline.plan import blueprint_schema, blueprints, ci_of, environments, load, read_site
from pipeline.tools.tag_rules import parse
from pipeline.tools.tags import Ref, tags
from pipeline.verify.expect import Page, filled, judge
from pipeline.verify.log import Log
from pipeline.verify.web import Answer
from pipeline.verify.words import words
from pipeline.yamlfile import read
from tests.verify.releases import COMMIT, RELEASE

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
EVERY = [(name, env) for name in blueprints(CONFIG) for env in environments(CONFIG, name)]
PARTS = {"host", "registry", "cluster", "database", "docker", "hub", "kubecfg", "flux"}
KINDS = (("host", "hosts"), ("cluster", "clusters"), ("registry", "registries"), ("via", "remotes"))


def known(env: str) -> dict[str, set[str]]:
    """The names that the site of the environment has, by their kind."""
    if env == "lab":
        found: dict[str, Any] = lab_site(Lab("0" * 8, "/copy", "10.211.0.0/30", 1, 2, 3, 4), PARTS)
        return {kind: set(found[kind]) for kind in ("hosts", "clusters", "registries", "remotes", "builders")}
    there = read_site(CONFIG / "site.yml")
    return {kind: set(getattr(there, kind)) for kind in ("hosts", "clusters", "registries", "remotes", "builders")}


def test_there_are_the_four_systems() -> None:
    assert set(EVERY) >= {
        ("ihp-railiance-probe", "lab"), ("ihp-railiance-probe", "production"), ("relay", "lab"), ("relay", "spot"),
        ("tokenplace", "lab"), ("tokenplace", "staging"), ("fade", "lab"), ("fade", "production"),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "env"), EVERY)
def test_it_is_whole(name: str, env: str) -> None:
    found = load(CONFIG, name, env)
    assert found.plan[0].driver.takes is Source
    assert found.plan[-1].driver.gives is Report
    jsonschema.validate(found.document.data, blueprint_schema())
    names = known(env)
    for stage in found.plan:
        for option, kind in KINDS:
            if stage.verb != "verify" or option == "cluster":
                assert getattr(stage.spec, option, "") in {"", *names[kind]}, f"{stage.verb}.{option}"
        assert set(getattr(stage.spec, "builders", ())) <= names["builders"]


@pytest.mark.parametrize(("name", "env"), EVERY)
def test_what_it_names_in_the_working_copy_is_there(name: str, env: str) -> None:
    found = load(CONFIG, name, env)
    paths = [path for stage in found.plan for path in named(stage.spec)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def named(spec: Any) -> list[str]:
    contexts = [image.context for image in spec.images.values()] if isinstance(spec, Buildx) else []
    chart = getattr(spec, "chart", "")
    source = "" if isinstance(spec, Flux) else getattr(spec, "source", "")  # Flux's is an object in the cluster
    single = [getattr(spec, "manifests", ""), source, "" if "://" in chart else chart]
    return [path for path in (*contexts, *getattr(spec, "values_files", ()), *single) if path]


@pytest.mark.parametrize(("name", "env"), [each for each in EVERY if each[1] != "lab"])
def test_what_is_real_is_only_touched_when_it_is_named(name: str, env: str) -> None:
    assert load(CONFIG, name).environment == "lab"
    assert read(CONFIG / f"{name}.{env}.yml").data["protected"] is True


def test_the_images_are_those_of_the_plans() -> None:
    relay, staging, lab = load(CONFIG, "relay", "spot"), load(CONFIG, "tokenplace", "staging"), load(CONFIG, "tokenplace", "lab")
    assert relay.plan[0].spec.images["relay"].repository.count("/") == 1, "ghcr.io/<owner>/<repo>"
    assert lab.plan[0].spec.images["tokenplace-relay"].repository == "democratizedspace/tokenplace-relay"
    assert lab.plan[0].spec.images["tokenplace-relay"].platforms == ("linux/amd64", "linux/arm64")
    assert (staging.plan[0].spec.repository, staging.plan[0].spec.default_tag) == ("democratizedspace/tokenplace-relay", "main-latest")
    assert read_site(CONFIG / "site.yml").registries["ghcr"].address == "ghcr.io"
    assert "staging.token.place" in str(staging.plan[-1].spec)


@pytest.mark.parametrize("nodes", [0, 3])
def test_a_staging_release_of_the_relay_does_not_wait_for_a_compute_node(nodes: int) -> None:
    page = {"status": "ok", "publicUrl": "https://staging.token.place", "knownServers": nodes, "commit": COMMIT}
    checks = load(CONFIG, "tokenplace", "staging").plan[-1].spec.checks
    assert not any(isinstance(each, Log) for each in checks), "no heartbeat stands in the log yet"
    (health,) = [each for each in checks if isinstance(each, Page) and each.path == "/healthz"]
    answer = Answer(200, "/healthz", {}, json.dumps(page).encode())
    assert judge(filled(health, words(RELEASE, "tokenplace-relay")), answer, RELEASE).passed


def test_the_workflows_start_and_sign_in_as_the_plans_say() -> None:
    found = {name: ci_of(CONFIG, name) for name in ("relay", "tokenplace", "fade")}
    started = {name: (each.ci.branches, each.ci.git_tags) for name, each in found.items() if each}
    assert started == {"relay": (("main",), ("**",)), "tokenplace": (("main",), ()), "fade": (("main",), ("v*",))}
    assert found["fade"]
    assert (found["fade"].ci.username, found["fade"].ci.token) == ("DOCKER_USERNAME", "DOCKER_TOKEN")
    policy = parse(found["fade"].build.tags)
    assert tags(policy, Ref(COMMIT, tags=("v1.0.0",))).names == ("v1.0.0", COMMIT)
    assert {"latest", COMMIT} <= set(tags(policy, Ref(COMMIT, "main")).names)
    assert tags(parse(load(CONFIG, "tokenplace").plan[0].spec.tags), Ref(COMMIT, "my-feature")).names == ("my-feature",)


def test_fade_s_nodes_get_what_the_plan_requests_and_no_more() -> None:
    gitops = load(CONFIG, "fade", "production").gitops
    assert gitops
    assert gitops.values["node"]["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"},
    }  # fmt: skip


def test_an_environment_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="no environment 'stagging'; did you mean 'staging'"):
        load(CONFIG, "tokenplace", "stagging")
    with pytest.raises(ConfigError, match="no blueprint 'rellay'; did you mean 'relay'"):
        load(CONFIG, "rellay")
