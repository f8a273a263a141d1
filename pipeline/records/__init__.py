"""What was done: an intent before each side effect, the outcome after it, in one SQLite file of the working copy. Only `inv prune` deletes.

Records are evidence, not truth: a stage is skipped because the world was asked, never because a record says so. What they are good for:
knowing what to ask the world for, how long things usually take, and what happened when nobody was looking.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import environment
from pipeline.artifacts import Artifact, content_hash, from_json, to_json
from pipeline.clock import Clock, SystemClock
from pipeline.errors import IntegrityError
from pipeline.records.file import File
from pipeline.safe import every_text

# an intent of stage :stage that neither an outcome of its own run nor a later look at the same stage has closed
OPEN = """stage = :stage and state = 'intent'
  and id > coalesce((select max(id) from record where stage = :stage and state = 'made'), 0)
  and id > coalesce((select max(id) from record where stage = :stage and state = 'found'), 0)
  and not exists (select 1 from record o where o.key = record.key and o.id > record.id and o.run = record.run and o.state != 'intent')"""
# what is older than anything of the newest :runs runs: whatever closes an intent that stays is younger than that, and stays too
OLD = """id < (select min(id) from record where run in (select run from record group by run order by max(id) desc limit :runs))
  and run not in (select value from json_each(:spared))"""
COLUMNS = "run, stage, key, parent, state, artifact, detail, actor, started_at, finished_at, checksum"
INTENT, MADE, FOUND, FAILED = "intent", "made", "found", "failed"


@dataclass(frozen=True)
class Record:
    """One row: `state` is intent, made, found or failed; `detail` says why, the attempts and, where it failed, the error.

    `key` names the outcome before it exists, `parent` is the key of the stage before. Times are wall seconds since 1970. `number` is
    the record's place in the file, 0 where it was not written there.
    """

    run: str
    stage: str
    key: str
    parent: str
    state: str
    artifact: Artifact | None
    detail: dict[str, Any]
    actor: str
    started_at: float
    finished_at: float
    number: int = field(default=0, compare=False)

    @property
    def seconds(self) -> float:
        """How long it took by the clock on the wall, which may have been set meanwhile."""
        return max(0.0, self.finished_at - self.started_at)


class Records:
    """The record file at `path`; made with its folder on first use.

    Raises ConfigError where the folder cannot be written (before anything was done), IntegrityError where the file was written
    by a newer version or a record is not what was written, Locked where another process holds the file for longer than PATIENCE.
    A file that is no longer a database is set aside as `*.corrupt-<time>` with all that belongs to it, never deleted.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._file = File(path, self._clock)
        self.mask: Callable[[str], str] = lambda text: text  # what a site's secrets do to each text before it is written

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def set_aside(self) -> Path | None:
        """Where a broken file was moved to by this process."""
        return self._file.set_aside

    def close(self) -> None:
        self._file.close()

    def intend(self, run: str, stage: str, key: str, parent: str, why: str) -> float:
        """Write down, on disk, that a side effect is about to be tried. Gives the time it started."""
        now = self._clock.now()
        self._append(Record(run, stage, key, parent, INTENT, None, {"why": self.mask(why)}, actor(), now, now))
        return now

    def outcome(
        self,
        run: str,
        stage: str,
        key: str,
        parent: str,
        state: str,
        artifact: Artifact | None,
        started_at: float,
        detail: dict[str, Any],
    ) -> Record:
        """Write down what became of it. Raises ResourceError where the disk is full: what was done is then found by the next look."""
        record = Record(run, stage, key, parent, state, artifact, every_text(detail, self.mask), actor(), started_at, self._clock.now())
        self._append(record)
        return record

    def artifact(self, key: str) -> Artifact | None:
        """The artifact that `key` last became, to ask the world about."""
        found = [
            record for state in (MADE, FOUND) for record in self._select("key = :key and state = :state", {"key": key, "state": state}, 1)
        ]
        return max(found, key=lambda record: record.number).artifact if found else None

    def last(self, stage: str, state: str = MADE) -> Record | None:
        """The newest record of a stage in that state."""
        return next(iter(self._select("stage = :stage and state = :state", {"stage": stage, "state": state}, 1)), None)

    def history(self, limit: int = 50) -> list[Record]:
        """The newest records first, intents left out."""
        return list(self._select("state != 'intent'", {}, limit))

    def interrupted(self, stage: str) -> bool:
        """Whether an intent of a stage has no outcome: somebody was killed, or is at work right now."""
        return any(self._open(stage, 1))

    def unfinished(self) -> list[Record]:
        """Intents that no outcome followed: a run that was killed; the world has to be asked what became of them.

        An outcome of the same run closes an intent, and so does any later run that made or found that stage's artifact: it asked
        the world, and knows.
        """
        found = [record for stage in self._stages() for record in self._open(stage, 50)]
        return sorted(found, key=lambda record: -record.number)[:50]

    def usual(self, stage: str) -> float | None:
        """The median of the last nine times this stage took to make, in seconds."""
        times = sorted(record.seconds for record in self._select("stage = :stage and state = 'made'", {"stage": stage}, 9))
        return times[len(times) // 2] if times else None

    def old(self, runs: int) -> tuple[int, float]:
        """Return how many records are older than the newest `runs` runs, and when the last of them ended. Unfinished runs do not count."""
        ((count, until),) = self._file.execute(f"select count(*), max(finished_at) from record where {OLD}", self._spared(runs))  # noqa: S608
        return int(count), float(until or 0.0)

    def forget(self, runs: int) -> None:
        """Delete what `old` counts."""
        self._file.execute(f"delete from record where {OLD}", self._spared(runs))  # noqa: S608

    def hint(self, name: str) -> str | None:
        """A remembered fact that saves a question; the world is asked all the same."""
        rows = self._file.execute("select value from hint where name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str) -> None:
        """Keep `value` under `name` for the next run."""
        if self.hint(name) != value:
            self._file.execute("insert or replace into hint values (?, ?)", (name, value))

    def _spared(self, runs: int) -> dict[str, Any]:
        return {"runs": runs, "spared": json.dumps(sorted({record.run for record in self.unfinished()}))}

    def _open(self, stage: str, limit: int) -> list[Record]:
        return list(self._select(OPEN, {"stage": stage}, limit))

    def _stages(self) -> Iterator[str]:
        """Every stage there are records of, by jumping from one to the next in the index."""
        stage = ""
        while rows := self._file.execute("select min(stage) from record where stage > ?", (stage,)):
            if rows[0][0] is None:
                return
            stage = str(rows[0][0])
            yield stage

    def _append(self, record: Record) -> None:
        artifact = "" if record.artifact is None else json.dumps(to_json(record.artifact), sort_keys=True)
        values: list[Any] = [
            record.run, record.stage, record.key, record.parent, record.state, artifact, json.dumps(record.detail),
            record.actor, float(record.started_at), float(record.finished_at),
        ]  # fmt: skip
        self._file.execute(f"insert into record ({COLUMNS}) values (?,?,?,?,?,?,?,?,?,?,?)", (*values, content_hash(values)))  # noqa: S608

    def _select(self, where: str, values: Mapping[str, Any], limit: int) -> Iterator[Record]:
        query = f"select {COLUMNS}, id from record where {where} order by id desc limit :limit"  # noqa: S608  # `where` is ours, values are bound
        for row in self._file.execute(query, {**values, "limit": limit}):
            yield self._record(row)

    def _record(self, row: Sequence[Any]) -> Record:
        *fields, checksum, number = row
        run, stage, key, parent, state, artifact, detail, who, started_at, finished_at = fields
        try:
            if content_hash(fields) != checksum:
                raise ValueError("the checksum is that of something else")
            made = from_json(json.loads(artifact)) if artifact else None
            return Record(run, stage, key, parent, state, made, json.loads(detail), who, started_at, finished_at, number)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise IntegrityError(
                f"record {number} in {self.path} is not what was written there",
                cause=f"{type(error).__name__}: {str(error)[:200]}",
                mend=f"move {self.path} away; the next run asks the world and starts a new one",
            ) from error


def actor() -> str:
    """Who this is, for the record: user@host."""
    return f"{environment.user()}@{socket.gethostname()}"
