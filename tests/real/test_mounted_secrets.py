"""Secrets that a container gets by a mount of its own, in a mount namespace as containers have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
ASK = """
import sys
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.secrets import Secrets
try:
    print(Secrets({}).get(f"file:{sys.argv[1]}").reveal())
except PipelineError as error:
    print(error.what, "|", error.mend)
"""
# as the kubelet lays a volume out: files are links through ..data, mode 0444, of root
VOLUME = """
mount -t tmpfs none "$1/at"
mkdir "$1/at/..2026_12_01" && echo from-a-mount >"$1/at/..2026_12_01/token" && chmod "$2" "$1/at/..2026_12_01/token"
ln -s ..2026_12_01 "$1/at/..data" && ln -s ..data/token "$1/at/token"
mount -o remount,"$3" "$1/at"
"""
# as Docker and a subPath give one file
FILE = """
echo from-a-mount >"$1/at/token" && chmod "$2" "$1/at/token"
mount --bind "$1/at/token" "$1/at/token" && mount -o remount,bind,"$3" "$1/at/token"
"""
PLAIN = """
mount -t tmpfs none "$1/at" && echo from-a-mount >"$1/at/token" && chmod "$2" "$1/at/token"
mount -o remount,"$3" "$1/at"
"""


def read(folder: Path, layout: str, mode: str, way: str) -> str:
    (folder / "at").mkdir()
    script = f'set -e\n{layout}\nexec "$4" -c "$5" "$1/at/token"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), mode, way, sys.executable, ASK]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("layout", [VOLUME, FILE], ids=["volume", "file"])
@pytest.mark.parametrize("mode", ["0444", "0644", "0400"])
def test_a_mounted_secret_is_taken_whatever_its_mode(tmp_path: Path, layout: str, mode: str) -> None:
    assert read(tmp_path, layout, mode, "ro") == "from-a-mount"


@pytest.mark.parametrize(
    ("layout", "way", "mend"),
    [(VOLUME, "rw", "chmod 600"), (FILE, "rw", "chmod 600"), (PLAIN, "ro", "with mode 600"), (PLAIN, "rw", "chmod 600")],
    ids=["volume that can be written", "file that can be written", "folder that is read-only to all", "folder"],
)
def test_what_others_on_the_machine_may_read_is_refused(tmp_path: Path, layout: str, way: str, mend: str) -> None:
    said = read(tmp_path, layout, "0444", way)
    assert "can be read by others" in said
    assert mend in said
