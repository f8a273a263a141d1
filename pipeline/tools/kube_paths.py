"""Where Kubernetes keeps each kind of object, and which words its permissions use for asking there."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.errors import ConfigError
from pipeline.tools.kube_status import Asked


def path(version: str, kind: str, namespace: str = "", name: str = "", sub: str = "") -> str:
    """The path of a resource: `version` is v1 or group/version, `kind` the plural in lower case."""
    parts = ["api" if "/" not in version else "apis", *version.split("/")]
    parts += ["namespaces", namespace] if namespace else []
    parts += [part for part in (kind, name, sub) if part]
    if any(part in (".", "..") for part in parts):
        raise ConfigError(f"{'/'.join(parts)} is not a Kubernetes path", mend="correct the name")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def asked(verb: str, target: str, server: str) -> Asked:
    """A request for the path `target` in words; one for what is no object (/version, /readyz) is named by its path."""
    parts = target.strip("/").split("/")
    if parts[0] not in ("api", "apis"):
        return Asked(verb, target, server=server)
    group = f".{parts[1]}" if parts[0] == "apis" else ""
    rest = parts[3:] if group else parts[2:]
    namespace = rest[1] if rest[:1] == ["namespaces"] and len(rest) > 2 else ""
    kind, name, sub = [*(rest[2:] if namespace else rest), "", "", ""][:3]
    return Asked(verb, f"{kind}{group}" + (f"/{sub}" if sub else ""), namespace, name, server)
