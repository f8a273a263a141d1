"""Proves, before anything is deployed, that the cluster can pull the image: by the node's own runtime, or by a short-lived pod."""

from __future__ import annotations

import importlib.resources
import uuid
from typing import Any

from pipeline.artifacts import Image, Images
from pipeline.deploy.diagnosis import PULL, Evidence, cause
from pipeline.deploy.sideload import side_load, told
from pipeline.deploy.spec import Spec
from pipeline.errors import PipelineError, Transient
from pipeline.events import What
from pipeline.host import Cmd
from pipeline.stage import Cluster, Site, registry_at
from pipeline.tools import crictl
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import containers

PATIENCE = 300.0  # seconds one pull may take
STAGE = "deploy"


def prove(spec: Spec, images: Images, values: Any, kube: Kube, site: Site) -> None:
    """Raise the error that says why an image cannot be pulled, and what to write on the node so that it can."""
    cluster = site.cluster(spec.cluster)
    if spec.pull == "skip":
        return
    for image in images.images:
        waiting = f"{cluster.node or 'a pod'} pulls {image.reference}"
        if spec.pull == "side-load" or cluster.node:  # a node that was made anew, or has made room, has it no more
            site.tell(What.WAIT, STAGE, waiting)
            (_pulled_or_carried if spec.pull == "side-load" else _on_node)(image, cluster, spec.cluster, site)
            continue
        hint = f"pulled {spec.cluster} {image.reference}"
        if site.records.hint(hint):
            continue  # a pod for it is dear, and the rollout says what came of the pull
        site.tell(What.WAIT, STAGE, waiting)
        _by_pod(image, spec, values, kube, site)
        site.records.remember(hint, "yes")


def scheme_of(site: Site, address: str) -> str:
    """How the site says that registry is spoken to."""
    name = registry_at(site.registries, address)
    return site.registry(name).scheme if name else "https"


def _on_node(image: Image, cluster: Cluster, name: str, site: Site) -> None:
    script = importlib.resources.files(__package__).joinpath("pull.sh").read_text()
    output = site.host(cluster.node).run(
        Cmd(("sh", "-c", script, "pull", image.reference, *cluster.crictl), timeout=PATIENCE),
    )
    if output.ok:
        return
    registry = image.repository.partition("/")[0]
    text = "\n".join((output.text, output.errors))
    pull = crictl.classify(text)
    if output.code in (126, 127):
        pull = crictl.Pull("runtime", text.strip())
    raise crictl.error(pull, image.reference, cluster.node or name, registry, scheme=scheme_of(site, registry))


def _pulled_or_carried(image: Image, cluster: Cluster, name: str, site: Site) -> None:
    try:
        _on_node(image, cluster, name, site)
    except PipelineError as error:
        site.tell(What.WARN, STAGE, f"{told(error)}; side-loading it, as the blueprint says")
        side_load(image, cluster, site)


def _by_pod(image: Image, spec: Spec, values: Any, kube: Kube, site: Site) -> None:
    """A pod whose command does not exist: whether its image came is told by its status, and nothing of it ever runs."""
    name = f"{spec.release}-pull-{uuid.uuid4().hex[:6]}"
    collection = path("v1", "pods", spec.namespace)
    secrets = values.get("imagePullSecrets") or []
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "pipeline"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "activeDeadlineSeconds": int(PATIENCE),
            "terminationGracePeriodSeconds": 0,
            "imagePullSecrets": secrets,
            "containers": [{"name": "pull", "image": image.reference, "command": ["/pipeline-pull-proof"]}],
        },
    }
    made = kube.create(collection, pod)
    try:
        version = str(made["metadata"]["resourceVersion"])
        end = site.clock.monotonic() + PATIENCE
        while site.clock.monotonic() < end:
            for _, seen in kube.watch(collection, "app.kubernetes.io/managed-by=pipeline", version, 30):
                if seen.get("metadata", {}).get("name") == name and _pulled(seen, image, kube, spec, site):
                    return
            version = ""
    finally:
        kube.delete(f"{collection}/{name}")
    raise Transient(f"a pod that pulls {image.reference} got no answer in {PATIENCE:.0f} s")


def _pulled(pod: dict[str, Any], image: Image, kube: Kube, spec: Spec, site: Site) -> bool:
    for container in containers(pod):
        if container.state == "waiting" and container.reason in PULL:
            events = kube.list(path("v1", "events", spec.namespace), fields=f"involvedObject.name={pod['metadata']['name']}")["items"]
            found = cause(Evidence(pods=[pod], events=events))
            registry = image.repository.partition("/")[0]
            pull = crictl.classify_message(found.sentence)
            raise crictl.error(pull, image.reference, f"the cluster {spec.cluster}", registry, scheme=scheme_of(site, registry))
        if container.image_id or container.state in ("terminated", "running") or "Error" in container.reason:
            return True
    return False
