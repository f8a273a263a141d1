"""The cluster: is it the one that is meant, may we do there what a deploy does, and is anybody else at it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pipeline.deploy import chart, freeze, history, manifest_files
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.holder import Holder
from pipeline.deploy.manifest_spec import Manifests
from pipeline.deploy.spec import Helm, Spec
from pipeline.doctor import permissions
from pipeline.doctor.fix import Fix
from pipeline.doctor.verdict import Check, Verdict, ask_all, fail, ok, unknown, warn
from pipeline.errors import AuthError, ConfigError
from pipeline.stage import Site
from pipeline.tools import kube_status
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_objects import condition
from pipeline.tools.kube_objects import name as name_of
from pipeline.tools.kubeconfig import access_of
from pipeline.verify.checks import Checks
from pipeline.verify.web import Ask, get

PRESSURE = ("MemoryPressure", "DiskPressure", "PIDPressure")
CUSTOM = re.compile(rb"^apiVersion:\s*([a-z0-9.-]+\.[a-z]+/v\w+)\s*$", re.MULTILINE)
BUILT_IN = (".k8s.io",)
SOON = 30  # days before the end of a client certificate
PAGE = 5.0  # seconds for the ingress


def look(name: str, releases: Sequence[Helm | Manifests | Flux], pages: Sequence[Checks], site: Site) -> Iterator[Verdict]:
    """Every verdict on the cluster. Raises what the client raises where the API does not answer."""
    where, spec = f"{name} (cluster)", site.cluster(name)
    access, line = access_of(site, name)
    if line:
        yield warn(where, "identity", "the site file does not bind it: another kubeconfig of that name would be used", f"add {line}")
    else:
        yield ok(where, "identity", f"the kubeconfig's CA is the one the site file names ({spec.identity[:19]}…)")
    kube = connect(site, name)
    version = kube.get("/version") or {}
    way = f"through {spec.tunnel}" if spec.tunnel else "directly"
    yield ok(where, "API", f"Kubernetes {version.get('gitVersion', '?')} at {access.host}:{access.port}, {way}")
    checks = [
        Check(where, "certificate", partial(_certificate, where, access.login.credentials().certificate, site.clock.now())),
        Check(where, "nodes", partial(_nodes, where, kube)),
    ]
    for release in releases:
        checks += [
            Check(where, "namespace", partial(_namespace, where, name, release, kube)),
            Check(where, "permissions", partial(permissions.look, where, release, kube)),
            Check(where, "release", partial(_release, where, release, kube)),
            Check(where, "lock", partial(_lock, where, release, kube)),
        ]
        if not isinstance(release, Flux):  # whose chart is Flux's to render
            checks.append(Check(where, _own(release), partial(_kinds, where, release, kube, site)))
    if not releases:
        namespaces = "no deploy stage of this blueprint names it"
        checks.append(Check(where, "release", lambda: [ok(where, "release", namespaces)]))
    checks += [Check(where, "ingress", partial(_ingress, where, name, page, site)) for page in pages]
    yield from ask_all(checks)


def _certificate(where: str, pem: str, now: float) -> Iterator[Verdict]:
    """How long the client certificate holds; nothing where there is none."""
    if not pem:
        return
    from cryptography import x509  # comes with paramiko; 40 ms that only the doctor pays

    ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    days = (ends - datetime.datetime.fromtimestamp(now, datetime.UTC)).days
    mend = "copy a new kubeconfig from the node: k3s renews it when it restarts (/etc/rancher/k3s/k3s.yaml)"
    text = f"the kubeconfig's certificate holds until {ends:%Y-%m-%d}"
    if days < 0:
        yield fail(where, "certificate", f"{text}: it has run out", mend, AuthError)
    elif days < SOON:
        yield warn(where, "certificate", f"{text}: {days} days", mend)
    else:
        yield ok(where, "certificate", text)


def _nodes(where: str, kube: Kube) -> Iterator[Verdict]:
    try:
        nodes = kube.list(path("v1", "nodes"))["items"]
    except AuthError:
        yield unknown(where, "nodes", "this user may not list nodes, which a deploy does not need")
        return
    ready = [node for node in nodes if condition(node, "Ready").get("status") == "True"]
    text = f"{len(ready)} of {len(nodes)} ready"
    if not ready:
        yield fail(where, "nodes", text, "kubectl describe node; on it: systemctl status k3s")
        return
    pressed = [f"{name_of(node)} {kind}" for node in nodes for kind in PRESSURE if condition(node, kind).get("status") == "True"]
    if pressed or len(ready) < len(nodes):
        yield warn(where, "nodes", ", ".join([text, *pressed]), "kubectl describe node; for DiskPressure on it: crictl rmi --prune")
        return
    yield ok(where, "nodes", text)


def _namespace(where: str, cluster: str, release: Spec, kube: Kube) -> Iterator[Verdict]:
    found = kube.get(path("v1", "namespaces", name=release.namespace))
    if found is None and isinstance(release, Flux):
        yield ok(where, "namespace", f"{release.namespace} is not there yet; Flux makes it")
    elif found is None and release.create_namespace:
        yield ok(where, "namespace", f"{release.namespace} is not there yet; a deploy makes it")
    elif found is None:
        mend = f"kubectl create namespace {release.namespace}, or set `create_namespace: true` in the deploy stage"
        fix = Fix(f"create the namespace {release.namespace} on cluster {cluster}", partial(_create, release.namespace, kube))
        yield fail(where, "namespace", f"cluster {cluster} has no namespace {release.namespace}", mend, fix=fix)
    elif found.get("status", {}).get("phase") == "Terminating":
        raise kube_status.terminating(release.namespace)
    else:
        yield ok(where, "namespace", f"{release.namespace} is there")


def _create(namespace: str, kube: Kube) -> None:
    place = path("v1", "namespaces")
    if kube.get(path("v1", "namespaces", name=namespace)) is None:
        kube.create(place, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})


def _kinds(where: str, release: Helm | Manifests, kube: Kube, site: Site) -> Iterator[Verdict]:
    """Whether the cluster knows the custom kinds that the chart's templates, or the manifests, name."""
    if isinstance(release, Manifests):
        files, what = manifest_files.read(site.root, release).content, "the manifests"
    else:
        files, what = chart.whole(release, site).files, "templates of the chart"
    versions = sorted({found.decode() for _, content in files for found in CUSTOM.findall(content)})
    custom = [version for version in versions if not version.partition("/")[0].endswith(BUILT_IN)]
    missing = [version for version in custom if kube.get(f"/apis/{version}") is None]
    if missing:
        # a chart may leave that template out by a value, so it is not sure to fail
        mend = "install what brings them (Traefik: k3s ships it; helm install traefik traefik/traefik), or turn that part off"
        yield warn(where, _own(release), f"the cluster does not know {', '.join(missing)}, which {what} use", mend)
    elif custom:
        yield ok(where, _own(release), f"{', '.join(custom)} known")


