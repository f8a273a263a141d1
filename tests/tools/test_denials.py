"""Why a registry says no: each recorded answer has its one reason and what mends it, and no password is ever told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools.denials import Denial, granted, reason, told
from pipeline.tools.logins import Login

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/registry/denials.yml").read_text())


def denial(case: dict[str, Any]) -> Denial:
    return Denial(
        "https://registry.example",
        case["provider"],
        "team/app",
        case["words"],
        case["status"],
        case.get("token", False),
        case.get("writing", True),
        Login("anna", case["password"], "the site file") if case["password"] else None,
        frozenset(case["granted"]) if "granted" in case else None,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["from"])
def test_recorded_answers(case: dict[str, Any]) -> None:
    found = denial(case)
    error = told(found)
    assert reason(found) == case["reason"]
    assert case["mend"] in error.mend
    assert case["words"] in error.cause
    assert str(case["status"]) in error.cause


def test_each_reason_is_told_in_other_words() -> None:
    said = {reason(denial(case)): told(denial(case)).what for case in CASES}
    assert len(set(said.values())) == len(said)
    assert set(said) == {"scope", "link", "install", "login", "private", "sso", "unknown", "granted"}


def test_a_private_package_and_a_missing_one_are_not_told_apart() -> None:
    error = told(Denial("https://ghcr.io", "ghcr", "o/app", "DENIED denied", 403, token=True))
    assert "it is private, or does not exist" in error.what


@given(st.text(), st.sampled_from(["ghcr", "dockerhub", ""]), st.booleans(), st.booleans(), st.sampled_from([401, 403]))
def test_n10_whatever_is_said_there_is_a_mend_and_no_password(words: str, provider: str, token: bool, writing: bool, status: int) -> None:
    login = Login("anna", "ghp_hunter2hunter2", "x")
    error = told(Denial("https://r.example", provider, "o/app", words, status, token, writing, login))
    assert error.mend
    assert "hunter2" not in error.what + error.mend


def jwt(claims: Any) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)) + ".sig"


def test_what_a_token_names() -> None:
    access = [{"type": "repository", "name": "o/app", "actions": ["pull"]}, {"type": "repository", "name": "o/x", "actions": ["push"]}]
    assert granted(jwt({"access": access}), "o/app") == frozenset({"pull"})
    assert granted(jwt({"access": access}), "o/other") == frozenset()
    assert granted(jwt({"access": None}), "o/app") == frozenset()


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b.c", "e30.e30.e30", jwt([]), jwt({"access": [1]}), jwt({"access": [{}]}), "a.\u00e4.c"]
)
def test_a_token_that_names_nothing_is_not_guessed_at(token: str) -> None:
    assert granted(token, "o/app") is None


@pytest.mark.parametrize(("status", "what"), [(403, "does not allow this account"), (401, "refused the owner of its token")])
def test_a_no_without_a_reason_is_told_as_it_came(status: int, what: str) -> None:
    login = Login("", "x", "docker-credential-x", "identity")
    error = told(Denial("https://r.example", "", "o/app", "DENIED", status, login=login))
    assert f"{what} (from docker-credential-x)" in error.what
