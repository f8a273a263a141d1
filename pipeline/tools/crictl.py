"""What a node's runtime says when it cannot pull an image, and the exact lines that mend it (recorded from containerd)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, RateLimited, ResourceError, Transient


@dataclass(frozen=True)
class Pull:
    """Why a pull failed: `kind` is one of http, realm, credentials, platform, absent, certificate, busy, disk, network, runtime, unknown.

    `evidence` is the runtime's own sentence, `realm` the host and port of a token server that did not answer.
    """

    kind: str
    evidence: str
    realm: str = ""


def classify(text: str) -> Pull:
    """What the output of a failed `crictl pull` (or a kubelet's event) means."""
    evidence = _sentence(text)
    if "server gave HTTP response to HTTPS client" in text:
        return Pull("http", evidence)
    if "no space left on device" in text:
        return Pull("disk", evidence)
    if re.search(r"toomanyrequests|429 Too Many Requests", text, re.IGNORECASE):
        return Pull("busy", evidence)
    if "token: " in evidence and (asked := re.search(r'(?:Get|Post) "(https?)://([^/"]+)/', evidence)) and _unanswered(text):
        name, colon, port = asked[2].partition(":")
        return Pull("realm", evidence, f"{name}:{port if colon else {'http': 80, 'https': 443}[asked[1]]}")
    if "x509:" in text or "tls:" in text:
        return Pull("certificate", evidence)
    if re.search(r"insufficient_scope|authorization failed|401 Unauthorized|403 Forbidden|pull access denied|no basic auth", text):
        return Pull("credentials", evidence)
    if "no match for platform" in text or "exec format error" in text:
        return Pull("platform", evidence)
    if re.search(r": not found|404 Not Found|manifest unknown|MANIFEST_UNKNOWN", text):
        return Pull("absent", evidence)
    if re.search(r"validate service connection|dial unix|runtime-endpoint|command not found|No such file", text):
        return Pull("runtime", evidence)
    if _unanswered(text) or re.search(r"50[0-9] |connection reset|EOF", text):
        return Pull("network", evidence)
    return Pull("unknown", evidence)


def error(pull: Pull, image: str, node: str, registry: str, *, scheme: str = "http") -> PipelineError:
    """The error to raise for it, with what to write on the node: k3s' registries.yaml or containerd's hosts.toml.

    Sources: https://docs.k3s.io/installation/private-registry and containerd's docs/hosts.md
    """
    what = f"{node} cannot pull {image}"
    cause = pull.evidence
    if pull.kind == "http":
        return ConfigError(f"{what}: the registry speaks HTTP, the node expects HTTPS", cause=cause, mend=plain_http(registry))
    if pull.kind == "realm":
        why = f"the registry sends it to {pull.realm} for a token, which does not answer"
        return ConfigError(f"{what}: {why}", cause=cause, mend=realm_mend(pull.realm, registry, scheme))
    if pull.kind == "credentials":
        return AuthError(f"{what}: the registry refuses the node's credentials", cause=cause, mend=credentials_mend(registry))
    if pull.kind == "platform":
        return ConfigError(
            f"{what}: the image is for another processor than the node's",
            cause=cause,
            mend="build for the node's architecture (`uname -m` there): the flake's system, or `pkgsCross`",
        )
    if pull.kind == "absent":
        return IntegrityError(f"{what}: the registry does not have it", cause=cause, mend="inv push, then run again")
    if pull.kind == "certificate":
        return ConfigError(f"{what}: it does not trust the registry's certificate", cause=cause, mend=certificate_mend(registry))
    if pull.kind == "busy":
        return RateLimited(f"{what}: the registry asks for patience", retry_after=30.0, cause=cause)
    if pull.kind == "disk":
        return ResourceError(f"{what}: its disk is full", cause=cause, mend=f"on {node}: crictl rmi --prune; df -h /var/lib/rancher")
    if pull.kind == "runtime":
        mend = "correct `crictl` of the cluster in the site file: the argv that speaks to this node's runtime"
        return ConfigError(f"{node}'s container runtime cannot be asked", cause=cause, mend=mend)
    if pull.kind == "network":
        return Transient(
            f"{what}: the registry does not answer the node", cause=cause, mend=f"on {node}: curl -v {scheme}://{registry}/v2/"
        )
    return ConfigError(what, cause=cause, mend=f"on {node}: crictl pull {image}")


def plain_http(registry: str) -> str:
    """What lets a node pull from a registry without TLS."""
    return (
        f"on the node, in /etc/rancher/k3s/registries.yaml, then systemctl restart k3s:\n"
        f'  mirrors:\n    "{registry}":\n      endpoint:\n        - "http://{registry}"\n'
        f"where containerd runs without k3s, in <certs.d>/{registry}/hosts.toml (no restart needed):\n"
        f'  server = "http://{registry}"\n  [host."http://{registry}"]\n    capabilities = ["pull", "resolve"]'
    )


def realm_mend(realm: str, registry: str, scheme: str = "http") -> str:
    """What makes a token server answer under the name the registry gives it: best at the registry, else on the node."""
    name, _, port = realm.partition(":")
    host = registry.rpartition(":")[0] or registry
    return (
        f"best, at the registry: let it name itself; Gitea's app.ini, [server] ROOT_URL = {scheme}://{registry}/\n"
        f"else on the node, in /etc/hosts:  {host} {name}\n"
        f"  and let port {port or '80'} of {host} lead to the registry:\n"
        f"  iptables -t nat -A OUTPUT -p tcp -d {host} --dport {port or '80'} -j DNAT --to-destination {registry}"
    )


def credentials_mend(registry: str) -> str:
    return (
        f"on the node, in /etc/rancher/k3s/registries.yaml (mode 0600), then systemctl restart k3s:\n"
        f'  configs:\n    "{registry}":\n      auth:\n        username: <a user that may read>\n        password: <its token>\n'
        f"or let the chart name an imagePullSecret, or make the package public in the registry"
    )


def certificate_mend(registry: str) -> str:
    return (
        f"on the node, in /etc/rancher/k3s/registries.yaml, then systemctl restart k3s:\n"
        f'  configs:\n    "{registry}":\n      tls:\n        ca_file: /etc/rancher/k3s/registry-ca.pem'
    )


def _unanswered(text: str) -> bool:
    return bool(re.search(r"no such host|connection refused|i/o timeout|no route to host|network is unreachable|deadline exceeded", text))


def _sentence(text: str) -> str:
    """The runtime's own words, without the log prefix and without the image's name said over and over."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line.startswith("exit ")]
    chosen = next((line for line in reversed(lines) if "err=" in line or "rror" in line), lines[-1] if lines else "no output")
    chosen = chosen.rpartition(' err="')[2].strip().removesuffix('"').replace('\\"', '"')
    chosen = re.sub(r"^.*?rpc error: code = \w+ desc = ", "", chosen)
    return re.sub(r'[Ff]ailed to (?:pull image|pull and unpack image|resolve reference) "[^"]*": ', "", chosen)[:1000]
