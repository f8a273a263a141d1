"""One run watched from the commit to the package, and the package run: what `inv ci.watch` does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Check, Image, Release, Source
from pipeline.ci.ask import Asker
from pipeline.ci.package import Package, look
from pipeline.ci.watch import find, follow
from pipeline.ci.workflows import opened
from pipeline.errors import ConfigError, PipelineError
from pipeline.host.local import LocalHost
from pipeline.plan import Published, only_blueprint
from pipeline.retry import Policy, retrying
from pipeline.say import remember
from pipeline.source import Repository
from pipeline.stage import Site
from pipeline.tools import references
from pipeline.tools.gh import Run

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Watched:
    """The run once it has ended well, what it published, and the checks of what was published."""

    run: Run
    packages: tuple[Package, ...]
    checks: tuple[Check, ...] = ()


def watched(config: Path, blueprint: str, env: str, number: str, commit: str, say: Callable[[str], None]) -> Watched:
    """Follow the run (`number`, or the newest of `commit`, or of HEAD), ask for what it published, and run that where `ci.run` says so.

    Raises what its parts raise: ConfigError, AuthError, BuildError, VerifyError, Transient.
    """
    flow, plan = opened(config, blueprint or only_blueprint(config), env)
    with plan.blueprint.site() as site:
        remember(site.secrets)
        git = Repository(site.root, site.tool("git"))
        asker = Asker(
            LocalHost(clock=site.clock), site.clock, str(site.root), site.tool("gh"), flow.ci.repository, say=say, mask=site.secrets.mask
        )
        run = asker.run(number, Policy()) if number else find(asker, flow.ci.workflow, _commit(git, commit))
        ended = follow(asker, str(run.id), say)
        time = _time(git, ended.commit)
        packages = retrying(Policy(), site.clock, lambda _attempt: look(flow, ended, site, time), lambda error, _n, _wait: say(error.what))
        for package in packages:
            say(f"{package.reference}: {', '.join(package.platforms)}; {', '.join(package.tags)}")
            if package.moved:
                say(f"{', '.join(package.moved)} of {package.name} stand for another image by now: a newer run has moved them")
        checks = _tried(plan, site, ended, packages) if plan.runs else ()
    for check in checks:
        say(f"{check.name}: {check.evidence}")
    return Watched(ended, packages, checks)


def _tried(plan: Published, site: Site, run: Run, packages: tuple[Package, ...]) -> tuple[Check, ...]:
    """The checks of the images as they were published, each run by itself on a Docker."""
    from pipeline.verify.checks import Checks, check, make

    spec = Checks("", checks=plan.runs, pods=False)
    check(spec, site)
    images = tuple(_image(package) for package in packages)
    source = Source(tree="", commit=run.commit, dirty=False, path=str(site.root))
    return make(spec, Release(source, images, "", "", site.app, 0, ""), site).checks


def _image(package: Package) -> Image:
    found = references.read(package.reference)
    return Image(found.repository, found.digest, (*package.tags, "")[0])


def _commit(git: Repository, named: str) -> str:
    """The whole name of a commit: HEAD's where none is named. Raises ConfigError where there is none of that name."""
    if named.startswith("-"):
        raise ConfigError(f"{named!r} is not a commit", mend="git log --oneline shows them")
    found = git.run("rev-parse", "--verify", "--end-of-options", f"{named or 'HEAD'}^{{commit}}").decode().strip()
    if not COMMIT.fullmatch(found):
        raise ConfigError(f"{named or 'HEAD'} is not a commit here", mend="git log --oneline shows them")
    return found


def _time(git: Repository, commit: str) -> int:
    """When the commit was made, in seconds since 1970; 0 where it is not in this clone."""
    try:
        return int(git.run("log", "-1", "--no-show-signature", "--format=%ct", commit, "--"))
    except (PipelineError, ValueError):
        return 0
