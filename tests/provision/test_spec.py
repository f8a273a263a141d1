"""The section `infra` of a blueprint: what it takes and what it refuses, with its line."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.plan import blueprint_schema
from pipeline.provision.spec import Terraform
from pipeline.schema import build
from pipeline.yamlfile import parse


def read(text: str) -> Terraform:
    found: Terraform = build(Terraform, parse(f"app: x\ninfra: {text}\n", "config/x.yml"), ("infra",))
    return found


def test_what_it_takes() -> None:
    found = read('{folder: t/x, variables: {a: 1, b: "2", c: 0.5, d: true}, credentials: {X_FILE: "file:x"}, deadline: 60}')
    assert found == Terraform("t/x", variables={"a": 1, "b": "2", "c": 0.5, "d": True}, credentials={"X_FILE": "file:x"}, deadline=60)
    assert found.driver == "terraform"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{folder: /etc}", "not a folder of the working copy"),
        ("{folder: ../x}", "not a folder of the working copy"),
        ("{folder: -x}", "not a folder of the working copy"),
        ("{folder: t, driver: pulumi}", "not one of: terraform"),
        ("{folder: t, deadline: 5}", "not between 60 and 86400"),
        ("{folder: t, state: a, backend: {path: b}}", "one of them"),
        ("{folder: t, variables: {'a b': 1}}", "not the name of a variable"),
        ("{folder: t, credentials: {a-b: 'env:X'}}", "not the name of a credential"),
        ("{folder: t, credentials: {LD_PRELOAD: 'env:X'}}", "LD_PRELOAD is no credential"),
        ("{folder: t, backend: {'-x': 'y'}}", "not the name of a backend setting"),
        ("{folder: t, tokn: x}", "infra.tokn is not known"),
        ("{driver: terraform}", "lacks folder"),
    ],
)
def test_what_it_refuses(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert says in caught.value.what
    assert caught.value.what.startswith("config/x.yml:2")


def test_it_is_in_the_schema() -> None:
    (infra,) = [shape for shape in blueprint_schema()["properties"]["infra"]["anyOf"] if shape.get("type") == "object"]
    assert infra["required"] == ["folder"]
    assert infra["properties"]["driver"] == {"enum": ["terraform"]}
