"""The driver `skopeo`: what it takes for done, what it refuses, what it reads back. A pusher in Python stands in for skopeo."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Images
from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError, RateLimited, ResourceError, Transient
from pipeline.events import Event
from pipeline.host import Output
from pipeline.push.skopeo import DRIVER, Spec, find, make
from pipeline.stage import Site
from pipeline.testing import FakeHost
from pipeline.testing.registry import FakeRegistry
from tests.push.parts import COMMIT, Archive, bundle, site
from tests.push.pusher import Pusher
from tests.world import on_disk

SPEC = Spec("lab", "team/probe")
TAG = COMMIT[:7]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(realm="http://gitea.example.test:80/v2/token") as registry:
        yield registry


@pytest.fixture
def pusher() -> Pusher:
    return Pusher()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "image.tar").write()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def world(tmp_path: Path, registry: FakeRegistry, pusher: Pusher, events: list[Event]) -> Iterator[Site]:
    with site(tmp_path, registry.address, FakeHost("seed", otherwise=pusher), events=events) as made:
        yield made


def fresh(world: Site, tmp_path: Path) -> Site:
    """The same world seen from another machine: without records, tokens and connections."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return site(folder, world.registry("lab").address, FakeHost("seed"))


def test_the_driver_is_what_the_plan_loads() -> None:
    assert (DRIVER.verb, DRIVER.name, DRIVER.gives) == ("push", "skopeo", Images)


@pytest.mark.parametrize("repository", ["", "-x", "Team/x", "a/../b"])
def test_a_repository_that_is_no_name_is_refused_before_anything(repository: str) -> None:
    with pytest.raises(ConfigError):
        Spec("lab", repository)


def test_look_act_look(world: Site, registry: FakeRegistry, archive: Archive, events: list[Event]) -> None:
    built = bundle(archive)
    assert find(SPEC, built, world).artifact is None
    images = make(SPEC, built, world)
    assert images.images[0].digest == registry.tags["team/probe", TAG]
    assert images.images[0].repository == f"{registry.address}/team/probe"
    assert images.images[0].config == built.config
    assert find(SPEC, built, world).artifact == images
    told = "\n".join(event.text for event in events)
    assert "http://gitea.example.test:80/v2/token" in told
    assert "MB sent" in told


def test_what_is_there_costs_one_request_and_no_host(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher, tmp_path: Path
) -> None:
    built = bundle(archive)
    images = make(SPEC, built, world)
    other = site(tmp_path, registry.address, FakeHost("seed"))  # the next process: same records, no token in hand
    before = len(registry.asked)
    with other:
        assert find(SPEC, built, other).artifact == images
    assert [(asked.method, asked.scheme) for asked in registry.asked[before:]] == [("HEAD", "Basic")]
    assert len(pusher.commands) == 1


def test_a_machine_without_records_finds_it_too_and_proves_every_blob(
    world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path
) -> None:
    built = bundle(archive)
    images = make(SPEC, built, world)
    with fresh(world, tmp_path) as other:
        before = len(registry.asked)
        assert find(SPEC, built, other).artifact == images
        assert len([asked for asked in registry.asked[before:] if "/blobs/" in asked.path]) == 4
        before = len(registry.asked)
        assert find(SPEC, built, other).artifact == images
        assert len(registry.asked) == before + 1


def test_another_commit_with_the_same_image_is_only_tagged(world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher) -> None:
    first = make(SPEC, bundle(archive), world)
    sent = len(registry.seen("PATCH"))
    second = make(SPEC, bundle(archive, "f" * 40), world)
    assert second.images[0].digest == first.images[0].digest
    assert registry.tags["team/probe", "fffffff"] == first.images[0].digest
    assert len(registry.seen("PATCH")) == sent
    assert len(pusher.commands) == 1


def test_r08_p19_a_hint_is_not_believed_when_the_registry_lost_the_image(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher
) -> None:
    built = bundle(archive)
    make(SPEC, built, world)
    registry.tags.clear()
    registry.manifests.clear()
    registry.blobs.clear()
    assert find(SPEC, built, world).artifact is None
    make(SPEC, built, world)
    assert len(pusher.commands) == 2
    assert find(SPEC, built, world).artifact is not None


