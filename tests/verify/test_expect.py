from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts import Image
from pipeline.errors import ConfigError
from pipeline.tools import placeholders
from pipeline.tools.placeholders import render
from pipeline.verify.expect import Page, filled, judge
from pipeline.verify.web import Answer
from pipeline.verify.words import words
from tests.verify.releases import COMMIT, DIGEST, OLD, OTHER, RELEASE


def answer(body: Any = None, status: int = 200, *, raw: bytes | None = None, cut: bool = False, **headers: str) -> Answer:
    content = raw if raw is not None else json.dumps(body).encode()
    return Answer(status, "/healthz", {name.replace("_", "-"): value for name, value in headers.items()}, content, cut)


def test_every_placeholder_is_replaced_everywhere() -> None:
    page = Page("/healthz", json={"c": "{commit}", "n": 7}, headers={"X-Digest": "{digest}"}, text="{app} {short} {label} {tag}")
    ready = filled(page, words(RELEASE, "probe"))
    assert ready.json == {"c": COMMIT, "n": 7}
    assert ready.headers == {"X-Digest": DIGEST}
    assert ready.text == "probe b2b2b2b b2b2b2b b2b2b2b"


def test_braces_that_are_no_placeholder_stay() -> None:
    page = Page("/", text='{"status": "ok"} {} {1}')
    assert filled(page, words(RELEASE, "probe")).text == page.text


def test_a_word_is_the_same_to_a_chart_and_to_a_check() -> None:
    """With uncommitted changes, and with two repositories that end alike."""
    source = dataclasses.replace(RELEASE.source, dirty=True)
    two = (Image("r.example/x/web", DIGEST, "v1"), Image("r.example/y/web", OTHER, "v1"))
    made = dataclasses.replace(RELEASE, source=source, images=two)
    given = {"version": "{short}", "x": "{x/web.digest}", "y": "{y/web.digest}"}
    assert filled(Page("/", json=given), words(made, "probe")).json == render(given, placeholders.words(source, two, "probe"))
    assert source.label in str(render(given, words(made, "probe")))
    known = words(made, "probe")
    for fill in (lambda: filled(Page("/", text="{web.digest}"), known), lambda: render("{web.digest}", known)):
        with pytest.raises(ConfigError, match="is not one value: the release has 2") as caught:
            fill()
        assert caught.value.mend == "write {x/web.digest} or {y/web.digest}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "healthz"},
        {"path": "/a b"},
        {"path": "/a\r\nHost: elsewhere"},
        {"path": "//\n"},
        {"path": "/", "status": 0},
        {"path": "/", "status": 101},
        {"path": "/", "json": {"a": {"b": 1}}},
        {"path": "/", "json": {"": 1}},
        {"path": "/", "headers": {"X: y\r\nZ": "1"}},
        {"path": "/", "text": "{comit}"},
        {"path": "/", "json": {"a": "{sha}"}},
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Page(**wrong)


def test_a_placeholder_with_two_values_is_refused() -> None:
    both = dataclasses.replace(RELEASE, images=(*RELEASE.images, Image("registry.example/worker", OTHER, "b2b2b2b")))
    page = Page("/", text="{digest}")
    with pytest.raises(ConfigError, match="is not one value: the release has 2"):
        filled(page, words(both, "probe"))
    assert filled(Page("/", text="{tag}"), words(both, "probe")).text == "b2b2b2b"


def test_what_holds_is_the_evidence() -> None:
    page = Page("/healthz", json={"status": "ok", "commit": COMMIT}, headers={"Cache-Control": "no-store"}, text="ok")
    check = judge(page, answer({"status": "ok", "commit": COMMIT}, cache_control="no-store"), RELEASE)
    assert check.passed
    assert check.name == "GET /healthz"
    assert check.evidence == f'200; header Cache-Control = "no-store"; status = "ok"; commit = "{COMMIT}"; says "ok"'


def test_v01_the_old_version_answering_200_fails_and_both_commits_are_named() -> None:
    check = judge(Page("/healthz", json={"commit": COMMIT}), answer({"status": "ok", "commit": OLD}), RELEASE)
    assert not check.passed
    assert check.evidence == f'another version answers: commit is "{OLD}", "{COMMIT}" was released'


@pytest.mark.parametrize(
    ("page", "seen", "evidence"),
    [
        (Page("/"), answer(status=503, raw=b"down\n"), 'status 503, expected 200, the answer begins "down"'),
        (Page("/", json={"a.b": 1}), answer({"a": {"b": 2}}), "a.b is 2, expected 1"),
        (Page("/", json={"a.b": 1}), answer({"a": [1]}), "a.b is nothing, expected 1"),
        (Page("/", json={"a.0": 1}), answer({"a": [2]}), "a.0 is 2, expected 1"),
        (Page("/", json={"a": 1}), answer({"a": True}), "a is true, expected 1"),
        (Page("/", json={"a": 1}), answer({"a": "1"}), 'a is "1", expected 1'),
        (Page("/", json={"a": None}), answer({}), "a is nothing, expected null"),
        (Page("/", json={"a": 1}), answer(raw=b"<html>"), 'the answer is not JSON, the answer begins "<html>", expected JSON with a'),
        (Page("/", headers={"X-Kind": "new"}), answer({}), 'header X-Kind is nothing, expected "new"'),
        (Page("/", text="hello"), answer(raw=b""), 'does not say "hello", the answer is empty'),
    ],
)
def test_what_does_not_hold_says_expected_and_seen(page: Page, seen: Answer, evidence: str) -> None:
    check = judge(page, seen, RELEASE)
    assert (check.passed, check.evidence) == (False, evidence)


