from __future__ import annotations

import dataclasses
import fcntl
import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifacts import Bundle, Tree
from pipeline.build import nix
from pipeline.build.nix import DRIVER, Nix
from pipeline.errors import BuildError, ConfigError, IntegrityError, Locked, ResourceError, Unknown
from pipeline.events import Event, What
from pipeline.host import Cmd, job
from pipeline.host.local import LocalHost
from pipeline.records import actor
from pipeline.stage import Site
from tests.build.images import SHAPES, Image, layer, tar

SPEC = Nix(host="builder")
CASES = Path(__file__).parents[1] / "cases" / "nix"


def calls(store: Path, word: str) -> int:
    return sum(f" {word} " in f"{line} " for line in (store / "calls").read_text().splitlines())


@pytest.fixture
def undetached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script alone, without the job around it: these tests are about what it reads."""
    monkeypatch.setattr(job, "run_detached", lambda host, work, hear, **_: host.run(Cmd(work.argv, work.env), hear).code)


def build(site: Site, tree: Tree) -> Bundle:
    """Act and look again, as the runner does."""
    made = nix.make(SPEC, tree, site)
    finding = nix.find(SPEC, tree, site)
    assert finding.artifact == made, finding.why
    return made


def test_a_build_gives_a_bundle_that_is_found_again(site: Site, tree: Tree, store: Path) -> None:
    image = Image()
    (store / "output").write_bytes(image.archive)
    assert nix.find(SPEC, tree, site).artifact is None
    bundle = build(site, tree)
    assert bundle == Bundle(
        source=tree.source,
        host="builder",
        store_path=str(store / "output"),
        nar_hash="sha256-abc=",
        config=image.id,
        drv="/nix/store/10gx0gl0q9s3zi31simcqdahh4asvj5d-probe.tar.drv",
        size=len(image.archive),
    )


@pytest.mark.usefixtures("undetached")
def test_a_compressed_archive_has_the_same_identity(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").write_bytes(Image().compressed)
    assert build(site, tree).config == Image().id


@pytest.mark.usefixtures("undetached")
def test_compressed_layers_are_compared_uncompressed(site: Site, tree: Tree, store: Path) -> None:
    image = Image()
    image.layers[1] = gzip.compress(image.layers[1], mtime=0)
    (store / "output").write_bytes(image.archive)
    assert build(site, tree).config == image.id


@pytest.mark.usefixtures("undetached")
def test_a_folder_with_one_archive_will_do(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").mkdir()
    (store / "output/image.tar.gz").write_bytes(Image().compressed)
    (store / "output/README").write_text("x")
    assert build(site, tree).store_path == str(store / "output/image.tar.gz")


@pytest.mark.usefixtures("undetached")
def test_a_folder_with_two_archives_will_not(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").mkdir()
    for name in ("a.tar", "b.tar"):
        (store / "output" / name).write_bytes(Image().archive)
    with pytest.raises(IntegrityError, match="a folder with 2 archives"):
        nix.make(SPEC, tree, site)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_archives_of_other_tools_are_taken(site: Site, tree: Tree, store: Path, shape: Callable[[Image], None]) -> None:
    image = Image()
    shape(image)
    (store / "output").write_bytes(image.archive)
    assert build(site, tree).config == image.id


def two_images(image: Image) -> None:
    image.manifest = [image.entry, image.entry]


def no_manifest(image: Image) -> None:
    image.manifest = []


def other_layer(image: Image) -> None:
    image.layers[1] = layer(b"another")


def missing_layer(image: Image) -> None:
    image.names[1] = "../../etc/shadow"


def absent_layer(image: Image) -> None:
    image.manifest = [{**image.entry, "Layers": ["gone/layer.tar", image.names[1]]}]


def fewer_layers(image: Image) -> None:
    image.manifest = [{**image.entry, "Layers": image.names[:1]}]


def weak_digest(image: Image) -> None:
    image.diff_ids[1] = "md5:d41d8cd98f00b204e9800998ecf8427e"


def digest_that_is_a_path(image: Image) -> None:
    image.diff_ids[1] = "sha256:../../x"


def link_member(image: Image) -> None:
    image.links = [("link", "/etc/shadow")]


def link_upwards(image: Image) -> None:
    image.links = [("a/link", "../../shadow")]


def link_elsewhere(image: Image) -> None:
    image.more, image.layers[1], image.links = [("real.tar", image.layers[1])], b"", [("third/layer.tar", "../real.tar")]
    image.manifest = [{**image.entry, "Layers": [image.names[0], "third/layer.tar"]}]


def link_to_link(image: Image) -> None:
    image.links = [("a", "b"), ("b", "a")]
    image.manifest = [{**image.entry, "Layers": ["a", "b"]}]


def link_with_blanks(image: Image) -> None:
    image.links = [("link", "a -> b c")]


def hard_link(image: Image) -> None:
    image.hard = [("second", image.names[1])]
    image.manifest = [{**image.entry, "Layers": [image.names[0], "second"]}]


def of_oci(image: Image) -> None:
    image.name = "index.json"
    image.more = [("oci-layout", b"{}")]


def huge_manifest(image: Image) -> None:
    image.manifest = [{**image.entry, "RepoTags": ["x" * 1_100_000]}]


def twice(image: Image) -> None:
    image.more = [(image.names[0], b"other bytes under the same name")]


def many_members(image: Image) -> None:
    image.more = [(f"extra/{number}", b"") for number in range(1001)]


def odd_name(image: Image) -> None:
    image.more = [("a\nb", b"")]


def option_name(image: Image) -> None:
    image.more = [("--to-command=reboot", b"")]


def config_elsewhere(image: Image) -> None:
    image.manifest = [{**image.entry, "Config": "/etc/passwd"}]


def not_json(image: Image) -> None:
    image.manifest = '"Config": "x"'


DAMAGES: dict[Callable[[Image], None], str] = {
    two_images: "holds 2 images",
    no_manifest: "names no config",
    other_layer: "its config says",
    missing_layer: "leads out|is missing|not a whole image",
    absent_layer: "'gone/layer.tar' is missing",
    fewer_layers: "does not list its 1 layers",
    weak_digest: "no sha256 digest",
    digest_that_is_a_path: "no sha256 digest",
    link_member: "leads out of the archive",
    link_upwards: "leads out of the archive",
    link_elsewhere: "is a link to 'real.tar', which is no layer",
    link_to_link: "is a link to 'b', which is no layer",
    link_with_blanks: "unusual name",
    hard_link: "a hard link",
    of_oci: "one of OCI, not of docker",
    huge_manifest: "larger than 1 MiB",
    twice: "there twice",
    many_members: "more than 1000 members",
    odd_name: "unusual name|not a whole image",
    option_name: "unusual name",
    config_elsewhere: "not a whole image|is not there",
    not_json: "names no config",
}


@pytest.mark.usefixtures("undetached")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_t01_t03_p20_a_bad_archive_is_refused_and_not_found(site: Site, tree: Tree, store: Path, damage: Callable[[Image], None]) -> None:
    image = Image()
    damage(image)
    (store / "output").write_bytes(image.archive)
    with pytest.raises(IntegrityError, match=DAMAGES[damage]) as caught:
        nix.make(SPEC, tree, site)
    assert caught.value.mend
    assert nix.find(SPEC, tree, site).artifact is None


@pytest.mark.usefixtures("undetached")
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (Image().archive[:3000], "truncated|no manifest"),
        (Image().compressed[:-20], "truncated or corrupt gzip"),
        (b"", "the archive is empty"),
        (b"#!/bin/sh\nexec stream\n", "gives a program that writes the image"),
        (b"\x28\xb5\x2f\xfd0000", "compressed with zstd"),
        (b"not an archive at all" * 100, "not a whole image"),
        (tar([("other.json", b"{}")]), r"no manifest\.json"),
        (gzip.compress(b"\0" * 60_000_000), "truncated or corrupt gzip"),
    ],
    ids=["truncated", "truncated-gzip", "empty", "script", "zstd", "noise", "no-manifest", "bomb"],
)
def test_p20_t02_what_is_no_archive_is_refused(site: Site, tree: Tree, store: Path, content: bytes, what: str) -> None:
    (store / "output").write_bytes(content)
    with pytest.raises(IntegrityError, match=what):
        nix.make(SPEC, tree, site)
    assert nix.find(SPEC, tree, site).artifact is None


@pytest.mark.usefixtures("undetached")
def test_b09_an_archive_that_lost_its_bytes_is_not_found_and_is_built_again(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").write_bytes(Image().archive)
    build(site, tree)
    (store / "output").write_bytes(b"")
    finding = nix.find(SPEC, tree, site)
    assert finding.artifact is None
    assert "has 0 bytes and had" in finding.why
    (store / "damaged").touch()
    (store / "whole").write_bytes(Image().archive)
    assert build(site, tree).config == Image().id
    assert calls(store, "--repair") == 1


def test_an_output_that_garbage_collection_took_is_not_found(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").write_bytes(Image().archive)
    build(site, tree)
    (store / "output").unlink()
    assert nix.find(SPEC, tree, site).artifact is None


@pytest.mark.usefixtures("undetached")
@pytest.mark.parametrize("keep", [5, 2])
def test_only_the_newest_roots_stay_as_many_as_are_kept(site: Site, tree: Tree, store: Path, host: LocalHost, keep: int) -> None:
    import dataclasses

    site = dataclasses.replace(site, keep=keep)
    (store / "output").write_bytes(Image().archive)
    roots = Path(host.state) / "probe/roots"
    for number in range(7):
        source = dataclasses.replace(tree.source, tree=f"{number:040}")
        build(site, dataclasses.replace(tree, source=source))
        os.utime(roots / f"{number:040}-docker.facts", (number + 1, number + 1))
    build(site, tree)
    assert len(list(roots.glob("*.facts"))) == keep
    assert len([path for path in roots.iterdir() if path.is_symlink()]) == keep
    assert not list(roots.glob(".work-*"))


@pytest.mark.parametrize(
    ("case", "kind", "what"),
    [
        ("2.8-builder-failed", BuildError, "fail failed: exit code 3"),
        ("2.8-hash-mismatch", IntegrityError, "got sha256-mOpuTyFvL7S2n"),
        ("2.3x-disk-full", ResourceError, "was full"),
        ("2.8-lock-file", ConfigError, r"flake\.lock"),
    ],
)
def test_a_failed_build_is_told_by_its_cause_and_its_log(
    site: Site, tree: Tree, store: Path, case: str, kind: type[Exception], what: str
) -> None:
    shutil.copy(CASES / f"{case}.log", store / "log")
    (store / "code").write_text("1")
    with pytest.raises(kind, match=what) as caught:
        nix.make(SPEC, tree, site)
    log = Path(getattr(caught.value, "log"))  # noqa: B009
    assert log.read_text().strip()
    assert "\x1b" not in log.read_text()


def test_a_build_that_failed_is_tried_again(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").write_bytes(Image().archive)
    (store / "code").write_text("1")
    with pytest.raises(Unknown):
        nix.make(SPEC, tree, site)
    (store / "code").unlink()
    assert build(site, tree).config == Image().id


def test_b04_a_missing_attribute_names_those_there_are(site: Site, tree: Tree, store: Path) -> None:
    shutil.copy(CASES / "2.8-attribute-missing.log", store / "log")
    (store / "code").write_text("1")
    with pytest.raises(ConfigError, match="the flake has no") as caught:
        nix.make(SPEC, tree, site)
    assert caught.value.mend == "it has: default, docker"
    assert calls(store, "build") == 1, "it is not tried again"


def test_nix_is_not_installed(site: Site, tree: Tree, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "nix").unlink()
    bare = store / "bare"
    bare.mkdir()
    for tool in (
        "sh",
        "mkdir",
        "cat",
        "flock",
        "setsid",
        "ln",
        "mv",
        "rm",
        "dd",
        "sleep",
        "cut",
        "sed",
        "readlink",
        "stat",
        "date",
        "grep",
        "sort",
    ):
        (bare / tool).symlink_to(shutil.which(tool) or "/bin/false")
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(ConfigError, match="nix is not installed on builder"):
        nix.make(SPEC, tree, site)


def test_l01_who_has_the_host_is_told_and_waiting_is_no_build_time(site: Site, tree: Tree, store: Path, host: LocalHost) -> None:
    (store / "output").write_bytes(Image().archive)
    lock = Path(host.state) / "build.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.with_name("build.lock.holder").write_text("eve@elsewhere since 2026-11-30T12:00:00Z, its process 7 is alive\n")
    events: list[Event] = []
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def hear(event: Event) -> None:
            events.append(event)
            if event.what is What.WAIT and "builds for" in event.text:
                threading.Timer(1.5, lambda: fcntl.flock(held, fcntl.LOCK_UN)).start()

        told = dataclasses.replace(site, sink=hear)
        nix.make(SPEC, tree, told)
    assert "builder builds for eve@elsewhere since 2026-11-30T12:00:00Z, its process 7 is alive: waits until that is done" in [
        event.text for event in events if event.what is What.WAIT
    ]
    assert told.shared["waited for a lock: build"] >= 1.0
    assert lock.with_name("build.lock.holder").read_text().startswith(f"{actor()} since 20")


def test_l01_another_build_is_waited_for_as_long_as_a_build_may_take(site: Site, tree: Tree, store: Path, host: LocalHost) -> None:
    lock = Path(host.state) / "build.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.with_name("build.lock.holder").write_text("eve@elsewhere since 2026-11-30T12:00:00Z, its process 7 is alive\n")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked, match=r"another build has had builder for [1-9]") as caught:
            nix.make(dataclasses.replace(SPEC, timeout=1), tree, site)
    assert caught.value.exit_code == 13
    assert caught.value.cause == "eve@elsewhere since 2026-11-30T12:00:00Z, its process 7 is alive"
    assert not (store / "calls").exists()


def test_b14_two_callers_share_one_build(site: Site, tree: Tree, store: Path) -> None:
    (store / "output").write_bytes(Image().archive)
    os.mkfifo(store / "gate")
    bundles: list[Bundle] = []
    threads = [threading.Thread(target=lambda: bundles.append(nix.make(SPEC, tree, site))) for _ in range(2)]
    for thread in threads:
        thread.start()
    with (store / "gate").open("w") as gate:  # opens when nix is there to read
        time.sleep(0.3)
        gate.write("go\n")
    for thread in threads:
        thread.join(10)
    assert len(bundles) == 2
    assert bundles[0] == bundles[1]
    assert calls(store, "build") == 1


def test_b14_a_build_leaves_one_alone_whose_archive_is_still_read(site: Site, tree: Tree, store: Path, events: list[Event]) -> None:
    (store / "output").write_bytes(Image().archive)
    os.mkfifo(store / "reading")
    other = dataclasses.replace(tree, source=dataclasses.replace(tree.source, tree="f" * 40))
    first, second = (threading.Thread(target=nix.make, args=(SPEC, each, site)) for each in (tree, other))
    first.start()
    with (store / "reading").open("w") as reading:  # opens when the archive of the first is read
        (store / "reading").unlink()
        second.start()
        while second.is_alive() and not any("builds for" in event.text for event in events):
            time.sleep(0.05)
        reading.write("go\n")
    first.join(30)
    second.join(30)
    assert [nix.find(SPEC, each, site).why for each in (tree, other)] == [f"docker of {tree.source.label} stands on builder"] * 2


def test_a_stop_from_here_ends_the_build_there(
    site: Site, tree: Tree, store: Path, host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "log").write_text("started\n")
    os.mkfifo(store / "gate")

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.build.story.Story.hear", lambda _self, line: interrupt(line))
    with pytest.raises(KeyboardInterrupt):
        nix.make(SPEC, tree, site)
    name = nix._job(SPEC, tree, host, site).name
    assert job.state(host, name).phase in ("absent", "finished")


def test_progress_is_told_and_the_whole_log_is_kept(site: Site, tree: Tree, store: Path, events: list[Event]) -> None:
    (store / "output").write_bytes(Image().archive)
    lines = "".join(f"@nix {json.dumps({'action': 'result', 'id': 2, 'type': 101, 'fields': [f'line {n}']})}\n" for n in range(5000))
    start = {"action": "start", "id": 2, "type": 105, "fields": ["/nix/store/qr65zm5d5zkr637p7yb5s1qqlc5bndc7-app.drv", "", 1, 1]}
    (store / "log").write_text(f"@nix {json.dumps(start)}\n{lines}")
    build(site, tree)
    assert "builds app" in [event.text for event in events if event.what == What.WAIT]
    assert sum(event.what == What.LOG for event in events) < 5000
    (log,) = (site.root / ".pipeline/logs").glob("build-*.log")
    assert log.read_text().splitlines()[-1] == "app> line 4999"
    assert sum("line" in line for line in log.read_text().splitlines()) == 5000


@pytest.mark.parametrize("options", [{"attr": "-x"}, {"attr": "a b"}, {"jobs": 0}, {"timeout": -1}, {"env": {"A B": "x"}}])
def test_i01_options_that_cannot_be_are_refused_when_the_blueprint_is_read(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"attr|jobs|env"):
        Nix(host="builder", **options)  # type: ignore[arg-type]


def test_the_order_of_variables_does_not_matter() -> None:
    assert repr(Nix(host="h", env={"A": "1", "B": "2"})) == repr(Nix(host="h", env={"B": "2", "A": "1"}))


def test_the_driver_says_what_it_takes_and_gives() -> None:
    assert (DRIVER.verb, DRIVER.name, DRIVER.takes.kind, DRIVER.gives.kind) == ("build", "nix", "tree", "bundle")


def test_old_roots_are_listed_newest_first_and_forgotten(site: Site, host: LocalHost) -> None:
    roots = Path(host.state) / site.app / "roots"
    roots.mkdir(parents=True)
    keys = [f"{number:040x}-docker" for number in range(4)]
    for number, key in enumerate(keys):
        (roots / key).symlink_to("/nix/store/x")
        (roots / f"{key}.facts").touch()
        os.utime(roots / f"{key}.facts", (number, number))
    (roots / f".work-{keys[0]}").mkdir()
    (roots / "something else.facts").touch()
    left = nix.left(SPEC, 2, site)
    assert [(each.name, each.why, each.marks) for each in left] == [
        (f"{keys[3]} on builder", "it is one of the newest 2", (keys[3][:40],)),
        (f"{keys[2]} on builder", "it is one of the newest 2", (keys[2][:40],)),
        (f"{keys[1]} on builder", "", (keys[1][:40],)),
        (f"{keys[0]} on builder", "it is being built", (keys[0][:40],)),
    ]
    for each in left[2:]:
        each.remove()
        each.remove()
    there = {path.name for path in roots.iterdir()}
    assert keys[1] not in there
    assert f"{keys[1]}.facts" not in there
    assert {keys[0], f"{keys[0]}.facts", keys[2], keys[3], "something else.facts"} <= there


def test_a_host_without_builds_has_no_roots(site: Site) -> None:
    assert nix.left(SPEC, 5, site) == ()


def test_garbage_is_collected_by_nix_and_its_word_is_told(site: Site, store: Path) -> None:
    assert nix.collect(SPEC, site) == "7 store paths deleted, 12.50 MiB freed"
    assert calls(store, "gc") == 1
    (store / "code").write_text("1")
    with pytest.raises(ConfigError, match="nix store gc failed on builder"):
        nix.collect(SPEC, site)
