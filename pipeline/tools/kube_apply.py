"""What the API says to an object that is applied on trial (server-side apply, dryRun=All): conflicts, unknown and immutable fields.

Recorded answers: tests/cases/kubectl/
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.errors import ConfigError, PipelineError

OWNER = re.compile(r'conflicts? with "(?P<by>[^"]+)"(?: with subresource "(?P<sub>[^"]+)")?[^\n]*?:(?P<fields>(?:\s+(?:- )?\.[^\n]+)+)')
UNDECLARED = re.compile(r"(?P<field>\.\S+): field not declared in schema")
EXPECTED = re.compile(r"failed to (?:create typed|convert)[^:]*: (?:errors:\s*)?(?P<said>.+)", re.DOTALL)
STRICT = re.compile(r"strict decoding error: (?P<said>.+)", re.DOTALL)
FIXED = re.compile(r"(?P<field>[\w.\[\]]+): Invalid value: (?:(?!Invalid value)[^\n])*(?:field is immutable|may not change once set)")
FORBIDDEN = re.compile(
    r"(?P<field>spec)\S*: Forbidden: updates to \S+ spec for fields other than|(?P<other>data): Forbidden: field is immutable"
)


def conflicts(message: str) -> Iterator[tuple[str, str]]:
    """(field, manager) of each field that another manager holds, from the message of a 409. One that wrote through a subresource, as an
    autoscaler does, is "kube-controller-manager (scale)"."""
    for found in OWNER.finditer(message):
        manager = found["by"] + (f" ({found['sub']})" if found["sub"] else "")
        for line in found["fields"].strip().splitlines():
            yield line.strip().removeprefix("- ").lstrip("."), manager


def refusal(called: str, error: PipelineError) -> PipelineError:
    """The error of an object, `called` so, that the API does not take: what is wrong with the manifests, where that is what it is."""
    said = error.cause
    if found := UNDECLARED.search(said):
        field = found["field"].lstrip(".")
        return ConfigError(f"{called}: {field} is not a field this cluster knows", cause=said, mend="correct its name, or its indentation")
    if found := FIXED.search(said) or FORBIDDEN.search(said):
        delete = f"kubectl delete {called.lower().replace(' ', '/')}"
        return ConfigError(
            f"{called}: {found[1] or found[2]} cannot be changed once it is made", cause=said,
            mend=f"give the object another name (the old one is deleted then), or delete it first: {delete}",
        )  # fmt: skip
    if found := EXPECTED.search(said) or STRICT.search(said):
        return ConfigError(f"{called}: {found['said'].strip().lstrip('.').splitlines()[0]}", cause=said, mend="correct the manifests")
    if isinstance(error, ConfigError):
        return ConfigError(f"the cluster refuses {called}", cause=said, mend="correct the manifests: the cause names the field")
    return error
