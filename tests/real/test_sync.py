"""Source to a real build host over a real SSH connection, and to a real Gitea."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Tree
from pipeline.errors import Transient
from pipeline.events import Event
from pipeline.host import Cmd
from pipeline.source import snapshot
from pipeline.stage import Site
from pipeline.sync import git
from pipeline.sync.git import Git
from pipeline.tools.git import environment
from tests.real.workshop import HOST, faulty_line, workshop, worktree
from tests.source.worktree import Worktree

pytestmark = pytest.mark.real
SPEC = Git(host=HOST)


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    return worktree(tmp_path / "work")


@pytest.fixture
def site(lab: Site, work: Worktree, events: list[Event]) -> Iterator[Site]:
    with workshop(lab, work, events) as site:
        yield site


def sync(site: Site) -> Tree:
    source = snapshot(site.root)
    finding = git.find(SPEC, source, site)
    if finding.artifact is None:
        git.make(SPEC, source, site)
        finding = git.find(SPEC, source, site)
    assert isinstance(finding.artifact, Tree), finding.why
    return finding.artifact


def content(site: Site, path: str) -> bytes:
    return site.host(HOST).run(Cmd(("cat", "--", path))).stdout


def test_a_tree_arrives_and_is_found(site: Site, work: Worktree) -> None:
    tree = sync(site)
    assert content(site, f"{tree.path}/text") == (work.path / "text").read_bytes()


def test_s13_names_of_any_bytes_are_the_same_on_the_host(site: Site, work: Worktree) -> None:
    names = [b"a\nb", b"-rf", b"\xff\xfe", b"n" * 255, b"space ", b"$(id)"]
    for name in names:
        work.write(name, name)
    tree = sync(site)
    listing = site.host(HOST).run(Cmd(("find", tree.path, "-maxdepth", "1", "-type", "f", "-printf", "%f\\0"))).stdout
    assert set(names) <= set(listing.split(b"\0"))


def test_s09_two_machines_to_one_folder_do_not_mix(lab_site_file: Path, site: Site, work: Worktree, tmp_path: Path) -> None:
    import dataclasses

    other = worktree(tmp_path / "other")
    with faulty_line(lab_site_file, tmp_path) as (_, host):
        second = dataclasses.replace(site, root=other.path, hosts={HOST: host}, shared={})
        trees: list[Tree] = []
        barrier = threading.Barrier(2)

        def one(where: Site) -> None:
            barrier.wait()
            trees.append(sync(where))

        threads = [threading.Thread(target=one, args=(where,)) for where in (site, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    texts = {content(site, f"{tree.path}/text") for tree in trees}
    assert texts == {(work.path / "text").read_bytes(), (other.path / "text").read_bytes()}


def test_s03_a_broken_upload_goes_on_where_it_stopped(
    lab_site_file: Path, lab: Site, work: Worktree, events: list[Event], tmp_path: Path
) -> None:
    size = 20_000_000
    work.write("big", os.urandom(size))
    with faulty_line(lab_site_file, tmp_path) as (proxy, host), workshop(lab, work, events, host) as site:
        source = snapshot(work.path)
        assert git.find(SPEC, source, site).artifact is None
        proxy.reset_after(proxy.bytes_up + size // 2)
        host.close()  # the reset counts bytes of a connection from its start
        with pytest.raises(Transient):
            git.make(SPEC, source, site)
        git.make(SPEC, source, site)
        tree = git.find(SPEC, source, site).artifact
        assert isinstance(tree, Tree)
        assert proxy.bytes_up < 1.2 * size
        done = site.host(HOST).run(Cmd(("find", f"{host.state}/{site.app}/incoming", "-type", "f")))
        assert done.stdout == b""


def test_s08_a_line_that_breaks_anywhere_leaves_nothing_behind(
    lab_site_file: Path, lab: Site, work: Worktree, events: list[Event], tmp_path: Path
) -> None:
    work.write("big", os.urandom(400_000))
    with faulty_line(lab_site_file, tmp_path) as (proxy, host), workshop(lab, work, events, host) as site:
        source = snapshot(work.path)
        for after in (8_000, 200_000, 405_000):
            host.close()
            proxy.reset_after(after)
            with contextlib.suppress(Transient):
                git.make(SPEC, source, site)
        tree = sync(site)
        assert content(site, f"{tree.path}/big") == (work.path / "big").read_bytes()
        base = f"{host.state}/{site.app}"
        left = site.host(HOST).run(
            Cmd(("find", base, "-name", "tmp_*", "-o", "-name", "*.lock", "-o", "-name", ".new", "-o", "-name", ".old"))
        )
        assert left.stdout == b""


@pytest.fixture
def repository(site: Site) -> Iterator[None]:
    """Gitea makes the application's repository on the first push; it is removed in the end."""
    yield
    registry = site.registry("coulombcore")  # Gitea is both
    token = base64.b64encode(f"{registry.username}:{site.secrets.get(registry.password).reveal()}".encode()).decode()
    gitea = http.client.HTTPConnection(registry.address, timeout=10)
    gitea.request("DELETE", f"/api/v1/repos/coulomb/{site.app}", headers={"Authorization": f"Basic {token}"})
    assert gitea.getresponse().status == 204
    gitea.close()


@pytest.mark.usefixtures("repository")
def test_a_clean_commit_is_recorded_in_gitea(site: Site) -> None:
    spec = Git(host=HOST, via="coulombcore")
    source = snapshot(site.root)
    git.make(spec, source, site)
    assert git.find(spec, source, site).artifact is not None
    git.make(spec, source, site)  # finds it there
    remote = site.remote("coulombcore")
    listed = subprocess.run(
        ["git", "ls-remote", remote.url.replace("{app}", site.app)], env={**os.environ, **environment(remote)}, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    assert [line.split("\t")[1] for line in listed.splitlines()] == [f"refs/pipeline/{source.commit}"], "no branch was made or moved"
