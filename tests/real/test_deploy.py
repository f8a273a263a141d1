"""Deploys on the lab: the real Helm, Kubernetes, containerd and registry."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.deploy import shared
from pipeline.deploy.freeze import freeze, thaw
from pipeline.deploy.helm import find, live, make, undo
from pipeline.deploy.holder import BEGUN, Begun, Holder
from pipeline.deploy.lease import Lease
from pipeline.deploy.work import exclusive
from pipeline.errors import Ambiguous, Cancelled, ConfigError, IntegrityError, Locked, NotRolledBack, RolledBack
from pipeline.events import Event, What
from pipeline.lab.realm import break_realm, mend_realm
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.testing import FakeClock
from pipeline.tools.kube import connect, path
from pipeline.tools.kube_objects import notes, template_images, terminating
from tests.real.deploy_parts import APP, CLUSTER, World, archive, image_ids, world

pytestmark = pytest.mark.real
__all__ = ["archive"]
NEVER = 3600.0  # a deadline that pytest's own timeout comes before: what fails has to be seen by its signs


@pytest.fixture
def lab_world(lab: Site, tmp_path: Path, archive: Path) -> Iterator[World]:
    yield from world(lab, tmp_path, archive)


def test_d07_a_release_is_made_once_and_found_ever_after(lab_world: World) -> None:
    images, spec = lab_world.image(), lab_world.spec()
    assert find(spec, images, lab_world.site).why == "nothing is deployed yet"
    made = make(spec, images, lab_world.site)
    assert made.revision == 1
    before = lab_world.kube.requests
    for _ in range(20):
        assert find(spec, images, lab_world.site).artifact == made
    # its revisions, its workloads, its Secret, and its other objects: a Service and an IngressRoute
    assert lab_world.kube.requests - before == 100
    assert [revision.number for revision in lab_world.revisions()] == [1]
    assert live(spec, lab_world.site) is not None
    (runs,) = image_ids(lab_world.pods()).values()
    assert runs[0].endswith(images.images[0].digest) or runs[0] == images.images[0].config


def test_a_change_of_image_is_named_and_deployed(lab_world: World) -> None:
    spec, first, second = lab_world.spec(), lab_world.image(), lab_world.image()
    make(spec, first, lab_world.site)
    why = find(spec, second, lab_world.site).why
    assert first.images[0].digest[:19] in why
    assert second.images[0].digest[:19] in why
    assert make(spec, second, lab_world.site).revision == 2
    seen = live(spec, lab_world.site)
    assert seen is not None
    assert (seen.source.commit, seen.images[0].digest) == (second.source.commit, second.images[0].digest)


def test_d04_a_crash_loop_is_diagnosed_and_the_old_pods_serve_on(lab_world: World, events: list[Event]) -> None:
    good, spec = lab_world.image(), lab_world.spec(restarts=1, deadline=NEVER)
    make(spec, good, lab_world.site)
    bad = lab_world.image(Entrypoint=["/bin/busybox", "sh", "-c", "echo cannot bind the port; exit 3"])
    with pytest.raises(RolledBack) as caught:
        make(spec, bad, lab_world.site)
    assert "exit code 3" in caught.value.cause
    assert "cannot bind the port" in caught.value.cause
    assert "cannot bind the port" in (lab_world.site.root / caught.value.log).read_text()
    (ids,) = image_ids(lab_world.pods()).values()
    assert good.images[0].digest in ids[0] or good.images[0].config == ids[0]
    assert find(spec, good, lab_world.site).artifact is not None
    assert any(event.what is What.WAIT and "pods ready" in event.text for event in events)


def test_d03_a_secret_that_is_missing_is_named_long_before_the_deadline(lab_world: World) -> None:
    spec = lab_world.spec(deadline=NEVER)
    make(spec, lab_world.image(), lab_world.site)
    values = dict(spec.values) | {"secretName": "nowhere"}
    with pytest.raises(RolledBack) as caught:
        make(dataclasses.replace(spec, values=values), lab_world.image(), lab_world.site)
    assert 'secret "nowhere" not found' in caught.value.cause
    assert len(lab_world.pods()) == 1


def test_d03_an_image_that_is_not_there_is_refused_before_helm_is_called(lab_world: World) -> None:
    images = lab_world.image()
    gone = dataclasses.replace(images.images[0], digest="sha256:" + "0" * 64)
    with pytest.raises(IntegrityError, match="does not have it"):
        make(lab_world.spec(), dataclasses.replace(images, images=(gone,)), lab_world.site)
    assert lab_world.revisions() == []


def test_d03_without_the_proof_a_missing_image_fails_fast_and_a_first_install_is_left(lab_world: World) -> None:
    images = lab_world.image()
    gone = dataclasses.replace(images.images[0], digest="sha256:" + "0" * 64)
    with pytest.raises(
        NotRolledBack, match=r"nothing was good before revision 1, so all of it is left as it is: .*Deployment/web"
    ) as caught:
        make(lab_world.spec(pull="skip", deadline=NEVER), dataclasses.replace(images, images=(gone,)), lab_world.site)
    assert "cannot be pulled" in caught.value.cause
    assert "not found" in caught.value.cause
    cluster = lab_world.site.cluster(CLUSTER)
    command = f"uninstall --namespace {lab_world.namespace} --kubeconfig {cluster.kubeconfig} --kube-context {cluster.context} "
    assert command in caught.value.mend, "the kubeconfig of the run is gone when a person reads this"
    assert [one.rollout for one in lab_world.revisions()] == ["failed"]
    assert make(lab_world.spec(), images, lab_world.site).revision == 2


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""


def test_x08_a_volume_that_a_release_brought_outlives_the_way_back(lab_world: World, events: list[Event]) -> None:
    good, spec = lab_world.image(), lab_world.spec()
    make(spec, good, lab_world.site)
    (lab_world.site.root / "chart" / "templates" / "data.yaml").write_text(CLAIM)
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec, lab_world.image(Entrypoint=["/bin/busybox", "sh", "-c", "exit 3"]), lab_world.site)
    claim = path("v1", "persistentvolumeclaims", lab_world.namespace, "data")
    kept = lab_world.kube.get(claim)
    assert kept is not None
    assert "deletionTimestamp" not in kept["metadata"]
    assert any("PersistentVolumeClaim/data is not part of revision 1, and is left" in event.text for event in events)
    assert make(spec, good, lab_world.site).revision == 4, "a release that has it again takes it up again"


def test_d01_an_install_that_was_killed_is_gone_on_from_and_nothing_is_deleted(lab_world: World) -> None:
    spec, data = lab_world.spec(), path("v1", "persistentvolumeclaims", lab_world.namespace, "data")
    (lab_world.site.root / "chart" / "templates" / "data.yaml").write_text(CLAIM)
    make(spec, lab_world.image(), lab_world.site)
    where = path("v1", "secrets", lab_world.namespace, f"sh.helm.release.v1.{APP}.v1")
    first, claim = lab_world.kube.get(where), lab_world.kube.get(data)
    assert first is not None
    assert claim is not None
    labels = {**first["metadata"]["labels"], "status": "pending-install", "rollout": "started"}
    stuck = {"metadata": {"labels": labels}, "data": {"release": as_pending(first["data"]["release"], 1, "pending-install")}}
    lab_world.kube.merge(where, stuck)
    assert make(spec, lab_world.image(), lab_world.site).revision == 2
    kept = lab_world.kube.get(data)
    assert kept is not None
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]


def test_d14_an_edit_by_hand_is_reported_and_put_right(lab_world: World, events: list[Event]) -> None:
    images, spec = lab_world.image(), lab_world.spec()
    make(spec, images, lab_world.site)
    target = path("apps/v1", "deployments", lab_world.namespace, APP)
    patch = ["patch", "deployment", APP, "--type=strategic", "-p",
             '{"spec":{"template":{"spec":{"containers":[{"name":"app","resources":{"limits":{"memory":"80Mi"}}}]}}}}']  # fmt: skip
    kubectl(lab_world, *patch)
    why = find(spec, images, lab_world.site).why
    assert "was edited" in why
    assert "memory" in why
    assert "kubectl-patch" in why
    make(spec, images, lab_world.site)
    found = lab_world.kube.get(target)
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Mi"
    assert find(spec, images, lab_world.site).artifact is not None
    assert any(event.what is What.WARN and "was edited" in event.text for event in events)


def test_d14_what_was_added_by_hand_is_told_and_taken_out(lab_world: World, events: list[Event]) -> None:
    """No apply takes away what it does not name; a release that left it would be refused by its own verification."""
    images, spec = lab_world.image(), lab_world.spec()
    make(spec, images, lab_world.site)
    kubectl(lab_world, "set", "env", f"deploy/{APP}", "FOO=bar")
    kubectl(lab_world, "patch", "configmap", APP, "--type=merge", "-p", '{"data":{"MORE":"by hand"}}')
    assert "env[FOO] was added" in find(spec, images, lab_world.site).why
    make(spec, images, lab_world.site)
    assert find(spec, images, lab_world.site).artifact is not None
    target = path("apps/v1", "deployments", lab_world.namespace, APP)
    names = [each["name"] for each in (lab_world.kube.get(target) or {})["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "FOO" not in names
    assert "IHP_SESSION_SECRET" in names
    said = [event.text for event in events if event.what is What.WARN and event.text.endswith("was added by hand, and is taken out")]
    assert [text.partition(" ")[0] for text in said] == [f"configmaps/{APP}:", f"deployments/{APP}:"]
    kubectl(lab_world, "set", "env", f"deploy/{APP}", "FOO=again")
    newer = lab_world.image()
    assert make(spec, newer, lab_world.site).revision == 3
    assert find(spec, newer, lab_world.site).artifact is not None, "nor does it live on in the next version"


def test_d14_a_deployment_that_was_scaled_by_hand_is_told_and_put_back(lab_world: World) -> None:
    images, spec = lab_world.image(), lab_world.spec()
    made = make(spec, images, lab_world.site)
    kubectl(lab_world, "scale", "deployment", APP, "--replicas=2")
    said = f"deployments/{APP} was edited: spec.replicas is 2, 1 is wanted (by kubectl scale)"
    assert said in find(spec, images, lab_world.site).why
    assert shared.standing(spec, lab_world.site).edited() == [said]
    again = make(spec, images, lab_world.site)
    assert again.revision == made.revision + 1
    assert find(spec, images, lab_world.site).artifact == again


def test_d14_what_an_autoscaler_does_is_no_drift(lab_world: World) -> None:
    images, spec = lab_world.image(), lab_world.spec()
    made = make(spec, images, lab_world.site)
    kubectl(lab_world, "autoscale", "deployment", APP, "--min=2", "--max=2")
    end = time.monotonic() + 60
    while (len(lab_world.pods()) < 2 or find(spec, images, lab_world.site).artifact is None) and time.monotonic() < end:
        time.sleep(0.2)  # until the autoscaler has looked, and the second pod is available
    assert len(lab_world.pods()) == 2
    assert find(spec, images, lab_world.site).artifact == made


def test_d14_a_deployment_scaled_to_nothing_is_put_back(lab_world: World) -> None:
    """It was "live" for deploy while nobody was served: verify said to deploy again, and deploy found nothing to do."""
    images, spec = lab_world.image(), lab_world.spec()
    made = make(spec, images, lab_world.site)
    kubectl(lab_world, "scale", "deployment", APP, "--replicas=0")
    end = time.monotonic() + 60
    while lab_world.pods() and time.monotonic() < end:
        time.sleep(0.1)
    why = find(spec, images, lab_world.site).why
    assert f"deployments/{APP} was edited: spec.replicas is 0, 1 is wanted" in why
    again = make(spec, images, lab_world.site)
    assert again.revision == made.revision + 1
    assert len(lab_world.pods()) == 1
    assert find(spec, images, lab_world.site).artifact == again


def test_d02_a_helm_of_somebody_else_in_the_middle_is_left_alone(lab_world: World) -> None:
    first, second, spec = lab_world.image(), lab_world.image(), lab_world.spec()
    make(spec, first, lab_world.site)
    secret = lab_world.kube.get(path("v1", "secrets", lab_world.namespace, f"sh.helm.release.v1.{APP}.v1"))
    assert secret is not None
    stuck = {**secret, "metadata": {"name": f"sh.helm.release.v1.{APP}.v2",
             "labels": {**secret["metadata"]["labels"], "version": "2", "status": "pending-upgrade", "inputs": "x"}}}  # fmt: skip
    stuck["data"] = {"release": as_pending(secret["data"]["release"], 2)}
    lab_world.kube.create(path("v1", "secrets", lab_world.namespace), stuck)
    assert "pending-upgrade" in find(spec, second, lab_world.site).why
    with pytest.raises(Locked, match=r"revision 2 of .* is pending-upgrade since 20.* it is not touched") as caught:
        make(spec, second, lab_world.site)
    command = caught.value.mend.rpartition("any more: ")[2].removesuffix(", then inv deploy")
    assert [(one.number, one.status) for one in lab_world.revisions()] == [(2, "pending-upgrade"), (1, "deployed")]
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=120)
    made = make(spec, second, lab_world.site)
    assert made.revision == 4
    assert find(spec, second, lab_world.site).artifact == made


A_WHILE = """
apiVersion: batch/v1
kind: Job
metadata:
  name: slow
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: slow, image: "docker.io/lab/pause:1", imagePullPolicy: Never, command: [/bin/sleep, "20"]}]
"""


def test_d01_a_run_that_was_killed_never_comes_back(lab_world: World, events: list[Event]) -> None:
    """Its helm waited for a hook of the chart when SIGKILL came; were it at work still, it would go on once the hook is through."""
    first, second, third = lab_world.image(), lab_world.image(), lab_world.image()
    spec = lab_world.spec(pull="skip")
    make(spec, first, lab_world.site)
    hook = lab_world.site.root / "chart" / "templates" / "hook.yaml"
    hook.write_text(A_WHILE)
    if (pid := os.fork()) == 0:
        try:
            make(spec, second, dataclasses.replace(lab_world.site, shared={}, records=Records(lab_world.site.root / "other.db")))
        finally:
            os._exit(1)
    while not lab_world.revisions()[0].pending:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended before it waited for the hook"
        time.sleep(0.1)
    lease = lab_world.kube.get(path("coordination.k8s.io/v1", "leases", lab_world.namespace, f"pipeline-{APP}"))
    begun = Begun.read(notes(lease or {})[BEGUN])
    assert begun is not None
    assert (begun.doing, begun.revision, begun.surely_at_work) == ("helm upgrade", 2, True)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    os.waitpid(pid, 0)
    hook.unlink()
    made = make(spec, third, lab_world.site)
    assert begun.surely_over
    assert any(event.what is What.WARN and "left pending-upgrade" in event.text for event in events)
    time.sleep(max(0.0, killed + 30 - time.monotonic()))  # longer than the hook takes, and helm after it
    assert lab_world.revisions()[0].number == made.revision
    assert find(spec, third, lab_world.site).artifact == made


def test_d12_a_missing_namespace_is_told_or_made(lab_world: World) -> None:
    images = lab_world.image()
    name = f"{lab_world.namespace}-more"
    spec = dataclasses.replace(lab_world.spec(), namespace=name)
    with pytest.raises(ConfigError, match="has no namespace"):
        make(spec, images, lab_world.site)
    try:
        assert make(dataclasses.replace(spec, create_namespace=True), images, lab_world.site).revision == 1
    finally:
        lab_world.kube.delete(path("v1", "namespaces", name=name))


def test_l07_a_frozen_release_is_refused_at_once(lab_world: World) -> None:
    freeze(lab_world.kube, lab_world.namespace, APP, "no deploys until Monday", lab_world.site.clock)
    clock = FakeClock()
    with pytest.raises(Locked, match="no deploys until Monday"):
        make(lab_world.spec(), lab_world.image(), dataclasses.replace(lab_world.site, clock=clock))
    assert clock.slept == []
    thaw(lab_world.kube, lab_world.namespace, APP)
    with exclusive(lab_world.spec(), None, lab_world.site):
        pass


def test_d02_a_live_holder_is_left_alone(lab_world: World) -> None:
    other = Holder("eve", "elsewhere", 1, "1", "otherboot", "1", "abc")
    lease = Lease(lab_world.kube, lab_world.namespace, APP, lab_world.site.clock, holder=other, duration=4, renew=0.3).acquire()
    with pytest.raises(Locked, match="eve@elsewhere") as caught:
        make(lab_world.spec(), lab_world.image(), lab_world.site)
    assert caught.value.exit_code == 13
    lease.release()
    assert lab_world.revisions() == []


def test_l01_a_killed_holder_is_followed_with_a_higher_fence(lab_world: World) -> None:
    other = Holder("eve", "elsewhere", 1, "1", "otherboot", "1", "abc")
    dead = Lease(lab_world.kube, lab_world.namespace, APP, lab_world.site.clock, holder=other, duration=2, renew=60).acquire()
    started = time.monotonic()
    after = Lease(lab_world.kube, lab_world.namespace, APP, lab_world.site.clock).acquire()
    assert time.monotonic() - started > 1
    assert after.fence == dead.fence + 1
    with pytest.raises(Locked, match="was lost"):
        dead.assert_held()
    after.release()


def test_undo_takes_a_release_back_that_verify_refused(lab_world: World) -> None:
    first, second, spec = lab_world.image(), lab_world.image(), lab_world.spec()
    make(spec, first, lab_world.site)
    made = make(spec, second, lab_world.site)
    with pytest.raises(RolledBack, match="healthz says the wrong commit"):
        undo(spec, made, lab_world.site, "healthz says the wrong commit")
    assert find(spec, first, lab_world.site).artifact is not None
    deployment = lab_world.kube.get(path("apps/v1", "deployments", lab_world.namespace, APP))
    assert deployment is not None
    assert first.images[0].reference in {image for _, image in template_images(deployment)}


def test_secrets_are_nowhere_but_in_the_secret(lab_world: World, events: list[Event]) -> None:
    spec = lab_world.spec()
    make(spec, lab_world.image(), lab_world.site)
    canary = lab_world.site.secrets.get(lab_world.site.values["session_secret"]).reveal()
    assert canary
    seen = "\n".join(event.text for event in events)
    files = [
        file.read_text(errors="replace") for file in lab_world.site.root.rglob("*") if file.is_file() and file.stat().st_size < 1 << 20
    ]
    assert canary not in seen
    assert not any(canary in text for text in files)
    values = next((lab_world.site.root / ".pipeline" / "deploy").rglob(f"{APP}.json"))
    assert values.stat().st_mode & 0o077 == 0


def test_x10_the_secret_goes_back_with_its_revision(lab_world: World) -> None:
    """The failed release brought another secret. A pod that starts later has the one of the revision that serves."""
    spec = lab_world.spec(values={"secretName": "{secret.name}"})
    make(spec, lab_world.image(), lab_world.site)
    secrets = path("v1", "secrets", lab_world.namespace)
    plain = lab_world.kube.get(f"{secrets}/{APP}-env")
    rotated = dataclasses.replace(lab_world.site, values={**lab_world.site.values, "session_secret": "another-secret-altogether"})
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec, lab_world.image(Entrypoint=["/bin/busybox", "sh", "-c", "exit 3"]), rotated)
    again = lab_world.kube.get(f"{secrets}/{APP}-env")
    assert plain is not None
    assert again is not None
    assert again["data"] == plain["data"]
    (pod,) = lab_world.pods()
    source = pod["spec"]["containers"][0]["env"]
    (name,) = {each["valueFrom"]["secretKeyRef"]["name"] for each in source if each["name"] == "IHP_SESSION_SECRET"}
    held = lab_world.kube.get(f"{secrets}/{name}")
    assert held is not None
    assert (held["data"], held["immutable"]) == (plain["data"], True)


MORE = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {ports: [{port: 80}]}\n"


def test_d22_half_a_release_that_a_quota_stopped_is_taken_back(lab_world: World) -> None:
    """The quota refuses the second Service when the ConfigMap is new already, and the Deployment still old."""
    good, spec = lab_world.image(), lab_world.spec()
    make(spec, good, lab_world.site)
    maps, quotas = (path("v1", kind, lab_world.namespace) for kind in ("configmaps", "resourcequotas"))
    before = {each["metadata"]["name"]: each["data"] for each in lab_world.kube.list(maps)["items"]}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"count/services": "1"}}}
    lab_world.kube.create(quotas, quota)
    end = time.monotonic() + 60
    while not ((lab_world.kube.get(f"{quotas}/q") or {}).get("status") or {}).get("used") and time.monotonic() < end:
        time.sleep(0.2)
    (lab_world.site.root / "chart" / "templates" / "more.yaml").write_text(MORE)
    with pytest.raises(RolledBack, match="quota q of the namespace is used up; revision 1 serves again"):
        make(lab_world.spec(values={"env": {"extra": {"A": "b"}}}), lab_world.image(), lab_world.site)
    assert {each["metadata"]["name"]: each["data"] for each in lab_world.kube.list(maps)["items"]} == before
    (lab_world.site.root / "chart" / "templates" / "more.yaml").unlink()
    assert find(spec, good, lab_world.site).artifact is not None


STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: %s
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: none}]}}
"""


