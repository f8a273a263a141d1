"""Names, networks and ports of a lab: pure choices."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import Locked, ResourceError
from pipeline.lab import layout

LISTEN = "   0: {where}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"


def lab() -> layout.Lab:
    return layout.Lab("0123abcd", "/srv/app", "10.211.7.8/30", 2201, 30022, 32166, 5432)


def test_addresses_come_from_the_network() -> None:
    assert (lab().host, lab().address) == ("10.211.7.9", "10.211.7.10")
    assert lab().registry_address == "10.211.7.9:32166"


def test_names_fit_the_kernel() -> None:
    assert len(lab().interface) <= 15
    assert len(str(lab().state / "containerd" / "containerd.sock")) < 100


def test_the_same_copy_is_the_same_lab_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    assert layout.identity(tmp_path / "copy") == layout.identity(tmp_path / "link")
    assert layout.identity(tmp_path) != layout.identity(tmp_path / "copy")


def test_networks_do_not_overlap_what_is_there() -> None:
    first = layout.free_network("0", [])
    second = layout.free_network("0", [first])
    assert first == "10.211.0.0/30"
    assert second == "10.211.0.4/30"
    assert layout.free_network("0", ["10.211.0.0/17", "fe80::/64"]) == "10.211.128.0/30"


def test_a_full_pool_is_said() -> None:
    with pytest.raises(ResourceError, match="no free network"):
        layout.free_network("0", ["10.0.0.0/8"])


def test_the_preferred_port_or_the_next() -> None:
    assert layout.free_port(32166, set()) == 32166
    assert layout.free_port(32166, {32166, 32167}) == 32168
    with pytest.raises(ResourceError, match="no free port"):
        layout.free_port(10, set(range(300)))


def test_only_listeners_on_the_same_or_every_address_are_in_the_way() -> None:
    table = "  sl  local_address rem_address   st\n"
    table += LISTEN.format(where="00000000", port=1)  # everywhere
    table += LISTEN.format(where="0907D30A", port=2)  # 10.211.7.9
    table += LISTEN.format(where="0100007F", port=3)  # loopback
    table += LISTEN.format(where="0907D30A", port=4).replace(" 0A ", " 06 ")  # TIME_WAIT
    six = LISTEN.format(where="0" * 32, port=5)
    assert layout.listening("10.211.7.9", table, six) == {1, 2, 5}


def test_a_half_written_lab_is_no_lab(tmp_path: Path) -> None:
    assert layout.read(tmp_path) is None
    (tmp_path / "lab.json").write_text('{"id": "x"')
    assert layout.read(tmp_path) is None
    (tmp_path / "lab.json").write_text('{"id": "x"}')
    assert layout.read(tmp_path) is None


def test_a_folder_is_a_lock(tmp_path: Path) -> None:
    told: list[str] = []
    with layout.flocked(tmp_path), pytest.raises(Locked, match="another process"):
        _hold(tmp_path, told)
    assert told == ["waiting"]
    with layout.flocked(tmp_path, wait=0):
        pass


def _hold(folder: Path, told: list[str]) -> None:
    with layout.flocked(folder, wait=0.3, waiting=lambda: told.append("waiting")):
        pass


def test_a_lock_waits_for_its_turn(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with layout.flocked(tmp_path, wait=10):
            order.append("second")

    thread = threading.Thread(target=second)
    with layout.flocked(tmp_path):
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_write_is_whole_and_private(tmp_path: Path) -> None:
    path = layout.write(tmp_path / "secret", "x", 0o600)
    assert path.read_text() == "x"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["secret"]


def test_routes_but_the_default_one() -> None:
    table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    table += "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    table += "pl-0\t0407D30A\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0\n"
    assert layout.routes(table) == ["10.211.7.4/255.255.255.252"]
    assert layout.free_network(f"{(7 * 256 + 4) // 4:x}", layout.routes(table)) == "10.211.7.8/30"
