"""The flake's image: the same bytes for the same source, layer by layer, and a program inside that runs as nobody."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NIX = (
    *("nix", "--extra-experimental-features", "nix-command flakes"),
    *("--option", "sandbox", "false", "--option", "substituters", ""),
    *(("--option", "build-users-group", "") if os.geteuid() == 0 else ()),
)

pytestmark = pytest.mark.real


def nix(*args: str | Path) -> str:
    done = subprocess.run([*NIX, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build(flake: Path) -> Path:
    nix("build", f"path:{flake}#docker", "--out-link", flake.parent / f"{flake.name}-result")
    return (flake.parent / f"{flake.name}-result").resolve()


@dataclass
class Archive:
    """A docker-archive, read whole: these images are a few megabytes."""

    path: Path

    def __post_init__(self) -> None:
        with tarfile.open(self.path, "r:") as tar:
            self.members = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
        (self.manifest,) = json.loads(self.members["manifest.json"])
        self.config: dict[str, Any] = json.loads(self.members[self.manifest["Config"]])
        self.layers = [self.members[name] for name in self.manifest["Layers"]]


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    """A copy of what the flake needs, free to be changed."""
    copy = tmp_path / "flake"
    shutil.copytree(ROOT / "pipeline/lab/probe", copy / "pipeline/lab/probe")
    shutil.copy(ROOT / "flake.nix", copy)
    return copy


@pytest.fixture
def archive(flake: Path) -> Archive:
    return Archive(build(flake))


def test_the_same_source_gives_the_same_bytes(flake: Path, tmp_path: Path) -> None:
    first = build(flake)
    nix("build", f"path:{flake}#docker", "--no-link", "--rebuild")  # fails where a second build differs from the first
    shutil.copytree(flake, tmp_path / "elsewhere")
    (tmp_path / "elsewhere/pipeline/lab/probe/server.c").touch()
    assert build(tmp_path / "elsewhere") == first


def test_each_layer_is_bit_for_bit_the_same_when_built_again(flake: Path) -> None:
    top = nix("path-info", "--derivation", f"path:{flake}#docker")
    build(flake)
    layers = [path for path in nix("path-info", "--recursive", "--derivation", f"path:{flake}#docker").split() if "-layer-" in path]
    assert len(layers) == 4
    nix("build", "--no-link", "--rebuild", *layers, top)


def test_what_does_not_matter_does_not_change_the_image(flake: Path) -> None:
    before = build(flake)
    (flake / "README.md").write_text("new\n")
    (flake / "pipeline/lab/probe/README.md").write_text("new\n")
    assert build(flake) == before


def test_a_changed_line_changes_only_its_layer(flake: Path) -> None:
    before = Archive(build(flake))
    source = flake / "pipeline/lab/probe/server.c"
    source.write_text(source.read_text().replace("It works", "It really works"))
    after = Archive(build(flake))
    same = [a == b for a, b in zip(before.layers, after.layers, strict=True)]
    assert same == [True, True, False, True]


def test_a_changed_version_does_not_compile(flake: Path) -> None:
    before = Archive(build(flake))
    (flake / "pipeline/lab/probe/version").write_text("9.9.9\n")
    after = Archive(build(flake))
    assert [a == b for a, b in zip(before.layers, after.layers, strict=True)] == [True, True, True, False]
    assert after.config["config"]["Labels"]["org.opencontainers.image.version"] == "9.9.9"


def test_source_that_does_not_compile_fails_with_the_compilers_words(flake: Path) -> None:
    with (flake / "pipeline/lab/probe/server.c").open("a") as source:
        source.write("int broken(void) { return nothing; }\n")
    done = subprocess.run([*NIX, "build", f"path:{flake}#docker", "--no-link"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "nothing" in done.stderr


def test_the_archive_says_what_it_holds(archive: Archive) -> None:
    config = archive.config
    assert len(archive.layers) >= 4
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in archive.layers]
    assert archive.manifest["Config"] == hashlib.sha256(archive.members[archive.manifest["Config"]]).hexdigest() + ".json"
    assert next(iter(archive.members)) == "manifest.json"
    assert config["created"] == "1970-01-01T00:00:01Z"
    assert len(config["history"]) == len(archive.layers)
    assert config["config"]["Entrypoint"] == ["/bin/RunProdServer"]
    assert config["config"]["User"] == "65534:65534"
    assert list(config["config"]["ExposedPorts"]) == ["8000/tcp"]


def test_no_file_tells_when_where_or_by_whom_it_was_made(archive: Archive) -> None:
    for layer in archive.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 1)
                assert not member.mode & 0o6000, "no program may change its user"
        assert b"/nix/store" not in layer
        assert b"/tmp/nix-build" not in layer


def test_skopeo_reads_it(archive: Archive, tmp_path: Path) -> None:
    argv = ["skopeo", "inspect", f"docker-archive:{archive.path}"]
    seen = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert seen["Layers"] == archive.config["rootfs"]["diff_ids"]
    argv = ["skopeo", "--insecure-policy", "copy", "--quiet", f"docker-archive:{archive.path}", f"dir:{tmp_path / 'image'}"]
    subprocess.run(argv, capture_output=True, check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_program_runs_as_nobody_with_what_the_layers_hold(archive: Archive, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for layer in archive.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(root, filter="fully_trusted")  # noqa: S202 - built a moment ago, by us
    (root / "etc/hosts").write_text("127.0.0.1 database.test\n")  # the kubelet writes it into every container
    with socket.create_server(("127.0.0.1", 0)) as spare, socket.create_server(("127.0.0.1", 0)) as database:
        port = spare.getsockname()[1]
        spare.close()
        env = {
            "IHP_SESSION_SECRET": base64.b64encode(bytes(48)).decode(),
            "DATABASE_URL": f"postgresql://database.test:{database.getsockname()[1]}/app",
            "PORT": str(port),
            "DRAIN_SECONDS": "0",
        }
        argv = ["/usr/sbin/chroot", "--userspec=65534:65534", str(root), *archive.config["config"]["Entrypoint"]]
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
            peer, _ = database.accept()  # the name was looked up with the image's own C library
            with peer:
                peer.sendall(b"N")
                assert process.stdout
                assert "database reachable" in process.stdout.readline()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    assert json.load(answer)["version"] == (ROOT / "pipeline/lab/probe/version").read_text().strip()
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
