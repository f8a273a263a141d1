"""What Flux is told to follow: the repository's own sync file, as long as it says what the blueprint says."""

from __future__ import annotations

import pytest
import yaml

from pipeline.errors import AuthError, ConfigError
from pipeline.gitops import bootstrap, reconciled, schemas, system, validate
from pipeline.tools.flux_words import Words
from tests.gitops.crds import CRDS
from tests.gitops.parts import place

URL = "ssh://git@h.test/owner/fade-gitops.git"
FILE = "clusters/production/flux-system/gotk-sync.yaml"
# as the flux command writes it (docs of flux bootstrap, 2.4): other durations, no comments, a name more
FLUX = """---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, ref: {branch: main}, secretRef: {name: flux-system}, url: "ssh://git@h.test/owner/fade-gitops.git"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 10m0s, path: ./clusters/production, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
"""


def test_the_sync_file_is_what_the_plan_says() -> None:
    objects = dict(bootstrap._sync_objects(FILE, system.sync(place(), URL).encode(), place(), URL))
    source, applier = objects.values()
    assert source["spec"] == {"interval": "1m", "url": URL, "ref": {"branch": "main"}, "secretRef": {"name": "flux-system"}}
    assert applier["spec"] == {
        "interval": "10m", "path": "./clusters/production", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    }  # fmt: skip
    files = {FILE: system.sync(place(), URL).encode(), "clusters/production/x.yaml": b""}
    assert list(validate.findings(files, place(), schemas.of_objects(CRDS))) == []


def test_one_that_needs_no_login_has_none() -> None:
    assert "secretRef" not in system.sync(place(), "https://h.test/o/x.git", secret=False)


def test_the_kustomization_lists_the_components_where_they_are_ours() -> None:
    assert "gotk-components.yaml" in system.kustomization(components=True)
    assert "gotk-components.yaml" not in system.kustomization(components=False)


def test_who_deletes_the_kustomization_deletes_no_kinds() -> None:
    found = yaml.safe_load(system.kustomization(components=True))
    kept = {each["target"]["kind"]: yaml.safe_load(each["patch"])["metadata"]["annotations"] for each in found["patches"]}
    assert kept == {kind: {"kustomize.toolkit.fluxcd.io/prune": "disabled"} for kind in ("CustomResourceDefinition", "Namespace")}
    assert "patches" not in yaml.safe_load(system.kustomization(components=False))


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- gotk-components.yaml\n- gotk-sync.yaml\n", True),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [gotk-sync.yaml, mine.yaml]\n", False),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [gotk-sync.yaml]\npatches: []\n", False),
        (FLUX, False), ("- a", False), ("a: [", False),
    ],
)  # fmt: skip
def test_a_kustomization_that_nobody_worked_on_gets_what_keeps_the_kinds(text: str, bare: bool) -> None:
    assert system.bare(text.encode()) is bare
    assert not system.bare(system.kustomization(components=True).encode())


def test_a_file_of_the_flux_command_is_taken_as_it_is() -> None:
    objects = list(bootstrap._sync_objects(FILE, FLUX.encode(), place(), URL))
    assert [str(ref) for ref, _ in objects] == ["GitRepository flux-system/flux-system", "Kustomization flux-system/flux-system"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("branch: main", "branch: other", ":5: Flux follows ref.branch other, and the blueprint says main"),
        ("h.test/owner", "h.test/another", ":5: Flux follows url"),
        (
            "./clusters/production",
            "./clusters/staging",
            ":10: Flux follows path clusters/staging, and the blueprint says clusters/production",
        ),
        ("kind: Kustomization", "kind: Kustomisation", " holds no Kustomization flux-system"),
    ],
)
def test_a_file_that_leads_elsewhere_is_told_and_left(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        list(bootstrap._sync_objects(FILE, FLUX.replace(old, new).encode(), place(), URL))
    assert refused.value.what.startswith(f"{FILE}{said}")


def test_a_repository_that_does_not_let_flux_in_names_the_key_to_add() -> None:
    why = Words("fetch", "it refuses", "ssh: unable to authenticate, attempted methods [none publickey]", "the tool's own")
    shown = reconciled.failure(why, "ssh-ed25519 AAAA flux", asked=False)
    assert isinstance(shown, AuthError)
    assert shown.mend.endswith("ssh-ed25519 AAAA flux")
    assert "AAAA" not in reconciled.failure(why, "ssh-ed25519 AAAA flux", asked=True).mend
    other = reconciled.failure(Words("apply", "it cannot be applied", "x", "mend it"), "key", asked=False)
    assert (type(other), other.mend) == (ConfigError, "mend it")
