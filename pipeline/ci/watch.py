"""A workflow's run, from when it appears to its end: told step by step, and what failed with the end of its log."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.ci.ask import Asker
from pipeline.ci.progress import news
from pipeline.errors import HOSTILE, BuildError, ConfigError, Locked, PipelineError
from pipeline.tools import gh

APPEARS = 120.0  # seconds that GitHub is given to start a run for a commit
FIRST, LONGEST = 3.0, 15.0  # seconds between two looks: a run costs three requests a look, of 5000 an hour
LINES = 10  # of a failed step's log


def find(asker: Asker, workflow: str, commit: str, *, patience: float = APPEARS) -> gh.Run:
    """The newest run of `workflow` for `commit`, waited for. Raises ConfigError where none appears within `patience` seconds."""
    until = asker.clock.monotonic() + patience
    told = False
    while True:
        known = asker.runs(workflow)
        if mine := [run for run in known if run.commit == commit]:
            for other in mine[1:]:
                asker.say(
                    f"there is run {other.id} for the same commit, too, on {HOSTILE.sub('?', other.branch)}: --run {other.id} follows that"
                )
            return mine[0]
        if asker.clock.monotonic() >= until:
            newest = f"the newest is {known[0].id}, of {known[0].commit[:7]} on {known[0].branch}" if known else "it has never run"
            raise ConfigError(
                f"there is no run of {workflow} for {commit[:7]}",
                cause=newest,
                mend="has the commit been pushed, to a branch or as a tag that the workflow names? git push, then inv ci.watch",
            )
        if not told:
            asker.say(f"no run of {workflow} for {commit[:7]} yet, waiting up to {patience:.0f} s")
            told = True
        asker.clock.sleep(min(FIRST, max(0.1, until - asker.clock.monotonic())))


def follow(asker: Asker, number: str, say: Callable[[str], None]) -> gh.Run:
    """The run once it has ended, told step by step to `say`. A line to GitHub that breaks is taken up again where it was.

    Raises what `verdict` raises for a run that did not end well.
    """
    before: gh.Run | None = None
    pause = FIRST
    while True:
        run = asker.run(number)
        lines = news(before, run)
        for line in lines:
            say(line)
        if run.over:
            if error := verdict(run, asker):
                raise error
            return run
        pause = FIRST if lines else min(LONGEST, pause * 1.5)
        before = run
        asker.clock.sleep(pause)


def verdict(run: gh.Run, asker: Asker) -> PipelineError | None:
    """What a run's end means: None for success. The conclusions are those of the REST API for workflow runs."""
    name = f"run {run.id} of {run.workflow}"
    again = f"gh run rerun {run.id} --failed, then inv ci.watch --run {run.id}"
    match run.conclusion:
        case "success":
            return None
        case "failure" | "timed_out":
            return _failed(run, name, again, asker)
        case "cancelled":
            return BuildError(
                f"{name} was cancelled", mend=f"{again}; a newer run of the same branch may have taken its place", log=run.url
            )
        case "skipped" | "neutral":
            return BuildError(
                f"{name} did nothing: no job was meant for {run.branch}", mend="is the branch or tag one that ci names?", log=run.url
            )
        case "startup_failure":
            return ConfigError(f"{name} could not start", mend="GitHub refused the workflow's file: inv ci.generate --check", log=run.url)
        case "action_required":
            return Locked(f"{name} waits for somebody's approval", mend=f"approve it at {run.url}, then inv ci.watch --run {run.id}")
        case other:
            return BuildError(f"{name} ended as {other!r}", mend=again, log=run.url)


def _failed(run: gh.Run, name: str, again: str, asker: Asker) -> BuildError:
    job = next((job for job in run.jobs if job.conclusion not in ("", "success", "skipped", "neutral")), None)
    if job is None:
        return BuildError(f"{name} failed before a job began", mend=again, log=run.url)
    step = job.failed
    what = f"{name} {'was out of time' if 'timed_out' in (run.conclusion, job.conclusion) else 'failed'}"
    where = f"in job {job.name}" + (f", step {step.number}: {step.name}" if step else "")
    lines = [text for of, at, text in asker.failure(str(run.id)) if of == job.name and (step is None or at in (step.name, "UNKNOWN STEP"))]
    return BuildError(f"{what} {where}", cause="\n".join(lines[-LINES:]), mend=again, log=job.url or run.url)
