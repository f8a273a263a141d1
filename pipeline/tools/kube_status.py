"""Reads what went wrong between here and a Kubernetes API: status codes, TLS and socket errors, as this project's errors."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.errors import Ambiguous, AuthError, ConfigError, Locked, PipelineError, RateLimited, Transient
from pipeline.tools import kube_login, kube_rules
from pipeline.tools.http_faults import retry_after, words
from pipeline.tools.meanings import Said, Tool, shown

EXPIRED, NOT_YET_VALID = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID of openssl/x509_vfy.h
# one reason, Forbidden, stands for a missing right, a quota and a rule of the cluster: the message tells which
OBJECT = Tool("the Kubernetes API", kube_rules.ADMISSION + kube_rules.OBJECTS, lambda text: Said((text,), shown(text.splitlines())), "")
RENEW = "renew the kubeconfig of this cluster; where it is an output of the infrastructure: inv infra.plan, then inv infra.apply"
CLOCK = "compare `date -u` here and on the node, set the wrong one right (timedatectl set-ntp true)"


class Conflict(Locked):
    """409: somebody else changed or made the object first."""


class Gone(Transient):
    """410: the version a watch wanted to start from is no longer kept; list again."""


@dataclass(frozen=True)
class Asked:
    """A request, in the words of Kubernetes' own permissions: "get deployments.apps/web in namespace shop"."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    server: str = ""

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")

    def __str__(self) -> str:
        name = f"/{self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{name}" + (f" in namespace {self.namespace}" if self.namespace else "")


def refused(asked: Asked, code: int, headers: Mapping[str, str], body: bytes) -> PipelineError:
    """The error that an answer with status `code` (400 or more) means.

    Source of codes and reasons: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
    """
    status = _status(body)
    message = str(status.get("message") or words(body) or f"HTTP {code}")
    details = status.get("details")
    causes = details.get("causes") or [] if isinstance(details, dict) else []
    if any(isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return terminating(asked.namespace, message)
    what = f"the Kubernetes API refused to {asked}"
    if code == 401:
        return AuthError(f"{what}: it does not know these credentials", cause=message, mend=RENEW)
    read = OBJECT.error(Said((message,), message))
    if read and not isinstance(read, AuthError) and code in (403, 500):
        read.what = f"{what}: {read.what}"
        return read
    if code == 403:
        grant = f"allow this user to {asked.verb} {asked.resource}" + (f" in {asked.namespace}" if asked.namespace else "")
        return kube_login.forbidden(what, cause=message, mend=f"{grant} (a Role and a RoleBinding), or name another kubeconfig")
    if code == 409:
        return Conflict(what, cause=message, mend="somebody else changed it at the same moment; run again")
    if code == 410:
        return Gone(what, cause=message)
    if code == 429:
        return RateLimited(what, retry_after=_patience(headers), cause=message)
    if code in (408, 499) or code >= 500:
        kind = Ambiguous if asked.writes else Transient
        return kind(f"the Kubernetes API failed to {asked} (HTTP {code})", cause=message)
    return ConfigError(what, cause=message, mend="correct what the message names")


def terminating(namespace: str, cause: str = "") -> ConfigError:
    """The namespace is being deleted: nothing can be made in it."""
    return ConfigError(
        f"namespace {namespace} is being deleted",
        cause=cause,
        mend=f"wait until `kubectl get namespace {namespace}` says NotFound, then run again; what holds it: "
        f"kubectl get namespace {namespace} -o jsonpath='{{.status.conditions}}'",
    )


def unreachable(asked: Asked, error: Exception, *, sent: bool) -> PipelineError:
    """The error that a failed connection means. `sent` says that the whole request had left when it failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(asked, error)
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return ConfigError(
            f"the Kubernetes API at {asked.server} has no address", cause=str(error), mend="correct `server` in the kubeconfig"
        )
    if isinstance(error, ssl.SSLError) and "certificate" in str(error).lower():
        return AuthError(f"the Kubernetes API at {asked.server} refused this client's certificate", cause=str(error),
                         mend="renew the kubeconfig: client certificates of k3s last a year")  # fmt: skip
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if sent and asked.writes:
        return Ambiguous(f"the connection to {asked.server} was lost, whether it did {asked} is unknown", cause=text)
    mend = "look whether it is up and reachable from here, then run again"
    return Transient(f"the Kubernetes API at {asked.server} does not answer ({asked})", cause=text, mend=mend)


def _unverified(asked: Asked, error: ssl.SSLCertVerificationError) -> ConfigError:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if error.verify_code == NOT_YET_VALID:
        return ConfigError(
            f"the certificate of {asked.server} is not valid yet: a clock is wrong",
            cause=f"{error.verify_message}; it is {now} on this machine",
            mend=CLOCK,
        )
    if error.verify_code == EXPIRED:
        return ConfigError(
            f"the certificate of {asked.server} has expired, or a clock is wrong",
            cause=f"{error.verify_message}; it is {now} on this machine",
            mend=f"{CLOCK}; if both agree, renew it: k3s does so when it starts (systemctl restart k3s)",
        )
    return ConfigError(
        f"what answers at {asked.server} is not the cluster of this kubeconfig",
        cause=error.verify_message or str(error),
        mend="correct `server` or `certificate-authority-data` in the kubeconfig; k3s takes further names with --tls-san",
    )


def _status(body: bytes) -> dict[str, Any]:
    try:
        loaded = jsontext.loads(body)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _patience(headers: Mapping[str, str]) -> float:
    wait = retry_after(headers.get("Retry-After") or "", time.time())
    return 1.0 if wait is None else wait
