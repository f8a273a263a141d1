"""May this kubeconfig's user do what a deploy does: the API itself is asked, by SelfSubjectAccessReview."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.spec import Spec
from pipeline.doctor.verdict import Verdict, fail, ok, unknown, warn
from pipeline.errors import AuthError, PipelineError
from pipeline.tools.kube import Kube, path

Rule = tuple[str, str, tuple[str, ...]]
# what pipeline.deploy asks, and its tool writes for the objects that most releases have; further kinds are the tool's to tell
NEEDED: tuple[Rule, ...] = (
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
# what `inv prune` reads of everything that has or makes pods; what the stage itself needs is asked above
TO_PRUNE: tuple[Rule, ...] = (
    ("", "pods", ("list",)),
    *((group, resource, ("list",)) for group, resource in (
        ("apps", "deployments"), ("apps", "statefulsets"), ("apps", "daemonsets"), ("batch", "jobs"), ("batch", "cronjobs"),
    )),
)  # fmt: skip
OF_POLICIES: Rule = ("image.toolkit.fluxcd.io", "imagepolicies", ("list",))  # of Flux's own namespace and of the release's
# where Flux applies what was committed: its objects are read and asked to look now, the pods are followed
OF_FLUX: tuple[Rule, ...] = (
    ("helm.toolkit.fluxcd.io", "helmreleases", ("get", "list", "watch", "patch")),
    ("", "secrets", ("get", "list")),
    ("apps", "deployments", ("get", "list", "watch")),
    ("apps", "replicasets", ("list",)),
    ("", "pods", ("list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
)
OF_ITS_SYSTEM: tuple[Rule, ...] = (
    ("coordination.k8s.io", "leases", ("get", "create", "update", "patch")),
    ("source.toolkit.fluxcd.io", "gitrepositories", ("get", "list", "watch", "patch")),
    ("kustomize.toolkit.fluxcd.io", "kustomizations", ("get", "list", "watch", "patch")),
)


def look(where: str, release: Spec, kube: Kube) -> Iterator[Verdict]:
    """Whether it may do what a deploy does, and what `inv prune` asks, which no deploy needs. Asks on one connection, one question after
    the other: nothing is written by them."""
    rules = list(_needed(release))
    try:
        denied = _denied(kube, rules)
        not_read = _denied(kube, _to_prune(release))
    except AuthError as error:
        yield unknown(where, "permissions", error.what, "the deploy itself will tell")
        return
    if denied:
        yield fail(where, "permissions", _said(denied), _role(release, denied), AuthError)
    else:
        asked = sum(len(verbs) for _, (_, _, verbs) in rules)
        yield ok(where, "permissions", f"all {asked} that a deploy to {release.namespace} needs")
    if not_read:
        evidence = f"{_said(not_read)}: inv prune cannot know what is needed, and deletes nothing"
        yield warn(where, "prune", evidence, _role(release, not_read, "prune"))


def _to_prune(release: Spec) -> Iterator[tuple[str, Rule]]:
    yield from ((release.namespace, rule) for rule in TO_PRUNE)
    if isinstance(release, Flux):
        yield from ((namespace, OF_POLICIES) for namespace in sorted({release.system, release.namespace}))


def _denied(kube: Kube, rules: Iterable[tuple[str, Rule]]) -> list[tuple[str, str, str]]:
    """The namespace, the verbs and the resource of what is not allowed."""
    found = []
    for namespace, (group, resource, verbs) in rules:
        if refused := [verb for verb in verbs if not allowed(kube, namespace, group, resource, verb)]:
            found.append((namespace, ",".join(refused), f"{resource}{'.' + group if group else ''}"))
    return found


def _said(denied: list[tuple[str, str, str]]) -> str:
    spaces = " and ".join(dict.fromkeys(namespace for namespace, _, _ in denied))
    return f"in {spaces} this user may not: " + "; ".join(f"{verbs} {resource}" for _, verbs, resource in denied)


def _needed(release: Spec) -> Iterator[tuple[str, Rule]]:
    """Each rule with its namespace."""
    if isinstance(release, Flux):
        yield from ((release.namespace, rule) for rule in OF_FLUX)
        yield from ((release.system, rule) for rule in OF_ITS_SYSTEM)
    else:
        yield from ((release.namespace, rule) for rule in NEEDED)


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


def _role(release: Spec, denied: list[tuple[str, str, str]], to: str = "") -> str:
    """The lines that grant it, as kubectl takes them."""
    lines = []
    for number, (namespace, verbs, resource) in enumerate(denied):
        role = "-".join(filter(None, ("pipeline", release.release, to, str(number))))
        lines += [
            f"kubectl create role {role} -n {namespace} --verb={verbs} --resource={resource}",
            f"kubectl create rolebinding {role} -n {namespace} --role={role} --user=<the kubeconfig's user>",
        ]
    return "\n".join(lines)
