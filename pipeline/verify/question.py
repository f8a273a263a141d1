"""One check made ready to be asked, and what it may ask with: the shape that every kind of check has for the loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Check, Release
from pipeline.stage import Site
from pipeline.tools.helm_stored import Kept
from pipeline.verify.view import View

if TYPE_CHECKING:
    from pipeline.verify.ways import Ways

CLUSTER = "the cluster"


@dataclass(frozen=True)
class Question:
    """What one check asks in each look: `ask` (given the look's view of the cluster and how many seconds there are) gives an answer or
    raises, `judge` holds that against what is expected.

    Of questions with one `key`, one is asked and all judge its answer. A Transient that `ask` raises fails the check, with its text as
    evidence; Unreachable says nothing about the release, and `place` is what could not be reached. `mend` is what to do if it fails.
    `is_final` says of an answer that fails the check that nobody but a person will change it: no later look is waited for.
    """

    name: str
    key: Hashable
    ask: Callable[[View, float], Any]
    judge: Callable[[Any], Check]
    place: str = CLUSTER
    mend: str = ""
    is_final: Callable[[Any], bool] = lambda _answer: False


@dataclass(frozen=True)
class World:
    """What the checks of a release have to do with: `host` is its public name, `front` gives the address of its front door or raises
    ConfigError, `words` are its placeholders, `selector` the label of its pods if the blueprint says one, `ways` opens what a
    check goes through, `stored` gives what its revision is made of."""

    site: Site
    release: Release
    host: str
    front: Callable[[], str]
    words: Mapping[str, str]
    selector: str
    ways: Ways
    stored: Callable[[], Kept] = Kept
