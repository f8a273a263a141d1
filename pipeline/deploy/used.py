"""What a release needs of images: what runs, what its revisions would go back to, and what is about to be deployed. Only looks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

from pipeline.deploy import freeze, history, stored
from pipeline.deploy.holder import IMAGES
from pipeline.deploy.spec import Spec
from pipeline.stage import Left, Site, Use
from pipeline.tools import references
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_objects import labels, name, notes

RUN = (  # all that has or makes pods
    ("v1", "pods", "Pod"), ("apps/v1", "deployments", "Deployment"), ("apps/v1", "statefulsets", "StatefulSet"),
    ("apps/v1", "daemonsets", "DaemonSet"), ("batch/v1", "jobs", "Job"), ("batch/v1", "cronjobs", "CronJob"),
)  # fmt: skip
IMAGE = re.compile(r"""\bimage(?:ID)?["']?\s*:\s*["']?([^\s"',]+)""")  # in YAML and in JSON


def uses(spec: Spec, _keep: int, site: Site) -> tuple[Use, ...]:
    """What the release needs: everything that runs in its namespace, whoever made it, every revision that is kept, and what the lock
    names. Raises IntegrityError for a revision that cannot be read, and what the cluster's client raises."""
    kube = connect(site, spec.cluster)
    return (*in_lock(kube, spec), *running(kube, spec), *kept(kube, spec))


def running(kube: Kube, spec: Spec) -> Iterator[Use]:
    """What runs, or would run, in the release's namespace."""
    for version, plural, kind in RUN:
        for value in kube.list(path(version, plural, spec.namespace))["items"]:
            yield from _named(json.dumps(value), f"{kind}/{name(value)} in {spec.namespace} runs it")


def kept(kube: Kube, spec: Spec) -> Iterator[Use]:
    """What the manifests of the revisions name, and the tag and the tree that each was made from."""
    for secret, release in stored.kept(kube, spec):
        marks = labels(secret)
        called = stored.called(spec, marks.get("version", "?"))
        why = f"{called} has it"
        yield from (Use(mark, why, called) for mark in (marks.get("tag"), marks.get("tree")) if mark)
        for use in _named(json.dumps(release.get("manifest") or "") + json.dumps(release.get("hooks") or ""), why):
            yield Use(use.mark, why, called)


def in_lock(kube: Kube, spec: Spec) -> Iterator[Use]:
    """What the last run that took the lock was going to deploy."""
    lease = freeze.look(kube, *spec.lock)
    who = freeze.holder(lease)
    why = f"{who} deploys it now" if who else "it was being deployed last"
    yield from (Use(references.read(reference).digest, why) for reference in notes(lease).get(IMAGES, "").split())


def revisions(spec: Spec, keep: int, site: Site) -> tuple[Left, ...]:
    """The revisions, and why each is kept: the newest `keep` that came up, what is newer, and all of them while somebody is at work."""
    kube = connect(site, spec.cluster)
    known = history.read(kube, spec.namespace, spec.release, spec.keeper)
    who = freeze.holder(freeze.look(kube, *spec.lock))
    came_up = [one for one in known if one.status in ("deployed", "superseded") and one.rollout not in (history.BAD, history.TAKEN)]
    oldest = came_up[keep - 1].number if len(came_up) >= keep else 0
    good = history.good(known, next((one.number for one in known if one.status == "deployed"), None))

    def why(one: history.Revision) -> str:
        if one.status == "deployed" or one.pending:
            return f"it is {one.status}"
        if one is good:
            return "it is the way back"
        if one.number >= oldest:
            return f"it is one of the newest {keep}"
        return f"{who} is at work on the release" if who else ""

    def left(one: history.Revision) -> Left:
        where = history.where(spec.namespace, spec.release, one.number, spec.keeper)
        return Left("revision", stored.called(spec, one.number), why(one), partial(_forget, kube, where))

    return tuple(map(left, known))


def _forget(kube: Kube, where: str) -> None:
    """Delete a revision, unless it is live or being made by now."""
    found = kube.get(where)
    status = labels(found or {}).get("status", "")
    if found is not None and status != "deployed" and not status.startswith("pending-"):
        kube.delete(where)


def _named(text: str, why: str) -> Iterator[Use]:
    """The digests and the tags that a text of YAML or JSON names."""
    for digest in sorted(set(references.DIGEST.findall(text))):
        yield Use(digest, why)
    for reference in sorted(set(IMAGE.findall(text.replace("\\n", "\n").replace('\\"', '"')))):
        if tag := references.read(reference).tag:
            yield Use(tag, why)
