"""The tasks of the infrastructure: plan, apply, destroy, output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from json import dumps
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, task

from pipeline.dry import only_looks
from pipeline.errors import ConfigError
from pipeline.safe import clean
from pipeline.say import ask as ask_person
from pipeline.say import hand_over, say

if TYPE_CHECKING:
    from pipeline.provision.root import Root
    from pipeline.provision.terraform import Reviewed
    from pipeline.tools.terraform_plan import Change, Out, Planned

SIGNS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-", "import": "<-", "move": "->", "forget": ".", "read": "<="}


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[[str, str, bool], AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> Collection:
    """`infra.plan`, `infra.apply`, `infra.destroy`, `infra.output`.

    What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `opened` gives blueprint and site by
    environment, blueprint and whether events are JSON, `about` is the help of these three.
    """

    @only_looks
    @polite
    def plan(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """What an apply would make, change and delete, and what has drifted; kept as a file that inv infra.apply applies exactly.

        An apply that was killed is explained first.
        """
        from pipeline.provision import apply, terraform

        with opened(env, blueprint, json) as (found, site):
            root = root_of(found, site)
            with _told(root, "infra.plan"):
                before = apply.explain(root)
                planned, reviewed = terraform.plan(root, unsure=before.unsure)
        if json:
            print_json(_facts(planned, reviewed, before.lines))
        else:
            say(*(f"before   {line}" for line in before.lines), *shown(planned, reviewed, root.name))

    @polite
    def apply_(_c: Context, env: str = "", blueprint: str = "", json: bool = False, again: bool = False) -> None:
        """Apply exactly the plan that inv infra.plan showed: refused where configuration or state have changed since."""
        from pipeline.provision.apply import apply

        with opened(env, blueprint, json) as (found, site):
            root = root_of(found, site)
            with _told(root, "infra.apply"):
                made = apply(root, again=again)
        _print(made, json, print_json)

    @polite
    def destroy(_c: Context, env: str = "", blueprint: str = "", json: bool = False, yes: str = "") -> None:
        """Delete everything that inv infra.apply made. --yes NAME names it; without it a terminal is asked, and nothing else is done."""
        from pipeline.provision import apply, terraform

        with opened(env, blueprint, json) as (found, site):
            root = root_of(found, site)
            confirmed(root, yes, ask=not json and sys.stdin.isatty())
            with _told(root, "infra.destroy"):
                before = apply.explain(root)
                planned, reviewed = terraform.plan(root, destroy=True)
                if not json:
                    lines = (*(f"before   {line}" for line in before.lines), *shown(planned, reviewed, root.name))
                    sys.stderr.write("\n".join((*map(clean, lines), "")))
                gone = apply.apply(root, destroy=True)
        _print(gone, json, print_json)

    @only_looks
    @polite
    def output(_c: Context, env: str = "", blueprint: str = "", json: bool = False, name: str = "") -> None:
        """The outputs of the last apply; a sensitive one is shown only where --name asks for it."""
        from pipeline.provision.terraform import outputs

        with opened(env, blueprint, json) as (found, site):
            root = root_of(found, site)
            known = outputs(root)
        if name and name not in known:
            raise ConfigError(f"{root.name} has no output {name!r}", mend=f"its outputs are: {', '.join(sorted(known))}")
        chosen = [known[name]] if name else [known[each] for each in sorted(known)]
        if json and name:
            hand_over(dumps({"schema_version": 1, "outputs": {name: _as_json(known[name], name)}}, indent=2, default=str))
        elif json:
            print_json({"outputs": {each.name: _as_json(each, name) for each in chosen}})
        elif name:
            hand_over(known[name].text)
        else:
            wide = max(len(each.name) for each in chosen)
            say(*(f"{each.name:<{wide}}  {'[sensitive]' if each.sensitive else each.text}" for each in chosen))

    apply_.__name__ = "apply"
    return Collection(
        "infra",
        task(plan, help=about),
        task(apply_, help={**about, "again": "though an apply that was killed may have made some of it already"}),
        task(destroy, help={**about, "yes": "the name of what is destroyed, as inv infra.plan says it"}),
        task(output, help={**about, "name": "one of them, in the clear"}),
    )


def root_of(blueprint: Any, site: Any) -> Root:
    """The root module that a blueprint names. Raises ConfigError where it names none."""
    root = blueprint.infra_root(site)
    if root is None:
        raise ConfigError(
            f"blueprint {blueprint.name} has no infra", mend="infra: {driver: terraform, folder: terraform/…} in the blueprint"
        )
    found: Root = root
    return found


def confirmed(root: Root, yes: str, *, ask: bool) -> None:
    """Raises ConfigError unless the very name was given, or is typed now; a protected environment is never asked about."""
    if not yes and ask and not root.protected:
        yes = ask_person(f"This deletes all of {root.name}. Type its name to go on: ").strip()
    if yes != root.name:
        what = f"this deletes all of {root.name}" + (", which is protected" if root.protected else "")
        raise ConfigError(what if not yes else f"{what}, not {yes!r}", mend=f"if that is meant: inv infra.destroy --yes {root.name}")


def shown(planned: Planned, reviewed: Reviewed, name: str) -> list[str]:
    """A plan for a person: what, to what, why."""
    lines = [f"drifted  {line}" for change in planned.drift for line in _lines(change, "")]
    lines += [f"{line}" for change in planned.changes for line in _lines(change, f"{SIGNS.get(change.action, '?'):<3} ")]
    lines += [f"outputs  {', '.join(planned.outputs)}"] if planned.outputs and not reviewed.nothing else []
    if reviewed.nothing:
        return [*lines, f"nothing to do: {name} is as it is written"]
    counts = {kind: sum(kind in (each.action, *each.also) for each in planned.changes) for kind in SIGNS}
    told = ", ".join(f"{count} to {action}" for action, count in counts.items() if count) or "only outputs change"
    return [*lines, f"plan     {told} of {name}" + ("" if reviewed.destroy else ": inv infra.apply does exactly this")]


def _lines(change: Change, sign: str) -> list[str]:
    forced = f", because {', '.join(change.forced)} cannot change in place" if change.forced else ""
    return [f"{sign}{change.action:<8} {change.address}{forced}", *(f"             {field}" for field in change.fields)]


def _facts(planned: Planned, reviewed: Reviewed, before: tuple[str, ...]) -> dict[str, Any]:
    import dataclasses

    return {
        "changes": [dataclasses.asdict(each) for each in planned.changes],
        "drift": [dataclasses.asdict(each) for each in planned.drift],
        "outputs": list(planned.outputs),
        "nothing": reviewed.nothing,
        "before": list(before),
    }


def _as_json(out: Out, asked: str) -> dict[str, Any]:
    return {"sensitive": out.sensitive, "value": None if out.sensitive and not asked else out.value}


def _print(made: Any, as_json: bool, print_json: Callable[[dict[str, Any]], None]) -> None:
    from pipeline.artifacts import to_json
    from pipeline.report.words import told

    print_json({"infra": to_json(made)}) if as_json else say(told(made))


def _told(root: Root, doing: str) -> AbstractContextManager[None]:
    from pipeline.provision.tale import told

    return told(root, doing)
