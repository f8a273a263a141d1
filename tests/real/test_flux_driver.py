"""Releases by commit on the lab: a repository in its Gitea, the real controllers of Flux, real images and pods."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy.flux import back, exclusive, find, live, make, standing, undo
from pipeline.deploy.flux_spec import Flux
from pipeline.errors import ConfigError, Locked, RolledBack, Transient
from pipeline.events import Event, What
from pipeline.host import Address
from pipeline.host.local import LocalHost
from pipeline.stage import Remote, Site
from pipeline.testing.proxy import FaultProxy
from pipeline.tools.flux import Ref
from pipeline.tools.kube import path
from pipeline.tools.kube_objects import ready, selector, template_images
from tests.real.deploy_parts import CLUSTER, Hosts, World, archive
from tests.real.flux_parts import CHART, TEMPLATE, Flow, flow

pytestmark = pytest.mark.real
__all__ = ["archive"]
FILE = "clusters/app/release.yaml"
GOOD = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
BAD = ["/bin/busybox", "sh", "-c", "echo cannot bind the port; exit 3"]
IMAGE = "image: {{ .Values.image | quote }}"
PROBED = (IMAGE, f"{IMAGE}, readinessProbe: {{exec: {{command: [/bin/busybox, 'true']}}, initialDelaySeconds: 1, periodSeconds: 1}}")
WAITING = """# a person's comment
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: app
  namespace: {name}
spec:
  suspend: true # until the first release
  interval: 10m
  timeout: {timeout}
  chart:
    spec:
      chart: ./helm/app
      reconcileStrategy: Revision
      interval: 10m
      sourceRef: {{kind: GitRepository, name: fade, namespace: {name}}}
  install: {{disableWait: {quick}, remediation: {{retries: 0}}}}
  upgrade: {{disableWait: {quick}, remediation: {{retries: 0}}}}
  values:
    replicas: 1 # ours, not the pipeline's
    image: unreleased.invalid/web@sha256:{zeros}
    text: unreleased
"""


@dataclasses.dataclass
class Place:
    """One test's repository, namespace and images; `site` is the pipeline's."""

    flow: Flow
    site: Site
    images: World

    def spec(self, **options: object) -> Flux:
        name = self.flow.namespace
        values = {"image": "{reference}", "text": "{short}"}
        usual = {
            "system": name,
            "source": "fade",
            "kustomization": "fade",
            "path": "clusters",
            "file": FILE,
            "values": values,
            "deadline": 200.0,
        }
        return Flux(CLUSTER, "gitops", name, "app", **{**usual, **options})  # type: ignore[arg-type]

    def image(self, *, good: bool = True) -> Images:
        return self.images.image(Entrypoint=GOOD if good else BAD)

    def pull(self) -> str:
        """The head of the branch, brought into the person's working copy."""
        self.flow.git("pull", "--quiet", "--rebase", "origin", "main")
        return self.flow.git("rev-parse", "HEAD")

    def text(self) -> str:
        self.pull()
        return (self.flow.work / FILE).read_text()

    def by_hand(self, old: str, new: str) -> str:
        """A person's commit that replaces a text in the file."""
        text = self.text()
        assert old in text
        commit = self.flow.commit({FILE: text.replace(old, new)}, push=False)
        self.flow.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
        return commit

    def count(self) -> int:
        self.pull()
        return int(self.flow.git("rev-list", "--count", "HEAD", "--", FILE))

    def runs(self) -> set[str]:
        """The images that the ready pods run, as their templates name them."""
        pods = self.flow.kube.list(path("v1", "pods", self.flow.namespace), selector("app"))["items"]
        return {image for pod in pods if ready(pod) for _, image in template_images({"spec": {"template": {"spec": pod["spec"]}}})}

    @property
    def helm(self) -> Ref:
        return Ref("HelmRelease", self.flow.namespace, "app")


@contextlib.contextmanager
def placed(lab: Site, folder: Path, archive: Path, *, quick: bool = True, timeout: str = "60s", address: str = "") -> Iterator[Place]:
    root = folder / "copy"
    root.mkdir()
    with flow(lab, folder, address) as made:
        text = WAITING.format(name=made.namespace, zeros="0" * 64, timeout=timeout, quick=str(quick).lower())
        chart = {"helm/app/Chart.yaml": CHART.replace("name: web", "name: app"), "helm/app/templates/app.yaml": TEMPLATE.replace(*PROBED)}
        made.commit({FILE: text, **chart})
        site = dataclasses.replace(
            lab, app=made.namespace, root=root, hosts=Hosts(lab, LocalHost("here", str(folder / "state"))),
        )  # fmt: skip
        place = Place(made, site, World(site, made.kube, made.namespace, archive))
        try:
            yield place
        finally:
            with contextlib.suppress(Exception):  # whatever state the test left it in
                made.kube.merge(place.helm.path, {"spec": {"suspend": True}, "metadata": {"finalizers": None}}, "tests")
            made.kube.delete(place.helm.path)


