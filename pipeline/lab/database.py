"""PostgreSQL from Debian as the shared database: a cluster of the lab's own, with a password."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab.keys import secret
from pipeline.lab.layout import Lab, write
from pipeline.lab.process import Service, answers_tcp, drop

if TYPE_CHECKING:
    from pipeline.lab.machine import Machine

USER = DATABASE = "probe"
OS_USER = "postgres"  # Debian's package makes it; the server refuses to run as root


def binary(name: str) -> str:
    """The path of a program of the newest PostgreSQL installed. Raises PipelineError."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise PipelineError(f"PostgreSQL's {name} is not installed", mend="apt-get install postgresql")
    return str(found[-1])


def service(lab: Lab, machine: Machine) -> Service:
    """The server."""
    home = lab.state / "postgres"
    options = {
        "listen_addresses": lab.host, "port": str(lab.database), "unix_socket_directories": str(home), "fsync": "off",
        "dynamic_shared_memory_type": "mmap", "shared_buffers": "32MB", "max_connections": "50", "password_encryption": "scram-sha-256",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return Service(machine, "postgres", (binary("postgres"), "-D", str(home / "data"), *words), user=OS_USER)


def start(lab: Lab, machine: Machine) -> None:
    """Make the cluster, start it, make user and database; leaves `database-url` in the state folder. Raises PipelineError."""
    home, server = lab.state / "postgres", service(lab, machine)
    if not (home / "made").exists():
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o755)
        shutil.chown(home, OS_USER)
        machine.run(
            [*drop(OS_USER), binary("initdb"), "-D", str(home / "data"), "--no-sync", "--auth-local=peer", "--auth-host=scram-sha-256",
             "--encoding=UTF8", "--locale=C"]
        )  # fmt: skip
        write(home / "data" / "pg_hba.conf", f"local all all peer\nhost all all {lab.network} scram-sha-256\n")
        shutil.chown(home / "data" / "pg_hba.conf", OS_USER)
    if not server.pid:
        (home / "data" / "postmaster.pid").unlink(missing_ok=True)  # of a server that was killed with its machine
    server.start()
    server.until(lambda: answers_tcp(lab.host, lab.database) or _silent(lab, machine), 30)
    if not (home / "made").exists():
        password = secret(lab, "database-password")
        sql = f"CREATE ROLE {USER} LOGIN PASSWORD '{password}';\nCREATE DATABASE {DATABASE} OWNER {USER};\n"
        machine.run([*_psql(lab), "-v", "ON_ERROR_STOP=1", "-q"], stdin=sql)
        secret(lab, "database-url", f"postgresql://{USER}:{password}@{lab.host}:{lab.database}/{DATABASE}")
        (home / "made").touch()


def _psql(lab: Lab) -> list[str]:
    return [*drop(OS_USER), binary("psql"), "-h", str(lab.state / "postgres"), "-p", str(lab.database), "-d", "postgres"]


def _silent(lab: Lab, machine: Machine) -> str:
    try:
        machine.run([*_psql(lab), "-Atc", "select 1"])
    except PipelineError as error:
        return error.cause
    return ""
