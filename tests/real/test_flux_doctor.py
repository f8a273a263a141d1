"""The doctor at the lab's Flux: all is well where it is, and what is broken is named by what its controllers and its server say."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor import flux, gitops, images
from pipeline.doctor.verdict import Check, Verdict, ask_all
from pipeline.gitops import automation, keys
from pipeline.gitops.forge import open_forge
from pipeline.gitops.spec import Automation, Forge, Gitops
from pipeline.plan import load
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.tools import flux as objects
from pipeline.tools.flux import Ref
from pipeline.tools.kube import path
from pipeline.tools.markers import Marker, put
from tests.real.conftest import ROOT
from tests.real.flux_parts import CLUSTER, Flow, flow

pytestmark = pytest.mark.real
KEEPER = Forge("gitea", registry="coulombcore")


@pytest.fixture(scope="module")
def fade(lab_site_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """One release for all that look at it; who breaks something mends it."""
    folder = tmp_path_factory.mktemp("fade")
    site = load(ROOT / "config", "ihp-railiance-probe", "lab").site()
    with dataclasses.replace(site, records=Records(folder / "records.db")) as lab, flow(lab, folder) as made:
        made.settled(made.git("rev-parse", "HEAD"), {"text": "one"})
        until(lambda: [objects.read(made.kube, ref) for ref in made.target.all], lambda found: all(each and each.settled for each in found))
        yield made


def until(look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 30.0) -> Any:
    """What a look gives once it is good."""
    end = time.monotonic() + seconds
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def spec_of(fade: Flow) -> Flux:
    return Flux(CLUSTER, "gitops", fade.namespace, "web", {"text": "{tag}"}, path="clusters", file="clusters/release.yaml",
                system=fade.namespace, source="fade", kustomization="fade")  # fmt: skip


def site_of(fade: Flow, folder: Path) -> Site:
    """The lab's, for the repository of the test: the pipeline's own copy of it lies in the test's folder."""
    return dataclasses.replace(fade.site, app=fade.namespace, root=folder, records=Records(folder / "own.db"))


def look(fade: Flow, folder: Path, section: Gitops | None = None, **more: str) -> dict[str, Verdict]:
    spec, site, section = spec_of(fade), site_of(fade, folder), section or Gitops(chart="helm/web")
    if more:
        site = dataclasses.replace(site, remotes={**site.remotes, "gitops": dataclasses.replace(site.remotes["gitops"], **more)})
    checks = [
        Check("flux", "kinds", lambda: flux.look(spec, section, site), 20.0),
        Check("gitops", "branch", lambda: gitops.look(spec, section, site), 20.0),
    ]
    if section.automation:
        found = section.automation
        checks.append(Check("flux", "images", lambda: images.look(spec, found, site), 20.0))
    verdicts = ask_all(checks)
    return {verdict.name: verdict for verdict in verdicts}


def wishes(fade: Flow) -> list[Any]:
    """What people and tools wrote into the objects; their status is the controllers' own."""
    found = [fade.kube.get(ref.path) or {} for ref in fade.target.all]
    return [(each["spec"], each["metadata"].get("annotations"), each["metadata"].get("labels")) for each in found]


def test_all_is_well_and_nothing_is_changed_by_looking(fade: Flow, tmp_path: Path) -> None:
    before = wishes(fade)
    found = look(fade, tmp_path)
    assert [verdict for verdict in found.values() if verdict.status != "ok"] == []
    head = fade.git("rev-parse", "HEAD")[:7]
    assert found["branch"].evidence.endswith(f"main is at {head}")
    assert found["GitRepository"].evidence == f"fade has {head} of main"
    assert found["HelmRelease"].evidence.endswith("Helm's revision 1")
    assert "all the same what was asked of 3 objects was handled" in found["controllers"].evidence
    assert wishes(fade) == before
    assert fade.git("ls-remote", "origin", "refs/heads/main").split()[0] == fade.git("rev-parse", "HEAD")


def test_a_request_that_was_handled_shows_controllers_that_run_elsewhere(fade: Flow, tmp_path: Path) -> None:
    for ref in fade.target.all:
        assert objects.poke(fade.kube, ref, "2026-01-02T03:04:05Z")  # long ago: were nobody there, that would be told
    until(lambda: look(fade, tmp_path)["controllers"], lambda found: found.status == "ok")


