"""Old versions of Flux's kinds are rewritten where they stand; what a program cannot decide is left to a person, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.gitops import schemas
from pipeline.gitops.migrate import into, migrate, target
from pipeline.gitops.schemas import Schemas
from tests.gitops.crds import CRDS, RELEASE, crd
from tests.gitops.parts import place

NOBODY = Schemas({})
CHART = "\n  chart:\n    spec:"
FILE = "clusters/production/fade/release.yaml"


def done(text: str, served: Schemas = NOBODY) -> tuple[str, list[str]]:
    """The text as it becomes, and what is left."""
    outcome = migrate({FILE: text.encode()}, served)
    return (outcome.changes[0].after if outcome.changes else text), list(outcome.left)


def test_the_release_of_the_plan_keeps_all_but_its_version() -> None:
    text = "# the plan's\r\napiVersion: helm.toolkit.fluxcd.io/v2beta2 # old\r\nkind: HelmRelease\r\nspec: {interval: 5m, x: 'a'}   \r\n"
    assert done(text) == (text.replace("v2beta2", "v2"), [])


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("HelmRelease", "helm.toolkit.fluxcd.io/v2beta1", "helm.toolkit.fluxcd.io/v2"),
        ("GitRepository", "source.toolkit.fluxcd.io/v1beta2", "source.toolkit.fluxcd.io/v1"),
        ("OCIRepository", '"source.toolkit.fluxcd.io/v1beta2"', '"source.toolkit.fluxcd.io/v1"'),
        ("Kustomization", "kustomize.toolkit.fluxcd.io/v1beta2", "kustomize.toolkit.fluxcd.io/v1"),
        ("ImagePolicy", "image.toolkit.fluxcd.io/v1beta2", "image.toolkit.fluxcd.io/v1"),
        ("ImageUpdateAutomation", "image.toolkit.fluxcd.io/v1beta1", "image.toolkit.fluxcd.io/v1"),
        ("Receiver", "notification.toolkit.fluxcd.io/v1beta2", "notification.toolkit.fluxcd.io/v1"),
        ("Alert", "notification.toolkit.fluxcd.io/v1beta2", "notification.toolkit.fluxcd.io/v1beta3"),
    ],
)
def test_each_kind_gets_the_version_of_a_current_flux(kind: str, old: str, new: str) -> None:
    assert done(f"apiVersion: {old}\nkind: {kind}\n") == (f"apiVersion: {new}\nkind: {kind}\n", [])


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n",
        "apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Alert\n",
        "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: helm.toolkit.fluxcd.io}\n",
        "apiVersion: other.toolkit.fluxcd.io/v1beta1\nkind: Thing\n",
    ],
)
def test_what_is_current_or_not_known_stays(text: str) -> None:
    assert migrate({FILE: text.encode()}, NOBODY).changes == ()


def test_the_cluster_decides_where_it_knows() -> None:
    old = schemas.of_objects([crd("helm", "HelmRelease", RELEASE, "v2beta1", "v2beta2")])
    text = "apiVersion: helm.toolkit.fluxcd.io/v2beta1\nkind: HelmRelease\n"
    assert done(text, old)[0] == text.replace("v2beta1", "v2beta2")
    assert done(text, schemas.of_objects(CRDS))[0] == text.replace("v2beta1", "v2")
    assert target("source.toolkit.fluxcd.io", "Bucket", old) == "v1"


def test_fields_that_went_away_are_taken_out_and_renamed_ones_renamed() -> None:
    text = """apiVersion: helm.toolkit.fluxcd.io/v2beta2
kind: HelmRelease
spec:
  chart:
    spec:
      chart: ./helm/fade
      valuesFile: "values-prod.yaml" # ours
---
apiVersion: source.toolkit.fluxcd.io/v1beta2
kind: GitRepository
spec:
  gitImplementation: go-git # gone
  accessFrom:
    namespaceSelectors:
      - matchLabels: {a: b}
  interval: 1m
---
apiVersion: kustomize.toolkit.fluxcd.io/v1beta2
kind: Kustomization
spec:
  prune: true
  validation: client
"""
    assert done(text) == (
        """apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
