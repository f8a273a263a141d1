from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Tree
from pipeline.errors import ConfigError, IntegrityError, Locked, ResourceError, Transient
from pipeline.events import Event, What
from pipeline.host import Cmd, Output
from pipeline.source import snapshot
from pipeline.stage import Site
from pipeline.sync import git
from pipeline.sync.git import DRIVER, Git
from tests.source.worktree import Worktree
from tests.sshd import Sshd, at_once
from tests.sync.machine import Machine

SPEC = Git(host="builder")


def sync(site: Site) -> Tree:
    """Look, act, look, as the runner does."""
    source = snapshot(site.root)
    finding = git.find(SPEC, source, site)
    if finding.artifact is None:
        made = git.make(SPEC, source, site)
        finding = git.find(SPEC, source, site)
        assert finding.artifact == made
    assert isinstance(finding.artifact, Tree)
    return finding.artifact


def files(folder: Path | str) -> dict[bytes, tuple[int, bytes]]:
    """Every file below a folder: its path, type and x-bit, and its bytes."""
    found = {}
    root = os.fsencode(folder)
    for base, folders, names in os.walk(root):
        for name in [*names, *(folder for folder in folders if os.path.islink(os.path.join(base, folder)))]:  # noqa: PTH114, PTH118  # bytes
            path = os.path.join(base, name)  # noqa: PTH118
            mode = os.lstat(path).st_mode & 0o170100
            if os.path.islink(path):  # noqa: PTH114
                found[os.path.relpath(path, root)] = (mode & 0o170000, os.readlink(path))  # noqa: PTH115
            else:
                with open(path, "rb") as file:  # noqa: PTH123
                    found[os.path.relpath(path, root)] = (mode, file.read())
    return found


def left_overs(machine: Machine) -> list[str]:
    base = Path(machine.state) / "probe"
    names = [*base.glob("trees/.*"), *base.glob("incoming/*"), *base.rglob("tmp_*"), *base.rglob("*.lock")]
    return [str(name) for name in names]


def test_the_files_arrive_and_nothing_else(work: Worktree, site: Site, machine: Machine) -> None:
    work.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (work.path / "link").symlink_to("src/main.c")
    (work.path / "folder").symlink_to("src")
    tree = sync(site)
    expected = {name: what for name, what in files(work.path).items() if not name.startswith((b".git/", b".pipeline/"))}
    assert files(tree.path) == expected
    assert left_overs(machine) == []


def test_what_is_there_costs_one_command_and_sends_nothing(site: Site, machine: Machine) -> None:
    sync(site)
    machine.calls.clear()
    machine.sent = 0
    sync(site)
    assert (len(machine.calls), machine.sent) == (1, 0)


def test_one_changed_line_costs_two_commands_and_its_own_bytes(work: Worktree, site: Site, machine: Machine) -> None:
    work.write("big", "".join(f"{number}\n" for number in range(100_000)))
    sync(site)
    machine.calls.clear()
    machine.sent = 0
    work.write("src/main.c", "int main;\n" * 100 + "int other;\n" + "int main;\n" * 99)
    source = snapshot(work.path)
    assert git.find(SPEC, source, site).artifact is None
    git.make(SPEC, source, site)
    assert len(machine.calls) == 2
    assert machine.sent < 600


def test_a_tree_sent_from_a_shallow_clone(work: Worktree, machine: Machine, site_of: Callable[..., Site], tmp_path: Path) -> None:
    work.write("second")
    work.commit()
    work.git("clone", "--quiet", "--depth=1", f"file://{work.path}", str(tmp_path / "clone"))
    tree = sync(site_of(Worktree(tmp_path / "clone"), machine))
    assert (Path(tree.path) / "second").read_text() == "x\n"


def test_s13_names_of_any_bytes_are_the_same_on_the_host(work: Worktree, site: Site) -> None:
    names = [b"a\nb", b"-rf", b"\xff\xfe", b"n" * 255, b"space ", b"'q\"", b"$(id)", b"*", b"\\", b"\x01"]
    for name in names:
        work.write(name, name)
    tree = sync(site)
    arrived = files(tree.path)
    assert {name: arrived[name][1] for name in names} == {name: name for name in names}


