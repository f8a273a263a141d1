"""A release and its pods as the API gives them, to be changed one field at a time."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from typing import Any

from pipeline.artifacts import Image, Release, Source

COMMIT = "b2" * 20
OLD = "a1" * 20
DIGEST = "sha256:" + "d1" * 32
CONFIG = "sha256:" + "c0" * 32
OTHER = "sha256:" + "0d" * 32
REPOSITORY = "registry.example:32166/coulomb/probe"

RELEASE = Release(
    source=Source(tree="7e" * 20, commit=COMMIT, dirty=False, path="/src"),
    images=(Image(REPOSITORY, DIGEST, "b2b2b2b", CONFIG),),
    cluster="railiance01",
    namespace="coulomb",
    name="probe",
    revision=3,
    inputs="1f" * 32,
)


LABELS = {"app": "probe"}  # and no label of Helm's conventions: what is the release's is what its manifest says
MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
"""


def secret(manifest: str = MANIFEST) -> dict[str, Any]:
    """The Secret in which Helm keeps the release."""
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps({"manifest": manifest}).encode()))).decode()
    marks = {"owner": "helm", "name": RELEASE.name, "version": str(RELEASE.revision), "status": "deployed"}
    return {"metadata": {"name": f"sh.helm.release.v1.{RELEASE.name}.v{RELEASE.revision}", "labels": marks}, "data": {"release": packed}}


def pod(name: str = "probe-1", image_id: str = f"{REPOSITORY}@{DIGEST}", *, ready: bool = True, image: str = "") -> dict[str, Any]:
    return copy.deepcopy(
        {
            "metadata": {"name": name, "labels": LABELS},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": str(ready)}],
                "containerStatuses": [
                    {"name": "app", "image": image or f"{REPOSITORY}@{DIGEST}", "imageID": image_id, "state": {"running": {}}}
                ],
            },
        }
    )
