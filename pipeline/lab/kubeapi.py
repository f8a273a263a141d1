"""The cluster's API over plain HTTPS with the lab's own certificates: quicker than starting kubectl for each question."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.lab.layout import API, NODE

if TYPE_CHECKING:
    from pipeline.lab.layout import Lab


def ask(lab: Lab, method: str, path: str, body: str = "", kind: str = "application/yaml") -> tuple[int, str]:
    """Status and text of the answer. Raises OSError where nothing answers."""
    pki = lab.state / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
    connection = http.client.HTTPSConnection(lab.address, API, timeout=15, context=context)
    try:
        connection.request(method, path, body.encode() or None, {"Content-Type": kind, "Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def create(lab: Lab, path: str, body: str) -> None:
    """POST one object; one that exists already is left as it is. Raises PipelineError."""
    try:
        status, text = ask(lab, "POST", path, body)
    except OSError as error:
        status, text = 0, str(error)
    if status not in (200, 201, 202, 409):
        raise PipelineError(f"the lab's cluster answered {status} to POST {path}", cause=text[:500], log=str(lab.log("kube-apiserver")))


def ready(lab: Lab) -> str:
    """ "" if the API server is ready, else what it said."""
    try:
        status, text = ask(lab, "GET", "/readyz")
    except OSError as error:
        return str(error)
    return "" if status == 200 else text[-300:]


def node_ready(lab: Lab) -> str:
    """ "" if the node is Ready and takes pods, else why not."""
    try:
        status, text = ask(lab, "GET", f"/api/v1/nodes/{NODE}")
    except OSError as error:
        return str(error)
    if status != 200:
        return f"node {NODE}: {status}"
    node: dict[str, Any] = json.loads(text)
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return "the node is tainted" if node["spec"].get("taints") else ""
        if condition["type"] == "Ready":
            return f"node {NODE} is not ready: {condition.get('message', '')}"
    return f"node {NODE} has not reported yet"
