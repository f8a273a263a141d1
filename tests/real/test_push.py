"""A push with the real skopeo: through SSH to the lab's Gitea, and on this machine to a registry that fails on order."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Bundle, Images, Source
from pipeline.errors import AuthError, ConfigError, IntegrityError, ResourceError, Transient
from pipeline.events import Event
from pipeline.host import Cmd, Host, Output
from pipeline.host.local import LocalHost
from pipeline.push.skopeo import Spec, find, make
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.testing.registry import FakeRegistry
from pipeline.tools.registry import client_of
from tests.build.images import SHAPES, Image
from tests.push.parts import Archive, bundle, site

pytestmark = pytest.mark.real
SPEC = Spec("lab", "team/probe")


def commit() -> str:
    return secrets.token_hex(20)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(realm="http://gitea.example.test:80/v2/token") as registry:
        yield registry


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "image.tar").write()


@pytest.fixture
def world(tmp_path: Path, registry: FakeRegistry, events: list[Event]) -> Iterator[Site]:
    """This machine as build host, with the real skopeo and a registry in this process."""
    with site(tmp_path, registry.address, LocalHost("seed", str(tmp_path / "state")), events=events) as made:
        yield made


def sent(registry: FakeRegistry, since: int = 0) -> int:
    return sum(asked.size for asked in registry.asked[since:] if asked.method == "PATCH")


def stated(registry: FakeRegistry, since: int = 0) -> int:
    """Bytes of the provenance, which goes in one request rather than through the relay."""
    return sum(asked.size for asked in registry.asked[since:] if asked.method == "PUT" and "blobs/uploads" in asked.path)


def tried(spec: Spec, built: Bundle, world: Site, times: int) -> int:
    """Look and act as the runner does, until it is there; how many acts it took."""
    for attempt in range(1, times + 1):
        with contextlib.suppress(Transient):
            make(spec, built, world)
        if find(spec, built, world).artifact:
            return attempt
    raise AssertionError(f"not there after {times} attempts")


def test_a_layer_that_an_image_lists_three_times_is_sent_once(world: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    make(SPEC, bundle(Archive(tmp_path / "image.tar", seeds=(1, 2, 1, 1)).write()), world)
    assert len([asked for asked in registry.asked if asked.method == "PATCH"]) == 3, "two layers and the config"


def test_a_push_and_what_it_leaves_behind(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    built = bundle(archive)
    images = make(SPEC, built, world)
    assert find(SPEC, built, world).artifact == images
    layers = [hashlib.sha256(gzip.decompress(blob)).hexdigest() for blob in registry.blobs.values() if blob[:2] == b"\x1f\x8b"]
    assert sorted(f"sha256:{layer}" for layer in layers) == sorted(archive.diff_ids)
    left = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["blob-info-cache-v1.boltdb"]
    assert not list((tmp_path / "state").rglob("pipeline-push.*"))


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ""])
def test_trap1_a_gzipped_archive_arrives_whole(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path, suffix: str) -> None:
    packed = tmp_path / f"packed{suffix}"
    packed.write_bytes(gzip.compress(archive.path.read_bytes(), 1))
    make(SPEC, dataclasses.replace(bundle(archive), store_path=str(packed)), world)
    layers = [hashlib.sha256(gzip.decompress(blob)).hexdigest() for blob in registry.blobs.values() if blob[:2] == b"\x1f\x8b"]
    assert sorted(f"sha256:{layer}" for layer in layers) == sorted(archive.diff_ids)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_archives_of_other_tools_arrive_whole(world: Site, registry: FakeRegistry, tmp_path: Path, shape: Callable[[Image], None]) -> None:
    image = Image()
    shape(image)
    path = tmp_path / "image.tar"
    path.write_bytes(image.archive)
    made = make(SPEC, Bundle(Source("0" * 40, commit(), dirty=False, path="/src"), "seed", str(path), "sha256-x", image.id), world)
    manifest = client_of(world, "lab").manifest(SPEC.repository, made.images[0].digest)
    assert manifest is not None
    assert manifest.config == image.id
    blobs = [registry.blobs[digest] for digest, _ in manifest.layers]
    assert [f"sha256:{hashlib.sha256(gzip.decompress(blob)).hexdigest()}" for blob in blobs] == image.diff_ids


def test_p20_damaged_archives_are_told_apart(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    whole = archive.path.read_bytes()
    cases = {
        "cut.tar.gz": gzip.compress(whole)[:-500],
        "cut.tar": whole[: len(whole) // 2],
        "noise.tar": os.urandom(20_000),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IntegrityError) as caught:
            make(SPEC, dataclasses.replace(bundle(archive), store_path=str(tmp_path / name)), world)
        assert "build" in caught.value.mend
    with pytest.raises(IntegrityError, match="is gone"):
        make(SPEC, dataclasses.replace(bundle(archive), store_path=str(tmp_path / "absent")), world)
    assert registry.manifests == {}
    assert sent(registry) == 0


def test_a_changed_layer_is_all_that_is_sent(world: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    first = Archive(tmp_path / "one.tar", (1, 2, 3, 4), 400_000).write()
    make(SPEC, bundle(first, commit()), world)
    since, known = len(registry.asked), set(registry.blobs)
    second = Archive(tmp_path / "two.tar", (1, 2, 3, 5), 400_000).write()
    make(SPEC, bundle(second, commit()), world)
    changed = sum(len(blob) for digest, blob in registry.blobs.items() if digest not in known)
    assert changed > 200_000
    assert sent(registry, since) <= 1.05 * changed


def test_trap8_a_lost_cache_sends_nothing_again(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    make(SPEC, bundle(archive, commit()), world)
    since = len(registry.asked)
    shutil.rmtree(tmp_path / "state")
    world.records.remember(f"image {registry.address}/team/probe {archive.config}", "sha256:" + "0" * 64)
    make(SPEC, bundle(archive, commit()), world)
    assert sent(registry, since) == 0
    assert registry.seen("PUT", "manifests")


def test_p02_a_reset_in_each_first_layer_costs_no_duplicates(world: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "image.tar", (1, 2, 3), 400_000).write()
    registry.fault("PATCH", "", reset=100_000, count=3)
    tried(SPEC, bundle(archive), world, 4)
    total = sum(map(len, registry.blobs.values()))
    assert sent(registry) <= 2 * total
    assert len(registry.seen("PUT", "uploads")) == len(registry.blobs)


def test_p01_after_a_restart_only_the_unfinished_layer_is_sent(world: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "image.tar", (1, 2, 3), 400_000).write()
    registry.fault("PATCH", "", reset=50_000, act=lambda: time.sleep(0.3))
    with pytest.raises(Transient) as caught:
        make(SPEC, bundle(archive), world)
    assert registry.address in caught.value.what
    registry.uploads.clear()
    done, since = set(registry.blobs), len(registry.asked)
    assert tried(SPEC, bundle(archive), world, 1) == 1
    new = sum(len(blob) for digest, blob in registry.blobs.items() if digest not in done)
    assert sent(registry, since) + stated(registry, since) == new


def test_p03_a_503_on_the_manifest_is_retried(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    registry.fault("PUT", "manifests", status=503)
    assert tried(SPEC, bundle(archive), world, 2) == 2


@pytest.mark.parametrize("fault", [{"status": 500, "stored": True}, {"swallow": True}], ids=["P04", "P05"])
def test_p04_p05_what_was_stored_without_a_good_answer_is_found(
    world: Site, registry: FakeRegistry, archive: Archive, fault: dict[str, object]
) -> None:
    registry.fault("PUT", "manifests", **fault)
    assert tried(SPEC, bundle(archive), world, 1) == 1
    assert len(registry.seen("PUT", "manifests")) == 1


def test_p07_a_layer_that_got_lost_is_sent_again(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    built = bundle(archive)
    make(SPEC, built, world)
    lost = next(digest for digest, blob in registry.blobs.items() if blob[:2] == b"\x1f\x8b")
    registry.hollow.add(lost)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with site(folder, registry.address, LocalHost("seed", str(tmp_path / "state"))) as other:
        assert lost in find(SPEC, built, other).why
        make(SPEC, built, other)
        assert registry.hollow == set()
        assert find(SPEC, built, other).artifact


def test_p08_a_token_of_short_life_is_renewed_on_the_way(world: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.says_lifetime, registry.lifetime = True, 1.0
    registry.fault("POST", "uploads", act=lambda: time.sleep(1.1), count=2)
    archive = Archive(tmp_path / "image.tar", tuple(range(8))).write()
    assert tried(SPEC, bundle(archive), world, 1) == 1
    assert registry.tokens >= 2
    assert sent(registry) + stated(registry) == sum(map(len, registry.blobs.values()))


def test_p09_credentials_that_are_never_accepted_end_at_once(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    registry.fault("POST", "uploads", act=lambda: setattr(registry, "never_accepts", True))
    with pytest.raises(AuthError) as caught:
        make(SPEC, bundle(archive), world)
    assert caught.value.exit_code == 11
    assert registry.tokens <= 2


def test_p15_a_full_disk_for_temporary_files(registry: FakeRegistry, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "image.tar", (1, 2), 900_000).write()
    packed = tmp_path / "image.tar.gz"
    packed.write_bytes(gzip.compress(archive.path.read_bytes(), 1))
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(state)], check=True)
    try:
        with site(tmp_path, registry.address, LocalHost("seed", str(state))) as world:
            for path in (archive.path, packed):
                with pytest.raises(ResourceError) as caught:
                    make(SPEC, dataclasses.replace(bundle(archive), store_path=str(path)), world)
                assert caught.value.exit_code == 19
                assert "state folder" in caught.value.mend
            assert not list(state.rglob("pipeline-push.*"))
    finally:
        subprocess.run(["/usr/bin/umount", str(state)], check=True)


def test_no_skopeo_on_the_host(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    with pytest.raises(ConfigError, match="not installed on seed") as caught:
        make(SPEC, bundle(archive), dataclasses.replace(world, tools={"skopeo": "no-such-skopeo"}))
    assert "apk add skopeo" in caught.value.mend


class Watched:
    """A host whose processes are looked at while it works."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name, self.state = host.name, host.state
        self.expose, self.forward, self.put, self.close = host.expose, host.forward, host.put, host.close
        self.command = Cmd(("true",))

    def run(self, cmd: Cmd, on_line: object = None) -> Output:
        self.command = cmd
        return self.host.run(cmd)


