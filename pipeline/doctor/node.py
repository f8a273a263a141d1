"""The cluster's node: does its runtime answer, and can it get from the registry what the pipeline puts there."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.doctor import k3s, registry
from pipeline.doctor.build_host import clock, script
from pipeline.doctor.registry import Realm
from pipeline.doctor.verdict import LIMIT, Verdict, broken, fail, ok, unknown, warn
from pipeline.errors import ConfigError, PipelineError, ResourceError, Transient
from pipeline.host import Cmd
from pipeline.stage import Registry, Site
from pipeline.tools import crictl, goyaml

NONE = "-"
ROOM = (512 << 20, 2048 << 20)  # free bytes for images: below the first it fails, below the second it is told


@dataclass(frozen=True)
class Seen:
    """What `node.sh` printed: plain facts, lines of the runtime's complaint, and the files that say how the registry is reached."""

    facts: dict[str, str]
    said: tuple[str, ...]
    registries: tuple[tuple[str, str], ...]
    hosts: tuple[tuple[str, str], ...]
    named: tuple[str, ...]


def look(cluster: str, registries: Sequence[str], site: Site) -> Iterator[Verdict]:
    """Every verdict on the node. Raises what the host raises where it cannot be reached."""
    where, spec = f"{cluster} (node)", site.cluster(cluster)
    if not spec.node:
        yield unknown(where, "ssh", "the site file names no `node` for this cluster: a deploy proves the pull by a pod instead")
        return
    host = site.host(spec.node)
    for number, name in enumerate(registries or (NONE,)):
        named = _realm(name, site)
        of = site.registry(name) if name != NONE else None
        away = str(named.address) if of and named and named.foreign(of) and named.address else NONE
        before = site.clock.now()
        words = (of.address if of else NONE, away, *spec.crictl)
        # its answer may hold a user name of registries.yaml: nothing of it is logged
        done = host.run(Cmd(("sh", "-c", script("node"), "look", *words), timeout=LIMIT - 1, secret=True))
        after = site.clock.now()
        seen = read(done.text)
        if number == 0:
            yield ok(where, "ssh", f"reached, its key is known; {seen.facts.get('system', '?')}")
            yield clock(where, int(seen.facts.get("now") or 0), before, after)
            yield _disk(where, spec.node, seen)
            yield runtime(where, spec.node, seen)
        if of is not None:
            yield way(where, spec.node, of, seen)
            verdict = mirror(where, of, seen)
            folder = seen.facts.get("k3s", "") if verdict.code else ""
            yield dataclasses.replace(verdict, fix=k3s.plain_http(host, of, folder)) if folder else verdict
            yield realm(where, of, named, seen)


def _realm(name: str, site: Site) -> Realm | None:
    """The realm that the registry names, None where it cannot be asked from here."""
    if name == NONE:
        return None
    try:
        return registry.realm(registry.asked(name, site))
    except PipelineError:
        return None


def read(text: str) -> Seen:
    """The facts in the lines of `node.sh`."""
    facts: dict[str, str] = {}
    said, named = [], []
    files: dict[str, list[tuple[str, str]]] = {"registries": [], "hosts": []}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word in files:
            path, _, packed = rest.rpartition(" ")
            try:
                files[word].append((path, base64.b64decode(packed, validate=True).decode(errors="replace")))
            except binascii.Error:
                facts["unread"] = path
        elif word == "crictl-said":
            said.append(rest)
        elif word == "named":
            named.append(rest)
        else:
            facts[word] = rest
    return Seen(facts, tuple(filter(None, said)), tuple(files["registries"]), tuple(files["hosts"]), tuple(named))


def _disk(where: str, node: str, seen: Seen) -> Verdict:
    kib, _, folder = seen.facts.get("disk", "").partition(" ")
    if not kib.isdigit():
        return unknown(where, "disk", "df told nothing")
    free = int(kib) * 1024
    text, mend = f"{free / 1e9:.1f} GB free in {folder}", f"on {node}: crictl rmi --prune; df -h {folder}"
    if free < ROOM[0]:
        return fail(where, "disk", text, mend, ResourceError)
    return warn(where, "disk", text, mend) if free < ROOM[1] else ok(where, "disk", text)


