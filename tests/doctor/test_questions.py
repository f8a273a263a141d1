"""Which checks a blueprint calls for: each node once, strangers by name, secrets masked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.artifacts import Images, Source
from pipeline.build import buildx, tagged
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.build.tagged import Tagged
from pipeline.deploy import flux as flux_driver
from pipeline.deploy.flux_spec import Flux
from pipeline.doctor import questions, registry
from pipeline.doctor.questions import checks, examine
from pipeline.doctor.verdict import Check, Verdict, ok
from pipeline.gitops.spec import Automation, Gitops
from pipeline.plan import load
from pipeline.stage import Cluster, Driver, Finding, Remote, Site, Stage

from .parts import site

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Strange:
    """A driver of another package."""

    host: str = "seed"


def test_the_main_blueprint_calls_for_every_node_once() -> None:
    blueprint = load(ROOT / "config", "ihp-railiance-probe", "production")
    with blueprint.site() as there:  # nothing is asked
        found = [check.where for check in checks(blueprint.plan, there, Gitops())]
    nodes = [where for where in found if where != "workstation"]
    assert nodes == [
        "coulombcore (git)",
        "haskelseed (build host)",
        "coulombcore (registry)",
        "railiance01 (cluster)",
        "railiance01 (node)",
    ]


def test_the_registry_of_images_is_asked_for_pushes_and_of_those_that_others_build_for_pulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str], list[str]]] = []

    def look(name: str, writes: list[str], _site: Site, reads: list[str]) -> list[Verdict]:
        asked.append((name, list(writes), list(reads)))
        return []

    monkeypatch.setattr(registry, "look", look)
    images = {name: ImageSpec(repository=f"team/{name}") for name in ("relay", "node")}
    plan = (Stage("build", buildx.DRIVER, Buildx("ghcr", images)), Stage("build", tagged.DRIVER, Tagged("hub", "team/relay")))
    with site(tmp_path) as there:
        for check in checks(plan, there, Gitops()):
            if check.where.endswith("(registry)"):
                list(check.ask())
    assert asked == [("ghcr", ["team/node", "team/relay"], []), ("hub", [], ["team/relay"])]


def test_a_driver_of_another_package_is_said_to_be_unknown(tmp_path: Path) -> None:
    strange = Driver("build", "bazel", Source, Images, Strange, lambda *_: Finding(None), lambda *_: pytest.fail("made"))
    with site(tmp_path) as there:
        (verdict,) = [
            v for check in checks((Stage("build", strange, Strange()),), there, Gitops()) if check.name == "checks" for v in check.ask()
        ]
    assert (verdict.where, verdict.status) == ("build (bazel)", "unknown")


def test_g02_secrets_are_masked_in_evidence_and_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blueprint = load(ROOT / "config", "ihp-railiance-probe", "production")
    monkeypatch.setattr(questions, "checks", lambda *_: [Check("a", "b", lambda: [ok("a", "b", "it is canary-0123456789")])])
    with site(tmp_path) as there:
        there.secrets.guard("canary-0123456789")
        (verdict,) = examine(blueprint, there)
    assert verdict.evidence == "it is [secret]"


def test_a_release_by_flux_calls_for_its_repository_and_for_flux(tmp_path: Path) -> None:
    plan = (Stage("deploy", flux_driver.DRIVER, Flux("k3s", "gitops", "fade", "fade", {"image": {"digest": "{digest}"}})),)
    with site(tmp_path, remotes={"gitops": Remote("ssh://git@host/fade.git")}, clusters={"k3s": Cluster("kubeconfig")}) as there:
        alone = [(check.where, check.name) for check in checks(plan, there, Gitops())]
        images = [(check.where, check.name) for check in checks(plan, there, Gitops(automation=Automation({"fade": "ghcr.io/o/fade"})))]
    assert alone[-4:] == [("gitops (git)", "branch"), ("k3s (cluster)", "kubeconfig"), ("k3s (flux)", "kinds"), ("k3s (node)", "ssh")]
    assert [each for each in images if each not in alone] == [("k3s (flux)", "images")]
