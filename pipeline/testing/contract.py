"""What every driver promises, as one function: a driver written elsewhere is tested as the built-in ones are.

check_driver(DRIVER, Spec(...), given, site, world=lambda: sorted(folder.rglob("*")))
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from pipeline.artifacts import KINDS, Artifact, from_json, to_json
from pipeline.stage import VERBS, Driver, Finding, Site, Stage

World = Callable[[], Any]


def check_driver(driver: Driver, spec: Any, given: Artifact, site: Site, *, world: World = lambda: None) -> Artifact:
    """Look at an empty world, make, look, make again, look: what was made. Raises AssertionError naming the promise that is broken,
    and whatever the driver raises.

    `given` is the artifact to make from; nothing may have been made from it in `site` yet. `world` gives a value of what is there, equal
    where nothing changed: with it, looking is held to change nothing.
    """
    check_declaration(driver, spec)
    _hold(isinstance(given, driver.takes), f"takes {driver.takes.__name__}, and was given {type(given).__name__}")
    before = copy.deepcopy(given)
    empty = _look(driver, spec, given, site, world, "in an empty world")
    _hold(empty.artifact is None, f"found {empty.artifact} where nothing had been made yet")
    _hold(bool(empty.why.strip()), "found nothing, and did not say why it has to be made")

    made = _make(driver, spec, given, site)
    if not driver.fresh:
        _found(driver, spec, given, site, world, made, "after it was made")
    again = _make(driver, spec, given, site)
    _hold(again.id == made.id, f"made {made.id}, and of the same {again.id} the second time")
    if driver.fresh:
        _hold(
            _look(driver, spec, given, site, world, "after it was made").artifact is None, "acts each time, but found what was made before"
        )
    else:
        _found(driver, spec, given, site, world, made, "after it was made twice")
    if driver.live:
        live = driver.live(spec, site)
        _hold(isinstance(live, driver.gives), f"made {made.id}, but says that {live} is live")
    _hold(given == before, "changed the artifact it was given")
    return made


def check_declaration(driver: Driver, spec: Any) -> None:
    """What can be told of a driver and its options without running it. Raises AssertionError naming the promise that is broken."""
    _hold(driver.verb in VERBS, f"{driver.verb!r} is not a verb: {', '.join(VERBS)}")
    _hold(bool(driver.name), "has no name")
    for kind in (driver.takes, driver.gives):
        _hold(isinstance(kind, type) and issubclass(kind, Artifact), f"{kind} is not an artifact")
        _hold(kind in KINDS.values(), f"{kind.__name__} cannot be read back from a record")
    _hold(dataclasses.is_dataclass(driver.spec) and isinstance(spec, driver.spec), f"{type(spec).__name__} is not its spec, a dataclass")
    parameters = getattr(driver.spec, "__dataclass_params__", None)
    _hold(bool(parameters and parameters.frozen), f"{driver.spec.__name__} can be changed: write @dataclass(frozen=True)")
    _hold(
        bool(driver.spec.__doc__) and not str(driver.spec.__doc__).startswith(f"{driver.spec.__name__}("), "does not describe its options"
    )
    twin = copy.deepcopy(spec)
    _hold(spec == twin and repr(spec) == repr(twin), "options that are the same compare or print differently")
    _hold(" at 0x" not in repr(spec), "an option prints as an address: it would differ in the next process")
    try:
        keys = {Stage(driver.verb, driver, one).key("parent") for one in (spec, spec, twin)}
        json.dumps(dataclasses.asdict(spec))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{_name(driver)}: its options are not plain JSON values: {error}") from error
    _hold(len(keys) == 1, "options that are the same give another key")


def _look(driver: Driver, spec: Any, given: Artifact, site: Site, world: World, when: str) -> Finding:
    """`find`, twice: the same both times, and nothing is changed by it."""
    before = world()
    first = driver.find(spec, given, site)
    second = driver.find(spec, given, site)
    _hold(isinstance(first, Finding), f"find gave {type(first).__name__}, not a Finding")
    _hold(first.artifact == second.artifact, f"found {first.artifact}, and right after that {second.artifact}")
    _hold(world() == before, f"changed the world by looking {when}")
    return first


def _found(driver: Driver, spec: Any, given: Artifact, site: Site, world: World, made: Artifact, when: str) -> None:
    found = _look(driver, spec, given, site, world, when).artifact
    _hold(found is not None and found.id == made.id, f"made {made.id}, and found {found.id if found else 'nothing'} {when}")


def _make(driver: Driver, spec: Any, given: Artifact, site: Site) -> Artifact:
    with driver.exclusive(spec, given, site) if driver.exclusive else contextlib.nullcontext():
        made = driver.make(spec, given, site)
    _hold(isinstance(made, driver.gives), f"gives {driver.gives.__name__}, and made {type(made).__name__}")
    _hold(isinstance(made.id, str) and bool(made.id), "made something without an identity")
    _hold(from_json(json.loads(json.dumps(to_json(made)))) == made, "made something that a record cannot give back")
    return made


def _name(driver: Driver) -> str:
    return f"{driver.verb} ({driver.name})"


def _hold(promise: bool, otherwise: str) -> None:
    if not promise:
        raise AssertionError(otherwise)