def test_p19_a_hint_to_a_manifest_whose_layers_are_gone_is_not_tagged(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher
) -> None:
    images = make(SPEC, bundle(archive), world)
    registry.hollow.update(pusher.uploads[1:2])
    with pytest.raises(Transient):  # uploads are skipped, since HEAD says that the layer is there; the next look knows better
        make(SPEC, bundle(archive, "f" * 40), world)
    assert images.images[0].digest


def test_p16_a_tag_of_another_image_is_refused_with_both(world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher) -> None:
    digest, config = registry.put("team/probe", TAG, (b"other",), b'{"other":1}')
    built = bundle(archive)
    why = find(SPEC, built, world).why
    assert digest in why
    with pytest.raises(IntegrityError) as caught:
        make(SPEC, built, world)
    assert digest in caught.value.cause
    assert config in caught.value.cause
    assert built.config in caught.value.cause
    assert registry.tags["team/probe", TAG] == digest
    assert pusher.commands == []


def test_p16_a_tag_moves_where_the_blueprint_says_so_and_the_old_digest_is_told(
    world: Site, registry: FakeRegistry, archive: Archive, events: list[Event]
) -> None:
    digest, _ = registry.put("team/probe", TAG, (b"other",), b'{"other":1}')
    images = make(dataclasses.replace(SPEC, immutable=False), bundle(archive), world)
    assert registry.tags["team/probe", TAG] == images.images[0].digest != digest
    assert any(digest in event.text for event in events)


