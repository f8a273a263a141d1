"""The build host: what its script prints under each shell, and what is read from it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.build.nix import Nix
from pipeline.doctor import build_host
from pipeline.doctor.build_host import Disk, Seen, clock, disks, read, script, skopeo_version, tools
from pipeline.errors import Transient
from pipeline.host import Cmd, Output
from pipeline.testing import FakeHost

from .parts import SHELLS, by_name, program, site

SHOW_CONFIG = """case "$*" in
*"config show"*) exit 1 ;;
*show-config*) printf 'cores = 2\\nexperimental-features = flakes nix-command\\nsandbox = true\\nsandbox-fallback = true\\n' ;;
*"store ping"*) echo "error: cannot connect to daemon" >&2; exit 1 ;;
*--version*) echo "nix (Nix) 2.8.0" ;;
esac"""


def seen(**facts: str) -> Seen:
    return Seen(facts, frozenset(), {}, (), ())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_tells_what_is_there(shell: tuple[str, ...], tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    program(bin_, "nix", SHOW_CONFIG)
    program(bin_, "skopeo", "echo skopeo version 1.9.3")
    library = tmp_path / "store/abc-ghc-9.10.3/lib/deep/libHSghc-9.10.3-1f2e.a"
    library.parent.mkdir(parents=True)
    with library.open("wb") as file:
        file.truncate(287_686_318)
    library.with_name("libHSghc-9.10.3-1f2e_p.a").write_bytes(b"profiled")
    (tmp_path / "store/abc-ghc-9.10.3.drv").write_text("")
    words = (str(tmp_path / "not/made/yet"), str(tmp_path / "store"), "9.10.3", "skopeo", "sed", "no-such-tool")
    before = time.time()
    done = subprocess.run(
        [*shell, "-c", script("build_host"), "look", *words],
        capture_output=True,
        env={"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        check=False,
    )
    assert done.stderr == b""
    found = read(done.stdout.decode())
    assert int(before) <= found.number("now") <= time.time()
    assert found.facts["nix"] == "nix (Nix) 2.8.0"
    assert found.facts["skopeo"] == "skopeo version 1.9.3"
    assert found.facts["state"] == f"writable {tmp_path}"
    assert found.lacks == {"no-such-tool"}
    assert found.settings == {"cores": "2", "experimental-features": "flakes nix-command", "sandbox": "true"}
    assert found.store_said == ("error: cannot connect to daemon",)
    assert found.archives == ((287_686_318, str(library)),)
    assert [disk.path for disk in found.disks] == [str(tmp_path), str(tmp_path / "store")]
    assert all(disk.free > 0 for disk in found.disks)
    assert found.number("memory") > 100_000
    assert found.number("cpus") > 0


def test_an_empty_answer_is_read_as_nothing_known() -> None:
    found = read("")
    assert found.number("memory") == 0
    assert found.disks == ()


def test_a_host_that_cannot_be_reached_raises_what_it_says(tmp_path: Path) -> None:
    host = FakeHost("seed").on(("sh",), Transient("no route"))
    with site(tmp_path, hosts={"seed": host}) as there, pytest.raises(Transient, match="no route"):
        list(build_host.look("seed", None, there))


def test_one_command_gives_every_verdict(tmp_path: Path) -> None:
    answer = f"now {int(time.time())}\nsystem Linux x86_64\ncpus 2\nmemory 3984588\nhas git\nnix nix (Nix) 2.34.5\n"
    answer += "skopeo skopeo version 1.18.0\nstate writable /nix\n"
    answer += "disk 52428800 900000 1000000 /nix/store\ndisk 52428800 0 0 /nix\narchive 287686318 /nix/store/x-ghc/lib/l.a\n"
    host = FakeHost("seed").on(("sh",), Output(0, answer.encode()))
    with site(tmp_path, hosts={"seed": host}) as there:
        found = by_name(list(build_host.look("seed", Nix("seed", env={"GHCRTS": "-A32m -M2g"}), there)))
    assert len(host.calls) == 1
    assert isinstance(host.calls[0], Cmd)
    assert {name for name, verdict in found.items() if verdict.status != "ok"} == {"ghc 9.10.3"}
    assert found["memory"].evidence == "3.8 GiB for 1 job of at most 2.0 GiB"
    assert "inodes" not in found["disk state"].evidence


@pytest.mark.parametrize(("there", "status"), [(1000, "ok"), (1002, "ok"), (1020, "warn"), (970, "warn"), (1400, "fail"), (0, "fail")])
def test_clocks_are_compared_with_the_question_s_own_time(there: int, status: str) -> None:
    verdict = clock("seed", there, 1000.4, 1001.2)
    assert verdict.status == status
    assert ("behind" in verdict.evidence) == (there < 1000)


@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        ("skopeo version 1.9.3", "ok", "decompresses them first"),
        ("skopeo version 1.13.3-dev commit: ab", "ok", "1.13.3"),
        ("skopeo version 1.5.2", "fail", "too old"),
        ("", "fail", "not installed"),
    ],
)
def test_skopeo_by_its_version(said: str, status: str, word: str) -> None:
    verdict = skopeo_version("seed", said)
    assert verdict.status == status
    assert word in verdict.evidence
    assert ("apk add skopeo" in verdict.mend) == (status == "fail")


def test_each_tool_that_is_missing_comes_with_the_command_that_installs_it() -> None:
    found = by_name(list(tools("seed", "seed", Seen({"skopeo": "1.18.0"}, frozenset({"git", "flock"}), {}, (), ()))))
    assert (found["git"].status, found["git"].code) == ("fail", 2)
    assert "apk add git" in found["git"].mend
    assert found["flock"].status == "warn"
    assert "tools" not in found


@pytest.mark.parametrize(
    ("free", "inodes", "status"),
    [(50 << 30, (900_000, 1_000_000), "ok"), (5 << 30, (900_000, 1_000_000), "warn"), (1 << 30, (900_000, 1_000_000), "fail"),
     (50 << 30, (500, 1_000_000), "fail"), (50 << 30, (50_000, 1_000_000), "warn"), (50 << 30, (0, 0), "ok")],
)  # fmt: skip
def test_a_full_disk_is_seen_in_bytes_and_in_inodes(free: int, inodes: tuple[int, int], status: str) -> None:
    there = Seen({"state": "writable /nix"}, frozenset(), {}, (Disk("/nix/store", free, *inodes),), ())
    (verdict,) = disks("seed", "seed", "/nix/pipeline", there)
    assert verdict.status == status
    if status == "fail":
        assert verdict.code == 19
        assert "nix store gc" in verdict.mend


def test_a_state_folder_that_cannot_be_written_is_told() -> None:
    (verdict,) = disks("seed", "seed", "/nix/pipeline", seen(state="closed /nix"))
    assert (verdict.name, verdict.status) == ("state", "fail")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_way_out_of_the_host_is_told_without_its_login(shell: tuple[str, ...], tmp_path: Path) -> None:
    program(tmp_path / "bin", "systemctl", "echo 'Environment=https_proxy=http://bob:canary@daemon.example:3128 NIX_SSL_CERT_FILE=/d.pem'")
    words = (str(tmp_path), str(tmp_path), "9.10.3", "skopeo")
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "https_proxy": "http://anna:canary@proxy.example:3128",
        "NO_PROXY": ".lan", "EMPTY": "",
    }  # fmt: skip
    done = subprocess.run([*shell, "-c", script("build_host"), "look", *words], capture_output=True, env=env, check=False)
    found = read(done.stdout.decode())
    assert set(found.way) == {"https_proxy=http://proxy.example:3128", "NO_PROXY=.lan"}
    verdict = build_host.proxies("builder", found, Nix("builder", env={"all_proxy": "http://eve:canary@other:1", "GHCRTS": "-M2g"}))
    assert "by the login there: " in verdict.evidence
    assert "by the blueprint: all_proxy=http://other:1" in verdict.evidence
    assert "builds: https_proxy=http://daemon.example:3128 NIX_SSL_CERT_FILE=/d.pem" in verdict.evidence
    assert "canary" not in done.stdout.decode() + verdict.evidence
