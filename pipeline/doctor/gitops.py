"""The GitOps repository: does it answer and may we write to it, is the release's file there, and does nobody else write its lines."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import flux_wanted
from pipeline.deploy.flux_file import VALUES
from pipeline.deploy.flux_spec import Flux
from pipeline.doctor.verdict import LIMIT, Verdict, fail, ok, unknown, warn
from pipeline.errors import AuthError, ConfigError, PipelineError, Transient
from pipeline.gitops import automation, forge, keys, schemas, validate
from pipeline.gitops.place import SECRET, Place
from pipeline.gitops.spec import Automation, Gitops
from pipeline.stage import Site
from pipeline.tools import git, gitops_call, markers, yamledit_tree
from pipeline.tools.gitops import Head, Repository
from pipeline.tools.gitops_clone import ensure
from pipeline.tools.kube import connect, path

YAML = (".yaml", ".yml")
LATER = "goes away with a later Flux"  # what `validate` says of a version that is still served
MOST = 3  # findings of one sort that are told


@dataclass(frozen=True)
class Writer:
    """An ImageUpdateAutomation that writes where the release's file stands: where it is written, what it is called, whether it is ours."""

    place: str
    name: str
    ours: bool


def name(spec: Flux) -> str:
    """How the verdicts call it."""
    return f"{spec.remote} (git)"


def look(spec: Flux, gitops: Gitops, site: Site) -> Iterator[Verdict]:
    """Every verdict on the repository. Raises what git says of a server that does not answer, ConfigError where the branch is not there."""
    where, repository = name(spec), Repository(site, spec.remote, spec.branch)
    head = repository.look()
    yield ok(where, "branch", f"{repository.url} answers, {spec.branch} is at {head.commit[:7]}")
    yield _writes(where, repository, head)
    place = Place(site.app, "", spec, gitops)
    yield from _flux_key(where, place, site, repository.url)
    names = head.names()
    files = {each: (head.read(each) or b"") if each.endswith(YAML) and "/templates/" not in each else b"" for each in names}
    yield from _manifests(where, place, files, site)
    manifests = {each: body.decode(errors="replace") for each, body in files.items() if body}
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


def _flux_key(where: str, place: Place, site: Site, url: str) -> Iterator[Verdict]:
    """Whether the repository knows the key in Flux's Secret, with the right that it needs and no more; nothing where no forge is named."""
    if place.gitops.forge is None:
        return
    try:
        found = connect(site, place.flux.cluster).get(path("v1", "secrets", place.flux.system, SECRET))
        public = base64.b64decode(((found or {}).get("data") or {}).get(keys.PUBLIC) or "").decode(errors="replace")
        known = forge.open_forge(place.gitops.forge, url, site).known()
    except PipelineError as error:
        yield unknown(where, "flux's key", "\n".join(filter(None, (error.what, error.cause))), error.mend)
        return
    mine = next((each for each in known if public and keys.body(each.key) == keys.body(public)), None)
    mend = "inv flux.bootstrap registers it with the right that it needs"
    if not public:
        yield fail(where, "flux's key", f"Secret {place.flux.system}/{SECRET} holds no key", "inv flux.bootstrap makes one")
    elif mine is None:
        yield fail(where, "flux's key", f"the repository does not know the key in Secret {place.flux.system}/{SECRET}", mend, AuthError)
    elif mine.read_only and place.gitops.automation:
        yield fail(where, "flux's key", f"{mine.title} may only read, and gitops.automation has to write", mend, AuthError)
    elif not mine.read_only and not place.gitops.automation:
        yield warn(where, "flux's key", f"{mine.title} may write, and nothing of Flux's has to", mend)
    else:
        yield ok(where, "flux's key", f"{mine.title} may {'only read' if mine.read_only else 'read and write'}, as it has to")


