"""nix on a real build host: what is built, joined, found again, stopped, and how it fails."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Bundle, Tree
from pipeline.build import nix
from pipeline.build.nix import Nix
from pipeline.errors import BuildError, ConfigError, IntegrityError, ResourceError
from pipeline.events import Event, What
from pipeline.host import Cmd, Output, job
from pipeline.source import snapshot
from pipeline.stage import Site
from pipeline.sync import git
from pipeline.sync.git import Git
from tests.real.workshop import HOST, faulty_line, workshop, worktree
from tests.source.worktree import Worktree

pytestmark = pytest.mark.real


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    return worktree(tmp_path / "work")


@pytest.fixture
def site(lab: Site, work: Worktree, events: list[Event]) -> Iterator[Site]:
    with workshop(lab, work, events) as site:
        yield site


def sync(site: Site) -> Tree:
    source = snapshot(site.root)
    if git.find(Git(HOST), source, site).artifact is None:
        git.make(Git(HOST), source, site)
    tree = git.find(Git(HOST), source, site).artifact
    assert isinstance(tree, Tree)
    return tree


def spec(attr: str = "docker", **options: int) -> Nix:
    return Nix(host=HOST, attr=attr, **options)  # type: ignore[arg-type]


def processes(site: Site, pattern: str) -> int:
    return len(site.host(HOST).run(Cmd(("pgrep", "-f", pattern))).text.split())


def test_an_image_is_built_found_and_what_it_says_it_is(site: Site) -> None:
    tree = sync(site)
    assert nix.find(spec(), tree, site).artifact is None
    made = nix.make(spec(), tree, site)
    assert nix.find(spec(), tree, site).artifact == made
    archive = site.host(HOST).run(Cmd(("cat", made.store_path))).stdout
    assert len(archive) == made.size
    config = site.host(HOST).run(Cmd(("tar", "-xOf", made.store_path, f"{made.config[7:]}.json"))).stdout
    assert f"sha256:{hashlib.sha256(config).hexdigest()}" == made.config
    assert made.nar_hash.startswith("sha256-")
    assert made.drv.endswith("-image.tar.drv")


def test_a_changed_line_costs_at_most_four_commands_beside_the_second_looks(site: Site, work: Worktree) -> None:
    nix.make(spec(), sync(site), site)
    work.write("text", "another\n")
    host = site.host(HOST)
    calls: list[Cmd] = []
    run = host.run

    def counted(cmd: Cmd, on_line: Callable[[str], None] | None = None) -> Output:
        calls.append(cmd)
        return run(cmd, on_line)

    host.run = counted  # type: ignore[method-assign]
    try:
        source = snapshot(work.path)
        assert git.find(Git(HOST), source, site).artifact is None
        tree = git.make(Git(HOST), source, site)
        assert nix.find(spec(), tree, site).artifact is None
        nix.make(spec(), tree, site)
    finally:
        host.run = run  # type: ignore[method-assign]
    names = [cmd.argv[3] for cmd in calls]
    assert names in (["look", "receive", "look", "job"], ["look", "receive", "look", "job", "job"])


def test_b10_garbage_collection_spares_what_was_built(site: Site) -> None:
    bundle = nix.make(spec(), sync(site), site)
    delete = site.host(HOST).run(Cmd(("nix-store", "--delete", bundle.store_path)))
    assert not delete.ok
    assert "still alive" in delete.errors
    assert site.host(HOST).run(Cmd(("test", "-s", bundle.store_path))).ok


def test_b04_a_missing_attribute_names_those_there_are(site: Site) -> None:
    tree = sync(site)
    with pytest.raises(ConfigError, match="dockr") as caught:
        nix.make(spec("dockr"), tree, site)
    assert "docker, fails" in caught.value.mend


def test_b03_another_hash_than_the_flakes(site: Site) -> None:
    with pytest.raises(IntegrityError, match="is not what the flake says: specified sha256-") as caught:
        nix.make(spec("fixed"), sync(site), site)
    assert "specified" in caught.value.cause


def test_b12_a_build_that_takes_too_long(site: Site) -> None:
    with pytest.raises(BuildError, match="hangs timed out after 1 s"):
        nix.make(spec("hangs", timeout=1), sync(site), site)
    with pytest.raises(BuildError, match="hangs timed out after 1 s of silence"):
        nix.make(spec("hangs", silence=1), sync(site), site)


def test_a_failed_builder_is_quoted_and_its_log_is_whole_here_and_there(site: Site, work: Worktree) -> None:
    tree = sync(site)
    with pytest.raises(BuildError, match="fails failed: exit code 3") as caught:
        nix.make(spec("fails"), tree, site)
    text = (work.path / "text").read_text()
    assert caught.value.cause.splitlines() == [f"line {number} {text}" for number in range(3, 13)]
    assert f"fails> line 1 {text}" in Path(caught.value.log).read_text()
    host = site.host(HOST)
    name = nix._job(spec("fails"), tree, host, site).name
    assert f"line 1 {text}".encode() in host.run(Cmd(("cat", job.log_path(host, name, ended=True)))).stdout


def test_a_builder_that_is_killed_points_at_the_memory(site: Site) -> None:
    with pytest.raises(ResourceError, match="ran out of memory while building killed"):
        nix.make(spec("killed"), sync(site), site)


def test_an_unlocked_input_is_refused_and_nothing_is_written_into_the_tree(site: Site, work: Worktree) -> None:
    work.write("dep/flake.nix", "{ outputs = { self }: { }; }")
    work.write("flake.nix", '{ inputs.dep.url = "path:./dep"; outputs = { self, dep }: { packages.x86_64-linux.docker = 1; }; }')
    tree = sync(site)
    with pytest.raises(ConfigError) as caught:
        nix.make(spec(), tree, site)
    assert "lock" in f"{caught.value.what} {caught.value.cause}"
    assert not site.host(HOST).run(Cmd(("test", "-e", f"{tree.path}/flake.lock"))).ok


def test_b17_a_loud_build_costs_no_memory_and_its_log_is_whole(site: Site) -> None:
    tree = sync(site)
    site.host(HOST).run(Cmd(("true",)))
    tracemalloc.start()
    with pytest.raises(BuildError) as caught:
        nix.make(spec("loud"), tree, site)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000
    assert Path(caught.value.log).read_text().count("loud> 0123456789") >= 3_000_000 // 41


def test_b05_a_line_that_is_gone_for_a_while_is_taken_up_again(
    lab_site_file: Path, lab: Site, work: Worktree, events: list[Event], tmp_path: Path
) -> None:
    with faulty_line(lab_site_file, tmp_path) as (proxy, host), workshop(lab, work, events, host) as site:
        tree = sync(site)
        connections = proxy.connections

        def cut(event: Event) -> None:
            events.append(event)
            if event.what == What.LOG and "begun" in event.text:
                proxy.reset()

        site = dataclasses.replace(site, sink=cut)
        with pytest.raises(IntegrityError):  # `slow` gives no image, and that is noticed at its end
            nix.make(spec("slow"), tree, site)
        assert proxy.connections > connections
        told = [event.text for event in events if event.what == What.LOG]
        assert sum("> begun" in text for text in told) == 1
        assert sum("> nearly done" in text for text in told) == 1


def _killed_client(site_file: str, root: str, app: str, ready: str) -> None:
    from pipeline.plan import load
    from tests.real.conftest import ROOT

    site = dataclasses.replace(load(ROOT / "config", "ihp-railiance-probe", "lab").site(), app=app, root=Path(root))

    def told(event: Event) -> None:
        if "begun" in event.text:
            Path(ready).touch()

    site = dataclasses.replace(site, sink=told)
    tree = git.find(Git(HOST), snapshot(Path(root)), site).artifact
    assert isinstance(tree, Tree)
    nix.make(spec("slow"), tree, site)


def test_b06_after_a_killed_client_the_next_one_joins_the_same_build(
    site: Site, work: Worktree, lab_site_file: Path, tmp_path: Path
) -> None:
    tree = sync(site)
    ready = tmp_path / "ready"
    client = multiprocessing.get_context("spawn").Process(
        target=_killed_client, args=(str(lab_site_file), str(work.path), site.app, str(ready))
    )
    client.start()
    deadline = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    client.join()
    host = site.host(HOST)
    name = nix._job(spec("slow"), tree, host, site).name
    before = job.state(host, name)
    assert before.phase == "running"
    assert processes(site, f"nix .*build.*{site.app}.*slow") >= 1
    with pytest.raises(IntegrityError):
        nix.make(spec("slow"), tree, site)
    log = host.run(Cmd(("cat", job.log_path(host, name, ended=True)))).stdout
    assert log.count(b"nearly done") == 1, "one build, not two"


def test_b14_two_callers_share_one_build(site: Site, lab_site_file: Path, tmp_path: Path) -> None:
    tree = sync(site)
    bundles: list[Bundle] = []
    with faulty_line(lab_site_file, tmp_path) as (_, other):
        sites = [site, dataclasses.replace(site, hosts={HOST: other})]
        threads = [threading.Thread(target=lambda site=site: bundles.append(nix.make(spec(), tree, site))) for site in sites]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(bundles) == 2
    assert bundles[0] == bundles[1]


def test_a_stop_from_here_ends_the_build_there(site: Site) -> None:
    tree = sync(site)

    def stop(event: Event) -> None:
        if event.what == What.LOG and "begun" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nix.make(spec("hangs"), tree, dataclasses.replace(site, sink=stop))
    host = site.host(HOST)
    assert job.state(host, nix._job(spec("hangs"), tree, host, site).name).phase != "running"
    assert processes(site, f"[n]ix .*{site.app}.*hangs") == 0
