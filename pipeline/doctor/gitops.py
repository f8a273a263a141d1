"""The GitOps repository: does it answer and may we write to it, is the release's file there, and does nobody else write its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor.verdict import LIMIT, Verdict, fail, ok, unknown, warn
from pipeline.errors import ConfigError, PipelineError, Transient
from pipeline.gitops.automation import Place
from pipeline.gitops.spec import Gitops
from pipeline.stage import Site
from pipeline.tools import git, gitops_call, markers, yamledit_tree
from pipeline.tools.flux import KINDS
from pipeline.tools.gitops import Head, Repository
from pipeline.tools.gitops_clone import ensure
from pipeline.tools.kube import connect

OF_FLUX = re.compile(r"^apiVersion:[ \t]*[\"']?([a-z.]*toolkit\.fluxcd\.io/(v\w+))[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
KIND = re.compile(r"^kind:[ \t]*[\"']?(\w+)", re.MULTILINE)
YAML = (".yaml", ".yml")
MOST = 3  # findings of one sort that are told


@dataclass(frozen=True)
class Stranger:
    """An ImageUpdateAutomation in the repository that writes below `path`: where it stands, and what it is called."""

    place: str
    name: str
    path: str


def name(spec: Flux) -> str:
    """How the verdicts call it."""
    return f"{spec.remote} (gitops)"


def look(spec: Flux, gitops: Gitops, site: Site) -> Iterator[Verdict]:
    """Every verdict on the repository. Raises what git says of a server that does not answer, ConfigError where the branch is not there."""
    where, repository = name(spec), Repository(site, spec.remote, spec.branch)
    head = repository.look()
    yield ok(where, "branch", f"{repository.url} answers, {spec.branch} is at {head.commit[:7]}")
    yield _writes(where, repository, head)
    manifests = {
        path: (head.read(path) or b"").decode(errors="replace")
        for path in head.names()
        if path.endswith(YAML) and "/templates/" not in path
    }
    yield from _kinds(where, spec, manifests, site)
    text = manifests.get(spec.written)
    if text is None:
        yield fail(where, "release", f"there is no {spec.written} on {spec.branch}", "inv flux.init writes it; or correct `path` or `file`")
        return
    yield from _lines(where, spec, gitops, text, manifests)


def _writes(where: str, repository: Repository, head: Head) -> Verdict:
    """Whether our key may push: the server is asked as for a push of what it has already."""
    remote = repository.site.remote(repository.remote)
    words = list(git.push(repository.url, head.commit, f"refs/heads/{repository.branch}"))
    words.insert(words.index("push") + 1, "--dry-run")
    clone = ensure(repository.folder, repository.site.tool("git"))
    done = gitops_call.call(clone, *words, env=git.environment(remote), timeout=LIMIT - 1)
    if not done.code:
        return ok(where, "key", "our key may write there")
    error = gitops_call.server_error(done.errors, repository.where, writing=True)
    if isinstance(error, Transient):
        return unknown(where, "key", f"whether our key may write is not known: {error.what}", "run again")
    return fail(where, "key", "\n".join(filter(None, (error.what, error.cause))), error.mend, type(error))


def _kinds(where: str, spec: Flux, manifests: Mapping[str, str], site: Site) -> Iterator[Verdict]:
    """Versions of Flux's kinds that the repository has and the cluster does not."""
    current = {version for version, _ in KINDS.values()}
    used: dict[str, list[str]] = {}
    for path, text in manifests.items():
        for found in OF_FLUX.finditer(text):
            used.setdefault(found[1], []).append(f"{path}:{text.count(chr(10), 0, found.start()) + 1}")
    old = {version: places for version, places in used.items() if version not in current and version.partition("/")[0] in _groups(current)}
    if not old:
        yield ok(where, "kinds", f"{len(used)} of Flux's, none of an old version")
        return
    try:
        kube = connect(site, spec.cluster)
        gone = {version for version in old if kube.get(f"/apis/{version}") is None}
    except PipelineError:
        gone = set()
    for version, places in sorted(old.items()):
        said = f"{', '.join(places[:MOST])}{' …' if len(places) > MOST else ''}: {version}"
        if version in gone:
            yield fail(where, "kinds", f"{said} is not served by the cluster: Flux cannot apply that file", "inv flux.migrate")
        else:
            yield warn(where, "kinds", f"{said} is an old version, which a newer Flux does not know", "inv flux.migrate")


