"""A kubeconfig out of the outputs: private, masked, once, and not when its token has ended."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import AuthError, ConfigError
from pipeline.opened import Clusters
from pipeline.provision import handover
from pipeline.provision.handover import Handover
from pipeline.secrets import Secrets
from pipeline.stage import Cluster
from pipeline.tools import private
from pipeline.tools.terraform_plan import Out


def token(**claims: Any) -> str:
    parts = [{"alg": "none"}, claims]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "signature"])


def config(secret: str) -> str:
    return f"users:\n- name: a\n  user: {{token: {secret}}}\n"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Out]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found: dict[str, Out] = {}
    asked: list[object] = []

    def outputs(root: object) -> dict[str, Out]:
        assert not asked, "the outputs are asked for once"
        asked.append(root)
        return found

    monkeypatch.setattr(handover, "outputs", outputs)
    return found


@pytest.fixture
def root() -> Any:
    return SimpleNamespace(name="relay.lab", site=SimpleNamespace(secrets=Secrets()))


def test_a_private_file_that_goes_with_the_site(given: dict[str, Out], root: Any, tmp_path: Path) -> None:
    secret = token(exp=time.time() + 600)
    given["kubeconfig"] = Out("kubeconfig", config(secret), True)
    clusters = Clusters({"spot": Cluster("output:kubeconfig", identity="sha256:x"), "own": Cluster("~/k")})
    clusters.infra = lambda: root
    assert clusters["own"].kubeconfig == "~/k"
    assert list(tmp_path.iterdir()) == []
    assert "spot" in clusters
    assert len(clusters) == 2
    first = clusters["spot"]
    path = Path(first.kubeconfig)
    assert (first.identity, path.read_text()) == ("sha256:x", config(secret))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert clusters["spot"] == first
    assert root.site.secrets.mask(f"Bearer {secret}") == "Bearer [secret]"
    clusters.close()
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_has_ended_says_how_to_renew_it(given: dict[str, Out], root: Any, tmp_path: Path) -> None:
    given["kubeconfig"] = Out("kubeconfig", config(token(exp=time.time() - 5)), True)
    with pytest.raises(AuthError, match=r"the token in output kubeconfig of relay\.lab expired at 20") as caught:
        Handover(root).kubeconfig("kubeconfig")
    assert caught.value.mend == "inv infra.plan, then inv infra.apply: the outputs get new credentials"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secret", ["opaque-token", "a.b.c", token(sub="x"), token(exp="soon"), "a.!.c"])
def test_a_token_that_tells_no_end(given: dict[str, Out], root: Any, secret: str) -> None:
    given["kubeconfig"] = Out("kubeconfig", config(secret), True)
    held = Handover(root)
    assert Path(held.kubeconfig("kubeconfig")).exists()
    held.close()


@pytest.mark.parametrize("text", ["", "[]", "users: 7", "no", "users: [x]", "\t:", "{}"])
def test_what_is_no_kubeconfig_is_refused_without_its_text(given: dict[str, Out], root: Any, text: str) -> None:
    given["kubeconfig"] = Out("kubeconfig", text, True)
    with pytest.raises(ConfigError, match="output kubeconfig is not a kubeconfig") as caught:
        Handover(root).kubeconfig("kubeconfig")
    assert caught.value.cause == ""


def test_an_output_that_is_not_there(given: dict[str, Out], root: Any) -> None:
    given["kube_config"] = Out("kube_config", "", True)
    with pytest.raises(ConfigError, match="no output 'kubeconfig'") as caught:
        Handover(root).kubeconfig("kubeconfig")
    assert caught.value.mend == "its outputs are: kube_config"


def test_a_blueprint_without_infra() -> None:
    with pytest.raises(ConfigError, match="this blueprint has none"):
        Clusters({"spot": Cluster("output:kubeconfig")})["spot"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    process = subprocess.Popen(["true"])
    process.wait()
    gone = process.pid
    left = tmp_path / f"{private.PREFIX}{gone}-abc"
    left.mkdir()
    (left / "kubeconfig").write_text("secret")
    kept = [tmp_path / f"{private.PREFIX}{os.getpid()}-x", tmp_path / f"{private.PREFIX}x", tmp_path / "other"]
    for path in kept:
        path.mkdir()
    new = private.folder()
    assert not left.exists()
    assert all(path.exists() for path in (*kept, new))
