"""The cgroups of the lab's containers: runc makes them outside every namespace, so a killed node leaves them behind."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.lab.layout import Lab

BASE = Path("/sys/fs/cgroup")
PARENT = "k8s.io"  # containerd's name for what the kubelet asks of it; shared with any other containerd of this machine
OWN = "pipeline-lab-{}"  # of what BuildKit and Docker run


def containers(lab: Lab) -> set[str]:
    """The numbers of all containers and sandboxes the lab's containerd knows, read from its folders: it need not run."""
    home = lab.state / "containerd"
    places = (
        "root/io.containerd.grpc.v1.cri/sandboxes", "root/io.containerd.grpc.v1.cri/containers",
        "state/io.containerd.runtime.v2.task/k8s.io", "root/io.containerd.runtime.v2.task/k8s.io",
    )  # fmt: skip
    return {path.name for place in places if (home / place).is_dir() for path in (home / place).iterdir()}


def folders(lab: Lab) -> list[Path]:
    """Their cgroups in every hierarchy: one on cgroup v2, one per controller on v1; the innermost first."""
    parents = [path / PARENT for path in (BASE, *BASE.glob("*/")) if (path / PARENT).is_dir()]
    tops = [parent / name for parent in parents for name in containers(lab) if (parent / name).is_dir()]
    tops += [path / OWN.format(lab.id) for path in (BASE, *BASE.glob("*/")) if (path / OWN.format(lab.id)).is_dir()]
    return [path for top in tops for path in (*sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)), top)]


def members(lab: Lab) -> list[int]:
    """The processes in them."""
    found: set[int] = set()
    for folder in folders(lab):
        with contextlib.suppress(OSError):
            found |= {int(word) for word in (folder / "cgroup.procs").read_text().split()}
    return sorted(found - {0})


def remove(lab: Lab) -> None:
    """Remove them; one that still has a process stays. Call it when the node does not run."""
    found = folders(lab)
    for folder in found:
        for _ in range(20):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)
    for parent in {folder.parent for folder in found if folder.parent.name == PARENT}:
        with contextlib.suppress(OSError):  # another containerd has something in it
            parent.rmdir()
