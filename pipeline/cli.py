"""The Invoke tasks: thin, one place to choose blueprint and environment, stdout for the result and stderr for the story."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from pipeline.chain import RELEASE, Chain
from pipeline.charts import collection as chart_tasks
from pipeline.ci.tasks import collection as ci_tasks
from pipeline.dry import only_looks, shown_by
from pipeline.ending import cli, end_quietly
from pipeline.errors import ConfigError, PipelineError
from pipeline.gitops.tasks import collection as flux_tasks
from pipeline.infra import collection as infra_tasks
from pipeline.init.tasks import task_for as init_task
from pipeline.lab.tasks import collection as lab_tasks
from pipeline.line import gather, home, polite
from pipeline.menu import announce
from pipeline.menu import task_for as blueprints_task
from pipeline.operate import WAIT
from pipeline.operate import tasks as operator_tasks
from pipeline.prune.tasks import tasks as prune_tasks
from pipeline.safe import clean
from pipeline.say import ask, hand_over, remember, say, say_block, say_json
from pipeline.tagging import collection as tag_tasks
from pipeline.tunnel.tasks import collection as tunnel_tasks

HELP = {
    "env": "environment: the overlay config/<blueprint>.<env>.yml",
    "blueprint": "blueprint: config/<blueprint>.yml",
    "json": "result as JSON on stdout, events as JSON lines on stderr",
}
TERMS = {
    "over": "the commit that is live, if it is not in the history of what is released and is meant to be gone over",
    "again": "though this commit was taken back before",
}
STAGES = {
    "sync": "The source, byte for byte, on the build host.",
    "build": "The image archive, built on the build host.",
    "push": "The image in the registry; prints its digest.",
    "deploy": "The release on the cluster, by digest; prints its revision.",
    "release": "All of it, up to a verified release; prints the URL and the chain of custody.",
}


def collection(config: str = "config", *, blueprint: str = "") -> Collection:
    """The tasks over the blueprints in folder `config` (beside the tasks.py that calls this), `blueprint` being the one that is meant
    where none is named.

        from pipeline import collection
        ns = collection("config")
    """
    from invoke.main import program

    program.executor_class = Chain  # the stock program has no hook that a two-line tasks.py could reach
    polite(program)
    gather(program)
    end_quietly()
    tasks = _Tasks(config, blueprint, lambda: home(program))
    found = Collection()
    for order, (verb, says) in enumerate(STAGES.items()):
        found.add_task(tasks.stage(verb, says, order if verb != RELEASE else len(STAGES) + 1))
    for each in (tasks.verify, tasks.plan, tasks.doctor, tasks.status, tasks.history, tasks.schema, tasks.demo, tasks.test):
        found.add_task(each())
    for operators in operator_tasks(cli, tasks.site, say_json, HELP):
        found.add_task(operators)
    for tidying in prune_tasks(cli, tasks.site, lambda: tasks.home() / config, say_json, HELP):
        found.add_task(tidying)
    found.add_collection(ci_tasks(cli, say_json, _story, lambda: tasks.home() / config, HELP))
    found.add_task(blueprints_task(cli, say_json, lambda: tasks.home() / config, blueprint))
    found.add_task(init_task(cli, say_json, tasks.home))
    found.add_collection(chart_tasks(cli, tasks.site, say_json, HELP))
    found.add_collection(tag_tasks(cli, tasks.site, say_json, HELP))
    found.add_collection(infra_tasks(cli, tasks.site, say_json, HELP))
    found.add_collection(tunnel_tasks(cli, tasks.site, say_json, _story, HELP))
    found.add_collection(flux_tasks(cli, tasks.site, say_json, HELP))
    found.add_collection(lab_tasks(cli, say_json, _story, tasks.home))
    announce(program, found, lambda: tasks.home() / config, blueprint)
    return found


class _Tasks:
    def __init__(self, config: str, blueprint: str, home: Callable[[], Path]) -> None:
        self.config = config
        self.blueprint = blueprint
        self.home = home

    def load(self, env: str, blueprint: str) -> Any:
        from pipeline.plan import load

        return load(self.home() / self.config, blueprint or self.blueprint, env)

    @contextlib.contextmanager
    def site(self, env: str, blueprint: str, as_json: bool, wait: int = 0) -> Iterator[tuple[Any, Any]]:
        from pipeline.report import sink_for

        if wait < 0:
            raise ConfigError(f"--wait {wait} is no time to wait", mend="--wait 300")
        found = self.load(env, blueprint)
        sink = sink_for("json" if as_json else "auto", sys.stderr)
        try:
            with found.site(sink, wait=wait) as site:
                remember(site.secrets)
                yield found, site
        except PipelineError as error:
            sink.close()
            if sink.explained:
                raise Exit(code=error.exit_code) from error
            raise
        finally:
            sink.close()

    def stage(self, verb: str, says: str, order: int) -> Any:
        until = "verify" if verb == RELEASE else verb

        def made(env: str, blueprint: str, json: bool, wait: int, over: str = "", again: bool = False) -> None:
            from pipeline.runner import run

            with self.site(env, blueprint, json, wait) as (found, site):
                records = run(found.plan, site, until=until, over=over, again=again)
            _print_result(records, json, _front_door(found.plan, site))

        @cli
        def body(_c: Context, env: str = "", blueprint: str = "", json: bool = False, wait: int = 0) -> None:
            made(env, blueprint, json, wait)

        @cli
        def releases(
            _c: Context, env: str = "", blueprint: str = "", json: bool = False, wait: int = 0, over: str = "", again: bool = False
        ) -> None:
            made(env, blueprint, json, wait, over, again)

        chosen, about = (releases, {**HELP, **WAIT, **TERMS}) if verb in ("deploy", RELEASE) else (body, {**HELP, **WAIT})
        chosen = shown_by("plan", until=until)(chosen)
        chosen.__name__ = verb
        chosen.__doc__ = f"{says}\n\nLooks first, makes only what is missing, and everything it needs before it."
        chosen.stage_order = order
        return task(chosen, help=about)

    def verify(self) -> Any:
        @shown_by("plan", until="verify")  # what it asks may end pods and nodes
        @cli
        def verify(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
            """Check what is live: pods, digests, pages. Nothing is built or deployed.

            At the end of a chain (inv deploy verify) it checks what the chain released.
            """
            from pipeline.runner import verify_live

            with self.site(env, blueprint, json) as (found, site):
                record = verify_live(found.plan, site)
            _print_result([record], json, _front_door(found.plan, site))

        verify.stage_order = len(STAGES)
        return task(verify, help=HELP)

    def plan(self) -> Any:
        @only_looks
        @cli
        def plan(_c: Context, env: str = "", blueprint: str = "", json: bool = False, until: str = "") -> None:
            """What a release would do and why, without touching anything. `inv --dry push` and the like show the same, up to that stage."""
            from pipeline.report.planned import gather, show

            with self.site(env, blueprint, json) as (found, site):
                facts, unasked = gather(found.plan, site, until)
            if json:
                say_json(facts)
            else:
                say(*show(facts))
            if unasked:
                raise unasked  # what was found stands above all the same

        return task(plan, help={**HELP, "until": "the last stage that is looked at"})

    def doctor(self) -> Any:
        @shown_by("doctor", fix=False, yes=False, host_key="")
        @cli
        def doctor(
            _c: Context, env: str = "", blueprint: str = "", json: bool = False, fix: bool = False, yes: bool = False, host_key: str = ""
        ) -> None:
            """Look at everything a release needs, change nothing, and say what mends it.

            With --fix it mends what is safe: an SSH host key that nobody knows (asked with its fingerprint), the namespace, on a k3s node
            the entry of a registry that speaks plain HTTP. Each is told and asked first, and looked at again afterwards.
            """
            from pipeline.doctor import COLOURS, Consent, cure, examine, exit_code, rows, table

            if (yes or host_key) and not fix:
                raise ConfigError("--yes and --host-key say what --fix may do", mend="inv doctor --fix")
            agreed = _confirmed if sys.stdin.isatty() and not json else None
            consent = Consent(yes, frozenset(filter(None, host_key.split(","))), agreed)
            with self.site(env, blueprint, json) as (found, site):
                verdicts = cure(lambda: examine(found, site), consent, _tell) if fix else examine(found, site)
            if json:
                say_json({"verdicts": rows(verdicts)})
            else:
                say_block(table(verdicts), COLOURS)
            if code := exit_code(verdicts):
                raise Exit(code=code)

        about = {
            "fix": "mend what is safe, asked first",
            "yes": "with --fix: nobody is asked, but for host keys",
            "host-key": "with --fix: the fingerprint of a host key that is trusted, as SHA256:... (several with commas)",
        }
        return task(doctor, help={**HELP, **about})

    def status(self) -> Any:
        @only_looks
        @cli
        def status(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
            """What is live, from which commit, and what this working copy last did."""
            from pipeline.report.status import gather, show

            with self.site(env, blueprint, json) as (found, site):
                facts = gather(found, site, whole=json)
            if json:
                say_json(facts)
            else:
                say_block(show(facts))
            if failed := facts["unasked"]:
                raise Exit(None if json else failed["explained"], code=failed["exit_code"])

        return task(status, help=HELP)

    def history(self) -> Any:
        @only_looks
        @cli
        def history(_c: Context, env: str = "", blueprint: str = "", json: bool = False, limit: int = 20) -> None:
            """What this working copy did, newest first."""
            from pipeline.records import Records
            from pipeline.report.status import row, rows

            if limit < 1:
                raise ConfigError(f"--limit {limit} leaves nothing to show", mend="inv history --limit 20")
            found = self.load(env, blueprint)
            with contextlib.closing(Records(found.records_path)) as kept:  # no site: what was done here can be told while all is down
                records = kept.history(limit)
            if json:
                say_json({"records": [row(record) for record in records]})
            else:
                say(*rows(records) or ["nothing yet"])

        return task(history, help={**HELP, "limit": "how many"})

    def schema(self) -> Any:
        @only_looks
        @cli
        def schema(_c: Context, site: bool = False) -> None:
            """JSON Schema of the blueprint (or with --site of the site file), for an editor."""
            from pipeline.plan import SiteFile, blueprint_schema
            from pipeline.schema import json_schema

            hand_over(json.dumps(json_schema(SiteFile) if site else blueprint_schema(), indent=2))

        return task(schema, help={"site": "of the site file instead"})

    def demo(self) -> Any:
        @cli
        def demo(c: Context, blueprint: str = "") -> None:
            """The main job, end to end, on the lab: start, release this working copy, verify. Prints the URL and the chain of custody.

            Of another blueprint the same: the lab gets the parts that it needs, and first its chart is published where it has one, or Flux
            made to follow its repository.
            """
            from pipeline import lab
            from pipeline.lab import wanted

            found = self.load("lab", blueprint)  # what is wrong with it is told before anything is installed
            with _story() as say:
                lab.up(self.home(), parts=lab.ALL | wanted.parts(found.plan), say=say)
            if found.gitops:
                tasks: Any = flux_tasks(cli, self.site, say_json, HELP)
                first: tuple[str, ...] = ("bootstrap", "init")
            else:
                published = any(getattr(stage.spec, "source", "") for stage in found.plan)
                tasks = chart_tasks(cli, self.site, say_json, HELP)
                first = ("push",) if published else ()
            for name in first:
                tasks[name].body(c, env="lab", blueprint=blueprint)
            self.stage(RELEASE, "", 0).body(c, env="lab", blueprint=blueprint)

        return task(demo, help={"blueprint": HELP["blueprint"]})

    def test(self) -> Any:
        @cli
        def test(_c: Context, words: list[str] | None = None, real: bool = True, quick: bool = False) -> None:
            """Every test of this repository: style, types, unit; and real ones, for which the lab is started meanwhile.

            inv test --quick                   while you write: style, types, the unit tests of what changed; a minute
            inv test tests/deploy lease        these only: paths, and parts of names
            inv test lease -x --lf             from the first option on, all is pytest's
            inv test --no-real                 everything that needs neither lab nor built programs; a few minutes
            """
            from pipeline.errors import ConfigError
            from pipeline.suite import Suite

            with _story() as say:
                suite = Suite(self.home(), say)
                if quick and words:
                    raise ConfigError("--quick chooses the tests by what changed", mend="leave it out, or the words")
                if quick:
                    suite.quick()
                elif words:
                    suite.some(words, real=real)
                else:
                    suite.everything(real=real)

        test.rest = "words"  # see pipeline.line.gather
        about = {
            "words": "what to run; written without the option's name, as above",
            "real": "with the tests on real parts, which need the lab (inv lab.up) or programs that are built for them",
            "quick": "style, types, and the unit tests of what is not as on main",
        }
        return task(test, help=about, iterable=["words"], auto_shortflags=False)


def _story() -> contextlib.AbstractContextManager[Callable[[str], None]]:
    from pipeline.report.story import teller

    return teller(sys.stderr)


def _tell(text: str) -> None:
    sys.stderr.write("".join(f"{clean(line)}\n" for line in text.split("\n")))


def _confirmed(question: str) -> bool:
    return ask(question).strip().lower() in ("y", "yes")


def _front_door(plan: Any, site: Any) -> str:
    """The address that verify asks in place of the public name, "" where it asks that name itself."""
    spec = next((stage.spec for stage in plan if stage.verb == "verify"), None)
    cluster = "" if getattr(spec, "url", "") else getattr(spec, "cluster", "")
    return str(site.cluster(cluster).ingress) if cluster else ""


def _print_result(records: list[Any], as_json: bool, ingress: str) -> None:
    from pipeline.report.custody import chain, result
    from pipeline.report.status import row

    if as_json:
        say_json({"records": [row(record) for record in records]})
        return
    last = records[-1]
    say_block(chain([record.artifact for record in records], ingress) if last.stage == "verify" else result(last.artifact))
