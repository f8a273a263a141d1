"""Following a commit through Flux's objects as the API tells them, with controllers that a test plays."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SystemClock
from pipeline.deploy import flux_follow
from pipeline.deploy.flux_follow import Failure, Settled, follow, obstacles, retry
from pipeline.errors import Locked, Transient
from pipeline.testing.kube import FakeKube
from pipeline.testing.kube_rules import status
from pipeline.tools.flux import FORCED, REQUESTED, RESET, Ref
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from tests.deploy.flux_objects import COMMIT, OLD, TARGET, VALUES, author, git, is_ancestor, kustomization, ready, release

PATHS = {ref.kind: ref.path for ref in TARGET.all}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    made = FakeKube(tmp_path)
    for group, plural in (("helm.toolkit.fluxcd.io/v2", "helmreleases"), ("source.toolkit.fluxcd.io/v1", "gitrepositories"),
                          ("kustomize.toolkit.fluxcd.io/v1", "kustomizations")):  # fmt: skip
        made.put(f"/apis/{group}", {"metadata": {"name": group}, "resources": [{"name": plural}]})
    yield made
    made.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    made = Kube(load(str(fake.kubeconfig())))
    yield made
    made.close()


def put(fake: FakeKube, *objects: dict[str, Any]) -> None:
    """The objects as they are given, generations too, with the annotations that are there."""
    for each in objects:
        where, value = PATHS[each["kind"]], copy.deepcopy(each)
        known = fake.objects.get(where)
        if known:
            value["metadata"]["annotations"] = known["metadata"].get("annotations")
        fake.put(where, value)
        fake.objects[where]["metadata"]["generation"] = each["metadata"]["generation"]


def asked(value: dict[str, Any]) -> str:
    return str((value["metadata"].get("annotations") or {}).get(REQUESTED, ""))


def followed(kube: Kube, tell: list[str], deadline: float = 20.0, **more: Any) -> Failure | Settled:
    return follow(
        kube, SystemClock(), TARGET, COMMIT, is_ancestor, deadline=deadline, tell=tell.append, values=VALUES, author=author, **more
    )


def controllers(fake: FakeKube, lines: list[str]) -> None:
    """Each controller does its part once it is asked, or once the one before it is done."""

    def changed(kind: str, where: str, value: dict[str, Any]) -> None:
        if kind == "DELETED":
            return
        lines.append(f"{value.get('kind')} {asked(value)}")
        if where == PATHS["GitRepository"] and asked(value) and value["status"]["lastHandledReconcileAt"] != asked(value):
            put(fake, git(COMMIT, handled=asked(value)))
        elif where == PATHS["Kustomization"] and asked(value) and value["status"]["lastHandledReconcileAt"] != asked(value):
            put(fake, release())
            put(fake, kustomization(COMMIT, handled=asked(value)))

    fake.changed = changed


def test_no_webhook_is_needed_each_controller_is_asked_in_turn(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(OLD), kustomization(OLD), release(values={}, generation=1, observed=1))
    controllers(fake, [])
    told: list[str] = []
    said = followed(kube, told)
    assert isinstance(said, Settled), said
    assert (said.commit, said.number) == (COMMIT, 4)
    assert list(said.seconds) == ["fetched", "applied", "released"]
    assert list(said.seconds.values()) == sorted(said.seconds.values())


def stored(number: int, values: dict[str, Any]) -> dict[str, Any]:
    """Helm's own record of a revision."""
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps({"config": values, "manifest": ""}).encode()))).decode()
    labels = {"owner": "helm", "name": "web", "version": str(number), "status": "deployed"}
    return {"metadata": {"name": f"sh.helm.release.v1.web.v{number}", "labels": labels}, "data": {"release": packed}}


def test_a_status_that_claims_more_than_helm_has_stored_is_not_believed(kube: Kube, fake: FakeKube) -> None:
    """helm-controller was at work on the values before when the commit was applied: it ends, and says so of the newest generation."""
    where = path("v1", "secrets", "shop", "sh.helm.release.v1.web.v")
    put(fake, git(), kustomization(), release(number=4))
    fake.put(f"{where}4", stored(4, {"image": {"digest": "sha256:a1"}}))
    told: list[str] = []

    def check() -> None:
        if told:
            fake.put(f"{where}5", stored(5, {**VALUES, "more": "is fine"}))
            put(fake, release(number=5))

    said = followed(kube, told, check=check)
    assert isinstance(said, Settled)
    assert said.number == 5
    assert told == ["helm-controller released what was there before, and takes up 1111111"]


