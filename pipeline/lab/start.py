"""Bring a lab up: everything that can overlap does, and what runs already is only looked at."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.lab import (
    base,
    cgroups,
    cluster,
    database,
    dns,
    engine,
    flux,
    gitea,
    hub,
    keys,
    layout,
    network,
    node,
    packages,
    preflight,
    programs,
    realm,
    sshd,
    toolchain,
    traefik,
)
from pipeline.lab.layout import Lab, write
from pipeline.lab.machine import Machine, machines
from pipeline.lab.process import answers_ssh
from pipeline.lab.site import site

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = {
    "host": (), "database": (), "registry": ("gitea",), "cluster": ("kubelab", "traefik", "helm"), "hub": ("hub",),
    "docker": ("buildkitd", "buildx"), "kubecfg": ("kubecfg",), "dns": ("flux",), "flux": ("flux",),
}  # fmt: skip
BUILT_FIRST = ("cluster", "registry", "docker", "hub", "flux", "dns", "kubecfg")
WITH = {"flux": "dns"}  # what a part does not come without
LINKS = {"kubelab": ("kubectl", "crictl")}


def up(root: Path, parts: frozenset[str], say: Callable[[str], None], mend: bool) -> Path:
    """See `pipeline.lab.up`."""
    begun = time.monotonic()
    parts = parts | {WITH[part] for part in parts & WITH.keys()}
    wanted = _wanted(parts)
    cold = [name for name in wanted if not any((toolchain.cache() / "programs").glob(f"{name}-*/{name}"))]
    preflight.check(preflight.gather(toolchain.cache(), bool(cold)))
    lab = layout.choose(root)
    with layout.flocked(lab.state, waiting=lambda: say("another process is starting this lab, waiting for it")):
        if not (lab.state / "lab.json").exists():
            lab = layout.choose(root)  # it was taken down while we waited
        parts = parts | _parts(lab)
        Start(lab, parts, _locked(say), mend).run()
        write(lab.state / "parts", " ".join(sorted(parts)) + "\n")
        path = _publish(lab, parts)
    say(f"the lab is up ({time.monotonic() - begun:.1f} s): {path}")
    return path


@dataclass(frozen=True)
class Start:
    """One start: `run` lets the nodes come up side by side, each as soon as its program is there."""

    lab: Lab
    parts: frozenset[str]
    say: Callable[[str], None]
    mend: bool
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Start what `parts` name. Raises the first error; builds that it makes pointless end with it."""
        wanted = _wanted(self.parts)
        # two builds at a time: while one links on a single core, or waits for a download, the other compiles
        with ThreadPoolExecutor(2, "build") as builders, ThreadPoolExecutor(8, "start") as starters:
            try:
                built = {name: builders.submit(self._program, name) for name in wanted if not programs.RECIPES[name].cgo}
                packages.ensure(self.parts, say=self.say, env=self.lab.mark())  # the C compiler, for one
                built |= {name: builders.submit(self._program, name) for name in wanted if name not in built}
                for job in as_completed(self._jobs(starters, built)):
                    job.result()
            except BaseException:
                self.stop.set()
                builders.shutdown(wait=False, cancel_futures=True)
                raise

    def _jobs(self, starters: ThreadPoolExecutor, built: dict[str, Future[Path]]) -> list[Future[Any]]:
        lab = self.lab
        keys.ssh_keys(lab)
        realm.write_hosts(lab)
        keys.secret(lab, "session-secret", keys.random_base64())
        build, shared, kube = machines(lab)
        if not kube.pid:
            cgroups.remove(lab)  # of a node that was killed
        list(starters.map(lambda machine: machine.start(), (build, shared, kube)))
        network.connect(lab, kube)
        jobs: list[Future[Any]] = list(built.values())
        if "host" in self.parts:
            jobs.append(starters.submit(self._host))
        if "database" in self.parts:
            jobs.append(starters.submit(database.start, lab, shared))
        if "registry" in self.parts:
            jobs.append(starters.submit(lambda: gitea.start(lab, shared, built["gitea"].result())))
        if "cluster" in self.parts:
            jobs.append(starters.submit(self._cluster, built))
        if "hub" in self.parts:
            jobs.append(starters.submit(self._hub, built, shared))
        if "docker" in self.parts:
            jobs.append(starters.submit(self._buildkit, built, build))
            jobs.append(starters.submit(engine.start_docker, lab, kube))
        return jobs

    def _buildkit(self, built: dict[str, Future[Path]], machine: Machine) -> None:
        built["buildkitd"].result()
        engine.start_buildkit(self.lab, machine)

    def _dns(self, built: dict[str, Future[Path]], machine: Machine) -> None:
        built["flux"].result()
        dns.start(self.lab, machine)

    def _hub(self, built: dict[str, Future[Path]], machine: Machine) -> None:
        layout = base.ensure(say=self.say, env=self.lab.mark())
        built["hub"].result()
        hub.start(self.lab, machine)
        hub.seed(self.lab, layout)

    def _program(self, name: str) -> Path:
        home = programs.ensure(name, say=self.say, env=self.lab.mark(), stop=self.stop)
        install(self.lab, home / name, name)
        return home

    def _host(self) -> None:
        server = sshd.build_host(self.lab, machines(self.lab)[0])
        server.start()
        server.until(lambda: answers_ssh(self.lab.host, self.lab.ssh), 15)

    def _cluster(self, built: dict[str, Future[Path]]) -> None:
        lab, machine = self.lab, machines(self.lab)[2]
        server = sshd.node(lab, machine)
        server.start()
        keys.certificates(lab)
        with ThreadPoolExecutor(4, "runtime") as pool:
            runtime = pool.submit(node.start_runtime, lab, machine)
            built["kubelab"].result()
            if self.mend:
                realm.service(lab).start()
            else:
                realm.service(lab).stop()
            cluster.start(lab, machine)
            runtime.result()
            beside = [pool.submit(lambda: traefik.start(lab, machine, built["traefik"].result()))]
            if "flux" in self.parts:
                beside.append(pool.submit(lambda: flux.start(lab, machine, built["flux"].result())))
            if "dns" in self.parts:
                beside.append(pool.submit(self._dns, built, machine))
            node.start(lab, machine)
            for job in beside:
                job.result()
        server.until(lambda: answers_ssh(lab.address, layout.NODE_SSH), 15)


