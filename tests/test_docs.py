"""What the documentation names, there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROOFS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())


def test_each_trap_has_its_proof() -> None:
    assert len(PROOFS) == 12


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/faults.md", "docs/ihp-flake.md"])
def test_every_link_leads_to_a_file(page: str) -> None:
    path = ROOT / page
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []
