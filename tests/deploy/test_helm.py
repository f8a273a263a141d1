"""The driver whole, on an API and a helm of the test's own: what it asks, calls, repairs and takes back."""

from __future__ import annotations

import base64
import copy
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import shared
from pipeline.deploy.back import back
from pipeline.deploy.helm import DRIVER, find, live, make, undo
from pipeline.deploy.holder import BEGUN, Begun, Holder
from pipeline.deploy.lease import Lease
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.deploy.work import Work, at_work
from pipeline.errors import (
    AuthError,
    Cancelled,
    ConfigError,
    IntegrityError,
    Locked,
    NotRolledBack,
    ResourceError,
    RolledBack,
    Transient,
)
from pipeline.events import Event, What
from pipeline.host import Output
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Cluster as ClusterSpec
from pipeline.stage import Registry, Site
from pipeline.testing import FakeHost
from pipeline.tools.helm_stored import packed
from pipeline.tools.kube import connect, path
from tests.deploy.cluster import NAMESPACE, RELEASE, WEB, Cluster, workload
from tests.deploy.conftest import CRICTL, KEY


def images(letter: str = "a") -> Images:
    source = Source("7e" * 20, letter * 40, False, "/w")
    return Images(source, (Image("reg.test:5000/team/web", f"sha256:{letter * 64}", letter * 7),))


def spec(**options: Any) -> Helm:
    values: dict[str, Any] = {"image": {"repository": "{repository}", "digest": "{digest}"}, "commit": "{commit}"}
    values |= {key: options.pop(key) for key in ("app", "objects") if key in options}
    return Helm("lab", NAMESPACE, RELEASE, values=values, deadline=10.0, **options)


def test_the_driver_takes_images_and_gives_a_release() -> None:
    assert (DRIVER.takes.kind, DRIVER.gives.kind, DRIVER.spec) == ("images", "release", Helm)


def test_d07_made_once_found_by_two_requests_and_no_helm(site: Site, cluster: Cluster) -> None:
    assert find(spec(), images(), site).why == "nothing is deployed yet"
    made = make(spec(), images(), site)
    asked = len(cluster.fake.asked)
    for _ in range(20):
        assert find(spec(), images(), site).artifact == made
    assert len(cluster.fake.asked) - asked == 40
    assert len(cluster.calls("upgrade")) == 1
    release = live(spec(), site)
    assert release is not None
    assert (release.source.commit, release.images[0].digest) == ("a" * 40, "sha256:" + "a" * 64)


