"""What became of an apply that did not end well: from what was planned, what was said, and what the state holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.tools.terraform import hear
from pipeline.tools.terraform_plan import State


@dataclass(frozen=True)
class Outcome:
    """The changes by what became of them, by address.

    `lost` were made, but the state does not know them; `open` were begun, and nobody heard how they ended; `failed` may have been
    made all the same, where the provider answered with an error too late.
    """

    made: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    tainted: tuple[str, ...] = ()

    @property
    def touched(self) -> bool:
        return bool(self.made or self.lost or self.open or self.failed)

    @property
    def unsure(self) -> tuple[str, ...]:
        """What may exist without the state knowing it."""
        return (*self.lost, *self.open)

    def sentences(self) -> list[str]:
        told = (
            ("made", self.made),
            ("made, and the state does not know it", self.lost),
            ("begun, and its end is not known", self.open),
            ("failed", self.failed),
            ("not begun", self.waiting),
            ("half made, the next plan replaces it", self.tainted),
        )
        return [f"{what}: {', '.join(addresses)}" for what, addresses in told if addresses]


def outcome(changes: Iterable[tuple[str, str]], log: str, state: State | None) -> Outcome:
    """What became of `changes` (address, action). Without a state (it could not be read), what was said counts alone."""
    said: dict[str, str] = {}
    for heard in map(hear, log.splitlines()):
        if heard.kind in ("apply_start", "apply_complete", "apply_errored") and heard.address:
            half = heard.kind == "apply_complete" and heard.action == "delete"
            said[heard.address] = "deleted" if half else heard.kind
    found: dict[str, list[str]] = {name: [] for name in ("made", "lost", "open", "failed", "waiting")}
    for address, action in changes:
        there = None if state is None else address in state.resources
        found[_fate(action, said.get(address, ""), there)].append(address)
    planned = {address for address, _ in changes}
    tainted = () if state is None else tuple(address for address in state.tainted if address in planned)
    return Outcome(**{name: tuple(addresses) for name, addresses in found.items()}, tainted=tainted)


def _fate(action: str, said: str, there: bool | None) -> str:
    if action == "delete":
        if said == "deleted" or (there is False and said):
            return "made"
        return {"apply_start": "open", "apply_errored": "failed"}.get(said, "waiting")
    if action in ("forget", "import", "move") and not said:  # of the state alone: the log need not name it
        return "made" if there is (action != "forget") else "waiting"
    if said == "apply_complete":
        return "made" if action == "forget" else "lost" if there is False else "made"
    if said == "apply_start":
        return "made" if there and action == "create" else "open"
    return {"apply_errored": "failed", "deleted": "open"}.get(said, "waiting")
