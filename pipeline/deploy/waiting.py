"""Waiting for a lock that somebody holds: for how long, and what is told meanwhile and in the end."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.deploy.holder import BEGUN, Begun, Holder
from pipeline.errors import Locked
from pipeline.tools.kube_objects import notes

EVERY = 10.0  # seconds between two lines about one holder


@dataclass
class Patience:
    """How many `seconds` to wait for whoever holds a lock, `tell` what is seen meanwhile, and how long such work `usual`ly takes."""

    seconds: float = 0.0
    tell: Callable[[str], None] = lambda _text: None
    usual: float | None = None
    _told: tuple[str, float] = ("", 0.0)

    def say(self, spent: float, held: Held) -> None:
        """Tell who holds it, once for each state and every few seconds, if this run means to wait."""
        before, at = self._told
        if self.seconds and (held.state != before or spent - at >= EVERY):
            self._told = (held.state, spent)
            self.tell(f"{held.who}; {held.state}{held.left}; waits for up to {max(0.0, self.seconds - spent):.0f} s more")


@dataclass(frozen=True)
class Held:
    """A lease that somebody has: as it was `found`, whether it was renewed while this run looked, and since how many seconds not."""

    found: dict[str, Any]
    lives: bool
    silent: float
    patience: Patience
    now: float

    @property
    def who(self) -> str:
        spec = self.found.get("spec") or {}
        identity = str(spec.get("holderIdentity") or "")
        holder = Holder.read(identity)
        person = holder.person if holder else identity or "a run that has ended"
        return f"{person} is deploying {self._name} since {spec.get('acquireTime', 'an unknown time')}"

    @property
    def state(self) -> str:
        """Whether it lives, as far as can be known."""
        begun = Begun.read(notes(self.found).get(BEGUN, ""))
        holder = Holder.read(str((self.found.get("spec") or {}).get("holderIdentity") or ""))
        if begun is not None and begun.tool is not None and begun.surely_at_work and (holder is None or holder.surely_dead):
            return f"that run is gone, but its {begun.doing} (pid {begun.tool.pid} on this machine) is still at work"
        if self.lives or (holder is not None and holder.is_here):
            return "it is alive"
        return "whether it is alive is not known yet"

    @property
    def left(self) -> str:
        """How long it may still take, by how long this working copy usually takes and by the holder's clock; "" if that says nothing."""
        acquired = str((self.found.get("spec") or {}).get("acquireTime") or "")
        try:
            taken = self.now - datetime.datetime.fromisoformat(acquired).timestamp()
        except ValueError:
            return ""
        usual = self.patience.usual
        if not usual or taken < 0:
            return ""
        return f", usually done in {usual - taken:.0f} s more" if taken < usual else f", usually done after {usual:.0f} s"

    @property
    def locked(self) -> Locked:
        """The error of who does not wait any longer."""
        begun = Begun.read(notes(self.found).get(BEGUN, ""))
        mend = "wait until it is done, then run again, or let it wait: --wait SECONDS; a run that died is taken over within half a minute"
        if begun is not None and begun.tool is not None and "still at work" in self.state:
            mend = f"see what it does: ps -fp {begun.tool.pid}; once it has ended, run again"
        return Locked(self.who, cause=f"{self.state}{self.left}", mend=mend)

    @property
    def _name(self) -> str:
        return str(self.found["metadata"]["name"]).removeprefix("pipeline-")
