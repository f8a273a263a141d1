"""What Flux's image controllers say, recorded from the real ones where they could be had, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.tools.flux import Ref, State, state
from pipeline.tools.flux_images import words

CASES = Path(__file__).parents[1] / "cases" / "automation" / "objects.yaml"
RECORDED: dict[str, dict[str, Any]] = {each.pop("case"): each for each in yaml.safe_load_all(CASES.read_text())}
LOGIN = "kubectl -n images create secret docker-registry"


def of(value: dict[str, Any]) -> State:
    meta = value["metadata"]
    return state(Ref(value["kind"], meta["namespace"], meta["name"]), value)


@pytest.mark.parametrize(
    ("case", "kind", "passing", "what", "mend"),
    [
        ("login", "login", False, "the registry refuses Flux's login", LOGIN),
        ("no secret", "login", False, "the Secret that ImageRepository images/web logs in with is not there", LOGIN),
        ("absent", "absent", False, "the registry has no such repository, or shows it to nobody", "inv push"),
        ("address", "address", False, "ImageRepository images/web names no repository", "gitops.automation.images"),
        ("away", "fetch", True, "image-reflector-controller cannot reach the registry", "flux reconcile image repository web -n images"),
        ("waiting", "waiting", True, "ImagePolicy images/web waits for its repository to be scanned", "nothing to do"),
        ("none", "none", False, "no tag of the repository is one that ImagePolicy images/web looks for", "sortable@main"),
        ("policy", "policy", False, "ImagePolicy images/web compares numbers, and '1a2b3c4' of a tag is none", "`extract`"),
        ("range", "none", False, "no tag is a version in the range of ImagePolicy images/web", "`range`"),
        ("invalid", "policy", False, "ImagePolicy images/web cannot be read", "gitops.automation.policies"),
    ],
)
def test_each_case_that_was_recorded(case: str, kind: str, passing: bool, what: str, mend: str) -> None:
    found = words(of(RECORDED[case]))
    assert found is not None
    assert (found.kind, found.passing, found.what) == (kind, passing, what)
    assert mend in found.mend
    assert found.cause


def test_nothing_is_said_of_what_works_and_every_case_is_used() -> None:
    assert [words(of(RECORDED[case])) for case in ("fine", "found")] == [None, None]
    assert len(RECORDED) == 12


def test_suspended_and_never_seen() -> None:
    value = RECORDED["found"]
    said = words(of({**value, "spec": {**value["spec"], "suspend": True}}))
    assert said is not None
    assert (said.kind, "flux resume image policy web -n images" in said.mend) == ("suspended", True)
    new = words(of({**value, "status": {}}))
    assert new is not None
    assert (new.kind, new.passing) == ("waiting", True)


@pytest.mark.parametrize(
    ("message", "kind", "mend"),
    [
        (
            "failed to push to remote: ERROR: The key you are authenticating with has been marked as read only.",
            "readonly",
            "inv flux.bootstrap",
        ),
        ("failed to push to remote: pre-receive hook declined", "refused", "push_branch"),
        ("template uses removed '.Updated' field", "template", "inv flux.migrate"),
        ("unable to clone: dial tcp 10.0.0.1:22: connect: connection refused", "fetch", "nothing to do, if it passes"),
        ("something else", "other", "correct what the cause names"),
    ],
)
def test_what_writes_is_told_as_well(message: str, kind: str, mend: str) -> None:
    """Its controller cannot be had here: the messages are those of its documentation and of Git servers."""
    condition = {"type": "Ready", "status": "False", "reason": "GitOperationFailed", "message": message}
    meta = {"name": "fade", "namespace": "flux-system"}
    said = words(of({"kind": "ImageUpdateAutomation", "metadata": meta, "spec": {}, "status": {"conditions": [condition]}}))
    assert said is not None
    assert (said.kind, mend in said.mend, said.cause) == (kind, True, message)
