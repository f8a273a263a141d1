"""The one place where names become drivers: package = verb, module = tool, and other packages' entry points.

Another package adds a driver by an entry point `verb.name` in the group "pipeline.drivers" that leads to its Driver.
"""

from __future__ import annotations

import importlib
from typing import Any

from pipeline.errors import ConfigError
from pipeline.stage import Driver

DRIVERS = {
    ("sync", "git"): "pipeline.sync.git",
    ("build", "nix"): "pipeline.build.nix",
    ("build", "buildx"): "pipeline.build.buildx",
    ("build", "none"): "pipeline.build.none",
    ("build", "tagged"): "pipeline.build.tagged",
    ("push", "skopeo"): "pipeline.push.skopeo",
    ("deploy", "helm"): "pipeline.deploy.helm",
    ("deploy", "flux"): "pipeline.deploy.flux",
    ("deploy", "kubecfg"): "pipeline.deploy.kubecfg",
    ("deploy", "kubectl"): "pipeline.deploy.kubectl",
    ("verify", "checks"): "pipeline.verify.checks",
}


def driver(verb: str, name: str) -> Driver | None:
    """The driver `name` of `verb`, built in or from an entry point; None where there is none.

    Raises ConfigError where an entry point leads to something else. What goes wrong inside the
    driver's own module comes out as it is: a broken driver is not a missing one.
    """
    if (verb, name) in DRIVERS:
        found: Driver = importlib.import_module(DRIVERS[verb, name]).DRIVER
        return found
    for point in _entry_points():
        if point.name == f"{verb}.{name}":
            loaded = point.load()
            if not isinstance(loaded, Driver) or (loaded.verb, loaded.name) != (verb, name):
                raise ConfigError(
                    f"the entry point {point.name} leads to {point.value}, which is not that driver",
                    mend="let it name a Driver of that verb and name",
                )
            return loaded
    return None


def drivers(verb: str) -> list[str]:
    """The names of the drivers of `verb`, those of entry points included."""
    others = [point.name.partition(".")[2] for point in _entry_points() if point.name.startswith(f"{verb}.")]
    return [name for of, name in DRIVERS if of == verb] + sorted(others)


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group="pipeline.drivers"))