def test_all_that_is_wrong_is_said_at_once() -> None:
    check = judge(Page("/", json={"a": 1, "b": 2}, text="x"), answer({"a": 3}, status=500), RELEASE)
    assert check.evidence.count("expected") == 3
    assert 'does not say "x"' in check.evidence


def test_v05_a_compressed_or_cut_answer_is_not_read_as_text() -> None:
    packed = answer(raw=b"ok", content_encoding="gzip")
    assert 'sent as "gzip"' in judge(Page("/", text="ok"), packed, RELEASE).evidence
    assert not judge(Page("/", json={"a": 1}), packed, RELEASE).passed
    cut = answer({"a": 1}, cut=True)
    assert "only the first MiB was read" in judge(Page("/", json={"a": 1}), cut, RELEASE).evidence


def test_json_as_deep_as_the_limit_allows_is_no_crash() -> None:
    check = judge(Page("/", json={"a": 1}), answer(raw=b"[" * 500_000), RELEASE)
    assert "not JSON" in check.evidence


def test_json_numbers_without_end_are_no_crash() -> None:
    assert not judge(Page("/", json={"a": 1}), answer(raw=b'{"a": ' + b"9" * 100_000 + b"}"), RELEASE).passed


@given(st.binary(max_size=200), st.text(max_size=20))
def test_g01_no_answer_can_break_out_of_its_line(body: bytes, header: str) -> None:
    page = Page("/", json={"a": "x"}, headers={"X-Kind": "new"}, text="\0never\0")
    evidence = judge(page, Answer(200, "/", {"x-kind": header}, body), RELEASE).evidence
    assert evidence.isprintable()
    assert evidence.isascii() or "…" in evidence


BODY = {"status": "ok", "publicUrl": "https://staging.example", "knownServers": 2, "off": None, "on": True}


def test_paths_that_match_that_are_large_enough_and_that_are_there() -> None:
    page = Page("/healthz", matches={"publicUrl": r"^https://"}, at_least={"knownServers": 1}, present=("on",))
    check = judge(page, answer(BODY), RELEASE)
    assert (check.passed, check.evidence) == (True, '200; publicUrl = "https://staging.example"; knownServers = 2; on = true')


@pytest.mark.parametrize(
    ("page", "evidence"),
    [
        (Page("/", matches={"publicUrl": "^http:"}), "publicUrl is \"https://staging.example\", expected to match '^http:'"),
        (Page("/", matches={"knownServers": "2"}), "knownServers is 2, expected to match '2'"),
        (Page("/", at_least={"knownServers": 2.5}), "knownServers is 2, expected at least 2.5"),
        (Page("/", at_least={"on": 1}), "on is true, expected at least 1"),
        (Page("/", at_least={"absent": 1}), "absent is nothing, expected at least 1"),
        (Page("/", present=("off",)), "off is null, expected to be there"),
        (Page("/", present=("a.b",)), "a.b is nothing, expected to be there"),
    ],
)
def test_what_of_these_does_not_hold_is_named(page: Page, evidence: str) -> None:
    check = judge(page, answer(BODY), RELEASE)
    assert (check.passed, check.evidence) == (False, evidence)


def test_a_pattern_takes_the_releases_words_literally() -> None:
    page = filled(Page("/", matches={"v": "^{tag}$", "n": "a{2}"}), words(RELEASE, "probe"))
    assert page.matches == {"v": "^b2b2b2b$", "n": "a{2}"}


def test_the_images_of_a_set_are_named() -> None:
    both = dataclasses.replace(RELEASE, images=(*RELEASE.images, Image("registry.example/fade-server", OTHER, "v1")))
    page = Page("/", json={"server": "{fade-server.digest}", "probe": "{probe.digest}"}, text="{fade-server.tag}")
    ready = filled(page, words(both, "probe"))
    assert (ready.json, ready.text) == ({"server": OTHER, "probe": DIGEST}, "v1")
    with pytest.raises(ConfigError, match="is not one value") as caught:
        filled(Page("/", text="{digest}"), words(both, "probe"))
    assert "{fade-server.digest}" in caught.value.mend


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "HEAD", "text": "x"},
        {"method": "HEAD", "present": ("a",)},
        {"matches": {"a": "("}},
        {"matches": {"a": "{nothing}"}},
        {"present": ("",)},
        {"through": "ingres"},
    ],
)
def test_i01_what_no_page_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Page("/", **wrong)
