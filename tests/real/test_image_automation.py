"""Image automation on the real image-reflector-controller: which tag is the newest, which are none, and what is told when it cannot say."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import runner
from pipeline.artifacts import Images
from pipeline.deploy.flux import exclusive, find, live, make, standing
from pipeline.errors import ConfigError
from pipeline.gitops import automation
from pipeline.gitops.automation import Place, files
from pipeline.gitops.spec import Automation, Newest
from pipeline.stage import Registry, Site
from pipeline.tools import flux, flux_images
from pipeline.tools.flux import KINDS, Ref
from pipeline.tools.flux_words import Words
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.markers import put
from pipeline.tools.named import image_of
from pipeline.tools.registry import Client, client_of
from pipeline.tools.yamledit_tree import Selector
from tests.real.deploy_parts import archive
from tests.real.images import BASE, copy
from tests.real.test_flux_driver import FILE, placed
from tests.real.test_hub import password, push

pytestmark = pytest.mark.real
__all__ = ["archive"]
CRD = Path(__file__).parents[1] / "cases" / "automation" / "imageupdateautomations.yaml"
DEFINITIONS = path("apiextensions.k8s.io/v1", "customresourcedefinitions")
SOON = 40.0  # seconds; an answer takes one or two, on a machine with nothing else to do


@dataclass
class Watched:
    """A repository of the test's own in the lab's `face`, and the objects that watch it, in a namespace of the test's own."""

    site: Site
    kube: Kube
    client: Client
    registry: Registry
    namespace: str
    repository: str
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return f"{self.registry.address}/{self.repository}"

    def push(self, *tags: str) -> None:
        for tag in tags:
            self.digests[tag] = push(self.client, self.repository, tag, words=tag)

    def objects(self, newest: Newest | None = None, **more: Any) -> dict[str, dict[str, Any]]:
        spec = Automation({"web": self.image}, {"web": newest} if newest else {}, **more)
        place = Place("web", "web", "clusters/production/web/release.yaml", "main", system=self.namespace)
        (text,) = files(spec, place, {"lab": self.registry}).values()
        return {each["kind"]: each for each in yaml.safe_load_all(text)}

    def watch(self, newest: Newest | None = None, **more: Any) -> None:
        """What `inv flux.init` writes for it, applied; the policy once there are tags, for which it would else wait five seconds."""
        found = self.objects(newest, **more)
        self.kube.apply(self.ref("ImageRepository").path, found["ImageRepository"], manager="kustomize-controller")
        self.until(
            lambda: self.status("ImageRepository").get("conditions") or [], lambda told: any(each["status"] != "Unknown" for each in told)
        )
        self.kube.apply(self.ref("ImagePolicy").path, found["ImagePolicy"], manager="kustomize-controller")

    def ref(self, kind: str) -> Ref:
        return Ref(kind, self.namespace, "web")

    def scan(self) -> None:
        assert flux.poke(self.kube, self.ref("ImageRepository"), f"{time.time():.6f}")

    def status(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = (self.kube.get(self.ref(kind).path) or {}).get("status") or {}
        return found

    def latest(self, tag: str) -> dict[str, Any]:
        """The newest image, once it is `tag`."""
        wanted = {"name": self.image, "tag": tag}
        found: dict[str, Any] = self.until(
            lambda: self.status("ImagePolicy").get("latestRef") or {}, lambda it: {key: it.get(key) for key in wanted} == wanted
        )
        return found

    def words(self, kind: str, named: str) -> Words:
        """What keeps the object, once that is of this kind."""

        def look() -> Words | None:
            state = flux.read(self.kube, self.ref(kind))
            return flux_images.words(state) if state else None

        found: Words = self.until(look, lambda said: said is not None and said.kind == named)
        return found

    def until(self, look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + SOON
        while not good(found := look()):
            assert time.monotonic() < end, (found, self.status("ImageRepository"), self.status("ImagePolicy"))
            time.sleep(0.1)
        return found


Watch = Callable[..., Watched]


@pytest.fixture
def watched(lab: Site) -> Iterator[Watch]:
    """Makes one; `private` where nobody may look without a login."""
    if "gitops" not in lab.remotes or "ghcr" not in lab.registries:
        pytest.fail("these tests need Flux on the lab: inv lab.up --with docker,hub,flux", pytrace=False)
    kube = connect(lab, "railiance01")
    name = f"images-{secrets.token_hex(3)}"
    kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def made(face: str = "ghcr", *, private: bool = False) -> Watched:
        repository = f"{'private/' if private else ''}coulomb/{name}"
        return Watched(lab, kube, client_of(lab, face), lab.registry(face), name, repository)

    try:
        yield made
    finally:
        for kind in ("ImagePolicy", "ImageRepository"):
            kube.delete(Ref(kind, name, "web").path)
        kube.delete(path("v1", "namespaces", name=name))


@pytest.mark.parametrize("face", ["ghcr", "hub"])
def test_the_newest_is_told_by_its_time_and_never_by_its_letters(watched: Watch, face: str) -> None:
    web = watched(face)
    web.push("main-fffffff-99", "main-0000000-1000", "main-latest", "v9.9.9", "topic-aaaaaaa-5000", "main-xyz-6000", "sha256-" + "a" * 64)
    web.watch()
    found = web.latest("main-0000000-1000")
    assert found == {"name": web.image, "tag": "main-0000000-1000", "digest": web.digests["main-0000000-1000"]}
    seen = web.status("ImageRepository")["lastScanResult"]
    assert seen["tagCount"] == 6  # all but sha256-…, which no rule of ours would match either
    web.push("main-2222222-1001")
    web.scan()
    assert web.latest("main-2222222-1001")["digest"] == web.digests["main-2222222-1001"]
    assert flux_images.words(flux.state(web.ref("ImagePolicy"), web.kube.get(web.ref("ImagePolicy").path) or {})) is None


def test_versions_in_a_range_and_a_tag_that_moves(watched: Watch) -> None:
    web = watched()
    web.push("1.2.3", "1.10.0", "2.0.0", "1.11.0-rc.1")
    web.watch(Newest(range=">=1.0.0 <2.0.0"))
    assert web.latest("1.10.0")["digest"] == web.digests["1.10.0"]
    web.push("main-latest")
    web.watch(Newest(pattern="^main-latest$", order="alphabetical", digest="always"), interval="1h")
    web.scan()
    before = web.latest("main-latest")["digest"]
    web.digests["main-latest"] = push(web.client, web.repository, "main-latest", words="another")
    assert flux.poke(web.kube, web.ref("ImagePolicy"), "again")
    after = web.until(lambda: web.status("ImagePolicy")["latestRef"]["digest"], lambda digest: bool(digest != before))
    assert after == web.digests["main-latest"]


def test_a_private_repository_is_watched_with_its_secret_and_told_without(watched: Watch) -> None:
    web = watched(private=True)
    web.push("main-1a2b3c4-17")
    web.watch()
    said = web.words("ImageRepository", "login")
    assert said.what == "the registry refuses Flux's login"
    assert f"kubectl -n {web.namespace} create secret docker-registry" in said.mend
    web.watch(secrets={"web": "login"})
    said = web.until(lambda: web.words("ImageRepository", "login"), lambda found: "is not there" in found.what)
    assert said.what == f"the Secret that ImageRepository {web.namespace}/web logs in with is not there"
    word = password(web.registry, "reader")
    auths = {"auths": {web.registry.address: {"username": "reader", "password": word}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "metadata": {"name": "login"}, "data": data}
    web.kube.create(path("v1", "secrets", web.namespace), secret)
    web.scan()
    assert web.latest("main-1a2b3c4-17")["digest"] == web.digests["main-1a2b3c4-17"]


def test_a_policy_that_cannot_be_followed_is_told_with_what_mends_it(watched: Watch) -> None:
    web = watched()
    web.watch()
    assert web.words("ImageRepository", "absent").mend.startswith("publish an image: inv push")
    web.push("main-1a2b3c4")
    web.scan()
    said = web.words("ImagePolicy", "none")
    assert (said.what, "sortable@main" in said.mend) == (
        f"no tag of the repository is one that ImagePolicy {web.namespace}/web looks for",
        True,
    )
    web.watch(Newest(pattern="^main-(?P<hash>.*)$", extract="$hash"))
    said = web.words("ImagePolicy", "policy")
    assert said.what == f"ImagePolicy {web.namespace}/web compares numbers, and '1a2b3c4' of a tag is none"
    web.watch(Newest(range=">=3.0.0"))
    said = web.until(lambda: web.words("ImagePolicy", "none"), lambda found: "in the range" in found.what)
    assert said.what == f"no tag is a version in the range of ImagePolicy {web.namespace}/web"


def test_an_object_that_is_suspended_is_told(watched: Watch) -> None:
    web = watched()
    web.push("main-1a2b3c4-17")
    web.watch()
    web.latest("main-1a2b3c4-17")
    web.kube.merge(web.ref("ImagePolicy").path, {"spec": {"suspend": True}}, "somebody")
    assert "flux resume image policy web" in web.words("ImagePolicy", "suspended").mend


def test_a_set_that_inv_build_published_is_found_by_its_commits_time(watched: Watch, tmp_path: Path, lab_site_file: Path) -> None:
    """Equal commits give equal tags and equal indexes: a second build publishes nothing new, and the policy stays where it is."""
    with copy(tmp_path, lab_site_file) as app:
        for name in ("web", "node"):
            app.write(f"{name}/Dockerfile", f"{BASE}ENV NAME={name}\n")
        short = app.commit()
        when = app.git("show", "--no-patch", "--format=%ct", "HEAD")
        blueprint = app.blueprint({"web": {}, "node": {}}, tags=["sha", "sortable@main"])
        for number in range(2):
            with app.site(blueprint, f"records-{number}") as site:
                (record,) = runner.run(blueprint.plan, site)
        assert isinstance(record.artifact, Images)
        digests = {image.repository.rpartition("/")[2]: image.digest for image in record.artifact.images}
        for name in ("web", "node"):
            web = dataclasses.replace(watched(), repository=f"{app.space}/{name}")
            web.watch()
            tag = f"main-{short}-{when}"
            assert image_of(web.client, web.repository, web.latest(tag)["digest"]) == digests[name], "by the index above it"
            assert [each for each in web.client.tags(web.repository) if each.startswith("main-")] == [tag]


@pytest.mark.alone
def test_what_writes_is_taken_by_the_api_of_its_own_kind(watched: Watch) -> None:
    """Its controller cannot be had here: its kind, as its own types have it, is defined for the time of the test."""
    web = watched()
    definition = yaml.safe_load(CRD.read_text())
    version, plural = KINDS["ImageUpdateAutomation"]
    where = path("apiextensions.k8s.io/v1", "customresourcedefinitions", name=definition["metadata"]["name"])
    web.kube.apply(where, definition)
    try:
        web.until(lambda: web.kube.get(f"/apis/{version}") or {}, lambda found: any(each["name"] == plural for each in found["resources"]))
        wanted = web.objects(push_branch="images")["ImageUpdateAutomation"]
        with contextlib.suppress(Exception):
            web.kube.list(path(version, plural, web.namespace))
        made = web.kube.apply(path(version, plural, web.namespace, "web"), wanted, trial=True)
        assert made["spec"] == wanted["spec"]
    finally:
        web.kube.delete(where)


def test_with_markers_on_its_lines_a_release_is_refused_and_what_flux_wrote_is_what_is_live(
    lab: Site, tmp_path: Path, archive: Path
) -> None:
    """Never both. The commit of the controller that cannot be had here is made by the test, as that controller makes it."""
    with placed(lab, tmp_path, archive) as place:
        first, second = place.image(), place.image()
        spec = place.spec(values={"image": "{reference}"}, deadline=120.0)
        with exclusive(spec, first, place.site):
            make(spec, first, place.site)

        (image,) = second.images
        own = Automation({"app": image.reference.partition("@")[0]})
        where = automation.Place("app", "app", FILE, "main", place.flow.namespace, "fade")
        lines = {("spec", "values", *line): marker for line, marker in automation.marked(own, where, spec.values).items()}
        text = place.text()
        with_marker = put(text, lines, Selector("HelmRelease", "app", place.flow.namespace))
        place.flow.commit({FILE: with_marker})
        for refused in (find, make):
            with pytest.raises(ConfigError, match=rf"{FILE}:[0-9]+: spec.values.image is written by Flux's image automation") as told:
                refused(spec, second, place.site)
            assert "inv push publishes, Flux takes the newest by itself, inv verify asks what runs" in told.value.mend

        (marker,) = lines.values()
        written = with_marker.replace(first.images[0].reference, f"{image.reference.replace('@', f':{image.tag}@')}")
        assert f"{image.digest} {marker}" in written
        place.flow.commit({FILE: written})
        assert flux.poke(place.flow.kube, place.flow.target.git, "written")
        end = time.monotonic() + 60
        while not any(image.digest in reference for reference in place.runs()):
            assert time.monotonic() < end, place.runs()
            time.sleep(0.5)
        seen = live(spec, place.site)
        assert seen is not None
        assert [each.digest for each in seen.images] == [image.digest]
        assert any("image automation writes spec.values.image" in remark for remark in standing(spec, place.site).remarks)
