"""What stands in a GitOps repository's lines before the first release: values that fit a chart, and that nobody can deploy by accident.

The HelmRelease is suspended as long as they stand there. The first release writes its own lines and this one: `START`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.tools.placeholders import WORD

DIGEST = "sha256:" + "0" * 64
REPOSITORY = "unreleased.invalid"  # RFC 2606: no registry will ever have this name
TAG = "unreleased"
COMMIT = "0" * 40
START: Mapping[tuple[str, ...], bool] = {("spec", "suspend"): False}


def filled(value: Any, app: str) -> Any:
    """`value` with each {placeholder} of a deploy stage's values replaced, whatever image it names."""
    if isinstance(value, Mapping):
        return {key: filled(item, app) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, app) for item in value]
    return WORD.sub(lambda found: _word(found, app), value) if isinstance(value, str) else value


def waits(release: Mapping[str, Any]) -> bool:
    """Whether a HelmRelease (the file's document or the cluster's object) is suspended since it was never released, and by nobody."""
    spec = release.get("spec") or {}
    return spec.get("suspend") is True and _unreleased(spec.get("values"))


def _unreleased(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_unreleased, value.values()))
    if isinstance(value, list):
        return any(map(_unreleased, value))
    return isinstance(value, str) and any(each in value for each in (DIGEST, REPOSITORY, COMMIT, TAG))


def _word(found: re.Match[str], app: str) -> str:
    word = found[1]
    if word is None:
        return found[0][0]  # {{ and }} are the braces themselves
    image, _, fact = word.rpartition(".")
    repository = f"{REPOSITORY}/{image.rpartition('/')[2] or app}"
    facts = {
        "digest": DIGEST,
        "repository": repository,
        "reference": f"{repository}@{DIGEST}",
        "commit": COMMIT,
        "short": COMMIT[:7],
        "label": COMMIT[:7],
        "app": app,
    }
    return facts.get(fact, TAG)
