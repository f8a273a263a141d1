"""Two registries with a correct token realm, standing for GHCR and Docker Hub: Debian's docker-registry behind the lab's own door.

`ghcr` gives its tokens at its own address and says 403 to a token that lacks a scope; `hub` gives them at another one and says 401;
both as those they stand for. Whoever has no account may pull what does not lie below private/. Account `lab` may do all, account
`reader` may pull.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import base, local
from pipeline.lab.keys import secret, signing_key
from pipeline.lab.layout import Lab, write
from pipeline.lab.process import Service, answers_http

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.machine import Machine

UID = "64321"  # a number nobody has needs no entry in the machine's user list
ACCOUNTS = {"lab": ["pull", "push", "delete"], "reader": ["pull"]}
SERVICES = {"ghcr": "ghcr.io", "hub": "registry.docker.io"}  # as those they stand for call themselves

CONFIG = """version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {home}/{face}}}, delete: {{enabled: true}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{net: unix, addr: {home}/{face}.sock}}
auth: {{token: {{realm: "{realm}", service: {service}, issuer: lab, rootcertbundle: {home}/token.crt}}}}
"""


def services(lab: Lab, machine: Machine) -> tuple[Service, ...]:
    """The two registries, and the door before both."""
    home = _home(lab)
    stores = tuple(
        Service(machine, f"registry-{face}", ("docker-registry", "serve", f"{home}/{face}.yml"), {"OTEL_TRACES_EXPORTER": "none"}, user=UID)
        for face in SERVICES
    )
    faces = (f"ghcr,{lab.ghcr_address},{home}/ghcr.sock", f"hub,{lab.hub_address},{home}/hub.sock,{lab.host}:{lab.tokens}")
    files = (str(home / "accounts.json"), str(home / "token.key"), str(home / "token.crt"))
    return (*stores, Service(machine, "hub", (lab.bin("hub"), *files, *faces), user=UID))


def realm(lab: Lab, face: str) -> str:
    """Where this registry's tokens are given."""
    return f"http://{lab.ghcr_address if face == 'ghcr' else f'{lab.host}:{lab.tokens}'}/token"


def start(lab: Lab, machine: Machine) -> None:
    """Start both registries and let the cluster's node know that they speak HTTP. Raises PipelineError."""
    home = _home(lab)
    home.mkdir(mode=0o700, exist_ok=True)
    passwords = {name: secret(lab, password_file(name)) for name in ACCOUNTS}
    accounts = {name: {"password": passwords[name], "actions": actions} for name, actions in ACCOUNTS.items()}
    write(home / "accounts.json", json.dumps(accounts), 0o600)
    signing_key(home / "token")
    for face, name in SERVICES.items():
        write(home / f"{face}.yml", CONFIG.format(home=home, face=face, realm=realm(lab, face), service=name))
        (home / face).mkdir(exist_ok=True)
    for path in (home, *home.iterdir()):
        os.chown(path, int(UID), int(UID))
    *stores, door = services(lab, machine)
    for face, store in zip(SERVICES, stores, strict=True):
        if not store.pid:
            (home / f"{face}.sock").unlink(missing_ok=True)  # of one that was killed
        store.start()
    door.start()
    door.until(lambda: healthy(lab), 30)
    for address in (lab.ghcr_address, lab.hub_address):
        folder = lab.state / "containerd" / "certs.d" / address
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "hosts.toml", f'server = "http://{address}"\n[host."http://{address}"]\n  capabilities = ["pull", "resolve"]\n')


def healthy(lab: Lab) -> str:
    """ "" if both registries ask for a token, else what happened."""
    for address in (lab.ghcr_address, lab.hub_address):
        if not (said := answers_http(f"http://{address}/v2/")).endswith(": 401"):
            return said or f"{address} wants no token"
    return ""


def seed(lab: Lab, layout: Path) -> None:
    """Put the base image into the hub, where it is not there yet. Raises PipelineError."""
    if (lab.state / "hub" / "seeded").exists():
        return
    login = base64.b64encode(f"lab:{secret(lab, password_file('lab'))}".encode()).decode()
    authfile = write(_home(lab) / "seed-auth.json", json.dumps({"auths": {lab.hub_address: {"auth": login}}}), 0o600)
    done = local.run(
        "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"--dest-authfile={authfile}",
        f"oci:{layout}:{base.TAG}", f"docker://{lab.hub_address}/{base.NAME}:{base.TAG}", env=lab.mark(),
    )  # fmt: skip
    authfile.unlink()
    if done.returncode:
        raise PipelineError(
            "the base image could not be put into the lab's hub", cause=done.stderr[-800:], log=str(lab.log("registry-hub"))
        )
    (lab.state / "hub" / "seeded").touch()


def password_file(account: str) -> str:
    """The name of the file in the lab's state folder that holds the account's password."""
    return f"hub-{account}-password"


def _home(lab: Lab) -> Path:
    return lab.state / "hub"
