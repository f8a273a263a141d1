"""Workflows that the tests generate: one image for one platform, and a set for two."""

from __future__ import annotations

from pipeline.generate.spec import Ci, CiDeploy, CiImage, Workflow, workflow

RELAY = CiImage("owner/relay", "samples/relay", args={"VERSION": "1: 2 # 3"}, secrets={"npm": "env:NPM_TOKEN"})


def single() -> Workflow:
    ci = Ci("docker-publish.yml", git_tags=("**",), images={"relay": RELAY}, tags=("branch", "sha", "tag"))
    return workflow("relay", "config/relay.yml", ci, None)


def double(*, emulate: bool = False) -> Workflow:
    both = ("linux/amd64", "linux/arm64")
    images = {
        "relay": CiImage("owner/set-relay", "samples/tokenplace", dockerfile="samples/Dockerfile.relay", target="relay", platforms=both),
        "node": CiImage("owner/set-node", "samples/tokenplace", platforms=both),
    }
    deploy = CiDeploy("staging", secrets=("KUBECONFIG_STAGING",))
    tags = ("raw:main-latest@main", "sha:main-@main", "branch")
    ci = Ci("relay-oci.yml", token="", images=images, tags=tags, emulate=emulate, deploy=deploy)
    return workflow("tokenplace", "config/tokenplace.yml", ci, None)
