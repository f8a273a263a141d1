"""The files of Flux's own folder: what it follows, and that its components are no part of what is deleted with it."""

from __future__ import annotations

from pipeline.errors import ConfigError
from pipeline.gitops.place import SECRET, Place
from pipeline.tools import goyaml
from pipeline.tools.yamledit_scalar import write as scalar

API = "kustomize.config.k8s.io/v1beta1"
COMPONENTS, SYNC = "gotk-components.yaml", "gotk-sync.yaml"
KEPT = """patches:
  # With the definition of a kind go all its objects, of everybody in this cluster. Whoever deletes the Kustomization does not mean that.
  - target:
      kind: CustomResourceDefinition
    patch: |
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata:
        name: each
        annotations:
          kustomize.toolkit.fluxcd.io/prune: disabled
  - target:
      kind: Namespace
    patch: |
      apiVersion: v1
      kind: Namespace
      metadata:
        name: each
        annotations:
          kustomize.toolkit.fluxcd.io/prune: disabled
"""


def sync(place: Place, url: str, *, secret: bool = True) -> str:
    """What Flux follows, as `flux bootstrap` writes it: the GitRepository, and the Kustomization of this cluster."""
    flux = place.flux
    login = f"  secretRef:\n    name: {SECRET}\n" if secret else ""
    return f"""# Made by `inv flux.bootstrap`.
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: {scalar(flux.source)}
  namespace: {flux.system}
spec:
  interval: {place.gitops.interval}
  url: {scalar(url)}
  ref:
    branch: {scalar(flux.branch)}
{login}---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {scalar(flux.kustomization)}
  namespace: {flux.system}
spec:
  interval: 10m
  path: {scalar(f"./{place.cluster_folder}")}
  prune: true
  sourceRef:
    kind: GitRepository
    name: {scalar(flux.source)}
"""


def kustomization(*, components: bool) -> str:
    """The kustomization of Flux's own folder. Where it holds the components, what would take everything along is never deleted with it."""
    names = [COMPONENTS] * components + [SYNC]
    lines = "".join(f"  - {name}\n" for name in names)
    text = f"apiVersion: {API}\nkind: Kustomization\nresources:\n{lines}"
    return text + KEPT if components else text


def bare(text: bytes) -> bool:
    """Whether a kustomization lists Flux's own files and says nothing more, as `flux bootstrap` writes it: nobody has put work into it."""
    try:
        found = goyaml.values(text.decode(), COMPONENTS)[0]
    except (ConfigError, UnicodeDecodeError, IndexError):
        return False
    if not isinstance(found, dict) or found.keys() - {"apiVersion", "kind", "resources"}:
        return False
    return found.get("apiVersion") == API and set(found.get("resources") or ()) <= {COMPONENTS, SYNC}
