"""The first process of a lab machine: it names the machine, hides the real one's moving parts, and buries the dead.

Runs as pid 1 of new mount, pid, uts and ipc namespaces (and net, for the cluster's node). When it dies the kernel ends every
process of the machine and drops every mount: that is all the cleaning up there is. It needs only the standard library, and
is started by path: `python init.py STATE NAME isolate|share [HOSTS]`. Says "ready" on stdout when the machine can be used.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

MS_BIND, MS_REC = 0x1000, 0x4000
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError."""
    encoded = [value.encode() if value is not None else None for value in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def tmpfs(target: str, mode: str = "0755") -> None:
    """An empty folder of the machine's own over `target`."""
    mount("pipeline-lab", target, "tmpfs", 0, f"mode={mode}")


def furnish(state: Path, isolate: bool, hosts: str) -> None:
    """Give the machine its own /run, /tmp and /root; an isolated one its own /var/lib, /var/log and /etc/hosts too."""
    resolver = Path("/etc/resolv.conf")
    where = resolver.resolve()
    known = where.read_bytes() if where.is_file() else b""
    tmpfs("/run")
    if where.is_relative_to("/run"):  # systemd-resolved's: the machine keeps the names it could resolve
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(known)
    for folder in ("/run/sshd", "/run/lock"):
        Path(folder).mkdir(mode=0o755)
    handle = os.open(state, os.O_PATH)
    tmpfs("/root", "0700")  # no habits of the real machine's root: its shell settings, its git configuration
    tmpfs("/tmp", "1777")  # noqa: S108  # the machine's own, not the one that is shared
    if isolate:
        tmpfs("/var/log")
        tmpfs("/var/lib")  # the kubelet and the CNI plugins write to fixed places below it
        state.mkdir(parents=True)
        mount(f"/proc/self/fd/{handle}", str(state), None, MS_BIND | MS_REC)
    os.close(handle)
    if hosts:
        mount(hosts, "/etc/hosts", None, MS_BIND)


def main() -> None:
    state, name, isolation, hosts = Path(sys.argv[1]), sys.argv[2], sys.argv[3], (sys.argv[4] if len(sys.argv) > 4 else "")
    os.chdir("/")
    socket.sethostname(name)
    furnish(state, isolation == "isolate", hosts)
    print("ready", flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait([signal.SIGCHLD])


if __name__ == "__main__":
    main()
