"""A private sshd on loopback, with keys of its own, for tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.host import Address
from pipeline.host.ssh import SshHost

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or "/usr/sbin/sshd"
KEYGEN = shutil.which("ssh-keygen") or "/usr/bin/ssh-keygen"


class Sshd:
    """`folder` holds its keys and configuration; `options` are further lines of sshd_config."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.user = getpass.getuser()
        self.key = folder / "client"
        self.known = folder / "known_hosts"
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = Address("127.0.0.1", free.getsockname()[1])
        for name in ("host", "other", "client", "stranger"):
            keygen(folder / name)
        (folder / "authorized_keys").write_text((folder / "client.pub").read_text())
        self.trust(self.address)

    def trust(self, address: Address) -> None:
        """Have the known_hosts file say that our host key is the one at `address`."""
        with self.known.open("a") as file:
            file.write(f"[{address.host}]:{address.port} {' '.join((self.folder / 'host.pub').read_text().split()[:2])}\n")

    def start(self, key: str = "host") -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd as root will not start without it
        config = self.folder / "sshd_config"
        config.write_text(
            "\n".join(
                (
                    f"ListenAddress {self.address.host}",
                    f"Port {self.address.port}",
                    f"HostKey {self.folder / key}",
                    f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
                    "PidFile none",
                    "StrictModes no",
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "PrintMotd no",
                    "SetEnv SHLVL=2",  # bash reads no .bashrc then: what is in the user's would be measured too
                    *self.options,
                    "",
                )
            )
        )
        self._process = subprocess.Popen((SSHD, "-D", "-f", str(config), "-E", str(self.log)), stdin=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection((self.address.host, self.address.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError(f"sshd does not listen: {self.log.read_text()}")

    def stop(self) -> None:
        """End the listener and every session."""
        if self._process is not None:
            for child in children(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    @contextlib.contextmanager
    def running(self, key: str = "host") -> Iterator[Sshd]:
        self.start(key)
        try:
            yield self
        finally:
            self.stop()

    def host(self, at: Address | None = None, **options: Any) -> SshHost:
        """A Host for it, through the proxy `at` where there is one."""
        address = at or self.address
        if at is not None:
            self.trust(at)
        settings: dict[str, Any] = {
            "name": "builder",
            "address": address.host,
            "port": address.port,
            "user": self.user,
            "identity_file": str(self.key),
            "known_hosts": str(self.known),
            "state": str(self.folder / "state"),
        }
        return SshHost(**(settings | options))


def only_busybox(folder: Path) -> str:
    """The sshd_config line that gives commands nothing but busybox, as the build host of the main system has it."""
    busybox = shutil.which("busybox")
    assert busybox, "install busybox: without it nothing shows that the scripts run on Alpine"
    programs = folder / "bin"
    programs.mkdir()
    subprocess.run((busybox, "--install", "-s", str(programs)), check=True)
    if not (programs / "flock").exists():  # Alpine's busybox has it, Debian's has not
        (programs / "flock").symlink_to(shutil.which("flock") or "/usr/bin/flock")
    return f'ForceCommand PATH={programs} exec {programs / "sh"} -c "$SSH_ORIGINAL_COMMAND"'


def keygen(path: Path) -> None:
    subprocess.run((KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)), check=True)


def fingerprint(public: Path) -> str:
    done = subprocess.run((KEYGEN, "-lf", str(public)), check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(number) for number in task.read_text().split()]
    return found


def processes(mark: str) -> list[int]:
    """The numbers of the live processes with `mark` as one word of their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if mark.encode() in words and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
    return found


def settled(condition: Any, seconds: float = 10.0) -> bool:
    """Whether `condition()` becomes true within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def at_once(works: Sequence[Callable[[], object]]) -> list[BaseException | None]:
    """Do all `works` beginning at one moment; for each, what it raised."""
    barrier = threading.Barrier(len(works))
    raised: list[BaseException | None] = [None] * len(works)

    def work(number: int) -> None:
        barrier.wait()
        try:
            works[number]()
        except BaseException as error:  # the test's to judge
            raised[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
