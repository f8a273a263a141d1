"""Terraform or OpenTofu, looking: initialize where that is needed, plan to a file that can be reviewed, read state and outputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import jsontext
from pipeline.errors import ConfigError, IntegrityError, Locked, PipelineError
from pipeline.events import What
from pipeline.provision import begun
from pipeline.provision.process import Said, ask, follow, others
from pipeline.provision.root import STAGE, Root, environment
from pipeline.records import actor
from pipeline.retry import Policy, retrying
from pipeline.runner.heard import heard
from pipeline.tools import private, terraform
from pipeline.tools.terraform_errors import Lock, failure, lock_of
from pipeline.tools.terraform_plan import Out, Planned, State, read_outputs, read_plan, read_state

PATIENCE = 900.0  # seconds a plan may take; it only reads
SCHEMA = 1


@dataclass(frozen=True)
class Reviewed:
    """What is known of the plan in the plan file: `sha256` of that file, `inputs` the configuration it was made of, `changes` as
    (address, action). `nothing` where it would change nothing: there is no file then. `unsure` is what an apply that was killed may
    have made without the state knowing it."""

    at: float
    by: str
    destroy: bool
    inputs: str
    sha256: str = ""
    changes: tuple[tuple[str, str], ...] = ()
    nothing: bool = False
    unsure: tuple[str, ...] = ()
    schema_version: int = SCHEMA


def plan(root: Root, *, destroy: bool = False, unsure: tuple[str, ...] = (), policy: Policy | None = None) -> tuple[Planned, Reviewed]:
    """Compare the configuration with the state and the world, and keep the plan in a file for `apply`.

    A provider that fails is asked again: a plan only reads. Raises Locked with who holds the state; the lock of a run of our own that
    died is lifted. Raises what the tool's output means otherwise.
    """
    root.check()
    run = uuid.uuid4().hex[:12]
    before = begun.read(root, "plan")
    note = begun.begin(root, begun.begun(run, "plan", root.site.clock.now()))
    out = root.home / f"{run}.tfplan"
    try:
        forget(root)
        with environment(root, run) as env:
            said = _planned(root, env, out, destroy, policy or Policy(), before)
            found = _read(root, env, out)
        nothing = said.code == terraform.NOTHING
        changes = tuple((each.address, each.action) for each in found.changes if each.touches)
        sha256 = "" if nothing else hashlib.sha256(out.read_bytes()).hexdigest()
        if not nothing:
            out.replace(root.plan_file)
    finally:
        out.unlink(missing_ok=True)
        begun.end(root, note)
    reviewed = Reviewed(root.site.clock.now(), actor(), destroy, root.fingerprint(), sha256, changes, nothing, unsure)
    private.write(root.home / "reviewed.json", json.dumps(dataclasses.asdict(reviewed)))
    return found, reviewed


def reviewed(root: Root) -> Reviewed | None:
    """What is known of the plan that waits. Raises ConfigError where a newer version wrote it, IntegrityError where the file is not it."""
    try:
        text: dict[str, Any] = jsontext.loads((root.home / "reviewed.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError("what is known of the plan cannot be read", cause=type(error).__name__, mend="inv infra.plan") from error
    if text.get("schema_version", 0) > SCHEMA:
        raise ConfigError("the plan was made by a newer version of this library", mend="use that one, or inv infra.plan")
    found = Reviewed(
        **{**text, "changes": tuple((address, action) for address, action in text["changes"]), "unsure": tuple(text["unsure"])}
    )
    if not found.nothing and not _same(root, found.sha256):
        raise IntegrityError("the plan file is not the one that was reviewed", mend="inv infra.plan, and look at what it says")
    return found


def forget(root: Root) -> None:
    """The plan that waits is no longer meant."""
    for path in (root.home / "reviewed.json", root.plan_file):
        path.unlink(missing_ok=True)


def ready(root: Root, env: Mapping[str, str]) -> None:
    """Initialize, where the configuration is another than the last time. Raises what the tool's output means."""
    mark = root.data / "initialized"
    if mark.exists() and mark.read_text() == root.fingerprint():
        return
    root.site.tell(What.WAIT, STAGE, "initializes: providers and backend")
    lock = root.folder / ".terraform.lock.hcl"
    locked = lock.exists()
    said = ask(root, terraform.init(root.program, root.backend, locked=locked), env, PATIENCE)
    if said.code:
        raise _failed(root, said)
    if not locked and lock.exists():
        text = f"{lock.relative_to(root.site.root)} was written: commit it, and everybody gets the same providers"
        root.site.tell(What.WARN, STAGE, text)
    _check_backend(root)
    private.write(mark, root.fingerprint())


