"""The driver buildx against a stand-in and a registry in this process: sets, tags, what is read back, what never leaves."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Images, Moved
from pipeline.build.buildx import check, find, make, rehearse
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.build.wanted import wanted
from pipeline.errors import AuthError, BuildError, ConfigError, IntegrityError, Transient
from pipeline.places import Builder
from pipeline.records import Records
from pipeline.tools.buildx_errors import Lost
from pipeline.tools.named import Named, read
from pipeline.tools.registry import client_of
from tests.build.buildkit import World, spec, world

TWO = {"web": ImageSpec("team/web", "web", platforms=("linux/amd64", "linux/arm64")), "worker": ImageSpec("team/worker", "worker")}
LOST = "ERROR: failed to build: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF\n"
FAILED = 'ERROR: failed to build: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1\n'


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def found(there: World, options: Buildx) -> Images | None:
    artifact = find(options, there.source, there.site).artifact
    assert artifact is None or isinstance(artifact, Images)
    return artifact


def test_a_set_is_built_tagged_and_found_again_by_one_head_each(there: World) -> None:
    options = spec(images=TWO)
    assert "team/web of" in find(options, there.source, there.site).why
    made = make(options, there.source, there.site)
    short = there.source.label
    assert [image.tag for image in made.images] == [f"sha-{short}"] * 2
    for name, image in zip(("team/web", "team/worker"), made.images, strict=True):
        assert there.tags(name) == {f"sha-{short}": image.digest, "main": image.digest}
    there.registry.asked.clear()
    assert found(there, options) == made
    assert [asked.method for asked in there.registry.asked] == ["HEAD", "HEAD"]
    assert not any("SOURCE_DATE_EPOCH" in word and "315532800" not in word for call in there.calls for word in call["argv"])
    assert not any(there.source.commit in word for call in there.calls for word in call["argv"])
    assert there.builds == ["web", "worker"]


def test_what_was_done_to_tags_is_news_for_the_record(there: World) -> None:
    make(spec(), there.source, there.site)
    before = there.registry.tags["team/web", "main"]
    there.work.write("web/text", "new\n")
    there.work.commit()
    made = make(spec(), there.source, there.site)
    assert Moved(made.images[0].repository, "main", before) in made.moved
    assert Moved(made.images[0].repository, f"sha-{there.source.label}", "") in made.moved


def lead(there: World, tag: str) -> Named:
    said = read(client_of(there.site, "lab"), "team/web", there.registry.tags["team/web", tag])
    assert said is not None
    return said


def test_a_commit_that_changes_nothing_that_a_build_can_see_is_the_same_image_under_its_own_name(there: World) -> None:
    first, old = make(spec(images=TWO), there.source, there.site).images, there.source
    there.work.write("README.md", "more\n")
    there.work.commit()
    assert "does not stand for it yet" in find(spec(images=TWO), there.source, there.site).why
    made = make(spec(images=TWO), there.source, there.site)
    assert [image.digest for image in made.images] == [image.digest for image in first]
    assert there.builds == ["web", "worker"], "nothing is built"
    assert (lead(there, "main").commit, lead(there, f"sha-{old.label}").commit) == (there.source.commit, old.commit)
    assert lead(there, "main").version == "main"
    assert make(spec(images=TWO), there.source, there.site).moved == ()


def test_of_a_set_only_what_changed_is_built(there: World) -> None:
    first = make(spec(images=TWO), there.source, there.site).images
    there.work.write("worker/text", "more\n")
    there.work.commit()
    made = make(spec(images=TWO), there.source, there.site).images
    assert there.builds == ["web", "worker", "worker"]
    assert [one.digest == other.digest for one, other in zip(first, made, strict=True)] == [True, False]


def test_the_index_of_a_commit_is_the_same_bytes_wherever_it_is_made(there: World) -> None:
    make(spec(images=TWO), there.source, there.site)
    first = dict(there.registry.tags)
    for place in [key for key in there.registry.tags if not key[1].startswith("built-")]:
        del there.registry.tags[place]
    with dataclasses.replace(there.site, records=Records(there.folder / "fresh.db")) as fresh:
        make(spec(images=TWO), there.source, fresh)
    assert there.registry.tags == first
    assert there.builds == ["web", "worker"]


def test_what_an_earlier_release_of_ours_built_of_this_commit_stays_its_image(there: World) -> None:
    """Its tags lead to it directly, and its labels name the commit."""
    wish = wanted(spec(), there.source, there.site).images[0]
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Labels": dict(wish.notes)}}).encode()
    digest, _ = there.registry.put("team/web", wish.before, (b"layer",), config)
    for tag in wish.tags:
        there.registry.tags["team/web", tag.name] = digest
    assert [image.digest for image in found(there, spec()).images] == [digest]  # type: ignore[union-attr]
    assert there.builds == []
    assert there.registry.seen("PUT") == []


def test_a_tag_goes_not_back_to_an_older_commit_of_the_same_image(there: World) -> None:
    make(spec(), there.source, there.site)
    old = there.source
    there.work.write("README.md", "more\n")
    there.work.commit()
    make(spec(), there.source, there.site)
    there.work.git("reset", "--quiet", "--hard", old.commit)
    assert make(spec(), there.source, there.site).moved == ()
    assert lead(there, "main").commit != old.commit


def test_m01_one_that_fails_leaves_the_others_built_and_nothing_tagged(there: World) -> None:
    there.say("fail-web", FAILED)
    with pytest.raises(BuildError, match="web: a step of the build failed") as caught:
        make(spec(images=TWO), there.source, there.site)
    assert "built and kept, but not tagged: worker" in caught.value.cause
    assert there.builds == ["web", "worker"], "the failure of one does not keep the next from being tried"
    assert (there.tags("team/web"), there.tags("team/worker")) == ({}, {})
    (there.folder / "fail-web").unlink()
    make(spec(images=TWO), there.source, there.site)
    assert there.builds == ["web", "worker", "web"]


def test_m01_a_lasting_failure_is_told_before_one_that_passes(there: World) -> None:
    there.say("fail-web", 'ERROR: failed to solve: failed to do request: Head "https://r/v2/": dial tcp: connection refused\n')
    there.say("fail-worker", FAILED)
    with pytest.raises(BuildError, match="worker: ") as caught:
        make(spec(images=TWO), there.source, there.site)
    assert "web: the way to a registry broke off" in caught.value.cause


def test_m02_a_builder_elsewhere_that_went_away_is_waited_for(there: World) -> None:
    there.say("fail-web", LOST)
    for _ in range(2):
        with pytest.raises(Lost):
            make(spec(images=TWO), there.source, there.site)
    assert not any(call["argv"][0] == "rm" for call in there.calls)
    assert there.builds == ["web", "web"], "the others would only meet the same"


def test_m02_a_builder_in_a_container_is_made_anew_once(tmp_path: Path) -> None:
    with world(tmp_path, builders={"lab": Builder("ssh://root@arm")}) as there:
        there.say("fail-web", LOST)
        with pytest.raises(Lost):
            make(spec(), there.source, there.site)
        assert [call["argv"][:2] for call in there.calls if call["argv"][0] == "rm"] == [["rm", "--force"]]
        with pytest.raises(BuildError, match="also the new one"):
            make(spec(), there.source, there.site)


def test_m03_an_index_whose_child_is_missing_is_no_image_yet(there: World) -> None:
    there.say("lose")
    with pytest.raises(Transient, match="does not give it back"):
        make(spec(images=TWO), there.source, there.site)
    assert there.tags("team/web") == {}
    assert not any(place == "team/web" for place, _ in there.registry.tags)
    (there.folder / "lose").unlink()
    make(spec(images=TWO), there.source, there.site)
    assert found(there, spec(images=TWO))


def test_m03_what_the_registry_has_lost_since_is_built_again(there: World) -> None:
    made = make(spec(images=TWO), there.source, there.site)
    index = made.images[0].digest
    child = next(digest for place, digest in there.registry.manifests if place == "team/web" and digest != index)
    del there.registry.manifests["team/web", child]
    fresh = dataclasses.replace(there.site, records=Records(there.folder / "fresh.db"))
    with fresh:
        why = find(spec(images=TWO), there.source, fresh).why
        assert "the registry does not give 1 of its parts" in why
        assert make(spec(images=TWO), there.source, fresh).images == made.images, "the same bytes come back"


def test_other_platforms_than_were_asked_for_are_never_tagged(there: World) -> None:
    there.say("drop")
    with pytest.raises(IntegrityError, match="is not what was asked for") as caught:
        make(spec(images=TWO), there.source, there.site)
    assert "it is for linux/amd64, wanted is linux/amd64, linux/arm64" in caught.value.cause
    assert there.tags("team/web") == {}


def test_a_tag_that_never_moves_is_not_taken_from_another_image(there: World) -> None:
    there.registry.put("team/web", f"sha-{there.source.label}")
    with pytest.raises(IntegrityError, match="stands for another image already"):
        make(spec(images=TWO), there.source, there.site)
    assert there.tags("team/worker") == {}, "nothing is tagged where not all can be"
    assert "stands for another image" in find(spec(images=TWO), there.source, there.site).why


def test_accounts_and_secrets_are_files_of_this_user_alone_and_gone_afterwards(there: World) -> None:
    options = spec(images={"web": ImageSpec("team/web", "web", secrets={"token": "env:TOKEN"})})
    make(options, there.source, there.site)
    build = next(call for call in there.calls if call["argv"][0] == "build")
    assert build["mode"] == "0o700"
    assert build["secrets"] == {"token": ["a-token-of-some-length", "0o600"]}
    assert "a-token-of-some-length" not in str(build["argv"])
    assert not {"TOKEN", "PASSWORD"} & set(build["env"])
    assert list(build["login"]) == [there.registry.address]
    for folder in ("/dev/shm", "/tmp"):
        assert not list(Path(folder).glob(f"pipeline-buildx-{os.getpid()}-*"))


def test_a_realm_that_does_not_answer_is_never_followed_by_the_builder(tmp_path: Path) -> None:
    with world(tmp_path, realm="own") as there:
        make(spec(), there.source, there.site)
        build = next(call for call in there.calls if call["argv"][0] == "build")
        assert list(build["login"][there.registry.address]) == ["registrytoken"]


def test_what_a_killed_run_left_is_swept(there: World) -> None:
    left = Path("/dev/shm") / "pipeline-buildx-999999999-test"
    left.mkdir(mode=0o700)
    (left / "config.json").write_text("{}")
    make(spec(), there.source, there.site)
    assert not left.exists()


def test_the_source_travels_as_git_has_it(there: World) -> None:
    there.work.write("web/ignored", "no\n")
    there.work.write("web/kept", "first\n")
    source = there.source
    there.work.write("web/kept", "changed since\n")
    make(spec(), source, there.site)
    build = next(call for call in there.calls if call["argv"][0] == "build")
    assert build["files"] == {"Dockerfile": "FROM scratch\nCOPY . /web\n", "kept": "first\n"}


def test_this_users_settings_of_git_change_no_line(there: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.gitconfig").write_text("[core]\n\tautocrlf = true\n\teol = crlf\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make(spec(), there.source, there.site)
    build = next(call for call in there.calls if call["argv"][0] == "build")
    assert build["files"]["Dockerfile"] == "FROM scratch\nCOPY . /web\n"


def test_i07_a_secret_that_git_tracks_gets_into_no_image(there: World) -> None:
    there.work.write("web/id_ed25519", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{'b3BlbnNzaC1rZXk' * 4}\n")
    there.work.commit()
    for act in (rehearse, make):  # the plan says it, too
        with pytest.raises(ConfigError, match="looks like a secret and is tracked"):
            act(spec(), there.source, there.site)
    assert there.builds == []


def test_a_plan_judges_what_a_builder_gets(there: World) -> None:
    there.work.write("elsewhere/id_ed25519", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{'b3BlbnNzaC1rZXk' * 4}\n")
    there.work.commit()
    rehearse(spec(), there.source, there.site)
    assert there.calls == []


def test_a_dirty_tree_gets_no_tag_of_a_branch(there: World) -> None:
    there.work.write("web/kept", "x\n")
    made = make(spec(), there.source, there.site)
    assert list(there.tags("team/web")) == [made.images[0].tag] == [f"sha-{there.source.label}"]


@pytest.mark.parametrize(
    ("prepare", "image", "what"),
    [
        (lambda _w: None, ImageSpec("team/web", "nowhere"), "context nowhere is not a folder"),
        (lambda _w: None, ImageSpec("team/web", "web", "web/Other"), "has no web/Other"),
        (lambda w: (w.work.path / "out").symlink_to("/etc"), ImageSpec("team/web", "out"), "leads out of the source"),
    ],
)
def test_what_the_source_does_not_have_is_told_before_the_builder_is_asked_for_it(
    there: World, prepare: Callable[[World], None], image: ImageSpec, what: str
) -> None:
    prepare(there)
    with pytest.raises(ConfigError, match=what):
        make(spec(images={"web": image}), there.source, there.site)
    assert there.builds == []


def test_a_platform_that_no_node_has_is_told_with_those_there_are(there: World) -> None:
    image = ImageSpec("team/web", "web", platforms=("linux/s390x",))
    with pytest.raises(ConfigError, match="no builder builds linux/s390x") as caught:
        make(spec(images={"web": image}), there.source, there.site)
    assert "linux/amd64, linux/arm64" in caught.value.cause
    assert there.builds == []


def test_emulation_is_told_unless_a_builder_has_the_platform_natively(tmp_path: Path, there: World) -> None:
    make(spec(images=TWO), there.source, there.site)
    assert any("linux/arm64 is emulated" in event.text for event in there.events)
    (tmp_path / "native").mkdir()
    both = {"lab": Builder("unix:///run/b.sock", ("linux/amd64",)), "arm": Builder("tcp://arm:1234", ("linux/arm64",))}
    with world(tmp_path / "native", builders=both) as native:
        make(spec(images=TWO, builders=("lab", "arm")), native.source, native.site)
        creates = [call["argv"] for call in native.calls if call["argv"][0] == "create"]
        assert [("--append" in argv, argv[-1]) for argv in creates] == [(False, "unix:///run/b.sock"), (True, "tcp://arm:1234")]
        assert not any("emulated" in event.text for event in native.events)


def test_a_builder_that_does_not_answer_is_a_fault_that_may_pass(there: World) -> None:
    there.say("inspect", (Path(__file__).parents[1] / "cases/buildx/inspect-dead.txt").read_text())
    with pytest.raises(Lost, match="does not answer"):
        make(spec(), there.source, there.site)


def test_builders_of_two_kinds_are_not_joined(tmp_path: Path) -> None:
    mixed = {"lab": Builder("unix:///run/b.sock"), "arm": Builder("ssh://root@arm")}
    with world(tmp_path, builders=mixed) as there, pytest.raises(ConfigError, match="do not make one builder"):
        check(spec(builders=("lab", "arm")), there.site)


def test_a_build_that_takes_too_long_is_ended_and_not_tried_again(there: World) -> None:
    there.say("hang")
    with pytest.raises(BuildError, match="did not end within 1 s"):
        make(spec(timeout=1.0), there.source, there.site)


def test_a_plugin_of_docker_is_called_by_itself(there: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker would look for it in this user's settings, which are not used."""
    plugins = tmp_path / "home/.docker/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").write_text(f'#!/bin/sh\nexec {there.folder}/buildx "$@"\n')
    (plugins / "docker-buildx").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert make(spec(), there.source, dataclasses.replace(there.site, tools={})).images


