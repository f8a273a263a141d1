"""Going back because a person says so: to the right revision, proved first, watched after, and never in circles."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy.back import back, chosen
from pipeline.deploy.freeze import freeze, thaw
from pipeline.deploy.helm import find, live, make
from pipeline.deploy.history import BAD, GOOD, STARTED, Revision
from pipeline.deploy.lease import Lease
from pipeline.deploy.standing import standing
from pipeline.deploy.work import exclusive
from pipeline.errors import ConfigError, IntegrityError, Locked, NotRolledBack, RolledBack
from pipeline.stage import Registry, Site
from pipeline.tools.kube import Kube, connect, path
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster
from tests.deploy.test_helm import images, spec


def gone_back(site: Site, to: str = "", force: bool = False) -> Release:
    with back(spec(), to, force, site) as way:
        found = way.go() if way.go else way.goal
    assert isinstance(found, Release)
    return found


def commit(site: Site) -> str:
    release = live(spec(), site)
    return release.source.commit[:1] if release else ""


def kube(site: Site) -> Kube:
    return connect(site, "lab")


def labels(cluster: Cluster, number: int) -> dict[str, str]:
    where = path("v1", "secrets", NAMESPACE, f"sh.helm.release.v1.web.v{number}")
    found: dict[str, str] = cluster.fake.objects[where]["metadata"]["labels"]
    return found


@pytest.fixture
def three(site: Site) -> Site:
    """Revisions 1, 2 and 3 of the commits a, b and c."""
    for letter in "abc":
        make(spec(), images(letter), site)
    return site


def test_x02_twice_goes_further_back_and_never_forth(three: Site, cluster: Cluster) -> None:
    with back(spec(), "", False, three) as way:
        assert way.why == "from revision 3 (ccccccc) back to revision 2 (bbbbbbb)"
    assert cluster.calls("rollback") == [], "looking is not going"
    assert gone_back(three).source.commit == "b" * 40
    assert gone_back(three).source.commit == "a" * 40
    with pytest.raises(ConfigError, match="no good revision before revision 5"):
        gone_back(three)
    assert [argv[-1] for argv in cluster.calls("rollback")] == ["2", "1"]
    assert gone_back(three, "c" * 7).source.commit == "c" * 40
    assert gone_back(three).source.commit == "b" * 40, "from c, whichever revision it is now, b was before"


def test_after_going_back_the_labels_are_true_and_the_newer_commit_acts_again(three: Site, cluster: Cluster) -> None:
    old = dict(labels(cluster, 2))
    gone_back(three)
    new = labels(cluster, 4)
    kept = ("commit", "tree", "inputs", "tag", "run")
    assert [new[key] for key in kept] == [old[key] for key in kept]
    assert (old["fence"], new["fence"]) == ("2", "4")
    assert (new["rollout"], new["actor"]) == ("complete", old["actor"])
    assert commit(three) == "b"
    assert find(spec(), images("c"), three).artifact is None
    assert find(spec(), images("b"), three).artifact is not None
    assert make(spec(), images("c"), three).revision == 5


def test_what_is_named_and_live_already_is_left_alone(three: Site, cluster: Cluster) -> None:
    for to in ("3", "c" * 12):
        with back(spec(), to, False, three) as way:
            assert way.go is None
            assert way.why == "revision 3 (ccccccc) is live already"
    gone_back(three, "1")
    with back(spec(), "1", False, three) as way:
        assert way.go is None
        assert way.why == "revision 1 (aaaaaaa) is live already, as revision 4"
    assert len(cluster.calls("rollback")) == 1


def test_a_way_back_that_was_cut_is_finished_before_a_further_one(three: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for place in ("claim", "follow"):
        with monkeypatch.context() as patch:
            if place == "claim":
                patch.setattr("pipeline.deploy.author.claim", cut)
            else:
                patch.setattr("pipeline.deploy.work.Work.follow", cut)
            with pytest.raises(KeyboardInterrupt):
                gone_back(three)
        before = len(cluster.calls("rollback"))
        with back(spec(), "", False, three) as way:
            assert "was begun as revision" in way.why
            assert way.go
            way.go()
        assert len(cluster.calls("rollback")) == before
    assert commit(three) == "a"


def test_what_another_tool_did_is_seen_and_gone_back_from(three: Site, cluster: Cluster) -> None:
    """helm upgrade by hand keeps every label of the revision before, helm rollback those of the one it repeats."""
    where = path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v4")
    by_hand = {**cluster.fake.objects[path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v3")]}
    meta = {"name": "sh.helm.release.v1.web.v4", "labels": {**labels(cluster, 3), "version": "4"}}
    cluster.fake.put(where, {"metadata": meta, "data": by_hand["data"]})
    labels(cluster, 3)["status"] = "superseded"
    assert find(spec(), images("c"), three).why.startswith("revision 4 was not made by this pipeline")
    told = standing(spec(), three)
    assert not told.ours
    assert told.by == ""
    with back(spec(), "", False, three) as way:
        assert way.why.endswith("back to revision 3 (ccccccc)"), "the same commit, but not the same values"


def test_x01_an_image_that_is_gone_is_refused_by_the_commit_to_release_again(three: Site, cluster: Cluster) -> None:
    known = dataclasses.replace(three, registries={"lab": Registry("reg.test:5000", "http", "own")})
    known.share("registry lab pull,push", Empty)
    with pytest.raises(IntegrityError, match=r"revision 2 \(bbbbbbb\) cannot come back") as caught:
        gone_back(known)
    assert caught.value.exit_code == 14
    assert caught.value.cause == images("b").images[0].reference
    assert caught.value.mend == f"git switch --detach {'b' * 40}, then inv release --over ccccccc: it is built and pushed again"
    assert cluster.calls("rollback") == []
    assert commit(three) == "c"


class Empty:
    """A registry's client to which nothing is there."""

    def exists(self, _reference: str) -> bool:
        return False


