"""A cluster for the driver's tests: the API in this process, controllers that answer at once, and a helm that writes what Helm writes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.testing.kube import FakeKube
from pipeline.tools.helm_stored import packed, unpacked
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import template_images
from pipeline.tools.kubeconfig import load
from tests.deploy import program

NAMESPACE, RELEASE = "shop", "web"
LEASE = path("coordination.k8s.io/v1", "leases", NAMESPACE, f"pipeline-{RELEASE}")
LABELS = {"app": RELEASE}  # as many charts in the wild have it, and no label of Helm's conventions
WEB = path("apps/v1", "deployments", NAMESPACE, RELEASE)


def workload(name: str = RELEASE, kind: str = "Deployment", labels: dict[str, str] | None = None, namespace: str = "") -> str:
    """A workload of a chart, as YAML."""
    marks = json.dumps(labels or LABELS)
    space = f"\n  namespace: {namespace}" if namespace else ""
    return f"""apiVersion: apps/v1
kind: {kind}
metadata:
  name: {name}
  labels: {marks}{space}
spec:
  replicas: 1
  selector: {{"matchLabels": {marks}}}
  template:
    metadata: {{"labels": {marks}}}
    spec:
      containers:
      - name: app
        image: IMAGE
"""


class Cluster:
    """Deployments become pods at once: good, or as `behaviour` says for an image's digest ("crash", "pull")."""

    def __init__(self, folder: Path) -> None:
        self.fake = FakeKube(folder)
        self.fake.changed = self._changed
        self.behaviour: dict[str, str] = {}
        self.runs: dict[str, str] = {}  # what a node runs by the name of an image, if that is another
        self.log, self.fails = folder / "helm.log", folder / "helm.fails"
        self.helm = folder / "helm"
        self.manifests = folder / "chart.json"
        self.chart(workload())
        program.write(self.helm, self._helm)
        self.fake.put(path("v1", "namespaces", name=NAMESPACE), {"metadata": {"name": NAMESPACE}, "status": {"phase": "Active"}})

    def fail(self, verb: str, *hows: dict[str, Any]) -> None:
        """Let the next calls of that verb fail: what is `left` of the revision ("nothing", or its status), how many of its `objects` are
        written, which `text` helm ends with, how many seconds it waits before (`wait`)."""
        known = json.loads(self.fails.read_text()) if self.fails.exists() else {}
        self.fails.write_text(json.dumps({**known, verb: list(hows)}))

    def chart(self, *documents: str) -> None:
        """What the chart makes, as YAML with IMAGE in it; by default one Deployment."""
        self.manifests.write_text(json.dumps(documents))

    def steal(self) -> None:
        """Let another run have the release's lock."""
        self.fake.put(LEASE, {"metadata": {"name": LEASE.rpartition("/")[2]}, "spec": {"holderIdentity": "mallory", "leaseTransitions": 9}})

    def calls(self, verb: str) -> list[list[str]]:
        """The argv of every helm call of that verb."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [argv for argv in map(json.loads, lines) if argv[0] == verb]

    def _helm(self, _folder: Path, argv: list[str]) -> Iterator[program.Step]:
        """A helm for tests: speaks to the fake API, keeps releases as Helm does, notes its argv; `fail` says how it fails."""
        argv = argv[1:]
        with self.log.open("a") as log:
            log.write(json.dumps(argv) + "\n")
        if argv[0] == "version":
            yield "v4.3"
            return
        option = dict(itertools.pairwise(argv))
        fails = json.loads(self.fails.read_text()) if self.fails.exists() else {}
        fail = (fails.get(argv[0]) or [{}]).pop(0)
        self.fails.write_text(json.dumps(fails))
        if fail.get("left") == "nothing":
            sys.exit(fail["text"])
        if argv[0] == "template":
            yield _rendered(json.loads(self.manifests.read_text()), json.loads(Path(option["--values"]).read_text()))
            return
        with contextlib.closing(Kube(load(option["--kubeconfig"], option["--kube-context"]))) as kube:
            yield from _release(kube, argv, option, fail, json.loads(self.manifests.read_text()))

    def _changed(self, kind: str, where: str, value: dict[str, Any]) -> None:
        seen = value.get("status", {}).get("observedGeneration")
        if "/deployments/" in where and kind != "DELETED" and seen != value["metadata"]["generation"]:
            threading.Timer(0.02, self._roll_out, (where, copy.deepcopy(value))).start()

    def _roll_out(self, where: str, deployment: dict[str, Any]) -> None:
        space, called = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        ((_, image),) = template_images(deployment)
        revision = str(deployment["metadata"]["generation"])
        kind = self.behaviour.get(image.rpartition("@")[2], "good")
        good = kind == "good"
        container = {"name": "app", "image": image, "imageID": self.runs.get(image, image), "ready": good, "restartCount": 0 if good else 2}
        states: dict[str, dict[str, Any]] = {
            "good": {"state": {"running": {}}},
            "crash": {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
            },
            "pull": {"state": {"waiting": {"reason": "ErrImagePull", "message": f"{image}: not found"}}},
        }
        made = deployment["spec"]["template"]["metadata"]["labels"]
        labels = {**made, "pod-template-hash": revision}
        note = {"deployment.kubernetes.io/revision": revision}
        owner = [{"uid": deployment["metadata"]["uid"]}]
        sets, pods = path("apps/v1", "replicasets", space), path("v1", "pods", space)
        self.fake.put(
            f"{sets}/{called}-{revision}",
            {"metadata": {"name": f"{called}-{revision}", "labels": labels, "annotations": note, "ownerReferences": owner}},
        )
        self.fake.logs[f"{called}-{revision}-a/app/previous"] = "cannot bind the port\n"
        if good:
            for old in self.fake.listed(pods, ",".join(f"{key}={value}" for key, value in made.items())):
                self.fake.drop(f"{pods}/{old['metadata']['name']}")
        of = [{"kind": "ReplicaSet", "name": f"{called}-{revision}", "controller": True}]
        self.fake.put(f"{pods}/{called}-{revision}-a", {
            "metadata": {"name": f"{called}-{revision}-a", "labels": labels, "ownerReferences": of},
            "spec": deployment["spec"]["template"]["spec"],
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(good)}],
                       "containerStatuses": [{**container, **states[kind]}]},
        })  # fmt: skip
        deployment["metadata"].setdefault("annotations", {}).update(note)
        counts = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1} if good else {"updatedReplicas": 1, "replicas": 2}
        deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}
        self.fake.put(where, deployment)


def _release(kube: Kube, argv: list[str], option: dict[str, str], fail: dict[str, Any], chart: list[str]) -> Iterator[program.Step]:
    """What helm upgrade, rollback and uninstall do with a `chart`, as far as `fail` lets them."""
    namespace, (name, *rest) = option["--namespace"], argv[argv.index("--") + 1 :]
    secrets = path("v1", "secrets", namespace)
    kept = sorted(kube.list(secrets, f"owner=helm,name={name}")["items"], key=lambda item: int(item["metadata"]["labels"]["version"]))
    if argv[0] == "uninstall":  # by the stored manifest, as Helm does
        for each in _objects(unpacked(kept[-1])) if kept else sys.exit("Error: uninstall: Release not loaded: release: not found"):
            if (each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") != "keep":
                kube.delete(_where(namespace, each))
        for item in kept:
            kube.delete(f"{secrets}/{item['metadata']['name']}")
        yield "release uninstalled"
        return
    number = int(kept[-1]["metadata"]["labels"]["version"]) + 1 if kept else 1
    release: dict[str, Any]
    if argv[0] == "rollback":
        old = next(item for item in kept if item["metadata"]["labels"]["version"] == rest[0])
        labels = _lasting(old["metadata"]["labels"])
        release = {**unpacked(old), "info": {"description": f"Rollback to {rest[0]}"}}
    else:
        if kept and unpacked(kept[-1]).get("info", {}).get("status", "").startswith("pending"):
            sys.exit("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
        values = json.loads(Path(option["--values"]).read_text())
        labels = _lasting(kept[-1]["metadata"]["labels"] if kept else {})
        labels |= dict(pair.split("=", 1) for pair in option["--labels"].split(","))
        release = {"info": {"description": "Upgrade complete"}, "config": values, "manifest": _rendered(chart, values)}
    release["info"]["status"] = left = fail.get("left", "deployed")
    labels |= {"owner": "helm", "name": name, "version": str(number), "status": left}
    meta = {"name": f"sh.helm.release.v1.{name}.v{number}", "labels": labels}
    kube.create(secrets, {"metadata": meta, "data": {"release": packed(release)}})
    if left == "deployed":
        for item in kept:
            if item["metadata"]["labels"]["status"] == "deployed":
                superseded = {"metadata": {"labels": {"status": "superseded"}, "annotations": None}}
                kube.merge(f"{secrets}/{item['metadata']['name']}", superseded)
    written = _objects(release)
    for each in written[: fail.get("objects")]:
        kube.apply(_where(namespace, each), each)
    if "wait" in fail:
        yield "helm is at work"
        yield program.Wait(fail["wait"], f"Error: UPGRADE FAILED: release {name} failed: context canceled")
    if "text" in fail:
        sys.exit(fail["text"])
    here = [_where(namespace, each) for each in written]
    for gone in [_where(namespace, each) for item in kept[-1:] for each in _objects(unpacked(item))]:
        if gone not in here:
            live = kube.get(gone) or {"metadata": {}}
            if (live["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") != "keep":
                kube.delete(gone)
    yield "DESCRIPTION: done\n\nNOTES:\nanswers at http://web.example"


def _lasting(labels: dict[str, str]) -> dict[str, str]:
    """Those of a revision's labels that helm does not set itself."""
    return {key: value for key, value in labels.items() if key not in ("version", "status", "name", "owner")}


def _rendered(chart: list[str], values: dict[str, Any]) -> str:
    image = "{repository}:{tag}" if "tag" in values["image"] else "{repository}@{digest}"  # as `helm create` has it, or by digest alone
    image = image.format_map(values["image"])
    made = [yaml.safe_load(text.replace("IMAGE", image)) for text in chart]
    for each in made:
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            container.update(values.get("app", {}))
    return yaml.safe_dump_all([*values.get("objects", []), *made])


def _objects(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(stored.get("manifest") or ""))


def _where(namespace: str, each: dict[str, Any]) -> str:
    plural = each["kind"].lower() + ("es" if each["kind"] == "Ingress" else "s")
    return path(each["apiVersion"], plural, each["metadata"].get("namespace") or namespace, each["metadata"]["name"])
