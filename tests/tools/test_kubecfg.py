"""kubecfg's command line and its outputs, as they were recorded from kubecfg 0.34.3."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.tools import kubecfg, kubectl

CASES = Path(__file__).parents[1] / "cases" / "kubecfg"
ROOT = "/srv/app"


def said(name: str) -> str:
    return (CASES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "what", "mend"),
    [
        ("missing-argument", "relay.jsonnet: Missing argument: image", 'values: {image: …}, an image as "{reference}"'),
        ("unknown-argument", "relay.jsonnet: function has no parameter foo", "take foo out"),
        ("undefined-variable", "manifests/ext.jsonnet:1: Undefined external variable: who", "external: {who: …}"),
        ("syntax", "manifests/syntax.jsonnet:4: Expected a comma before next field", "correct"),
        ("runtime", "manifests/runtime.jsonnet:1: Field does not exist: nosuch", "correct"),
        ("assert", "manifests/assert.jsonnet:1: replicas has to be odd", "correct"),
        ("import", "manifests/undef.jsonnet:1: Couldn't open import", "put nowhere.libsonnet beside"),
        ("no-object", "notobj.jsonnet: Looking for kubernetes object at", "$.a.name is neither an object"),
        ("duplicate", "duplicate resource ConfigMap", "rename one"),
    ],
)
def test_what_cannot_be_evaluated_is_told_with_its_place(name: str, what: str, mend: str) -> None:
    error = kubecfg.unshown(said(f"show-{name}"), ROOT)
    assert what in error.what
    assert mend in error.mend
    assert "file://" not in error.what


def test_its_diff_is_read_object_by_object_and_no_secret_is_in_it() -> None:
    assert dict(kubecfg.changes(said("diff-new"))) == {"configmaps web": ["+"], "deployments web": ["+"], "secrets web": ["+"]}
    assert dict(kubecfg.changes(said("diff-changed"))) == {
        "configmaps web": ['-    "b": "two"', '+    "b": "three"'],
        "deployments web": ['-    "replicas": 0,', '+    "replicas": 1,'],
        "secrets web": ["~"],
    }
    # --omit-secrets had shown it: its pattern stops at a slash
    assert "va/lue+1" in said("diff-none")
    assert dict(kubecfg.changes(said("diff-none"))) == {"secrets web": ["~"]}


def test_arguments_are_words_of_their_own_and_only_text_goes_as_text() -> None:
    argv = kubecfg.show("kubecfg", ("m/a.jsonnet",), {"image": "r@sha256:1; rm", "replicas": 2}, {"on": True}, ("lib",))
    assert argv[:6] == ("kubecfg", "show", "--format", "json", "--resolve-images", "noop")
    assert argv[6:] == (
        "--tla-str", "image=r@sha256:1; rm", "--tla-code", "replicas=2", "--ext-code", "on=true", "--jpath", "lib", "--", "m/a.jsonnet",
    )  # fmt: skip


def test_its_own_garbage_collection_is_never_let_loose() -> None:
    argv = kubecfg.update(kubectl.Target("kubecfg", "shop", "/k", "c"), "/w/web.yaml", "pipeline-shop-web")
    assert "--skip-gc" in argv
    assert argv[-2:] == ("--", "/w/web.yaml")


def test_objects_are_read_one_after_another() -> None:
    assert kubecfg.objects('{"a": 1}\n---\n{"b": "x\\n---\\ny"}\n') == [{"a": 1}, {"b": "x\n---\ny"}]
    assert kubecfg.objects("") == []
    with pytest.raises(ConfigError, match="did not print JSON"):
        kubecfg.objects("hello")
