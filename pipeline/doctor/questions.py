"""Which checks a blueprint calls for: those of this machine, and of each node that its stages name."""

from __future__ import annotations

import dataclasses
from functools import partial

from pipeline.build.buildx_spec import Buildx
from pipeline.build.nix import Nix
from pipeline.build.none import Nothing
from pipeline.build.tagged import Tagged
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.manifest_spec import Manifests
from pipeline.deploy.spec import Helm
from pipeline.doctor import build_host, builder, cluster, flux, gitops, images, node, registry, remote, retention, tunnel, workstation
from pipeline.doctor.verdict import LIMIT, Check, Verdict, ask_all, unknown
from pipeline.gitops.spec import Gitops
from pipeline.plan import Blueprint
from pipeline.push.skopeo import Spec as Skopeo
from pipeline.stage import Plan, Site
from pipeline.sync.git import Git
from pipeline.verify.checks import Checks

SLOW = 25.0  # seconds: buildx waits 20 for a BuildKit that does not answer
SSH = 12.0  # seconds: a machine that takes no connection says why itself after ten


def examine(blueprint: Blueprint, site: Site) -> list[Verdict]:
    """A verdict on every dependency of the blueprint, this machine's first, then in the order of its stages. Changes nothing."""
    quiet = dataclasses.replace(site, sink=lambda _event: None)  # the same connections; what a client would tell is a verdict here
    route = tunnel.checks(blueprint.tunnel, quiet) if blueprint.tunnel else []
    found = ask_all([*checks(blueprint.plan, quiet, blueprint.gitops or Gitops()), *retention.checks(blueprint, quiet), *route])
    return [
        dataclasses.replace(verdict, evidence=site.secrets.mask(verdict.evidence), mend=site.secrets.mask(verdict.mend))
        for verdict in found
    ]


def checks(plan: Plan, site: Site, section: Gitops) -> list[Check]:
    """What is asked, each node once, however many stages name it; `section` is the blueprint's own on its GitOps repository."""
    found = workstation.checks(plan, site)
    builds: dict[str, Nix | None] = {}
    registries: dict[str, list[str]] = {}
    reads: dict[str, list[str]] = {}
    for stage in plan:
        match stage.spec:
            case Git(host=host, via=via):
                builds.setdefault(host, None)
                if via:
                    found.append(Check(f"{via} (git)", "remote", partial(remote.look, via, site)))
            case Nix(host=host) as spec:
                builds[host] = spec
            case Skopeo(registry=name, repository=repository):
                registries.setdefault(name, []).append(repository)
            case Buildx(registry=name, images=images) as spec:
                registries.setdefault(name, []).extend(image.repository for image in images.values())
                found.append(Check(builder.name(spec), "answers", partial(builder.look, spec, site), SLOW))
            case Tagged(registry=name, repository=repository):
                registries.setdefault(name, [])
                reads.setdefault(name, []).append(repository)
            case Flux() as spec:
                found.append(Check(gitops.name(spec), "branch", partial(gitops.look, spec, section, site), SLOW))
            case Helm() | Manifests() | Checks() | Nothing():
                pass  # their cluster, if they have one, is looked at below, once the registries are known
            case _:
                where = f"{stage.verb} ({stage.driver.name})"
                found.append(Check(where, "checks", partial(_strange, where)))
    for host, build in builds.items():
        found.append(Check(f"{host} (build host)", "ssh", partial(build_host.look, host, build, site), SSH))
    for name, repositories in registries.items():
        found.append(
            Check(f"{name} (registry)", "answers", partial(registry.look, name, repositories, site, reads.get(name, ())), 2 * LIMIT)
        )
    return found + _clusters(plan, site, list(registries), section)


def _clusters(plan: Plan, site: Site, registries: list[str], section: Gitops) -> list[Check]:
    deploys = [stage.spec for stage in plan if isinstance(stage.spec, Helm | Manifests | Flux)]
    pages = [stage.spec for stage in plan if isinstance(stage.spec, Checks)]
    names = dict.fromkeys([spec.cluster for spec in deploys] + [spec.cluster for spec in pages])
    found = []
    for name in names:
        releases = [spec for spec in deploys if spec.cluster == name]
        hosts = [spec for spec in pages if spec.cluster == name and spec.by_front_door]
        found.append(Check(f"{name} (cluster)", "kubeconfig", partial(cluster.look, name, releases, hosts, site), 2 * LIMIT))
        for spec in releases:
            if isinstance(spec, Flux):
                found.append(Check(flux.name(spec), "kinds", partial(flux.look, spec, section, site), 2 * LIMIT))
                if section.automation:
                    found.append(Check(flux.name(spec), "images", partial(images.look, spec, section.automation, site), 2 * LIMIT))
        found.append(Check(f"{name} (node)", "ssh", partial(node.look, name, registries, site), SSH + registry.PATIENCE))
    return found


def _strange(where: str) -> list[Verdict]:
    return [unknown(where, "checks", "no checks are known for this driver")]
