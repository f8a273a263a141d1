"""Holds an object that is live against what its manifest says: what an apply of it would change, tried on the server without writing.

Only fields that the manifest names count, and such as somebody added by hand; not what an autoscaler, a webhook or the server itself sets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Ambiguous, AuthError, ConfigError
from pipeline.tools import kube_objects
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_fields import NOTHING, Difference, added, differences, writer

Object = Mapping[str, Any]
MANAGER = "pipeline-verify"  # of a trial that writes nothing
TWICE = "duplicate entries for key"  # the API's word, with status 500, for an element of a list that a chart names twice
LONGEST = 60  # characters of a value that are shown


@dataclass(frozen=True)
class Drifted:
    """One object that is not as it should be: which `fields`, or `why` at once. `by` says of each path who wrote it last. Of a `secret`
    no value is ever shown. `how` they are so: `changed`, `added` (which no apply of Helm's takes away), or `taken` (from their keeper, and
    what is wanted is not known)."""

    what: str
    fields: tuple[Difference, ...] = ()
    by: Mapping[str, str] | None = None
    why: str = ""
    secret: bool = False
    how: str = "changed"

    @property
    def said(self) -> list[str]:
        """What is wrong with it, each in words."""
        return [self.why] if self.why else [_field(one, self) for one in self.fields]


def compare(
    kube: Kube, wanted: Object, place: str, leave: Callable[[Difference, Object], bool] = lambda _field, _live: False, off: str = ""
) -> list[Drifted]:
    """What of the object at `place` is not as `wanted`; nothing of it if its annotation `off` says "disabled".

    `leave` says of a field, and the object that is there, whether it is left alone. Raises AuthError if the trial is not allowed.
    """
    what, secret = f"{wanted.get('kind')} {kube_objects.name(wanted)}", wanted.get("kind") == "Secret"
    live = kube.get(place)
    if live is None:
        return [Drifted(what, why="is not there")]
    if kube_objects.notes(live).get(off) == "disabled":
        return []
    try:
        after = kube.apply(place, dict(wanted), manager=MANAGER, trial=True, strict=False)
    except (Ambiguous, ConfigError) as error:
        if isinstance(error, Ambiguous) and TWICE not in error.cause:
            raise
        said = "" if secret else f": {error.cause or error.what}"
        return [Drifted(what, why=f"cannot be made as the chart says{said}")]  # a field that cannot change, for one
    ours = [each for each in differences(live, after) if not leave(each, live)]
    if any(each.pointer == "/spec/replicas" for each in ours) and _scaled(kube, live):
        ours = [each for each in ours if each.pointer != "/spec/replicas"]
    theirs = [each for each in added(live, wanted) if not leave(each, live)]
    found = [
        Drifted(what, tuple(fields), {each.path: writer(live, each.steps) for each in fields}, secret=secret, how=how)
        for how, fields in (("changed", ours), ("added", theirs))
    ]
    return [each for each in found if each.fields]


def told(drifted: Sequence[Drifted], most: int) -> str:
    """Which field of which object is what, what it should be, and who wrote it; `most` of them one by one."""
    said = [f"{each.what} {each.why}" for each in drifted if each.why]
    for each in drifted:
        said += [f"{each.what}: {text}" for text in each.said if not each.why]
    return "; ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")


def _field(one: Difference, of: Drifted) -> str:
    by = (of.by or {}).get(one.path, "")
    who = f" (by {by})" if by else " (by somebody, who left no trace)" if one.live is NOTHING else ""
    if of.secret:
        return f"{one.path} is another{who}"
    if of.how == "taken":
        return f"{one.path} was set to {_shown(one.live)}{who}"
    if of.how == "added":
        return f"{one.path} was added, which the chart says nothing of{who}"
    return f"{one.path} is {_shown(one.live)}, {_shown(one.wanted)} is wanted{who}"


def _shown(value: Any) -> str:
    """A value that anybody may have written, on one line."""
    if value is NOTHING:
        return "not there"
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _scaled(kube: Kube, live: Object) -> bool:
    """Whether an autoscaler sets its replicas: of what has none, it does not."""
    meta = live.get("metadata") or {}
    if live.get("spec", {}).get("replicas") == 0:
        return False
    try:
        scalers = kube.list(path("autoscaling/v2", "horizontalpodautoscalers", str(meta.get("namespace", ""))))["items"]
    except AuthError:
        return False
    targets = [(each.get("spec") or {}).get("scaleTargetRef") or {} for each in scalers]
    return any((each.get("kind"), each.get("name")) == (live.get("kind"), meta.get("name")) for each in targets)
