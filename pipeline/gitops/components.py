"""Flux's own components: the file that installs them, put into the repository and into the cluster, and waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Expired
from pipeline.events import What
from pipeline.gitops.place import STAGE, Place
from pipeline.host import Cmd, Host
from pipeline.stage import Site
from pipeline.tools import goyaml, kubectl
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import condition, name, pending

VERSION = "app.kubernetes.io/version"
LARGEST = 8 << 20  # bytes
APPLY = 300.0  # seconds that kubectl may take
UP = 300.0  # seconds until images are pulled and pods are ready
EXTRA = "image-reflector-controller,image-automation-controller"
CRDS = "apiextensions.k8s.io/v1"


@dataclass(frozen=True)
class Components:
    """The file: its `text`, the Flux `version` it says it is ("" where it says none), and its `objects`."""

    text: str
    version: str
    objects: tuple[Mapping[str, Any], ...]

    def of(self, kind: str) -> Iterator[Mapping[str, Any]]:
        return (each for each in self.objects if each.get("kind") == kind)


def of_path(where: Path) -> Components:
    """The components in a file, or in all YAML files of a folder. Raises ConfigError where there are none."""
    files = sorted(where.glob("*.y*ml")) if where.is_dir() else [where]
    try:
        texts = [file.read_text() for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where} cannot be read", cause=str(error), mend="--components FILE names the install.yaml of a Flux release"
        ) from error
    return parse("---\n".join(text if text.endswith("\n") else f"{text}\n" for text in texts), str(where))


def parse(text: str, where: str) -> Components:
    """The components in a text. Raises ConfigError where it holds none of Flux's."""
    if len(text) > LARGEST:
        raise ConfigError(f"{where} is larger than {LARGEST >> 20} MiB", mend="name the install.yaml of a Flux release")
    try:
        found = goyaml.values(text, where)
    except ConfigError as error:
        raise ConfigError(f"{where} is not YAML", cause=str(error)[:500], mend="fetch it again") from error
    objects = tuple(each for each in found if isinstance(each, dict) and each.get("kind") and name(each))
    if not objects:
        raise ConfigError(f"{where} holds no Kubernetes objects", mend="name the install.yaml of a Flux release: --components FILE")
    versions = {each["metadata"].get("labels", {}).get(VERSION, "") for each in objects} - {""}
    return Components(text, max(versions, default=""), objects)


def fits(found: Components, place: Place) -> None:
    """Raises ConfigError where the components were made for another namespace than the blueprint's."""
    for each in found.of("Deployment"):
        there = each["metadata"].get("namespace", "")
        if there != place.flux.system:
            raise ConfigError(
                f"these components are for namespace {there!r}, and the deploy stage says system: {place.flux.system}",
                cause=f"Deployment {name(each)}",
                mend=f"flux install --export --namespace={place.flux.system} > install.yaml, or correct `system`",
            )


def exported(place: Place, site: Site, host: Host) -> Components | None:
    """The components that the flux command brings with it, None where it is not installed. Raises ConfigError where it fails."""
    done = host.run(Cmd(export(site.tool("flux"), place), timeout=APPLY))
    if done.code in (126, 127):
        return None
    if not done.ok:
        raise ConfigError(
            "flux could not write its components", cause=done.tail(5), mend="flux --version: 2.3 or newer; or --components FILE"
        )
    return parse(done.text + "\n", "what `flux install --export` wrote")


def export(program: str, place: Place) -> tuple[str, ...]:
    """The words that have flux write its components. Source: flux install --help (2.4)."""
    extra = (f"--components-extra={EXTRA}",) if place.gitops.automation else ()
    return (program, "install", "--export", f"--namespace={place.flux.system}", *extra)


def install(found: Components, place: Place, site: Site, kube: Kube, host: Host) -> None:
    """Apply the components and wait for them. Again goes on where it stopped. Raises what kubectl's output means, Expired where they do
    not come up in time."""
    folder = site.root / ".pipeline" / "gitops"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "gotk-components.yaml"
    file.write_text(found.text)
    site.tell(What.ACT, STAGE, f"Flux {found.version or 'components'}: {len(found.objects)} objects are applied")
    done = host.run(Cmd(kubectl.apply(_target(place, site, kube), str(file), "pipeline"), env=_env(folder), timeout=APPLY))
    if done.code == 127:
        raise ConfigError(f"{site.tool('kubectl')} cannot be run", cause=done.errors, mend=kubectl.INSTALL)
    if not done.ok:
        raise kubectl.TOOL.failure(done.code, done.errors or done.text)
    wait(found, site, kube)


def wait(found: Components, site: Site, kube: Kube) -> None:
    """Until every kind is served and every controller is up. Raises Expired, naming what is not."""
    until, told = site.clock.monotonic() + UP, ""
    while left := next(_missing(found, kube), ""):
        if site.clock.monotonic() > until:
            raise Expired(
                f"Flux did not come up in {UP:.0f} s", cause=left, mend="kubectl get pods -A | grep controller; then run it again"
            )
        if left != told:
            site.tell(What.WAIT, STAGE, told := left)
        site.clock.sleep(1.0)


def _missing(found: Components, kube: Kube) -> Iterator[str]:
    for each in found.of("CustomResourceDefinition"):
        there = kube.get(path(CRDS, "customresourcedefinitions", name=name(each)))
        if there is None or condition(there, "Established").get("status") != "True":
            yield f"{name(each)} is not served yet"
    for each in found.of("Deployment"):
        there = kube.get(path("apps/v1", "deployments", str(each["metadata"].get("namespace")), name(each)))
        if there is None or (why := pending(there)):
            yield f"{name(each)}: {'is not there yet' if there is None else why}"


def _target(place: Place, site: Site, kube: Kube) -> kubectl.Target:
    access, tunnel = kube.access, bool(site.cluster(place.flux.cluster).tunnel)
    return kubectl.Target(
        site.tool("kubectl"), place.flux.system, kube.kubeconfig(), access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    )  # fmt: skip


def _env(folder: Path) -> dict[str, str]:
    """What is set for kubectl; a host's command has this machine's environment beside it."""
    wanted = kubectl.environment(os.environ, str(folder))
    return wanted | {"KUBECONFIG": ""}
