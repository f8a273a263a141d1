"""Tools for the drivers of manifests: a kubectl and a kubecfg that speak to the API in this process and note their argv."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from tests.deploy import program
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster

KINDS = {
    "v1": (("configmaps", "ConfigMap"), ("services", "Service"), ("persistentvolumeclaims", "PersistentVolumeClaim")),
    "apps/v1": (("deployments", "Deployment"), ("deployments/status", "Deployment"), ("statefulsets", "StatefulSet")),
}

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"A": "1"}}
POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "IMAGE"}]}}
SPEC = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": POD}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": RELEASE}, "spec": SPEC}


def write(root: Path, *objects: dict[str, Any]) -> None:
    """The manifests: the same objects as JSON in YAML, and as JSON in jsonnet."""
    (root / "manifests").mkdir(exist_ok=True)
    text = "---\n".join(json.dumps(each) + "\n" for each in objects)
    (root / "manifests/web.yaml").write_text(text.replace("IMAGE", "{values.image}"))
    (root / "manifests/web.jsonnet").write_text(json.dumps(objects))


class Tools:
    """The two tools in `folder`. With a file `fail` there, they end with its text after the first object."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        for name in ("kubectl", "kubecfg"):
            program.write(folder / name, self._work)
        for version, kinds in KINDS.items():
            where = f"/{'apis' if '/' in version else 'api'}/{version}"
            listed = [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]
            cluster.fake.objects[where] = {"kind": "APIResourceList", "metadata": {}, "resources": listed}

    def calls(self, verb: str) -> list[list[str]]:
        """The argv, program first, of every call of that verb."""
        log = self.folder / "calls.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [argv for argv in map(json.loads, lines) if argv[1] == verb]

    def _work(self, folder: Path, argv: list[str]) -> Iterator[program.Step]:
        """Both tools: `show` prints a file of JSON with IMAGE filled in, `apply` and `update` write each object, unless `fail` says no."""
        with (self.folder / "calls.log").open("a") as log:
            log.write(json.dumps(argv) + "\n")
        option, verb = dict(itertools.pairwise(argv)), argv[1]
        if verb == "show":
            if not (given := option.get("--tla-str", "")):
                sys.exit(f"error reading {argv[-1]}: RUNTIME ERROR: Missing argument: image\n\tTop-level function call")
            for name in argv[argv.index("--") + 1 :]:
                text = (folder / name).read_text().replace("IMAGE", given.partition("=")[2])
                yield "\n---\n".join(json.dumps(each) for each in json.loads(text))
        elif verb != "diff":
            with contextlib.closing(Kube(load(option["--kubeconfig"], option["--context"]))) as kube:
                for number, value in enumerate(yaml.safe_load_all((folder / argv[-1]).read_text())):
                    fail = self.folder / "fail"
                    if number == 1 and fail.exists():
                        sys.exit(fail.read_text())
                    plural = f"{value['kind'].lower()}s"
                    kube.apply(path(value["apiVersion"], plural, option["--namespace"], value["metadata"]["name"]), value)
                    yield f"{value['kind']} {value['metadata']['name']} applied"

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        version = "apps/v1" if plural == "deployments" else "v1"
        return self.cluster.fake.objects.get(path(version, plural, NAMESPACE, name))

    def revisions(self) -> dict[int, dict[str, str]]:
        """The labels of each revision that is kept."""
        secrets = self.cluster.fake.listed(path("v1", "secrets", NAMESPACE), "owner=pipeline")
        return {int(each["metadata"]["labels"]["version"]): each["metadata"]["labels"] for each in secrets}