def test_bytes_are_not_changed_by_attributes_of_the_tree(work: Worktree, site: Site) -> None:
    work.write(".gitattributes", "* ident\n*.sql filter=none\n")
    work.write("id.c", "$Id$\n")
    work.write("mixed.txt", b"a\r\nb\n")
    work.commit()
    work.write(".gitattributes", "* text eol=crlf ident\n*.utf working-tree-encoding=UTF-16\n")
    tree = sync(site)
    blob = subprocess.run(
        ["git", "-C", str(work.path), "cat-file", "blob", f"{tree.source.tree}:id.c"],
        capture_output=True,
        check=True,
    ).stdout
    assert (Path(tree.path) / "id.c").read_bytes() == blob


def test_s11_a_touched_file_is_no_change(work: Worktree, site: Site, machine: Machine) -> None:
    before = sync(site)
    for path in work.path.rglob("*"):
        if ".git" not in path.parts:
            os.utime(path, (2, 2))
    machine.sent = 0
    assert sync(site) == before
    assert machine.sent == 0


def test_s10_what_is_sent_is_what_was_named(work: Worktree, site: Site) -> None:
    work.write("README", "first\n")
    source = snapshot(work.path)
    work.write("README", "second, while it is sent\n")
    git.find(SPEC, source, site)
    tree = git.make(SPEC, source, site)
    assert (Path(tree.path) / "README").read_text() == "first\n"
    assert snapshot(work.path).tree != source.tree


def test_i07_a_secret_stays_here_and_is_named(work: Worktree, site: Site, events: list[Event]) -> None:
    work.write(".env", "PASSWORD=x\n")
    tree = sync(site)
    assert not (Path(tree.path) / ".env").exists()
    (told,) = [event.text for event in events if event.what == What.WARN]
    assert told.startswith("'.env' is or holds a secret and stays here")


def test_a_pipe_or_socket_in_the_source_is_told(work: Worktree, site: Site, events: list[Event]) -> None:
    work.write(".gitignore", ".pipeline/\nignored\n")
    for name in ("pipe", "ignored", ".git/pipe"):
        os.mkfifo(work.path / name)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(work.path / "src/s"))
        sync(site)
    told = [event.text for event in events if event.what == What.WARN]
    assert [text.split(" is no file")[0] for text in told] == ["'pipe'", "'src/s'"]


def test_i05_nothing_is_sent_where_a_link_leads_out(work: Worktree, site: Site, machine: Machine) -> None:
    (work.path / "shadow").symlink_to("/etc/shadow")
    with pytest.raises(ConfigError, match="leads out"):
        sync(site)
    assert machine.sent == 0


def test_dirty_sources_can_be_refused(work: Worktree, site: Site) -> None:
    spec = dataclasses.replace(SPEC, dirty="refuse")
    assert git.find(spec, snapshot(work.path), site).artifact is None
    work.write("README", "dirty\n")
    with pytest.raises(ConfigError, match="commits only"):
        git.find(spec, snapshot(work.path), site)


def test_only_the_last_five_trees_stay(work: Worktree, site: Site, machine: Machine) -> None:
    trees = []
    for number in range(7):
        work.write("number", f"{number}\n")
        trees.append(sync(site).source.tree)
        os.utime(Path(machine.state) / "probe/trees" / trees[-1], (number + 1, number + 1))
    work.write("number", "last\n")
    trees.append(sync(site).source.tree)
    assert {path.name for path in (Path(machine.state) / "probe/trees").iterdir()} == set(trees[-5:])
    refs = subprocess.run(
        ["git", f"--git-dir={machine.state}/probe/source.git", "for-each-ref", "--format=%(objectname)"],
        capture_output=True,
        check=True,
    )
    assert set(refs.stdout.decode().split()) == set(trees[-5:])


@pytest.mark.parametrize("where", ["trees/.new/tree/half", "trees/.old/half", "source.git/objects/pack/tmp_pack_x", "source.git/a.lock"])
def test_s08_what_a_killed_sync_left_is_gone_after_the_next(work: Worktree, site: Site, machine: Machine, where: str) -> None:
    sync(site)
    stale = Path(machine.state) / "probe" / where
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("half")
    work.write("README", "next\n")
    tree = sync(site)
    assert files(tree.path)[b"README"][1] == b"next\n"
    assert left_overs(machine) == []