def _manifests(where: str, place: Place, files: Mapping[str, bytes], site: Site) -> Iterator[Verdict]:
    """What the cluster's own schemas say of the manifests there, and files and folders that they name and that are not there."""
    try:
        known = schemas.of_cluster(connect(site, place.flux.cluster))
    except PipelineError as error:
        yield unknown(where, "manifests", f"they were not compared with the cluster's schemas: {error.what}")
        known = schemas.Schemas({})
    found = list(validate.findings(files, place, known))
    if found:
        more = f"\nand {len(found) - MOST} more" if len(found) > MOST else ""
        tell = warn if all(LATER in each.what for each in found) else fail
        yield tell(where, "manifests", "\n".join(map(str, found[:MOST])) + more, found[0].mend)
    elif known:
        yield ok(where, "manifests", f"{sum(map(bool, files.values()))} files; Flux's own kinds are as the cluster has them")


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
    found = writers(manifests, spec)
    others = [each for each in found if not each.ours]
    by = ", ".join(f"ImageUpdateAutomation {each.name} ({each.place})" for each in others)
    ours = dict.fromkeys((*VALUES, *line) for line in flux_wanted.paths(spec))
    if gitops.automation is not None:
        if others:
            yield warn(where, "lines", f"{by} writes below the same folder as gitops.automation", "keep one of them")
        yield _automated(where, spec, gitops.automation, marked)
        return
    for left in (each for each in found if each.ours):
        yield warn(
            where, "automation", f"{left.place}: {left.name} is left of gitops.automation, which the blueprint has no more", "git rm it"
        )
    try:
        markers.refuse(ours, marked, spec.written)
    except ConfigError as error:
        yield fail(where, "lines", "\n".join(filter(None, (error.what, by and f"it is run by {by}", error.cause))), error.mend)
    else:
        yield ok(where, "lines", f"{len(ours)} are the pipeline's, and nobody else's")


def _automated(where: str, spec: Flux, wish: Automation, marked: Mapping[markers.Path, markers.Marked]) -> Verdict:
    """Whether each line that is Flux's has the marker of its policy."""
    place = automation.Place("", spec.release, spec.written, spec.branch, spec.system, spec.source)
    try:
        wanted = automation.marked(wish, place, spec.values)
    except ConfigError as error:
        return fail(where, "lines", "\n".join(filter(None, (error.what, error.cause))), error.mend)
    there = {line: found.marker for line, found in marked.items()}
    bare = [".".join(line) for line, marker in wanted.items() if there.get((*VALUES, *line)) != marker]
    if bare:
        said = f"{spec.written}: {', '.join(bare[:MOST])} has not the marker of its policy: nobody writes it"
        return fail(where, "lines", said, "inv flux.init puts the markers on")
    return ok(where, "lines", f"{len(wanted)} are Flux's, by gitops.automation: inv deploy leaves them alone")


def writers(manifests: Mapping[str, str], spec: Flux) -> list[Writer]:
    """The ImageUpdateAutomations among the files that write where the release's file stands."""
    found = []
    for file, text in manifests.items():
        if "ImageUpdateAutomation" not in text:
            continue
        try:
            tree = yamledit_tree.parse(text, file)
        except ConfigError:
            continue  # Flux cannot read it either
        for document in tree.documents:
            said = {
                key: _at(document, *key) for key in (("kind",), ("metadata", "name"), ("metadata", "namespace"), ("spec", "update", "path"))
            }
            kind, called, namespace, below = said.values()
            ours = (called, namespace) == (spec.release, spec.system)
            folder = below.removeprefix(".").strip("/")
            if kind == "ImageUpdateAutomation" and (not folder or f"{spec.written}/".startswith(f"{folder}/")):
                found.append(Writer(tree.place(document), f"{namespace}/{called}".lstrip("/"), ours))
    return found


def _at(node: Any, *keys: str) -> str:
    for key in keys:
        node = node.get(key) if node is not None and node.form == "mapping" else None
    return node.text if node is not None and node.form == "scalar" else ""