def test_d22_a_field_that_cannot_change_is_told_and_what_changed_before_it_goes_back(lab_world: World) -> None:
    """helm/helm#7998: the ConfigMap and the pods were new, the StatefulSet was refused."""
    good, spec = lab_world.image(), lab_world.spec()
    template = lab_world.site.root / "chart" / "templates" / "db.yaml"
    template.write_text(STATEFUL % "one")
    make(spec, good, lab_world.site)
    maps = path("v1", "configmaps", lab_world.namespace)
    before = {each["metadata"]["name"]: each["data"] for each in lab_world.kube.list(maps)["items"]}
    template.write_text(STATEFUL % "two")
    with pytest.raises(RolledBack, match="a field is changed that cannot change; revision 1 serves again") as caught:
        make(lab_world.spec(values={"env": {"extra": {"A": "b"}}}), lab_world.image(), lab_world.site)
    assert "updates to statefulset spec" in caught.value.cause
    assert {each["metadata"]["name"]: each["data"] for each in lab_world.kube.list(maps)["items"]} == before
    template.write_text(STATEFUL % "one")
    assert find(spec, good, lab_world.site).artifact is not None


WEBHOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def test_d22_a_webhook_that_is_down_is_named_and_nothing_is_left_half_done(lab_world: World) -> None:
    """cert-manager/cert-manager#2602: it was told as a lost API, tried again, and left five failed revisions."""
    good, spec, name = lab_world.image(), lab_world.spec(), f"down-{lab_world.namespace}"
    make(spec, good, lab_world.site)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"], "scope": "Namespaced"}
    hook = {
        "name": "down.example.org", "rules": [rule], "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2, "clientConfig": {"service": {"name": "nobody", "namespace": lab_world.namespace, "path": "/x"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": lab_world.namespace}},
    }  # fmt: skip
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    lab_world.kube.create(WEBHOOK, {**kind, "metadata": {"name": name}, "webhooks": [hook]})
    try:
        time.sleep(2)  # the API server reads it a moment later
        (lab_world.site.root / "chart" / "templates" / "more.yaml").write_text(MORE)
        with pytest.raises(RolledBack, match=r"the admission webhook down.example.org does not answer; revision 1 serves again") as caught:
            make(spec, lab_world.image(), lab_world.site)
    finally:
        lab_world.kube.delete(f"{WEBHOOK}/{name}")
    assert "kubectl get validatingwebhookconfigurations" in caught.value.mend
    assert [one.rollout for one in lab_world.revisions()].count("failed") == 1
    (lab_world.site.root / "chart" / "templates" / "more.yaml").unlink()
    assert find(spec, good, lab_world.site).artifact is not None


