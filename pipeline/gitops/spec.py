"""What a blueprint says about its GitOps repository beside the release: the chart, how often Flux looks, and image automation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.schema import keyed

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")  # host[:port]/path, without tag or digest
DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+")  # as Flux's own schemas have it
BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
API = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?")
PERSON = re.compile(r"[^<>\n]+ <[^<>@\s]+@[^<>@\s]+>")
GROUP = re.compile(r"\$\{?(\w+)\}?")
NOT_OF_GO = re.compile(r"\(\?(=|!|<=|<!)|\\[1-9]")  # https://golang.org/s/re2syntax has no look-around and no back references


@dataclass(frozen=True)
class Newest:
    """Which tag of a repository is the newest: by default the sortable ones of `branch` (main-1a2b3c4-1700000000), by their time.

    `pattern` (a regular expression of Go) says which other tags count, `extract` what of them is compared ($name of a group), `order`
    how; or the highest version in the semver `range`. `digest` says when its digest is asked for: once, where a tag
    stands for one image for ever, always, where it moves, or never.
    """

    branch: str = "main"
    pattern: str = ""
    extract: str = ""
    order: Literal["numerical", "alphabetical"] = "numerical"
    range: str = ""
    digest: Literal["once", "always", "never"] = "once"

    def __post_init__(self) -> None:
        """Raises ValueError for what no tag could match, or what says two things."""
        if not BRANCH.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} is not the name of a branch")
        with keyed("extract"):
            if self.extract and not self.pattern:
                raise ValueError("extract takes a part of what a pattern matched: write the pattern too")
        with keyed("pattern"):
            groups = _groups(self.pattern)
        with keyed("extract"):
            if strange := next((name for name in GROUP.findall(self.extract) if name not in groups), ""):
                raise ValueError(f"${strange} is no group of the pattern: write (?P<{strange}>…) there")


@dataclass(frozen=True)
class Automation:
    """Flux itself writes the newest image's tag or digest: `images` maps an image's name in `stages.deploy.values` to the repository that
    is watched (HOST/PATH as Flux reaches it). The lines of those values that name it are then Flux's, and no release writes them.

    `policies` maps the same names to what counts as the newest. `interval` is how often a repository is looked at, `secrets` the
    docker-config Secret (beside Flux's objects) that a private one is asked with. `author` makes the commits, `push_branch` takes them
    where that is not the branch that Flux follows: a person merges it then.
    """

    images: Mapping[str, str]
    policies: Mapping[str, Newest] = field(default_factory=dict)
    interval: str = "5m"
    secrets: Mapping[str, str] = field(default_factory=dict)
    author: str = "Flux <flux@users.noreply.github.com>"
    push_branch: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for a name, a repository or an interval that Flux refuses."""
        if not self.images:
            raise ValueError("images is empty: name at least one, as web: ghcr.io/owner/web")
        for name, image in self.images.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"image {name!r} is not a name: lower-case letters, digits and '-', at most 63")
            if not IMAGE.fullmatch(image):
                raise ValueError(f"{image!r} is not a repository as Flux reaches it: HOST/PATH, without a tag and without a scheme")
        for key, named in (("policies", self.policies), ("secrets", self.secrets)):
            if strange := next((name for name in named if name not in self.images), ""):
                with keyed(key):
                    raise ValueError(f"{strange!r} is none of images: {', '.join(self.images)}")
        if not DURATION.fullmatch(self.interval):
            with keyed("interval"):
                raise ValueError(f"{self.interval!r} is no interval: write 5m, 30s, 1h")
        if self.push_branch and not BRANCH.fullmatch(self.push_branch):
            with keyed("push_branch"):
                raise ValueError(f"{self.push_branch!r} is not the name of a branch")
        if not PERSON.fullmatch(self.author):
            with keyed("author"):
                raise ValueError(f"{self.author!r} is not written as NAME <MAIL>")

    def newest(self, name: str) -> Newest:
        """What counts as the newest of this image."""
        return self.policies.get(name) or Newest()


@dataclass(frozen=True)
class Forge:
    """Who keeps the GitOps repository, and is told the key that Flux reads it with: github by the program gh, with the login that it has;
    gitea by its API at `api` (https://HOST) with `token`, a secret source, or at the site's `registry`, with the login named there.

    Without one the key is shown, and a person adds it.
    """

    kind: Literal["gitea", "github"]
    api: str = ""
    token: str = ""
    registry: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError where nobody could be asked."""
        if self.kind == "github" and (self.api or self.token or self.registry):
            raise ValueError("gh has its own login for GitHub: leave api, token and registry away")
        if self.kind == "gitea" and not (self.registry or (self.api and self.token)):
            raise ValueError("gitea needs its api and a token, or the registry of the site that it is as well")
        if self.api and not API.fullmatch(self.api):
            with keyed("api"):
                raise ValueError(f"{self.api!r} is no address: write https://HOST")


@dataclass(frozen=True)
class Gitops:
    """The section `gitops` of a blueprint whose deploy stage is flux's; what both need (remote, branch, path, release) stands there.

    `chart` is the chart's folder in the GitOps repository, or oci://REGISTRY/PATH of the site with `version`; `chart_from` the folder of
    the working copy that is put there. `url` is the repository's address as Flux reaches it, where that is not the remote's own.
    `interval` is how often Flux looks at the repository, `values` what people's own file of values begins with. `automation` makes Flux
    write new images itself, which the pipeline then must not. `forge` keeps the repository. `chart_secret` is the docker-config Secret
    (beside Flux's objects) that a private chart is pulled with.
    """

    chart: str = ""
    chart_from: str = ""
    version: str = ""
    url: str = ""
    interval: str = "1m"
    values: Mapping[str, Any] = field(default_factory=dict)
    automation: Automation | None = None
    forge: Forge | None = None
    chart_secret: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for what Flux refuses, or what says two things."""
        if not DURATION.fullmatch(self.interval):
            with keyed("interval"):
                raise ValueError(f"{self.interval!r} is no interval: write 5m, 30s, 1h")
        if self.oci and not self.version:
            raise ValueError("a chart in a registry has a version: 1.2.3, 1.2.3@sha256:… to pin its content, or a range as ^1.2")
        if self.oci and self.chart_from:
            raise ValueError("chart_from is the folder of a chart in the GitOps repository; inv chart.push publishes one in a registry")
        if not self.oci and (self.version or self.chart_secret):
            raise ValueError("version and chart_secret are said of a chart in a registry (chart: oci://REGISTRY/PATH), not of a folder")
        for key, folder in (("chart", "" if self.oci else self.chart), ("chart_from", self.chart_from)):
            if folder and (folder.startswith(("-", "/")) or {"..", "", "."} & set(folder.removesuffix("/").split("/"))):
                with keyed(key):
                    raise ValueError(f"{folder!r} is not a folder inside the repository")

    @property
    def oci(self) -> bool:
        """Whether the chart lies in a registry."""
        return self.chart.startswith("oci://")


def _groups(pattern: str) -> set[str]:
    """The groups of a regular expression of Go, by number and by name. Raises ValueError where it is none."""
    if NOT_OF_GO.search(pattern):
        raise ValueError(f"{pattern!r} looks around or back, which a regular expression of Go cannot")
    try:
        found = re.compile(pattern.replace("(?<", "(?P<"))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return {str(number) for number in range(found.groups + 1)} | set(found.groupindex)
