"""What the documentation names, there is."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline import schema
from pipeline.errors import ConfigError
from pipeline.plan import BlueprintFile, SiteFile, blueprint_schema, blueprints, environments, load
from pipeline.stage import VERBS
from pipeline.yamlfile import parse, read

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
FLUX = "$imagepolicy"  # stands in a file of the GitOps repository, which Flux alone reads
FOREIGN = {"suspend", "valuesFile", "valuesFiles", "X-TTL", "terraform"}  # of Flux's own objects, of a header, of a tool's path
PROOFS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())


def test_each_trap_and_each_fault_has_its_proof() -> None:
    text = (ROOT / "docs/faults.md").read_text().partition("## Not covered")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| ([0-9]|[A-Z][0-9]|all)", line)]
    assert len(rows) == len(PROOFS)
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+` \|$", row)] == []
    traps = [row for row in rows if re.match(r"\| [0-9]", row)]
    assert [int(row.split("|")[1]) for row in traps] == list(range(1, 13))


def test_a_fault_is_covered_or_it_is_not() -> None:
    covered, _, rest = (ROOT / "docs/faults.md").read_text().partition("## Not covered")
    named = set(re.findall(r"\b[A-Z][0-9]{2}\b", "\n".join(re.findall(r"^\| ([^|]+) \|", covered, re.MULTILINE))))
    without = set(re.findall(r"^- (?:[A-Z][0-9]{2}, )*([A-Z][0-9]{2}): ", rest, re.MULTILINE))
    assert without
    assert named & without == set()


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def blocks() -> Iterator[Any]:
    """Each YAML example, by its page and line."""
    for page in PAGES:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            if found[2] == "yaml" and FLUX not in found[3]:
                where = f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}"
                yield pytest.param(found[3].replace("…", "0" * 32), id=where)


def of_a_blueprint(example: dict[str, Any]) -> dict[str, Any] | None:
    """The example as a part of a blueprint, None if it is none."""
    if set(example) <= set(VERBS):
        return {"stages": example}
    if set(example) <= {"checks"}:
        return {"stages": {"verify": example}}
    if set(example) <= {"run"}:
        return {"ci": example}
    return example if set(example) <= set(schema.object_schema(BlueprintFile)["properties"]) else None


def is_part_of(part: dict[str, Any], whole: Any) -> bool:
    """Whether the blueprint `whole` has the sections and stages of `part`, by the same drivers."""
    stages = part.get("stages", {})
    return all(whole.get(key) for key in part) and all(
        verb in whole["stages"] and options.get("driver", whole["stages"][verb]["driver"]) == whole["stages"][verb]["driver"]
        for verb, options in stages.items()
    )


@pytest.mark.parametrize("text", list(blocks()))
def test_each_example_is_one_that_the_loader_takes(text: str, tmp_path: Path) -> None:
    """As an overlay of one of this repository's blueprints that have such a part."""
    example = parse(text, "the example").data
    part = of_a_blueprint(example)
    if part is None and set(example) <= set(schema.object_schema(SiteFile)["properties"]):
        assert schema.build(SiteFile, parse(text, "the example"))
        return
    if part is None:
        chart = read(ROOT / "chart/values.yaml").data
        chart["image"]["digest"] = "sha256:" + "0" * 64
        jsonschema.validate({**chart, **example}, json.loads((ROOT / "chart/values.schema.json").read_text()))
        return
    refusals = [loaded(whole, part, tmp_path) for whole in wholes() if is_part_of(part, whole)]
    assert "" in refusals


@functools.cache
def wholes() -> list[Any]:
    """Every blueprint of this repository, without an overlay and with each of them."""
    bases = [(read(CONFIG / f"{name}.yml"), name) for name in blueprints(CONFIG)]
    laid = [base.under(read(CONFIG / f"{name}.{env}.yml")) for base, name in bases for env in environments(CONFIG, name)]
    return [found.data for found in (*(base for base, _ in bases), *laid)]


def loaded(whole: dict[str, Any], part: dict[str, Any], folder: Path) -> str:
    """What the loader says to `part` as an overlay of `whole`, "" if it takes it."""
    (folder / "one.yml").write_text(yaml.safe_dump({**whole, "environment": "example", "protected": False}, sort_keys=False))
    (folder / "one.example.yml").write_text(yaml.safe_dump(part, sort_keys=False))
    try:
        load(folder, "one")
    except ConfigError as error:
        return str(error)
    return ""


def test_an_example_with_a_wrong_key_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"stages\.build\.attribute is not known"):
        test_each_example_is_one_that_the_loader_takes("build: {driver: nix, attribute: docker}\n", tmp_path)


def keys(shape: Any) -> Iterator[str]:
    """Every key that some part of a JSON Schema knows."""
    for value in shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else ():
        yield from keys(value)
    if isinstance(shape, dict):
        yield from shape.get("properties", {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_key_that_stands_in_a_sentence_is_known(page: Path) -> None:
    charts = [json.loads(file.read_text()) for file in ROOT.glob("**/values.schema.json") if ".venv" not in file.parts]
    known = {key for shape in (blueprint_schema(), schema.json_schema(SiteFile), charts) for key in keys(shape)} | FOREIGN
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))
    named = {key for span in spans for key in re.findall(r"(?:^|[{,] ?)([A-Za-z_][A-Za-z_.-]*):(?= |$)", span)}
    assert sorted(named - known) == []
