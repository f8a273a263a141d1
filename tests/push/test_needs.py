"""What a push would stumble over, told without asking the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, PipelineError
from pipeline.push.skopeo import DRIVER, Spec
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Registry, Site

# nothing listens on port 1 of loopback: whoever asked would be told
GOOD = Registry("127.0.0.1:1", "http", "own", "anna", "env:PASSWORD")


def checked(folder: Path, registry: Registry, name: str = "shelf") -> None:
    assert DRIVER.check is not None
    made = Site(
        app="web", root=folder, hosts={}, remotes={}, registries={"shelf": registry}, clusters={}, tools={}, values={},
        records=Records(folder / "records.db"), secrets=Secrets({"PASSWORD": "a-password-of-its-own"}),
    )  # fmt: skip
    with made:
        DRIVER.check(Spec(name, "team/web"), made)


def test_what_is_all_there_asks_nobody(tmp_path: Path) -> None:
    checked(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("registry", "name", "kind", "text"),
    [
        (GOOD, "shefl", ConfigError, "no registry 'shefl'; did you mean 'shelf'?"),
        (Registry("-x:1", "http"), "shelf", ConfigError, "-x:1"),
        (Registry("127.0.0.1:1", "http", "own", "anna", "env:ABSENT"), "shelf", AuthError, "env:ABSENT is not set"),
        (Registry("127.0.0.1:1", "http", "own", "anna", "a-password-of-its-own"), "shelf", ConfigError, "not a source of secrets"),
    ],
)
def test_each_mistake(tmp_path: Path, registry: Registry, name: str, kind: type[PipelineError], text: str) -> None:
    with pytest.raises(kind) as caught:
        checked(tmp_path, registry, name)
    assert text in caught.value.what
    assert "a-password-of-its-own" not in caught.value.what + caught.value.cause
