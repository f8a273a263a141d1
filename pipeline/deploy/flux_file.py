"""The file of a GitOps repository that holds a HelmRelease: which lines of it are a release's, and whether they may be written."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.deploy import flux_wanted
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools import markers, unreleased, yamledit
from pipeline.tools.flux import KINDS
from pipeline.tools.gitops import Head, Repository
from pipeline.tools.yamledit import Path, Selector, Value

VALUES = ("spec", "values")
API = KINDS["HelmRelease"][0]
PLACED = {("spec", "releaseName"): "release", ("spec", "targetNamespace"): "namespace", ("spec", "storageNamespace"): "namespace"}


def repository(spec: Flux, site: Site) -> Repository:
    """The GitOps repository of a release."""
    return Repository(site, spec.remote, spec.branch, spec.sign)


def text(head: Head, spec: Flux) -> str:
    """The file at a commit. Raises ConfigError where it is not there, or no text."""
    found = head.read(spec.written)
    if found is None:
        raise ConfigError(
            f"{head.repository.where} has no {spec.written}",
            cause=f"looked for on {spec.branch}, at {head.commit[:7] or 'its beginning'}",
            mend="inv flux.init writes it; or name it in the deploy stage (path, file)",
        )
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{spec.written} is no text", cause=str(error), mend="write it as UTF-8") from error


def selector(spec: Flux) -> Selector:
    return Selector("HelmRelease", spec.release, spec.namespace)


def stands(spec: Flux, found: str, where: Sequence[Path]) -> dict[Path, Value]:
    """What stands at the lines of a release, by their path below spec.values. Raises ConfigError where they cannot be told."""
    there = yamledit.read(found, selector(spec), [(*VALUES, *path) for path in where], spec.written)
    return {path[len(VALUES) :]: value for path, value in there.items() if value is not None}


def lines(spec: Flux, found: str, where: Sequence[Path]) -> Lines:
    """The same without the places."""
    return {path: value.value for path, value in stands(spec, found, where).items()}


def then(spec: Flux, head: Head, where: Sequence[Path]) -> Lines:
    """The lines at a commit of the past, none where the file of that time cannot be read."""
    try:
        return lines(spec, text(head, spec), where)
    except ConfigError:
        return {}


def edited(spec: Flux, found: str, wanted: Lines) -> str:
    """The file with these lines, and no other change; but that a release that was never made begins with them."""
    start = unreleased.START if waits(spec, found, list(wanted)) else {}
    return yamledit.edit(found, selector(spec), {(*VALUES, *path): value for path, value in wanted.items()} | dict(start), spec.written)


def stopped(spec: Flux, found: str, wanted: Lines) -> str:
    """The file with the lines of before the first release, and suspended again."""
    stop = {path: not value for path, value in unreleased.START.items()}
    return yamledit.edit(found, selector(spec), {(*VALUES, *path): value for path, value in wanted.items()} | stop, spec.written)


def waits(spec: Flux, found: str, where: Sequence[Path]) -> bool:
    """Whether the HelmRelease is suspended since it was never released, and by nobody."""
    (path,) = unreleased.START
    suspend = yamledit.read(found, selector(spec), [path], spec.written)[path]
    return suspend is not None and suspend.value is True and flux_wanted.unmade(lines(spec, found, where))


def check(spec: Flux, found: str, where: Sequence[Path]) -> None:
    """Raise ConfigError where a release must not write into this file: a HelmRelease of an API that is gone, one that leads elsewhere, and
    lines that Flux's image automation writes."""
    facts = yamledit.read(found, selector(spec), [("apiVersion",), *PLACED], spec.written)
    api = facts[("apiVersion",)]
    if api is not None and api.value != API:
        raise ConfigError(
            f"{spec.written}:{api.line}: this HelmRelease is of {api.value}, which Flux no longer serves",
            cause=f"Flux serves {API}",
            mend="inv flux.migrate rewrites what is old in the repository, in one commit",
        )
    for path, option in PLACED.items():
        said, ours = facts[path], getattr(spec, option)
        if said is not None and said.value not in ("", ours):
            raise ConfigError(
                f"{spec.written}:{said.line}: {path[-1]} {said.value!r} is not the {option} of the deploy stage, {ours!r}",
                mend=f"take {path[-1]} out: the release has the HelmRelease's own name and namespace; or correct the deploy stage",
            )
    marked = markers.written_by_automation(found, selector(spec), name=spec.written)
    markers.refuse({(*VALUES, *path): None for path in where}, marked, spec.written)