def _own(release: Helm | Manifests) -> str:
    return "kinds" if isinstance(release, Manifests) else "chart's kinds"


def _release(where: str, release: Spec, kube: Kube) -> Iterator[Verdict]:
    revisions = history.read(kube, release.namespace, release.release, release.keeper)
    newest = revisions[0] if revisions else None
    if newest is None:
        yield ok(where, "release", f"{release.release} was never released here")
        return
    text = f"revision {newest.number} of {release.release} is {newest.status}"
    if newest.pending:
        mend = "inv deploy repairs what a run of this pipeline left and says of anything else who may be at work"
        yield warn(where, "release", f"{text}: somebody is at work or was killed", mend)
    elif newest.status == "failed":
        yield warn(where, "release", text, "inv status says what serves; inv deploy puts it right")
    elif isinstance(release, Flux):
        yield ok(where, "release", f"{text}, by Flux")  # which keeps no word of ours beside it: git has that
    else:
        yield ok(where, "release", text + (f", rollout {newest.rollout}" if newest.rollout else ", not made by this pipeline"))


def _lock(where: str, release: Spec, kube: Kube) -> Iterator[Verdict]:
    found = freeze.look(kube, *release.lock)
    spec: dict[str, Any] = found.get("spec") or {}
    identity = str(spec.get("holderIdentity") or "")
    if stopped := freeze.frozen(found):
        yield warn(where, "lock", f"deploys are frozen: {stopped}", "wait, or lift it: inv unfreeze")
    elif identity:
        holder = Holder.read(identity)
        who = holder.person if holder else identity
        mend = "wait until it is done; a run that died is taken over by itself within half a minute"
        yield warn(where, "lock", f"{who} holds it since {spec.get('acquireTime', '?')}, renewed {spec.get('renewTime', '?')}", mend)
    else:
        yield ok(where, "lock", "nobody is deploying, nothing is frozen")


def _ingress(where: str, cluster: str, page: Checks, site: Site) -> Iterator[Verdict]:
    """Whether the front door answers at all: any status will do, verify asks for more."""
    url = page.url or site.cluster(cluster).ingress
    if not url:
        raise ConfigError(
            "no ingress is named", mend="write `ingress` in the site's cluster, e.g. http://10.0.0.5:80, or `url` under verify"
        )
    answer = get(Ask(url.rstrip("/"), page.host, "/", False), PAGE)
    yield ok(where, "ingress", f"{url} answers for {page.host} (HTTP {answer.status})")