def state(root: Root, env: Mapping[str, str]) -> State:
    """What the state holds now. Raises what the tool's output means."""
    said = ask(root, terraform.pull(root.program), env)
    if said.code:
        raise _failed(root, said)
    return read_state(said.text)


def outputs(root: Root) -> dict[str, Out]:
    """The outputs of the last apply, sensitive ones in the clear: whoever shows them masks them. Every sensitive value is masked in
    events from now on. Raises ConfigError where nothing was applied yet."""
    root.check()
    with environment(root, uuid.uuid4().hex[:12], strict=False) as env:
        ready(root, env)
        said = ask(root, terraform.output(root.program), env)
    if said.code:
        raise _failed(root, said)
    found = read_outputs(said.text)
    for each in found.values():
        if each.sensitive:
            root.site.secrets.guard(each.text)
    if not found:
        raise ConfigError(f"{root.name} has no outputs: nothing was applied yet", mend="inv infra.plan, then inv infra.apply")
    return found


def _planned(root: Root, env: Mapping[str, str], out: Path, destroy: bool, policy: Policy, before: begun.Begun | None) -> Said:
    argv = terraform.plan(root.program, str(out), root.inputs(), destroy=destroy)
    lifted: list[Lock] = []

    def attempt(_count: int) -> Said:
        out.unlink(missing_ok=True)
        ready(root, env)
        said = follow(root, argv, env, root.home / "plan.log", PATIENCE)
        if said.stopped:
            raise said.stopped
        if said.code in (terraform.NOTHING, terraform.CHANGES):
            return said
        error = _failed(root, said)
        lock = lock_of(said.text.replace("\\n", "\n")) if isinstance(error, Locked) else None
        if lock and not lifted and _lift(root, env, lock, before):
            lifted.append(lock)
            return attempt(_count)
        raise error

    return retrying(policy, root.site.clock, attempt, heard(root.site, STAGE))


def _lift(root: Root, env: Mapping[str, str], lock: Lock, before: begun.Begun | None) -> bool:
    """Take away the lock of a run of ours that is dead for sure; nobody else's, ever."""
    for note in filter(None, (begun.read(root, "apply"), before)):
        if note.holds(lock) and note.machine == begun.machine() and not note.alive and not others(note.run, root):
            root.site.tell(
                What.WARN, STAGE, f"the state's lock {lock.id} is that of our own {note.doing} of {note.since}, which died: lifted"
            )
            return ask(root, terraform.unlock(root.program, lock.id), env).code == 0
    return False


def _read(root: Root, env: Mapping[str, str], out: Path) -> Planned:
    said = ask(root, terraform.show(root.program, str(out)), env)
    if said.code:
        raise _failed(root, said)
    return read_plan(root.site.secrets.mask(said.text))


def _failed(root: Root, said: Said) -> PipelineError:
    return failure(said.code, "\n".join(filter(None, (said.errors, said.text))), root.by_hand())


def _same(root: Root, sha256: str) -> bool:
    try:
        return hashlib.sha256(root.plan_file.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _check_backend(root: Root) -> None:
    """The state lies where we mean it to, and not beside the configuration because no backend is written there."""
    if root.spec.backend:
        return
    try:
        found = jsontext.loads((root.data / "terraform.tfstate").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        found = {}
    kind = found.get("type", "")
    if kind == "local":
        return
    if kind:
        raise ConfigError(f"the configuration keeps its state in a backend {kind!r}", mend="name its settings as `backend` of `infra`")
    what = "the configuration does not say that its state may lie elsewhere"
    raise ConfigError(what, mend='write `backend "local" {}` into its terraform block')


def when(at: float) -> str:
    """A time as it stands elsewhere."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
