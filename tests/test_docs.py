"""What the documentation names, there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROOFS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())


def test_each_trap_and_each_fault_has_its_proof() -> None:
    text = (ROOT / "docs/faults.md").read_text().partition("## Not covered")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| ([0-9]|[A-Z][0-9]|all)", line)]
    assert len(rows) == len(PROOFS)
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+` \|$", row)] == []
    traps = [row for row in rows if re.match(r"\| [0-9]", row)]
    assert [int(row.split("|")[1]) for row in traps] == list(range(1, 13))


def test_a_fault_is_covered_or_it_is_not() -> None:
    covered, _, rest = (ROOT / "docs/faults.md").read_text().partition("## Not covered")
    named = set(re.findall(r"\b[A-Z][0-9]{2}\b", "\n".join(re.findall(r"^\| ([^|]+) \|", covered, re.MULTILINE))))
    without = set(re.findall(r"^- (?:[A-Z][0-9]{2}, )*([A-Z][0-9]{2}): ", rest, re.MULTILINE))
    assert without
    assert named & without == set()


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/faults.md",
        "docs/ihp-flake.md",
        "docs/charts.md",
        "docs/manifests.md",
        "docs/checks.md",
        "docs/images.md",
        "docs/infrastructure.md",
        "docs/clusters.md",
        "docs/registries.md",
        "docs/workflows.md",
    ],
)
def test_every_link_leads_to_a_file(page: str) -> None:
    path = ROOT / page
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []
