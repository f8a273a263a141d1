"""This machine: its programs, its clock, the working copy, the secrets it can read, and where a proxy would catch what must go straight."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from pipeline.build.buildx_spec import Buildx
from pipeline.build.context import contexts
from pipeline.deploy import chart, manifest_files
from pipeline.deploy.manifest_spec import Manifests
from pipeline.deploy.spec import Helm, Spec
from pipeline.deploy.values import secret_data
from pipeline.doctor.verdict import Check, Verdict, fail, ok, warn
from pipeline.environment import AUTHORITIES, EXCLUDED, GIT, KUBE, Rule, first, withheld
from pipeline.errors import PipelineError, ResourceError
from pipeline.records.file import writing
from pipeline.source.look import look
from pipeline.source.vet import vet
from pipeline.stage import Plan, Site
from pipeline.sync.git import Git
from pipeline.tools import git, helm, proxies
from pipeline.tools.kubeconfig import access_of

WHERE = "workstation"
INSTALL = {"git": "apt-get install git", "ssh": "apt-get install openssh-client"}
BORN = 1_735_689_600  # 2025-01-01: no machine that runs this lives before it
ROOM = 200 << 20  # bytes: packs, logs and records of a release
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def checks(plan: Plan, site: Site) -> list[Check]:
    """What this machine needs for the plan."""
    helms = [stage.spec for stage in plan if isinstance(stage.spec, Helm)]
    syncs = [stage.spec for stage in plan if isinstance(stage.spec, Git)]
    found = [Check(WHERE, "git", partial(program, "git", (site.tool("git"), "--version"), GIT))]
    if syncs or site.hosts:
        found.append(Check(WHERE, "ssh", partial(_ssh, any(spec.via for spec in syncs))))
    if helms:
        found.append(Check(WHERE, "helm", partial(_helm, site)))
    applied = [stage.spec for stage in plan if isinstance(stage.spec, Manifests)]
    for name in dict.fromkeys(spec.program for spec in applied):
        words = ("version", "--client") if name == "kubectl" else ("version",)
        found.append(Check(WHERE, name, partial(program, name, (site.tool(name), *words), KUBE)))
    found += [
        Check(WHERE, "clock", partial(_clock, site)),
        Check(WHERE, "working copy", partial(_working_copy, site)),
        Check(WHERE, "files", partial(_files, plan, site)),
    ]
    for spec in helms:
        found.append(Check(WHERE, "chart", partial(_chart, spec, site)))
    found += [Check(WHERE, "manifests", partial(_manifests, each, site)) for each in applied]
    deploys: list[Spec] = [*helms, *applied]
    found += [Check(WHERE, "secrets", partial(_secrets, each, site)) for each in deploys if each.secret is not None]
    found.append(Check(WHERE, "proxies", partial(_proxies, plan, site)))
    return found


def program(name: str, argv: tuple[str, ...], rule: Rule | None = None) -> Iterator[Verdict]:
    """Whether a program is there, what it says of its version, and what `rule` withholds from it."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=5, check=False)
    except FileNotFoundError:
        yield fail(WHERE, name, f"{argv[0]} is not installed", INSTALL.get(name, f"install {name}"))
    except PermissionError:
        yield fail(WHERE, name, f"{argv[0]} may not be run", f"chmod +x {argv[0]}, or name another {name} in the site's tools")
    else:
        said = (done.stdout or done.stderr).strip().splitlines()
        yield ok(WHERE, name, (said[0] if said else f"exit {done.returncode}") + (_withheld(rule) if rule else ""))


def _ssh(needed: bool) -> Iterator[Verdict]:
    """Whether OpenSSH is there: git needs it for a remote, and it is what reads ~/.ssh for the hosts."""
    if needed or shutil.which("ssh"):
        yield from program("ssh", ("ssh", "-V"))
        return
    said = "ssh is not installed: of ~/.ssh/config only the plain part is read (no Include, no Match final), of known_hosts all"
    yield warn(WHERE, "ssh", said, INSTALL["ssh"])


def _helm(site: Site) -> Iterator[Verdict]:
    argv = helm.version(site.tool("helm"))
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=8, check=False)
    except OSError as error:
        mend = "install Helm 3.13 or later (get.helm.sh), or name it in the site file: tools: {helm: /path/to/helm}"
        yield fail(WHERE, "helm", f"{argv[0]} cannot be run: {error.strerror}", mend)
    else:
        helm.read_version(done.stdout or done.stderr)
        yield ok(WHERE, "helm", f"{done.stdout.strip().splitlines()[0]} ({argv[0]}){_withheld(KUBE)}")


def _withheld(rule: Rule) -> str:
    names = withheld(rule, os.environ)
    return f"; of your environment it does not get {', '.join(names)}" if names else ""


def _clock(site: Site) -> Iterator[Verdict]:
    now = site.clock.now()
    if now < BORN:
        yield fail(WHERE, "clock", "this machine's clock is years behind: no certificate will be valid", "timedatectl set-ntp true")
    else:
        yield ok(WHERE, "clock", "plausible; the hosts' clocks are compared with it below")


def _working_copy(site: Site) -> Iterator[Verdict]:
    own = site.root / ".pipeline"
    folder = own if own.exists() else site.root
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(WHERE, "working copy", f"{folder} cannot be written", f"{writing(folder)}, or work in a copy of your own")
        return
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        yield fail(
            WHERE, "working copy", f"{free / 1e6:.0f} MB free in {site.root}", f"make room: {ROOM / 1e6:.0f} MB are needed", ResourceError
        )
        return
    yield ok(WHERE, "working copy", f"{site.root} can be written, {free / 1e9:.1f} GB free")


