"""What nodes say to each other: entries, and what a node that asks knows already, as JSON that is checked before it is believed."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .store import Entry, Version

KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:-]{0,199}")
ORIGIN = re.compile(r"[0-9a-z-]{1,63}\.[0-9a-f]{8}")
VERSION = re.compile(r"([0-9]{1,15})\.([0-9a-z-]{1,63}\.[0-9a-f]{8})")
VALUE = 64 << 10  # bytes of one value at most
BATCH = 1 << 20  # bytes of values in one message; one more value may stand above it
MESSAGE = 4 << 20  # bytes of one message at most, with what JSON and base64 add
FOREVER = 31 * 86_400.0


class Malformed(Exception):
    """A message that no node of ours sends."""


def packed(entries: Iterable[Entry], now: float) -> tuple[list[dict[str, Any]], int]:
    """The entries as a message has them, as many as go into one; and how many those are, of those that are given."""
    found: list[dict[str, Any]] = []
    size = taken = 0
    for each in entries:
        if size >= BATCH:
            break
        size += each.size
        taken += 1
        if each.forget > now:
            value = None if each.value is None else base64.b64encode(each.value).decode()
            found.append({"key": each.key, "version": str(each.version), "value": value, "ttl": each.ttl,
                          "left": round(each.until - now, 3), "known": round(each.forget - now, 3)})  # fmt: skip
    return found, taken


def unpacked(given: Any, now: float) -> list[Entry]:
    """The entries of a message. Raises Malformed."""
    if not isinstance(given, list):
        raise Malformed("entries is no list")
    return [_entry(each, now) for each in given]


def version(text: Any) -> Version:
    """Raises Malformed."""
    parts = VERSION.fullmatch(text) if isinstance(text, str) else None
    if not parts:
        raise Malformed(f"{text!r:.80} is no version")
    return Version(int(parts[1]), parts[2])


def known(given: Any) -> dict[str, Version]:
    """The versions that the other side has, by key. Raises Malformed."""
    if not isinstance(given, Mapping):
        raise Malformed("have is no map")
    return {key: version(text) for key, text in given.items()}


def keys(given: Any) -> list[str]:
    """A list of keys. Raises Malformed."""
    if not isinstance(given, list) or not all(isinstance(each, str) and KEY.fullmatch(each) for each in given):
        raise Malformed("wanted is no list of keys")
    return given


def _entry(given: Any, now: float) -> Entry:
    if not isinstance(given, Mapping) or not isinstance(given.get("key"), str) or not KEY.fullmatch(given["key"]):
        raise Malformed("an entry has no key that is one")
    ttl, text = given.get("ttl"), given.get("value")
    if type(ttl) is not int or not 0 < ttl < FOREVER:
        raise Malformed(f"{given['key']} has no time to live")
    try:
        value = None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Malformed(f"the value of {given['key']} is not base64") from error
    if value is not None and len(value) > VALUE:
        raise Malformed(f"the value of {given['key']} is larger than {VALUE} bytes")
    return Entry(given["key"], value, version(given.get("version")), ttl, now + _seconds(given, "left"), now + _seconds(given, "known"))


def _seconds(given: Mapping[str, Any], name: str) -> float:
    found = given.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not -FOREVER <= found <= FOREVER:
        raise Malformed(f"{name} of {given['key']} is no time")
    return float(found)