def test_what_is_suspended_and_what_leads_elsewhere(fade: Flow, tmp_path: Path) -> None:
    fade.patch("HelmRelease", {"suspend": True})
    fade.patch("GitRepository", {"ref": {"branch": "trunk"}})
    try:
        found = look(fade, tmp_path)
    finally:
        fade.patch("HelmRelease", {"suspend": False})
        fade.patch("GitRepository", {"ref": {"branch": "main"}})
    assert "flux resume helmrelease web" in found["HelmRelease"].mend
    assert found["follows"].evidence.endswith("follows branch trunk, and a release is committed to main")


def test_a_line_with_two_writers_and_a_field_that_flux_does_not_have(fade: Flow, tmp_path: Path) -> None:
    before = (fade.work / "clusters/release.yaml").read_text()
    text = put(before, {("spec", "values", "text"): Marker(fade.namespace, "web", "tag")})
    fade.commit({"clusters/release.yaml": text.replace("  values:", "  valeus: {}\n  values:")})
    try:
        found = look(fade, tmp_path)
    finally:
        fade.commit({"clusters/release.yaml": before})
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "$imagepolicy" in each)
    said = f"clusters/release.yaml:{line + 1}: spec.values.text is written by Flux's image automation (policy {fade.namespace}/web)"
    assert (found["lines"].status, said in found["lines"].evidence) == ("fail", True), found["lines"]
    assert (found["manifests"].status, "spec.valeus" in found["manifests"].evidence) == ("fail", True), found["manifests"]


def test_a_key_that_may_only_read_is_told_before_a_release_needs_it(fade: Flow, tmp_path: Path) -> None:
    """In Gitea's own words. The same key, as Flux's, is the right one, until image automation has to write."""
    key = keys.made("read only")
    section = Gitops(chart="helm/web", forge=KEEPER)
    open_forge(KEEPER, fade.url, fade.site).add("only reads", key.public, read_only=True)
    fade.kube.create(path("v1", "secrets", fade.namespace), keys.secret("flux-system", fade.namespace, key, ""))
    identity = tmp_path / "read_only"
    identity.write_text(key.private)
    identity.chmod(0o600)
    found = look(fade, tmp_path, section, identity_file=str(identity))
    assert (found["key"].status, found["key"].code) == ("fail", 11), found["key"]
    assert "the key may not write to branch main" in found["key"].evidence
    assert found["flux's key"].evidence == "only reads may only read, as it has to"
    automated = Gitops(chart="helm/web", forge=KEEPER, automation=Automation({"web": "ghcr.io/owner/web"}))
    assert look(fade, tmp_path, automated)["flux's key"].status == "fail"


def test_image_automation_is_looked_at_with_the_words_of_its_controller(fade: Flow, tmp_path: Path) -> None:
    """Its repository was never pushed to, and the controller that writes is not there: both are told."""
    registry = fade.site.registry("ghcr")
    section = Gitops(chart="helm/web", automation=Automation({"web": f"{registry.address}/coulomb/{fade.namespace}"}))
    place = automation.Place("web", "web", "clusters/release.yaml", "main", fade.namespace, "fade")
    assert section.automation
    for each in yaml.safe_load_all(*automation.files(section.automation, place, fade.site.registries).values()):
        if each["kind"] != "ImageUpdateAutomation":
            fade.kube.apply(Ref(each["kind"], fade.namespace, "web").path, each)
    try:
        found = until(lambda: look(fade, tmp_path, section), lambda found: found["web"].status == "fail")
        assert found["web"].evidence.startswith("the registry has no such repository"), found["web"]
        assert found["kinds"].evidence == "the cluster has no ImageUpdateAutomation: image-automation-controller is not installed"
        assert found["lines"].evidence == "clusters/release.yaml: text has not the marker of its policy: nobody writes it"
    finally:
        for kind in ("ImagePolicy", "ImageRepository"):
            fade.kube.delete(Ref(kind, fade.namespace, "web").path)
