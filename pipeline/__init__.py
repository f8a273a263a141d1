"""From a commit to a verified release, on your own machines.

    blueprint = pipeline.load("config", env="lab")
    with blueprint.site(sink=print) as site:
        records = pipeline.run(blueprint.plan, site)

Names are imported when they are first used: `import pipeline` loads nothing heavy.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.artifacts import Bundle, Images, Release, Report, Source, Tree
    from pipeline.cli import collection
    from pipeline.errors import PipelineError
    from pipeline.events import Event
    from pipeline.plan import Blueprint, load
    from pipeline.records import Record
    from pipeline.runner import look, run, verify_live
    from pipeline.stage import Driver, Finding, Site, Stage

_HOMES = {
    "Blueprint": "plan",
    "Bundle": "artifacts",
    "Driver": "stage",
    "Event": "events",
    "Finding": "stage",
    "Images": "artifacts",
    "PipelineError": "errors",
    "Record": "records",
    "Release": "artifacts",
    "Report": "artifacts",
    "Site": "stage",
    "Source": "artifacts",
    "Stage": "stage",
    "Tree": "artifacts",
    "collection": "cli",
    "load": "plan",
    "look": "runner",
    "run": "runner",
    "verify_live": "runner",
}

__all__ = [
    "Blueprint",
    "Bundle",
    "Driver",
    "Event",
    "Finding",
    "Images",
    "PipelineError",
    "Record",
    "Release",
    "Report",
    "Site",
    "Source",
    "Stage",
    "Tree",
    "collection",
    "load",
    "look",
    "run",
    "verify_live",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    if name == "collection":
        # Invoke turns bytecode off before it loads a tasks.py: every call would compile this package anew, which takes 0.2 s.
        sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
    return getattr(importlib.import_module(f"pipeline.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
