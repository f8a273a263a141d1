"""What a deploy would stumble over, told without asking anybody."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.helm import DRIVER
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.errors import AuthError, ConfigError, PipelineError
from pipeline.stage import Site
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster


def spec(**options: Any) -> Helm:
    return Helm(**{"cluster": "lab", "namespace": NAMESPACE, "release": RELEASE, **options})


def refused(site: Site, options: Helm) -> PipelineError:
    assert DRIVER.check is not None
    with pytest.raises(PipelineError) as caught:
        DRIVER.check(options, site)
    return caught.value


def test_what_is_all_there_asks_nobody(site: Site, cluster: Cluster) -> None:
    assert DRIVER.check is not None
    cluster.fake.close()
    secret = SecretSpec("web", {"KEY": "value:key"})
    DRIVER.check(spec(secret=secret, values={"a": "{web.digest} {tag} {secret} {{x}}", "b": {"c": 1}}), site)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"cluster": "lba"}, ConfigError, "no cluster 'lba'; did you mean 'lab'?"),
        ({"chart": "chrat"}, ConfigError, "no chart in chrat/"),
        ({"values": {"image": {"digest": "{digst}"}}}, ConfigError, "values.image.digest: {digst} is not known"),
        ({"secret": SecretSpec("web", {"KEY": "value:kye"})}, ConfigError, "no value 'kye'"),
        ({"secret": SecretSpec("web", {"KEY": "hunter2"})}, ConfigError, "not a source of secrets"),
        ({"secret": SecretSpec("web", {"KEY": "env:NOT_THERE"})}, AuthError, "env:NOT_THERE is not set"),
    ],
)
def test_each_mistake_by_its_place(site: Site, options: dict[str, Any], kind: type[PipelineError], text: str) -> None:
    error = refused(site, spec(**options))
    assert isinstance(error, kind)
    assert text in error.what
    assert error.mend


def test_a_node_or_a_tunnel_that_is_no_host_of_the_site(site: Site) -> None:
    for field in ("node", "tunnel"):
        clusters = {"lab": dataclasses.replace(site.cluster("lab"), **{field: "nod"})}  # type: ignore[arg-type]  # one of two names
        assert "no host 'nod'; did you mean 'node'?" in refused(dataclasses.replace(site, clusters=clusters), spec()).what


def test_helm_that_is_not_there(site: Site, tmp_path: Path) -> None:
    error = refused(dataclasses.replace(site, tools={"helm": str(tmp_path / "helm")}), spec())
    assert "cannot be run" in error.what
    assert "Helm 3.13" in error.mend


def test_a_kubeconfig_of_another_cluster(site: Site) -> None:
    clusters = {"lab": dataclasses.replace(site.cluster("lab"), identity="sha256:" + "0" * 64)}
    assert "another cluster" in refused(dataclasses.replace(site, clusters=clusters), spec()).what
