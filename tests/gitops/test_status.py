"""What Flux says, as rows."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.gitops import status
from pipeline.tools.flux import Ref
from tests.gitops.parts import place

REF = Ref("HelmRelease", "fade", "fade")
COMMIT = "main@sha1:" + "a" * 40


def release(values: Any = None, *, suspend: bool = False, ready: str = "True", message: str = "Helm upgrade succeeded") -> dict[str, Any]:
    sign = {
        "type": "Ready",
        "status": ready,
        "reason": "X",
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T15:00:00Z",
    }
    return {
        "metadata": {"generation": 1},
        "spec": {"suspend": suspend, "values": values or {}},
        "status": {"observedGeneration": 1, "conditions": [sign], "history": [{"version": 1, "chartVersion": "1.0.0"}]},
    }


def test_the_objects_in_the_order_of_a_commit() -> None:
    assert [str(ref) for ref in status.refs(place())] == [
        "GitRepository flux-system/flux-system", "Kustomization flux-system/flux-system", "Kustomization flux-system/infrastructure",
        "HelmRelease fade/fade",
    ]  # fmt: skip
    assert "OCIRepository flux-system/fade" in map(str, status.refs(place(chart="oci://hub/x", version="1.0.0")))


def test_one_that_is_ready() -> None:
    row = status.row(REF, release())
    assert (row.state, row.revision, row.since, row.mend) == ("ready", "1.0.0", "2026-11-21T15:00:00Z", "")


def test_one_that_waits_for_its_first_release_is_not_called_suspended() -> None:
    row = status.row(REF, release({"image": {"digest": "sha256:" + "0" * 64}}, suspend=True))
    assert (row.state, row.message, row.mend) == ("waiting", "for the first release", "inv release")
    assert status.row(REF, release(suspend=True)).state == "suspended"


@pytest.mark.parametrize(("ready", "state"), [("False", "failed"), ("Unknown", "waiting")])
def test_one_that_is_not(ready: str, state: str) -> None:
    assert status.row(REF, release(ready=ready, message="timed out")).state == state


def test_one_that_is_not_there_says_who_makes_it() -> None:
    assert status.row(REF, None).mend == "inv flux.init"
    assert status.row(Ref("GitRepository", "flux-system", "flux-system"), None).mend == "inv flux.bootstrap"


def test_the_table() -> None:
    source = Ref("GitRepository", "flux-system", "flux-system")
    stored = {"metadata": {}, "status": {"artifact": {"revision": COMMIT}}}
    text = status.table([status.row(source, stored), status.row(REF, release(ready="False", message="a " * 200))])
    lines = text.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "REVISION", "STATE", "SINCE", "MESSAGE"]
    assert "main@aaaaaaa" in lines[1]
    assert max(map(len, lines[:3])) < 220
    assert any(line.startswith("HelmRelease fade: ") for line in lines[3:])
