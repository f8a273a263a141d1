"""Take a lab down: kill its three machines, then look for whatever an interrupted start may have left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import cgroups, layout, network, packages
from pipeline.lab.machine import end, machines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.lab.layout import Lab


def down(root: Path, say: Callable[[str], None]) -> None:
    """See `pipeline.lab.down`."""
    name = layout.identity(root)
    lab = layout.load(root) or layout.Lab(name, str(root), str(layout.POOL), 0, 0, 0, 0)
    for machine in machines(lab):
        machine.kill()
    strays(lab)
    with layout.flocked(lab.state, wait=60) if lab.state.exists() else contextlib.nullcontext():
        strays(lab)
        network.disconnect(lab)
        cgroups.remove(lab)
        packages.clean()
        roots(lab)
        remove(lab.state)
    pointer = root.resolve() / ".pipeline" / "lab" / "site.yml"
    pointer.unlink(missing_ok=True)
    for folder in (pointer.parent, pointer.parent.parent, layout.HOME):
        with contextlib.suppress(OSError):  # not empty: somebody else's things are in there
            folder.rmdir()
    say("the lab is down")


def strays(lab: Lab) -> None:
    """Kill every process that carries the lab's mark in its environment, or sits in a cgroup of its containers."""
    for _ in range(50):
        found = [*marked(lab), *cgroups.members(lab)]
        if not found:
            return
        for pid in found:
            end(pid, signal.SIGKILL, 2)
    raise PipelineError(f"processes of the lab {lab.id} cannot be ended", cause=" ".join(map(str, found)), mend="look at them with ps")


def marked(lab: Lab) -> list[int]:
    """The processes with the lab's mark, other than this one and those it was started by."""
    mark = f"PIPELINE_LAB={lab.id}".encode()
    mine, pid = set(), os.getpid()
    while pid:
        mine.add(pid)
        pid = _parent(pid)
    return [pid for pid in _processes() if pid not in mine and mark in _environment(pid)]


def roots(lab: Lab) -> None:
    """Remove nix's links to results that lay in the lab, so that its store can be collected."""
    with contextlib.suppress(OSError):
        for link in Path("/nix/var/nix/gcroots/auto").iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(lab.state):
                link.unlink()


def remove(state: Path) -> None:
    """Remove the state folder; the kernel may need a moment until the machines' mounts are gone. Raises PipelineError."""
    for _ in range(40):
        shutil.rmtree(state, ignore_errors=True)
        if not state.exists():
            return
        time.sleep(0.1)
    left = [str(path) for path in state.rglob("*")][:5]
    raise PipelineError(f"{state} could not be removed", cause="\n".join(left), mend=f"see what holds it: fuser -vm {state}")


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
