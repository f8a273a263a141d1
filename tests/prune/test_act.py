"""`inv prune` whole, on a registry and clusters of the tests' own: who is asked, what is deleted, and what keeps it from that."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import work
from pipeline.errors import AuthError, ConfigError, IntegrityError, Transient
from pipeline.events import Event
from pipeline.plan import load
from pipeline.prune.act import prune
from pipeline.prune.decide import Row
from pipeline.retry import Policy
from pipeline.testing.kube import FakeKube
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.helm_stored import packed
from pipeline.tools.image_list import Dated
from pipeline.tools.kube import path

REPOSITORY = "team/app"
BLUEPRINT: dict[str, Any] = {
    "app": "app",
    "keep": 2,
    "stages": {
        "build": {"driver": "buildx", "registry": "hub", "images": {"app": {"repository": REPOSITORY}}, "tags": ["sha"]},
        "deploy": {"driver": "helm", "cluster": "lab", "namespace": "shop", "release": "web"},
    },
}


@dataclass
class There:
    """A working copy with two environments, each with a cluster; `events` are those of both."""

    root: Path
    registry: FakeRegistry
    clusters: dict[str, FakeKube]
    events: list[Event] = field(default_factory=list)

    def commits(self, count: int) -> list[str]:
        """That many commits, the newest last: the tags that their images have."""
        made = []
        for _ in range(count):
            number = len(list((self.root / ".git").glob("n-*")))
            (self.root / ".git" / f"n-{number}").touch()
            when = {"GIT_COMMITTER_DATE": f"2026-01-01T00:{number:02d}:00Z"}
            git = ["git", "-C", str(self.root), "-c", "user.name=t", "-c", "user.email=t@example.org"]
            subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", str(number)], check=True, env=when)
            head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
            made.append(f"sha-{head[:7]}")
        return made

    def push(self, *tags: str, content: str = "") -> str:
        """An image under these tags; its digest."""
        content = content or tags[0]
        for tag in tags:
            digest, _ = self.registry.put(REPOSITORY, tag, (content.encode(),), json.dumps({"of": content}).encode())
        return digest

    def pod(self, env: str, image: str) -> None:
        value = {"metadata": {"name": "web-1"}, "spec": {"containers": [{"image": image}]}}
        self.clusters[env].put(path("v1", "pods", "shop", "web-1"), value)

    def revision(self, env: str, number: int, image: str, status: str = "superseded") -> None:
        """A revision as helm keeps it, that came up."""
        name = f"sh.helm.release.v1.web.v{number}"
        labels = {"owner": "helm", "name": "web", "version": str(number), "status": status, "rollout": "complete"}
        manifest = f"kind: Deployment\nspec:\n  image: {image}\n"
        release = packed({"manifest": manifest, "info": {"status": status}})
        value = {"metadata": {"name": name, "labels": labels}, "data": {"release": release}}
        self.clusters[env].put(path("v1", "secrets", "shop", name), value)

    def prune(self, env: str = "one", *, dry: bool = False) -> tuple[Row, ...]:
        found = load(self.root / "config", "app", env)
        with found.site(self.events.append) as site:
            return prune(found, site, self.root / "config", dry=dry)

    @property
    def tags(self) -> set[str]:
        return {tag for _, tag in self.registry.tags}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    monkeypatch.setattr("pipeline.prune.act.POLICY", Policy(attempts=2, base=0.01, cap=0.01))
    monkeypatch.setenv("PRUNE_PASSWORD", PASSWORD)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text(yaml.safe_dump(BLUEPRINT))
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    clusters = {}
    with FakeRegistry() as registry:
        for env in ("one", "two"):
            (tmp_path / env).mkdir()
            clusters[env] = FakeKube(tmp_path / env)
            account = {"scheme": "http", "realm": "own", "username": USER, "password": "env:PRUNE_PASSWORD"}
            site = {
                "registries": {"hub": {"address": registry.address, **account}},
                "clusters": {"lab": {"kubeconfig": str(clusters[env].kubeconfig())}},
            }
            (tmp_path / f"config/app.{env}.yml").write_text(yaml.safe_dump({"site": f"sites/{env}.yml"}))
            (tmp_path / "sites").mkdir(exist_ok=True)
            (tmp_path / f"sites/{env}.yml").write_text(yaml.safe_dump(site))
        yield There(tmp_path, registry, clusters)
        for each in clusters.values():
            if each.up:
                each.close()


def gone(rows: tuple[Row, ...]) -> list[str]:
    """The first tag of each image that went."""
    return [row.item.image.tags[0] for row in rows if isinstance(row.item, Dated) and not row.why]


def test_the_newest_stay_and_a_dry_run_shows_the_same(there: There) -> None:
    tags = there.commits(5)
    for tag in tags:
        there.push(tag)
    assert sorted(gone(there.prune(dry=True))) == sorted(tags[:3])
    assert there.tags == set(tags)
    assert sorted(gone(there.prune())) == sorted(tags[:3])
    assert there.tags == set(tags[3:])
    assert gone(there.prune()) == [], "again there is nothing to do"


def test_records_of_all_but_the_newest_runs_go(there: There) -> None:
    found = load(there.root / "config", "app", "one")
    with found.site() as site:
        for number in range(103):
            site.records.outcome(f"r{number}", "push", "k", "p", "failed", None, site.clock.now(), {})
    (row,) = [row for row in there.prune() if row.kind == "record"]
    assert row.name.startswith("3 records of runs until 20")
    assert not row.why
    with found.site() as site:
        assert len(site.records.history(1000)) == 100, "the pruning is one of them"


def test_what_any_environment_runs_or_would_go_back_to_stays(there: There) -> None:
    tags = there.commits(7)
    digests = [there.push(tag) for tag in tags]
    place = f"{there.registry.address}/{REPOSITORY}"
    there.pod("one", f"{place}@{digests[0]}")
    there.pod("two", f"{place}:{tags[1]}")
    there.revision("two", 3, f"{place}@{digests[2]}")
    found = {row.item.image.tags[0]: row.why for row in there.prune() if isinstance(row.item, Dated)}
    assert there.tags == {tags[0], tags[1], tags[2], *tags[5:]}
    assert found[tags[0]] == "Pod/web-1 in shop runs it"
    assert found[tags[1]] == "app, environment two: Pod/web-1 in shop runs it"
    assert found[tags[2]] == "app, environment two: revision 3 of shop/web has it"


def test_old_revisions_of_this_environment_go_and_then_their_images(there: There) -> None:
    tags = there.commits(6)
    place = f"{there.registry.address}/{REPOSITORY}"
    for number, tag in enumerate(tags, 1):
        there.revision("one", number, f"{place}@{there.push(tag)}", "deployed" if number == 6 else "superseded")
    there.revision("two", 1, f"{place}:{tags[0]}")
    there.prune()
    kept = {name.rpartition(".v")[2] for name in there.clusters["one"].objects if "sh.helm.release" in name}
    assert kept == {"6", "5"}
    assert there.tags == {tags[0], *tags[4:]}
    assert [name for name in there.clusters["two"].objects if "sh.helm.release" in name], "another environment's history is its own"


@pytest.mark.parametrize("how", ["down", "forbidden", "site", "revision"])
def test_nothing_at_all_goes_if_an_environment_cannot_be_asked(there: There, how: str) -> None:
    tags = there.commits(5)
    for number, tag in enumerate(tags, 1):
        there.revision("one", number, f"x/{REPOSITORY}@{there.push(tag)}", "deployed" if number == 5 else "superseded")
    two = there.clusters["two"]
    refused = {"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403}
    error: type[Exception] = Transient
    match how:
        case "down":
            two.close()
        case "forbidden":
            two.fault, error = lambda _method, target: (403, refused, {}) if "jobs" in target else None, AuthError
        case "site":
            (there.root / "sites/two.yml").unlink()
            error = ConfigError
        case _:
            there.revision("two", 1, "")
            where = path("v1", "secrets", "shop", "sh.helm.release.v1.web.v1")
            two.put(where, {**two.objects[where], "data": {"release": "broken"}})
            error = IntegrityError
    for dry in (True, False):
        with pytest.raises(error, match="app, environment two cannot say what it needs, so nothing is deleted"):
            there.prune(dry=dry)
    assert there.tags == set(tags)
    assert len([name for name in there.clusters["one"].objects if "sh.helm.release" in name]) == 5


def test_a_lab_that_does_not_run_needs_nothing(there: There) -> None:
    (there.root / "config/app.two.yml").write_text(yaml.safe_dump({"site": ".pipeline/lab/site.yml"}))
    tags = there.commits(3)
    for tag in tags:
        there.push(tag)
    assert gone(there.prune()) == tags[:1]
    assert any("the lab is not running" in event.text for event in there.events)


def test_a_release_under_way_keeps_what_it_deploys_and_hinders_nothing_else(there: There) -> None:
    tags = there.commits(5)
    digests = {tag: there.push(tag) for tag in tags}
    place = f"{there.registry.address}/{REPOSITORY}"
    for number, tag in enumerate(tags, 1):
        there.revision("one", number, f"{place}@{digests[tag]}" if number > 3 else "x", "deployed" if number == 5 else "superseded")
    there.clusters["one"].put(path("v1", "namespaces", name="shop"), {"metadata": {"name": "shop"}})
    found = load(there.root / "config", "app", "one")
    named = Images(Source("", "c" * 40, False, ""), (Image(place, digests[tags[1]], tags[1]),))
    with found.site() as site, work.exclusive(found.plan[-1].spec, named, site):
        rows = there.prune()
    assert there.tags == {tags[1], tags[3], tags[4]}
    (why,) = (row.why for row in rows if isinstance(row.item, Dated) and row.item.image.tags == (tags[1],))
    assert "deploys it now" in why
    revisions = {row.name: row.why for row in rows if row.kind == "revision"}
    assert "is at work on the release" in revisions["revision 1 of shop/web"], "its history is left alone meanwhile"


def test_what_is_needed_by_the_time_of_deletion_stays(there: There) -> None:
    tags = there.commits(5)
    digests = [there.push(tag) for tag in tags]
    place = f"{there.registry.address}/{REPOSITORY}"
    for number in range(1, 4):
        there.revision("one", number, "x", "deployed" if number == 3 else "superseded")

    def deployed(kind: str, where: str, _value: Any) -> None:
        if kind == "DELETED" and where.endswith("web.v1"):
            there.pod("two", f"{place}@{digests[0]}")

    there.clusters["one"].changed = deployed
    there.prune()
    assert there.tags == {tags[0], *tags[3:]}


def test_two_tags_on_one_image_and_one_that_somebody_put_there(there: There) -> None:
    tags = there.commits(6)
    there.push(tags[0], tags[1], content="the same")
    there.push(tags[2], "stable")
    there.push(tags[3], tags[4], content="the same again")
    there.push(tags[5])
    assert gone(there.prune()) == [min(tags[:2])]
    assert there.tags == {tags[2], "stable", *tags[3:]}


def test_what_this_pipeline_did_not_name_is_not_touched(there: There) -> None:
    there.commits(1)
    for tag in ("v1.0.0", "main", "sha-abcdef1", "nightly-7", "sha256-" + "0" * 64):
        there.push(tag)
    before = dict(there.registry.tags)
    assert gone(there.prune()) == []
    assert there.registry.tags == before


def test_g05_a_registry_that_deletes_nothing_is_told_after_the_rest_is_done(there: There) -> None:
    there.registry.deletes = False
    tags = there.commits(4)
    for number, tag in enumerate(tags, 1):
        there.revision("one", number, "x", "deployed" if number == 4 else "superseded")
        there.push(tag)
    with pytest.raises(ConfigError, match="does not delete images") as caught:
        there.prune()
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.mend
    assert there.tags == set(tags)
    assert len([name for name in there.clusters["one"].objects if "sh.helm.release" in name]) == 2


def test_g04_a_deletion_that_broke_off_is_gone_on_with(there: There) -> None:
    tags = there.commits(5)
    for tag in tags:
        there.push(tag)
    there.registry.fault("DELETE", "manifests", status=500, stored=True, count=2)
    with pytest.raises(Transient):
        there.prune()
    there.registry.faults.clear()
    there.prune()
    assert there.tags == set(tags[3:])
