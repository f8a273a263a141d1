"""Terraform and OpenTofu: what to call, and how each line of their -json output is read.

Both speak the same machine-readable language (version 1 of it). Recorded outputs: tests/cases/terraform/, of Terraform 1.11 and OpenTofu
1.12. Source: https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline import jsontext
from pipeline.environment import TERRAFORM, passed, withheld

Argv = tuple[str, ...]
NOTHING, CHANGES = 0, 2  # exit codes of plan -detailed-exitcode
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")  # of an output or a variable


def init(program: str, backend: Mapping[str, str], *, locked: bool) -> Argv:
    """`locked` where a lock file of the providers exists: then it is obeyed and never written."""
    places = tuple(f"-backend-config={key}={value}" for key, value in sorted(backend.items()))
    return (program, "init", "-input=false", "-no-color", *(("-lockfile=readonly",) if locked else ()), *places)


def plan(program: str, out: str, files: Iterable[str], *, destroy: bool) -> Argv:
    words = ("-input=false", "-json", "-no-color", "-detailed-exitcode", "-lock-timeout=0s", f"-out={out}")
    return (program, "plan", *words, *(("-destroy",) if destroy else ()), *(f"-var-file={name}" for name in files))


def apply(program: str, plan_file: str) -> Argv:
    return (program, "apply", "-input=false", "-json", "-no-color", "-lock-timeout=0s", plan_file)


def show(program: str, plan_file: str) -> Argv:
    return (program, "show", "-json", "-no-color", plan_file)


def output(program: str) -> Argv:
    return (program, "output", "-json", "-no-color")


def pull(program: str) -> Argv:
    return (program, "state", "pull")


def unlock(program: str, lock: str) -> Argv:
    return (program, "force-unlock", "-force", "--", lock)


def environment(inherited: Mapping[str, str], data: str) -> tuple[dict[str, str], list[str]]:
    """The environment of a call, its working data in folder `data`; and the names of the variables that are not passed on."""
    gone = withheld(TERRAFORM, inherited)
    return passed(TERRAFORM, inherited) | {"TF_DATA_DIR": data, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}, gone


@dataclass(frozen=True)
class Heard:
    """One line of the output: its `kind` (apply_start, diagnostic, …; "" where it is not JSON), its `text`, the resource's `address`.
    `written` says that a diagnostic names a place in the configuration's files."""

    kind: str
    text: str
    address: str = ""
    action: str = ""
    error: bool = False
    written: bool = False


def hear(line: str) -> Heard:
    """What a line says. A diagnostic's text is its summary and its detail."""
    try:
        said = jsontext.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Heard("", line)
    kind = str(said.get("type", ""))
    text = str(said.get("@message", ""))
    if isinstance(found := said.get("diagnostic"), dict):
        text = "\n".join(filter(None, (str(found.get("summary", "")), str(found.get("detail", "")).strip())))
        return Heard(kind, text, str(found.get("address") or ""), error=found.get("severity") == "error", written=bool(found.get("range")))
    of = said.get("hook") or said.get("change") or {}
    address = str((of.get("resource") or {}).get("addr", "")) if isinstance(of, dict) else ""
    return Heard(kind, text.strip(), address, str(of.get("action", "")) if isinstance(of, dict) else "", said.get("@level") == "error")