def _lines(where: str, spec: Flux, gitops: Gitops, text: str, manifests: Mapping[str, str]) -> Iterator[Verdict]:
    """Who writes the lines of the release: the pipeline, or Flux's image automation; never both, never nobody."""
    selector = yamledit_tree.Selector("HelmRelease", spec.release, spec.namespace)
    try:
        marked = markers.written_by_automation(text, selector, name=spec.written)
        missed = markers.misread(text, name=spec.written)
    except ConfigError as error:
        yield fail(where, "lines", "\n".join(filter(None, (error.what, error.cause))), error.mend)
        return
    for each in missed[:MOST]:
        yield warn(
            where,
            "markers",
            f"{spec.written}:{each.line}: a marker that Flux passes over: {each.why}",
            "write it behind the value, or take it out",
        )
    others = strangers(manifests, Place("", spec.release, spec.written, spec.branch, spec.system, spec.source))
    by = ", ".join(f"ImageUpdateAutomation {each.name} ({each.place})" for each in others)
    ours = dict.fromkeys(_paths(spec.values, ("spec", "values")))
    if gitops.automation is None:
        try:
            markers.refuse(ours, marked, spec.written)
        except ConfigError as error:
            yield fail(where, "lines", "\n".join(filter(None, (error.what, by and f"it is run by {by}", error.cause))), error.mend)
        else:
            yield ok(where, "lines", f"{len(ours)} are the pipeline's, and nobody else's")
        return
    if others:
        yield warn(where, "lines", f"{by} writes below the same folder as gitops.automation", "keep one of them")
    bare = [".".join(path) for path in ours if path not in marked]
    if bare:
        yield fail(
            where, "lines", f"{spec.written}: {', '.join(bare[:MOST])} has no marker: nobody writes it", "inv flux.init puts the markers on"
        )
    else:
        yield ok(where, "lines", f"{len(marked)} are Flux's, by gitops.automation: inv deploy leaves them alone")


def strangers(manifests: Mapping[str, str], place: Place) -> list[Stranger]:
    """The ImageUpdateAutomations among the files that write where the release's file stands, but our own."""
    found = []
    for path, text in manifests.items():
        if "ImageUpdateAutomation" not in text:
            continue
        try:
            tree = yamledit_tree.parse(text, path)
        except ConfigError:
            continue  # Flux cannot read it either
        for document in tree.documents:
            said = {
                key: _at(document, *key) for key in (("kind",), ("metadata", "name"), ("metadata", "namespace"), ("spec", "update", "path"))
            }
            kind, called, namespace, below = said.values()
            ours = (called, namespace) == (place.release, place.system)
            folder = below.removeprefix(".").strip("/")
            if kind == "ImageUpdateAutomation" and not ours and (not folder or f"{place.file}/".startswith(f"{folder}/")):
                found.append(Stranger(tree.place(document), f"{namespace}/{called}".lstrip("/"), below))
    return found


def _at(node: Any, *keys: str) -> str:
    for key in keys:
        node = node.get(key) if node is not None and node.form == "mapping" else None
    return node.text if node is not None and node.form == "scalar" else ""


def _paths(values: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, str(key)))
        elif isinstance(value, str) and "{" in value:
            yield (*above, str(key))


def _groups(versions: set[str]) -> set[str]:
    return {version.partition("/")[0] for version in versions}