def _wanted(parts: frozenset[str]) -> list[str]:
    """The programs of these parts, in the order in which they are built."""
    return list(dict.fromkeys(name for part in BUILT_FIRST if part in parts for name in PROGRAMS[part]))


def install(lab: Lab, program: Path, name: str) -> None:
    """Put the program (or the folder of them) into the lab's own bin folder: a second name of the same file where the disk allows it."""
    if program.is_dir():
        for one in program.iterdir():
            install(lab, one, one.name)
        return
    target = lab.state / "bin" / name
    if not (target.exists() and _same(target, program)):
        target.unlink(missing_ok=True)
        try:
            os.link(program, target)
        except OSError:
            shutil.copy2(program, target)
    for link in LINKS.get(name, ()):
        if not (lab.state / "bin" / link).is_symlink():
            (lab.state / "bin" / link).symlink_to(name)


def _same(one: Path, other: Path) -> bool:
    left, right = one.stat(), other.stat()  # one file, or a copy that kept size and time
    return one.samefile(other) or (left.st_size, left.st_mtime_ns) == (right.st_size, right.st_mtime_ns)


def _publish(lab: Lab, parts: frozenset[str]) -> Path:
    import yaml

    text = yaml.safe_dump(site(lab, parts, keys.ca_identity(lab) if "cluster" in parts else ""), sort_keys=False, width=200)
    if not lab.site.exists() or lab.site.read_text() != text:
        write(lab.site, text)
    pointer = Path(lab.root) / ".pipeline" / "lab" / "site.yml"
    if not pointer.is_symlink() or pointer.readlink() != lab.site:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(lab.site)
    return lab.site


def _parts(lab: Lab) -> frozenset[str]:
    try:
        return frozenset((lab.state / "parts").read_text().split())
    except OSError:
        return frozenset()


def _locked(say: Callable[[str], None]) -> Callable[[str], None]:
    lock = threading.Lock()

    def one_at_a_time(text: str) -> None:
        with lock:
            say(text)

    return one_at_a_time
