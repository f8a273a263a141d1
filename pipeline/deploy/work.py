"""One release being changed: its options, the cluster, the lock that is held, and the helm that is called."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Images
from pipeline.deploy import history, process
from pipeline.deploy.history import Revision
from pipeline.deploy.lease import Lease
from pipeline.deploy.rollout import Failure, View, follow
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import helm
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_status import terminating

STAGE = "deploy"


@dataclass(frozen=True)
class Work:
    """What every step of a deploy needs."""

    spec: Helm
    site: Site
    kube: Kube
    lease: Lease
    target: helm.Target

    def revisions(self) -> list[Revision]:
        return history.read(self.kube, self.spec.namespace, self.spec.release)

    def deployments(self) -> list[dict[str, Any]]:
        return history.deployments(self.kube, self.spec.namespace, self.spec.release)

    def call(self, argv: helm.Argv, seconds: float) -> str:
        """Run helm under the lock: renewed right before, watched while helm runs."""
        self.lease.assert_held()
        return process.call(self.site, argv, seconds, self.lease.check)

    def follow(self, deadline: float, before: str = "") -> tuple[Failure | None, View]:
        """Follow the rollout; `before` stands before each line that is told."""
        spec, site = self.spec, self.site
        return follow(
            self.kube,
            spec.namespace,
            spec.release,
            site.clock,
            deadline=deadline,
            allowed=spec.restarts,
            tell=lambda text: site.tell(What.WAIT, STAGE, before + text),
            check=self.lease.check,
        )

    def note_good(self, number: int, parts: Any, view: View) -> None:
        """Write on the revision's Secret that it came up, what it was made from, and each Deployment's generation then."""
        self.site.shared[_begun_key(self.spec)] = number
        history.write_down(self.kube, self.spec.namespace, self.spec.release, number, parts, view.deployments.values())

    def mark(self, number: int, rollout: str) -> None:
        history.mark(self.kube, self.spec.namespace, self.spec.release, number, rollout)


@contextlib.contextmanager
def exclusive(spec: Helm, _images: Images | None, site: Site, despite_freeze: bool = False) -> Iterator[None]:
    """Hold the release's lock. Raises Locked where somebody else is at work, or deploys are frozen: a freeze stops who begins, not who
    has to take back what this process deployed before it."""
    kube = connect(site, spec.cluster)
    ensure_namespace(kube, spec, site)
    key = _lease_key(spec)
    begun = _begun_key(spec) in site.shared
    lease = Lease(kube, spec.namespace, spec.release, site.clock, despite_freeze=despite_freeze or begun).acquire()
    site.shared[key] = lease
    try:
        yield
    finally:
        site.shared.pop(key, None)
        lease.release()


@contextlib.contextmanager
def at_work(spec: Helm, site: Site, despite_freeze: bool = False) -> Iterator[Work]:
    """The work on a release, under the lock the runner holds for it, else under one of our own."""
    with contextlib.ExitStack() as stack:
        if _lease_key(spec) not in site.shared:
            stack.enter_context(exclusive(spec, None, site, despite_freeze))
        kube = connect(site, spec.cluster)
        yield Work(spec, site, kube, site.shared[_lease_key(spec)], _target(spec, site, kube))


def _target(spec: Helm, site: Site, kube: Kube) -> helm.Target:
    """The helm to call, its version asked once and remembered by the program's size and time."""
    program = site.tool("helm")
    stamp = ""
    with contextlib.suppress(OSError):
        facts = os.stat(program)  # noqa: PTH116  # a name without a folder is found on PATH by the system
        stamp = f"helm {program} {facts.st_size} {facts.st_mtime_ns}"
    known = site.records.hint(stamp) if stamp else None
    version = helm.read_version(known or process.call(site, helm.version(program), 30.0))
    if stamp and not known:
        site.records.remember(stamp, f"v{version[0]}.{version[1]}")
    access = kube.access
    tunnel = bool(site.cluster(spec.cluster).tunnel)
    return helm.Target(
        program, version, spec.release, spec.namespace, access.path, access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    )  # fmt: skip


def _begun_key(spec: Helm) -> str:
    return f"begun: {spec.cluster}/{spec.namespace}/{spec.release}"


def _lease_key(spec: Helm) -> str:
    return f"lease of {spec.cluster}/{spec.namespace}/{spec.release}"


def ensure_namespace(kube: Kube, spec: Helm, site: Site) -> None:
    found = kube.get(path("v1", "namespaces", name=spec.namespace))
    if found is None and spec.create_namespace:
        site.tell(What.LOG, STAGE, f"namespace {spec.namespace} is made")
        kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spec.namespace}})
    elif found is None:
        raise ConfigError(
            f"cluster {spec.cluster} has no namespace {spec.namespace}",
            mend=f"kubectl create namespace {spec.namespace}, or set `create_namespace: true` in the deploy stage",
        )
    elif found.get("status", {}).get("phase") == "Terminating":
        raise terminating(spec.namespace)