def test_x03_while_a_deploy_runs_it_is_refused(three: Site) -> None:
    at_work = Lease(kube(three), NAMESPACE, RELEASE, three.clock, renew=0.05).acquire()
    with pytest.raises(Locked, match="is deploying web since"):
        gone_back(three)
    assert standing(spec(), three).holder.startswith(at_work.holder.person)
    at_work.release()
    assert standing(spec(), three).holder == ""


def test_x03_what_a_killed_upgrade_left_is_gone_back_from(three: Site, cluster: Cluster) -> None:
    labels(cluster, 3)["status"] = "pending-upgrade"
    labels(cluster, 2)["status"] = "deployed"
    with back(spec(), "", False, three) as way:
        assert way.why == "from revision 3 (ccccccc) (pending-upgrade) back to revision 2 (bbbbbbb)"
        assert way.go
        way.go()
    assert commit(three) == "b"


def test_l07_a_freeze_holds_it_unless_it_is_forced(three: Site) -> None:
    freeze(kube(three), NAMESPACE, RELEASE, "no deploys until Monday", three.clock)
    fresh = dataclasses.replace(three, shared={key: value for key, value in three.shared.items() if not key.startswith("begun")})
    with pytest.raises(Locked, match="frozen: no deploys until Monday") as caught:
        gone_back(fresh)
    assert "--force" in caught.value.mend
    found = standing(spec(), three).frozen
    assert found is not None
    assert found.message == "no deploys until Monday"
    assert gone_back(fresh, force=True).source.commit == "b" * 40
    thaw(kube(three), NAMESPACE, RELEASE)
    assert standing(spec(), three).frozen is None


def test_l07_who_had_begun_before_the_freeze_may_take_back(three: Site) -> None:
    freeze(kube(three), NAMESPACE, RELEASE, "stop", three.clock)
    with exclusive(spec(), None, three):
        pass


def test_what_does_not_come_up_again_leaves_what_was_live(three: Site, cluster: Cluster) -> None:
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 3 serves again") as caught:
        gone_back(three)
    assert "cannot bind the port" in caught.value.cause
    assert commit(three) == "c"
    assert labels(cluster, 4)["rollout"] == BAD
    with pytest.raises(ConfigError, match=r"revision 4 \(bbbbbbb\) never came up") as refused:
        gone_back(three, "4")
    assert refused.value.mend.endswith(f"git switch --detach {'b' * 40}, then inv release --over ccccccc --again")


def test_where_nothing_good_is_left_it_says_so(three: Site, cluster: Cluster) -> None:
    cluster.behaviour |= {"sha256:" + letter * 64: "crash" for letter in "ab"}
    labels(cluster, 3)["rollout"] = STARTED
    with pytest.raises(NotRolledBack, match="does not come up either") as caught:
        gone_back(three)
    assert caught.value.exit_code == 17
    assert "inv rollback --to" in caught.value.mend