def test_s08_killed_at_any_moment_the_next_sync_gives_what_a_fresh_one_gives(work: Worktree, site: Site, machine: Machine) -> None:
    work.write("big", os.urandom(300_000))
    source = snapshot(work.path)

    def killed(cmd: Cmd, delay: float, half: bool) -> Output:
        process = subprocess.Popen(
            cmd.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={"PATH": machine.path}, start_new_session=True
        )
        assert process.stdin is not None
        process.stdin.write(cmd.stdin[: len(cmd.stdin) // 2] if half else cmd.stdin)
        process.stdin.flush()
        time.sleep(delay)
        os.killpg(process.pid, 9)
        process.wait()
        process.stdin.close()
        raise Transient("the connection is gone")

    trees = Path(machine.state) / "probe/trees"
    moments = [(0.03, True), (0.002, False), (0.01, False), (0.02, False), (0.03, False), (0.04, False)]
    machine.on(lambda cmd: "receive" in cmd.argv, lambda cmd: killed(cmd, *moments.pop(0)) if moments else machine._here(cmd))
    for _ in range(len(moments)):
        with contextlib.suppress(Transient):
            git.make(SPEC, source, site)
            assert any(trees.glob("[0-9a-f]*")), "it ends without being killed only where it is there"
        for published in trees.glob("[0-9a-f]*"):
            assert files(published)[b"big"] == files(work.path)[b"big"], "a tree that is there is whole"
    moments.clear()
    tree = sync(site)
    assert files(tree.path)[b"big"] == files(work.path)[b"big"]
    work.write("README", "next\n")  # what was killed just after it had published is swept by the next one that acts
    sync(site)
    assert left_overs(machine) == []
    assert list((work.path / ".pipeline/sync").iterdir()) == []


def test_s09_two_syncs_to_one_folder_do_not_mix(work: Worktree, machine: Machine, site_of: Callable[..., Site], tmp_path: Path) -> None:
    other = Worktree(tmp_path / "other")
    other.write("README", "other\n")
    other.commit()
    sites = [site_of(work, machine), site_of(other, machine)]
    barrier = threading.Barrier(2)
    trees: dict[int, Tree] = {}

    def one(number: int) -> None:
        barrier.wait()
        trees[number] = sync(sites[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(trees[0].path)[b"README"][1] == b"hello\n"
    assert files(trees[1].path) == {b"README": (0o100000, b"other\n")}


@pytest.mark.parametrize("clones", [1, 2])
def test_s09_two_syncs_of_one_tree_side_by_side_end_well(work: Worktree, tmp_path: Path, site_of: Callable[..., Site], clones: int) -> None:
    """Over SSH, each with its own connection, the pack as a file; from one clone and from two."""
    work.write("big", os.urandom(1_500_000))
    work.commit()
    other = work
    if clones == 2:
        work.git("clone", "--quiet", str(work.path), str(tmp_path / "second"))
        other = Worktree(tmp_path / "second")
    with Sshd(tmp_path).running() as sshd:
        for turn in range(3):
            hosts = [sshd.host(state=str(tmp_path / f"state{turn}")) for _ in range(2)]
            sites = [site_of(where, host) for where, host in zip((work, other), hosts, strict=True)]
            sources = [snapshot(site.root) for site in sites]
            assert [git.find(SPEC, source, site).artifact for source, site in zip(sources, sites, strict=True)] == [None, None]
            works = [functools.partial(git.make, SPEC, source, site) for source, site in zip(sources, sites, strict=True)]
            assert at_once(works) == [None, None]
            tree = git.find(SPEC, sources[0], sites[0]).artifact
            assert isinstance(tree, Tree)
            assert files(tree.path)[b"big"] == files(work.path)[b"big"]
            assert not list((tmp_path / f"state{turn}/probe/incoming").iterdir())
            assert not list((work.path / ".pipeline/sync").iterdir())
            for host in hosts:
                host.close()


def test_s09_a_held_lock_names_its_holder(site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "PATIENCE", 0)
    base = Path(machine.state) / "probe"
    base.mkdir(parents=True)
    (base / "lock.holder").write_text("anna@laptop\n")
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Locked) as caught:
            git.make(SPEC, snapshot(site.root), site)
    assert caught.value.cause == "held by anna@laptop"
    sync(site)


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("small_disk", ["size=1m", "size=64m,nr_inodes=120"], indirect=True)
def test_s07_a_full_disk_is_told_with_what_is_left(
    work: Worktree, small_disk: Path, site_of: Callable[..., Site], request: pytest.FixtureRequest
) -> None:
    for number in range(150):
        work.write(f"many/{number}", os.urandom(5_000) if "size=1m" in request.node.name else b"")
    site = site_of(work, Machine(small_disk / "state"))
    with pytest.raises(ResourceError) as caught:
        sync(site)
    assert "the disk of builder is full" in caught.value.what
    assert ("MiB left" in caught.value.what) == ("size=1m" in request.node.name)
    assert "nix store gc" in caught.value.mend
    assert not list((small_disk / "state/probe/trees").glob("*"))


def test_git_is_not_installed_on_the_host(site: Site, machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    machine.path = str(tmp_path / "bin")
    with pytest.raises(ConfigError, match="git is not installed on builder") as caught:
        sync(site)
    assert "apk add git" in caught.value.mend


def test_a_host_that_lost_objects_gets_everything(work: Worktree, site: Site, machine: Machine, events: list[Event]) -> None:
    sync(site)
    for pack in (Path(machine.state) / "probe/source.git/objects/pack").iterdir():
        pack.unlink()
    work.write("README", "next\n")
    tree = sync(site)
    assert files(tree.path)[b"README"][1] == b"next\n"
    assert any("lacks objects" in event.text for event in events if event.what == What.WARN)


def test_files_that_are_not_the_tree_are_not_published(site: Site, machine: Machine, tmp_path: Path) -> None:
    real = subprocess.run(["which", "git"], capture_output=True, check=True).stdout.decode().strip()
    tools = tmp_path / "lying"
    tools.mkdir()
    (tools / "git").write_text(f'#!/bin/sh\ncase "$*" in *checkout-index*) {real} "$@"; echo bad >README ;; *) exec {real} "$@" ;; esac\n')
    (tools / "git").chmod(0o755)
    machine.path = f"{tools}:{machine.path}"
    with pytest.raises(IntegrityError, match="are not tree"):
        sync(site)
    assert not list((Path(machine.state) / "probe/trees").glob("*"))


def test_a_tree_from_before_a_restart_is_written_again(work: Worktree, site: Site, machine: Machine) -> None:
    """A power cut can leave empty files under good names: the folder is only trusted within the boot that wrote it."""
    tree = sync(site)
    (Path(tree.path) / "README").write_text("")
    (Path(machine.state) / "probe/boots" / tree.source.tree).write_text("another boot\n")
    machine.sent = 0
    assert git.find(SPEC, tree.source, site).artifact is None
    assert sync(site) == tree
    assert (Path(tree.path) / "README").read_text() == "hello\n"
    assert machine.sent < 100
    assert left_overs(machine) == []


def test_a_large_pack_goes_as_a_file_and_keeps_its_name_until_it_is_there(
    work: Worktree, site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S03: an upload can only be resumed where the next attempt has the same bytes under the same name."""
    work.write("big", os.urandom(1_500_000))
    source = snapshot(work.path)
    put = machine.put
    seen: list[tuple[str, bytes]] = []

    def broken(pack: Path, target: str) -> None:
        seen.append((target, pack.read_bytes()))
        if len(seen) == 1:
            raise Transient("reset in the middle")
        put(pack, target)

    monkeypatch.setattr(machine, "put", broken)
    with pytest.raises(Transient):
        git.make(SPEC, source, site)
    git.make(SPEC, source, site)
    assert seen[0] == seen[1]
    assert seen[0][0].startswith(f"{machine.state}/probe/incoming/")
    assert list((work.path / ".pipeline/sync").iterdir()) == []
    assert left_overs(machine) == []


def test_a_repository_with_sha256_names(tmp_path: Path, machine: Machine, site_of: Callable[..., Site]) -> None:
    work = Worktree.__new__(Worktree)
    work.path = tmp_path / "new"
    work.path.mkdir()
    work.git("init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    work.write("README")
    work.commit()
    tree = sync(site_of(work, machine))
    assert len(tree.source.tree) == 64
    assert (Path(tree.path) / "README").read_text() == "x\n"


def test_the_driver_says_what_it_takes_and_gives() -> None:
    assert (DRIVER.verb, DRIVER.name, DRIVER.takes.kind, DRIVER.gives.kind) == ("sync", "git", "source", "tree")


def test_what_must_not_travel_is_told_by_a_plan(work: Worktree, machine: Machine, site_of: Callable[..., Site]) -> None:
    work.write("id_ed25519", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{'b3BlbnNzaC1rZXk' * 4}\n")
    work.commit()
    site = site_of(work, machine)
    with pytest.raises(ConfigError, match="looks like a secret and is tracked"):
        git.rehearse(SPEC, snapshot(work.path), site)
