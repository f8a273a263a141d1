"""What helm is given, and the hash that says whether anything changed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import chart
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.deploy.values import Wanted, changes, secret_data, wanted
from pipeline.errors import AuthError, ConfigError
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Site
from pipeline.tools.placeholders import check, flat, render, words

SOURCE = Source("7e" * 20, "c0" * 20, False, "/w")
IMAGES = Images(SOURCE, (Image("reg:5000/team/web", "sha256:" + "a1" * 32, "c0c0c0c"),))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "chart" / "templates"
    folder.mkdir(parents=True)
    (folder.parent / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    (folder / "x.yaml").write_text("a: b\n")
    values = {"key": "env:KEY", "plain": "postgres://user:password@db/x"}
    return Site("web", tmp_path, {}, {}, {}, {}, {}, values, Records(tmp_path / "r.db"), Secrets({"KEY": "a-secret-value"}))


def spec(**options: Any) -> Helm:
    return Helm("lab", "shop", "web", **options)


def want(site: Site, images: Images = IMAGES, **options: Any) -> Wanted:
    return wanted(spec(**options), images, chart.read(site.root, "chart").digest, site)


def test_words_are_filled_in_wherever_they_stand() -> None:
    known = words(IMAGES.source, IMAGES.images, "web")
    values = {"image": {"digest": "{digest}", "name": "{repository}"}, "list": ["{tag}", 3, True, None], "text": "at {commit}: {{x}}"}
    assert render(values, known) == {
        "image": {"digest": "sha256:" + "a1" * 32, "name": "reg:5000/team/web"},
        "list": ["c0c0c0c", 3, True, None],
        "text": f"at {SOURCE.commit}: {{x}}",
    }


def test_an_unknown_word_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"values\.a\.0: \{digset\} is not known") as caught:
        render({"a": ["{digset}"]}, words(IMAGES.source, IMAGES.images, "web"))
    assert "{digest}" in caught.value.mend


def test_of_several_images_each_is_named() -> None:
    both = dataclasses.replace(IMAGES, images=(*IMAGES.images, Image("reg:5000/team/db", "sha256:" + "b2" * 32, "t")))
    assert render("{db.digest}", words(both.source, both.images, "web")) == "sha256:" + "b2" * 32
    with pytest.raises(ConfigError):
        render("{digest}", words(both.source, both.images, "web"))


def test_of_two_that_end_alike_the_whole_path_is_the_name() -> None:
    other = Image("reg:5000/other/web", "sha256:" + "b2" * 32, "t")
    known = words(IMAGES.source, (*IMAGES.images, other), "web")
    assert known["other/web.digest"] == other.digest
    assert known["team/web.reference"] == IMAGES.images[0].reference
    with pytest.raises(ConfigError, match=r"\{web.digest\} is not one value: the release has 2") as caught:
        render("{web.digest}", known)
    assert caught.value.mend == "write {other/web.digest} or {team/web.digest}"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("digset", "'digest'"),
        ("web.digset", "'web.digest'"),
        ("wbe.digest", "'web.digest'"),
        ("comit", "'commit'"),
        ("nothing like it", ""),
    ],
)
def test_an_unknown_word_is_told_with_the_near_one(word: str, near: str) -> None:
    with pytest.raises(ConfigError, match=r"values\.x: \{") as caught:
        render({"x": "{" + word + "}"}, words(IMAGES.source, IMAGES.images, "web"))
    assert caught.value.what.endswith(f"; did you mean {near}?" if near else "is not known")


def test_words_are_checked_before_there_is_an_image() -> None:
    check({"a": ["{web.digest} {token.place.reference} {{x}} {short}", 3], "b": "{secret}"}, "values", ("secret",))
    for text, near in (("{relay.digst}", "'relay.digest'"), ("{tga}", "'tag'"), ("{secret}", ""), ("{.digest}", "'digest'")):
        with pytest.raises(ConfigError, match=r"manifests\.a\.b: \{") as caught:
            check({"a": {"b": text}}, "manifests")
        assert near in caught.value.what


@given(st.text().filter(lambda text: "{" not in text and "}" not in text))
def test_y05_text_without_braces_stays_one_value_whatever_is_in_it(text: str) -> None:
    assert render({"branch": text}, {}) == {"branch": text}


@given(st.text(alphabet="{}ab"))
def test_doubled_braces_give_the_text_back(text: str) -> None:
    assert render(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_values_that_nest_for_ever_are_refused() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(ConfigError, match="too deeply"):
        render(deep, {})


def test_the_same_release_has_the_same_inputs_and_any_change_another(site: Site) -> None:
    values = {"image": {"digest": "{digest}"}, "env": {"baseUrl": "http://a"}}
    secret = SecretSpec("env", {"KEY": "value:key"})
    base = want(site, values=values, secret=secret)
    assert base.inputs == want(site, values=dict(reversed(values.items())), secret=secret).inputs
    assert len(base.inputs) == 40
    other = want(site, values={**values, "env": {"baseUrl": "http://b"}}, secret=secret)
    assert changes(base.parts, other.parts) == ["values changed: env.baseUrl"]
    newer = dataclasses.replace(IMAGES, images=(dataclasses.replace(IMAGES.images[0], digest="sha256:" + "b2" * 32),))
    (said,) = changes(base.parts, want(site, newer, values=values, secret=secret).parts)
    assert said == "image sha256:a1a1a1a1a1a1… is live, sha256:b2b2b2b2b2b2… is wanted"
    (site.root / "chart" / "templates" / "x.yaml").write_text("a: c\n")
    assert changes(base.parts, want(site, values=values, secret=secret).parts) == ["the chart changed"]


def test_a_changed_secret_is_noticed_without_being_told(site: Site) -> None:
    secret = SecretSpec("env", {"KEY": "value:key"})
    first = want(site, secret=secret, values={"version": "{secret}"})
    other = dataclasses.replace(site, secrets=Secrets({"KEY": "another-secret"}))
    second = want(other, secret=secret, values={"version": "{secret}"})
    assert changes(first.parts, second.parts) == ["values changed: version", "the secret changed"]
    assert "a-secret-value" not in repr(first) + str(first.parts)


def test_secrets_come_from_the_sites_values_or_a_source(site: Site) -> None:
    data = secret_data(SecretSpec("env", {"A": "value:key", "B": "env:KEY", "C": "value:plain"}), site)
    assert data == {"A": "a-secret-value", "B": "a-secret-value", "C": "postgres://user:password@db/x"}
    assert "postgres" not in site.secrets.mask("at postgres://user:password@db/x")
    with pytest.raises(ConfigError, match="no value 'none'"):
        secret_data(SecretSpec("env", {"A": "value:none"}), site)
    with pytest.raises(AuthError):
        secret_data(SecretSpec("env", {"A": "env:MISSING"}), site)


def test_leaves_have_dotted_names() -> None:
    assert dict(flat({"a": {"b": 1, "c": [1, 2]}, "d": {}})) == {"a.b": 1, "a.c": [1, 2], "d": {}}


@pytest.mark.parametrize("name", ["", "-x", "x-", "Web", "a.b", "a/b", "../x", "a" * 64, "a;touch /tmp/p", "a\n", "$(id)", "a\0"])
def test_i01_y06_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        Helm("lab", name, "web")
    with pytest.raises(ValueError, match="is not a name"):
        Helm("lab", "shop", name)


@pytest.mark.parametrize("folder", ["", "-x", "/etc", "../chart", "a/../../b", "a\0"])
def test_y06_a_chart_outside_the_working_copy_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="is not a folder inside"):
        Helm("lab", "shop", "web", chart=folder)


def test_y04_a_linked_file_is_refused(site: Site) -> None:
    (site.root / "chart" / "Chart.lock").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"Chart\.lock is a symbolic link"):
        chart.read(site.root, "chart")


@pytest.mark.parametrize(
    "text", ["name: ..\nversion: 1.0.0", "name: web\nversion: '1.0.0\x1b[2J'", "name: web", "[]", "{", "name: a/b\nversion: 1.0.0"]
)
def test_y04_a_chart_that_is_none_is_refused(site: Site, text: str) -> None:
    (site.root / "chart" / "Chart.yaml").write_text(text)
    with pytest.raises(ConfigError):
        chart.read(site.root, "chart")


def test_a_chart_that_is_missing_or_leads_out_is_refused(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="there is no chart"):
        chart.read(site.root, "none")
    outside = tmp_path_factory.mktemp("out")
    (outside / "Chart.yaml").write_text("name: web\nversion: 1.0.0\n")
    (site.root / "linked").symlink_to(outside)
    with pytest.raises(ConfigError, match="leads out"):
        chart.read(site.root, "linked")


def test_d13_a_stray_archive_in_the_chart_is_named_before_anything_happens(site: Site) -> None:
    (site.root / "chart" / "stray.tgz").write_bytes(os.urandom(900_000))
    with pytest.raises(ConfigError, match="a Secret holds 1024 KiB") as caught:
        chart.check_size(chart.read(site.root, "chart"), {})
    assert "stray.tgz: 878 KiB" in caught.value.cause


def test_d13_a_large_chart_that_packs_well_is_fine(site: Site) -> None:
    (site.root / "chart" / "notes.txt").write_text("the same line again\n" * 50_000)
    chart.check_size(chart.read(site.root, "chart"), {})
