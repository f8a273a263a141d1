"""kubectl's command line: what to call, and what its output means. Recorded outputs: tests/cases/kubectl/"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.environment import KUBE, passed
from pipeline.host.scripts import one_value
from pipeline.tools import kube_rules
from pipeline.tools.meanings import Said, Tool, shown

Argv = tuple[str, ...]
INSTALL = "install kubectl 1.28 or later, or name it in the site's tools"

OWN = re.compile(
    r"(?:error: |Error from server(?: \([A-Za-z]+\))?: |The [\w.-]+ \"|Unable to connect to the server: |The connection to the server )"
)


@dataclass(frozen=True)
class Target:
    """A namespace of one cluster, and the program that is called. `server` and `server_name` are those of a tunnel, if there is one."""

    program: str
    namespace: str
    kubeconfig: str
    context: str
    server: str = ""
    server_name: str = ""


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


def own(text: str) -> Said:
    """Return kubectl's complaints, one for each object that it could not apply."""
    lines = text.splitlines()
    return Said(tuple(line for line in lines if OWN.match(line)), shown(lines, 4))


# Recorded outputs: tests/cases/kubectl/. Before kubectl sends anything it asks for the schema, and calls that validation
TOOL = Tool("kubectl", kube_rules.RULES, own, "see the cause; kubectl apply --server-side --dry-run=server shows more")
