"""YAML as helm and kubectl read it: what they make of the inputs of tests/tools/test_goyaml.py is what we make of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.stage import Site
from tests.real.deploy_parts import CLUSTER
from tests.tools.test_goyaml import CASES, REFUSED

pytestmark = pytest.mark.real
OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def helm(site: Site, folder: Path, text: str) -> tuple[int, str]:
    """What `helm template -f` reads."""
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: probe\nversion: 0.1.0\n")
    (folder / "templates/all.yaml").write_text("{{ .Values | toJson }}\n")
    (folder / "given.yaml").write_text(text)
    argv = [site.tool("helm"), "template", "probe", str(folder), "--values", str(folder / "given.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, next((line for line in done.stdout.splitlines() if line.startswith("{")), "")


def kubectl(site: Site, _folder: Path, text: str) -> tuple[int, str]:
    """What `kubectl create --dry-run=client` reads: the object that `text` is a part of."""
    argv = [site.tool("kubectl"), "--kubeconfig", site.cluster(CLUSTER).kubeconfig, "create", "--dry-run=client", "--validate=false"]
    done = subprocess.run([*argv, "--output=json", "--filename=-"], input=OBJECT + text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def as_floats(value: Any) -> Any:
    """JSON with one kind of numbers: helm knows no other."""
    if isinstance(value, dict):
        return {key: as_floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("tool", [helm, kubectl])
def test_helm_and_kubectl_read_what_we_read(lab: Site, tmp_path: Path, tool: Any) -> None:
    code, found = tool(lab, tmp_path, "".join(f"v{number}: {text}\n" for number, (text, _) in enumerate(CASES)))
    assert code == 0
    read = json.loads(found)
    for number, (text, meant) in enumerate(CASES):
        assert as_floats(read[f"v{number}"]) == as_floats(meant), text
    for text in REFUSED[::3]:  # a third of them: each is a process
        code, found = tool(lab, tmp_path, f"v: {text}\n")
        assert code != 0, (text, found)
