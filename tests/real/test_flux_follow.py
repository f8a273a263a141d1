"""A commit followed through the real controllers of Flux, and each way in which it does not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.flux_follow import Failure, Settled, obstacles, retry
from pipeline.host import Address
from pipeline.plan import load
from pipeline.stage import Site
from pipeline.testing.proxy import FaultProxy
from pipeline.tools.kube import path
from tests.real.conftest import ROOT
from tests.real.flux_parts import CHART, SCHEMA, TEMPLATE, Flow, flow

pytestmark = pytest.mark.real
ONE, TWO = {"text": "one"}, {"text": "two"}
MANY = {**TWO, "replicas": "many"}
BROKEN = {**TWO, "replicas": 1, "image": "none.invalid/web:1"}


@pytest.fixture(scope="module")
def shared(lab_site_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """One repository for all of these tests, with a first release."""
    with load(ROOT / "config", "ihp-railiance-probe", "lab").site() as site, flow(site, tmp_path_factory.mktemp("flux")) as made:
        made.settled(made.git("rev-parse", "HEAD"), ONE)
        yield made


@pytest.fixture
def live(shared: Flow) -> Flow:
    """A release is there, in whatever state the test before has left it; the next commit begins with the files of the first."""
    shared.restore()
    return shared


def mapped(fade: Flow) -> Any:
    """What the chart's ConfigMap holds."""
    found = fade.kube.get(path("v1", "configmaps", fade.namespace, "web"))
    return found and found["data"]


def failed(fade: Flow, commit: str, values: dict[str, Any], **more: Any) -> Failure:
    """What is said of a commit that does not arrive: a sign, never that the time was up."""
    found = fade.follow(commit, values, **more)
    assert isinstance(found, Failure), (found, fade.lines)
    assert "not done after" not in found.what, fade.lines
    return found


def test_a_commit_becomes_a_release_within_seconds_and_a_second_look_asks_for_nothing(live: Flow) -> None:
    commit = live.set(TWO)
    found = live.settled(commit, TWO)
    assert (found.commit, found.chart) == (commit, f"0.1.0+{commit[:12]}")
    assert found.number > 1
    assert found.seconds["fetched"] <= found.seconds["applied"] <= found.seconds["released"]
    assert mapped(live) == TWO
    assert live.settled(commit, TWO).number == found.number


def test_f03_a_later_commit_of_somebody_that_keeps_our_lines_is_fine(live: Flow) -> None:
    ours = live.set(TWO)
    theirs = live.commit({"README.md": "more words\n"})
    assert live.settled(ours, TWO).commit == theirs


def test_f03_a_later_commit_of_somebody_that_takes_our_lines_back_is_told_with_its_author(live: Flow) -> None:
    ours = live.set(TWO)
    live.set({"text": "three"})
    found = failed(live, ours, TWO)
    assert found.kind == "undone"
    assert "Ada <ada@example.org>" in found.what
    assert "text is 'three', 'two' was committed" in found.cause


@pytest.mark.parametrize("kind", ["GitRepository", "Kustomization", "HelmRelease"])
def test_f03_what_is_suspended_is_named_and_seen_beforehand(live: Flow, kind: str) -> None:
    live.patch(kind, {"suspend": True})
    (before,) = obstacles(live.kube, live.target)
    found = failed(live, live.set(TWO), TWO)
    assert (found.kind, before.kind) == ("suspended", "suspended")
    assert found.what.startswith(kind)
    live.patch(kind, {"suspend": False})
    assert live.settled(live.git("rev-parse", "HEAD"), TWO).number > 1, "what was committed meanwhile is not lost"


def test_f03_a_branch_that_went_back_before_it_was_fetched(live: Flow) -> None:
    lost = live.set(TWO, push=False)
    live.git("reset", "--quiet", "--hard", "HEAD~1")
    found = failed(live, lost, TWO)
    assert found.kind == "older"
    assert "looked at main" in found.what


def test_f03_a_branch_that_is_set_back_while_it_is_followed(live: Flow) -> None:
    old, commit = live.git("rev-parse", "HEAD"), live.set(BROKEN)

    def set_back() -> None:
        if any("helm-controller" in line for line in live.lines):
            live.git("push", "--quiet", "--force", "origin", f"{old}:refs/heads/main")
            live.kube.merge(live.target.git.path, {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "set-back"}}})

    found = failed(live, commit, BROKEN, check=set_back)
    assert found.kind == "older"
    assert "went back" in found.what


