"""Hosts on real parts: the lab's build host, and disks that are really full (needs root)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ResourceError
from pipeline.host import Address, Cmd, Host
from pipeline.host.job import Job, log_path, run_detached, state
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from tests.sshd import Sshd

pytestmark = pytest.mark.real


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "local":
        yield LocalHost(state=str(tmp_path / "state"))
        return
    with Sshd(tmp_path).running() as sshd:
        host = sshd.host()
        yield host
        host.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(("/bin/mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)), check=True)
    yield folder
    subprocess.run(("/bin/umount", "-l", str(folder)), check=True)


def test_put_onto_a_full_disk_gives_the_numbers_and_leaves_nothing(host: Host, small: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(5_000_000))
    with pytest.raises(ResourceError) as caught:
        host.put(source, str(small / "target"))
    assert "5,000,000 bytes are needed" in caught.value.cause
    assert "1,048,576 are free" in caught.value.cause
    assert str(small) in caught.value.mend
    assert list(small.iterdir()) == []


def test_a_job_that_fills_the_disk_still_has_its_end(host: Host, small: Path) -> None:
    host.state = str(small / "state")
    lines: list[str] = []
    code = run_detached(host, Job("filler", ("sh", "-c", "yes | head -c 3000000; exit 7")), lines.append)
    assert code == 7
    assert Path(log_path(host, "filler", ended=True)).stat().st_size > 500_000


def test_a_job_that_cannot_be_written_down_is_refused(host: Host, small: Path) -> None:
    (small / "fill").write_bytes(bytes(1 << 20))
    host.state = str(small / "state")
    with pytest.raises(ResourceError, match="could not be started"):
        run_detached(host, Job("refused", ("true",)), lambda _line: None)


def test_the_labs_build_host(lab: Site, tmp_path: Path) -> None:
    host = lab.host("haskelseed")
    assert host.run(Cmd(("nix", "--version"))).text.startswith("nix (Nix)")
    source = tmp_path / "file"
    source.write_bytes(os.urandom(1_000_000))
    host.put(source, f"{host.state}/test-of-put")
    assert host.run(Cmd(("sha256sum", f"{host.state}/test-of-put"))).ok
    host.run(Cmd(("rm", "--", f"{host.state}/test-of-put")))
    name = f"test.{time.monotonic_ns()}"
    lines: list[str] = []
    assert run_detached(host, Job(name, ("sh", "-c", "echo here; exit 5")), lines.append) == 5
    assert lines == ["here"]
    assert state(host, name).phase == "absent"
    with host.forward(Address("127.0.0.1", 1)) as address:
        assert address.host == "127.0.0.1"
