from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Source, Tree
from pipeline.events import Event
from pipeline.host.local import LocalHost
from pipeline.records import Records
from pipeline.stage import Site

# as much of nix as build.sh asks for; what it builds, and how it ends, lies in files beside it
NIX = """#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/calls"
case " $* " in
*" build "*)
	for word; do [ "$previous" != --out-link ] || link=$word; previous=$word; done
	[ ! -e "$here/log" ] || cat "$here/log" >&2
	[ ! -e "$here/gate" ] || read -r _ <"$here/gate"
	[ ! -e "$here/code" ] || exit "$(cat "$here/code")"
	case " $* " in *" --repair "*) cp -r "$here/whole" "$here/output" ;; esac
	ln -sfn "$here/output" "$link"
	echo '[{"drvPath":"/nix/store/10gx0gl0q9s3zi31simcqdahh4asvj5d-probe.tar.drv","outputs":{"out":"x"}}]'
	;;
*" path-info "*)
	[ ! -e "$here/reading" ] || read -r _ <"$here/reading"
	echo '[{"path":"x","narHash":"sha256-abc=","narSize":1}]'
	;;
*" verify "*) [ ! -e "$here/damaged" ] ;;
*" store gc "*)
	[ ! -e "$here/code" ] || exit "$(cat "$here/code")"
	echo "7 store paths deleted, 12.50 MiB freed" >&2
	;;
*" eval "*) echo '{"x86_64-linux":["default","docker"]}' ;;
esac
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of the stand-in for nix: put an image into `output`."""
    folder = tmp_path / "nix"
    folder.mkdir()
    (folder / "nix").write_text(NIX)
    (folder / "nix").chmod(0o755)
    return folder


@pytest.fixture(params=["sh", "busybox"])
def host(tmp_path: Path, store: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    """A build host: this machine, once with busybox for its shell and tools, as on Alpine."""
    path = os.environ["PATH"]
    if request.param == "busybox":
        program = shutil.which("busybox")
        if not program:
            pytest.skip("busybox is not installed")
        tools = tmp_path / "busybox"
        tools.mkdir()
        for applet in subprocess.run([program, "--list"], capture_output=True, check=True).stdout.decode().split():
            (tools / applet).symlink_to(program)
        path = f"{tools}:{path}"
    monkeypatch.setenv("PATH", f"{store}:{path}")
    return LocalHost("builder", str(tmp_path / "state"))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def site(tmp_path: Path, host: LocalHost, events: list[Event]) -> Iterator[Site]:
    records = Records(tmp_path / "records.db")
    yield Site(
        app="probe",
        root=tmp_path / "work",
        hosts={"builder": host},
        remotes={},
        registries={},
        clusters={},
        tools={},
        values={},
        records=records,
        sink=events.append,
    )
    records.close()


@pytest.fixture
def tree(host: LocalHost) -> Tree:
    source = Source("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "1b5d1c6e0a0c9f0e8c0f1a2b3c4d5e6f70819203", False, "/src")
    return Tree(source, "builder", f"{host.state}/probe/trees/{source.tree}")