def test_the_release_says_who_made_it_and_with_which_fence(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    labels = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")]["metadata"]["labels"]
    assert labels["commit"] == "a" * 40
    assert labels["fence"] == "1"
    assert labels["rollout"] == "complete"
    make(spec(), images("b"), site)
    labels = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v2")]["metadata"]["labels"]
    assert labels["fence"] == "2"


def test_names_of_fields_are_checked_where_chart_or_values_took_another_shape_and_once(site: Site, cluster: Cluster) -> None:
    unchecked = "--disable-openapi-validation"
    make(spec(), images(), site)
    make(spec(), images("b"), site)
    other = dataclasses.replace(spec(), values={**spec().values, "debug": "yes"})
    make(other, images("c"), site)
    (site.root / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.1\n")
    make(other, images("d"), site)
    assert [unchecked in argv for argv in cluster.calls("upgrade")] == [False, True, False, False]


def test_d04_what_crashes_is_explained_and_taken_back(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec(), images("b"), site)
    assert caught.value.cause == "web-2-a: container app ends with exit code 3, 2 restarts: cannot bind the port"
    assert "cannot bind the port" in (site.root / caught.value.log).read_text()
    assert find(spec(), images(), site).artifact is not None
    assert [argv[-1] for argv in cluster.calls("rollback")] == ["1"]


def test_a_first_release_that_verification_refused_is_no_way_back_though_its_pods_run(site: Site, cluster: Cluster) -> None:
    made = make(spec(), images(), site)
    with pytest.raises(NotRolledBack, match="verify failed; nothing was good before revision 1"):
        undo(spec(), made, site, "verify failed")
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(NotRolledBack, match="nothing was good before revision 2"):
        make(spec(), images("b"), site)
    assert cluster.calls("rollback") == []


def test_a_revision_that_failed_is_never_gone_back_to(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    cluster.behaviour |= {"sha256:" + letter * 64: "crash" for letter in "bc"}
    for letter in "bc":
        with pytest.raises(RolledBack):
            make(spec(), images(letter), site)
    assert [argv[-1] for argv in cluster.calls("rollback")] == ["1", "3"]
    assert find(spec(), images(), site).artifact is not None


def test_rollback_never_leaves_it_and_says_how_to_go_back(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    cluster.behaviour["sha256:" + "b" * 64] = "pull"
    with pytest.raises(NotRolledBack, match="revision 2 is left as it is") as caught:
        make(spec(rollback="never"), images("b"), site)
    assert caught.value.exit_code == 17
    assert "rollback" in caught.value.mend
    assert "-- web 1" in caught.value.mend
    assert cluster.calls("rollback") == []


def test_a_first_install_that_fails_is_left_and_deleted_by_nobody(site: Site, cluster: Cluster) -> None:
    """Whatever there is may hold data, or serve: what was good before is gone back to, nothing is taken away."""
    cluster.behaviour["sha256:" + "a" * 64] = "pull"
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    with pytest.raises(NotRolledBack, match="left as it is: PersistentVolumeClaim/data, Deployment/web") as caught:
        make(spec(objects=[volume]), images(), site)
    assert caught.value.mend.endswith("-- web"), "the command by which a person takes it away"
    assert WEB in cluster.fake.objects
    assert cluster.calls("uninstall") == []
    assert make(spec(), images("b"), site).revision == 2


def test_what_served_but_was_never_seen_whole_outlives_a_bad_commit(site: Site, cluster: Cluster) -> None:
    """A first release whose client was killed while it waited, then a commit that crashes: the pods of the first one serve on."""
    claim = path("v1", "persistentvolumeclaims", NAMESPACE, "data")
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    with_volume = spec(objects=[volume])
    make(with_volume, images(), site)
    connect(site, "lab").merge(
        path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1"), {"metadata": {"labels": {"rollout": "started"}}}
    )
    held = cluster.fake.objects[WEB]
    cluster.fake.put(WEB, {**held, "status": {**held["status"], "replicas": 2}})  # a second pod, which no node takes
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(NotRolledBack, match="nothing was good before revision 2"):
        make(with_volume, images("b"), site)
    assert claim in cluster.fake.objects
    assert WEB in cluster.fake.objects
    assert cluster.calls("uninstall") == []


def test_a_volume_that_the_failed_release_brought_is_kept_on_the_way_back(site: Site, cluster: Cluster, events: list[Event]) -> None:
    make(spec(), images(), site)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    more: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}},
    ]
    known = [{"name": each["kind"].lower() + "s", "kind": each["kind"], "namespaced": True} for each in more]
    cluster.fake.objects["/api/v1"] = {"kind": "APIResourceList", "metadata": {}, "resources": known}
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(objects=more), images("b"), site)
    assert path("v1", "persistentvolumeclaims", NAMESPACE, "data") in cluster.fake.objects
    assert path("v1", "configmaps", NAMESPACE, "extra") not in cluster.fake.objects
    assert any("PersistentVolumeClaim/data is not part of revision 1, and is left" in event.text for event in events)


QUOTA = 'Error: UPGRADE FAILED: services "more" is forbidden: exceeded quota: q, requested: count/services=1, used: count/services=1'
RIGHT = (
    'Error: UPGRADE FAILED: configmaps "web" is forbidden: User "u" cannot patch resource "configmaps" in API group "" in the namespace "s"'
)
HALF = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}


@pytest.mark.parametrize(
    "text", [QUOTA, RIGHT, "Error: UPGRADE FAILED: failed pre-upgrade: timed out waiting for the condition", "Error: of a new kind"]
)
def test_d22_whatever_helm_fails_of_half_a_release_is_taken_back(site: Site, cluster: Cluster, text: str) -> None:
    """The ConfigMap is new, the Deployment old: that is no wrong input, and no missing right, but a deploy that failed."""
    make(spec(objects=[{**HALF, "data": {"A": "old"}}]), images(), site)
    cluster.fail("upgrade", {"left": "failed", "objects": 1, "text": text})
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec(objects=[{**HALF, "data": {"A": "new"}}]), images("b"), site)
    assert caught.value.cause == text
    assert cluster.fake.objects[path("v1", "configmaps", NAMESPACE, "web")]["data"] == {"A": "old"}
    assert find(spec(objects=[{**HALF, "data": {"A": "old"}}]), images(), site).artifact is not None


