"""YAML as helm, kubectl, Flux and all others read it that are written in Go: by the rules of sigs.k8s.io/yaml, which makes JSON of it.

That is YAML 1.1 with some words of 1.2: `y` and `on` are true, 0755 and 0o755 octal; 1:30 and 2026-01-01 are text, and so is `=`. What
stands twice counts as it stands last. Source: resolve.go and decode.go in sigs.k8s.io/yaml/goyaml.v2; the tests ask helm and kubectl.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

from pipeline import yamlfile
from pipeline.errors import ConfigError
from pipeline.yamlfile import Document, Path_, Place, Reader, kind

TAG = "tag:yaml.org,2002:"
# what YAML 1.1 or 1.2, PyYAML or the Go libraries that Kubernetes reads with, take for something other than text:
# https://yaml.org/type/ (bool, float, int, merge, null, timestamp, value), https://yaml.org/spec/1.2.2/#103-core-schema
NOT_TEXT = re.compile(
    r"""(?ix) ( | ~ | null | true | false | yes | no | on | off | y | n | = | <<
    | [-+]? ( 0b[01_]+ | 0o?[0-7_]+ | 0x[0-9a-f_]+ | [0-9][0-9_]* )
    | [-+]? ( [0-9][0-9_]*\.?[0-9_]* | \.[0-9][0-9_]* ) ( e[-+]?[0-9]+ )?
    | [-+]? [0-9][0-9_]* ( :[0-5]?[0-9] )+ ( \.[0-9_]* )?
    | [-+]? \.inf | \.nan
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} ( [Tt\s] .* )? )"""
)
WORDS: dict[str, Any] = {
    **{each: None for word in ("null",) for each in ("", "~", word, word.title(), word.upper())},
    **{each: True for word in ("y", "yes", "true", "on") for each in (word, word.title(), word.upper())},
    **{each: False for word in ("n", "no", "false", "off") for each in (word, word.title(), word.upper())},
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")},
    **{f".{word}": float("nan") for word in ("nan", "NaN", "NAN")},
}
INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
LARGE = 1 << 63  # a number that is whole is an integer below it and a float beyond, as Go's readers of JSON have it


def documents(text: str, name: str) -> list[Document]:
    """The documents in `text`; `name` is how errors call it. Raises ConfigError with file and line for what Go's reader refuses too, and
    for what is larger or deeper than anything that is meant."""
    return yamlfile.documents(text.removeprefix("\ufeff"), name, _GoReader)


def values(text: str, name: str) -> list[Any]:
    """What the documents in `text` hold. Raises as `documents` does."""
    return [document.data for document in documents(text, name)]


def plain(text: str) -> Any:
    """What a scalar without quotes and tag means."""
    if text in WORDS:
        return WORDS[text]
    bare = text if text.startswith(".") else text.replace("_", "")
    if text[:1] not in "+-.0123456789":
        return text
    if found := INTEGER.fullmatch(bare):
        sign, *digits = found.groups()
        base, said = next((base, each) for base, each in zip((16, 2, 8, 10), digits, strict=True) if each is not None)
        value = int(said, base) * (-1 if sign == "-" else 1)
        if -LARGE <= value < LARGE:
            return value
        if not sign and value < 2 * LARGE:
            return float(value)
    if FLOAT.fullmatch(bare) and isfinite(number := float(bare)):
        return number
    return text


def ambiguous(text: str) -> bool:
    """Whether plain `text` is not text to every reader."""
    return NOT_TEXT.fullmatch(text) is not None


def dump(found: Sequence[Any]) -> str:
    """The values as YAML documents that say the same to every reader: what one of them could take for something else stands in quotes."""
    return _dumped(found, sort_keys=True, explicit_start=True, width=10_000)


def block(value: Any) -> str:
    """One value as people write it: its keys in their order, letters of every script as they are. It says the same to every reader."""
    return _dumped([value], sort_keys=False, allow_unicode=True, width=1 << 20)


def _dumped(found: Sequence[Any], **how: Any) -> str:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # chosen when it runs
        def ignore_aliases(self, _: Any) -> bool:
            return True

    Dumper.add_representer(str, _quoted)
    return str(yaml.dump_all(found, Dumper=Dumper, default_flow_style=False, **how))


def _quoted(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar(f"{TAG}str", text, style='"' if ambiguous(text) else None)


class _GoReader(Reader):
    most_values, deepest = 1_000_000, 200

    def tagged(self, *_: Any) -> None:
        pass  # Go's reader knows none of a mapping or a list

    def scalar(self, event: Any, place: Place) -> Any:
        found = self.resolved(event, place)
        if isinstance(found, float) and not isfinite(found):
            raise ConfigError(f"{place}: {event.value} is no number that JSON has", mend="no tool of Kubernetes reads it: write another")
        return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < LARGE else found

    def resolved(self, event: Any, place: Place) -> Any:
        tag, text = event.tag or "", str(event.value)
        if not tag:
            return text if event.style else plain(text)
        name = tag.removeprefix(TAG)
        if name == "binary":
            try:
                return base64.b64decode(text).decode(errors="replace")
            except ValueError as error:
                raise ConfigError(f"{place}: this is not base64", mend="correct it, or take the tag !!binary away") from error
        if name not in KINDS:
            return text  # !!str, and whatever no reader knows
        found = plain(text)
        if not isinstance(found, KINDS[name]) or (isinstance(found, bool) and name != "bool"):
            raise ConfigError(f"{place}: what has the tag !!{name} is none", mend=f"write the {name}, without a tag")
        return found

    def mapping(self, path: Path_, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while kind(event := next(self.events)) != "MappingEnd":
            place = self.place(event)
            if kind(event) == "Scalar" and event.value == "<<" and (event.tag == f"{TAG}merge" or not (event.tag or event.style)):
                found |= self.merged(self.value(next(self.events), (*path, "<<"), depth + 1), place)
                continue
            key = self.key(event, place)
            if event.anchor and kind(event) == "Scalar":
                self.anchors[event.anchor] = event.value
            if key in found:
                self.twice.append(f"{place}: {key!r} stands here a second time, and what stands last counts")
            self.places[*path, key] = place
            found[key] = self.value(next(self.events), (*path, key), depth + 1)
        return found

    def merged(self, value: Any, place: Place) -> dict[str, Any]:
        """What a merge key brings: of several mappings the first counts."""
        made: dict[str, Any] = {}
        for each in reversed(value) if isinstance(value, list) else (value,):
            if not isinstance(each, dict):
                raise ConfigError(f"{place}: << takes a mapping, or a list of them", mend="name an anchor of a mapping: <<: *name")
            made |= each
        return made

    def key(self, event: Any, place: Place) -> str:
        """A key as JSON has it: text, whatever it was."""
        if kind(event) == "Alias" and event.anchor in self.anchors:
            found = self.anchors[event.anchor]
        else:
            found = self.resolved(event, place) if kind(event) == "Scalar" else None
        if isinstance(found, bool):
            return "true" if found else "false"
        if not isinstance(found, str | int | float):
            raise ConfigError(f"{place}: a key is a word or a number", mend="put it in quotes")
        return _of_float(found) if isinstance(found, float) else str(found)


def _of_float(value: float) -> str:
    """A float as Go's %g writes it, by as many digits as it needs."""
    if not isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    from decimal import Decimal  # 3 ms, and who has such a key?

    digits = len(Decimal(repr(value)).normalize().as_tuple().digits)
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{digits - 1}e}" if not -4 <= exponent < 6 else f"{value:.{max(digits - 1 - exponent, 0)}f}"