@pytest.fixture
def place(lab: Site, tmp_path: Path, archive: Path) -> Iterator[Place]:
    with placed(lab, tmp_path, archive) as made:
        yield made


def release(place: Place, images: Images, **options: object) -> Release:
    spec = place.spec(**options)
    with exclusive(spec, images, place.site):
        return make(spec, images, place.site)


def test_d07_a_release_is_one_commit_and_found_ever_after(place: Place) -> None:
    spec, first, second = place.spec(), place.image(), place.image()
    assert find(spec, first, place.site).why == "nothing is deployed yet"
    before = place.pull()
    made = release(place, first)
    assert find(spec, first, place.site).artifact == made
    assert place.count() == 2
    assert place.runs() == {first.images[0].reference}
    again = release(place, first)
    assert (again, place.count()) == (made, 2)

    why = find(spec, second, place.site).why
    assert first.images[0].digest in why
    assert second.images[0].digest in why
    middle = place.pull()
    made = release(place, second)
    assert find(spec, second, place.site).artifact == made
    assert place.runs() == {second.images[0].reference}
    assert place.flow.git("diff", "--numstat", before, middle) == f"3\t3\t{FILE}"  # its two lines, and the one that lets it begin
    assert place.flow.git("diff", "--numstat", middle, place.pull()) == f"2\t2\t{FILE}"
    seen = live(spec, place.site)
    assert seen is not None
    assert (seen.id, seen.source.commit, [image.digest for image in seen.images]) == (
        made.id, second.source.commit, [second.images[0].digest],
    )  # fmt: skip
    facts = standing(spec, place.site)
    assert (facts.ours, facts.remarks) == (True, ())


def test_d04_a_broken_image_is_diagnosed_and_reverted_by_a_commit(place: Place) -> None:
    good = place.image()
    release(place, good)
    text = place.text()
    with pytest.raises(RolledBack, match="serves again, by commit") as caught:
        release(place, place.image(good=False), restarts=1, deadline=3600.0)  # pytest's own timeout comes before that
    assert "exit code 3" in caught.value.cause
    assert "cannot bind the port" in (place.site.root / caught.value.log).read_text()
    assert place.text() == text
    assert place.count() == 4
    body = place.flow.git("log", "-1", "--format=%B")
    assert f"This reverts commit {place.flow.git('rev-parse', 'HEAD^')}." in body
    assert find(place.spec(), good, place.site).artifact is not None
    assert place.runs() == {good.images[0].reference}


def test_a_helm_that_waits_does_not_hide_the_pods_nor_stop_the_way_back(lab: Site, tmp_path: Path, archive: Path) -> None:
    with placed(lab, tmp_path, archive, quick=False, timeout="25s") as place:
        good = place.image()
        release(place, good)
        text = place.text()
        with pytest.raises(RolledBack) as caught:
            release(place, place.image(good=False))
        assert "exit code 3" in caught.value.cause
        assert place.text() == text
        assert find(place.spec(), good, place.site).artifact is not None


def test_f03_suspended_means_that_nothing_is_written(place: Place) -> None:
    release(place, place.image())
    place.flow.kube.merge(place.helm.path, {"spec": {"suspend": True}}, "somebody")
    second = place.image()
    with pytest.raises(Locked, match="is suspended") as caught:
        release(place, second)
    assert "flux resume helmrelease app" in caught.value.mend
    assert place.count() == 2
    assert any("is suspended" in remark for remark in standing(place.spec(), place.site).remarks)
    place.flow.kube.merge(place.helm.path, {"spec": {"suspend": False}}, "somebody")
    assert release(place, second).revision > 1


def test_f01_a_person_who_changes_the_same_line_meanwhile_is_named_and_wins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    release(place, place.image())
    theirs: list[str] = []

    def meddle(point: str) -> None:
        if point == "deploy.secret":
            theirs.append(place.by_hand("replicas: 1", "replicas: 2"))
            theirs.append(place.by_hand("text: ", "text: by-hand-"))

    monkeypatch.setattr("pipeline.deploy.flux_make.failpoint", meddle)
    with pytest.raises(ConfigError, match="somebody else changed text at this moment") as caught:
        release(place, place.image())
    assert theirs[1][:7] in caught.value.cause
    assert "Ada <ada@example.org>" in caught.value.cause
    assert place.pull() == theirs[1]


