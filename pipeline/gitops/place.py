"""Where a blueprint's release stands in its GitOps repository: the deploy stage and the section `gitops`, read together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipeline.errors import ConfigError
from pipeline.gitops.spec import Gitops
from pipeline.stage import Remote
from pipeline.tools import git

if TYPE_CHECKING:
    from pipeline.stage import Plan, Site
    from pipeline.tools.gitops import Repository

STAGE = "gitops"
SECRET = "flux-system"  # noqa: S105  # the name that `flux bootstrap` gives the Secret with the key
INFRASTRUCTURE = "infrastructure"
SCP = re.compile(r"(?!ssh://|https://)(?P<login>(?:[^@:/]+@)?[^:/]+):(?P<path>.+)")


class Followed(Protocol):
    """What the deploy stage says of a release that Flux keeps."""

    @property
    def cluster(self) -> str: ...
    @property
    def remote(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def branch(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def written(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def kustomization(self) -> str: ...
    @property
    def sign(self) -> bool: ...
    @property
    def deadline(self) -> float: ...


@dataclass(frozen=True)
class Place:
    """A release in its GitOps repository: `app` and `name` are the blueprint's, `flux` its deploy stage, `gitops` its section."""

    app: str
    name: str
    flux: Followed
    gitops: Gitops

    @property
    def cluster_folder(self) -> str:
        """What the cluster's Kustomization applies."""
        return self.flux.path.strip("/")

    @property
    def folder(self) -> str:
        """The folder with the HelmRelease and what belongs to it."""
        return self.flux.written.rpartition("/")[0]

    @property
    def system_folder(self) -> str:
        """The folder with Flux's own objects."""
        return f"{self.cluster_folder}/flux-system"

    @property
    def chart(self) -> str:
        """The chart's folder in the repository, or oci://REGISTRY/PATH."""
        return self.gitops.chart.rstrip("/") or f"helm/{self.flux.release}"

    @property
    def config_map(self) -> str:
        """The ConfigMap with the values that people write."""
        return f"{self.flux.release}-values"

    def url(self, remote: Remote) -> str:
        """The repository's address as Flux reaches it, which takes ssh://user@host/path and not user@host:path."""
        url = self.gitops.url.replace("{app}", self.app) or git.remote_url(remote, self.app)
        if self.gitops.url:
            git.remote_url(Remote(url), self.app)
        short = SCP.fullmatch(url)
        return f"ssh://{short['login']}/{short['path'].lstrip('/')}" if short else url

    def repository(self, site: Site) -> Repository:
        """The repository itself."""
        from pipeline.tools.gitops import Repository

        return Repository(site, self.flux.remote, self.flux.branch, self.flux.sign, STAGE)


def of(name: str, app: str, plan: Plan, gitops: Gitops | None) -> Place:
    """The place of a blueprint's release. Raises ConfigError where it is not one that Flux keeps."""
    spec = next((stage.spec for stage in plan if stage.verb == "deploy" and stage.driver.name == "flux"), None)
    if spec is None:
        raise ConfigError(
            f"blueprint {name} has no release that Flux keeps",
            mend="name a blueprint whose deploy stage says driver: flux (inv blueprints shows them)",
        )
    return Place(app, name, cast("Followed", spec), gitops or Gitops())
