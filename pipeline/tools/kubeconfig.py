"""Reads a kubeconfig: which API server, whose certificate authority, which credentials. Never a way around certificate checks."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import ConfigError
from pipeline.stage import Site

SIZE = 1 << 20  # a kubeconfig is a few kilobytes; what is larger is something else


@dataclass(frozen=True)
class Access:
    """How to reach one API server: `host` and `port` to connect to, `server_name` its certificate is made out to.

    `ca` is the certificate authority as PEM ("" = the system's own store); `token` a bearer token; `certificate` and `key` the
    client's own, as PEM. `prefix` is the path that stands before every request. Secrets do not print.
    """

    host: str
    port: int
    server_name: str
    prefix: str = ""
    ca: str = ""
    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    path: str = ""
    context: str = ""
    namespace: str = "default"

    @property
    def identities(self) -> tuple[str, ...]:
        """The sha256, as hex, of each CA certificate in DER form: what names this cluster whatever its address is."""
        found = []
        for block in self.ca.split("-----BEGIN CERTIFICATE-----")[1:]:
            pem = "-----BEGIN CERTIFICATE-----" + block.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
            found.append(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest())
        return tuple(found)


def load(path: str, context: str = "") -> Access:
    """The access that `context` (or the file's current context) of the kubeconfig at `path` describes.

    Raises ConfigError where the file, the context or a file it names is missing or malformed, and where it asks not to verify
    certificates. Exec plugins and auth providers go through the official client's loader, imported only then.
    Source of the format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
    """
    file = Path(path).expanduser()
    config = _read(file)
    name = context or str(config.get("current-context") or "")
    chosen = _entry(config, "contexts", "context", name, file)
    cluster = _entry(config, "clusters", "cluster", str(chosen.get("cluster", "")), file)
    user = _entry(config, "users", "user", str(chosen["user"]), file) if chosen.get("user") else {}
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigError(
            f"kubeconfig {file} turns certificate checks off (insecure-skip-tls-verify)",
            mend="put the cluster's CA into certificate-authority-data instead; on k3s: /var/lib/rancher/k3s/server/tls/server-ca.crt",
        )
    if cluster.get("proxy-url"):
        raise ConfigError(f"kubeconfig {file} goes through a proxy-url", mend="name an SSH host as `tunnel` of the cluster instead")
    server = urlsplit(str(cluster.get("server", "")))
    if server.scheme != "https" or not server.hostname:
        raise ConfigError(f"kubeconfig {file}: server {cluster.get('server')!r} is not an https:// address", mend="correct `server`")
    token, certificate, key = _credentials(user, file, name)
    return Access(
        host=server.hostname,
        port=server.port or 443,
        server_name=str(cluster.get("tls-server-name") or server.hostname),
        prefix=server.path.rstrip("/"),
        ca=_data(cluster, "certificate-authority", file),
        token=token,
        certificate=certificate,
        key=key,
        path=str(file),
        context=name,
        namespace=str(chosen.get("namespace") or "default"),
    )


def access_of(site: Site, name: str) -> tuple[Access, str]:
    """The access to the site's cluster `name`, and the line to add to the site file where that does not bind it ("" where it does).

    Contacts nobody. Raises ConfigError as `load` and `bound` do.
    """
    cluster = site.cluster(name)
    file = os.path.expanduser(cluster.kubeconfig)  # noqa: PTH111  # joined below, where an absolute name wins
    access = load(str(site.root / file), cluster.context)
    return access, bound(access, cluster.identity)


def bound(access: Access, identity: str) -> str:
    """Compare the kubeconfig with the cluster the site means. Gives the line to add where the site names none ("" where it does).

    Raises ConfigError where they differ: deploying to another cluster is the one thing that cannot be taken back.
    """
    wanted = identity.lower().removeprefix("sha256:").replace(":", "")
    have = access.identities
    if not wanted:
        return f"identity: sha256:{have[0]}" if have else ""
    if wanted in have:
        return ""
    seen = ", ".join(f"sha256:{value}" for value in have) or "none: it has no certificate-authority"
    raise ConfigError(
        "this kubeconfig points to another cluster",
        cause=f"{access.path} (context {access.context}) has CA {seen}\nthe site means the cluster with CA sha256:{wanted}",
        mend="name the right kubeconfig or context in the site file; correct `identity` only if the cluster was really rebuilt",
    )


def _read(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        if file.stat().st_size > SIZE:
            raise ConfigError(f"{file} is too large to be a kubeconfig", mend="name a kubeconfig")
        loaded = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe loaders
    except OSError as error:
        raise ConfigError(
            f"kubeconfig {file} cannot be read", cause=str(error), mend="copy it from the node; on k3s: /etc/rancher/k3s/k3s.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"kubeconfig {file} is not YAML", cause=str(error), mend="copy it from the node again") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{file} is not a kubeconfig", mend="name a file with `kind: Config`")
    return loaded


def _entry(config: Mapping[str, Any], group: str, kind: str, name: str, file: Path) -> Mapping[str, Any]:
    entries = [entry for entry in config.get(group) or [] if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("name") == name and isinstance(entry.get(kind), dict):
            value: Mapping[str, Any] = entry[kind]
            return value
    names = ", ".join(sorted(str(entry.get("name")) for entry in entries)) or "none"
    raise ConfigError(f"kubeconfig {file} has no {kind} {name!r}", mend=f"its {group} are: {names}")


def _credentials(user: Mapping[str, Any], file: Path, context: str) -> tuple[str, str, str]:
    if user.get("exec") or user.get("auth-provider"):
        return _from_plugin(file, context)
    if user.get("username") or user.get("password"):
        raise ConfigError(f"kubeconfig {file} uses a password", mend="Kubernetes dropped passwords in 1.19; use a token or a certificate")
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = _text(file, str(user["tokenFile"])).strip()
    return token, _data(user, "client-certificate", file), _data(user, "client-key", file)


def _from_plugin(file: Path, context: str) -> tuple[str, str, str]:
    """Credentials that a program or a cloud has to be asked for: the official client knows how."""
    from kubernetes.client import Configuration
    from kubernetes.config import load_kube_config

    loaded = Configuration()
    try:
        load_kube_config(str(file), context, loaded, persist_config=False)  # type: ignore[no-untyped-call]  # ships no types
    except Exception as error:
        raise ConfigError(
            f"the credential plugin of kubeconfig {file} (context {context}) failed", cause=str(error), mend="run its command by hand"
        ) from error
    token = str((loaded.api_key or {}).get("authorization", "")).removeprefix("Bearer ")
    certificate = Path(loaded.cert_file).read_text() if loaded.cert_file else ""
    return token, certificate, Path(loaded.key_file).read_text() if loaded.key_file else ""


def _data(entry: Mapping[str, Any], name: str, file: Path) -> str:
    """A certificate or key: `<name>-data` in base64, or the file that `<name>` is, relative to the kubeconfig."""
    if entry.get(f"{name}-data"):
        try:
            return base64.b64decode(str(entry[f"{name}-data"]), validate=True).decode()
        except ValueError as error:
            raise ConfigError(f"kubeconfig {file}: {name}-data is not base64", mend="copy the kubeconfig again") from error
    return _text(file, str(entry[name])) if entry.get(name) else ""


def _text(file: Path, name: str) -> str:
    path = file.parent / Path(name).expanduser()
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"kubeconfig {file} names {path}, which cannot be read", cause=str(error), mend="copy that file too") from error
