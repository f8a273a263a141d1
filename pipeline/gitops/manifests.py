"""The manifests of the layout, as text with its comments: which lines are the pipeline's, which are people's.

Kinds and fields: the CRDs of source-controller 1.7, kustomize-controller 1.7 and helm-controller 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.gitops.place import INFRASTRUCTURE, Place
from pipeline.tools import goyaml, unreleased
from pipeline.tools.yamledit_scalar import write as scalar

HELM_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"  # the layer of a chart, as Helm pushes it
WATCH = "reconcile.fluxcd.io/watch: Enabled"  # helm-controller looks at once when an object with this label changes


def namespace(place: Place) -> str:
    """The namespace of the release."""
    return f"""# Made by `inv flux.init`; what you change here is kept.
apiVersion: v1
kind: Namespace
metadata:
  name: {place.flux.namespace}
"""


def release(place: Place, values: Mapping[str, Any]) -> str:
    """The HelmRelease, suspended, with placeholders in the lines that the pipeline writes, which `values` holds."""
    flux = place.flux
    return f"""# Made by `inv flux.init`; what you change here is kept.
# The lines below spec.values are the pipeline's: `inv release` writes them, one commit per release, and `inv rollback` takes one back.
# What the chart is given beside them stands in values.yaml.
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {flux.release}
  namespace: {flux.namespace}
spec:
  suspend: true # {_until(place)}
  interval: 5m
  timeout: {_seconds(flux.deadline)}
  releaseName: {flux.release}
{_chart(place)}  # The pipeline follows the pods itself and goes back by a commit. So Helm neither waits for them, which would keep that
  # commit waiting too, nor takes anything back or away by itself: git says what runs.
  install:
    disableWait: true
    remediation:
      retries: 0
  upgrade:
    disableWait: true
    remediation:
      retries: 0
      remediateLastFailure: false
  driftDetection:
    mode: enabled # what is changed in the cluster by hand is put back
  valuesFrom:
    - kind: ConfigMap
      name: {place.config_map} # values.yaml; the lines below win over it
  values:
{block(unreleased.filled(values, place.app), 4)}"""


def values(place: Place) -> str:
    """The ConfigMap with people's own values."""
    return f"""# Made by `inv flux.init`, once: this file is yours. What you write below values.yaml is given to the chart; only the
# lines in release.yaml, which are the pipeline's, win over it.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {place.config_map}
  namespace: {place.flux.namespace}
  labels:
    {WATCH} # a change here is released at once
data:
  values.yaml: |
{block(place.gitops.values or {}, 4)}"""


def sources(place: Place, url: str = "", *, insecure: bool = False) -> str:
    """Where the chart comes from, if that is not this repository: an OCIRepository at `url`, by plain http where `insecure`."""
    if not place.gitops.oci:
        return "# Made by `inv flux.init`. The chart lies in this repository; a chart in a registry would have its OCIRepository here.\n"
    more = "  insecure: true # the site says that this registry speaks plain http\n" if insecure else ""
    if place.gitops.chart_secret:
        more += f"  secretRef:\n    name: {scalar(place.gitops.chart_secret)}\n"
    return f"""# Made by `inv flux.init`; what you change here is kept.
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata:
  name: {place.flux.release}
  namespace: {place.flux.system}
spec:
  interval: 5m
  url: {scalar(url)}
  ref:
{block(_reference(place.gitops.version), 4)}  layerSelector:
    mediaType: {HELM_CONTENT}
    operation: copy
{more}"""


def network_policies(place: Place, *, own: bool) -> str:
    """Who may reach the release's pods. `own`: the chart has policies of its own, so that here nothing more is open than they open."""
    name = place.flux.namespace
    text = f"""# Made by `inv flux.init`; what you change here is kept.
# Nobody reaches a pod of this namespace, but who is let in by another policy{": the chart's own." if own else "."}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: closed
  namespace: {name}
spec:
  podSelector: {{}}
  policyTypes: [Ingress]
"""
    if own:
        return text
    return f"""{text}---
# The pods reach each other, and the ingress controller (k3s keeps it in kube-system) reaches them.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: inside-and-ingress
  namespace: {name}
spec:
  podSelector: {{}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector: {{}}
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: kube-system
"""


def infrastructure(place: Place) -> str:
    """The Kustomization of what the release stands on."""
    return f"""# Made by `inv flux.init`; what you change here is kept.
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {INFRASTRUCTURE}
  namespace: {place.flux.system}
spec:
  interval: 10m
  retryInterval: 1m # the namespaces that it writes to may come a moment later
  timeout: 2m
  path: ./{INFRASTRUCTURE}
  prune: true
  sourceRef:
    kind: GitRepository
    name: {scalar(place.flux.source)}
"""


def block(value: Mapping[str, Any], indent: int) -> str:
    """`value` as block YAML, each line indented."""
    text = goyaml.block(_plain(value))
    return "".join(f"{' ' * indent}{line}\n" if line else "\n" for line in text.splitlines())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _until(place: Place) -> str:
    if place.gitops.automation:
        return "until the image automation has written the first images below: take this line out then"
    return "until the first `inv release`, which makes it false together with its first lines"


def _chart(place: Place) -> str:
    if place.gitops.oci:
        return f"""  chartRef:
    kind: OCIRepository
    name: {place.flux.release}
    namespace: {place.flux.system}
"""
    return f"""  chart:
    spec:
      chart: {scalar(f"./{place.chart}")}
      reconcileStrategy: Revision # each commit that changes the chart counts, not only a new version in its Chart.yaml
      sourceRef:
        kind: GitRepository
        name: {scalar(place.flux.source)}
        namespace: {place.flux.system}
"""


def _reference(version: str) -> dict[str, str]:
    from pipeline.tools import semver

    number, _, digest = version.partition("@")
    if digest:
        return {"tag": number.replace("+", "_"), "digest": digest}
    return {"tag": number.replace("+", "_")} if semver.parse(number) else {"semver": "*" if version == "latest" else version}


def _seconds(seconds: float) -> str:
    return f"{int(seconds + 0.999)}s"
