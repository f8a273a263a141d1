"""The driver whole, on a real Git repository, an API of the test's own and controllers that the test plays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import flux_revert
from pipeline.deploy.flux import DRIVER, find, live, make, standing, undo
from pipeline.deploy.flux_spec import Flux
from pipeline.errors import ConfigError, Expired, Locked, NotRolledBack, RolledBack, Transient
from pipeline.events import Event, What
from pipeline.records import Records
from pipeline.stage import Remote, Site
from pipeline.tools.kube import path
from tests.deploy.cluster import NAMESPACE, WEB, Cluster
from tests.deploy.flux_cluster import FILE, HELM, SOURCE, FakeFlux, spec
from tests.tools.gitserver import Server, server

__all__ = ["server"]


def images(letter: str = "a") -> Images:
    source = Source("7e" * 20, letter * 40, False, "/w")
    return Images(source, (Image("reg.test:5000/team/web", f"sha256:{letter * 64}", letter * 7),))


@pytest.fixture
def flux(cluster: Cluster, server: Server) -> FakeFlux:
    return FakeFlux(cluster, server)


@pytest.fixture
def world(site: Site, server: Server, flux: FakeFlux) -> Site:
    return dataclasses.replace(site, remotes={"gitops": Remote(f"ssh://git@server.test{server.path}")})


def text(server: Server, at: str = "main") -> str:
    return server.git("show", f"{at}:{FILE}")


def test_the_driver_takes_images_and_gives_a_release() -> None:
    assert (DRIVER.takes.kind, DRIVER.gives.kind, DRIVER.spec, DRIVER.verb) == ("images", "release", Flux, "deploy")


def test_the_first_release_is_one_commit_that_starts_the_helmrelease(world: Site, server: Server, flux: FakeFlux) -> None:
    before = server.head
    assert find(spec(), images(), world).why == "nothing is deployed yet"
    made = make(spec(), images(), world)
    assert find(spec(), images(), world).artifact == made
    assert server.count == 2
    changed = [line for line in server.git("diff", "-U0", before, "main").splitlines() if line[:1] == "+" and line[:3] != "+++"]
    assert [line.strip("+ ") for line in changed] == [
        "suspend: false # until the first release",
        "repository: reg.test:5000/team/web",
        f"digest: sha256:{'a' * 64}",
        f'commit: "{"a" * 40}"',
    ]
    assert (made.revision, made.source.commit) == (1, "a" * 40)


def test_the_commit_says_what_was_released_by_whom_and_over_what(world: Site, server: Server, flux: FakeFlux) -> None:
    first = make(spec(), images(), world)
    one = server.head
    make(spec(), images("b"), world)
    subject, _, body = server.git("log", "-1", "--format=%B").partition("\n\n")
    assert subject == "web: bbbbbbb to production"
    assert body.startswith(f"reg.test:5000/team/web:bbbbbbb@sha256:{'b' * 64}\n\n")
    assert f"\nPipeline-App: web\nPipeline-Commit: {'b' * 40}\nPipeline-Inputs: " in body
    assert f"Pipeline-Before: {one}" in body
    assert f"Pipeline-Inputs: {first.inputs}" in server.git("log", "-1", "--format=%B", one)


def test_d07_nothing_to_do_is_one_connection_and_six_requests(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    made = make(spec(), images(), world)
    server.forget()
    asked = len(cluster.fake.asked)
    assert find(spec(), images(), world).artifact == made
    assert server.connections == ["git-upload-pack"]
    assert len(cluster.fake.asked) - asked == 5  # three of Flux, what Helm keeps, the Deployment
    release = live(spec(), world)
    assert release is not None
    assert (release.id, release.source.commit, release.images[0].digest) == (made.id, "a" * 40, "sha256:" + "a" * 64)


def test_only_our_lines_change_whatever_people_wrote_meanwhile(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    server.person({FILE: text(server).replace("interval: 5m", "interval: 7m # slower") + "\n"})
    before = server.head
    make(spec(), images("b"), world)
    assert server.git("diff", "--numstat", before, "main") == f"2\t2\t{FILE}"
    assert "interval: 7m # slower" in text(server)


def test_d04_what_crashes_is_explained_and_reverted_by_a_commit(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    make(spec(), images(), world)
    good = text(server)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match=r"serves again, by commit") as caught:
        make(spec(), images("b"), world)
    assert "container app ends with exit code 3" in caught.value.cause
    assert "cannot bind the port" in (world.root / caught.value.log).read_text()
    assert text(server) == good
    assert server.count == 4
    body = server.git("log", "-1", "--format=%B")
    bad = server.git("rev-parse", "main^")
    assert f"This reverts commit {bad}." in body
    assert f"Pipeline-Reverts: {bad}" in body
    assert "Pipeline-Failed: web did not come up" in body
    assert find(spec(), images(), world).artifact is not None
    assert standing(spec(), world).remarks == ()


def test_a_release_that_helm_controller_gave_up_is_reverted_and_its_retries_do_not_stop_that(
    world: Site, server: Server, flux: FakeFlux
) -> None:
    make(spec(), images(), world)
    flux.helm["sha256:" + "b" * 64] = "failed"
    with pytest.raises(RolledBack):
        make(spec(), images("b"), world)
    assert find(spec(), images(), world).artifact is not None


def test_f04_what_helm_controller_gave_up_is_tried_again_when_it_is_asked_for(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    flux.helm["sha256:" + "b" * 64] = "failed"
    with pytest.raises(NotRolledBack):
        make(spec(rollback="never"), images("b"), world)
    flux.helm.clear()
    made = make(spec(), images("b"), world)
    assert find(spec(), images("b"), world).artifact == made
    assert server.count == 3


def test_what_helm_controller_put_back_itself_is_reverted_in_git_too(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    good = text(server)
    flux.helm["sha256:" + "b" * 64] = "remediated"
    with pytest.raises(RolledBack, match="which helm-controller had put back already"):
        make(spec(), images("b"), world)
    assert text(server) == good


def test_rollback_never_leaves_the_commit_and_says_how_to_go_back(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    make(spec(), images(), world)
    cluster.behaviour["sha256:" + "b" * 64] = "pull"
    with pytest.raises(NotRolledBack, match=r"is left as it is \(rollback: never\)") as caught:
        make(spec(rollback="never"), images("b"), world)
    assert "inv rollback" in caught.value.mend
    assert server.count == 3


def test_a_first_release_that_fails_leaves_the_file_as_it_was(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    cluster.behaviour["sha256:" + "a" * 64] = "pull"
    before = text(server)
    with pytest.raises(NotRolledBack, match="nothing was live before: its commit is taken back"):
        make(spec(), images(), world)
    assert text(server) == before
    make(spec(), images("b"), world)
    assert find(spec(), images("b"), world).artifact is not None


def test_f03_what_is_suspended_is_said_and_nothing_is_written(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    flux.suspend(HELM)
    assert "HelmRelease web is suspended" in find(spec(), images(), world).why
    with pytest.raises(Locked, match="is suspended: Flux leaves it as it is") as caught:
        make(spec(), images("b"), world)
    assert "flux resume helmrelease web -n shop" in caught.value.mend
    assert server.count == 2


def test_f03_a_commit_that_flux_never_took_up_is_taken_back_and_the_old_one_never_stopped(
    world: Site, flux: FakeFlux, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flux_revert, "UNTOUCHED", 1.0)
    make(spec(), images(), world)
    flux.asleep = True
    with pytest.raises(RolledBack):  # nobody takes it up: what was live before still is
        make(spec(deadline=1.0), images("b"), world)
    assert any("what was live before still is" in event.text for event in events if event.what is What.WARN)


def test_killed_between_push_and_follow_the_next_run_follows(
    world: Site, server: Server, flux: FakeFlux, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(spec(), images(), world)

    def die(name: str) -> None:
        if name == "deploy.committed":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.deploy.flux_make.failpoint", die)
        with pytest.raises(KeyboardInterrupt):
            make(spec(), images("b"), world)
    assert server.count == 3
    assert find(spec(), images("b"), world).why == "the commit is there, Flux has not applied it"
    made = make(spec(), images("b"), world)
    assert server.count == 3
    assert find(spec(), images("b"), world).artifact == made


def test_f02_a_git_server_that_is_down_is_a_fault_that_passes(world: Site, server: Server, flux: FakeFlux) -> None:
    made = make(spec(), images(), world)
    server.down()
    with pytest.raises(Transient):
        find(spec(), images("b"), world)
    known = live(spec(), world)
    assert known is not None
    assert known.id == made.id
    server.up()
    assert find(spec(), images(), world).artifact == made


def test_f02_what_flux_cannot_fetch_in_time_stays_and_the_next_run_follows_it(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    flux.unreachable = "failed to checkout and determine revision: unable to list remote: dial tcp 10.0.0.1:22: connect: connection refused"
    with pytest.raises(Expired) as caught:
        make(spec(deadline=1.0), images("b"), world)
    assert "connection refused" in caught.value.cause
    assert f"the commit {server.head[:7]} stays: run again" in caught.value.mend
    flux.unreachable = ""
    make(spec(), images("b"), world)
    assert server.count == 3


def test_f03_a_person_who_takes_the_lines_back_while_they_are_followed_wins(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)

    def meddle() -> None:
        flux.before_fetch = lambda: None
        server.person({FILE: text(server).replace("b" * 64, "c" * 64)}, "By hand")

    flux.before_fetch = meddle
    with pytest.raises(NotRolledBack, match=r"Ada <ada@example\.org>") as caught:
        make(spec(), images("b"), world)
    assert "inv status" in caught.value.mend
    assert server.count == 4
    assert "c" * 64 in text(server)


def test_f01_a_person_who_changes_the_same_line_meanwhile_is_named(
    world: Site, server: Server, flux: FakeFlux, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(spec(), images(), world)

    def meddle(name: str) -> None:
        if name == "deploy.secret":
            server.person({FILE: text(server).replace("a" * 64, "c" * 64)}, "By hand")

    monkeypatch.setattr("pipeline.deploy.flux_make.failpoint", meddle)
    with pytest.raises(ConfigError, match=r"release.yaml:14: somebody else changed image.digest") as caught:
        make(spec(), images("b"), world)
    assert "Ada <ada@example.org> in " in caught.value.cause
    assert "By hand" in caught.value.cause
    assert server.count == 3


def test_lines_by_hand_are_told_and_the_blueprint_wins(world: Site, server: Server, flux: FakeFlux, events: list[Event]) -> None:
    make(spec(), images(), world)
    server.person({FILE: text(server).replace("a" * 64, "c" * 64)}, "By hand")
    flux.resume()
    (remark,) = standing(spec(), world).remarks
    assert remark.startswith("Ada <ada@example.org> wrote its lines by hand")
    assert not standing(spec(), world).ours
    make(spec(), images("b"), world)
    warned = [event.text for event in events if event.what is What.WARN]
    assert any("Ada <ada@example.org> wrote these lines" in each and "the blueprint wins" in each for each in warned)


@pytest.mark.parametrize(
    ("change", "what", "mend"),
    [
        (("helm.toolkit.fluxcd.io/v2", "helm.toolkit.fluxcd.io/v2beta2"), "which Flux no longer serves", "inv flux.migrate"),
        (("name: web", "name: other"), "does not hold HelmRelease", "name the file"),
        (("interval: 5m", "interval: 5m\n  releaseName: other"), "releaseName 'other' is not the release", "take releaseName out"),
        ((f"sha256:{'0' * 64}", f'sha256:{"0" * 64} # {{"$imagepolicy": "flux-system:web:digest"}}'), "image automation", ""),
    ],
)
def test_a_file_that_must_not_be_written_is_refused_with_its_line(
    world: Site, server: Server, flux: FakeFlux, change: tuple[str, str], what: str, mend: str
) -> None:
    server.person({FILE: text(server).replace(*change)})
    with pytest.raises(ConfigError, match=what) as caught:
        make(spec(), images(), world)
    assert mend in caught.value.mend
    assert server.count == 2


def test_a_repository_without_the_file_says_how_to_make_it(world: Site, server: Server, flux: FakeFlux) -> None:
    with pytest.raises(ConfigError, match=r"has no elsewhere.yaml") as caught:
        find(spec(file="elsewhere.yaml"), images(), world)
    assert "inv flux.init" in caught.value.mend
    assert DRIVER.present is not None
    with pytest.raises(ConfigError, match=r"has no elsewhere.yaml"):
        DRIVER.present(spec(file="elsewhere.yaml"), world)
    DRIVER.present(spec(), world)


def test_a_cluster_without_flux_says_how_to_get_it(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    cluster.fake.drop(SOURCE.path)
    with pytest.raises(ConfigError, match="cluster lab has no GitRepository flux-system/flux-system") as caught:
        find(spec(), images(), world)
    assert "inv flux.bootstrap" in caught.value.mend
    cluster.fake.drop(path("v1", "namespaces", name="flux-system"))
    with (
        pytest.raises(ConfigError, match="has no namespace flux-system: Flux is not there"),
        DRIVER.exclusive(spec(), images(), world),  # type: ignore[misc]
    ):
        pass


def test_undo_takes_back_what_verification_refused_and_nothing_newer(world: Site, server: Server, flux: FakeFlux) -> None:
    make(spec(), images(), world)
    good = text(server)
    bad = make(spec(), images("b"), world)
    with pytest.raises(RolledBack, match=r"the page says so; \w+ \(of aaaaaaa\) serves again"):
        undo(spec(), bad, world, "the page says so")
    assert text(server) == good
    count = server.count
    with pytest.raises(RolledBack):
        undo(spec(), bad, world, "the page says so")
    assert server.count == count  # asked again, it finds it done
    newer = make(spec(), images("c"), world)
    with pytest.raises(NotRolledBack, match="changed by somebody else since"):
        undo(spec(), bad, world, "the page says so")
    assert find(spec(), images("c"), world).artifact == newer


def test_the_lock_stands_beside_flux_and_a_freeze_stops_who_begins(world: Site, flux: FakeFlux, cluster: Cluster, tmp_path: Path) -> None:
    make(spec(), images(), world)
    assert path("coordination.k8s.io/v1", "leases", "flux-system", f"pipeline-{NAMESPACE}.web") in cluster.fake.objects
    assert DRIVER.freeze is not None
    DRIVER.freeze(spec(), "holidays", world)
    assert str(standing(spec(), world).frozen).startswith("holidays (")
    other = dataclasses.replace(world, shared={}, records=Records(tmp_path / "others.db"))  # another process
    with other, pytest.raises(Locked, match=r"deploys of shop.web are frozen: holidays"):
        make(spec(), images("b"), other)
    DRIVER.freeze(spec(), "", world)
    make(spec(), images("b"), world)


def test_a_deployment_edited_or_scaled_to_nothing_is_not_live(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    make(spec(), images(), world)
    found = dict(cluster.fake.objects[WEB])
    template = {"metadata": {}, "spec": {"containers": [{"name": "app", "image": "other:1"}]}}
    cluster.fake.objects[WEB] = {**found, "spec": {**found["spec"], "template": template}}
    assert "a workload was edited: other:1 is live" in find(spec(), images(), world).why


def test_check_asks_nobody_and_knows_names_words_and_shapes(world: Site, server: Server, flux: FakeFlux, cluster: Cluster) -> None:
    assert DRIVER.check is not None
    server.forget()
    asked = len(cluster.fake.asked)
    DRIVER.check(spec(), world)
    assert (server.connections, len(cluster.fake.asked)) == ([], asked)
    with pytest.raises(ConfigError, match="the site has no remote 'gitop'"):
        DRIVER.check(spec(remote="gitop"), world)
    with pytest.raises(ConfigError, match=r"values.image: \{digset\} is not known"):
        DRIVER.check(spec(values={"image": "{digset}"}), world)
    with pytest.raises(ConfigError, match=r"values.hosts is no single line"):
        DRIVER.check(spec(values={"image": "{digest}", "hosts": ["a"]}), world)
    with pytest.raises(ConfigError, match="cannot be run"):
        DRIVER.check(spec(), dataclasses.replace(world, tools={"git": str(Path("/nowhere/git"))}))
