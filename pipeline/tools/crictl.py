"""What a node's runtime says when it cannot pull an image, and the exact lines that mend it (recorded from containerd)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, RateLimited, ResourceError, Transient, Unknown
from pipeline.tools.meanings import LOST, NO_NAME, find, request, unquoted


@dataclass(frozen=True)
class Pull:
    """Why a pull failed: `kind` is one of http, realm, credentials, platform, absent, certificate, proxy, busy, disk,
    network, runtime, rights, unknown.

    `evidence` is the runtime's own sentence, `realm` the host and port of a token server that did not answer.
    """

    kind: str
    evidence: str
    realm: str = ""


@dataclass(frozen=True)
class Meaning:
    """The kind of a failure whose text has a clause that begins with `pattern`."""

    pattern: str
    kind: str


# How the runtime, and a kubelet that speaks of it, begin; anything else is not theirs
OWN = re.compile(
    r"(?:rpc error: |[Ff]ailed to pull (?:and unpack )?image|validate service connection|pulling image"
    r"|Back-off pulling image|E[a-zA-Z]*Pull[a-zA-Z]*: |sudo: |Sorry, user |ctr: failed to dial )"
)
ERR = re.compile(r'(?: err|^time="[^"]*" level=fatal msg)=(".*")\s*$')
LEVEL = re.compile(r"^FATA\[\d+\] ")
STATUS = r"(?:unexpected status(?: code)?(?: from [A-Z]+ request to \S+)?: |(?:pulling from host \S+ )?failed with status code [^:\n]*: )?"
ASKED = r'failed to fetch (?:oauth|anonymous) token: (?:Get|Post) "(?P<scheme>https?)://(?P<host>[^/"]+)[^"]*": '
MEANINGS = (
    # sudo's own words: without a password, for these words, without a terminal; and the PATH that it gives (secure_path)
    Meaning(r"sudo: (?:a password is required|a terminal is required|sorry, you must have a tty|\S+: command not found)", "rights"),
    Meaning(r"Sorry, user \S+ is not allowed to execute ", "rights"),
    Meaning(r"(?:validate service connection|ctr: failed to dial)\b.* dial unix \S+: connect: permission denied", "rights"),
    Meaning(r"http: server gave HTTP response to HTTPS client", "http"),
    Meaning(r"no space left on device", "disk"),
    Meaning(rf"(?:toomanyrequests: |{STATUS}429 )", "busy"),
    Meaning(rf"{ASKED}(?:{LOST}|{NO_NAME})", "realm"),
    Meaning(r"(?:x509: |tls: )", "certificate"),
    Meaning(r"(?:unexpected media type text/html|invalid character '<' looking for beginning of value)", "proxy"),
    Meaning(rf"(?:pull access denied|authorization failed|insufficient_scope|no basic auth credentials|{STATUS}40[13] )", "credentials"),
    Meaning(r"(?:no match for platform in manifest|exec format error)", "platform"),
    Meaning(rf"(?:(?:\S+: )?not found$|{STATUS}404 |manifest unknown|MANIFEST_UNKNOWN)", "absent"),
    Meaning(r"(?:validate service connection|dial unix )", "runtime"),
    Meaning(rf"(?:(?:{request()})?{LOST}|(?:{request()}){NO_NAME}|{STATUS}5\d\d )", "network"),
)


def classify(text: str) -> Pull:
    """Return what the output of a failed `crictl pull` means."""
    own = [sentence for sentence in _sentences(text) if OWN.match(sentence)]
    return _pull(own, own[-1] if own else text)


def classify_message(message: str) -> Pull:
    """Return what a kubelet's message of a pull that failed means: nothing else is in it."""
    return _pull([message], message)


def _pull(own: Sequence[str], text: str) -> Pull:
    evidence = _evidence(text)
    if (found := find(MEANINGS, own)) is None:
        return Pull("unknown", evidence)
    meaning, match = found
    if meaning.kind != "realm":
        return Pull(meaning.kind, evidence)
    name, colon, port = match["host"].partition(":")
    return Pull("realm", evidence, f"{name}:{port if colon else {'http': 80, 'https': 443}[match['scheme']]}")


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
    if pull.kind == "rights":
        return ConfigError(f"this user may not ask {node}'s container runtime", cause=cause, mend=RIGHTS)
    if pull.kind == "runtime":
        mend = "correct `crictl` of the cluster in the site file: the argv that speaks to this node's runtime"
        return ConfigError(f"{node}'s container runtime cannot be asked", cause=cause, mend=mend)
    if pull.kind == "network":
        return Transient(
            f"{what}: the registry does not answer the node", cause=cause, mend=f"on {node}: curl -v {scheme}://{registry}/v2/"
        )
    if pull.kind == "proxy":
        mend = f"on {node}: curl -v {scheme}://{registry}/v2/; take the registry out of the proxy there (NO_PROXY of k3s' own service)"
        return ConfigError(f"{what}: a web page answers in place of the registry", cause=cause, mend=mend)
    return Unknown(what, cause=cause, mend=f"on {node}: crictl pull {image}")


RIGHTS = (
    "on the node, `visudo -f /etc/sudoers.d/pipeline`, with the user of the site file for USER, and k3s' place there (`command -v k3s`):\n"
    "  USER ALL=(root) NOPASSWD: /usr/local/bin/k3s crictl images, /usr/local/bin/k3s crictl inspecti *, \\\n"
    "    /usr/local/bin/k3s crictl pull *, /usr/local/bin/k3s ctr -n k8s.io images import *\n"
    "or write `crictl` and `ctr` of the cluster in the site file: the argv by which this user may, or name another user of the host"
)


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


def _sentences(text: str) -> list[str]:
    """Return the runtime's complaints, without the log's own words around them: klog's, and logrus' of crictl before 1.31."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line.startswith("exit ")]
    return [unquoted(found[1]) if (found := ERR.search(line)) else LEVEL.sub("", line) for line in lines]


def _evidence(text: str) -> str:
    """Return a complaint without the image's name said over and over."""
    lines = text.strip().splitlines() or ["no output"]
    chosen = re.sub(r"^.*?rpc error: code = \w+ desc = ", "", lines[-1])
    return re.sub(r'[Ff]ailed to (?:pull image|pull and unpack image|resolve reference) "[^"]*": ', "", chosen)[:1000]