HOOK = """
apiVersion: batch/v1
kind: Job
metadata:
  name: slow
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: slow, image: "docker.io/lab/pause:1", imagePullPolicy: Never}]
"""


def test_d01_sigkill_of_helm_in_the_middle_is_taken_back_and_tried_again(lab_world: World) -> None:
    first, second, spec = lab_world.image(), lab_world.image(), lab_world.spec()
    make(spec, first, lab_world.site)
    hook = lab_world.site.root / "chart" / "templates" / "hook.yaml"
    hook.write_text(HOOK)
    killer = threading.Thread(target=kill_helm, args=(lab_world,))
    killer.start()
    with pytest.raises(Ambiguous, match="ended by signal 9; revision 1 serves again"):
        make(spec, second, lab_world.site)
    killer.join()
    hook.unlink()
    assert find(spec, first, lab_world.site).artifact is not None
    made = make(spec, second, lab_world.site)
    assert find(spec, second, lab_world.site).artifact == made
    assert not lab_world.revisions()[0].pending


def test_d19_ctrl_c_in_the_middle_of_helm_is_taken_back(lab_world: World) -> None:
    good, spec = lab_world.image(), lab_world.spec()
    make(spec, good, lab_world.site)
    (lab_world.site.root / "chart" / "templates" / "hook.yaml").write_text(HOOK)
    second, jobs = lab_world.image(), path("batch/v1", "jobs", lab_world.namespace, "slow")

    def interrupt() -> None:
        end = time.monotonic() + 120
        while lab_world.kube.get(jobs) is None and time.monotonic() < end:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Cancelled, match="the deploy was stopped; revision 1 serves again"):
        make(spec, second, lab_world.site)
    (lab_world.site.root / "chart" / "templates" / "hook.yaml").unlink()
    assert find(spec, good, lab_world.site).artifact is not None


