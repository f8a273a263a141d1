"""What is live, from which commit, and what this working copy did: gathered as plain facts, shown as text."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from pipeline.artifacts import Release, to_json
from pipeline.plan import Blueprint
from pipeline.records import Record
from pipeline.source import snapshot
from pipeline.stage import Site


def gather(blueprint: Blueprint, site: Site) -> dict[str, Any]:
    """The facts: the working copy, the live release of each stage that can tell, unfinished intents, the newest records.

    Raises the PipelineError of a cluster that cannot be asked.
    """
    source = snapshot(site.root)
    live = [stage.driver.live(stage.spec, site) for stage in blueprint.plan if stage.driver.live]
    releases = [to_json(release) for release in live if release is not None]
    commits = [release.source.commit for release in live if isinstance(release, Release)]
    return {
        "app": blueprint.app,
        "blueprint": blueprint.name,
        "environment": blueprint.environment,
        "source": {"label": source.label, "commit": source.commit, "dirty": source.dirty},
        "live": releases,
        "current": not source.dirty and source.commit in commits,
        "unfinished": [row(record) for record in site.records.unfinished()],
        "records": [row(record) for record in site.records.history(8)],
    }


def show(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    lines = [f"{facts['app']}  {facts['blueprint']}/{facts['environment']}"]
    for release in facts["live"]:
        where = f"{release['cluster']}/{release['namespace']}/{release['name']}"
        lines.append(f"live     {release['source']['commit'][:7]}  revision {release['revision']}  {where}")
        lines += [f"         {image['repository']}@{image['digest']}" for image in release["images"]]
    if not facts["live"]:
        lines.append("live     nothing yet: inv release")
    state = "is what is live" if facts["current"] else "is not what is live: inv plan says what a release would do"
    lines.append(f"here     {facts['source']['label']}  {state}")
    for record in facts["unfinished"]:
        lines.append(f"unknown  {record['stage']} of run {record['run']} was begun {_when(record['started_at'])} and never ended: run it again")
    if facts["records"]:
        lines += ["", *_table(facts["records"])]
    return "\n".join(lines)


def row(record: Record) -> dict[str, Any]:
    """A record as plain JSON values."""
    return {
        "run": record.run,
        "stage": record.stage,
        "state": record.state,
        "artifact": None if record.artifact is None else to_json(record.artifact),
        "id": None if record.artifact is None else record.artifact.id,
        "detail": record.detail,
        "actor": record.actor,
        "started_at": record.started_at,
        "seconds": record.seconds,
    }


def rows(records: Iterable[Record]) -> list[str]:
    """Records as lines for a person."""
    return _table([row(record) for record in records])


def _table(records: list[dict[str, Any]]) -> list[str]:
    return [
        f"{_when(record['started_at'])}  {record['stage']:<7} {record['state']:<7}"
        f" {record['seconds']:>6.1f} s  {record['id'] or record['detail'].get('error') or record['detail'].get('why', '')}"
        for record in records
    ]


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