def _files(plan: Plan, site: Site) -> Iterator[Verdict]:
    """What would travel, and what looks like a secret. Raises ConfigError where git or `vet` refuses."""
    images = [image for stage in plan if isinstance(stage.spec, Buildx) for image in stage.spec.images.values()]
    whole = any(isinstance(stage.spec, Git) for stage in plan) or not images
    program = site.tool("git")
    seen = look(site.root, program, site.private)
    passed = vet(seen.source, program, not_secret=site.not_secret, contexts=None if whole else contexts(images))
    left = [name for name in seen.left_out if not name.startswith(".pipeline/")]
    state = f"{seen.source.label}, {'with changes that are not committed' if seen.source.dirty else 'clean'}"
    if left:
        names = ", ".join(map(repr, left[:5]))
        mend = "write them into .gitignore, so that nobody commits them by accident: " + " ".join(left[:5])
        yield warn(WHERE, "files", f"{state}; {names} are secrets, or look like some, and stay here", mend)
        return
    of_it = "it" if whole else "the contexts of its images"
    known = "".join(f"\ntravels, though it looks like a secret: {each}" for each in passed)
    yield ok(WHERE, "files", f"{state}; nothing in {of_it} looks like a secret{known}")


def _chart(spec: Helm, site: Site) -> Iterator[Verdict]:
    found = chart.whole(spec, site)
    yield ok(WHERE, "chart", f"{found.name} in {spec.chart}, version {found.version}, {len(found.files)} files")


def _manifests(spec: Manifests, site: Site) -> Iterator[Verdict]:
    found = manifest_files.read(site.root, spec)
    yield ok(WHERE, "manifests", f"{', '.join(found.entries)}, made from {len(found.content)} files")


def _secrets(spec: Spec, site: Site) -> Iterator[Verdict]:
    data = secret_data(spec.secret, site)
    yield ok(WHERE, "secrets", f"{', '.join(sorted(data))} can be read")


def _proxies(plan: Plan, site: Site) -> Iterator[Verdict]:
    """Which way out everybody here takes, and whose certificates count: our own requests, helm, kubectl, git and Terraform alike."""
    certificates = f"; certificates: {_certificates()}"
    named = {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
    if not named:
        yield ok(WHERE, "proxies", f"none in the environment{certificates}")
        return
    # user:password@ may stand in it
    shown = ", ".join(f"{name}={_without_login(value)}" for name, value in sorted(named.items()))
    if variable := proxies.unspoken(os.environ):
        said = f"{shown}\n{variable} is a SOCKS proxy, and not used: all is asked straight{certificates}"
        yield warn(WHERE, "proxies", said, proxies.HTTP)
        return
    proxy = proxies.proxy_for("https", "example.org", {**os.environ, "NO_PROXY": "", "no_proxy": ""})
    way = f"{proxy} by {proxy.variable}{', with a login' if proxy.headers else ''}" if proxy else "straight"
    shown += f"\nthe way out of our requests, helm, kubectl, git and Terraform: {way}; plain http goes straight{certificates}"
    caught = sorted({host for host in _straight(plan, site) if not proxies.excluded(host, _no_proxy())})
    if caught:
        yield warn(
            WHERE,
            "proxies",
            f"{shown}\nhelm, git, curl and skopeo would go through the proxy to {', '.join(caught)}; only registries are asked straight",
            "export no_proxy=" + ",".join(filter(None, (_no_proxy(), *caught))),
        )
        return
    yield ok(WHERE, "proxies", f"{shown}\nno_proxy excludes every node of this blueprint")


def _certificates() -> str:
    """Return whose count. Raises ConfigError if the file of a company's authorities is none."""
    import ssl

    proxies.trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    variable = first(AUTHORITIES, os.environ)
    return f"the system's, and those of {os.environ[variable]} ({variable})" if variable else "the system's"


def _straight(plan: Plan, site: Site) -> Iterator[str]:
    """Hosts of the site that are asked by HTTP or git from here: those with a private address or a number for a name."""
    for stage in plan:
        spec = stage.spec
        addresses = []
        if name := getattr(spec, "registry", ""):
            addresses.append("//" + site.registry(name).address)
        if name := getattr(spec, "cluster", ""):
            addresses += [site.cluster(name).ingress, _api(name, site)]
        if isinstance(spec, Git) and spec.via:
            url = git.remote_url(site.remote(spec.via), site.app)
            addresses.append(url if url.startswith("https:") else "")
        for address in addresses:
            host = urlsplit(address).hostname or ""
            if host and (host == "localhost" or ":" in host or host.replace(".", "").isdigit()):
                yield host


def _api(cluster: str, site: Site) -> str:
    """Where helm reaches the API; "" through a tunnel, which is on loopback, and where the kubeconfig is at fault."""
    with contextlib.suppress(PipelineError):
        if site.cluster(cluster).tunnel:
            return ""
        access, _ = access_of(site, cluster)
        return f"//{access.host}:{access.port}"
    return ""


def _no_proxy() -> str:
    return os.environ.get(first(EXCLUDED, os.environ), "")


def _without_login(url: str) -> str:
    return url.rpartition("@")[2] if "@" in url else url
