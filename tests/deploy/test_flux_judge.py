"""What is said of a commit on its way through Flux: done, not to be done and why, or waited for."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.deploy.flux_diagnosis import SILENT, late
from pipeline.deploy.flux_judge import GRACE, judge, rolling
from pipeline.deploy.flux_seen import PATIENCE, Failure, Seen, Settled, differing
from pipeline.tools.flux import Ref, Sign, State
from tests.deploy.flux_objects import (
    COMMIT,
    EARLY,
    LATER,
    OLD,
    STORED,
    STRANGE,
    TARGET,
    git,
    kustomization,
    ready,
    release,
    seen,
)

Object = dict[str, object]


def lasting(found: Seen, seconds: float = 60.0) -> Failure | Settled | str:
    """What is said once everything has been so for a while."""
    judge(found, 0.0)
    return judge(found, seconds)


def failed(found: Seen) -> Failure:
    said = lasting(found)
    assert isinstance(said, Failure), said
    return said


def waits(found: Seen) -> str:
    said = lasting(found)
    assert isinstance(said, str), said
    return said


def test_it_is_done_when_all_three_say_so() -> None:
    said = judge(seen(git(), kustomization(), release()), 0.0)
    assert said == Settled(COMMIT, 4, "0.1.0", {})


def test_f03_a_later_commit_that_holds_ours_is_as_good() -> None:
    said = judge(seen(git(LATER), kustomization(LATER), release()), 0.0)
    assert isinstance(said, Settled)
    assert said.commit == LATER


def test_f03_a_later_commit_that_took_our_lines_back_is_said_with_its_author() -> None:
    found = seen(git(LATER), kustomization(LATER), release(values={"image": {"digest": "sha256:a1"}}))
    assert isinstance(judge(found, 0.0), str), "the HelmRelease may be behind for a moment"
    said = failed(found)
    assert said.kind == "undone"
    assert f"commit {LATER[:7]} (Lea <l@x>) took back" in said.what
    assert "image.digest is 'sha256:a1', 'sha256:b2' was committed" in said.cause


def test_f03_values_that_somebody_else_sets_are_no_success() -> None:
    said = failed(seen(git(), kustomization(), release(values={})))
    assert said.kind == "undone"
    assert "managed-fields" in said.mend


@pytest.mark.parametrize(
    ("objects", "kind"),
    [
        ((git(OLD, suspend=True), kustomization(OLD), release()), "GitRepository"),
        ((git(), kustomization(OLD, suspend=True), release(values={})), "Kustomization"),
        ((git(), kustomization(), release(suspend=True)), "HelmRelease"),
    ],
)
def test_f03_what_is_suspended_is_named_at_once_with_what_resumes_it(objects: tuple[Object, ...], kind: str) -> None:
    said = judge(seen(*objects), 0.0)
    assert isinstance(said, Failure)
    assert said.kind == "suspended"
    assert said.what.startswith(kind)
    assert "flux resume" in said.mend
    assert '"suspend":false' in said.mend


def test_f03_a_source_that_is_suspended_but_has_the_commit_does_not_matter() -> None:
    assert isinstance(judge(seen(git(suspend=True), kustomization(suspend=True), release()), 0.0), Settled)


def test_f03_a_kustomization_that_went_back_is_asked_again_and_then_told() -> None:
    found = seen(git(), kustomization(OLD), release(), reached=("fetched", "applied"))
    assert "an older reconciliation came last" in str(judge(found, 0.0))
    assert isinstance(judge(found, GRACE["back"] - 1), str)
    said = judge(found, GRACE["back"] + 1)
    assert isinstance(said, Failure)
    assert said.kind == "older"
    assert "has applied 0000000" in said.what
    assert "Olga" in said.cause


@pytest.mark.parametrize("now", [OLD, STRANGE])
def test_f03_a_branch_that_was_set_back_after_it_was_fetched(now: str) -> None:
    said = judge(seen(git(now), kustomization(), release(), reached=("fetched",)), 0.0)
    assert isinstance(said, Failure)
    assert said.kind == "older"
    assert "went back" in said.what
    assert "release again" in said.mend


def test_f03_a_source_that_looked_twice_and_found_an_older_commit() -> None:
    found = seen(git(OLD), kustomization(OLD), release(values={}))
    assert waits(found) == "source-controller fetches 1111111 (has 0000000)"
    found.rounds = 2
    said = failed(found)
    assert said.kind == "older"
    assert "main of ssh://git@git.example/fade.git" in said.what


def test_a_commit_that_nobody_knows_yet_is_waited_for() -> None:
    found = seen(git("9" * 40), kustomization(OLD), release(), reached=("fetched",))
    assert "fetches" in waits(found)


def test_f03_a_git_server_that_is_down_is_told_and_waited_for() -> None:
    message = (
        "failed to checkout and determine revision: unable to list remote for 'ssh://x': dial tcp 192.0.2.1:22: connect: connection refused"
    )
    found = seen(git(OLD, ready("False", "GitOperationFailed", message)), kustomization(OLD), release(values={}))
    assert waits(found) == "source-controller cannot reach ssh://git@git.example/fade.git: connection refused; it tries again by itself"
    said = late(found, "source-controller …", 300.0)
    assert said.kind == "fetch"
    assert "not done after 300 s" in said.what
    assert "connection refused" in said.cause


def test_a_login_that_is_refused_is_told_once_the_source_was_asked() -> None:
    message = "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain"
    old = git(OLD, ready("False", "GitOperationFailed", message), handled="t1")
    found = seen(old, kustomization(OLD), release(values={}))
    assert "refuses Flux's login" in waits(found), "it may be of long ago"
    found.asked[TARGET.git] = ("t1", 0.0)
    said = failed(found)
    assert said.kind == "fetch"
    assert "flux-system/key" in said.mend


def test_a_build_error_of_this_commit_is_told_at_once_and_one_of_an_older_one_is_not() -> None:
    broken = ready("False", "BuildFailed", "kustomize build failed: accumulating resources: x.yaml: no such file")
    said = judge(seen(git(), kustomization(OLD, broken, attempted=COMMIT), release(values={})), 0.0)
    assert isinstance(said, Failure)
    assert said.kind == "build"
    assert "x.yaml" in said.cause
    stale = {**broken, "lastTransitionTime": EARLY}
    assert "kustomize-controller applies it" in waits(seen(git(), kustomization(OLD, stale), release(values={})))


@pytest.mark.parametrize(("handled", "is_ours"), [("t1", True), ("", False)])
def test_a_failure_of_the_same_second_counts_once_it_was_asked_for(handled: str, is_ours: bool) -> None:
    gone = ready("False", "ArtifactFailed", "kustomization path not found: stat /x: no such file or directory", since=STORED)
    found = seen(git(), kustomization(OLD, gone, handled=handled), release(values={}))
    found.asked[TARGET.applier] = ("t1", 0.0)
    assert isinstance(lasting(found, 9.0), Failure) == is_ours


def test_a_dependency_is_what_is_waited_for() -> None:
    depends = ready("False", "DependencyNotReady", "dependency 'flux-system/infrastructure' is not ready")
    line = waits(seen(git(), kustomization(OLD, depends, attempted=COMMIT), release(values={})))
    assert "dependency 'flux-system/infrastructure' is not ready" in line
    assert line.startswith("1111111 is fetched")


def test_a_kustomization_of_another_source_is_not_waited_for() -> None:
    said = judge(seen(git(), kustomization(OLD, follows="other"), release()), 0.0)
    assert isinstance(said, Failure)
    assert said.kind == "absent"
    assert "GitRepository flux-system/other" in said.what


def test_a_release_that_the_commit_did_not_make_is_named() -> None:
    found = seen(git(), kustomization())
    assert isinstance(judge(found, 0.0), str)
    assert "no HelmRelease shop/web" in failed(found).what


def test_f04_retries_exhausted_comes_with_the_exact_remedy() -> None:
    failing = "Helm upgrade failed for release shop/web with chart web@0.1.0: context deadline exceeded"
    found = seen(git(), kustomization(), release(
        ready("True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)", 2, kind="Stalled"),
        ready("False", "UpgradeFailed", failing, 2), ready("False", "UpgradeFailed", failing, 2, kind="Released"),
    ))  # fmt: skip
    said = failed(found)
    assert said.kind == "retries"
    assert "failed to upgrade after 1 attempt(s)" in said.what
    assert said.cause == "context deadline exceeded"
    assert "flux reconcile helmrelease web -n shop --force --reset" in said.mend
    assert "reconcile.fluxcd.io/forceAt=$at reconcile.fluxcd.io/resetAt=$at" in said.mend


def test_f03_what_a_release_complains_of_before_the_commit_is_applied_is_not_of_the_commit() -> None:
    """The values may be the same: what is mended is the chart, or a line that the pipeline does not write."""
    complaint = ready("False", "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@0.1.0: values don't meet the "
                      "specifications of the schema(s) in the following chart(s):\nweb:\n- replicas: Invalid type", 2)  # fmt: skip
    assert "kustomize-controller applies it" in waits(seen(git(), kustomization(OLD), release(complaint)))
    assert failed(seen(git(), kustomization(), release(complaint))).kind == "values"


def test_f04_a_release_that_gave_up_what_came_before_is_waited_for() -> None:
    stalled = ready("True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)", 1, kind="Stalled")
    found = seen(git(), kustomization(), release(stalled, ready("False", "UpgradeFailed", "old", 1), observed=1))
    assert "takes it up" in waits(found)


def test_what_helm_does_is_told_with_its_patience() -> None:
    running = ready("True", "Progressing", "Running 'upgrade' action with timeout of 5m0s", 2, kind="Reconciling")
    found = seen(git(), kustomization(), release(running, ready("Unknown", "Progressing", "", 2), observed=1))
    assert waits(found) == "1111111 is applied; helm-controller runs upgrade of web (it gives up after 5m0s)"
    assert rolling(found, 0.0)


def test_a_release_is_told_while_the_kustomization_waits_for_its_health() -> None:
    running = ready("True", "Progressing", "Running 'upgrade' action with timeout of 5m0s", 2, kind="Reconciling")
    found = seen(git(), kustomization(OLD, ready("Unknown", "Progressing", "")), release(running, ready("Unknown", "", "", 2), observed=1),
                 fresh=False)  # fmt: skip
    assert "runs upgrade" in waits(found)


def test_a_rollback_is_waited_for_before_the_failure_is_told() -> None:
    failing = ready("False", "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@0.1.0: context deadline exceeded", 2)
    running = ready("True", "Progressing", "Running 'rollback' action with timeout of 5m0s", 2, kind="Reconciling")
    assert "runs rollback" in waits(seen(git(), kustomization(), release(running, failing, observed=1)))
    done = ready("True", "RollbackSucceeded", "Helm rollback to previous release shop/web.v3 succeeded", 2, kind="Remediated")
    said = failed(seen(git(), kustomization(), release(failing, {**failing, "type": "Released"}, done)))
    assert (said.kind, said.touched, said.remediated) == ("rollout", True, True)


def test_values_that_the_schema_refuses_touch_nothing() -> None:
    message = (
        "Helm upgrade failed for release shop/web with chart web@0.1.0: values don't meet the specifications of the schema(s) in the "
        "following chart(s):\nweb:\n- at '/replicas': got string, want integer\n"
    )
    more = ready("True", "ProgressingWithRetry", message, 2, kind="Reconciling")
    said = failed(seen(git(), kustomization(), release(more, ready("False", "UpgradeFailed", message, 2), config="sha256:refused")))
    assert (said.kind, said.touched) == ("values", False)
    assert "at '/replicas': got string, want integer" in said.cause
    assert "Helm upgrade failed" not in said.cause


def test_a_rollout_that_helm_tries_again_is_waited_for() -> None:
    message = "Helm upgrade failed for release shop/web with chart web@0.1.0: context deadline exceeded"
    more = ready("True", "ProgressingWithRetry", message, 2, kind="Reconciling")
    line = waits(seen(git(), kustomization(), release(more, ready("False", "UpgradeFailed", message, 2))))
    assert line.endswith("; helm-controller tries again")


def test_with_strategy_revision_the_chart_of_the_commit_is_waited_for() -> None:
    found = seen(git(), kustomization(), release(strategy="Revision", attempted=f"0.1.0+{OLD[:12]}"))
    assert "waits for its chart" in waits(found)
    chart = Ref("HelmChart", "flux-system", "shop-web")
    found.chart = State(chart, revision=f"0.1.0+{OLD[:12]}")
    assert "made anew from 1111111" in waits(found)
    found.chart = State(chart, revision=f"0.1.0+{COMMIT[:12]}")
    assert "takes up the chart" in waits(found)
    done = seen(git(), kustomization(), release(strategy="Revision", attempted=f"0.1.0+{COMMIT[:12]}"))
    done.chart = found.chart
    assert isinstance(judge(done, 0.0), Settled)
    tried = release(strategy="Revision", attempted=f"0.1.0+{COMMIT[:12]}")
    tried["status"]["history"][0]["chartVersion"] = f"0.1.0+{OLD[:12]}"
    early = seen(git(), kustomization(), tried)
    early.chart = found.chart
    assert "releases the chart of" in waits(early), "ready still says so of the chart before"


def test_a_controller_that_is_silent_is_named() -> None:
    found = seen(git(OLD), kustomization(OLD), release(values={}))
    found.asked[TARGET.git] = ("t1", 0.0)
    assert "source-controller has not looked at GitRepository flux-system/fade for more than 10 s" in waits(found)


def test_what_is_not_wanted_may_be_anything() -> None:
    assert differing({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}) == ""
    assert differing({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}) == "a.b is [1, 2], [1] was committed"
    assert differing({"a": {"b": 1}}, {"a": "x"}) == "a is no mapping"


def test_a_complaint_is_believed_once_its_controller_was_asked_again() -> None:
    """A reconciliation of the spec before may end with a status that claims to be of the spec as it is."""
    failing = ready("False", "UpgradeFailed", "values don't meet the specifications of the schema(s)", 2)
    found = seen(git(), kustomization(), release(failing, observed=1, handled="t2"))
    assert "the chart refuses the values" in str(judge(found, 10.0))
    assert found.doubts == {TARGET.helm: 10.0}
    found.asked[TARGET.helm] = ("t1", 11.0)
    assert isinstance(judge(found, 12.0), str), "it has not answered"
    found.asked[TARGET.helm] = ("t2", 11.0)
    assert isinstance(judge(found, 12.5), Failure)


def test_a_complaint_that_goes_away_when_asked_again_was_of_before() -> None:
    failing = ready("False", "UpgradeFailed", "values don't meet the specifications of the schema(s)", 2)
    found = seen(git(), kustomization(), release(failing, observed=1))
    judge(found, 10.0)
    found.asked[TARGET.helm] = ("t1", 11.0)
    found.objects[TARGET.helm] = release(handled="t1")
    assert isinstance(judge(found, 12.0), Settled)
    assert found.doubts == {}


def test_who_may_not_ask_believes_a_complaint_that_stays() -> None:
    failing = ready("False", "UpgradeFailed", "values don't meet the specifications of the schema(s)", 2)
    found = seen(git(), kustomization(), release(failing, observed=1))
    found.asked[TARGET.helm] = None
    assert isinstance(judge(found, 0.0), str)
    assert isinstance(judge(found, PATIENCE - 0.1), str)
    assert isinstance(judge(found, PATIENCE + 0.1), Failure)
    assert found.doubts == {}


def test_f03_nothing_that_will_not_pass_is_waited_for_longer_than_ten_seconds() -> None:
    assert max(*GRACE.values(), PATIENCE, SILENT) <= 10


@pytest.mark.parametrize("generation", [1, 2])
def test_f04_a_release_at_work_has_not_given_up_whatever_stands_there_from_before(generation: int) -> None:
    stalled = ready("True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)", generation, kind="Stalled")
    running = ready("True", "Progressing", "Running 'upgrade' action with timeout of 5m0s", 2, kind="Reconciling")
    found = seen(git(), kustomization(), release(stalled, running, ready("Unknown", "Progressing", "", 2), observed=1))
    assert "runs upgrade" in waits(found)


def test_a_chart_that_cannot_be_made_of_this_commit_fails_it_though_the_release_stays_ready() -> None:
    """The HelmRelease keeps the chart before, and says that it is ready (recorded: chart-version)."""
    broken = Sign("False", "ChartPackageError", "chart package error: validation: chart.metadata.version is invalid", 1)
    chart = State(Ref("HelmChart", "flux-system", "shop-web"), ready=broken, revision=f"0.1.0+{OLD[:12]}", attempted=f"main@sha1:{COMMIT}")
    found = seen(git(), kustomization(), release(strategy="Revision", attempted=f"0.1.0+{OLD[:12]}"))
    found.chart = chart
    said = failed(found)
    assert (said.kind, said.what) == ("chart", "the chart is malformed")
    older = seen(git(), kustomization(), release(strategy="Revision", attempted=f"0.1.0+{OLD[:12]}"))
    older.chart = dataclasses.replace(chart, attempted=f"main@sha1:{OLD}")
    assert waits(older) == "the chart is malformed", "that was the chart of an older commit"


def test_f04_a_release_that_gave_up_and_was_looked_at_again_is_not_at_work() -> None:
    """Its Ready is Unknown from then on (recorded: hr-broken-image-stalled)."""
    stalled = ready("True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)", 2, kind="Stalled")
    waiting = ready("Unknown", "Progressing", "Fulfilling prerequisites", 2)
    said = failed(seen(git(), kustomization(), release(stalled, waiting, ready("False", "UpgradeFailed", "x", 2, kind="Released"))))
    assert said.kind == "retries"
