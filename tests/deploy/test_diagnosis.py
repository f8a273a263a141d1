"""One cause for each way a rollout fails: tests/cases/diagnosis holds what the API said and the sentence a person should read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.deploy.capture import story, write
from pipeline.deploy.diagnosis import Evidence, cause
from pipeline.testing import FakeClock

CASES = sorted((Path(__file__).parents[1] / "cases" / "diagnosis").glob("*.json"))


def read(file: Path) -> tuple[Evidence, str, str]:
    value = json.loads(file.read_text())
    expected, mend = value.pop("expected"), value.pop("mend")
    return Evidence(**value), expected, mend


def test_there_are_cases() -> None:
    assert len(CASES) > 20


@pytest.mark.parametrize("file", CASES, ids=lambda file: str(file.stem))
def test_the_deepest_cause_is_named_with_its_mend(file: Path) -> None:
    evidence, expected, mend = read(file)
    found = cause(evidence)
    assert found.sentence == expected
    assert mend in found.mend


@pytest.mark.parametrize("file", CASES, ids=lambda file: str(file.stem))
def test_a_pod_that_is_going_away_is_no_evidence(file: Path) -> None:
    evidence, expected, _ = read(file)
    gone = [{**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}} for pod in evidence.pods]
    found = cause(Evidence(pods=gone, events=evidence.events))
    assert found.rank == 99
    assert found.sentence != expected or not evidence.pods


def test_the_story_has_cause_pods_events_in_order_and_logs() -> None:
    evidence, expected, _ = read(next(file for file in CASES if file.stem == "pull-http"))
    text = story(cause(evidence), evidence)
    assert text.startswith(f"CAUSE\n{expected}\n\nMEND\n")
    assert text.index("Failed to pull image") < text.index("Error: ErrImagePull") < text.index("Error: ImagePullBackOff")
    assert "web-7d9-abc  ImagePullBackOff  restarts 0" in text


def test_the_story_is_masked_private_and_under_the_working_copy(tmp_path: Path) -> None:
    evidence, _, _ = read(next(file for file in CASES if file.stem == "crash"))
    name = write(tmp_path, "web", cause(evidence), evidence, FakeClock(), lambda text: text.replace("IHP_SESSION_SECRET", "[secret]"))
    file = tmp_path / name
    assert name.startswith(".pipeline/logs/deploy-web-")
    assert "IHP_SESSION_SECRET" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_disk_that_is_full_does_not_hide_the_cause(tmp_path: Path) -> None:
    (tmp_path / ".pipeline").write_text("not a folder")
    evidence, _, _ = read(CASES[0])
    assert write(tmp_path, "web", cause(evidence), evidence, FakeClock(), str) == ""


def test_a_pod_in_its_init_container_is_asked_before_the_load_balancer() -> None:
    waits = {"name": "wait-for-db", "ready": False, "restartCount": 0, "state": {"running": {}}}
    pod = {"metadata": {"name": "vote-1"}, "status": {"phase": "Pending", "initContainerStatuses": [waits]}}
    service = {"metadata": {"name": "front"}, "spec": {"type": "LoadBalancer"}, "status": {}}
    found = cause(Evidence(pods=[pod], services=[service], logs={"vote-1/wait-for-db": "db: no such host\n"}))
    assert found.sentence == "vote-1 waits for its init container wait-for-db, which has not ended: db: no such host"
    assert found.container == "wait-for-db"
