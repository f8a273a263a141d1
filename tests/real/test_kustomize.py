"""A kustomization on the lab, as its authors write one: an overlay over a base, a generated ConfigMap, somebody else's words in braces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy.manifest_spec import Kubectl
from pipeline.deploy.manifests import check, find, make
from pipeline.deploy.shared import back, live, standing
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools.kube import path
from pipeline.verify.checks import Checks
from pipeline.verify.checks import make as verify
from tests.real.deploy_parts import APP, CLUSTER, World, archive, world

pytestmark = pytest.mark.real
__all__ = ["archive"]
BASE = """
resources: [web.yaml]
configMapGenerator:
  - name: settings
    files: [Caddyfile]
    literals: [DRAIN_SECONDS=1, READY=y, MODE=0o17]
"""
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: files, configMap: {name: settings, defaultMode: 0444}}]
      containers:
        - name: app
          image: web
          ports: [{containerPort: 8000}]
          env: [{name: DRAIN_SECONDS, valueFrom: {configMapKeyRef: {name: settings, key: DRAIN_SECONDS}}}]
          volumeMounts: [{name: files, mountPath: /settings}]
          envFrom: [{secretRef: {name: web-env}}]
          readinessProbe: {httpGet: {path: /healthz, port: 8000}, periodSeconds: 1}
"""
CADDY = "example.test {\n  reverse_proxy {host}:{port}\n}\n"


@pytest.fixture
def lab_world(lab: Site, tmp_path: Path, archive: Path) -> Iterator[World]:
    yield from world(lab, tmp_path, archive)


def write(root: Path, images: Images, replicas: int = 1) -> None:
    """The base, and the overlay of a stage over it."""
    for folder in ("deploy/base", "deploy/stage"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "deploy/base/kustomization.yaml").write_text(BASE)
    (root / "deploy/base/web.yaml").write_text(WEB)
    (root / "deploy/base/Caddyfile").write_text(CADDY)
    name = images.images[0].repository
    overlay = (
        f"resources: [../base]\nreplicas: [{{name: web, count: {replicas}}}]\nimages: [{{name: web, newName: '{name}', newTag: v1}}]\n"
    )
    (root / "deploy/stage/kustomization.yml").write_text(overlay)


def test_an_overlay_is_released_changed_and_taken_back(lab_world: World) -> None:
    site, first, second = lab_world.site, lab_world.image(), lab_world.image()
    secret: Any = lab_world.spec().secret
    spec = Kubectl(CLUSTER, lab_world.namespace, APP, "deploy/stage", secret=secret, deadline=200.0)
    write(site.root, first)
    check(spec, site)
    made = make(spec, first, site)
    assert made.revision == 1
    assert {pod["spec"]["containers"][0]["image"] for pod in lab_world.pods()} == {first.images[0].reference}
    settings = lab_world.kube.list(path("v1", "configmaps", lab_world.namespace))["items"]
    (data,) = [each["data"] for each in settings if each["metadata"]["name"].startswith("settings-")]
    assert data == {"Caddyfile": CADDY, "DRAIN_SECONDS": "1", "READY": "y", "MODE": "0o17"}
    assert find(spec, first, site).artifact == made, "a second release does nothing"
    assert verify(Checks(CLUSTER, watch=2.0), made, site).passed
    write(site.root, first, replicas=2)
    assert find(spec, second, site).artifact is None
    assert make(spec, second, site).revision == 2
    running = live(spec, site)
    assert running is not None
    assert running.images[0].digest == second.images[0].digest
    assert standing(spec, site).ours
    assert list(standing(spec, site).edited()) == []
    with back(spec, "", False, site) as way:
        assert way.go is not None
        release = way.go()
    assert isinstance(release, Release)
    assert {pod["spec"]["containers"][0]["image"] for pod in lab_world.pods()} == {first.images[0].reference}
    write(site.root, first)
    assert find(spec, first, site).artifact is not None


def test_what_kustomize_cannot_render_is_told_by_the_plan(lab_world: World) -> None:
    site, images = lab_world.site, lab_world.image()
    spec = Kubectl(CLUSTER, lab_world.namespace, APP, "deploy/stage")
    write(site.root, images)
    (site.root / "deploy/base/kustomization.yaml").write_text(BASE + "namePrefix: [1]\n")
    with pytest.raises(ConfigError, match="the kustomization in deploy/stage cannot be rendered") as told:
        check(spec, site)
    assert "namePrefix" in told.value.cause
    write(site.root, images)
    (site.root / "deploy/base/web.yaml").write_text(WEB.replace("image: web", 'image: "{reference}"'))
    with pytest.raises(ConfigError, match=r"Deployment web: .*image is \{reference\}, and kustomize fills nothing in"):
        check(spec, site)
