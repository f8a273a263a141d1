"""What is wrong with a manifest is told with file and line before it is committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.gitops import schemas, validate
from pipeline.gitops.layout import layout
from pipeline.gitops.schemas import Schemas
from tests.gitops.crds import CRDS, crd
from tests.gitops.parts import place

KNOWN = schemas.of_objects(CRDS)
PLACE = place()
CHART = {"helm/fade/Chart.yaml": b"name: fade\nversion: 1.0.0\n"}
FILES = {**layout(PLACE, {}, {}).files, **CHART}
RELEASE = "clusters/production/fade/release.yaml"


def told(file: str, old: str, new: str, known: Schemas = KNOWN) -> list[str]:
    """What is said once `old` is `new` in one file."""
    text = FILES[file].decode()
    assert old in text
    return list(map(str, validate.findings({**FILES, file: text.replace(old, new, 1).encode()}, PLACE, known)))


def test_what_is_generated_is_right() -> None:
    assert list(validate.findings(FILES, PLACE, KNOWN)) == []
    validate.check(FILES, PLACE, KNOWN)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("disableWait: true", "disableWate: true", "25: spec.install.disableWate is not a field that is known there; did you mean 'dis"),
        ("retries: 0", "retries: no", "27: spec.install.remediation.retries is False, not of type integer"),
        ("interval: 5m", "interval: 5 minutes", "11: spec.interval is '5 minutes', which does not fit"),
        ("mode: enabled", "mode: enable", "34: spec.driftDetection.mode is 'enable', not one of: enabled, warn, disabled; did you mean"),
        ("  interval: 5m\n", "", "9: spec lacks interval"),
        ("kind: HelmRelease", "kind: HelmReleas", "5: helm.toolkit.fluxcd.io has no kind HelmReleas; did you mean 'HelmRelease'?"),
        ("io/v2\n", "io/v2beta2\n", "4: helm.toolkit.fluxcd.io/v2beta2 goes away with a later Flux; HelmRelease is helm"),
        ("io/v2\n", "io/v2beta1\n", "4: helm.toolkit.fluxcd.io/v2beta1 is not served by this Flux; HelmRelease is"),
        ("./helm/fade", "./helm/fad", "16: there is no chart in helm/fad"),
        ("spec:\n", "spec: [\n", "11: this is not YAML"),
        ("suspend: true", "suspend: true\n  suspend: true", "11: 'suspend' stands here a second time"),
    ],
)  # fmt: skip
def test_a_fault_has_its_line(old: str, new: str, said: str) -> None:
    assert any(each.startswith(f"{RELEASE}:{said}") for each in told(RELEASE, old, new)), told(RELEASE, old, new)


def test_values_are_the_charts() -> None:
    assert told(RELEASE, "    commit:", "    anything: {at: [all]}\n    commit:") == []


def test_a_folder_that_a_kustomization_names_has_to_be_there() -> None:
    said = told("clusters/production/infrastructure.yaml", "path: ./infrastructure", "path: ./infra")
    assert said == ["clusters/production/infrastructure.yaml:11: spec.path names infra, and there is no such folder"]


def test_of_another_source_nothing_is_known() -> None:
    file = "clusters/production/infrastructure.yaml"
    text = FILES[file].decode().replace("./infrastructure", "./elsewhere").replace("name: flux-system", "name: other")
    assert list(validate.findings({**FILES, file: text.encode()}, PLACE, KNOWN)) == []


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("gotk-sync.yaml", False), ("../fade", True), ("../fade/release.yaml", True), ("../fade/relase.yaml", False), ("../gone", False),
        ("https://example.org/x.yaml", True), ("github.com/owner/repo//folder?ref=v1", True), ("github.com/owner/repo", True),
    ],
)  # fmt: skip
def test_a_file_that_a_kustomization_lists_has_to_be_there(name: str, good: bool) -> None:
    text = f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {name}\n"
    file = "clusters/production/flux-system/kustomization.yaml"
    said = list(map(str, validate.findings({**FILES, file: text.encode()}, PLACE, KNOWN)))
    assert (said == []) is good
    assert good or said[0].startswith(f"{file}:4: resources name {name}, and there is no such file")


def test_many_faults_are_one_error() -> None:
    text = FILES[RELEASE].decode().replace("retries", "retrys")
    with pytest.raises(ConfigError) as refused:
        validate.check({**FILES, RELEASE: text.encode()}, PLACE, KNOWN)
    assert refused.value.what == "2 things are wrong in the GitOps repository"
    assert refused.value.cause.count(RELEASE) == 2


def test_without_schemas_the_references_are_looked_at_all_the_same() -> None:
    assert told(RELEASE, "disableWait: true", "disableWate: true", Schemas({})) == []
    assert told(RELEASE, "./helm/fade", "./helm/fad", Schemas({})) != []


def test_charts_and_flux_own_components_are_not_read() -> None:
    more = {"helm/fade/templates/a.yaml": b"{{ if", "clusters/production/flux-system/gotk-components.yaml": b"{{ if"}
    assert list(validate.findings({**FILES, **more}, PLACE, KNOWN)) == []


def test_an_alias_stands_for_what_it_names() -> None:
    said = told(RELEASE, "interval: 5m\n  timeout: 300s", "interval: &time 5 m\n  timeout: *time")
    assert [each.split(" ")[1] for each in said] == ["spec.interval", "spec.timeout"]


def test_strict_is_what_the_server_refuses() -> None:
    either = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    nullable = {"type": "string", "nullable": True}
    spec = {
        "type": "object",
        "properties": {"port": either, "note": nullable, "map": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    known = schemas.of_objects([crd("test", "Thing", spec, "v1")])

    def wrong(value: object) -> list[str]:
        return [said for _, said in known.wrong("test.toolkit.fluxcd.io", "v1", "Thing", {"spec": value})]

    assert wrong({"port": 80}) == wrong({"port": "http"}) == wrong({"note": None, "port": None}) == wrong({"map": {"a": "b"}}) == []
    assert wrong({"port": 1.5}) == ["is 1.5, not of type integer or string"]
    assert wrong({"map": {"a": 1}}) == ["is 1, not of type string"]
    assert wrong({"nap": {}}) == ["is not a field that is known there; did you mean 'map'?"]


def test_crds_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "crds.yaml").write_text("---\n".join(json.dumps(each) + "\n" for each in CRDS))
    found = schemas.of_folder(tmp_path)
    assert found.versions("helm.toolkit.fluxcd.io", "HelmRelease") == ("v2", "v2beta2")
    assert schemas.of_folder(tmp_path / "crds.yaml") == found
    with pytest.raises(ConfigError, match="cannot be read as CRDs"):
        schemas.of_folder(tmp_path / "none.yaml")
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="holds no CRDs of Flux"):
        schemas.of_folder(tmp_path / "none")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="cannot be read as CRDs"):
        schemas.of_folder(tmp_path)
