"""Deploys YAML manifests with kubectl: rendered here, tried out and then applied on the server, followed as helm's releases are."""

from __future__ import annotations

from pipeline.artifacts import Images, Release
from pipeline.deploy.manifest_spec import Kubectl
from pipeline.deploy.manifests import check, find, make, warm
from pipeline.deploy.shared import back, exclusive, freeze, live, standing, undo
from pipeline.stage import Driver

DRIVER = Driver(
    verb="deploy",
    name="kubectl",
    takes=Images,
    gives=Release,
    spec=Kubectl,
    find=find,
    make=make,
    stands_alone=False,  # a pod that moves to another node pulls again: the image has to stay in the registry
    exclusive=exclusive,
    live=live,
    undo=undo,
    warm=warm,
    back=back,
    standing=standing,
    freeze=freeze,
    check=check,
)
