"""Markers of the image automation: those that Flux reads and no others; put on and taken off with every other byte kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, explain
from pipeline.tools.markers import Marked, Marker, misread, put, refuse, written_by_automation
from pipeline.tools.yamledit_tree import Selector

CASES = Path(__file__).parents[1] / "cases" / "markers"
TAG = Marker("flux-system", "web", "tag")
DIGEST = Marker("flux-system", "web", "digest")
RELEASE = """\
# people write above
apiVersion: v1
kind: Namespace
metadata: {name: fade}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: fade, namespace: fade}
spec:
  values:
    image:
      repository: ghcr.io/owner/web
      tag: main-1a2b3c4-1700000000 # {"$imagepolicy": "flux-system:web:tag"}
      digest: 'sha256:00'   # the pipeline's
    replicas: 3
    empty:
    braces: {tag: x}
    text: |
      several
"""
FADE = Selector("HelmRelease", "fade")
IMAGE = ("spec", "values", "image")


def test_the_comments_that_kyaml_reads_are_read_and_the_others_told() -> None:
    """What kyaml 0.21.2 (fieldmeta.Read, short hand $imagepolicy) gave for the same file."""
    text = (CASES / "comments.yaml").read_text()
    wanted = (CASES / "kyaml.txt").read_text().split()
    found = written_by_automation(text)
    assert [".".join(path) for path in found] == wanted
    lines = text.splitlines()
    assert all("$imagepolicy" in lines[each.line - 1] for each in found.values())
    missed = misread(text)
    assert len(missed) + len(found) == text.count("$imagepolicy")
    assert {each.why for each in missed} == {
        "it is not behind a value on that value's line",
        'it is not written as # {"$imagepolicy": "NAMESPACE:POLICY:tag"}',
    }


def test_a_text_without_a_marker_is_not_even_parsed() -> None:
    assert written_by_automation("{{ no: yaml") == {}
    assert misread("{{ no: yaml") == []


@pytest.mark.parametrize(
    ("comment", "marker"),
    [
        ('# {"$imagepolicy": "flux-system:web"}', Marker("flux-system", "web")),
        ('# {"$imagepolicy": "flux-system:web:name"}', Marker("flux-system", "web", "name")),
        ('# {"$imagepolicy": "flux-system:web:digest"}', DIGEST),
        ('# {"$imagepolicy": "flux-system:web:sha"}', None),
        ('# {"$imagepolicy": "web"}', None),
        ('# {"$imagepolicy": ["flux-system:web"]}', None),
        ('# "$imagepolicy"', None),
    ],
)
def test_the_parts_of_an_image(comment: str, marker: Marker | None) -> None:
    found = written_by_automation(f"a: b {comment}\n")
    assert found == ({("a",): Marked(1, marker)} if marker else {})
    if marker:
        assert str(marker) == comment
        assert put("a: b\n", {("a",): marker}) == f"a: b {comment}\n"
    else:
        assert [each.line for each in misread(f"a: b {comment}\n")] == [1]


def test_only_the_document_that_is_meant_counts() -> None:
    assert written_by_automation(RELEASE, FADE) == {(*IMAGE, "tag"): Marked(13, TAG)}
    with pytest.raises(ConfigError, match="does not hold HelmRelease other"):
        written_by_automation(RELEASE, Selector("HelmRelease", "other"))


def test_a_marker_is_put_on_its_line_and_nothing_else_changes() -> None:
    repository = Marker("flux-system", "web", "name")
    found = put(RELEASE, {(*IMAGE, "repository"): repository}, FADE)
    assert found == RELEASE.replace("owner/web\n", f"owner/web {repository}\n")
    assert put(found, {(*IMAGE, "repository"): repository, (*IMAGE, "tag"): TAG}, FADE) == found


def test_a_marker_is_changed_and_taken_off() -> None:
    assert put(RELEASE, {(*IMAGE, "tag"): DIGEST}, FADE) == RELEASE.replace("web:tag", "web:digest")
    bare = put(
        RELEASE, {(*IMAGE, "tag"): None, (*IMAGE, "digest"): None, (*IMAGE, "missing"): None, ("spec", "values", "empty"): None}, FADE
    )
    assert bare == RELEASE.replace(f" {TAG}", "")
    assert put(bare, {(*IMAGE, "tag"): None}, FADE) == bare


@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_the_ends_of_lines_stay(end: str) -> None:
    assert put(f"a: 'b'{end}", {("a",): TAG}) == f"a: 'b' {TAG}{end}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ((*IMAGE, "digest"), 'has the comment "# the pipeline\'s"'),
        ((*IMAGE, "missing"), "has no value yet"),
        (("spec", "values", "empty"), "has no value yet"),
        (("spec", "values", "braces", "tag"), r"\(line 17\) is not written on a line of its own"),
        (("spec", "values", "text"), "is not written on a line of its own"),
    ],
)
def test_a_line_without_a_place_for_a_marker_is_refused_by_its_name(path: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        put(RELEASE, {path: TAG}, FADE, name="release.yaml")
    assert str(refused.value).startswith(f"release.yaml: {'.'.join(path)}")
    assert refused.value.mend


def test_never_both_on_one_line() -> None:
    marked = written_by_automation(RELEASE, FADE)
    refuse({(*IMAGE, "digest"): "x"}, marked, "release.yaml")
    with pytest.raises(ConfigError) as refused:
        refuse({(*IMAGE, "tag"): "x", (*IMAGE, "digest"): "y"}, marked, "fade/release.yaml")
    comments = 'the comments # {"$imagepolicy": …}'
    assert explain(refused.value).splitlines() == [
        "fade/release.yaml:13: spec.values.image.tag is written by Flux's image automation (policy flux-system/web)  [CONFIG, exit 2]",
        "  cause  a release would write the same line, and each would take back what the other wrote",
        "  mend   choose one of the two.",
        "  mend   Flux: inv push publishes, Flux takes the newest by itself, inv verify asks what runs",
        f"  mend   the pipeline: take gitops.automation out of the blueprint, and {comments} out of fade/release.yaml",
    ]
