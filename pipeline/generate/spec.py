"""What a blueprint says of its workflow: the section `ci`, and the images that the workflow publishes.

Everything in it becomes text of a file that runs with a token that may write packages. So each value has a grammar and is refused where it
breaks it: an expression (`${{ … }}`) in a value would be run by GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FILE = r"[a-z0-9][a-z0-9._-]{0,60}\.ya?ml"
ID = r"[a-z][a-z0-9-]{0,40}"
OWNER_AND_NAME = r"([A-Za-z0-9][A-Za-z0-9.-]{0,100}/)?[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}"
SECRET_NAME = r"(?!GITHUB_)[A-Z_][A-Z0-9_]{0,80}"  # noqa: S105  # GitHub refuses secrets of its own prefix
RUNNER = r"[a-z0-9][a-z0-9.-]{0,60}"
PLATFORM = r"linux/[a-z0-9]+(/v[0-9])?"
REPOSITORY = r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
REGISTRY = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?"
PATH = r"(?!-|/)(?!(.*/)?\.\.(/|$))[A-Za-z0-9._/@+-]{1,200}"
FILTER = r"(?!-)[A-Za-z0-9._/*?+!\[\]-]{1,200}"  # GitHub's patterns for branches and tags
DOCKER_HUB = "docker.io"
ARGUMENT = r"[A-Za-z_][A-Za-z0-9_]{0,80}"


@dataclass(frozen=True)
class CiImage:
    """One image that the workflow builds; the options are those of the driver buildx, but `secrets` come from `env:NAME` alone."""

    repository: str
    context: str = "."
    dockerfile: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _fits("repository", self.repository, REPOSITORY)
        _fits("context", self.context, PATH)
        _fits("dockerfile", self.dockerfile, PATH, empty=True)
        _fits("target", self.target, PATH, empty=True)
        for platform in self.platforms:
            _fits("platforms", platform, PLATFORM)
        for name, value in self.args.items():
            _fits("args", name, ARGUMENT)
            _plain(f"args.{name}", value)
        for name, source in self.secrets.items():
            _fits("secrets", name, ARGUMENT)
            if not source.startswith("env:") or not re.fullmatch(SECRET_NAME, source[4:]):
                raise ValueError(
                    f"secret {name} comes from {source!r}, which a workflow cannot read: write env:NAME, a secret of the repository"
                )


@dataclass(frozen=True)
class CiDeploy:
    """A job that deploys what was published: `inv deploy verify` in `environment`, of refs that `branches` name.

    `secrets` are names of secrets of the repository that the job gets in its environment.
    """

    environment: str
    branches: tuple[str, ...] = ("main",)
    secrets: tuple[str, ...] = ()
    minutes: int = 30

    def __post_init__(self) -> None:
        _fits("environment", self.environment, ID)
        for branch in self.branches:
            _fits("branches", branch, PATH)
        for name in self.secrets:
            _fits("secrets", name, SECRET_NAME)


@dataclass(frozen=True)
class Ci:
    """The workflow that publishes the blueprint's images.

    `workflow` is the file in .github/workflows, `repository` is [host/]owner/name on GitHub ("": as the git remote has it), `registry` the
    address that is pushed to, `token` the secret that is used in place of GITHUB_TOKEN where it is set. A registry with accounts of
    its own, as Docker Hub is: `username` is the secret with its name, `token` the one with its password. It runs on pushes to `branches`
    and of git tags that match `git_tags`, and by hand. `images` and `tags` (rules, see pipeline/tools/tag_rules.py) are those of the build
    stage where they are not named. Each platform is built on its own of the `runners`, a job each; with `emulate` on one runner, by QEMU.
    `overlay` is the environment whose overlay the workflow is made from, "" for none. Each of `run` is a check of the kind `run`: what
    was published is pulled and run by itself when `inv ci.watch` has seen it.
    """

    workflow: str
    repository: str = ""
    registry: str = "ghcr.io"
    token: str = "GHCR_PAT"  # noqa: S105  # a name
    username: str = ""
    branches: tuple[str, ...] = ("main",)
    git_tags: tuple[str, ...] = ()
    images: Mapping[str, CiImage] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    runners: Mapping[str, str] = field(default_factory=lambda: {"linux/amd64": "ubuntu-24.04", "linux/arm64": "ubuntu-24.04-arm"})
    emulate: bool = False
    overlay: str = ""
    run: tuple[Mapping[str, Any], ...] = ()
    deploy: CiDeploy | None = None
    minutes: int = 30

    def __post_init__(self) -> None:
        _fits("workflow", self.workflow, FILE)
        _fits("repository", self.repository, OWNER_AND_NAME, empty=True)
        _fits("registry", self.registry, REGISTRY)
        _fits("token", self.token, SECRET_NAME, empty=True)
        _fits("username", self.username, SECRET_NAME, empty=True)
        if (self.username and not self.token) or (self.registry == DOCKER_HUB and not self.username):
            raise ValueError(f"{self.registry} knows no account of GitHub's: name the secrets with its `username` and its `token`")
        for pattern in (*self.branches, *self.git_tags):
            _fits("branches and git_tags", pattern, FILTER)
        if not self.branches and not self.git_tags:
            raise ValueError("it names neither branches nor git_tags, so that nothing would start it")
        for name in self.images:
            _fits("images", name, ID)
        if self.tags:
            from pipeline.tools import tag_rules  # a release that touches no workflow needs none of it

            tag_rules.parse(self.tags)
        for platform, runner in self.runners.items():
            _fits("runners", platform, PLATFORM)
            _fits("runners", runner, RUNNER)
        for minutes in (self.minutes, self.deploy.minutes if self.deploy else 1):
            if not 0 < minutes <= 360:
                raise ValueError(f"{minutes} minutes are not a time that GitHub gives a job (1 to 360)")


@dataclass(frozen=True)
class Workflow:
    """All that a workflow is made of. `blueprint` is its name, `source` its file; `images` and `rules` (of tags) are those of the section
    `ci`, or the build stage's."""

    blueprint: str
    source: str
    ci: Ci
    images: Mapping[str, CiImage]
    rules: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.ci.workflow.rpartition(".")[0]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Every platform that some image has, in order; linux/amd64 where none is named."""
        named = dict.fromkeys(platform for image in self.images.values() for platform in image.platforms)
        return tuple(named) or ("linux/amd64",)


def workflow(blueprint: str, source: str, ci: Ci, build: Any) -> Workflow:
    """The workflow of a blueprint, `build` being the options of its build stage (or None).

    Raises ValueError where there are no images or no runner for one, ConfigError where a rule for tags is none.
    """
    from pipeline.tools import tag_rules

    images = dict(ci.images) or {name: image(found) for name, found in getattr(build, "images", {}).items()}
    if not images:
        raise ValueError("ci names no images, and the build stage has none that it could take")
    for name in images:
        _fits("images", name, ID)
    rules = ci.tags or tuple(getattr(build, "tags", ()))
    tag_rules.parse(rules)
    made = Workflow(blueprint, source, ci, images, rules)
    if len({found.platforms or made.platforms for found in images.values()}) > 1:
        raise ValueError("images of one workflow have the same platforms: a set is published whole")
    if not ci.emulate and (strange := [platform for platform in made.platforms if platform not in ci.runners]):
        raise ValueError(f"there is no runner for {', '.join(strange)}: name one in ci.runners, or say emulate: true")
    return made


def image(found: Any) -> CiImage:
    """An image of the build stage as the workflow's own."""
    return CiImage(
        repository=found.repository,
        context=found.context,
        dockerfile=found.dockerfile,
        target=found.target,
        args=dict(found.args),
        platforms=tuple(found.platforms),
        secrets=dict(found.secrets),
    )


def _fits(what: str, value: str, grammar: str, *, empty: bool = False) -> None:
    if not (empty and value == "") and not re.fullmatch(grammar, value):
        raise ValueError(f"{what}: {value!r} is not written as one")


def _plain(what: str, value: str) -> None:
    if "${{" in value or "\n" in value:
        raise ValueError(f"{what}: {value!r} holds an expression, which GitHub would run")
