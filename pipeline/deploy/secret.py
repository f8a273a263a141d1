"""Keeps the Secret of a release: for each content an immutable one, which stays as long as a revision names it, and the plain one.

A revision says by a mark, in its label `secret`, which content it was made with. What a chart finds under the versioned name is therefore
always what its revision was made with; the plain name holds the content of the revision that is live, and is put back with it.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.deploy.spec import Spec
from pipeline.deploy.values import fingerprint, secret_name
from pipeline.errors import IntegrityError
from pipeline.tools.kube import Conflict, Kube, path
from pipeline.tools.kube_objects import labels, name, notes

OF, MARK = "pipeline/secret-of", "pipeline/secret"  # labels: the release, and the content
PLAIN = "pipeline/plain"  # an annotation: the name without the content's


def keep(kube: Kube, spec: Spec, data: Mapping[str, str]) -> tuple[str, ...]:
    """Make the Secret of this content, and let the plain one hold it. Return the paths of those that were not there.

    Keys that others added to the plain one stay. Raises IntegrityError if the Secret of this content holds another.
    """
    if spec.secret is None:
        return ()
    packed, made = _packed(data), []
    where = _place(spec, secret_name(spec, mark := fingerprint(spec, data)))
    if _version(kube, spec, where, mark, packed):
        made.append(where)
    plain = _place(spec, spec.secret.name)
    found = kube.get(plain)
    if found is None:
        made.append(plain)
    if found is None or not packed.items() <= dict(found.get("data") or {}).items():
        kube.apply(plain, _secret(spec.secret.name, packed))
    return tuple(made)


def remember(kube: Kube, spec: Spec, data: Mapping[str, str]) -> str:
    """Make a Secret of the content that the plain one has now, for the revision that was made with it. Return its mark, "" if there is
    none, or it holds `data` already."""
    found = kube.get(_place(spec, spec.secret.name)) if spec.secret else None
    if found is None:
        return ""
    held = {key: value for key, value in (found.get("data") or {}).items() if key in data}
    if not held or held == _packed(data):
        return ""
    mark = fingerprint(spec, {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in held.items()})
    _version(kube, spec, _place(spec, secret_name(spec, mark)), mark, held)
    return mark


def holds(kube: Kube, namespace: str, name: str, data: Mapping[str, str]) -> bool:
    """Return whether the Secret holds `data` already."""
    found = kube.get(path("v1", "secrets", namespace, name)) or {}
    return _packed(data).items() <= dict(found.get("data") or {}).items()


def put_back(kube: Kube, spec: Spec, mark: str) -> str:
    """Let the plain Secret hold the content of that mark again. Return its name, "" if no Secret of that content is there."""
    for found in kube.list(path("v1", "secrets", spec.namespace), f"{OF}={spec.release},{MARK}={mark}")["items"]:
        if plain := notes(found).get(PLAIN):
            kube.apply(_place(spec, plain), _secret(plain, found.get("data") or {}))
            return plain
    return ""


def prune(kube: Kube, spec: Spec, kept: Collection[str]) -> None:
    """Delete the Secrets of this release whose mark is none of those `kept`."""
    for each in kube.list(path("v1", "secrets", spec.namespace), f"{OF}={spec.release}", metadata=True)["items"]:
        if labels(each).get(MARK) not in kept:
            kube.delete(_place(spec, name(each)))


def _version(kube: Kube, spec: Spec, where: str, mark: str, packed: Mapping[str, str]) -> bool:
    """Make the Secret of a content. Return whether it was not there."""
    found = kube.get(where)
    if found is None:
        plain = spec.secret.name if spec.secret else ""
        value = _secret(where.rpartition("/")[2], packed) | {"immutable": True}
        value["metadata"]["labels"] |= {OF: spec.release, MARK: mark}
        value["metadata"]["annotations"] = {PLAIN: plain}
        try:
            kube.create(path("v1", "secrets", spec.namespace), value)
        except Conflict:
            found = kube.get(where)
    if found is not None and dict(found.get("data") or {}) != packed:
        what = f"Secret {where.rpartition('/')[2]} holds another content than its name says"
        raise IntegrityError(what, mend="somebody made it anew by hand: look at it, then delete it, and run again")
    return found is None


def _place(spec: Spec, name: str) -> str:
    return path("v1", "secrets", spec.namespace, name)


def _packed(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode(errors="surrogateescape")).decode() for key, value in data.items()}


def _secret(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "pipeline"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": dict(data)}