def test_nothing_to_go_back_to(site: Site) -> None:
    with pytest.raises(ConfigError, match="never released"):
        gone_back(site)
    make(spec(), images(), site)
    with pytest.raises(ConfigError, match="no good revision before revision 1") as caught:
        gone_back(site)
    assert "revision 1 (aaaaaaa)  deployed, rollout complete, since 20" in caught.value.cause


def revision(number: int, at: str, status: str = "superseded", rollout: str = GOOD) -> Revision:
    marks = {"commit": at, "inputs": f"inputs of {at}", "rollout": rollout}
    return Revision(number, status, marks, {})


def history() -> Iterator[Revision]:
    yield revision(5, "ab12" + "5" * 36, "deployed")
    yield revision(4, "ab12" + "4" * 36, "failed", BAD)
    yield revision(3, "ab12" + "5" * 36)
    yield revision(2, "cd34" + "2" * 36)
    yield revision(1, "1234567" + "1" * 33)


@pytest.mark.parametrize(
    ("to", "number"),
    [("", 2), ("1", 1), ("2", 2), ("3", 3), ("cd34", 2), ("1234567", 1), ("ab125", 5), ("ab12" + "5" * 36, 5)],
)
def test_a_revision_is_named_by_number_or_commit(to: str, number: int) -> None:
    assert chosen(list(history()), 5, to).number == number


@pytest.mark.parametrize("to", ["9", "4", "ab12", "cd3", "dead", "-1", "--help", "HEAD", "2; reboot", "", "ab124"])
def test_any_other_name_is_refused(to: str) -> None:
    revisions = list(history())[:1] if not to else list(history())
    with pytest.raises(ConfigError) as caught:
        chosen(revisions, 5, to)
    assert caught.value.mend


def test_it_is_found_in_one_more_request_for_each_way_back_before(three: Site, cluster: Cluster) -> None:
    gone_back(three)
    before = len(cluster.fake.asked)
    with back(spec(), "", False, three):
        pass
    asked = [where for method, where in cluster.fake.asked[before:] if method == "GET" and "sh.helm.release" in where]
    assert len(asked) <= 4, json.dumps(asked, indent=1)


def alike(letter: str, code: str) -> Images:
    """Another commit (and tag) that gave the image of commit `code` again: of the README, say."""
    (image,) = images(code).images
    return Images(images(letter).source, (dataclasses.replace(image, tag=letter * 7),))


@pytest.mark.parametrize("noted", [True, False])
def test_the_same_code_is_not_gone_back_to(site: Site, cluster: Cluster, noted: bool) -> None:
    """inv rollback went from a README commit back to the same code, and called it done."""
    for made in (images("a"), images("b"), alike("c", "b"), alike("d", "b")):
        make(spec(), made, site)
    if not noted:  # as releases of an older version: their images tell
        for number in range(1, 5):
            labels(cluster, number).pop("code")
    with back(spec(), "", False, site) as way:
        assert way.why == "from revision 4 (ddddddd) back to revision 1 (aaaaaaa)"


def test_that_there_is_nothing_else_is_said(site: Site, cluster: Cluster) -> None:
    for made in (images("a"), alike("b", "a")):
        make(spec(), made, site)
    with pytest.raises(ConfigError, match=r"no good revision before revision 2 \(bbbbbbb\) with another image or other code"):
        gone_back(site)
    assert cluster.calls("rollback") == []
    assert gone_back(site, "1").source.commit == "a" * 40, "whoever names it means it"


def test_other_values_of_the_same_image_are_other_code(site: Site) -> None:
    for level in ("info", "debug"):
        made = dataclasses.replace(spec(), values={**spec().values, "level": level})
        make(made, images("a"), site)
    with back(spec(), "", False, site) as way:
        assert way.why == "from revision 2 (aaaaaaa) back to revision 1 (aaaaaaa)"


def test_what_a_person_took_back_is_told_until_it_is_released_again(three: Site) -> None:
    assert standing(spec(), three).taken == ()
    gone_back(three)
    (taken,) = standing(spec(), three).taken
    assert (taken.source, taken.label, taken.failed) == ("c" * 40, "ccccccc", False)
    assert taken.by == standing(spec(), three).by
    make(spec(), images("c"), three)
    assert standing(spec(), three).taken == ()


def test_what_did_not_come_up_is_told_as_taken_back(three: Site, cluster: Cluster) -> None:
    cluster.behaviour["sha256:" + "d" * 64] = "crash"
    with pytest.raises(RolledBack):
        make(spec(), images("d"), three)
    (taken,) = standing(spec(), three).taken
    assert (taken.source, taken.failed) == ("d" * 40, True)
