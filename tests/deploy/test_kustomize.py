"""Kustomizations: what they are made from is found without the tool, what would be fetched is told, and images become digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import kustomize, manifest_files
from pipeline.deploy.manifest_spec import Kubectl
from pipeline.errors import ConfigError
from tests.deploy import program

IMAGES = Images(Source("7e" * 20, "c" * 40, False, "/w"), (Image("reg.test:5000/team/web", "sha256:" + "a" * 64, "v1"),))
SPEC = Kubectl("lab", "shop", "web", "over")
OVER = """
resources: [../base, more.yaml]
components: [../extra]
patches:
  - path: patch.yaml
  - patch: |-
      kind: Deployment
configMapGenerator:
  - {name: s, files: [config.json=settings.json], envs: [../over/env], literals: [URL=https://example.org/?ref=1]}
images: [{name: web, newName: reg.test:5000/team/web, newTag: v1}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "over/kustomization.yml": OVER, "over/more.yaml": "a: 1\n", "over/patch.yaml": "b: 1\n", "over/settings.json": "{}",
        "over/env": "A=1\n",
        "base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": "c: {host}\n",
        "base/files/motd": "hello",
        "extra/Kustomization": "kind: Component\n", "unused/x.yaml": "d: 1\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_kustomization_is_found_by_itself_with_all_that_it_leads_to(root: Path) -> None:
    found = manifest_files.read(root, SPEC)
    assert found.kustomized
    assert found.entries == ("over/kustomization.yml",)
    names = {name for name, _ in found.content}
    assert {"base/web.yaml", "base/files/motd", "extra/Kustomization", "over/settings.json"} <= names
    assert "unused/x.yaml" not in names
    (root / "unused/x.yaml").write_text("d: 2\n")
    assert manifest_files.read(root, SPEC).digest == found.digest
    (root / "base/files/motd").write_text("bye")
    assert manifest_files.read(root, SPEC).digest != found.digest
    assert not manifest_files.read(root, Kubectl("lab", "shop", "web", "unused")).kustomized


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("resources: [https://github.com/o/r//base?ref=v1]", "over/kustomization.yml:2: .* is fetched from outside"),
        ("resources: ['github.com/o/r/base?ref=v1']", "is fetched from outside"),
        ("resources:\n  - git@github.com:o/r.git", "over/kustomization.yml:3: .* is fetched from outside"),
        ("bases: ['git::ssh://example.org/r']", "is fetched from outside"),
        ("components: [deploy@example.org:o/r.git]", "is fetched from outside"),
        ("patches: [{path: 'https://example.org/p.yaml'}]", "is fetched from outside"),
        ("configMapGenerator: [{name: a, files: ['https://example.org/x']}]", "is fetched from outside"),
        ("openapi: {path: 'https://example.org/s.json'}", "is fetched from outside"),
        ("helmCharts: [{name: x, repo: 'https://example.org'}]", "over/kustomization.yml:2: helmCharts fetches a chart"),
        ("helmChartInflationGenerator: [{chartName: x}]", "helmChartInflationGenerator fetches a chart"),
        ("resources: [../nothing]", "over/kustomization.yml:2: there is no ../nothing"),
        ("resources: [../../..]", "leads out of the working copy"),
        ("resources: [../unused]", "there is no kustomization in unused"),
        ("- a", "is no kustomization"),
        ("a: [", "over/kustomization.yml:.: this is not YAML"),
    ],
)
def test_what_would_be_fetched_or_is_not_there_is_told_before_anything_is_run(root: Path, entry: str, said: str) -> None:
    (root / "over/kustomization.yml").write_text(f"# one\n{entry}\n")
    with pytest.raises(ConfigError, match=said) as told:
        manifest_files.read(root, SPEC)
    assert told.value.mend


def test_words_in_braces_are_not_for_kustomize(root: Path) -> None:
    with pytest.raises(ConfigError, match="words in braces are not filled in"):
        manifest_files.read(root, Kubectl("lab", "shop", "web", "over", placeholders=("*",)))


def test_the_images_of_the_build_become_digests_and_others_stay(root: Path, tmp_path: Path) -> None:
    def pod(*images: str) -> dict[str, Any]:
        containers = [{"name": f"c{number}", "image": each} for number, each in enumerate(images)]
        return {"spec": {"initContainers": containers[:1], "containers": containers[1:]}}

    given = ["reg.test:5000/team/web:v1", "reg.test:5000/team/web", "redis:7", "reg.test:5000/team/web2:v1"]
    objects = [
        {"kind": "Deployment", "spec": {"template": pod(*given)}},
        {"kind": "ConfigMap", "data": {"image": given[0], "no": "{host}"}},
    ]
    tool = tmp_path / "kubectl"
    program.write(tool, lambda _folder, argv: iter([json.dumps(objects[0]) + "\n---\n" + json.dumps(objects[1])]))
    found = kustomize.rendered(str(tool), root, "over", IMAGES)
    assert found[1] == objects[1]
    pinned = IMAGES.images[0].reference
    assert found[0]["spec"]["template"] == pod(pinned, pinned, "redis:7", "reg.test:5000/team/web2:v1")
    assert kustomize.rendered(str(tool), root, "over", None) == objects