def test_who_may_not_read_what_helm_stored_believes_the_status(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(), kustomization(), release())
    fake.fault = lambda _method, where: (403, status(403, "Forbidden"), {}) if "/secrets/" in where else None
    assert isinstance(followed(kube, []), Settled)


def test_a_complaint_is_heard_again_before_it_is_told(kube: Kube, fake: FakeKube) -> None:
    failing = ready("False", "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@0.1.0: execution error at (x)", 2)
    put(fake, git(), kustomization(), release(failing, observed=1))

    def changed(_kind: str, where: str, value: dict[str, Any]) -> None:
        if where == PATHS["HelmRelease"] and value["status"]["lastHandledReconcileAt"] != asked(value):
            put(fake, release(failing, observed=1, handled=asked(value)))

    fake.changed = changed
    said = followed(kube, [])
    assert isinstance(said, Failure)
    assert said.kind == "chart"
    assert len([path for method, path in fake.asked if method == "PATCH" and "helmreleases" in path]) == 1


def test_what_is_live_already_is_settled_at_once_and_nothing_but_the_source_is_asked(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(), kustomization(), release())
    assert isinstance(followed(kube, []), Settled)
    assert [path for method, path in fake.asked if method == "PATCH"] == [f"{PATHS['GitRepository']}?fieldManager=flux-client-side-apply"]


def test_who_may_not_ask_waits_for_flux_itself(kube: Kube, fake: FakeKube) -> None:
    fake.fault = lambda method, _path: (403, status(403, "Forbidden"), {}) if method == "PATCH" else None
    put(fake, git(), kustomization(), release())
    assert isinstance(followed(kube, []), Settled)


def test_f03_an_older_commit_in_two_answers_ends_it_long_before_the_deadline(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(OLD), kustomization(OLD), release(values={}))

    def changed(_kind: str, where: str, value: dict[str, Any]) -> None:
        if where == PATHS["GitRepository"] and value["status"]["lastHandledReconcileAt"] != asked(value):
            put(fake, git(OLD, handled=asked(value)))

    fake.changed = changed
    said = followed(kube, [], deadline=3600.0)  # pytest's own timeout comes before that
    assert isinstance(said, Failure)
    assert said.kind == "older"


def test_f03_the_deadline_names_what_was_waited_for(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(OLD, handled="x"), kustomization(OLD), release(values={}))
    told: list[str] = []
    said = followed(kube, told, deadline=0.1)
    assert isinstance(said, Failure)
    assert said.kind == "waiting"
    assert "source-controller fetches 1111111 (has 0000000)" in said.what
    assert told == ["source-controller fetches 1111111 (has 0000000)"]


def test_the_pods_may_end_it_before_helm_gives_up(kube: Kube, fake: FakeKube) -> None:
    running = ready("True", "Progressing", "Running 'upgrade' action with timeout of 5m0s", 2, kind="Reconciling")
    put(fake, git(), kustomization(), release(running, ready("Unknown", "Progressing", "", 2), observed=1))
    broken = Failure("rollout", "web-1 cannot pull its image", touched=True)
    assert followed(kube, [], pods=lambda: broken) == broken


def test_pods_are_not_looked_at_before_helm_is_at_work(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(), kustomization(OLD), release(values={}))
    said = followed(kube, [], deadline=0.1, pods=lambda: Failure("rollout", "must not be asked"))
    assert isinstance(said, Failure)
    assert said.kind == "waiting"


def test_l02_a_lost_lock_ends_the_wait(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(OLD), kustomization(OLD), release(values={}))

    def check() -> None:
        raise Locked("lost")

    with pytest.raises(Locked):
        followed(kube, [], check=check)


