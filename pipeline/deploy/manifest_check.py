"""Checks the objects of a release before anything is applied: names, namespace, images by digest, ports that lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Images
from pipeline.errors import ConfigError
from pipeline.tools import manifest, references
from pipeline.tools.kube_objects import INSTANCE, labels, name, pod_images

Object = dict[str, Any]
WORKLOADS = tuple(manifest.WORKLOADS)
IN_KUSTOMIZE = "kustomize: images: [{name: NAME, newName: REPOSITORY}] in kustomization.yaml; its digest is written by the release"
MANAGED = "app.kubernetes.io/managed-by"


def called(value: Mapping[str, Any]) -> str:
    """How people name an object: "Deployment web"."""
    return f"{value.get('kind')} {name(value)}"


def flattened(values: Sequence[Any], where: str) -> Iterator[Object]:
    """The objects, those of a List one by one. Raises ConfigError for what is none."""
    for value in values:
        if value is None or value == {}:
            continue  # an empty document
        if not isinstance(value, dict) or not isinstance(value.get("apiVersion"), str) or not isinstance(value.get("kind"), str):
            raise ConfigError(
                f"{where} holds something that is no object",
                cause=str(value)[:200],
                mend="an object has apiVersion, kind and metadata.name",
            )
        if value["kind"] == "List":
            yield from flattened(value.get("items") or [], where)
        elif not isinstance(value.get("metadata"), dict) or not name(value):
            raise ConfigError(
                f"{where}: a {value['kind']} has no metadata.name", mend="give it one: a release's objects are known by their names"
            )
        else:
            yield value


def check(objects: Sequence[Object], images: Images | None, namespace: str, release: str) -> list[Object]:
    """The objects as they are applied: in `namespace`, and labelled as `release`'s. `images` is None before the build: nothing is said of
    them then.

    Raises ConfigError for two of one name, for another namespace or release, for an image of the set that is not used or not by its
    digest, for a Service whose port leads to no container, and where nothing could be followed.
    """
    seen: set[tuple[str, str, str]] = set()
    for value in objects:
        key = (value["apiVersion"].rpartition("/")[0], value["kind"], name(value))
        if key in seen:
            raise ConfigError(f"{called(value)} is there twice", mend="rename one, or take it out: each object is named once")
        seen.add(key)
        other = value["metadata"].get("namespace", namespace)
        if other != namespace:
            raise ConfigError(
                f"{called(value)} is of namespace {other}, the stage deploys to {namespace}",
                mend=f"leave metadata.namespace out of the manifest, or set `namespace: {other}` in the deploy stage",
            )
        if value["kind"] == "Namespace" and name(value) != namespace:
            raise ConfigError(
                f"{called(value)} is another namespace, the stage deploys to {namespace}",
                mend=f"take it out, or set `namespace: {name(value)}` in the deploy stage",
            )
    if not any(value["kind"] in WORKLOADS for value in objects):
        raise ConfigError(
            "the manifests hold nothing that runs", mend=f"a release has at least one {', '.join(WORKLOADS[:-1])} or {WORKLOADS[-1]}"
        )
    if images is not None:
        _check_images(objects, images)
    for service in (value for value in objects if value["kind"] == "Service"):
        _check_ports(service, objects)
    return [_labelled(value, release) for value in objects]


def apart(objects: Sequence[Object]) -> tuple[Object, list[Object]]:
    """(the stage's own namespace as the manifests have it, {} if they do not; the objects of the release). A namespace holds what others
    have there, too: it is part of no release, goes with none, and comes back with none."""
    own = [each for each in objects if each["kind"] == "Namespace"]
    return (own[0] if own else {}), [each for each in objects if each["kind"] != "Namespace"]


def _check_images(objects: Sequence[Object], images: Images) -> None:
    used = {image: called(value) for value in objects for image in pod_images(value)}
    digests = {references.read(each).digest for each in used}
    for image in images.images:
        for other, by in used.items():
            found = references.read(other)
            if found.repository == image.repository and found.digest != image.digest:
                raise ConfigError(
                    f"{by} runs {other}, this release is of {image.reference}",
                    mend="hand the image in by value: {reference}, which is by digest",
                )
        if image.digest not in digests:
            raise ConfigError(
                f"image {image.reference} is not used by any of the manifests",
                cause="used are: " + (", ".join(sorted(used)) or "none"),
                mend="say which of these it is: images: [{name: what the manifests call it}] in the deploy stage "
                '(kubecfg: a top-level argument, values: {image: "{reference}"})\n' + IN_KUSTOMIZE.replace("REPOSITORY", image.repository),
            )


def _check_ports(service: Object, objects: Sequence[Object]) -> None:
    spec = service.get("spec") or {}
    wanted = spec.get("selector") or {}
    pods = [pod for pod in map(_template, objects) if wanted and wanted.items() <= labels(pod).items()]
    if not pods:
        return  # it leads to other pods, or to an address
    ports = [port for pod in pods for container in pod["spec"].get("containers") or [] for port in container.get("ports") or []]
    if not ports and not any(isinstance(port.get("targetPort"), str) for port in spec.get("ports") or []):
        return  # `ports` of a container only inform: a number leads to whatever listens there
    open_ = {port.get("containerPort") for port in ports} | {port.get("name") for port in ports}
    for port in spec.get("ports") or []:
        target = port.get("targetPort", port.get("port"))
        if target not in open_:
            known = (
                ", ".join(f"{each.get('containerPort')}" + (f" ({each['name']})" if each.get("name") else "") for each in ports) or "none"
            )
            raise ConfigError(
                f"{called(service)} port {port.get('port')} leads to port {target}, which no container has",
                cause=f"the containers of the pods it selects have: {known}",
                mend="correct targetPort, or name the port among the container's `ports`",
            )


def _labelled(value: Object, release: str) -> Object:
    """The object with the release's label, in its pods' template too: by it pods are found, followed and judged."""
    made = {**value, "metadata": _marked(value["metadata"], release, called(value))}
    made["metadata"].pop("namespace", None)
    template = _template(value)
    if template:
        marked = {**template, "metadata": _marked(template.get("metadata") or {}, release, called(value), managed=False)}
        made["spec"] = {**made["spec"], "template": marked}
    return made


def _marked(metadata: Mapping[str, Any], release: str, what: str, managed: bool = True) -> dict[str, Any]:
    had = dict(metadata.get("labels") or {})
    if had.get(INSTANCE, release) != release:
        raise ConfigError(
            f"{what} is labelled {INSTANCE}={had[INSTANCE]}, the release is {release}", mend="take that label out: the release writes it"
        )
    return {**metadata, "labels": {**({MANAGED: "pipeline"} if managed else {}), **had, INSTANCE: release}}


def _template(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod template of a workload, {} where there is none."""
    spec = value.get("spec") if value.get("kind") in (*WORKLOADS, "Job", "ReplicaSet") else None
    found = spec.get("template") if isinstance(spec, dict) else None
    return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else {}


def pull_secrets(objects: Sequence[Object]) -> list[Any]:
    """The imagePullSecrets that the workloads name."""
    found: list[Any] = []
    for value in objects:
        for secret in (_template(value).get("spec") or {}).get("imagePullSecrets") or []:
            found += [] if secret in found else [secret]
    return found
