"""Plans, states and outputs of Terraform and OpenTofu, as read from their JSON: what would change, what there is, what it gives.

All three may hold secrets in the clear: nothing of a value that is marked as sensitive leaves this module but through Out.
Source of the formats: https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.errors import ConfigError
from pipeline.tools.terraform_errors import AGAIN


@dataclass(frozen=True)
class Change:
    """What is to become of one resource, or has become of it without us (drift).

    `action` is create, read, update, delete, replace or forget, or import or move if nothing else is done to it; `fields` are sentences
    about its attributes, without those that are sensitive; `forced` are the attributes that make it a replacement. `also` is what is
    done beside the action: import, move, forget (of what it replaces, which stays in the world).
    """

    address: str
    action: str
    fields: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def touches(self) -> bool:
        """Whether something is changed, in the world or in the state alone."""
        return self.action not in ("read", "no-op")


@dataclass(frozen=True)
class Planned:
    """A plan as read: what it would change, what has drifted, and which outputs become others."""

    changes: tuple[Change, ...]
    drift: tuple[Change, ...]
    outputs: tuple[str, ...]


def read_plan(text: str) -> Planned:
    """The plan that `show -json` gave. Raises ConfigError where it is none."""
    try:
        plan = jsontext.loads(text)
        changes = tuple(_changes(plan.get("resource_changes") or []))
        drift = tuple(_changes(plan.get("resource_drift") or []))
        outputs = plan.get("output_changes") or {}
        changed = tuple(sorted(name for name, each in outputs.items() if each.get("actions") not in (["no-op"], None)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("the plan cannot be read", cause=type(error).__name__, mend=AGAIN) from None  # the cause would carry its text
    return Planned(changes, drift, changed)


def _changes(found: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    for each in found:
        change = each["change"]
        actions = tuple(change["actions"])
        action = "replace" if set(actions) == {"create", "delete"} else actions[0]
        also = {
            "import": f"imported: {_shown((change.get('importing') or {}).get('id'))}" if change.get("importing") else "",
            "move": f"moved from {each['previous_address']}" if each.get("previous_address") else "",
            "forget": "what was there is forgotten, and stays" if "forget" in actions and len(actions) > 1 else "",
        }
        extra = [name for name, said in also.items() if said]
        if action == "no-op":
            if not extra:
                continue
            action = extra.pop(0)
        forced = tuple(".".join(map(str, path)) for path in change.get("replace_paths") or [])
        fields = () if action in ("read", "delete", "forget") else tuple(_fields(change))
        yield Change(each["address"], action, (*filter(None, also.values()), *fields), forced, tuple(extra))


def _fields(change: Mapping[str, Any]) -> Iterator[str]:
    before, after = _mapping(change.get("before")), _mapping(change.get("after"))
    secret = [change.get(f"{side}_sensitive") for side in ("before", "after")]
    unknown = change.get("after_unknown")
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new or (isinstance(unknown, dict) and _any(unknown.get(name))):
            continue
        if any(mark is True or (isinstance(mark, dict) and _any(mark.get(name))) for mark in secret):
            yield f"{name} (sensitive)"
        else:
            yield f"{name} {_shown(new)}" if old is None else f"{name} {_shown(old)} -> {_shown(new)}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _any(mark: Any) -> bool:
    """Whether there is a `true` anywhere in a value that marks parts of another."""
    if isinstance(mark, dict):
        return any(_any(value) for value in mark.values())
    return any(_any(value) for value in mark) if isinstance(mark, list) else mark is True


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    lines = value.count("\n") if isinstance(value, str) else 0
    return f"({lines} lines)" if lines else text if len(text) <= 60 else f"{text[:57]}…"


@dataclass(frozen=True)
class State:
    """What the state holds: its `lineage` and `serial`, and the addresses of what Terraform made, those that are `tainted` by name."""

    lineage: str = ""
    serial: int = 0
    resources: tuple[str, ...] = ()
    tainted: tuple[str, ...] = ()


def read_state(text: str) -> State:
    """The state that `state pull` gave; empty where there is none yet. Raises ConfigError where it is not one."""
    if not text.strip():
        return State()
    try:
        state = jsontext.loads(text)
        found, tainted = [], []
        for each in state.get("resources") or []:
            if each.get("mode") != "managed":
                continue
            for instance in each.get("instances") or []:
                address = _address(each, instance)
                found.append(address)
                tainted += [address] if instance.get("status") == "tainted" else []
        return State(str(state["lineage"]), int(state["serial"]), tuple(found), tuple(tainted))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("the state cannot be read", cause=type(error).__name__, mend="see what the backend holds") from None


def _address(resource: Mapping[str, Any], instance: Mapping[str, Any]) -> str:
    index = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
    return ".".join(filter(None, (resource.get("module", ""), resource["type"], resource["name"]))) + index


@dataclass(frozen=True)
class Out:
    """One output. `value` does not print where it is sensitive."""

    name: str
    value: Any
    sensitive: bool

    def __repr__(self) -> str:
        return f"Out({self.name})"

    @property
    def text(self) -> str:
        """As a script wants it: a string as it is, anything else as JSON."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


def read_outputs(text: str) -> dict[str, Out]:
    """The outputs by name. Raises ConfigError where this is not what `output -json` gives."""
    try:
        return {name: Out(name, each["value"], bool(each.get("sensitive"))) for name, each in jsontext.loads(text or "{}").items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("the outputs cannot be read", cause=type(error).__name__, mend="inv infra.plan") from None
