"""The benchmark's world: an application of its own on the lab, and a workstation in its own network namespace.

Whatever the workstation sends to an address of the lab passes a proxy that counts bytes and can delay them; both contenders run in
that namespace, with the same addresses in their configuration as without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.host import Address
from pipeline.testing import FaultProxy

REPOSITORY = Path(__file__).parents[2]
FILLERS, FILLER_MIB = 6, 10  # beside the probe's four layers: the image of 66 MB and ten layers that the bounds speak of
PUSH_TO_GIT = "    via: coulombcore # a clean tree is pushed to Gitea first\n"  # the script has no such step
NAMESPACE, OUTER, INNER, NETWORK = "bench", "10.212.0.1", "10.212.0.2", "10.212.0.0/30"

DEFAULT_NIX = """# The probe with ballast, for the benchmark.
{ system }:
let
  image = import ./image.nix { inherit system; };
  ballast = number: image.layer "ballast-${number}" ''
    mkdir -p "$root/ballast"
    head -c %(bytes)d /dev/zero | openssl enc -aes-128-ctr -nosalt -iv 0 -K %(seed)s${number} > "$root/ballast/${number}"
  '';
in
import ./probe.nix { inherit system; below = map ballast [ %(numbers)s ]; }
"""


@dataclass(frozen=True)
class World:
    """One application, `app`, with a working copy in `root`."""

    app: str
    root: Path
    site: dict[str, Any]
    proxies: dict[str, FaultProxy]

    def latency(self, seconds: float) -> None:
        """Delay everything by half of `seconds` each way."""
        for proxy in self.proxies.values():
            proxy.latency = seconds / 2

    def bytes_up(self) -> int:
        """Bytes the workstation has sent so far."""
        return sum(proxy.bytes_up for proxy in self.proxies.values())

    def connections(self, name: str = "") -> int:
        """Connections so far, to one node or to all."""
        return sum(proxy.connections for key, proxy in self.proxies.items() if not name or key == name)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", str(self.root), *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def change_a_line(self, number: int) -> None:
        """A change that reaches the application's own layer, committed."""
        path = self.root / "pipeline/lab/probe/server.c"
        path.write_text(path.read_text() + f'\nconst char benchmark_change_{number}[] = "{number}";\n')
        self.git("commit", "--quiet", "--all", "--message", f"Change {number}")

    def environment(self) -> dict[str, str]:
        """What blueprint.sh reads."""
        host, registry = self.site["hosts"]["haskelseed"], self.site["registries"]["coulombcore"]
        cluster = self.site["clusters"]["railiance01"]
        ssh = [
            "ssh", "-F", "none", "-p", str(host["port"]), "-i", host["identity_file"], "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={host['known_hosts']}",
        ]  # fmt: skip
        return {
            **os.environ,
            "SSH": " ".join(ssh),
            "HOST": f"{host['user']}@{host['address']}",
            "DIR": f"{host['state']}/{self.app}-script",
            "REGISTRY": registry["address"],
            "REPOSITORY": f"coulomb/{self.app}-script",
            "REGISTRY_USER": registry["username"],
            "REGISTRY_PASSWORD": Path(registry["password"].removeprefix("file:")).read_text().strip(),
            "TAG": self.git("rev-parse", "--short=7", "HEAD"),
            "HELM": self.site["tools"]["helm"],
            "KUBECONFIG": cluster["kubeconfig"],
            "NAMESPACE": "coulomb",
            "RELEASE": f"{self.app}-script",
            "PUBLIC": f"{self.app}-script.lab.test",
            "INGRESS": cluster["ingress"],
            "VALUES": str(self.root.parent / "script-values.yml"),
        }


def working_copy(app: str, root: Path) -> None:
    """A repository like this one, with an application and a blueprint of its own."""
    for name in ("chart", "flake.nix", "pipeline/lab/probe"):
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    probe = root / "pipeline/lab/probe"
    text = (probe / "default.nix").read_text()
    wide = text.replace("{ system }:", "{ system, below }:", 1).replace("layers = [ base", "layers = below ++ [ base", 1)
    (probe / "probe.nix").write_text(wide)
    numbers = " ".join(f'"{number:02d}"' for number in range(FILLERS))
    (probe / "default.nix").write_text(
        DEFAULT_NIX % {"bytes": FILLER_MIB << 20, "numbers": numbers, "seed": hashlib.sha256(app.encode()).hexdigest()[:30]}
    )
    config = root / "config"
    config.mkdir()
    for name in ("ihp-railiance-probe.yml", "ihp-railiance-probe.lab.yml"):
        text = (REPOSITORY / "config" / name).read_text()
        (config / name.replace("ihp-railiance-probe", app)).write_text(
            text.replace("ihp-railiance-probe", app).replace("probe.lab.test", f"{app}.lab.test").replace(PUSH_TO_GIT, "")
        )
    (root / "tasks.py").write_text('from pipeline import collection\n\nns = collection("config")\n')
    (root / ".gitignore").write_text(".pipeline/\nresult\ndigest\n")
    (root / ".pipeline/lab").mkdir(parents=True)
    (root / ".pipeline/lab/site.yml").symlink_to((REPOSITORY / ".pipeline/lab/site.yml").resolve())
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "--message", "Start"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)


