"""Flux's image automation: what it found the newest image to be, and whether it can write that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor.flux import name
from pipeline.doctor.verdict import Check, Verdict, ask_all, fail, ok, warn
from pipeline.gitops.automation import Place
from pipeline.gitops.spec import Automation
from pipeline.stage import Site
from pipeline.tools import flux, flux_images
from pipeline.tools.flux import Ref
from pipeline.tools.kube import Kube, connect, path


def look(spec: Flux, automation: Automation, site: Site) -> Iterator[Verdict]:
    """A verdict on each image, and on what writes them. Raises what the client raises where the API does not answer."""
    where, kube = name(spec), connect(site, spec.cluster)
    place = Place(site.app, spec.release, spec.written, spec.branch, spec.system, spec.source)
    checks = [Check(where, image, partial(_image, where, image, place, automation, kube)) for image in automation.images]
    yield from ask_all([*checks, Check(where, "automation", partial(_update, where, place, kube))])


def _image(where: str, image: str, place: Place, automation: Automation, kube: Kube) -> Iterator[Verdict]:
    secret = automation.secrets.get(image, "")
    if secret and kube.get(path("v1", "secrets", place.system, secret)) is None:
        mend = (
            f"kubectl -n {place.system} create secret docker-registry {secret} --docker-server={automation.images[image].partition('/')[0]}"
            " --docker-username=NAME --docker-password=…"
        )
        yield fail(where, image, f"Secret {place.system}/{secret}, which its repository is asked with, is not there", mend)
        return
    for kind in ("ImageRepository", "ImagePolicy"):
        ref = Ref(kind, place.system, place.policy(image))
        value = kube.get(ref.path)
        if value is None:
            yield fail(where, image, f"{ref} is not there", "inv flux.init writes it into the repository; Flux makes it from there")
            return
        if bad := _bad(where, image, ref, value):
            yield bad
            return
    found = (value or {}).get("status", {}).get("latestRef") or {}
    digest = f" ({str(found['digest'])[:19]}…)" if found.get("digest") else ""
    yield ok(where, image, f"the newest is {found.get('tag', '?')}{digest}")


def _update(where: str, place: Place, kube: Kube) -> Iterator[Verdict]:
    ref = Ref("ImageUpdateAutomation", place.system, place.release)
    value = kube.get(ref.path)
    if value is None:
        if kube.get(path(flux.KINDS[ref.kind][0], flux.KINDS[ref.kind][1])) is not None:  # else the missing kind was told
            yield fail(where, "automation", f"{ref} is not there", "inv flux.init writes it into the repository; Flux makes it from there")
        return
    bad = _bad(where, "automation", ref, value)
    pushed = str((value.get("status") or {}).get("lastPushCommit") or "")
    yield bad or ok(where, "automation", f"{ref.name} writes" + (f", last in {pushed[:7]}" if pushed else ", and had nothing to write yet"))


def _bad(where: str, named: str, ref: Ref, value: Mapping[str, Any]) -> Verdict | None:
    said = flux_images.words(flux.state(ref, value))
    if said is None:
        return None
    evidence = "\n".join(filter(None, (said.what, said.cause if said.cause not in said.what else "")))
    return (warn if said.passing else fail)(where, named, evidence, said.mend)
