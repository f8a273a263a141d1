"""What a release by commit needs of images: what runs, what Helm keeps, and the releases in git's history that it would go back to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.deploy import flux_file, flux_history, flux_message, flux_wanted, used
from pipeline.deploy.flux_history import Step
from pipeline.deploy.flux_spec import Flux
from pipeline.stage import Site, Use
from pipeline.tools import references
from pipeline.tools.flux import Ref
from pipeline.tools.kube import Kube, connect
from pipeline.tools.kube_objects import name


def uses(spec: Flux, keep: int, site: Site) -> tuple[Use, ...]:
    """What the release needs, with what git says now, the newest `keep` releases that it would go back to, and what an image policy has
    chosen, which Flux may be about to write. A git server that is away is an error: it may hold a commit that nobody here has seen. Raises
    what the cluster's client and git raise."""
    kube, repository = connect(site, spec.cluster), flux_file.repository(spec, site)
    head = repository.look()
    known = list(flux_history.steps(repository, spec, flux_wanted.paths(spec), head.commit))
    revisions = (Use(use.mark, use.why) for use in used.kept(kube, spec))  # helm-controller's own: none of them goes
    return (*used.in_lock(kube, spec), *used.running(kube, spec), *revisions, *of_git(known, keep), *_chosen(kube, spec))


def _chosen(kube: Kube, spec: Flux) -> Iterator[Use]:
    """What the image policies beside Flux and beside the release have chosen; nothing if this Flux knows of none."""
    for namespace in sorted({spec.system, spec.namespace}):
        for policy in kube.list(Ref("ImagePolicy", namespace, "").collection)["items"]:
            latest = (policy.get("status") or {}).get("latestRef") or {}
            why = f"{Ref('ImagePolicy', namespace, name(policy))} has chosen it"
            yield from (Use(str(mark), why) for mark in (latest.get("tag"), latest.get("digest")) if mark)


def of_git(known: Sequence[Step], keep: int) -> Iterator[Use]:
    """What the newest commit names, and the newest releases that came up."""
    failed = flux_history.bad(known)
    good = [step for step in known if step.lines and not step.restores and step.commit not in failed and not flux_wanted.unmade(step.lines)]
    for step, why in [*((step, "has it") for step in known[:1]), *((step, "is a way back") for step in good[:keep])]:
        why = f"commit {step} {why}"
        for reference in flux_message.images_of(step.entry):
            yield Use(references.read(reference).digest, why)
        for value in map(str, step.lines.values()):
            found = references.DIGEST.findall(value)
            yield from (Use(mark, why) for mark in found or [value.rpartition(":")[2]])
