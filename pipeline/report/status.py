"""What is live, from which commit, and what this working copy did: gathered as plain facts, shown as text."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from pipeline.artifacts import Artifact, Release, Report, Source, to_json
from pipeline.errors import PipelineError, explain
from pipeline.plan import Blueprint
from pipeline.records import FAILED, FOUND, MADE, Record, Records
from pipeline.report.words import told
from pipeline.runner.walk import facts as failure_of
from pipeline.safe import clean
from pipeline.source import snapshot
from pipeline.stage import Site, Standing

TAKEN = 3  # releases that were taken back and are told, the newest first

CHANGED = {"state": False, "text": "NOT as it was released: inv deploy puts it right"}


def gather(blueprint: Blueprint, site: Site, *, whole: bool = False) -> dict[str, Any]:
    """The facts: the working copy, the live release of each stage that can tell and how it stands, unfinished intents, the newest
    records; `whole` asks the registries, too, for the provenance of what is live.

    A cluster that cannot be asked is said in `unasked`: what is live is unknown then, what was done here is known all the same.
    """
    source = snapshot(site.root, private=site.private)
    unasked: PipelineError | None = None
    found: list[tuple[Artifact | None, Standing, list[str]]] = []
    try:
        known = [stage.standing(site) for stage in blueprint.plan if stage.driver.live]
        found = [(each.live(), each, list(each.edited())) for each in known]
    except PipelineError as error:
        unasked = error
    releases = [(release, standing, edited) for release, standing, edited in found if isinstance(release, Release)]
    ours = [release for release, standing, _ in releases if standing.ours]
    return {
        "app": blueprint.app,
        "blueprint": blueprint.name,
        "environment": blueprint.environment,
        "source": {"label": source.label, "commit": source.commit, "tree": source.tree, "dirty": source.dirty},
        "live": [_release(release, standing, edited, site, whole) for release, standing, edited in releases],
        "frozen": [str(standing.frozen) for _, standing, _ in found if standing.frozen],
        "unasked": None if unasked is None else {**failure_of(unasked), "explained": explain(unasked)},
        "current": source.id in {release.source.id for release in ours},
        "same": any(_made_nothing_new(source, release, site.records) for release in ours),
        "unfinished": [row(record) for record in site.records.unfinished()],
        "records": [row(record) for record in site.records.history(8)],
    }


def show(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    lines = [f"{facts['app']}  {facts['blueprint']}/{facts['environment']}"]
    for release in facts["live"]:
        where = f"{release['cluster']}/{release['namespace']}/{release['name']}"
        lines.append(f"live     {release['label']}{'' if release['ours'] else '?'}  revision {release['revision']}  {where}")
        lines += [f"         {image['repository']}@{image['digest']}" for image in release["images"]]
        said = [release["since"] and f"since {_local(release['since'])}", release["by"] and f"by {release['by']}"]
        lines += [f"         {' '.join(filter(None, said))}"] if any(said) else []
        lines += [f"         {release['verified']['text']}"]
        lines += [f"remark   {remark}" for remark in release["remarks"]]
        lines += [f"at work  {release['holder']}"] if release["holder"] else []
    if facts["unasked"]:
        lines.append(f"live     unknown: {facts['unasked']['error']}")
    elif not facts["live"]:
        lines.append("live     nothing yet: inv release")
    lines += [f"frozen   {said}; inv unfreeze lifts it" for said in facts["frozen"]]
    state = "is not what is live: inv plan says what a release would do"
    if facts["current"] or facts["same"]:
        state = "is what is live" if facts["current"] else "has the content of what is live: its release changed nothing"
    lines.append(f"here     {facts['source']['label']}" + ("" if facts["unasked"] else f"  {state}"))
    for record in facts["unfinished"]:
        begun = f"{record['stage']} of run {record['run']} was begun {_when(record['started_at'])} and never ended"
        lines.append(f"unknown  {begun}: inv reconcile asks what became of it")
    if facts["records"]:
        lines += ["", *_table(facts["records"])]
    return "\n".join(map(clean, lines))


def _release(release: Release, standing: Standing, edited: list[str], site: Site, whole: bool) -> dict[str, Any]:
    facts = {
        **to_json(release),
        "label": release.source.label or "an unknown commit",
        "since": standing.since,
        "by": standing.by,
        "ours": standing.ours,
        "remarks": [*edited, *standing.remarks, *(f"{each}: released again with --again alone" for each in standing.taken[:TAKEN])],
        "holder": standing.holder,
        "verified": CHANGED if edited else verified(release, site.records),
    }
    if whole:
        from pipeline.push.provenance import statements_of

        facts["provenance"] = [statement for image in release.images for statement in statements_of(image, site)]
    return facts


def verified(release: Release, records: Records) -> dict[str, Any]:
    """Whether this very revision passed its last verification, as far as the records of this working copy know.

    A deploy whose verifier did not finish is unverified, not good.
    """
    passed, failed = records.last("verify", MADE), records.last("verify", FAILED)
    report = passed.artifact if passed else None
    same = isinstance(report, Report) and (report.release.id, report.release.revision) == (release.id, release.revision)
    deployed = records.last("deploy", MADE)
    since = deployed.number if deployed and isinstance(deployed.artifact, Release) and deployed.artifact.id == release.id else 0
    if failed and failed.number > max(since, passed.number if passed and same else 0) and (same or since):
        why = failed.detail.get("error", "")
        return {"state": False, "text": f"NOT verified: the verification of {_when(failed.started_at)} failed: {why}"}
    if passed and same:
        return {"state": True, "text": f"verified {_when(passed.finished_at)}"}
    return {"state": None, "text": "unverified: no verification of this revision has ended here; inv verify"}


def _made_nothing_new(source: Source, live: Release, records: Records) -> bool:
    """Whether the newest release of `source` from here found that this very revision is what it would make."""
    found = records.last("deploy", FOUND)
    release = found.artifact if found else None
    return isinstance(release, Release) and (release.source.id, release.id, release.revision) == (source.id, live.id, live.revision)


def row(record: Record) -> dict[str, Any]:
    """A record as plain JSON values."""
    return {
        "run": record.run,
        "stage": record.stage,
        "state": record.state,
        "artifact": None if record.artifact is None else to_json(record.artifact),
        "id": None if record.artifact is None else record.artifact.id,
        "text": str(record.detail.get("error") or record.detail.get("why", "")) if record.artifact is None else _short(record.artifact),
        "detail": record.detail,
        "actor": record.actor,
        "started_at": record.started_at,
        "seconds": record.seconds,
    }


def rows(records: Iterable[Record]) -> list[str]:
    """Records as lines for a person."""
    return _table([row(record) for record in records])


def _short(artifact: Artifact) -> str:
    """The artifact in a few words, with the commit it came from."""
    source = getattr(getattr(artifact, "release", artifact), "source", None)
    text = told(artifact)
    return text if source is None or text.startswith(source.label) else f"{source.label}  {text}"


def _table(records: list[dict[str, Any]]) -> list[str]:
    return [
        f"{_when(record['started_at'])}  {record['stage']:<7} {record['state']:<7} {record['seconds']:>6.1f} s  {record['text']}"
        for record in records
    ]


def _local(at: str) -> str:
    """ISO 8601 as the other times stand here; as it is where it is something else."""
    try:
        return _when(datetime.datetime.fromisoformat(at).timestamp())
    except ValueError:
        return at


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