def test_a_persons_other_lines_are_kept(place: Place) -> None:
    release(place, place.image())
    place.by_hand("replicas: 1 # ours, not the pipeline's", "replicas: 2 # more of them")
    second = place.image()
    release(place, second)
    assert "replicas: 2 # more of them" in place.text()
    assert place.runs() == {second.images[0].reference}
    assert len(place.flow.kube.list(path("v1", "pods", place.flow.namespace), selector("app"))["items"]) >= 2


def test_rollback_is_a_commit_and_a_second_one_goes_further_back(place: Place) -> None:
    spec = place.spec()
    made = [release(place, place.image()) for _ in range(3)]
    for wanted in (made[1], made[0]):
        with back(spec, "", False, place.site) as way:
            assert way.go is not None
            assert way.goal.id == wanted.id
            gone = way.go()
        assert gone.id == wanted.id
        now = live(spec, place.site)
        assert now is not None
        assert now.id == wanted.id
        assert place.runs() == {wanted.images[0].reference}
    with pytest.raises(ConfigError, match="there is no good release before"), back(spec, "", False, place.site):
        pass
    assert place.count() == 6


def test_what_verification_refused_is_taken_back(place: Place) -> None:
    first = place.image()
    release(place, first)
    text = place.text()
    bad = release(place, place.image())
    with pytest.raises(RolledBack, match="the page says so"):
        undo(place.spec(), bad, place.site, "the page says so")
    assert place.text() == text
    assert place.runs() == {first.images[0].reference}


def test_a_git_server_that_is_down_is_survived_with_nothing_lost(lab: Site, tmp_path: Path, archive: Path, events: list[Event]) -> None:
    remote = lab.remotes["gitops"]
    where, port = remote.url.removeprefix("ssh://git@").partition("/")[0].rsplit(":", 1)
    with FaultProxy(Address(where, int(port)), listen=where) as proxy:
        address = f"{where}:{proxy.address.port}"
        with placed(lab, tmp_path, archive, address=address) as place:
            known = tmp_path / "known_hosts"
            known.write_text(Path(remote.known_hosts).read_text().replace(f"[{where}]:{port} ", f"[{where}]:{proxy.address.port} "))
            url = remote.url.replace(f"{where}:{port}", address)
            site = dataclasses.replace(place.site, remotes={"gitops": Remote(url, remote.identity_file, str(known))})
            place = dataclasses.replace(place, site=site, images=dataclasses.replace(place.images, site=site))
            first, second = place.image(), place.image()
            release(place, first)
            proxy.refuse()
            with pytest.raises(Transient):
                release(place, second)
            known_live = live(place.spec(), place.site)
            assert known_live is not None
            assert known_live.source.commit == first.source.commit
            proxy.accept()
            release(place, second)
            assert place.runs() == {second.images[0].reference}
            assert place.count() == 3
            assert not [event for event in events if event.what is What.FAILED]


KILLED = """
import dataclasses, pickle, sys
from pathlib import Path
from pipeline.artifacts import from_json
from pipeline.deploy.flux import exclusive, make
from pipeline.deploy.flux_spec import Flux
from pipeline.plan import load
from pipeline.records import Records
import json
given = json.loads(Path(sys.argv[1]).read_text())
blueprint = load(Path(given["config"]), "ihp-railiance-probe", "lab")
with dataclasses.replace(blueprint.site(), app=given["app"], root=Path(given["root"]), records=Records(Path(given["records"]))) as site:
    spec, images = Flux(**given["spec"]), from_json(given["images"])
    with exclusive(spec, images, site):
        make(spec, images, site)
"""


@pytest.mark.parametrize("point", ["deploy.proven", "deploy.committed", "deploy.wait:2"])
def test_killed_at_any_step_the_next_run_goes_on_and_commits_once(place: Place, tmp_path: Path, point: str) -> None:
    import json

    from pipeline.artifacts import to_json

    release(place, place.image())
    second, spec = place.image(), place.spec()
    given = {
        "config": str(Path(__file__).parents[2] / "config"), "app": place.site.app, "root": str(place.site.root),
        "records": str(tmp_path / "killed.db"), "spec": dataclasses.asdict(spec), "images": to_json(second),
    }  # fmt: skip
    file = tmp_path / "given.json"
    file.write_text(json.dumps(given, default=dict))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)], env={**os.environ, "FAILPOINT": f"{point}:kill"}, capture_output=True, text=True,
        check=False, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    made = release(place, second)
    assert find(spec, second, place.site).artifact == made
    assert place.count() == 3
    assert place.runs() == {second.images[0].reference}
