"""What the doctor may do about a fault: told first, agreed to, done, and asked again afterwards. The fixes stand beside the questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from pipeline.doctor.verdict import Verdict


@dataclass(frozen=True)
class Fix:
    """What is done about a fault if it is wished for: `does` says it before, `act` does it (again without harm). With a `fingerprint` it
    trusts a host key: that is for a person who has compared the fingerprint, or for whom names it."""

    does: str
    act: Callable[[], None] = field(compare=False)
    fingerprint: str = ""


def trust(file: str, line: str, fingerprint: str) -> Fix:
    """The fix of a host key that nobody knows: its line in a known_hosts file."""

    def act() -> None:
        path = Path(file)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = path.read_text() if path.exists() else ""
            if line not in text.splitlines():
                with path.open("a") as known:
                    known.write(("" if text.endswith("\n") or not text else "\n") + line + "\n")
        except OSError as error:
            raise ConfigError(f"the host key cannot be stored in {file}", cause=str(error), mend=f"add this line to it: {line}") from error

    name, kind = line.split()[:2]
    return Fix(f"trust {name}, which shows {kind} {fingerprint}: a line in {file}", act, fingerprint)


@dataclass(frozen=True)
class Consent:
    """What may be done unasked: with `yes` all but trusting a host key, of those only the `keys` (fingerprints) that are named. `ask`
    has a person on a terminal say it, None where nobody can."""

    yes: bool = False
    keys: frozenset[str] = frozenset()
    ask: Callable[[str], bool] | None = None

    def to(self, fix: Fix) -> bool:
        if fix.fingerprint in self.keys or (self.yes and not fix.fingerprint):
            return True
        if self.ask is None:
            return False
        first = "Compare the fingerprint on the machine itself. " if fix.fingerprint else ""
        return self.ask(f"fix   {fix.does}\n      {first}Do it? [y/N] ")

    def missing(self, fix: Fix) -> str:
        """What would have to be said for it."""
        return f"--host-key {fix.fingerprint}, once it is compared on the machine itself" if fix.fingerprint else "--yes"


def carry_out(fixes: Iterable[Fix], consent: Consent, say: Callable[[str], None]) -> list[Fix]:
    """Do each fix that there is consent to, and return those that were done. One that fails is told, and keeps none of the others."""
    done = []
    for fix in fixes:
        if not consent.to(fix):
            say(f"left  {fix.does}" + ("" if consent.ask else f"\n      it is done with {consent.missing(fix)}"))
            continue
        try:
            fix.act()
        except PipelineError as error:
            say(f"failed  {fix.does}\n      {error.what}" + (f"\n      {error.mend}" if error.mend else ""))
        else:
            say(f"done  {fix.does}")
            done.append(fix)
    return done


def cure(look: Callable[[], list[Verdict]], consent: Consent, say: Callable[[str], None]) -> list[Verdict]:
    """What is seen once everything was mended that there is consent to. After each round it is looked again: one fault may hide another."""
    verdicts, known = look(), set[Fix]()
    while fixes := list(dict.fromkeys(each.fix for each in verdicts if each.fix and each.fix not in known)):
        known |= set(fixes)
        if not carry_out(fixes, consent, say):
            break
        verdicts = look()
    if not known and any(each.code for each in verdicts):
        say("there is nothing that --fix mends by itself: below each fault stands what to do by hand")
    return verdicts
