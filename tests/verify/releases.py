"""A release and its pods as the API gives them, to be changed one field at a time."""

from __future__ import annotations

import copy
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


def pod(name: str = "probe-1", image_id: str = f"{REPOSITORY}@{DIGEST}", *, ready: bool = True, image: str = "") -> dict[str, Any]:
    return copy.deepcopy(
        {
            "metadata": {"name": name},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": str(ready)}],
                "containerStatuses": [
                    {"name": "app", "image": image or f"{REPOSITORY}@{DIGEST}", "imageID": image_id, "state": {"running": {}}}
                ],
            },
        }
    )