def test_p17_somebody_who_was_faster_keeps_the_tag(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    registry.fault("POST", "uploads", act=lambda: registry.put("team/probe", TAG, (b"rival",), b'{"rival":1}'), status=0)
    with pytest.raises(IntegrityError) as caught:
        make(SPEC, bundle(archive), world)
    rival = registry.tags["team/probe", TAG]
    assert rival in caught.value.cause
    assert "pushed it" in caught.value.cause


def test_p17_a_tag_that_moved_after_the_push_is_said(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    # the first HEAD is the guard's, just before the manifest is stored; the second reads it back
    registry.fault("HEAD", "manifests", act=lambda: registry.put("team/probe", TAG, (b"rival",), b'{"rival":1}'), skip=1)
    with pytest.raises(IntegrityError, match="superseded") as caught:
        make(SPEC, bundle(archive), world)
    assert registry.tags["team/probe", TAG] in caught.value.cause


def test_an_archive_with_another_image_than_was_built_is_not_stored(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    built = dataclasses.replace(bundle(archive), config="sha256:" + "5" * 64)
    with pytest.raises(IntegrityError, match="another image than was built"):
        make(SPEC, built, world)
    assert registry.tags == {}


@pytest.mark.parametrize("fault", [{"status": 500, "stored": True}, {"swallow": True}], ids=["P04 500 though stored", "P05 no answer"])
def test_p04_p05_a_manifest_of_unknown_fate_is_ambiguous_and_found_by_the_next_look(
    world: Site, registry: FakeRegistry, archive: Archive, fault: dict[str, object]
) -> None:
    registry.fault("PUT", "manifests", **fault)
    built = bundle(archive)
    with pytest.raises(Ambiguous):
        make(SPEC, built, world)
    found = find(SPEC, built, world).artifact
    assert isinstance(found, Images)
    assert found.images[0].digest == registry.tags["team/probe", TAG]


def test_p03_a_503_on_the_manifest_is_retried_without_a_second_upload(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher
) -> None:
    registry.fault("PUT", "manifests", status=503)
    built = bundle(archive)
    with pytest.raises(Transient):
        make(SPEC, built, world)
    assert find(SPEC, built, world).artifact is None
    make(SPEC, built, world)
    assert len(pusher.uploads) == len(set(pusher.uploads)) == 4


def test_a_rate_limit_carries_the_time_to_wait(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    registry.fault("POST", "uploads", status=429, headers={"Retry-After": "33"})
    with pytest.raises(RateLimited) as caught:
        make(SPEC, bundle(archive), world)
    assert caught.value.retry_after == 33


def test_p07_a_layer_that_cannot_be_fetched_is_sent_again(world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher) -> None:
    built = bundle(archive)
    make(SPEC, built, world)
    lost = pusher.uploads[2]
    registry.hollow.add(lost)
    world.records.remember(f"image {registry.address}/team/probe {built.config}", "sha256:" + "0" * 64)
    finding = find(SPEC, built, world)
    assert finding.artifact is None
    assert lost in finding.why
    make(SPEC, built, world)
    assert pusher.uploads.count(lost) == 2
    assert registry.hollow == set()


def test_p07_a_registry_that_drops_a_layer_at_once_is_not_called_done(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher
) -> None:
    built = bundle(archive)
    registry.fault("PUT", "manifests", act=lambda: registry.hollow.add(pusher.uploads[1]))
    with pytest.raises(Transient, match="does not give 1"):
        make(SPEC, built, world)
    assert find(SPEC, built, world).artifact is None
    assert isinstance(make(SPEC, built, world), Images)


def test_refused_credentials_are_said_before_the_host_is_asked(registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    host = FakeHost("seed")
    with site(tmp_path, registry.address, host, password="not-the-password") as world, pytest.raises(AuthError):
        make(SPEC, bundle(archive), world)
    assert host.calls == []


def test_secrets_are_in_no_argv_no_event_and_no_record(
    world: Site, registry: FakeRegistry, archive: Archive, pusher: Pusher, events: list[Event]
) -> None:
    make(SPEC, bundle(archive), world)
    command = pusher.commands[0]
    token = next(iter(registry._valid))
    auth = command.stdin.decode().split('"auth": "')[1].split('"')[0]
    shown = repr(command.argv) + repr(dict(command.env)) + repr(events) + on_disk(world.records)
    for secret in (token, auth, "fake-registry-password"):
        assert secret not in shown
    assert token not in command.stdin.decode()
    assert world.secrets.mask(f"x {token} {auth} y") == "x [secret] [secret] y"


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (91, IntegrityError, "gone"),
        (92, IntegrityError, "damaged"),
        (93, ConfigError, "apk add skopeo"),
        (94, ResourceError, "space"),
        (137, Transient, "137"),
    ],
)
def test_the_scripts_own_exits(world: Site, archive: Archive, code: int, kind: type[Exception], word: str) -> None:
    host = world.host("seed")
    assert isinstance(host, FakeHost)
    host.on(lambda _cmd: True, Output(code, b"", b"gzip: unexpected end of file"))
    with pytest.raises(kind) as caught:
        make(SPEC, bundle(archive), world)
    error = caught.value
    assert word in f"{error} {getattr(error, 'mend', '')}" or code == 137


def test_a_digest_that_is_none_is_not_believed(world: Site, archive: Archive) -> None:
    host = world.host("seed")
    assert isinstance(host, FakeHost)
    host.on(lambda _cmd: True, Output(0, b"sha256:../../x\n"))
    with pytest.raises(IntegrityError):
        make(SPEC, bundle(archive), world)


def test_what_a_killed_push_left_is_swept_and_the_folders_of_live_ones_are_not(tmp_path: Path) -> None:
    """skopeo.sh itself, with a skopeo that does nothing: the folders carry the number of the process that has them. Both of their places
    are swept, that of the login and that of the image."""
    folders = tmp_path / "state", tmp_path / "runtime"
    state, runtime = map(str, folders)
    mine = "pipeline-push." + "".join(filter(str.isdigit, Path("/proc/self/ns/pid").readlink().as_posix()))
    with subprocess.Popen(["sleep", "60"]) as live:
        dead = subprocess.Popen(["true"])
        dead.wait()
        swept, link = f"{mine}.{dead.pid}.abcdef", f"{mine}.{dead.pid}.link"
        names = {f"{mine}.{live.pid}.abcdef", swept, f"pipeline-push.1.{dead.pid}.abcdef"}
        for folder in folders:
            for name in names:
                (folder / name).mkdir(parents=True)
                (folder / name / "image.tar").write_text("x")
            (folder / link).symlink_to(tmp_path)
        archive, program = tmp_path / "archive", tmp_path / "skopeo"
        archive.write_bytes(b"tar")
        program.write_text("#!/bin/sh\necho nothing\n")
        program.chmod(0o755)
        words = (state, str(archive), "127.0.0.1:1", "x.invalid", "team/probe:1", str(program))
        script = str(Path(inspect.getfile(make)).with_suffix(".sh"))
        subprocess.run(("sh", script, *words), input=b"{}", env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": runtime}, check=False)
        live.kill()
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == names - {swept} | {link}
