"""Deploys jsonnet manifests with kubecfg: evaluated, compared and applied by it, tried out on the server first, followed as helm's are."""

from __future__ import annotations

from pipeline.deploy.manifest_spec import Kubecfg
from pipeline.deploy.manifests import check, find, make, rehearse, validate, warm
from pipeline.deploy.shared import driver

DRIVER = driver("kubecfg", Kubecfg, find, make, warm, check, validate, rehearse)