def test_another_clusters_kubeconfig_is_refused_before_anything_is_asked(lab_world: World) -> None:
    site = lab_world.site
    other = dataclasses.replace(site.cluster(CLUSTER), identity="sha256:" + "0" * 64)
    strange = dataclasses.replace(site, clusters={CLUSTER: other}, shared={})
    with pytest.raises(ConfigError, match="points to another cluster"):
        find(lab_world.spec(), lab_world.image(), strange)
    assert strange.shared == {}


def test_the_api_is_reached_through_an_ssh_tunnel_by_helm_too(lab_world: World) -> None:
    site = lab_world.site
    tunnelled = dataclasses.replace(site.cluster(CLUSTER), tunnel="railiance01")
    through = dataclasses.replace(site, clusters={CLUSTER: tunnelled}, shared={})
    images, spec = lab_world.image(), lab_world.spec()
    try:
        made = make(spec, images, through)
        assert find(spec, images, through).artifact == made
        assert connect(through, CLUSTER).address.host == "127.0.0.1"
        assert connect(through, CLUSTER).address.port != connect(through, CLUSTER).access.port
    finally:
        connect(through, CLUSTER).close()


@pytest.mark.alone
def test_d03_a_realm_that_does_not_answer_is_named_with_its_mend(lab_world: World) -> None:
    state = Path(lab_world.site.host("railiance01").state).parent
    images = lab_world.image()
    break_realm(state)
    try:
        with pytest.raises(ConfigError, match=r"gitea\.coulomb\.social:80 for a token, which does not answer") as caught:
            make(lab_world.spec(), images, lab_world.site)
    finally:
        mend_realm(state)
    assert "ROOT_URL" in caught.value.mend
    assert "iptables" in caught.value.mend
    assert lab_world.revisions() == []


