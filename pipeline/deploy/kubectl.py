"""Deploys YAML manifests with kubectl: rendered here, tried out and then applied on the server, followed as helm's releases are."""

from __future__ import annotations

from pipeline.deploy.manifest_spec import Kubectl
from pipeline.deploy.manifests import check, find, make, rehearse, validate, warm
from pipeline.deploy.shared import driver

DRIVER = driver("kubectl", Kubectl, find, make, warm, check, validate, rehearse)