def test_a_git_server_that_is_away_is_told_and_outlasted(lab: Site, tmp_path: Path) -> None:
    remote = lab.remotes["gitops"].url.removeprefix("ssh://git@").partition("/")[0]
    where, port = remote.rsplit(":", 1)
    with FaultProxy(Address(where, int(port)), listen=where) as proxy, flow(lab, tmp_path, f"{where}:{proxy.address.port}") as fade:
        fade.settled(fade.git("rev-parse", "HEAD"), ONE)
        commit = fade.set(TWO)
        proxy.refuse()
        fade.lines.clear()

        def back() -> None:
            if any("cannot reach" in line for line in fade.lines):
                proxy.accept()

        found = fade.follow(commit, TWO, check=back)
        assert isinstance(found, Settled), (found, fade.lines)
        assert any("connection refused; it tries again by itself" in line for line in fade.lines)


def test_a_broken_manifest_is_named_with_its_file(live: Flow) -> None:
    live.set(TWO, push=False)
    found = failed(live, live.commit({"clusters/broken.yaml": "kind: [\n"}), TWO)
    assert found.kind == "build"
    assert "broken.yaml" in found.cause
    assert "/tmp" not in found.cause  # where the controller had unpacked it is nobody's business


def test_a_manifest_that_the_api_refuses_is_named(live: Flow) -> None:
    live.set(TWO, push=False)
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: not-there}\n"
    found = failed(live, live.commit({"clusters/other.yaml": other}), TWO)
    assert found.kind == "apply"
    assert "namespace not-there is not there" in found.what


def test_values_that_the_schema_refuses_are_named_and_touch_nothing(live: Flow) -> None:
    found = failed(live, live.set(MANY), MANY)
    assert found.kind == "values"
    assert "/replicas" in found.cause
    assert not found.touched


def test_a_chart_that_does_not_render_is_named_with_its_template(live: Flow) -> None:
    live.set(TWO, push=False)
    found = failed(live, live.commit({"helm/web/templates/web.yaml": TEMPLATE + "---\n{{ .Values.a.b }}\n"}), TWO)
    assert found.kind == "chart"
    assert "web.yaml" in found.cause


def test_a_chart_that_cannot_be_made_is_named_though_its_release_stays_ready(live: Flow) -> None:
    live.set(TWO, push=False)
    found = failed(live, live.commit({"helm/web/Chart.yaml": CHART.replace("0.1.0", "one")}), TWO)
    assert found.kind == "chart"
    assert "chart.metadata.version" in found.cause


def test_f04_a_broken_image_stalls_and_the_remedy_lets_it_go_on(live: Flow) -> None:
    commit = live.commit({"clusters/release.yaml": live.release(BROKEN, upgrade={"timeout": "5s", "remediation": {"retries": 0}})})
    found = live.follow(commit, BROKEN)
    assert isinstance(found, Failure)
    assert found.kind == "retries"
    assert found.touched
    assert "flux reconcile helmrelease web" in found.mend
    before = live.kube.get(live.target.helm.path)
    assert retry(live.kube, live.site.clock, live.target)
    assert isinstance(live.follow(commit, BROKEN), Failure), "the image is as broken as before"
    after = live.kube.get(live.target.helm.path)
    assert before is not None
    assert after is not None
    assert after["status"]["lastHandledResetAt"] != before["status"].get("lastHandledResetAt")
    assert after["status"]["history"][0]["version"] > before["status"]["history"][0]["version"], "helm tried once more"
    good = {"text": "three"}
    assert live.settled(live.set(good), good).number > after["status"]["history"][0]["version"], "other values are tried anew"


def test_a_broken_image_that_helm_controller_takes_back_is_told_so(live: Flow) -> None:
    live.settled(live.set(ONE), ONE)
    upgrade = {"timeout": "5s", "remediation": {"retries": 0, "remediateLastFailure": True}}
    commit = live.commit({"clusters/release.yaml": live.release(BROKEN, upgrade=upgrade)})
    found = live.follow(commit, BROKEN)
    assert isinstance(found, Failure)
    assert (found.kind, found.touched, found.remediated) == ("retries", True, True)
    assert "Helm rollback to previous release" in found.cause
    assert mapped(live) == ONE


def test_what_a_schema_is_changed_to_is_judged_with_the_chart_of_that_commit(live: Flow) -> None:
    """The values come with the HelmRelease, the chart a moment later: what the old chart refuses is no failure."""
    values = {"text": "two", "replicas": "0"}
    live.set(values, push=False)
    commit = live.commit({"helm/web/values.schema.json": SCHEMA.replace('"integer"', '"string"')})
    assert live.settled(commit, values).chart == f"0.1.0+{commit[:12]}"
