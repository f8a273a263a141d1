"""The difference between a tree and those a host has, as one git pack."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.source.repository import Repository, environment, refusal

KEPT = 24 * 3600.0  # seconds: a pack left by a run that was killed serves its next attempt, not next week's


@contextlib.contextmanager
def packed(repository: Repository, tree: str, have: Sequence[str], folder: Path, *, keep_from: int) -> Iterator[Path]:
    """A file with all objects of `tree` that the trees `have` lack; deltas are taken against those.

    A pack of `keep_from` bytes or more stays under one name until it was sent, so that an upload that broke goes on where it stopped:
    two packs of the same objects need not be the same bytes. Each run has it as a link of its own, which another that has sent it
    does not take away. Raises ConfigError or ResourceError if git cannot.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _forget_old(folder)
    name = hashlib.sha256("\n".join([tree, *sorted(have)]).encode()).hexdigest()[:24]
    kept = folder / f"{name}.pack"
    with tempfile.TemporaryDirectory(prefix="run-", dir=folder) as own:
        pack = Path(own) / kept.name
        try:
            os.link(kept, pack)
        except OSError:  # there is none, or no links here
            with pack.open("wb") as file:
                _write(repository, tree, have, file.fileno())
            if pack.stat().st_size >= keep_from:
                with contextlib.suppress(OSError):
                    os.link(pack, kept)
        yield pack
    kept.unlink(missing_ok=True)


def _write(repository: Repository, tree: str, have: Sequence[str], target: int) -> None:
    # a have that is not known here cannot be subtracted, and is left out
    wanted = "".join([f"{tree}\n", *(f"^{other}\n" for other in have)]).encode()
    objects = repository.run("rev-list", "--objects", "--ignore-missing", "--stdin", stdin=wanted)
    # "-ID" names a tree that deltas may be taken from though it is not sent
    lines = b"".join(f"-{other}\n".encode() for other in _known(repository, have)) + objects
    done = subprocess.run(
        repository.argv("pack-objects", "--stdout", "-q", "--delta-base-offset"),
        input=lines,
        stdout=target,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    if done.returncode:
        raise refusal(done.stderr.decode(errors="replace"), repository.path)


def _known(repository: Repository, have: Sequence[str]) -> list[str]:
    if not have:
        return []
    answer = repository.run("cat-file", "--batch-check", stdin="".join(f"{other}\n" for other in have).encode())
    return [other for other, line in zip(have, answer.splitlines(), strict=True) if not line.endswith(b"missing")]


def _forget_old(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
