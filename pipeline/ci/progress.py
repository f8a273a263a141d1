"""What is new in a run since the last look, in a line each."""

from __future__ import annotations

from pipeline.errors import HOSTILE
from pipeline.tools.gh import Job, Run

WORDS = {
    "queued": "waits for a runner", "waiting": "waits for an approval or a rule", "pending": "waits for another run of its group",
    "requested": "is asked for", "in_progress": "runs",
}  # fmt: skip


def news(before: Run | None, run: Run) -> list[str]:
    """The lines that tell what happened between two looks; `before` is None at the first."""
    found = [f"run {run.id} of {run.workflow} for {run.commit[:7]} on {run.branch}: {run.url}"] if before is None else []
    known = {job.id: job for job in before.jobs} if before else {}
    if not run.over and (before is None or before.status != run.status):
        found.append(f"it {WORDS.get(run.status, 'is ' + run.status)}")
    for job in run.jobs:
        found += _job(known.get(job.id), job)
    if run.over:
        found.append(f"it ended: {run.conclusion}")
    return [HOSTILE.sub("?", line) for line in found]  # branches and titles are anybody's text


def _job(before: Job | None, job: Job) -> list[str]:
    known = {step.number: step for step in before.steps} if before else {}
    found = []
    if job.status != "completed" and (before is None or before.status != job.status):
        found.append(f"{job.name}: {WORDS.get(job.status, job.status)}")
    for step in job.steps:
        old = known.get(step.number)
        if old is not None and (old.status, old.conclusion) == (step.status, step.conclusion):
            continue
        if step.status == "completed":
            found.append(f"{job.name}: {step.name}: {step.conclusion}")
        elif step.status == "in_progress":
            found.append(f"{job.name}: {step.name} …")
    if job.status == "completed" and (before is None or before.status != "completed"):
        found.append(f"{job.name}: ended, {job.conclusion}")
    return found