@contextlib.contextmanager
def world(app: str, folder: Path) -> Iterator[World]:
    """The world for one benchmark; its release, namespace and rules are gone afterwards."""
    site = yaml.safe_load((REPOSITORY / ".pipeline/lab/site.yml").read_text())
    root = folder / app
    root.mkdir(parents=True)
    working_copy(app, root)
    script = {"host": f"{app}-script.lab.test", "secretName": f"{app}", "env": {"baseUrl": f"http://{app}-script.lab.test"}}
    (folder / "script-values.yml").write_text(yaml.safe_dump(script))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_namespace())
        proxies = {}
        for name, target in _targets(site).items():
            proxies[name] = stack.enter_context(FaultProxy(target, listen=OUTER))
            _redirect(target, proxies[name].address)
        made = World(app, root, site, proxies)
        _secret(made)
        stack.callback(_remove, made)
        yield made


def _targets(site: dict[str, Any]) -> dict[str, Address]:
    cluster = site["clusters"]["railiance01"]
    config = yaml.safe_load(Path(cluster["kubeconfig"]).read_text())
    urls = {
        "git": site["remotes"]["coulombcore"]["url"],
        "registry": "http://" + site["registries"]["coulombcore"]["address"],
        "api": config["clusters"][0]["cluster"]["server"],
        "ingress": cluster["ingress"],
    }
    targets = {name: Address(str(url.hostname), url.port or 80) for name, url in ((n, urllib.parse.urlsplit(u)) for n, u in urls.items())}
    for name, host in site["hosts"].items():
        targets[name] = Address(host["address"], host["port"])
    return targets


@contextlib.contextmanager
def _namespace() -> Iterator[None]:
    commands = [
        ["ip", "netns", "add", NAMESPACE],
        ["ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1", "netns", NAMESPACE],
        ["ip", "address", "add", f"{OUTER}/30", "dev", "bench0"],
        ["ip", "link", "set", "bench0", "up"],
        ["ip", "-n", NAMESPACE, "address", "add", f"{INNER}/30", "dev", "bench1"],
        ["ip", "-n", NAMESPACE, "link", "set", "bench1", "up"],
        ["ip", "-n", NAMESPACE, "link", "set", "lo", "up"],
        ["ip", "-n", NAMESPACE, "route", "add", "default", "via", OUTER],
    ]
    try:
        for command in commands:
            subprocess.run(command, check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False)
        subprocess.run(["ip", "link", "delete", "bench0"], check=False, stderr=subprocess.DEVNULL)  # usually gone with its peer


def _redirect(target: Address, proxy: Address) -> None:
    rule = ["-d", target.host, "-p", "tcp", "--dport", str(target.port), "-j", "DNAT", "--to-destination", str(proxy)]
    subprocess.run(["ip", "netns", "exec", NAMESPACE, "iptables", "-t", "nat", "-A", "OUTPUT", *rule], check=True)


def _secret(made: World) -> None:
    """The Secret that the chart refers to: the script has no step for it, so it is there beforehand for both."""
    values = {
        key: Path(made.site["values"][value].removeprefix("file:")).read_text().strip()
        for key, value in (("IHP_SESSION_SECRET", "session_secret"), ("DATABASE_URL", "database_url"))
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": made.app, "namespace": "coulomb"}, "stringData": values}
    subprocess.run(
        [made.site["tools"]["kubectl"], "apply", "--filename", "-"],
        input=yaml.safe_dump(secret).encode(), env=made.environment(), check=True, capture_output=True,
    )  # fmt: skip


def _remove(made: World) -> None:
    environment = made.environment()
    for release in (made.app, f"{made.app}-script"):
        subprocess.run(
            [environment["HELM"], "uninstall", release, "--namespace", "coulomb", "--ignore-not-found"],
            env=environment, check=False, capture_output=True,
        )  # fmt: skip
