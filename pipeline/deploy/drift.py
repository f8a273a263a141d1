"""Notes the state of each object of a release when it was good, and says later what of it is not so any more."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import Images
from pipeline.deploy import compare, history, stored, values
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Spec
from pipeline.deploy.values import Wanted
from pipeline.errors import AuthError
from pipeline.tools import kube_edits, manifest
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_edits import edited, is_peoples, stamps_of_good

Object = Mapping[str, Any]


def note(kube: Kube, spec: Spec, number: int, parts: Mapping[str, Any]) -> None:
    """Write on the Secret of revision `number` that it came up, what it was made from, and in which state each of its objects is now: none
    for one that somebody edited meanwhile. What this user may not list is left out."""
    seen: dict[str, Object] = {}
    wanted = _wanted(kube, spec, number)
    for places in manifest.by_collection(wanted).values():
        with contextlib.suppress(AuthError):
            seen.update(manifest.read(kube, places, metadata=True))
    where = history.where(spec.namespace, spec.release, number, spec.keeper)
    history.write_down(kube, where, parts, stamps_of_good(kube, seen, wanted, spec.managers))


def take_out(kube: Kube, spec: Spec, objects: Sequence[Object]) -> list[str]:
    """Take out of the `objects` of a manifest, which was applied, what people added by hand: an apply leaves that. Return what was done, in
    words. What this user may not read or write stays, and is said by `look`."""
    wanted, done = manifest.places(kube, objects, spec.namespace), []
    for places in manifest.by_collection(wanted).values():
        with contextlib.suppress(AuthError):
            for place, seen in manifest.read(kube, places, metadata=True).items():
                if is_peoples(seen) and not wanted[place].get("stringData"):  # of which the server makes `data`
                    gone = kube_edits.take_out(kube, place, wanted[place], spec.managers)
                    done += [f"{kube_edits.called(place)}: {each} was added by hand, and is taken out" for each in gone]
    return done


def differences(
    kube: Kube, spec: Spec, newest: Revision | None, now: Sequence[Object], want: Wanted, images: Images
) -> list[str]:  # fmt: skip
    """Why the release has to be made, with what was edited of one that was made from the same."""
    same = newest and newest.status == "deployed" and newest.inputs == want.inputs
    return [*(look(kube, spec, newest, now) if newest and same else []), *compare.differences(newest, now, want, images)]


def look(kube: Kube, spec: Spec, revision: Revision, workloads: Sequence[Object]) -> list[str]:
    """What was deleted or edited of a revision that is live, and by whom: one request for each kind of object, less the `workloads` that
    are known, one for the Secret that it was made with, and some more for each that was written to."""
    gone = _secret_gone(kube, spec, revision)
    if not revision.stamps:
        return gone + unnoted(kube, spec, stored.objects(kube, spec, revision.number), workloads)
    known = {manifest.place_of(each): each for each in workloads}
    return gone + list(edited(kube, revision.stamps, lambda: _wanted(kube, spec, revision.number), spec.managers, known).said)


def _secret_gone(kube: Kube, spec: Spec, revision: Revision) -> list[str]:
    """Whether the Secret that a revision was made with is gone: no manifest has it, and what runs misses it only when it starts again."""
    mark = revision.labels.get("secret")
    if spec.secret is None or not mark:
        return []
    name = values.secret_name(spec, mark)
    if kube.list(path("v1", "secrets", spec.namespace), fields=f"metadata.name={name}", metadata=True)["items"]:
        return []
    return [f"Secret/{name} is gone: its pods cannot start again"]


def unnoted(kube: Kube, spec: Spec, objects: Sequence[Object], workloads: Sequence[Object]) -> list[str]:
    """The same of the `objects` of a manifest, of which nobody noted in which state they were good."""
    wanted = manifest.places(kube, objects, spec.namespace)
    known = {manifest.place_of(each): each for each in workloads}
    return list(edited(kube, dict.fromkeys(wanted, ""), lambda: wanted, spec.managers, known).said)


def _wanted(kube: Kube, spec: Spec, number: int) -> dict[str, Object]:
    return manifest.places(kube, stored.objects(kube, spec, number), spec.namespace)