def test_d22_a_quota_is_told_as_one(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    cluster.fail("upgrade", {"left": "failed", "text": QUOTA}, {"left": "nothing", "text": QUOTA})
    with pytest.raises(RolledBack, match="quota q of the namespace is used up; revision 1 serves again") as caught:
        make(spec(), images("b"), site)
    assert "resourcequota" in caught.value.mend
    with pytest.raises(ResourceError, match=r"quota q of the namespace is used up$"):
        make(spec(), images("b"), site)


def test_d22_a_fault_that_passes_is_taken_back_and_tried_again(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    text = 'Error: UPGRADE FAILED: Post "https://10.0.0.1:6443/api/v1/x": read tcp 10.0.0.2:5->10.0.0.1:6443: connection reset by peer'
    cluster.fail("upgrade", {"left": "pending-upgrade", "text": text}, {"left": "deployed", "text": text})
    with pytest.raises(Transient, match="the Kubernetes API does not answer; revision 1 serves again"):
        make(spec(), images("b"), site)
    assert find(spec(), images(), site).artifact is not None
    assert make(spec(), images("c"), site).revision == 4, "it was whole: only its answer was lost"


def test_d22_a_first_release_that_stops_halfway_is_gone_on_from(site: Site, cluster: Cluster) -> None:
    text = "Error: INSTALLATION FAILED: read tcp 10.0.0.2:5->10.0.0.1:6443: read: connection reset by peer"
    cluster.fail("upgrade", {"left": "pending-install", "text": text}, {"left": "pending-install", "text": "Error: of a new kind"})
    with pytest.raises(Transient, match=r"the Kubernetes API does not answer$"):
        make(spec(), images(), site)
    with pytest.raises(NotRolledBack, match="nothing was good before revision 2"):
        make(spec(), images(), site)
    assert make(spec(), images(), site).revision == 3


def test_d19_stopped_while_helm_writes_is_looked_at_and_taken_back(
    site: Site, cluster: Cluster, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(spec(objects=[{**HALF, "data": {"A": "old"}}]), images(), site)
    cluster.fail("upgrade", {"left": "pending-upgrade", "objects": 1, "wait": 30})
    held = Lease.check

    def check(lease: Lease) -> None:
        held(lease)
        if any(event.text == "helm is at work" for event in events):
            monkeypatch.setattr(Lease, "check", held)
            raise KeyboardInterrupt

    monkeypatch.setattr(Lease, "check", check)
    with pytest.raises(Cancelled, match="the deploy was stopped; revision 1 serves again") as caught:
        make(spec(objects=[{**HALF, "data": {"A": "new"}}]), images("b"), site)
    assert caught.value.exit_code == 130
    assert cluster.fake.objects[path("v1", "configmaps", NAMESPACE, "web")]["data"] == {"A": "old"}
    assert find(spec(objects=[{**HALF, "data": {"A": "old"}}]), images(), site).artifact is not None


def test_d19_stopped_while_the_pods_start_is_told_with_what_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: Any, **_options: Any) -> Any:
        raise Cancelled("stopped by SIGTERM", signal=signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Work, "follow", stop)
        with pytest.raises(Cancelled, match="stopped while the pods of revision 1 start, which goes on: inv deploy waits") as caught:
            make(spec(), images(), site)
    assert caught.value.exit_code == 143
    assert make(spec(), images(), site).revision == 1


def test_x09_a_way_back_outlasts_faults_that_pass(site: Site, cluster: Cluster, events: list[Event]) -> None:
    """helm is refused three times, the last time after it had gone back; then the API itself fails for a while."""
    make(spec(), images(), site)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    text = "Error: dial tcp 10.0.0.1:6443: connect: connection refused"
    cluster.fail(
        "rollback", {"left": "nothing", "text": text}, {"left": "pending-rollback", "text": text}, {"left": "deployed", "text": text}
    )
    refused: list[str] = []

    def fault(method: str, target: str) -> Any:
        if sum(event.what is What.RETRY for event in events) >= 3 and len(refused) < 6:
            refused.append(f"{method} {target}")
            return "drop"
        return None

    cluster.fake.fault = fault
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(), images("b"), site)
    assert len(cluster.calls("rollback")) == 3, "the third one had done it: it is found, and not called again"
    assert any(event.what is What.RETRY and event.text.startswith("going back: the Kubernetes API does not answer") for event in events)
    assert find(spec(), images(), site).artifact is not None


def test_x09_a_lock_that_lapsed_while_the_cluster_was_away_does_not_end_a_way_back(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    cluster.fail("rollback", {"left": "nothing", "text": "Error: dial tcp 10.0.0.1:6443: connect: connection refused"})
    lapsed: list[Lease] = []

    def hear(event: Event) -> None:
        if event.what is What.RETRY:
            lapsed.extend(each for each in site.shared.values() if isinstance(each, Lease))
            lapsed[-1].lost = "it could not be renewed for 12 s"

    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(), images("b"), dataclasses.replace(site, sink=hear))
    assert [each.lost for each in lapsed] == [""]


def test_d14_another_image_by_hand_is_said_and_put_right(site: Site, cluster: Cluster, events: list[Event]) -> None:
    make(spec(), images(), site)
    edited = cluster.fake.objects[WEB]
    edited = {**edited, "spec": {**edited["spec"], "template": {**edited["spec"]["template"],
              "spec": {"containers": [{"name": "app", "image": "reg.test:5000/team/web:latest"}]}}}}  # fmt: skip
    cluster.fake.put(WEB, edited)
    why = find(spec(), images(), site).why
    assert 'deployments/web was edited: spec.template.spec.containers[app].image is "reg.test:5000/team/web:latest", "reg.test' in why
    make(spec(), images(), site)
    assert find(spec(), images(), site).artifact is not None
    assert any(event.what is What.WARN and "the blueprint wins" in event.text for event in events)


PLAIN = path("v1", "secrets", NAMESPACE, "web-env")
ENV = SecretSpec("web-env", {"KEY": "value:key"})
NAMED = {"envFrom": [{"secretRef": {"name": "{secret.name}"}}]}


def rotated(site: Site, value: str = "bmV3LXNlY3JldA") -> Site:
    """The same site with another secret, as another process has it: nothing is remembered but the connection."""
    return dataclasses.replace(site, secrets=Secrets({"KEY": value}), shared={"kube:lab": connect(site, "lab")})


def named(cluster: Cluster) -> str:
    """The Secret that the Deployment's pods take their environment from, by its content."""
    container = cluster.fake.objects[WEB]["spec"]["template"]["spec"]["containers"][0]
    held = cluster.fake.objects[path("v1", "secrets", NAMESPACE, container["envFrom"][0]["secretRef"]["name"])]
    assert held["immutable"] is True
    return base64.b64decode(held["data"]["KEY"]).decode()


def plain(cluster: Cluster) -> str:
    return base64.b64decode(cluster.fake.objects[PLAIN]["data"]["KEY"]).decode()


def versions(cluster: Cluster) -> list[str]:
    """The contents of which there is a Secret that no other takes the place of."""
    found = cluster.fake.listed(path("v1", "secrets", NAMESPACE), "pipeline/secret-of=web")
    return sorted(base64.b64decode(each["data"]["KEY"]).decode() for each in found)


def test_d14_a_secret_that_somebody_deleted_is_told_and_made_again(site: Site, cluster: Cluster) -> None:
    own = spec(secret=ENV, app=NAMED)
    made = make(own, images(), site)
    assert find(own, images(), site).artifact == made
    container = cluster.fake.objects[WEB]["spec"]["template"]["spec"]["containers"][0]
    name = container["envFrom"][0]["secretRef"]["name"]
    place = path("v1", "secrets", NAMESPACE, name)
    cluster.fake.drop(place)
    said = f"Secret/{name} is gone: its pods cannot start again"
    assert list(shared.standing(own, site).edited()) == [said]
    assert find(own, images(), site).why == said
    make(own, images(), site)
    assert place in cluster.fake.objects
    assert find(own, images(), site).artifact is not None


def test_x10_the_secret_goes_back_with_its_revision(site: Site, cluster: Cluster) -> None:
    make(spec(secret=ENV, app=NAMED), images(), site)
    first = cluster.fake.objects[PLAIN]["data"]
    version = cluster.fake.objects[PLAIN]["metadata"]["resourceVersion"]
    make(spec(secret=ENV, app=NAMED), images("b"), site)
    assert cluster.fake.objects[PLAIN]["metadata"]["resourceVersion"] == version
    cluster.behaviour["sha256:" + "c" * 64] = "crash"
    with pytest.raises(RolledBack):
        make(spec(secret=ENV, app=NAMED), images("c"), rotated(site))
    assert cluster.fake.objects[PLAIN]["data"] == first
    assert (named(cluster), plain(cluster)) == (KEY, KEY)
    assert KEY not in cluster.log.read_text()
    assert not any(KEY in file.read_text(errors="replace") for file in site.root.rglob("*.json"))


@pytest.mark.parametrize("app", [NAMED, {}], ids=["by its version", "by its plain name"])
def test_x10_a_secret_that_a_killed_run_changed_goes_back_in_another_process(site: Site, cluster: Cluster, app: dict[str, Any]) -> None:
    make(spec(secret=ENV, app=app), images(), site)
    pid = os.fork()
    if pid == 0:
        os.environ["FAILPOINT"] = "deploy.secret:kill"
        try:
            make(
                spec(secret=ENV, app=app),
                images("b"),
                dataclasses.replace(rotated(site), shared={}, records=Records(site.root / "other.db")),
            )
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    assert plain(cluster) == "bmV3LXNlY3JldA"
    cluster.behaviour["sha256:" + "c" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(secret=ENV, app=app), images("c"), rotated(site))
    assert plain(cluster) == KEY
    assert not app or named(cluster) == KEY


def test_x10_a_person_goes_back_with_the_secret(site: Site, cluster: Cluster) -> None:
    make(spec(secret=ENV, app=NAMED), images(), site)
    other = rotated(site)
    make(spec(secret=ENV, app=NAMED), images("b"), other)
    assert (named(cluster), plain(cluster)) == ("bmV3LXNlY3JldA", "bmV3LXNlY3JldA")
    with back(spec(secret=ENV, app=NAMED), "1", False, rotated(site, "of no account")) as way:
        assert way.go is not None
        way.go()
    assert (named(cluster), plain(cluster)) == (KEY, KEY)


def test_x10_what_a_person_had_in_the_secret_is_kept_for_the_revision_before(site: Site, cluster: Cluster, events: list[Event]) -> None:
    """The revision before was made when revisions did not say which content they have, and with bytes that are no text."""
    by_hand = base64.b64encode(b"\xff by hand").decode()
    make(spec(), images(), site)
    cluster.fake.put(PLAIN, {"metadata": {"name": "web-env"}, "data": {"KEY": by_hand, "theirs": "eA=="}})
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(secret=ENV), images("b"), site)
    assert cluster.fake.objects[PLAIN]["data"] == {"KEY": by_hand, "theirs": "eA=="}
    assert not any("stays as it is" in event.text for event in events)


