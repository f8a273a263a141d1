"""Frozen dataclasses are the schema: read a document into them, or print them as JSON Schema for an editor."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.yamlfile import Document, Path_, keys_like

NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Marks a mapping that is of one of several kinds, named by one of its keys: Annotated[Any, OneOf({key: "module:Class"})].

    The key is the first field of the class. A kind's module is loaded where a document has one of it, and for the schema of all.
    """

    kinds: Mapping[str, str]

    def kind(self, key: str) -> type[Any]:
        module, _, name = self.kinds[key].partition(":")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    def __hash__(self) -> int:
        return hash(tuple(self.kinds.items()))


def build(cls: type[Any], document: Document, path: Path_ = ()) -> Any:
    """The dataclass `cls` from the mapping at `path` of the document.

    Raises ConfigError for an unknown key (with the nearest known one), a missing one, a value of another type, each with file and line.
    A dataclass refuses a value by raising ValueError in `__post_init__`; it is told with the place of the mapping, or of the key that
    `keyed` names.
    """
    data = _at(document, path)
    if not isinstance(data, dict):
        raise _wrong(document, path, f"takes a mapping, not {_shown(data)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            known = ", ".join(fields)
            raise ConfigError(
                f"{document.place((*path, key))}: {'.'.join((*path, key))} is not known{keys_like(key, list(fields))}",
                mend=f"{path[-1] if path else 'the file'} takes: {known}",
            )
    values = {key: _value(hints[key], document, (*path, key), value) for key, value in data.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(
            f"{document.place(path)}: {_named(path)} lacks {', '.join(missing)}",
            mend=f"add {missing[0]}: … there",
        )
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{document.place(path)}: {_named(path)}: {error.what}", cause=error.cause, mend=error.mend) from error
    except ValueError as error:
        own = (error.key,) if isinstance(error, _Keyed) and error.key in data else ()
        raise ConfigError(f"{document.place((*path, *own))}: {_named(path)}: {error}") from error


class _Keyed(ValueError):
    """A ValueError that is about one key."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@contextlib.contextmanager
def keyed(key: str) -> Iterator[None]:
    """A ValueError inside is about `key` of the mapping: it is told with the line of that key."""
    try:
        yield
    except ValueError as error:
        raise _Keyed(key, str(error)) from error


def _value(hint: Any, document: Document, path: Path_, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return _kind(hint.__metadata__[0].kinds, hint.__metadata__[0].kind, document, path, value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, document, path)
    if origin is typing.Literal:
        if value not in args:
            words = ", ".join(map(str, args))
            near = keys_like(str(value), [str(word) for word in args])
            raise _wrong(document, path, f"is {_shown(value)}, not one of: {words}{near}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(document, path, f"takes a list, not {_shown(value)}")
        return tuple(_value(args[0], document, (*path, str(index)), item) for index, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(document, path, f"takes a mapping, not {_shown(value)}")
        return {key: _value(args[1], document, (*path, key), item) for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        if all(dataclasses.is_dataclass(arg) for arg in args):
            kinds = {dataclasses.fields(arg)[0].name: arg for arg in args}
            return _kind(kinds, kinds.__getitem__, document, path, value)
        return _any(args, document, path, value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        quote = "; put quotes around it" if hint is str and isinstance(value, int | float) else ""
        raise _wrong(document, path, f"takes {NAMES[hint]}, not {_shown(value)}{quote}")
    if isinstance(value, str) and any(ord(char) < 32 and char not in "\n\t" for char in value):
        raise _wrong(document, path, "has a control character in it")
    return value


def _any(hints: tuple[Any, ...], document: Document, path: Path_, value: Any) -> Any:
    """`value` as the first of `hints` that takes it; where none does, the first one's reason is told."""
    reason: ConfigError | None = None
    for hint in hints:
        if hint is type(None):
            if value is None:
                return None
            continue
        try:
            return _value(hint, document, path, value)
        except ConfigError as error:
            reason = reason or error
    raise reason or _wrong(document, path, f"takes nothing, not {_shown(value)}")


def _kind(kinds: Mapping[str, Any], kind: Callable[[str], type[Any]], document: Document, path: Path_, value: Any) -> Any:
    """`value` as the one of several kinds of mapping that its own key names: the first field of each dataclass."""
    if not isinstance(value, dict):
        raise _wrong(document, path, f"takes a mapping with one of {', '.join(kinds)}, not {_shown(value)}")
    named = [key for key in value if key in kinds]
    if len(named) == 1:
        return build(kind(named[0]), document, path)
    if named:
        raise ConfigError(
            f"{document.place((*path, named[1]))}: {_named(path)} is of two kinds, {' and '.join(named)}", mend="make two items of it"
        )
    near = next(((key, text) for key in value if (text := keys_like(key, list(kinds)))), ("", ""))
    place = document.place((*path, near[0]) if near[0] else path)
    said = f"{near[0]!r} is no kind of it{near[1]}" if near[0] else "does not say its kind"
    raise ConfigError(f"{place}: {_named(path)}: {said}", mend=f"it is named by one key: {', '.join(kinds)}")


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of the documents that `build(cls, …)` takes."""
    return {"$schema": DIALECT, **object_schema(cls)}


def object_schema(cls: type[Any]) -> dict[str, Any]:
    """The same, as a part of a larger schema."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    required = [field.name for field in fields if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
    shape: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _schema(hints[field.name]) for field in fields},
        "additionalProperties": False,
    }
    if required:
        shape["required"] = required
    if cls.__doc__:
        shape["description"] = " ".join(cls.__doc__.split())
    return shape


def _schema(hint: Any) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return object_schema(hint)
    if origin is typing.Annotated:
        return {"anyOf": [object_schema(hint.__metadata__[0].kind(key)) for key in hint.__metadata__[0].kinds]}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(arg) for arg in args]}
    if hint is type(None):
        return {"type": "null"}
    return {"type": JSON_NAMES[hint]} if hint in JSON_NAMES else {}


def _at(document: Document, path: Path_) -> Any:
    data = document.data
    for key in path:
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def _wrong(document: Document, path: Path_, text: str) -> ConfigError:
    return ConfigError(f"{document.place(path)}: {_named(path)} {text}")


def _named(path: Path_) -> str:
    return ".".join(path) or "the file"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value) if len(repr(value)) < 60 else f"a {type(value).__name__}"
