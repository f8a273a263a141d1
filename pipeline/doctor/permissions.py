"""May this kubeconfig's user do what a deploy does: the API itself is asked, by SelfSubjectAccessReview."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.deploy.spec import Spec
from pipeline.doctor.verdict import Verdict, fail, ok, unknown
from pipeline.errors import AuthError, PipelineError
from pipeline.tools.kube import Kube, path

# what pipeline.deploy asks, and its tool writes for the objects that most releases have; further kinds are the tool's to tell
NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "secrets", ("get", "list", "create", "update", "patch", "delete")),
    ("coordination.k8s.io", "leases", ("get", "create", "update", "patch")),
    ("apps", "deployments", ("get", "list", "watch", "create", "patch")),
    ("apps", "replicasets", ("list",)),
    ("", "pods", ("list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("", "services", ("get", "create", "patch")),
    ("", "configmaps", ("get", "create", "patch")),
)


def look(where: str, release: Spec, kube: Kube) -> Iterator[Verdict]:
    """One verdict. Asks on one connection, one question after the other: nothing is written by them."""
    asked, denied = 0, []
    try:
        for group, resource, verbs in NEEDED:
            refused = [verb for verb in verbs if not allowed(kube, release.namespace, group, resource, verb)]
            asked += len(verbs)
            if refused:
                denied.append(f"{','.join(refused)} {resource}{'.' + group if group else ''}")
    except AuthError as error:
        yield unknown(where, "permissions", error.what, "the deploy itself will tell")
        return
    if denied:
        yield fail(
            where, "permissions", f"in {release.namespace} this user may not: {'; '.join(denied)}", _role(release, denied), AuthError
        )
        return
    yield ok(where, "permissions", f"all {asked} that a deploy to {release.namespace} needs")


def allowed(kube: Kube, namespace: str, group: str, resource: str, verb: str) -> bool:
    """Whether the API would let us. Source: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/"""
    kind, _, sub = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": kind, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes | ({"subresource": sub} if sub else {})},
    }
    answer = kube.create(path("authorization.k8s.io/v1", "selfsubjectaccessreviews"), review)
    status = answer.get("status")
    if not isinstance(status, dict) or "allowed" not in status:
        raise PipelineError("the Kubernetes API gave no answer to a SelfSubjectAccessReview")
    return bool(status["allowed"])


def _role(release: Spec, denied: list[str]) -> str:
    """The lines that grant it, as kubectl takes them."""
    lines = []
    for number, text in enumerate(denied):
        verbs, _, resource = text.partition(" ")
        role = f"pipeline-{release.release}-{number}"
        lines += [
            f"kubectl create role {role} -n {release.namespace} --verb={verbs} --resource={resource}",
            f"kubectl create rolebinding {role} -n {release.namespace} --role={role} --user=<the kubeconfig's user>",
        ]
    return "\n".join(lines)