def everything_readable() -> str:
    """The argv of every process of this machine, and the environment of every skopeo."""
    shown = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (folder / "cmdline").read_bytes()
            shown.append(argv)
            if b"skopeo" in argv:
                shown.append((folder / "environ").read_bytes())
    return b"\n".join(shown).decode(errors="replace")


def test_trap3_secrets_are_in_no_argv_no_environment_no_event_and_no_file(
    registry: FakeRegistry, archive: Archive, tmp_path: Path, events: list[Event]
) -> None:
    registry.fault("POST", "uploads", act=lambda: time.sleep(0.3), count=9)
    host = Watched(LocalHost("seed", str(tmp_path / "state")))
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(everything_readable())

    with site(tmp_path, registry.address, host, events=events) as world:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            make(SPEC, bundle(archive), world)
        finally:
            done.set()
            watcher.join()
    shown = "\n".join(seen)
    auth = host.command.stdin.decode().split('"auth": "')[1].split('"')[0]
    assert "skopeo\0--tmpdir" in shown  # it was seen at work
    files = "".join(path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    for secret in (*registry._valid, auth, "fake-registry-password"):
        assert secret not in shown
        assert secret not in repr(events)
        assert secret not in files


class Interrupted(Watched):
    """A host whose script is sent `signal` when it has begun an upload."""

    def __init__(self, host: Host, registry: FakeRegistry, sent: signal.Signals) -> None:
        super().__init__(host)
        self.held = threading.Event()
        self.signal = sent
        self.pid = 0
        self.code = 0
        registry.fault("POST", "uploads", act=self.hold, count=99)

    def hold(self) -> None:
        self.held.set()
        time.sleep(1)

    def run(self, cmd: Cmd, on_line: object = None) -> Output:
        with subprocess.Popen(cmd.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as script:
            self.pid = script.pid
            assert script.stdin
            script.stdin.write(cmd.stdin)
            script.stdin.close()
            assert self.held.wait(10)
            script.send_signal(self.signal)
            self.code = script.wait(10)
        return Output(128 + self.signal)

    def folders(self) -> list[Path]:
        places = [Path(os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"), Path(self.state) / "probe" / "skopeo"]
        return [path for place in places for path in place.glob(f"pipeline-push.*.{self.pid}.*")]


def interrupted(world: Site, registry: FakeRegistry, archive: Archive, sent: signal.Signals) -> Interrupted:
    host = Interrupted(world.host("seed"), registry, sent)
    with pytest.raises(Transient):
        make(SPEC, bundle(archive), dataclasses.replace(world, hosts={"seed": host}))
    registry.faults.clear()
    return host


def test_p25_what_a_killed_push_leaves_is_swept_by_the_next(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    killed = interrupted(world, registry, archive, signal.SIGKILL)
    assert len(killed.folders()) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in killed.folders())
    assert tried(SPEC, bundle(archive), world, 1) == 1
    assert killed.folders() == []


def test_folders_of_another_containers_processes_are_left_alone(world: Site, archive: Archive, tmp_path: Path) -> None:
    others = tmp_path / "state" / "probe" / "skopeo" / "pipeline-push.1.999999999.abcdef"
    others.mkdir(parents=True)
    make(SPEC, bundle(archive), world)
    assert others.exists()


def test_a_terminated_push_cleans_up_and_ends_skopeo(world: Site, registry: FakeRegistry, archive: Archive) -> None:
    ended = interrupted(world, registry, archive, signal.SIGTERM)
    assert ended.code == 143
    assert ended.folders() == []
    assert f".{ended.pid}." not in everything_readable()


def test_the_script_works_in_busybox(world: Site, registry: FakeRegistry, archive: Archive, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for applet in ("sh", "readlink", "mktemp", "mkdir", "rm", "cat", "head", "od", "tr", "gzip", "ln", "id", "sed"):
        (tools / applet).symlink_to("/bin/busybox")

    class Alpine(Watched):
        def run(self, cmd: Cmd, on_line: object = None) -> Output:
            argv = (str(tools / "sh"), *cmd.argv[1:])
            return self.host.run(dataclasses.replace(cmd, argv=argv, env={"PATH": str(tools)}))

    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(archive.path.read_bytes(), 1))
    alpine = dataclasses.replace(world, hosts={"seed": Alpine(world.host("seed"))}, tools={"skopeo": shutil.which("skopeo") or "skopeo"})
    for path in (packed, archive.path):
        images = make(SPEC, dataclasses.replace(bundle(archive, commit()), store_path=str(path)), alpine)
        assert images.images[0].digest in {digest for _, digest in registry.manifests}


@pytest.fixture
def gitea(lab: Site, tmp_path: Path) -> Iterator[tuple[Site, Spec]]:
    """The lab's registry, with a repository that is emptied afterwards."""
    own = dataclasses.replace(lab, app="push-test")
    spec = Spec("coulombcore", "coulomb/push-test")
    yield own, spec
    client = client_of(own, "coulombcore")
    for tag in client.tags(spec.repository):
        digest = client.head(spec.repository, tag)
        header = client.authorization.header(spec.repository)
        client.origin.ask("DELETE", f"/v2/{spec.repository}/manifests/{digest}", {"Authorization": header})
    own.host("haskelseed").run(Cmd(("rm", "-rf", f"{own.host('haskelseed').state}/push-test")))


def there(site: Site, archive: Archive, revision: str) -> Bundle:
    """The archive on the lab's build host."""
    host = site.host("haskelseed")
    target = f"{host.state}/push-test/{archive.path.name}"
    host.run(Cmd(("mkdir", "-p", f"{host.state}/push-test")))
    host.put(archive.path, target)
    return dataclasses.replace(bundle(archive, revision), host="haskelseed", store_path=target)


def test_gitea_with_the_broken_realm(gitea: tuple[Site, Spec], tmp_path: Path, events: list[Event]) -> None:
    own, spec = gitea
    seed = secrets.randbelow(10**9)
    seeds = tuple(range(seed, seed + 4))
    built = there(own, Archive(tmp_path / "one.tar", seeds, 1_000_000).write(), commit())
    images = make(spec, built, own)
    assert isinstance(images, Images)
    assert find(spec, built, own).artifact == images
    assert client_of(own, "coulombcore").exists(images.images[0].reference)
    assert any("gitea.coulomb.social" in event.text and "/v2/token instead" in event.text for event in events)
    changed = there(own, Archive(tmp_path / "two.tar", (*seeds[:-1], seed + 9), 1_000_000).write(), commit())
    make(spec, changed, own)
    last = [event for event in events if "MB sent in" in event.text][-1]
    assert last.data["bytes"] <= 1.05 * 510_000  # half of a layer is random; what is sent is that, and the manifest


def test_p07_gitea_that_lost_a_layers_file_gets_it_again(gitea: tuple[Site, Spec], tmp_path: Path) -> None:
    own, spec = gitea
    seed = secrets.randbelow(10**9)
    built = there(own, Archive(tmp_path / "one.tar", (seed, seed + 1)).write(), commit())
    images = make(spec, built, own)
    client = client_of(own, "coulombcore")
    manifest = client.manifest(spec.repository, images.images[0].digest)
    assert manifest is not None
    digest = manifest.layers[0][0]
    packages = Path(own.registry("coulombcore").password.removeprefix("file:")).parent / "gitea" / "data" / "packages"
    (packages / digest[7:9] / digest[9:11] / digest[7:]).unlink()
    assert client.manifest(spec.repository, images.images[0].digest) == manifest  # nothing looks wrong from here
    assert not client.opens(spec.repository, digest)
    with dataclasses.replace(own, records=Records(tmp_path / "other.db"), shared={}) as other:
        assert digest in find(spec, built, other).why
        assert make(spec, built, other) == images
    assert client.opens(spec.repository, digest)


def test_gitea_takes_basic_for_a_lone_head(gitea: tuple[Site, Spec]) -> None:
    own, spec = gitea
    client = client_of(own, "coulombcore")
    header = client.authorization.header(spec.repository)
    assert header.startswith("Basic ")
    assert client.origin.ask("HEAD", f"/v2/{spec.repository}/manifests/absent", {"Authorization": header}).status == 404
    assert client.origin.ask("HEAD", f"/v2/{spec.repository}/manifests/absent", {}).status == 401


def test_gitea_refuses_a_wrong_password(gitea: tuple[Site, Spec], tmp_path: Path) -> None:
    own, spec = gitea
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    registries = {"coulombcore": dataclasses.replace(own.registry("coulombcore"), password=f"file:{wrong}")}
    with dataclasses.replace(own, registries=registries, shared={}) as other, pytest.raises(AuthError):
        find(spec, bundle(Archive(tmp_path / "a.tar").write()), other)
