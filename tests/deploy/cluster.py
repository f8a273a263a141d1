"""A cluster for the driver's tests: the API in this process, controllers that answer at once, and a helm that writes what Helm writes."""

from __future__ import annotations

import copy
import json
import stat
import sys
import threading
from pathlib import Path
from typing import Any

from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import path
from pipeline.tools.kube_objects import template_images

NAMESPACE, RELEASE = "shop", "web"
LABELS = {"app": RELEASE}  # as many charts in the wild have it, and no label of Helm's conventions
WEB = path("apps/v1", "deployments", NAMESPACE, RELEASE)
HELM = '''#!{python}
"""A helm for tests: speaks to the fake API, keeps releases as Helm does, notes its argv. {fails} may say how the next calls fail."""
import json, os, signal, sys, time
sys.path.insert(0, {root!r})
import yaml
from pipeline.tools.helm_stored import packed, unpacked
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
argv = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(argv) + "\\n")
if argv[0] == "version":
    sys.exit(print("v4.3"))
option = dict(zip(argv, argv[1:]))
kube, namespace = Kube(load(option["--kubeconfig"], option["--kube-context"])), option["--namespace"]
name, last = argv[argv.index("--") + 1:][:2] + [""] * (1 - len(argv[argv.index("--") + 2:]))
fails = json.load(open({fails!r})) if os.path.exists({fails!r}) else {{}}
fail = (fails.get(argv[0]) or [{{}}]).pop(0)
json.dump(fails, open({fails!r}, "w"))
if fail.get("left") == "nothing":
    sys.exit(fail["text"])
secrets = path("v1", "secrets", namespace)
kept = sorted(kube.list(secrets, "owner=helm,name=" + name)["items"], key=lambda item: int(item["metadata"]["labels"]["version"]))
number = int(kept[-1]["metadata"]["labels"]["version"]) + 1 if kept else 1
def where(value):
    plural = value["kind"].lower() + ("es" if value["kind"] == "Ingress" else "s")
    return path(value["apiVersion"], plural, value["metadata"].get("namespace") or namespace, value["metadata"]["name"])
objects = lambda stored: list(yaml.safe_load_all(stored.get("manifest") or ""))
def made(image, values):
    chart = [yaml.safe_load(text.replace("IMAGE", image)) for text in json.load(open({manifests!r}))]
    for each in chart:
        for container in each.get("spec", {{}}).get("template", {{}}).get("spec", {{}}).get("containers", []):
            container.update(values.get("app", {{}}))
    return yaml.safe_dump_all([*values.get("objects", []), *chart])
if argv[0] == "uninstall":  # by the stored manifest, as Helm does
    for each in objects(unpacked(kept[-1])) if kept else sys.exit("Error: uninstall: Release not loaded: release: not found"):
        if (each["metadata"].get("annotations") or {{}}).get("helm.sh/resource-policy") != "keep":
            kube.delete(where(each))
    for item in kept:
        kube.delete(secrets + "/" + item["metadata"]["name"])
    sys.exit(print("release uninstalled"))
if argv[0] == "rollback":
    old = next(item for item in kept if item["metadata"]["labels"]["version"] == last)
    labels = {{k: v for k, v in old["metadata"]["labels"].items() if k not in ("version", "status", "name", "owner")}}
    release = {{**unpacked(old), "info": {{"description": "Rollback to " + last}}}}
else:
    if kept and unpacked(kept[-1]).get("info", {{}}).get("status", "").startswith("pending"):
        sys.exit("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
    values = json.load(open(option["--values"]))
    before = kept[-1]["metadata"]["labels"] if kept else {{}}
    labels = {{k: v for k, v in before.items() if k not in ("version", "status", "name", "owner")}}
    labels |= dict(pair.split("=", 1) for pair in option["--labels"].split(","))
    image = values["image"]["repository"] + "@" + values["image"]["digest"]
    release = {{"info": {{"description": "Upgrade complete"}}, "config": values, "manifest": made(image, values)}}
release["info"]["status"] = left = fail.get("left", "deployed")
labels |= {{"owner": "helm", "name": name, "version": str(number), "status": left}}
meta = {{"name": f"sh.helm.release.v1.{{name}}.v{{number}}", "labels": labels}}
kube.create(secrets, {{"metadata": meta, "data": {{"release": packed(release)}}}})
if left == "deployed":
    for item in kept:
        if item["metadata"]["labels"]["status"] == "deployed":
            superseded = {{"metadata": {{"labels": {{"status": "superseded"}}, "annotations": None}}}}
            kube.merge(secrets + "/" + item["metadata"]["name"], superseded)
for each in objects(release)[: fail.get("objects")]:
    kube.apply(where(each), each)
if "wait" in fail:
    signal.signal(signal.SIGINT, lambda *_: sys.exit("Error: UPGRADE FAILED: release web failed: context canceled"))
    print("helm is at work", flush=True)
    time.sleep(fail["wait"])
if "text" in fail:
    sys.exit(fail["text"])
for item in kept[-1:]:
    for each in objects(unpacked(item)):
        if where(each) not in map(where, objects(release)):
            live = kube.get(where(each)) or {{"metadata": {{}}}}
            if (live["metadata"].get("annotations") or {{}}).get("helm.sh/resource-policy") != "keep":
                kube.delete(where(each))
print("DESCRIPTION: done\\n\\nNOTES:\\nanswers at http://web.example")
'''


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
        self.log, self.fails = folder / "helm.log", folder / "helm.fails"
        self.helm = folder / "helm"
        root = str(Path(__file__).parents[2])
        self.manifests = folder / "chart.json"
        self.chart(workload())
        self.helm.write_text(
            HELM.format(python=sys.executable, root=root, log=str(self.log), fails=str(self.fails), manifests=str(self.manifests))
        )
        self.helm.chmod(self.helm.stat().st_mode | stat.S_IXUSR)
        self.fake.put(path("v1", "namespaces", name=NAMESPACE), {"metadata": {"name": NAMESPACE}, "status": {"phase": "Active"}})

    def fail(self, verb: str, *hows: dict[str, Any]) -> None:
        """Let the next calls of that verb fail: what is `left` of the revision ("nothing", or its status), how many of its `objects` are
        written, which `text` helm ends with, how many seconds it waits before (`wait`)."""
        known = json.loads(self.fails.read_text()) if self.fails.exists() else {}
        self.fails.write_text(json.dumps({**known, verb: list(hows)}))

    def chart(self, *documents: str) -> None:
        """What the chart makes, as YAML with IMAGE in it; by default one Deployment."""
        self.manifests.write_text(json.dumps(documents))

    def calls(self, verb: str) -> list[list[str]]:
        """The argv of every helm call of that verb."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [argv for argv in map(json.loads, lines) if argv[0] == verb]

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
        container = {"name": "app", "image": image, "imageID": image, "ready": good, "restartCount": 0 if good else 2}
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
