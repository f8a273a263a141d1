"""Reads a kubeconfig: which API server, whose certificate authority, which credentials. Never a way around certificate checks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import AuthError, ConfigError
from pipeline.secrets import sendable
from pipeline.stage import Site
from pipeline.tools import goyaml, kube_login
from pipeline.tools.kube_login import Credentials, Login
from pipeline.yamlfile import Document, Place

SIZE = 1 << 20  # a kubeconfig is a few kilobytes; what is larger is something else
VARIABLE = "$KUBECONFIG"  # as a site's `kubeconfig`: the files that this variable names
IN_CLUSTER = "in-cluster"  # the service account of the pod that this runs in
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUPS = ("clusters", "contexts", "users")
OTHERS = ("as", "as-uid", "as-groups", "as-user-extra")  # keys of a user who acts as somebody else

Guard = Callable[[str], None]
Found = Sequence[tuple[Path, Document]]  # each file with what it holds


@dataclass(frozen=True)
class Access:
    """How to reach one API server: `host` and `port` to connect to, `server_name` its certificate is made out to.

    `ca` is the certificate authority as PEM ("" = the system's own store); `login` who asks. `prefix` is the path that stands before
    every request. `cluster` and `user` are the entries of the kubeconfig that tools get.
    """

    host: str
    port: int
    server_name: str
    login: Login = field(repr=False, compare=False)
    prefix: str = ""
    ca: str = ""
    path: str = ""
    context: str = ""
    namespace: str = "default"
    cluster: Mapping[str, Any] = field(default_factory=dict, repr=False)
    user: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def identities(self) -> tuple[str, ...]:
        """The sha256, as hex, of each CA certificate in DER form: what names this cluster whatever its address is."""
        found = []
        for block in self.ca.split("-----BEGIN CERTIFICATE-----")[1:]:
            pem = "-----BEGIN CERTIFICATE-----" + block.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
            found.append(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest())
        return tuple(found)

    def for_tools(self) -> str:
        """Return a kubeconfig of this access alone: its one context, its CA as data, its user."""
        context = {"cluster": "checked", "user": "checked", "namespace": self.namespace}
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": self.context,
            "clusters": [{"name": "checked", "cluster": self.cluster}], "users": [{"name": "checked", "user": self.user}],
            "contexts": [{"name": self.context, "context": context}],
        })  # fmt: skip


def load(path: str, context: str = "", guard: Guard = lambda _: None) -> Access:
    """Return the access that `context` (or the file's current context) of the kubeconfig at `path` describes.

    Contacts nobody and runs nothing. Raises ConfigError if the file, the context or a file it names is missing or malformed, and if it
    asks not to verify certificates; AuthError if it names no credentials. Each secret is given to `guard`.
    Source of the format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
    """
    file = Path(path).expanduser()
    return _chosen([(file, _read(file))], context, guard)


def access_of(site: Site, name: str) -> tuple[Access, str]:
    """Return the access to the site's cluster `name`, and the line to add to the site file if that does not bind it ("" if it does).

    Contacts nobody. Raises ConfigError as `load` and `bound` do.
    """
    cluster, guard = site.cluster(name), site.secrets.guard
    if cluster.kubeconfig == IN_CLUSTER:
        access = _in_cluster(guard)
    elif cluster.kubeconfig == VARIABLE:
        if not cluster.identity and not cluster.context:
            raise ConfigError(
                f"cluster {name} is whichever {VARIABLE} names last", mend="add `context` or `identity` to it in the site file"
            )
        access = _chosen(_of_variable(os.environ.get("KUBECONFIG", "")), cluster.context, guard)
    else:
        access = load(file_of(site, name), cluster.context, guard)
    return access, bound(access, cluster.identity)


def file_of(site: Site, name: str) -> str:
    """Return the kubeconfig that the site names for cluster `name`; "" if it names a variable, or the account of the pod."""
    named = site.cluster(name).kubeconfig
    if named in (IN_CLUSTER, VARIABLE):
        return ""
    return str(site.root / os.path.expanduser(named))  # noqa: PTH111  # joined, where an absolute name wins


def _of_variable(text: str) -> Found:
    """Return the files of a KUBECONFIG variable that are there, the first counting most."""
    names = [Path(part) for part in text.split(os.pathsep) if part]
    found = [(file, _read(file)) for file in names if file.exists()]
    if not found:
        cause = f"it names {text}" if text else "it is not set"
        raise ConfigError(f"{VARIABLE} names no kubeconfig", cause=cause, mend="export KUBECONFIG=FILE, or name a file in the site file")
    return found


def _in_cluster(guard: Guard) -> Access:
    """Return the access of the pod's own service account. Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not ACCOUNT.is_dir():
        raise ConfigError("this does not run in a pod with a service account", mend=f"name a kubeconfig in place of {IN_CLUSTER}")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    entry = {"server": server, "certificate-authority": "ca.crt"}
    config = {
        "clusters": [{"name": IN_CLUSTER, "cluster": entry}], "users": [{"name": IN_CLUSTER, "user": {"tokenFile": "token"}}],
        "contexts": [{"name": IN_CLUSTER, "context": {
            "cluster": IN_CLUSTER, "user": IN_CLUSTER, "namespace": _text(ACCOUNT, "namespace").strip()}}],
    }  # fmt: skip
    file = ACCOUNT / IN_CLUSTER
    return _chosen([(file, Document(config, {(): Place(str(file), 1)}))], IN_CLUSTER, guard)


def _chosen(found: Found, context: str, guard: Guard) -> Access:
    """Return the access by `context` of these files, of which the first that names something counts."""
    name = context or next((str(each.data["current-context"]) for _, each in found if each.data.get("current-context")), "")
    chosen, _ = _entry(found, "contexts", "context", name)
    entry, of = _entry(found, "clusters", "cluster", str(chosen.get("cluster", "")))
    file = of.file
    if entry.get("insecure-skip-tls-verify"):
        raise ConfigError(
            f"kubeconfig {file} turns certificate checks off (insecure-skip-tls-verify)",
            mend="put the cluster's CA into certificate-authority-data instead; on k3s: /var/lib/rancher/k3s/server/tls/server-ca.crt",
        )
    if entry.get("proxy-url"):
        raise ConfigError(f"kubeconfig {file} goes through a proxy-url", mend="name an SSH host as `tunnel` of the cluster instead")
    server, port = _server(str(entry.get("server", "")), of)
    ca = _data(entry, "certificate-authority", of)
    cluster = {"server": str(entry["server"]), **({"certificate-authority-data": _encoded(ca)} if ca else {}),
               **{key: entry[key] for key in ("tls-server-name", "extensions") if entry.get(key)}}  # fmt: skip
    login, user = _user(found, str(chosen.get("user") or ""), name, cluster, guard)
    return Access(
        host=str(server.hostname),
        port=port,
        server_name=str(entry.get("tls-server-name") or server.hostname),
        login=login,
        prefix=server.path.rstrip("/"),
        ca=ca,
        path=str(file),
        context=name,
        namespace=str(chosen.get("namespace") or "default"),
        cluster=cluster,
        user=user,
    )


@dataclass(frozen=True)
class _Of:
    """Where an entry stands."""

    file: Path
    document: Document
    path: tuple[str, ...]

    def line(self, key: str) -> str:
        """FILE:LINE of one of its keys."""
        return str(self.document.place((*self.path, key)))


def _server(text: str, of: _Of) -> tuple[SplitResult, int]:
    """Return the address of the API server, and its port. Raises ConfigError if it is none."""
    try:
        server = urlsplit(text)
        if server.scheme == "https" and server.hostname:
            return server, server.port or 443
    except ValueError:
        pass
    what = f"kubeconfig {of.line('server')}: server {text[:200]!r} is not an https:// address"
    raise ConfigError(what, mend="write it as https://HOST:PORT")


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


def _read(file: Path) -> Document:
    """Return what the file says, aliases followed. Raises ConfigError, also if that is more than any kubeconfig says."""
    try:
        if file.stat().st_size > SIZE:
            raise ConfigError(f"{file} is too large to be a kubeconfig", mend="name a kubeconfig")
        text = file.read_bytes().decode()
    except OSError as error:
        raise ConfigError(
            f"kubeconfig {file} cannot be read", cause=str(error), mend="copy it from the node; on k3s: /etc/rancher/k3s/k3s.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"kubeconfig {file} is not text", cause=str(error), mend="copy it from the node again") from error
    try:
        document = next(iter(goyaml.documents(text, file.name)), None)
    except ConfigError as error:
        what = f"kubeconfig {file} cannot be read: {error.what}"
        raise ConfigError(what, cause=error.cause, mend="copy it from the node again") from error
    loaded = document.data if document else None
    if document is None or not isinstance(loaded, dict):
        raise ConfigError(f"{file} is not a kubeconfig", mend="name a file with `kind: Config`")
    if wrong := [group for group in GROUPS if not isinstance(loaded.get(group) or [], list)]:
        raise ConfigError(f"{file} is not a kubeconfig: {wrong[0]} is not a list", mend="name a file with `kind: Config`")
    return document


def _entry(found: Found, group: str, kind: str, name: str) -> tuple[Mapping[str, Any], _Of]:
    """Return the entry of that name and where it stands."""
    entries = [
        (entry, _Of(file, document, (group, str(number), kind)))
        for file, document in found
        for number, entry in enumerate(document.data.get(group) or [])
        if isinstance(entry, dict)
    ]
    for entry, of in entries:
        if str(entry.get("name")) == name and isinstance(entry.get(kind), dict):
            return entry[kind], of
    names = ", ".join(sorted({str(entry.get("name")) for entry, _ in entries})) or "none"
    files = " and ".join(str(file) for file, _ in found)
    raise ConfigError(f"kubeconfig {files} has no {kind} {name[:200]!r}", mend=f"its {group} are: {names[:2000]}")


def _user(found: Found, name: str, context: str, cluster: Mapping[str, Any], guard: Guard) -> tuple[Login, Mapping[str, Any]]:
    """Return who asks, and what the tools' kubeconfig says of the user. What the client of Kubernetes prefers goes first.

    Raises AuthError if nobody would be asked for: a request without an identity is not made.
    """
    user, of = _entry(found, "users", "user", name) if name else ({}, _Of(*found[0], ()))
    file = of.file
    place = f"user {name or '-'} of kubeconfig {file}"
    if user.get("username") or user.get("password"):
        raise ConfigError(f"kubeconfig {file} uses a password", mend="Kubernetes dropped passwords in 1.19; use a token or a certificate")
    if others := [key for key in OTHERS if user.get(key)]:
        raise ConfigError(f"{place} acts as somebody else ({others[0]})", mend="name a user that is allowed to deploy itself")
    certificate, key = _data(user, "client-certificate", of), _data(user, "client-key", of)
    pair = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)} if certificate else {}
    if user.get("tokenFile"):
        path = (file.parent / os.path.expanduser(str(user["tokenFile"]))).absolute()  # noqa: PTH111  # as in `_text`
        return kube_login.of_file(path, certificate, key, guard), {"tokenFile": str(path), **pair}
    token = str(user.get("token") or "") or _of_provider(user, place, context)
    if token:
        guard(token)
        sendable(token, f"the token of {place}")
        return kube_login.kept(Credentials(token, certificate, key), guard), {"token": token, **pair}
    if isinstance(plugin := user.get("exec"), dict):
        command = str(plugin.get("command") or "")
        if os.sep in command:  # one without is found on PATH
            plugin = {**plugin, "command": str((file.parent / command).absolute())}
        return kube_login.of_plugin(plugin, cluster, place, guard), {"exec": plugin, **pair}
    if certificate:
        return kube_login.kept(Credentials("", certificate, key), guard), pair
    raise AuthError(
        f"kubeconfig {file} names no credentials for context {context}", mend="write it anew: no request is made without an identity"
    )


def _of_provider(user: Mapping[str, Any], place: str, context: str) -> str:
    """Return the token that an auth-provider left in the kubeconfig. Only OIDC's is one that the tools still know."""
    provider = user.get("auth-provider")
    if not isinstance(provider, dict):
        return ""
    if provider.get("name") != "oidc":
        raise AuthError(
            f"{place}: Kubernetes dropped the auth-provider {provider.get('name')!r} in 1.26",
            mend="write the kubeconfig anew: gcloud container clusters get-credentials, or kubelogin convert-kubeconfig, names a plugin",
        )
    token = str((provider.get("config") or {}).get("id-token") or "")
    if not token or 0.0 < kube_login.end_of(token) <= time.time():
        raise AuthError(
            f"the OIDC token of {place} has ended" if token else f"{place} holds no OIDC token",
            mend=f"kubectl --context {context} get namespaces renews it; an exec plugin (kubelogin) renews itself",
        )
    return token


def _data(entry: Mapping[str, Any], name: str, of: _Of) -> str:
    """A certificate or key: `<name>-data` in base64, or the file that `<name>` is, relative to the kubeconfig. Line breaks in base64 mean
    nothing, as to Go's reader; blanks do."""
    if entry.get(f"{name}-data"):
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", str(entry[f"{name}-data"])), validate=True).decode()
        except ValueError as error:
            what = f"kubeconfig {of.line(f'{name}-data')}: {name}-data is not base64"
            raise ConfigError(what, mend="copy the kubeconfig again") from error
    return _text(of.file.parent, str(entry[name])) if entry.get(name) else ""


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(folder: Path, name: str) -> str:
    path = folder / os.path.expanduser(name)  # noqa: PTH111  # a user that is not known is no fault here
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the kubeconfig names {path}, which cannot be read", cause=str(error), mend="copy that file too") from error