def runtime(where: str, node: str, seen: Seen) -> Verdict:
    """Whether the container runtime lets itself be asked as the site file says."""
    if seen.facts.get("crictl") == "0":
        return ok(where, "runtime", "crictl lists its images")
    text = "\n".join(seen.said)
    kind = "runtime" if seen.facts.get("crictl") in ("126", "127") else crictl.classify(text).kind
    return broken(where, "runtime", crictl.error(crictl.Pull(kind, text), "an image", node, ""))


def way(where: str, node: str, of: Registry, seen: Seen) -> Verdict:
    """Whether the node reaches the registry's address."""
    state = seen.facts.get("registry", "untried")
    if state == "answers":
        return ok(where, "registry", f"{of.address} can be reached from it")
    if state == "untried":
        return unknown(where, "registry", "it has neither nc, curl nor bash to try a connection with")
    return fail(where, "registry", f"{of.address} does not answer it", f"on {node}: curl -v {of.scheme}://{of.address}/v2/", Transient)


def mirror(where: str, of: Registry, seen: Seen) -> Verdict:
    """Whether the node knows that the registry speaks plain HTTP. Sources: k3s' private-registry page, containerd's docs/hosts.md."""
    if of.scheme == "https":
        return ok(where, "mirror", "none is needed: the registry speaks HTTPS")
    wanted = f"http://{of.address}"
    if file := next((path for path, text in seen.hosts if _hosts(text, wanted)), ""):
        return ok(where, "mirror", f"{file} leads to {wanted}")
    if file := next((path for path, text in seen.registries if _mirrors(text, of.address, wanted)), ""):
        if seen.facts.get("folder") and not seen.named:
            return warn(where, "mirror", f"{file} names {wanted}, but k3s was not restarted since", "on the node: systemctl restart k3s")
        return ok(where, "mirror", f"{file} leads to {wanted}")
    if seen.named:
        return ok(where, "mirror", f"{seen.named[0]} names {of.address}")
    if closed := seen.facts.get("closed"):
        return unknown(where, "mirror", f"{closed} may not be read by this user", "let the site's node be reached as root")
    return fail(where, "mirror", f"the node would ask {of.address} by HTTPS, it speaks HTTP", crictl.plain_http(of.address))


def _hosts(text: str, wanted: str) -> bool:
    try:
        value: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    hosts = value.get("host")
    endpoints = [*(hosts if isinstance(hosts, dict) else {}), value.get("server", "")]
    return any(isinstance(endpoint, str) and endpoint.rstrip("/") in (wanted, f"{wanted}/v2") for endpoint in endpoints)


def _mirrors(text: str, address: str, wanted: str) -> bool:
    try:
        endpoints = goyaml.values(text, "registries.yaml")[0]["mirrors"][address]["endpoint"]
    except (ConfigError, KeyError, TypeError, IndexError):
        return False
    return isinstance(endpoints, list) and any(str(endpoint).rstrip("/") in (wanted, f"{wanted}/v2") for endpoint in endpoints)


def realm(where: str, of: Registry, named: Realm | None, seen: Seen) -> Verdict:
    """Whether the node can reach the place that the registry sends it to for a token: every pull goes there, whatever `realm` we use."""
    if named is None:
        return unknown(where, "realm", "the registry did not say which it is")
    if not named.foreign(of):
        return ok(where, "realm", "the registry's own" if named.url else "none is named")
    there = str(named.address)
    resolved = seen.facts.get("resolved")
    if seen.facts.get("realm") == "answers":
        return ok(where, "realm", f"{there} ({resolved or 'resolved'}) can be reached from it")
    if seen.facts.get("realm") == "untried" and resolved:
        return unknown(where, "realm", f"{there} is {resolved} there; it has neither nc, curl nor bash to try a connection with")
    why = "does not answer it" if resolved else "has no address there"
    text = f"the registry sends it to {there} for a token, which {why}: it cannot pull"
    return fail(where, "realm", text, crictl.realm_mend(there, of.address, of.scheme))
