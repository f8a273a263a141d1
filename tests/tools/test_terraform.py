"""What Terraform and OpenTofu are called with, and how a line of theirs is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.tools import terraform
from pipeline.tools.terraform import hear

CASES = Path(__file__).parents[1] / "cases" / "terraform"


def test_the_argv() -> None:
    assert terraform.init("tofu", {"path": "/s/t", "lock": "x"}, locked=True) == (
        "tofu", "init", "-input=false", "-no-color", "-lockfile=readonly", "-backend-config=lock=x", "-backend-config=path=/s/t",
    )  # fmt: skip
    assert "-lockfile=readonly" not in terraform.init("tofu", {}, locked=False)
    plan = terraform.plan("tofu", "/p", ["/v"], destroy=False)
    assert plan == (
        "tofu", "plan", "-input=false", "-json", "-no-color", "-detailed-exitcode", "-lock-timeout=0s", "-out=/p", "-var-file=/v",
    )  # fmt: skip
    assert "-destroy" in terraform.plan("tofu", "/p", [], destroy=True)
    assert terraform.apply("tofu", "/p")[-1] == "/p"
    assert "-auto-approve" not in terraform.apply("tofu", "/p")
    assert terraform.unlock("tofu", "-x") == ("tofu", "force-unlock", "-force", "--", "-x")


def test_what_would_change_the_call_is_not_passed_on() -> None:
    inherited = {
        "PATH": "/bin",
        "TF_CLI_ARGS_plan": "-target=x",
        "TF_LOG": "trace",
        "TF_WORKSPACE": "w",
        "TF_VAR_x": "1",
        "TF_TOKEN_a_b": "t",
    }
    env, gone = terraform.environment(inherited, "/data")
    assert gone == ["TF_CLI_ARGS_plan", "TF_LOG", "TF_WORKSPACE"]
    assert env == {
        "PATH": "/bin", "TF_VAR_x": "1", "TF_TOKEN_a_b": "t", "TF_DATA_DIR": "/data", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
    }  # fmt: skip


@pytest.mark.parametrize("tool", ["tofu", "terraform"])
def test_an_apply_as_it_was_heard(tool: str) -> None:
    lines = (CASES / f"{tool}-apply-503.txt").read_text().splitlines()
    heard = [hear(line) for line in lines]
    told = [(each.kind, each.address, each.action) for each in heard if each.address and each.kind.startswith("apply_")]
    assert told[0] == ("apply_start", "spot_cloudspace.relay", "create")
    assert ("apply_complete", "spot_cloudspace.relay", "create") in told
    assert ("apply_errored", "spot_spotnodepool.relay", "create") in told
    (error,) = [each for each in heard if each.kind == "diagnostic"]
    assert error.error
    assert error.address == "spot_spotnodepool.relay"
    assert error.text == "Failed to create spotnodepool\nunexpected status code 503 from the Spot API"


@pytest.mark.parametrize("line", ["", "panic: x", "[]", "7", '"a"', "{", "null", "\x00"])
def test_a_line_that_is_no_event(line: str) -> None:
    assert hear(line) == terraform.Heard("", line)


@pytest.mark.parametrize("line", ['{"hook":[]}', '{"hook":{"resource":null}}', '{"type":"apply_start","hook":{}}', '{"diagnostic":{}}'])
def test_half_an_event_is_no_trouble(line: str) -> None:
    assert hear(line).address == ""
