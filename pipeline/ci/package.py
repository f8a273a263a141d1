"""What a run has published: every tag asked of the registry, by digest, and all that lies behind it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pipeline.errors import VerifyError
from pipeline.generate.spec import Workflow
from pipeline.stage import Registry, Site, registry_at
from pipeline.tools import tag_rules
from pipeline.tools.gh import Run
from pipeline.tools.image_index import differs, stored
from pipeline.tools.registry import Client, client_of
from pipeline.tools.tags import Ref, Tags, tags


@dataclass(frozen=True)
class Package:
    """One image of a run: `reference` by digest, the `tags` that stand for it, its platforms, and the tags that have `moved` on since."""

    name: str
    reference: str
    tags: tuple[str, ...]
    platforms: tuple[str, ...]
    moved: tuple[str, ...] = ()


def expected(flow: Workflow, run: Run, time: int = 0) -> Tags:
    """The tags that the run has put on. `time` is the commit's (seconds since 1970), for tags that have it in them; 0: not known here.

    gh tells a git tag and a branch by the same field: a name that `ci.branches` has is a branch.
    """
    branch = run.branch if run.branch in flow.ci.branches or not flow.ci.git_tags else ""
    ref = Ref(run.commit, branch, () if branch else (run.branch,), time=time)
    return tags(tag_rules.parse(flow.rules), ref)


def look(flow: Workflow, run: Run, site: Site, time: int = 0) -> tuple[Package, ...]:
    """Every image of the run as it lies in the registry. Raises VerifyError where a tag is missing, two differ, or a part is gone."""
    site, name = _registry(site, flow.ci.registry)
    client, wanted = client_of(site, name), expected(flow, run, time)
    return tuple(_package(client, flow, image, wanted) for image in flow.images)


def _package(client: Client, flow: Workflow, name: str, wanted: Tags) -> Package:
    repository = flow.images[name].repository
    where = f"{flow.ci.registry}/{repository}"
    found = {tag.name: client.head(repository, tag.name) for tag in wanted.all}
    if absent := [tag for tag, digest in found.items() if digest is None]:
        raise VerifyError(
            f"the run ended well, but {where} has no tag {', '.join(absent)}",
            cause=f"tags there: {', '.join(client.tags(repository)[-10:]) or 'none'}",
            mend="was the package made private, or deleted since? look at the step that asks the registry, in the run's log",
        )
    fixed = {tag.name: found[tag.name] for tag in wanted.fixed}
    if len(set(fixed.values())) > 1:
        raise VerifyError(
            f"fixed tags of {where} stand for different images", cause=", ".join(f"{tag} is {at}" for tag, at in fixed.items())
        )
    digest = str(next(iter((fixed or found).values())))
    behind = stored(client, repository, digest)
    wrong = "it is gone" if behind is None else differs(behind, flow.platforms, _same)
    if behind is None or wrong:
        raise VerifyError(
            f"{where}@{digest} is not what was asked for", cause=wrong, mend=f"gh run rerun, or look at {where} in the registry"
        )
    here = tuple(tag for tag, at in found.items() if at == digest)
    return Package(name, f"{where}@{digest}", here, behind.platforms, tuple(tag for tag in found if tag not in here))


def _registry(site: Site, address: str) -> tuple[Site, str]:
    """The site and its name for the registry at `address`; where it names none, it is asked without an account of the site's."""
    if name := registry_at(site.registries, address):
        return site, name
    return dataclasses.replace(site, registries={**site.registries, address: Registry(address)}), address


def _same(platform: str) -> str:
    return "linux/arm64" if platform == "linux/arm64/v8" else platform
