"""The schemas of Flux's kinds as their CRDs have them: from the cluster or from files, made strict, and what an object has wrong by them.

Structural schemas: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
Rules in CEL (x-kubernetes-validations) are the API server's to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tools import goyaml
from pipeline.tools.kube import Kube, path
from pipeline.yamlfile import keys_like

VERSION = re.compile(r"v(?P<major>[0-9]+)(?:(?P<stage>alpha|beta)(?P<minor>[0-9]+))?")
GROUPS = ".fluxcd.io"  # how the groups of Flux's kinds end
OPEN = "x-kubernetes-preserve-unknown-fields"
EITHER = "x-kubernetes-int-or-string"
KEPT = ("type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "required", "multipleOf",
        "minProperties", "maxProperties", "uniqueItems")  # fmt: skip


@dataclass(frozen=True)
class Schemas:
    """For each (group, kind) the versions that are served, the newest first, and the schema of each."""

    kinds: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def versions(self, group: str, kind: str) -> tuple[str, ...]:
        """The versions of a kind; none where it is not known."""
        return tuple(self.kinds.get((group, kind), ()))

    def wrong(self, group: str, version: str, kind: str, value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
        """(path, what is wrong) for each fault of an object of a version that is served."""
        import jsonschema  # 60 ms, and only who writes to the repository needs it

        validator = jsonschema.Draft202012Validator(strict(self.kinds[group, kind][version]))
        for error in sorted(validator.iter_errors(_bare(value)), key=lambda each: list(map(str, each.absolute_path))):
            yield from _said(error)


def of_folder(folder: Path) -> Schemas:
    """The schemas of the CRDs in the YAML files of `folder` (or in the one file that it is). Raises ConfigError where there are none."""
    files = sorted(folder.glob("*.y*ml")) if folder.is_dir() else [folder]
    found: list[Any] = []
    for file in files:
        try:
            found += goyaml.values(file.read_bytes().decode(), str(file))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise ConfigError(
                f"{file} cannot be read as CRDs", cause=str(error), mend="name the folder with Flux's CRDs: --crds DIR"
            ) from error
    schemas = of_objects(found)
    if not schemas:
        raise ConfigError(f"{folder} holds no CRDs of Flux", mend="name the folder with them, or leave --crds away: the cluster is asked")
    return schemas


def of_cluster(kube: Kube) -> Schemas:
    """The schemas that the cluster has; empty where Flux is not installed there."""
    return of_objects(kube.list(path("apiextensions.k8s.io/v1", "customresourcedefinitions"))["items"])


def of_objects(objects: list[Any]) -> Schemas:
    """The schemas of those of the objects that are CRDs of Flux."""
    kinds: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for each in objects:
        spec = each.get("spec") if isinstance(each, dict) else None
        if isinstance(spec, dict) and str(spec.get("group", "")).endswith(GROUPS):
            served = [one for one in spec.get("versions") or [] if one.get("served") and one.get("schema")]
            schemas = {one["name"]: one["schema"]["openAPIV3Schema"] for one in sorted(served, key=_age)}
            kinds[spec["group"], spec["names"]["kind"]] = schemas
    return Schemas(kinds)


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A structural schema as JSON Schema: what it does not name is refused, as the API server does for a strict request."""
    if schema.get(EITHER):
        return {"type": ["integer", "string"]}
    made: dict[str, Any] = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if "properties" in schema:
        made["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if not schema.get(OPEN) and "additionalProperties" not in schema:
            made["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        made["items"] = strict(schema["items"])
    for key in ("anyOf", "oneOf", "allOf"):  # of a structural schema these only narrow: they name no field that stands nowhere else
        if key in schema:
            made[key] = [{inner: each[inner] for inner in (*KEPT, "properties", "not") if inner in each} for each in schema[key]]
    return made


def _age(version: Mapping[str, Any]) -> tuple[int, int, int]:
    """Stable versions before others, the newest of each first, as Kubernetes orders them."""
    found = VERSION.fullmatch(str(version["name"]))
    if found is None:
        return 3, 0, 0
    return ("", "beta", "alpha").index(found["stage"] or ""), -int(found["major"]), -int(found["minor"] or 0)


def _bare(value: Any) -> Any:
    """`value` without fields that are null: the API server takes those for missing."""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if item is not None}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _said(error: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    where = tuple(map(str, error.absolute_path))
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = sorted(error.schema.get("properties", {}))
        for name in sorted(set(error.instance) - set(known)):
            yield (*where, str(name)), f"is not a field that is known there{keys_like(str(name), known)}"
    elif error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        yield where, f"lacks {' and '.join(missing)}"
    elif error.validator == "type":
        wanted = error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
        yield where, f"is {_shown(error.instance)}, not of type {wanted}"
    elif error.validator == "enum":
        words = [str(word) for word in error.validator_value]
        yield where, f"is {_shown(error.instance)}, not one of: {', '.join(words)}{keys_like(str(error.instance), words)}"
    elif error.validator == "pattern":
        yield where, f"is {_shown(error.instance)}, which does not fit {error.validator_value}"
    else:
        yield (
            where,
            f"is {_shown(error.instance)}: {error.validator} {error.validator_value if error.validator in KEPT else 'does not hold'}",
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value) if len(repr(value)) < 60 else f"a long {type(value).__name__}"
