"""What `helm lint` finds, recorded from Helm 3.22 and Helm 4.3."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, ConfigError
from pipeline.tools import helm

CASES = Path(__file__).parents[1] / "cases" / "helm_lint"
FOUND = {
    "metadata": ("helm finds fault with the chart", "Chart.yaml: version 'one' is not a valid SemVer"),
    "parse": ("helm finds fault with the chart: web/templates/x.yaml:2", "missing value for if"),
    "schema": ("helm finds fault with the chart", "- at '': missing property 'a'"),
    "template": ("helm finds fault with the chart: web/templates/x.yaml:1", "nil pointer evaluating"),
    "yaml": ("helm finds fault with the chart", "templates/x.yaml: unable to parse YAML"),
}


def test_the_argv_is_as_written() -> None:
    assert helm.lint("helm", "/srv/app/chart") == ("helm", "lint", "--", "/srv/app/chart")


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("major", [3, 4])
def test_each_fault_is_told_without_hints_and_warnings(name: str, major: int) -> None:
    text, _, code = (CASES / f"helm{major}-{name}.txt").read_text().strip().rpartition("exit ")
    error = helm.lint_failure(int(code), text)
    what, cause = FOUND[name]
    assert (type(error), error.what) == (ConfigError, what)
    assert cause in error.cause
    assert "[INFO]" not in error.cause
    assert "[WARNING]" not in error.cause
    assert "linted" not in error.cause


def test_every_recorded_failure_is_expected_here() -> None:
    failed = [file for file in CASES.glob("*.txt") if "exit 0" not in file.read_text()]
    assert {file.stem.partition("-")[2] for file in failed} == set(FOUND)


def test_what_is_no_finding_of_lint_is_helm_s_own_failure() -> None:
    assert isinstance(helm.lint_failure(-9, ""), Ambiguous)
    assert "cannot be run" in helm.lint_failure(126, "sh: helm: exec format error").what
