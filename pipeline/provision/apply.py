"""Applying the plan that was reviewed, and no other; and telling what became of an apply that did not end well."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.artifacts import Infra, content_hash
from pipeline.errors import Cancelled, ConfigError, Locked, NotRolledBack, PipelineError
from pipeline.events import What
from pipeline.provision import begun, terraform
from pipeline.provision.process import Said, follow
from pipeline.provision.root import STAGE, Root, environment
from pipeline.provision.story import Outcome, outcome
from pipeline.provision.terraform import Reviewed
from pipeline.records import FAILED, MADE
from pipeline.runner.walk import facts
from pipeline.tools import terraform as tool
from pipeline.tools.terraform_errors import failure
from pipeline.tools.terraform_plan import State

PLAN = "inv infra.plan, look at what it says, then inv infra.apply"


def apply(root: Root, *, destroy: bool = False, again: bool = False) -> Infra:
    """Apply exactly the plan that was reviewed. Nothing is repeated: what failed is told with what was made and what not.

    Raises ConfigError where there is no plan, or it is older than the configuration or the state, or where it would make what an
    apply that was killed may have made already (unless `again`); Locked where somebody else is at work; NotRolledBack where it failed
    half-way.
    """
    root.check()
    plan = _meant(root, destroy)
    if (last := begun.read(root, "apply")) and last.alive:
        raise begun.at_work(last)
    if last and last.at > plan.at:
        raise ConfigError(f"the {last.doing} of {last.since} was killed after this plan was made", mend=PLAN)
    twice = [address for address, action in plan.changes if address in plan.unsure and action == "create"]
    if twice and not again:
        raise ConfigError(
            f"the apply that was killed may have made {', '.join(twice)} already: this plan would make it a second time",
            mend=f"look at the provider; what is there, delete it or take it in: {root.by_hand('import', 'ADDRESS', 'ID')}\n"
            "then inv infra.plan, and inv infra.apply --again, which goes on without asking",
        )
    run = uuid.uuid4().hex[:12]
    with environment(root, run) as env:
        terraform.ready(root, env)
        if plan.nothing:
            terraform.forget(root)
            if last and not plan.unsure:
                begun.end(root, last)
            found = _infra(root, terraform.state(root, env))
            root.site.tell(What.FOUND, STAGE, "nothing to do, it is there already", artifact=found)
            return found
        return _applied(root, env, plan, run)


@dataclass(frozen=True)
class Explained:
    """What became of an apply that was killed, in `lines`; `unsure` is what may exist without the state knowing it."""

    lines: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def explain(root: Root) -> Explained:
    """What became of an apply that was killed, by its log and the state. Raises Locked while it works on.

    Its record is closed, and providers that it left behind are ended.
    """
    note = begun.read(root, "apply")
    if note is None:
        return Explained()
    if note.alive:
        raise begun.at_work(note)
    note.sweep()
    with environment(root, uuid.uuid4().hex[:12], strict=False) as env:
        terraform.ready(root, env)
        found = _outcome(root, env, note.changes)
    told = [f"{note.doing} of {note.since} (run {note.run}) was killed", *found.sentences(), *_advice(root, found)]
    if any(record.run == note.run for record in root.site.records.unfinished()):
        detail = {"error": told[0], "cause": "\n".join(told[1:])}
        root.site.records.outcome(note.run, STAGE, _key(root), "", FAILED, None, note.at, detail)
    return Explained(tuple(told), found.unsure)


def _meant(root: Root, destroy: bool) -> Reviewed:
    plan = terraform.reviewed(root)
    if plan is None:
        raise ConfigError("there is no plan that was reviewed", mend=PLAN)
    if plan.destroy and not destroy:
        raise ConfigError("the plan that waits destroys", mend=f"inv infra.destroy --yes {root.name}, or inv infra.plan for another")
    if plan.inputs != root.fingerprint():
        raise ConfigError(f"the configuration has changed since the plan of {terraform.when(plan.at)}", mend=PLAN)
    return plan


def _applied(root: Root, env: Mapping[str, str], plan: Reviewed, run: str) -> Infra:
    site, doing = root.site, "destroy" if plan.destroy else "apply"
    why = f"{doing}: {', '.join(f'{action} {address}' for address, action in plan.changes) or 'outputs'}"
    note = begun.begun(run, "apply", site.clock.now(), plan.changes)
    started = site.records.intend(run, STAGE, _key(root), "", why)
    site.tell(What.ACT, STAGE, why, usual=site.records.usual(STAGE))
    begun.begin(root, note)
    began = site.clock.monotonic()
    said = follow(root, tool.apply(root.program, str(root.plan_file)), env, root.log, root.spec.deadline)
    if said.code == 0 and not said.stopped:
        terraform.forget(root)
        begun.end(root, note)
        made = _infra(root, terraform.state(root, env))
        site.records.outcome(run, STAGE, _key(root), "", MADE, made, started, {"why": why, "tries": 1})
        site.tell(What.MADE, STAGE, made.id, artifact=made, seconds=site.clock.monotonic() - began)
        return made
    error = _failed(root, env, plan, said)
    if said.code >= 0:
        begun.end(root, note)  # it ended by itself, and its state is whole
    if not isinstance(error, Locked):
        terraform.forget(root)  # the tool has written its state: the plan is older than that, whether or not something was made
    error.stage, error.log = STAGE, str(root.log)
    error.what, error.cause = site.secrets.mask(error.what), site.secrets.mask(error.cause)
    site.records.outcome(run, STAGE, _key(root), "", FAILED, None, started, {**facts(error), "why": why, "tries": 1})
    raise error


def _failed(root: Root, env: Mapping[str, str], plan: Reviewed, said: Said) -> PipelineError:
    """The error to tell, with what there is now."""
    found = _outcome(root, env, plan.changes)
    reason = said.stopped or failure(said.code, said.text, root.by_hand())
    if not found.touched:
        return reason
    lines = [*found.sentences(), *filter(None, (reason.cause.splitlines() or [""])[:6])]
    if root.unsaved.exists():
        return NotRolledBack("the apply could not save its state", cause="\n".join((root.lost, *lines)), mend=root.save)
    mend = "\n".join((*_advice(root, found), PLAN))
    if isinstance(reason, Cancelled):
        stopped = Cancelled("stopped in the middle of an apply", signal=reason.exit_code - 128 or signal.SIGINT)
        stopped.cause, stopped.mend = "\n".join(lines), mend
        return stopped
    done, all_of_it = len(found.made), len(plan.changes)
    return NotRolledBack(f"the apply stopped half-way, {done} of {all_of_it} done: {reason.what}", cause="\n".join(lines), mend=mend)


def _advice(root: Root, found: Outcome) -> list[str]:
    """What a person has to do before the next apply, which would make a second one of what the state does not know."""
    lines = []
    if found.unsure:
        names = ", ".join(found.unsure)
        lines.append(f"look at the provider for {names}: what is there, delete it or take it in: {root.by_hand('import', 'ADDRESS', 'ID')}")
    if found.failed:
        lines.append(f"a provider that answered too late may have made {', '.join(found.failed)} all the same: look there first")
    return lines


def _outcome(root: Root, env: Mapping[str, str], changes: tuple[tuple[str, str], ...]) -> Outcome:
    try:
        state: State | None = terraform.state(root, env)
    except PipelineError as error:
        root.site.tell(What.WARN, STAGE, f"the state cannot be read now ({error.what}): told from the log alone")
        state = None
    try:
        text = root.log.read_text(errors="replace")
    except OSError:
        text = ""
    return outcome(changes, text, state)


def _infra(root: Root, state: State) -> Infra:
    return Infra(root.name, state.lineage, state.serial, len(state.resources))


def _key(root: Root) -> str:
    return content_hash([STAGE, root.name])
