"""GitHub asked through gh: one question at a time, tried again while the way there fails, never longer than a person waits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.errors import PipelineError, RateLimited
from pipeline.host import Cmd, Host
from pipeline.retry import Policy, retrying
from pipeline.tools import gh

SECONDS = 60.0  # for one call of gh
# GitHub may be out of reach for minutes while the run goes on; a limit lasts up to an hour
POLICY = Policy(attempts=40, patience=gh.RESET + 60.0, base=1.0, cap=30.0)
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMAND = re.compile(r"##\[(\w+)\]")  # what a runner reads as a command, if this runs on one


@dataclass(frozen=True)
class Asker:
    """Asks with `program` on `host`, in folder `root`; `say` hears of each failure that another try follows, with the seconds to wait.

    `mask` takes secrets out of what gh wrote. `policy` is for a run that is followed; everything else is tried as other things are.
    """

    host: Host
    clock: Clock
    root: str
    program: str = "gh"
    repository: str = ""
    say: Callable[[str], None] = lambda _text: None
    mask: Callable[[str], str] = str
    policy: Policy = POLICY

    def runs(self, workflow: str) -> tuple[gh.Run, ...]:
        """The newest runs of a workflow. Raises AuthError, ConfigError, and Transient or RateLimited once patience is over."""
        return gh.read_runs(self._patient(gh.runs(workflow, self.repository), Policy()))

    def run(self, number: str, policy: Policy | None = None) -> gh.Run:
        """One run with its jobs and steps. Raises as `runs` does."""
        return gh.read_run(self._patient(gh.view(number, self.repository), policy or self.policy))

    def failure(self, number: str) -> list[tuple[str, str, str]]:
        """(job, step, line) of the log of what failed; nothing where there is no log: that is not worth an error of its own."""
        try:
            text = self._patient(gh.log(number, self.repository), Policy(attempts=3, patience=30.0))
        except PipelineError as error:
            self.say(f"the log cannot be had: {error.cause or error.what}")
            return []
        return [(job, step, self.mask(COMMAND.sub(r"\1: ", COLOUR.sub("", line)))) for job, step, line in gh.read_log(text)]

    def _patient(self, words: tuple[str, ...], policy: Policy) -> str:
        def notice(error: PipelineError, attempt: int, wait: float) -> None:
            self.say(f"{error.what} ({error.cause.splitlines()[0] if error.cause else error.kind}); try {attempt + 1} in {wait:.0f} s")

        return retrying(policy, self.clock, lambda _attempt: self._once(words), notice)

    def _once(self, words: tuple[str, ...]) -> str:
        done = self.host.run(Cmd((self.program, *words), env=gh.ENV, cwd=self.root, timeout=SECONDS))
        if done.ok:
            return done.stdout.decode(errors="replace")
        error = gh.failure(done.code, self.mask(COLOUR.sub("", done.errors or done.text)))
        if isinstance(error, RateLimited):
            asked = self.host.run(Cmd((self.program, *gh.limits()), env=gh.ENV, cwd=self.root, timeout=SECONDS))
            error.retry_after = gh.read_reset(asked.text, self.clock.now()) if asked.ok else gh.PATIENCE
        raise error