spec:
  chart:
    spec:
      chart: ./helm/fade
      valuesFiles: ["values-prod.yaml"] # ours
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
spec:
  interval: 1m
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
spec:
  prune: true
""",
        [],
    )


def test_what_was_done_is_told_with_its_line() -> None:
    text = "apiVersion: source.toolkit.fluxcd.io/v1beta2\nkind: GitRepository\nspec:\n  gitImplementation: go-git\n  url: x\n"
    [change] = migrate({FILE: text.encode()}, NOBODY).changes
    assert change.what == ("line 1: source.toolkit.fluxcd.io/v1beta2 is v1 now", "line 4: gitImplementation went away")
    assert [line for line in change.lines() if line.startswith("-  ")] == ["-  gitImplementation: go-git"]


@pytest.mark.parametrize(
    ("api", "kind", "spec", "left"),
    [
        ("kustomize.toolkit.fluxcd.io/v1beta2", "Kustomization", "\n  patchesStrategicMerge: []", ":4: write patchesStrategicMerge as"),
        ("source.toolkit.fluxcd.io/v1beta2", "GitRepository", " {gitImplementation: go-git}", ":3: take spec.gitImplementation out"),
        ("helm.toolkit.fluxcd.io/v2beta2", "HelmRelease", f"{CHART}\n      valuesFile: a\n      valuesFiles: [b]", ":6: put valuesFile as"),
        ("helm.toolkit.fluxcd.io/v2beta2", "HelmRelease", " [", " cannot be read: "),
    ],
)
def test_what_only_a_person_can_decide_is_left(api: str, kind: str, spec: str, left: str) -> None:
    text = f"apiVersion: {api}\nkind: {kind}\nspec:{spec}\n"
    assert [each for each in done(text)[1] if each.startswith(f"{FILE}{left}")] != []


def test_the_message_of_the_image_automation() -> None:
    text = """apiVersion: image.toolkit.fluxcd.io/v1beta2
kind: ImageUpdateAutomation
spec:
  git:
    commit:
      messageTemplate: |-
        Images
        {{ range .Updated.Images -}}
        - {{ . }}
        {{ end -}}
        {{range .Updated.Images}}{{println .}}{{end}}
"""
    after, left = done(text)
    assert left == []
    assert ".Updated" not in after
    assert "{{ range .Changed.Changes -}}\n        - {{ .NewValue }}\n" in after
    assert "{{range .Changed.Changes}}{{println .NewValue}}{{end}}" in after


@pytest.mark.parametrize(
    ("word", "said"), [("{{ .Updated.Files }}", "look at the message"), ("{{ .Updated }}", "write the message with .Changed")]
)
def test_a_message_that_lists_other_things_is_shown_to_a_person(word: str, said: str) -> None:
    text = (
        "apiVersion: image.toolkit.fluxcd.io/v1beta2\nkind: ImageUpdateAutomation\n"
        f"spec:\n  git:\n    commit:\n      messageTemplate: 'x {word}'\n"
    )
    [left] = done(text)[1]
    assert left.startswith(f"{FILE}:6: {said}")


def test_charts_and_flux_own_components_are_left_alone() -> None:
    old = b"apiVersion: helm.toolkit.fluxcd.io/v2beta2\nkind: HelmRelease\n"
    assert migrate({"helm/x/Chart.yaml": b"name: x", "helm/x/templates/a.yaml": old}, NOBODY).changes == ()


def test_a_folder_is_migrated_once(tmp_path: Path) -> None:
    for name in ("a.yaml", "b/c.yml", ".git/d.yaml", "clusters/production/flux-system/gotk-components.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("apiVersion: helm.toolkit.fluxcd.io/v2beta2\nkind: HelmRelease\n")
    looked = into(tmp_path, place(), NOBODY, write=False)
    assert [each.path for each in looked.changes] == ["a.yaml", "b/c.yml"]
    assert "v2beta2" in (tmp_path / "a.yaml").read_text()
    assert into(tmp_path, place(), NOBODY, write=True).changes == looked.changes
    assert "v2beta2" not in (tmp_path / "b/c.yml").read_text()
    assert into(tmp_path, place(), NOBODY, write=True).changes == ()
    with pytest.raises(ConfigError, match="there is no folder"):
        into(tmp_path / "none", place(), NOBODY, write=True)
