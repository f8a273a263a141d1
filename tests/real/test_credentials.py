"""Who asks a real cluster: a credential plugin, as EKS, GKE and AKS have one, for the client and for helm and kubectl."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import AuthError
from pipeline.stage import Site
from pipeline.tools import helm, kubectl
from pipeline.tools.kube import Kube, connect, path

pytestmark = pytest.mark.real
CLUSTER = "railiance01"
V1 = "client.authentication.k8s.io/v1"


def with_plugin(lab: Site, folder: Path) -> Site:
    """The lab's cluster with a plugin in its kubeconfig, relative to its folder; `folder`/status is what it gives."""
    config = yaml.safe_load(Path(lab.cluster(CLUSTER).kubeconfig).read_text())
    user = config["users"][0]["user"]
    config["users"][0]["user"] = {"exec": {"apiVersion": V1, "command": "./plugin", "interactiveMode": "IfAvailable"}}
    status = {to: base64.b64decode(user[of]).decode() for to, of in
              (("clientCertificateData", "client-certificate-data"), ("clientKeyData", "client-key-data"))}  # fmt: skip
    give(folder, status)
    (folder / "plugin").write_text(f'#!/bin/sh\nset -eu\necho "$PPID" >> {folder}/ran\ncat {folder}/status\n')
    (folder / "plugin").chmod(0o700)
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    cluster = dataclasses.replace(lab.cluster(CLUSTER), kubeconfig=str(folder / "kubeconfig"))
    return dataclasses.replace(lab, clusters={CLUSTER: cluster}, shared={})


def give(folder: Path, status: dict[str, Any]) -> None:
    (folder / "status").write_text(json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status}))


def output(tool: Any, argv: tuple[str, ...], folder: Path) -> str:
    env = tool.environment({"HOME": str(folder), "PATH": "/usr/bin:/bin"}, str(folder / "cache"))
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tools(site: Site, kube: Kube, folder: Path) -> list[str]:
    """What kubectl and helm say with the kubeconfig that they are given."""
    given = ("--kubeconfig", kube.kubeconfig(), "--namespace", "kube-system")
    return [
        output(kubectl, (site.tool("kubectl"), "get", "configmaps", "--output", "name", *given), folder),
        output(helm, (site.tool("helm"), "list", *given), folder),
    ]


def test_d08_a_plugin_serves_the_client_and_the_tools(lab: Site, tmp_path: Path) -> None:
    site = with_plugin(lab, tmp_path)
    kube = connect(site, CLUSTER)
    assert kube.list(path("v1", "configmaps", "kube-system"))["items"]
    asked = (tmp_path / "ran").read_text()
    assert len(asked.splitlines()) == 1
    listed, releases = tools(site, kube, tmp_path)
    assert "configmap/kube-root-ca.crt" in listed
    assert releases.startswith("NAME")
    assert len((tmp_path / "ran").read_text().splitlines()) == 3  # each tool has asked the plugin itself
    given = Path(kube.kubeconfig())
    site.shared["kube:" + CLUSTER].close()
    assert not given.exists()


def test_d08_a_token_of_a_plugin_is_renewed_when_the_api_does_not_know_it(lab: Site, tmp_path: Path) -> None:
    admin = connect(lab, CLUSTER)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    target = path("v1", "serviceaccounts", "kube-system", "default", "token")
    token = admin.create(target, request)["status"]["token"]
    who = path("authentication.k8s.io/v1", "selfsubjectreviews")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    site = with_plugin(lab, tmp_path)
    give(tmp_path, {"token": "withdrawn-token"})
    kube = connect(site, CLUSTER)
    kube.access.login.credentials()
    give(tmp_path, {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"})
    user = kube.create(who, review)["status"]["userInfo"]["username"]
    assert user == "system:serviceaccount:kube-system:default"
    assert site.secrets.mask(token) == "[secret]"
    with pytest.raises(AuthError) as caught:
        kube.list(path("v1", "secrets", "kube-system"))
    assert "allow this user" in caught.value.mend
    kube.close()