def test_no_buildx_is_said_as_such(there: World) -> None:
    site = dataclasses.replace(there.site, tools={"buildx": "/nowhere/buildx"})
    with pytest.raises(ConfigError, match="buildx cannot be called"):
        make(spec(), there.source, site)


def test_check_asks_for_names_and_secrets_and_contacts_nobody(there: World) -> None:
    check(spec(), there.site)
    with pytest.raises(ConfigError, match="did you mean 'lab'"):
        check(spec(builders=("labs",)), there.site)
    with pytest.raises(AuthError, match="env:MISSING"):
        check(spec(images={"web": ImageSpec("team/web", "web", secrets={"x": "env:MISSING"})}), there.site)
    assert there.registry.asked == []
    assert there.calls == []


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda: ImageSpec("Team/Web"), "not the name of a repository"),
        (lambda: ImageSpec("team/web", "../up"), "not a path within the source"),
        (lambda: ImageSpec("team/web", "-x"), "not a path within the source"),
        (lambda: ImageSpec("team/web", platforms=("linux-arm64",)), "did you mean 'linux/arm64'"),
        (lambda: ImageSpec("team/web", target="a b"), "not the name of a stage"),
        (lambda: ImageSpec("team/web", args={"A B": "1"}), "argument 'A B'"),
        (lambda: ImageSpec("team/web", secrets={"x,src=/etc/shadow": "env:X"}), "secret 'x,src=/etc/shadow'"),
        (lambda: spec(images={}), "names no image"),
        (lambda: spec(images={"a": ImageSpec("x/y"), "b": ImageSpec("x/y")}), "two images go to x/y"),
        (lambda: spec(cache={"form": ()}), "did you mean 'from'"),
        (lambda: spec(cache={"to": ("--push",)}), "neither the word registry"),
        (lambda: spec(tags=("shaa",)), "did you mean 'sha'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(wrong: Callable[[], object], what: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=what):
        wrong()