def test_an_api_that_goes_away_is_transient(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(OLD), kustomization(OLD), release(values={}))
    with pytest.raises(Transient):
        followed(kube, [], check=fake.stop)
    fake.start()


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        (PATHS["GitRepository"], "the cluster has no GitRepository flux-system/fade"),
        (PATHS["Kustomization"], "the cluster has no Kustomization flux-system/fade"),
        ("/apis/helm.toolkit.fluxcd.io/v2", "the cluster does not know HelmRelease in helm.toolkit.fluxcd.io/v2"),
    ],
)
def test_what_flux_needs_and_is_not_there_is_named_before_anything_is_watched(kube: Kube, fake: FakeKube, gone: str, what: str) -> None:
    put(fake, git(), kustomization(), release())
    fake.drop(gone)
    said = followed(kube, [])
    assert isinstance(said, Failure)
    assert (said.kind, said.what) == ("absent", what)
    assert "inv flux.bootstrap" in said.mend


def test_f03_obstacles_are_seen_before_there_is_a_commit(kube: Kube, fake: FakeKube) -> None:
    put(
        fake,
        git(suspend=True),
        kustomization(),
        release(ready("True", "RetriesExceeded", "", 2, kind="Stalled"), ready("False", "", "", 2)),
    )
    assert [found.kind for found in obstacles(kube, TARGET)] == ["suspended"]
    fake.drop(PATHS["Kustomization"])
    fake.drop(PATHS["HelmRelease"])
    assert [found.kind for found in obstacles(kube, TARGET)] == ["suspended", "absent"]


def test_f04_a_release_is_let_try_again_as_the_flux_command_does(kube: Kube, fake: FakeKube) -> None:
    put(fake, release())
    assert retry(kube, SystemClock(), TARGET)
    notes = fake.objects[PATHS["HelmRelease"]]["metadata"]["annotations"]
    assert notes.keys() == {REQUESTED, FORCED, RESET}
    assert len(set(notes.values())) == 1
    fake.drop(PATHS["HelmRelease"])
    assert not retry(kube, SystemClock(), TARGET)


def test_a_watch_that_is_behind_a_read_does_not_bring_back_what_was(kube: Kube, fake: FakeKube) -> None:
    put(fake, git(), kustomization(), release())
    newer = release(generation=3)
    from tests.deploy.flux_objects import seen

    found = seen(newer)
    flux_follow._take(found, "helmreleases MODIFIED", release(generation=2))
    assert found.objects[TARGET.helm] is newer
    flux_follow._take(found, "helmreleases DELETED", newer)
    assert TARGET.helm not in found.objects


def test_a_ref_is_named_as_each_tool_wants_it() -> None:
    ref = Ref("GitRepository", "flux-system", "fade")
    assert ref.flux == "source git fade -n flux-system"
    assert ref.kubectl == "-n flux-system gitrepositories.source.toolkit.fluxcd.io/fade"
    assert ref.path == "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/fade"


@pytest.mark.parametrize(
    ("reason", "message", "times"), [("ArtifactFailed", "Could not load chart: dial tcp: i/o timeout", 2), ("", "", 0)]
)
def test_flux_is_asked_again_and_again_while_a_sign_may_pass(
    kube: Kube, fake: FakeKube, monkeypatch: pytest.MonkeyPatch, reason: str, message: str, times: int
) -> None:
    """It waits ever longer itself, up to a quarter of an hour."""
    monkeypatch.setattr(flux_follow, "ASK", 0.2)
    status_ = "False" if reason else "Unknown"
    put(fake, git(), kustomization(), release(ready(status_, reason, message, 2), observed=1))
    said = followed(kube, [], deadline=2.2)
    assert isinstance(said, Failure)
    assert said.kind == "waiting"
    asked_ = [where for method, where in fake.asked if method == "PATCH" and "helmreleases" in where]
    assert len(asked_) >= times
    assert bool(asked_) == bool(times)


def test_f03_a_commit_that_nobody_knows_is_not_asked_for_at_every_look(kube: Kube, fake: FakeKube) -> None:
    put(fake, git("9" * 40), kustomization(OLD), release(values={}))

    def changed(_kind: str, where: str, value: dict[str, Any]) -> None:
        if where == PATHS["GitRepository"] and value["status"]["lastHandledReconcileAt"] != asked(value):
            put(fake, git("9" * 40, handled=asked(value)))

    fake.changed = changed
    said = followed(kube, [], deadline=3.0)
    assert isinstance(said, Failure)
    assert said.kind == "waiting"
    assert len([where for method, where in fake.asked if method == "PATCH"]) <= 3
