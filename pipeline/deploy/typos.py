"""What a chart's values.schema.json says of the values, told with the place where each was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import jsontext
from pipeline.deploy.chart import Chart
from pipeline.deploy.layers import Layers, Path_
from pipeline.errors import ConfigError, PipelineError
from pipeline.yamlfile import keys_like

SCHEMA = "values.schema.json"
# where another keyword may allow what `properties` does not name
OPEN = ("patternProperties", "allOf", "anyOf", "oneOf", "if", "unevaluatedProperties", "$dynamicRef")
DEEPEST = 50
# Helm 3.18 and later, and Helm 4; before them
SAID = re.compile(r"- (?:at '(?P<pointer>[^']*)'|(?P<dotted>\(root\)|[^\s:]+)): (?P<what>.+)")


def check(chart: Chart, values: Mapping[str, Any], layers: Layers) -> None:
    """Raise ConfigError for a key that the chart's schema does not allow, with its place and the near one. Helm itself says the rest."""
    text = dict(chart.files).get(SCHEMA)
    if text is None:
        return
    try:
        schema = jsontext.loads(text)
    except ValueError as error:
        raise ConfigError(f"{SCHEMA} of chart {chart.name} is not JSON", cause=str(error), mend="correct it") from error
    for path, known in unknown(schema, values):
        what = f"{layers.origin(path)} is not known to chart {chart.name}{keys_like(path[-1], known)}"
        raise ConfigError(what, mend=f"{'.'.join(path[:-1]) or 'the chart'} takes: {', '.join(known)}")


def unknown(schema: Any, values: Any) -> Iterator[tuple[Path_, list[str]]]:
    """Each key that no property allows, with the keys that are allowed there. Only what is sure is told: see OPEN."""
    yield from _unknown(schema, values, schema, ())


def explained(error: PipelineError, layers: Layers, chart: str) -> PipelineError:
    """The error of values that do not fit the schema of `chart` or of one inside it, each of Helm's lines with the place of what it is
    about."""
    lines = [f"{layers.origin(path)}: {what}" if path else what for path, what in _said(error.cause, chart)]
    if not lines:
        return error
    return ConfigError(error.what, cause="\n".join(lines), mend=error.mend)


def _said(text: str, chart: str) -> Iterator[tuple[Path_, str]]:
    """(path from the top, what is wrong there). Helm names each chart before what it says of its values."""
    inside: Path_ = ()
    for line in text.splitlines():
        if line.endswith(":") and " " not in line:
            inside = () if line[:-1] == chart else (line[:-1],)
        elif match := SAID.fullmatch(line):
            if match["pointer"] is not None:
                path = tuple(part.replace("~1", "/").replace("~0", "~") for part in match["pointer"].split("/")[1:])
            else:
                path = () if match["dotted"] == "(root)" else tuple(match["dotted"].split("."))
            yield (*inside, *path), match["what"]


def _unknown(schema: Any, values: Any, root: Any, path: Path_) -> Iterator[tuple[Path_, list[str]]]:
    schema = _resolved(schema, root)
    if not isinstance(schema, Mapping) or len(path) > DEEPEST:
        return
    known = found if isinstance(found := schema.get("properties"), Mapping) else {}
    if isinstance(values, Mapping):
        if schema.get("additionalProperties") is False and not any(word in schema for word in OPEN):
            yield from (((*path, key), list(known)) for key in values if key not in known)
        for key, value in values.items():
            yield from _unknown(known.get(key, schema.get("additionalProperties")), value, root, (*path, key))
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for index, value in enumerate(values):
            yield from _unknown(schema.get("items"), value, root, (*path, str(index)))


def _resolved(schema: Any, root: Any) -> Any:
    """What a reference within the document leads to; None where it leads elsewhere."""
    for _ in range(DEEPEST):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        pointer = str(schema["$ref"])
        if not pointer.startswith("#"):
            return None
        schema = root
        for part in pointer.removeprefix("#").split("/")[1:]:
            schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return None
