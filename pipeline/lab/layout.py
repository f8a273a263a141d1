"""Where everything of one lab lies: its name, state folder, addresses and ports, chosen once and remembered."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import ipaddress
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Locked, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

HOME = Path("/var/lib/pipeline-lab")  # short: the paths of unix sockets end at 107 bytes
POOL = ipaddress.ip_network("10.211.0.0/16")  # each lab takes one /30 of it
PREFERRED = {"ssh": 2201, "git": 30022, "registry": 32166, "database": 5432, "ghcr": 32170, "hub": 32171, "tokens": 32172}
NODE_SSH, API, INGRESS, INGRESS_PING = 2202, 6443, 8000, 8001  # on the node's own address: nobody else listens there
NODE = "railiance01"
APP_OWNER, APP = "coulomb", "ihp-railiance-probe"


@dataclass(frozen=True)
class Lab:
    """One lab. `host` is the address that workstation, build host and node all reach, `address` is the cluster node's own."""

    id: str
    root: str
    network: str
    ssh: int
    git: int
    registry: int
    database: int
    ghcr: int = PREFERRED["ghcr"]
    hub: int = PREFERRED["hub"]
    tokens: int = PREFERRED["tokens"]

    @property
    def state(self) -> Path:
        return HOME / self.id

    @property
    def host(self) -> str:
        return str(ipaddress.ip_network(self.network)[1])

    @property
    def address(self) -> str:
        return str(ipaddress.ip_network(self.network)[2])

    @property
    def interface(self) -> str:
        return f"pl-{self.id}"

    @property
    def registry_address(self) -> str:
        return f"{self.host}:{self.registry}"

    @property
    def ghcr_address(self) -> str:
        return f"{self.host}:{self.ghcr}"

    @property
    def hub_address(self) -> str:
        return f"{self.host}:{self.hub}"

    @property
    def site(self) -> Path:
        return self.state / "site.yml"

    def bin(self, name: str) -> str:
        return str(self.state / "bin" / name)

    def log(self, name: str) -> Path:
        return self.state / "log" / f"{name}.log"

    def mark(self) -> dict[str, str]:
        """The environment of every process of this lab: `down` knows them by it, also when their start was interrupted."""
        return {**os.environ, "PIPELINE_LAB": self.id}


def identity(root: Path) -> str:
    """The lab's name: eight hex digits of the working copy's real path."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]


def load(root: Path) -> Lab | None:
    """The lab of this working copy as an earlier `up` chose it, or None."""
    return read(HOME / identity(root))


def read(state: Path) -> Lab | None:
    """The lab whose state folder this is, or None where there is none (or half of one)."""
    try:
        values: dict[str, Any] = json.loads((state / "lab.json").read_text())
        return Lab(**values)
    except (OSError, ValueError, TypeError):
        return None


def choose(root: Path) -> Lab:
    """The lab of this working copy; a new one gets a free network and free ports. Raises ResourceError where none is free."""
    if known := load(root):
        return known
    HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    with flocked(HOME):  # two labs that start at the same time do not choose the same network
        taken = [lab.network for path in HOME.iterdir() if (lab := read(path))]
        network = free_network(identity(root), [*taken, *routes(Path("/proc/net/route").read_text())])
        host = str(ipaddress.ip_network(network)[1])
        used = listening(
            host, *(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6") if Path(f"/proc/net/{table}").exists())
        )
        ports = {name: free_port(port, used) for name, port in PREFERRED.items()}
        lab = Lab(identity(root), str(root.resolve()), network, **ports)
        lab.state.mkdir(mode=0o755, exist_ok=True)
        for folder in ("bin", "log", "run", "etc"):
            (lab.state / folder).mkdir(exist_ok=True)
        write(lab.state / "lab.json", json.dumps(dataclasses.asdict(lab)))
    return lab


def free_network(seed: str, taken: Iterable[str]) -> str:
    """A /30 of the pool that overlaps nothing in `taken`, starting the search where `seed` (hex) says."""
    used = [ipaddress.ip_network(text, strict=False) for text in taken]
    count = 1 << (30 - POOL.prefixlen)
    start = int(seed, 16) % count
    for step in range(count):
        base = int(POOL.network_address) + 4 * ((start + step) % count)
        candidate = ipaddress.ip_network((base, 30))
        if not any(candidate.overlaps(other) for other in used if other.version == 4):
            return str(candidate)
    raise ResourceError(f"no free network for the lab in {POOL}", mend="end labs that are no longer needed: inv lab.down in each")


def free_port(preferred: int, used: AbstractSet[int]) -> int:
    """`preferred` where it is not in `used`, else the next port that is free. Raises ResourceError after 200 tries."""
    for port in range(preferred, preferred + 200):
        if port not in used:
            return port
    raise ResourceError(f"no free port between {preferred} and {preferred + 199}", mend="see who listens there: ss -ltnp")


def listening(address: str, *tables: str) -> set[int]:
    """Ports that cannot be had on `address` because somebody listens there or everywhere; `tables` as in /proc/net/tcp."""
    own = ipaddress.ip_address(address).packed[::-1].hex().upper()
    ports = set()
    for line in "".join(tables).splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":  # TCP_LISTEN
            where, _, port = fields[1].partition(":")
            if where == own or not where.strip("0"):
                ports.add(int(port, 16))
    return ports


def routes(table: str) -> list[str]:
    """The networks in /proc/net/route; the default route is not one of them."""
    rows = [line.split() for line in table.splitlines()[1:]]
    found = [(bytes.fromhex(row[1])[::-1], bytes.fromhex(row[7])[::-1]) for row in rows if len(row) > 7]
    return [f"{ipaddress.ip_address(base)}/{ipaddress.ip_address(mask)}" for base, mask in found if any(mask)]


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write `text` whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    part.rename(path)
    return path


@contextlib.contextmanager
def flocked(folder: Path, *, wait: float = 1200, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the folder itself as a lock, at most one process at a time; it leaves no lock file and ends with its holder.

    Waits up to `wait` seconds and calls `waiting` once if it has to. Raises Locked.
    """
    deadline, told = time.monotonic() + wait, False
    while True:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() > deadline:
                raise Locked(f"another process has been at work in {folder} for {wait:.0f} s", mend=f"see who: fuser -v {folder}") from None
            if not told:
                told = True
                waiting()
            time.sleep(0.1)
            continue
        if folder.exists() and os.fstat(handle).st_ino == folder.stat().st_ino:
            break
        os.close(handle)  # it was removed while we waited
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        yield
    finally:
        os.close(handle)
