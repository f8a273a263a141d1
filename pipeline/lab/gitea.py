"""Gitea as git server and OCI registry, with the blueprint's fault: its token realm names a place that does not answer."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.lab.keys import secret
from pipeline.lab.layout import APP, APP_OWNER, Lab, write
from pipeline.lab.process import Service, answers_http, answers_ssh, drop

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.machine import Machine

REALM_HOST = "gitea.coulomb.social"
UID = "64320"  # Gitea refuses to run as root; a number nobody has needs no entry in the machine's user list
PASSWORD_FILE = "gitea-password"  # noqa: S105  # the name of a file

CONFIG = """RUN_USER = git
WORK_PATH = {home}
[server]
PROTOCOL = http
HTTP_ADDR = {host}
HTTP_PORT = {registry}
ROOT_URL = http://{realm}:80/
PUBLIC_URL_DETECTION = never
STATIC_ROOT_PATH = {home}/static
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_LISTEN_HOST = {host}
SSH_PORT = {git}
SSH_SERVER_HOST_KEYS = {home}/host_key
LFS_START_SERVER = false
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {home}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret_key}
INTERNAL_TOKEN = {internal_token}
PASSWORD_HASH_ALGO = pbkdf2_v1
[oauth2]
ENABLED = false
JWT_SECRET = {jwt_secret}
[packages]
ENABLED = true
[actions]
ENABLED = true
[repository]
ENABLE_PUSH_CREATE_USER = true
ENABLE_PUSH_CREATE_ORG = true
[service]
DISABLE_REGISTRATION = true
[cron.update_checker]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
MODE = console
LEVEL = Warn
"""


def service(lab: Lab, machine: Machine) -> Service:
    """The server."""
    return Service(machine, "gitea", (lab.bin("gitea"), "web", "--config", str(_home(lab) / "app.ini")), _env(lab), user=UID)


def start(lab: Lab, machine: Machine, program: Path) -> None:
    """Start Gitea; make its user, the lab's SSH key and the application's repository. `program` is where it was built to.

    Raises PipelineError.
    """
    home, server = _home(lab), service(lab, machine)
    if not (home / "made").exists():
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
        _furnish(lab, program)
        config = str(home / "app.ini")
        machine.run([*drop(UID), lab.bin("gitea"), "migrate", "--config", config], env=_env(lab))
        server.start()  # starts while the user is made
        made = machine.run(
            [*drop(UID), lab.bin("gitea"), "admin", "user", "create", "--config", config, "--admin", "--username", APP_OWNER,
             "--email", f"{APP_OWNER}@lab.invalid", "--must-change-password=false", "--random-password",
             "--random-password-length", "32"],
            env=_env(lab),
        )  # fmt: skip
        if not (found := re.search(r"random password is '(.+)'", made)):
            raise PipelineError("Gitea did not say the password it made", log=str(server.log))
        (lab.state / PASSWORD_FILE).unlink(missing_ok=True)
        secret(lab, PASSWORD_FILE, found[1])
    server.start()
    server.until(lambda: healthy(lab), 60)
    if not (home / "made").exists():
        key = (lab.state / "client_key.pub").read_text().strip()
        ask(lab, "POST", "/user/keys", {"title": "lab", "key": key})
        create_repository(lab, APP)
        (home / "made").touch()


def healthy(lab: Lab) -> str:
    """ "" if git over SSH and the registry both answer, else what happened."""
    return answers_http(f"http://{lab.registry_address}/api/healthz") or answers_ssh(lab.host, lab.git)


def create_repository(lab: Lab, name: str) -> None:
    """Make the empty repository coulomb/`name`; an existing one is left as it is. Raises PipelineError."""
    try:
        ask(lab, "POST", "/user/repos", {"name": name, "private": True, "auto_init": False})
    except PipelineError as error:
        if "409" not in error.what:
            raise


def ask(lab: Lab, method: str, path: str, body: Any = None) -> Any:
    """Ask Gitea's API as the lab's user; `path` below /api/v1. Raises PipelineError with the status in `what`."""
    login = base64.b64encode(f"{APP_OWNER}:{secret(lab, PASSWORD_FILE)}".encode()).decode()
    request = urllib.request.Request(
        f"http://{lab.registry_address}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise PipelineError(f"Gitea answered {error.code} to {method} {path}", cause=text[:500], log=str(lab.log("gitea"))) from None
    except OSError as error:
        raise PipelineError(f"Gitea did not answer {method} {path}", cause=str(error), log=str(lab.log("gitea"))) from None


def _furnish(lab: Lab, program: Path) -> None:
    home = _home(lab)
    home.mkdir()
    shutil.copytree(program / "static", home / "static")
    shutil.copy(lab.state / "etc" / "gitea_host_key", home / "host_key")
    shutil.copy(lab.state / "etc" / "gitea_host_key.pub", home / "host_key.pub")
    text = CONFIG.format(
        home=home, host=lab.host, registry=lab.registry, git=lab.git, realm=REALM_HOST, secret_key=secrets.token_hex(32),
        internal_token=secrets.token_urlsafe(64), jwt_secret=secrets.token_urlsafe(32)[:43],
    )  # fmt: skip
    write(home / "app.ini", text, 0o600)
    for path in (home, *(home / name for name in ("app.ini", "host_key", "host_key.pub"))):
        os.chown(path, int(UID), int(UID))


def _home(lab: Lab) -> Path:
    return lab.state / "gitea"


def _env(lab: Lab) -> dict[str, str]:
    home = str(_home(lab))
    seldom = {"GOGC": "400", "GOMEMLIMIT": "256MiB"}  # a push starts it five times more, and a third of each start was garbage collection
    return {"HOME": home, "USER": "git", "GITEA_WORK_DIR": home, "TMPDIR": "/tmp", **seldom}  # noqa: S108  # the lab machine's own