def test_without_a_node_to_ask_a_pod_proves_the_pull(lab_world: World) -> None:
    site = lab_world.site
    apart = dataclasses.replace(site.cluster(CLUSTER), node="")
    site = dataclasses.replace(site, clusters={CLUSTER: apart})
    images = lab_world.image()
    gone = dataclasses.replace(images.images[0], digest="sha256:" + "0" * 64)
    with pytest.raises(IntegrityError, match="does not have it"):
        make(lab_world.spec(), dataclasses.replace(images, images=(gone,)), site)
    assert make(lab_world.spec(), images, site).revision == 1
    pods = lab_world.kube.list(path("v1", "pods", lab_world.namespace), "app.kubernetes.io/managed-by=pipeline")["items"]
    assert [pod for pod in pods if not terminating(pod)] == []


def kill_helm(world: World) -> None:
    """SIGKILL the helm that this process started, once its release is pending."""
    end = time.monotonic() + 30
    while time.monotonic() < end and not any(revision.pending for revision in world.revisions()):
        time.sleep(0.05)
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    for pid in " ".join(file.read_text() for file in children).split():
        if "helm" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(int(pid), signal.SIGKILL)


def kubectl(world: World, *args: str) -> None:
    cluster = world.site.cluster(CLUSTER)
    argv = [world.site.tool("kubectl"), "--kubeconfig", cluster.kubeconfig, "--context", cluster.context, "-n", world.namespace, *args]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)


def as_pending(stored: str, number: int, status: str = "pending-upgrade") -> str:
    """A release as Helm stores it, turned into one whose helm was killed."""
    import base64
    import gzip
    import json

    value = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(stored))))
    value["version"] = number
    value["info"]["status"] = status
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(value).encode()))).decode()
