"""kubectl's command line: what to call, and what its output means. Recorded outputs: tests/cases/kubectl/"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.environment import KUBE, passed
from pipeline.errors import Ambiguous, AuthError, ConfigError, PipelineError, ResourceError, Transient
from pipeline.host.scripts import one_value
from pipeline.tools import kube_login
from pipeline.tools.helm import QUOTED
from pipeline.tools.kube_status import DENIED, FULL, QUOTA

Argv = tuple[str, ...]
INSTALL = "install kubectl 1.28 or later, or name it in the site's tools"

LOST = r"connection refused|connection reset|no route to host|i/o timeout|TLS handshake timeout|was refused|unexpected EOF"
UNKNOWN_USER = r"(?i)unauthorized|provide credentials|must be logged in"
FIXED = r"field is immutable|may not change once set"


@dataclass(frozen=True)
class Target:
    """A namespace of one cluster, and the program that is called. `server` and `server_name` are those of a tunnel, if there is one."""

    program: str
    namespace: str
    kubeconfig: str
    context: str
    server: str = ""
    server_name: str = ""


# The first that fits counts: before kubectl sends anything it asks for the schema, and calls every failure of that one of validation
MEANINGS: tuple[tuple[str, type[PipelineError], str, str], ...] = (
    (LOST, Transient, "kubectl lost the Kubernetes API", ""),
    (UNKNOWN_USER, AuthError, "the Kubernetes API does not know these credentials", "renew the kubeconfig of this cluster"),
    (QUOTA, ResourceError, "a quota of the namespace is used up", FULL),
    (DENIED, AuthError, "the Kubernetes API forbids what the manifests need", "grant this user what the cause names"),
    (r"(?i)forbidden", ConfigError, "a rule of the cluster refuses the manifests", "correct what the cause names"),
    (FIXED, ConfigError, "the manifests change a field that cannot change", "rename the object, or delete it first"),
    (
        r"strict decoding error|field not declared in schema|error validating",
        ConfigError, "the manifests hold a field that is not known", "correct what the cause names",
    ),
    (r"no matches for kind", ConfigError, "the manifests hold a kind this cluster does not know", "install its CRDs first"),
    (r'namespaces "[^"]*" not found', ConfigError, "the namespace is gone", "make it, or set `create_namespace: true`"),
    (r"is invalid:", ConfigError, "the cluster refused the manifests", "correct what the cause names"),
)  # fmt: skip


def common(target: Target) -> Argv:
    words = ("--namespace", target.namespace, "--kubeconfig", target.kubeconfig, "--context", target.context)
    tunnel = ("--server", target.server, "--tls-server-name", target.server_name) if target.server else ()
    return (*words, *tunnel)


def apply(target: Target, file: str, manager: str) -> Argv:
    """Apply the objects of `file` on the server. Another's fields are taken: whose they were has been told, or refused, before."""
    return (
        target.program, "apply", *common(target), "--server-side", "--force-conflicts", f"--field-manager={manager}",
        "--filename", one_value(file),
    )  # fmt: skip


def environment(inherited: Mapping[str, str], folder: str) -> dict[str, str]:
    """The environment it runs in: no KUBECONFIG and no settings of the user's, its caches under `folder`."""
    return passed(KUBE, inherited) | {"KUBECACHEDIR": f"{folder}/cache", "KUBERC": "off"}


def failure(code: int, text: str) -> PipelineError:
    """The error that an `apply` with exit `code` means. What is not known is Ambiguous: the next look tells what came of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    evidence = "\n".join(lines[-4:])
    if code < 0:
        return Ambiguous(f"kubectl was ended by signal {-code}", cause=evidence)
    said = QUOTED.sub('""', text)
    for pattern, kind, what, mend in MEANINGS:
        if re.search(pattern, said):
            if pattern == DENIED:
                return kube_login.forbidden(what, evidence, mend)
            return kind(what, cause=evidence, mend=mend)
    return Ambiguous(f"kubectl failed (exit {code})", cause=evidence)
