"""Which unit tests a change concerns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline import changed
from pipeline.changed import choose

FILES = {
    "pipeline/deploy/__init__.py": "",
    "pipeline/deploy/lease.py": 'SCRIPT = "take.sh"\n',
    "pipeline/deploy/take.sh": "true\n",
    "pipeline/tools/kube.py": "from pipeline.deploy import lease\n",
    "tests/deploy/world.py": "from pipeline.deploy.lease import SCRIPT\n",
    "tests/deploy/test_lease.py": "import pytest\n",
    "tests/deploy/test_lease_lost.py": "import pytest\n",
    "tests/deploy/test_helm.py": "from tests.deploy.world import SCRIPT\n",
    "tests/tools/test_kube.py": "def test_x():\n    from pipeline.deploy import lease\n",
    "tests/tools/test_cases.py": 'CASES = "skopeo"\n',
    "tests/real/test_kill.py": "from pipeline.deploy import lease\n",
    "tests/test_docs.py": 'PAGE = "README.md"\n',
    "tests/test_broken.py": "def (\n",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        (
            "pipeline/deploy/lease.py",
            ["tests/deploy/test_lease.py", "tests/deploy/test_lease_lost.py", "tests/tools/test_kube.py", "tests/deploy/test_helm.py"],
        ),
        (
            "pipeline/deploy/take.sh",
            ["tests/deploy/test_lease.py", "tests/deploy/test_lease_lost.py", "tests/tools/test_kube.py", "tests/deploy/test_helm.py"],
        ),
        ("tests/deploy/world.py", ["tests/deploy/test_helm.py"]),
        ("tests/deploy/test_helm.py", ["tests/deploy/test_helm.py"]),
        ("tests/cases/skopeo/refused.txt", ["tests/tools/test_cases.py"]),
        ("README.md", ["tests/test_docs.py"]),
        ("pipeline/deploy/gone.py", []),
        ("tests/test_broken.py", ["tests/test_broken.py"]),
        ("tests/real/test_kill.py", []),
    ],
)
def test_nearest_first_and_never_a_real_one(copy: Path, file: str, tests: list[str]) -> None:
    assert choose(copy, [file], ("tests/real",)).files == tuple(tests)


def test_what_many_import_is_cut_and_told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "MOST", 3)
    found = choose(copy, ["pipeline/deploy/lease.py"], ("tests/real",))
    assert (len(found.files), found.left_out) == (3, 1)
    assert found.files[0] == "tests/deploy/test_lease.py"


def test_of_those_equally_near_the_ones_that_import_little_beside_come_first(copy: Path) -> None:
    """By name it would be those of the first folders, whole deploys among them, whatever they cost."""
    whole = "from pipeline.deploy import lease\nfrom pipeline.tools import kube\n"
    (copy / "tests/build").mkdir()
    (copy / "tests/build/test_all.py").write_text(whole)
    chosen = choose(copy, ["pipeline/deploy/lease.py"], ("tests/real",)).files
    assert chosen[2:] == ("tests/tools/test_kube.py", "tests/build/test_all.py", "tests/deploy/test_helm.py")


def test_changed_is_what_is_not_as_on_main(copy: Path) -> None:
    def git(*words: str) -> None:
        own = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(copy), *own, *words], check=True, capture_output=True)

    assert changed.changed(copy) == []  # no repository at all
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message=one")
    assert changed.changed(copy) == []
    (copy / "README.md").write_text("new\n")
    assert changed.changed(copy) == ["README.md"]
    git("switch", "--quiet", "--create", "topic")
    (copy / "pipeline/tools/kube.py").unlink()
    git("commit", "--quiet", "--all", "--message=two")
    (copy / "tests/test_docs.py").write_text("# äöü\n")
    assert changed.changed(copy) == ["README.md", "pipeline/tools/kube.py", "tests/test_docs.py"]
