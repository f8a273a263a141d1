"""Helm as the engine of a release: the program and its version, and how it goes back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.deploy import process
from pipeline.deploy.spec import Spec
from pipeline.deploy.work import LIMIT, Work
from pipeline.stage import Site
from pipeline.tools import helm
from pipeline.tools.kube import Kube


@dataclass(frozen=True)
class ByHelm:
    """See `pipeline.deploy.work.Engine`."""

    target: helm.Target

    def go_back(self, work: Work, number: int) -> None:
        process.call(work.site, helm.rollback(self.target, number, int(LIMIT)), LIMIT, work.lease.check)

    def remove(self, work: Work) -> None:
        process.call(work.site, helm.uninstall(self.target, int(LIMIT)), LIMIT, work.lease.check)

    def words(self, number: int | None) -> str:
        argv = helm.uninstall(self.target, int(LIMIT)) if number is None else helm.rollback(self.target, number, int(LIMIT))
        return " ".join(argv)

    def settled(self, _work: Work, _number: int) -> None:
        """helm has deleted what the chart no longer makes."""

    def stamps(self, _work: Work, _number: int) -> Mapping[str, str]:
        return {}  # a chart's objects are not listed one by one: its Deployments are what is followed

    @property
    def listing(self) -> str:
        return f"helm history {self.target.release} -n {self.target.namespace}"


def target_of(work: Work) -> helm.Target:
    """The helm of this work."""
    if not isinstance(work.engine, ByHelm):
        raise TypeError(f"{work.engine} is not helm")
    return work.engine.target


def engine(spec: Spec, site: Site, kube: Kube) -> ByHelm:
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
    return ByHelm(helm.Target(
        program, version, spec.release, spec.namespace, access.path, access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    ))  # fmt: skip