def test_x10_a_refused_release_leaves_no_secret(site: Site, cluster: Cluster) -> None:
    cluster.fail("upgrade", {"left": "nothing", "text": "Error: parse error at (web/templates/a.yaml:1)"})
    with pytest.raises(ConfigError, match="cannot be rendered"):
        make(spec(secret=ENV), images(), site)
    assert PLAIN not in cluster.fake.objects
    assert versions(cluster) == []
    make(spec(secret=ENV), images(), site)
    cluster.fail("upgrade", {"left": "nothing", "text": "Error: parse error at (web/templates/a.yaml:1)"})
    with pytest.raises(ConfigError, match="cannot be rendered"):
        make(spec(secret=ENV), images("b"), rotated(site))
    assert plain(cluster) == KEY
    assert versions(cluster) == [KEY]


def test_x10_a_secret_goes_with_the_last_revision_that_names_it(site: Site, cluster: Cluster) -> None:
    make(spec(secret=ENV, app=NAMED), images(), site)
    make(spec(secret=ENV, app=NAMED), images("b"), rotated(site))
    assert versions(cluster) == sorted([KEY, "bmV3LXNlY3JldA"])
    cluster.fake.drop(path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1"))  # as --history-max does
    theirs = path("v1", "secrets", NAMESPACE, "theirs")
    cluster.fake.put(theirs, {"metadata": {"name": "theirs", "labels": {"pipeline/secret-of": "other"}}})
    make(spec(secret=ENV, app=NAMED), images("c"), rotated(site))
    assert versions(cluster) == ["bmV3LXNlY3JldA"]
    assert theirs in cluster.fake.objects


def test_undo_takes_back_what_this_run_made_and_nothing_else(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    second = make(spec(), images("b"), site)
    third = make(spec(), images("c"), site)
    with pytest.raises(NotRolledBack, match="revision 3 is live by now"):
        undo(spec(), second, site, "verify failed")
    with pytest.raises(RolledBack, match="verify failed; revision 2 serves again"):
        undo(spec(), third, site, "verify failed")
    assert find(spec(), images("b"), site).artifact is not None


def test_d06_no_deploy_without_a_way_back(site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    make(spec(), images(), site)
    monkeypatch.setattr("pipeline.tools.named.client_of", lambda *_: Pruned())
    known = dataclasses.replace(site, registries={"reg": Registry("reg.test:5000")})
    with pytest.raises(IntegrityError, match=r"its image reg\.test:5000/team/web@sha256:aaa"):
        make(spec(), images("b"), known)
    assert len(cluster.calls("upgrade")) == 1
    assert make(spec(rollback="never"), images("b"), known).revision == 2


class Pruned:
    """A registry that has nothing any more."""

    def exists(self, _reference: str) -> bool:
        return False


def test_d01_a_pending_release_is_repaired_under_the_lock(site: Site, cluster: Cluster, events: list[Event]) -> None:
    make(spec(), images(), site)
    leave_pending(cluster, 2, "pending-upgrade")
    assert "pending-upgrade" in find(spec(), images("b"), site).why
    assert make(spec(), images("b"), site).revision == 4
    assert [argv[-1] for argv in cluster.calls("rollback")] == ["1"]
    assert any("left pending-upgrade by a helm that is gone: back to revision 1" in event.text for event in events)


@pytest.mark.parametrize("whose", ["nobody's", "another revision", "another run's label", "another machine", "still at work"])
def test_d02_a_pending_release_that_no_dead_run_of_ours_left_is_never_repaired(site: Site, cluster: Cluster, whose: str) -> None:
    """helm by hand, a CI of another machine, a helm that lives: hands off, exit 13, and the command for who knows better."""
    make(spec(), images(), site)
    tool = subprocess.Popen(["sleep", "600"])
    try:
        if whose == "nobody's":
            leave_pending(cluster, 2, "pending-upgrade", begun=None)
        elif whose == "another revision":
            leave_pending(cluster, 2, "pending-upgrade", begun=Begun(DEAD, "helm upgrade", 1, DEAD))
        elif whose == "another run's label":
            leave_pending(cluster, 2, "pending-upgrade", begun=Begun(DEAD, "helm upgrade", 2, DEAD), run="other")
        elif whose == "another machine":
            leave_pending(cluster, 2, "pending-upgrade", begun=Begun(ELSEWHERE, "helm upgrade", 2, ELSEWHERE))
        else:
            leave_pending(cluster, 2, "pending-upgrade", begun=Begun(DEAD, "helm upgrade", 2).with_tool(tool.pid))
        for attempt in (lambda: make(spec(), images("b"), site), lambda: back(spec(), "", False, site).__enter__()):
            with pytest.raises(Locked) as caught:
                attempt()
            assert caught.value.exit_code == 13
            if whose == "another machine":
                assert "only on elsewhere" in caught.value.cause
            if whose != "still at work":
                assert "revision 2 of web is pending-upgrade since 20" in caught.value.what
                assert re.search(r"helm rollback .*-- web 1, then inv deploy$", caught.value.mend)
            else:
                assert str(tool.pid) in caught.value.cause
    finally:
        tool.kill()
        tool.wait()
    assert cluster.calls("rollback") == []
    assert len(cluster.calls("upgrade")) == 1


def test_d02_a_pending_release_is_waited_for_where_the_run_waits(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    leave_pending(cluster, 2, "pending-upgrade", begun=None)
    where = path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v2")
    threading.Timer(0.5, lambda: connect(site, "lab").delete(where)).start()
    assert make(spec(), images("b"), dataclasses.replace(site, wait=600.0)).revision == 2


def test_d01_a_repair_that_is_cut_short_is_taken_up_by_the_next(site: Site, cluster: Cluster) -> None:
    """Who repairs and dies before its own helm has done anything leaves the older revision pending: what it had proven still holds."""
    make(spec(), images(), site)
    leave_pending(cluster, 2, "pending-upgrade", begun=Begun(DEAD, "helm rollback", 3, DEAD, left=2), run="older")
    assert make(spec(), images("b"), site).revision == 4


def test_d01_a_pending_install_is_gone_on_from_and_nothing_is_deleted(site: Site, cluster: Cluster) -> None:
    leave_pending(cluster, 1, "pending-install")
    deleted = len([method for method, _ in cluster.fake.asked if method == "DELETE"])
    assert make(spec(), images(), site).revision == 2
    assert cluster.calls("uninstall") == []
    assert len([method for method, _ in cluster.fake.asked if method == "DELETE"]) == deleted
    labels = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")]["metadata"]["labels"]
    assert labels["status"] == "failed"


HERE = Holder.here()
DEAD = dataclasses.replace(HERE, pid=2**22 + 1, started="1", run="dead")
ELSEWHERE = Holder("eve", "elsewhere", 7, "1", "otherboot", "1", "dead")
OURS = Begun(DEAD, "helm upgrade", 0, DEAD)


def leave_pending(cluster: Cluster, number: int, status: str, begun: Begun | None = OURS, run: str = "dead") -> None:
    """As a killed helm leaves it, and with it in the lease what the run that started it had written there."""
    labels = {"owner": "helm", "name": RELEASE, "version": str(number), "status": status, "rollout": "started", "run": run}
    if begun is not None:
        said = dataclasses.replace(begun, revision=begun.revision or number)
        lease = {"metadata": {"name": "pipeline-web", "annotations": {BEGUN: str(said)}}, "spec": {"holderIdentity": ""}}
        cluster.fake.put(path("coordination.k8s.io/v1", "leases", NAMESPACE, "pipeline-web"), lease)
    name = f"sh.helm.release.v1.web.v{number}"
    data = {"release": packed({"info": {"status": status}, "manifest": ""})}
    cluster.fake.put(path("v1", "secrets", NAMESPACE, name), {"metadata": {"name": name, "labels": labels}, "data": data})


@pytest.mark.parametrize("point", ["deploy.proven", "deploy.secret", "deploy.upgraded"])
def test_d10_a_run_killed_at_any_step_is_finished_by_the_next(site: Site, cluster: Cluster, point: str) -> None:
    """The killed run is another process; its lock is taken over at once, since its pid is gone from this machine."""
    pid = os.fork()
    if pid == 0:
        os.environ["FAILPOINT"] = f"{point}:kill"
        try:
            make(spec(), images(), dataclasses.replace(site, shared={}, records=Records(site.root / "other.db")))
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert make(spec(), images(), site).revision == 1
    assert len(cluster.calls("upgrade")) == 1
    assert find(spec(), images(), site).artifact is not None


def test_what_is_refused_leaves_neither_namespace_nor_lock(site: Site, cluster: Cluster) -> None:
    cluster.fake.drop(path("v1", "namespaces", name=NAMESPACE))
    wrong = dataclasses.replace(spec(create_namespace=True), values={"image": "{nope}"})
    before = dict(cluster.fake.objects)
    assert DRIVER.exclusive is not None
    with pytest.raises(ConfigError, match=r"\{nope\} is not known"), DRIVER.exclusive(wrong, images(), site):
        pass
    with pytest.raises(ConfigError, match=r"\{nope\} is not known"):
        make(wrong, images(), site)
    assert cluster.fake.objects == before


def test_d12_namespaces_that_are_missing_or_going_are_told(site: Site, cluster: Cluster) -> None:
    where = path("v1", "namespaces", name=NAMESPACE)
    cluster.fake.put(where, {"metadata": {"name": NAMESPACE}, "status": {"phase": "Terminating"}})
    with pytest.raises(ConfigError, match="is being deleted"):
        make(spec(), images(), site)
    cluster.fake.drop(where)
    assert DRIVER.present is not None
    with pytest.raises(ConfigError, match="has no namespace shop"):
        DRIVER.present(spec(), site)
    DRIVER.present(spec(create_namespace=True), site)
    assert where not in cluster.fake.objects, "a look makes nothing"
    with pytest.raises(ConfigError, match="has no namespace shop"):
        make(spec(), images(), site)
    assert make(spec(create_namespace=True), images(), site).revision == 1


def test_what_the_chart_says_of_a_release_is_told_once_it_serves(site: Site, cluster: Cluster, events: list[Event]) -> None:
    make(spec(), images(), site)
    told = [event.text for event in events]
    assert told.index("answers at http://web.example") > told.index("DESCRIPTION: done")
    assert told[-1] == "answers at http://web.example", "behind the rollout"
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    events.clear()
    with pytest.raises(RolledBack):
        make(spec(), images("b"), site)
    assert not any("answers at" in event.text for event in events)


def test_the_pull_is_proved_on_the_node_by_digest_before_each_release(site: Site, node: FakeHost) -> None:
    make(spec(), images(), site)
    (argv,) = node.argvs
    assert argv[:2] == ("sh", "-c")
    assert argv[3:] == ("pull", images().images[0].reference, *CRICTL)
    make(spec(), dataclasses.replace(images(), source=Source("8f" * 20, "d" * 40, False, "/w")), site)
    assert len(node.calls) == 2, "what a node had it may have lost"


def test_d03_a_pull_that_fails_stops_everything_before_helm(site: Site, node: FakeHost, cluster: Cluster) -> None:
    node.on(("sh",), Output(1, b"", b'E1 run.go:72] err="failed to pull image: http: server gave HTTP response to HTTPS client"'))
    with pytest.raises(ConfigError, match="the registry speaks HTTP") as caught:
        make(spec(), images(), site)
    assert 'endpoint:\n        - "http://reg.test:5000"' in caught.value.mend
    assert cluster.calls("upgrade") == []


def test_pull_script_skips_what_is_there_and_keeps_the_exit_code(tmp_path: Path) -> None:
    script = (Path(__file__).parents[2] / "pipeline" / "deploy" / "pull.sh").read_text()
    tool = tmp_path / "crictl"
    tool.write_text(
        '#!/bin/sh\n[ "$2" = "inspecti" ] && [ "$3" = there ] && exit 0\n[ "$2" = pull ] && echo "pulls $3" && exit 4\nexit 1\n'
    )
    tool.chmod(0o755)

    def run(image: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", script, "pull", image, str(tool), "--x"], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert run("there") == (0, "present\n")
    assert run("a;touch /tmp/p $(id)") == (4, "pulls a;touch /tmp/p $(id)\n")


def test_d08_a_wrong_token_and_a_dead_server_are_told_apart(site: Site, cluster: Cluster) -> None:
    wrong = dataclasses.replace(site, clusters={"lab": ClusterSpec(str(cluster.fake.kubeconfig("wrong", token="nope")))}, shared={})
    with pytest.raises(AuthError):
        find(spec(), images(), wrong)
    connect(wrong, "lab").close()
    cluster.fake.stop()
    with pytest.raises(Transient):
        find(spec(), images(), site)


def test_l02_helm_is_not_called_once_the_lock_is_lost(site: Site, cluster: Cluster, node: FakeHost) -> None:
    def steal(_cmd: Any) -> Output:
        cluster.steal()
        return Output(0)

    node.on(("sh",), steal)
    with pytest.raises(Locked, match="another run took it over"):
        make(spec(), images(), site)
    assert cluster.calls("upgrade") == []


@pytest.mark.parametrize("step", ["go_back", "give_up", "note_good"])
def test_l02_nothing_is_written_once_the_lock_is_lost_in_between(site: Site, cluster: Cluster, step: str) -> None:
    make(spec(secret=ENV), images(), site)
    new = rotated(site)
    make(spec(secret=ENV), images("b"), new)
    assert DRIVER.exclusive is not None
    with DRIVER.exclusive(spec(secret=ENV), images(), new), at_work(spec(secret=ENV), new) as work:
        cluster.steal()
        before = copy.deepcopy(cluster.fake.objects)
        given: tuple[Any, ...] = {"go_back": (1,), "give_up": (2,), "note_good": (2, {})}[step]
        with pytest.raises(Locked, match="another run took it over"):
            getattr(work, step)(*given)
        assert cluster.fake.objects == before
    assert cluster.calls("rollback") == []


def test_the_look_loads_nothing_that_only_acts() -> None:
    acting = ["pipeline.deploy.lease", "pipeline.deploy.rollout", "kubernetes", "paramiko", "tenacity", "concurrent.futures"]
    text = f"import sys, pipeline.deploy.helm; print(sorted(set(sys.modules) & set({acting})))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("marks", [{"app.kubernetes.io/name": "podinfo"}, {"app": "x"}, {"tier": "back"}])
def test_a_chart_without_the_label_of_helms_conventions_comes_up_and_is_found(site: Site, cluster: Cluster, marks: dict[str, str]) -> None:
    """As podinfo's public chart. One that crashes is explained by its own pods, and taken back."""
    cluster.chart(workload(labels=marks), workload("worker", labels={**marks, "part": "worker"}))
    made = make(spec(), images(), site)
    assert find(spec(), images(), site).artifact == made
    assert live(spec(), site) is not None
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec(), images("b"), site)
    assert "ends with exit code 3" in caught.value.cause


def test_a_workload_in_another_namespace_is_followed_there(site: Site, cluster: Cluster) -> None:
    cluster.chart(workload(), workload("far", labels={"app": "far"}, namespace="elsewhere"))
    made = make(spec(), images(), site)
    assert find(spec(), images(), site).artifact == made
    cluster.fake.drop(path("apps/v1", "deployments", "elsewhere", "far"))
    assert find(spec(), images(), site).why == "deployments/far is gone"


def test_what_somebody_elses_pods_do_is_nobodys_fault_here(site: Site, cluster: Cluster) -> None:
    """Pods that carry the same labels, and belong to another ReplicaSet, are not the release's."""
    alien = {"metadata": {"name": "alien", "labels": {"app": "web"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "other-1"}]},
             "status": {"phase": "Running", "containerStatuses": [{"name": "x", "restartCount": 9, "state": {"waiting": {}}}]}}  # fmt: skip
    cluster.fake.put(path("v1", "pods", NAMESPACE, "alien"), alien)
    assert make(spec(), images(), site).revision == 1


def test_a_revision_that_cannot_be_read_is_unknown_and_nothing_is_done(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    secret = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")]
    secret["metadata"]["annotations"] = {}
    secret["data"] = {"release": "not a release"}
    with pytest.raises(IntegrityError, match="cannot be read"):
        make(spec(), images("b"), site)
    assert len(cluster.calls("upgrade")) == 1


def test_who_may_not_see_the_namespace_deploys_into_it_all_the_same(site: Site, cluster: Cluster) -> None:
    """A role in one namespace need not have `get namespaces`; who has to make it is told."""
    refused: Any = (403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}, {})
    cluster.fake.fault = lambda _method, target: refused if target == f"/api/v1/namespaces/{NAMESPACE}" else None
    assert DRIVER.exclusive is not None
    with DRIVER.exclusive(spec(), images(), site):
        assert make(spec(), images(), site).revision == 1
    with pytest.raises(AuthError), DRIVER.exclusive(dataclasses.replace(spec(), create_namespace=True), images(), site):
        pass


def test_a_release_that_changes_the_name_of_the_commit_alone_says_that_the_pods_are_left_alone(site: Site, events: list[Event]) -> None:
    make(spec(), images(), site)
    later = dataclasses.replace(images(), source=dataclasses.replace(images().source, commit="f" * 40))
    assert make(spec(), later, site).revision == 2
    assert [event.text for event in events if "left alone" in event.text] == [
        "the pods are left alone: revision 2 runs what the one before it ran, and names fffffff"
    ]
    make(spec(), images("b"), site)
    assert len([event for event in events if "left alone" in event.text]) == 1
