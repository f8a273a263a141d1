"""What was done, append-only: an intent before each side effect, the outcome after it, in one SQLite file of the working copy.

Records are evidence, not truth: a stage is skipped because the world was asked, never because a record says so. What they are good for:
knowing what to ask the world for, how long things usually take, and what happened when nobody was looking.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, content_hash, from_json, to_json
from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError, IntegrityError, PipelineError, ResourceError

SCHEMA_VERSION = 1
SCHEMA = """
create table record (
  id integer primary key,
  run text not null,
  stage text not null,
  key text not null,
  parent text not null,
  state text not null,
  artifact text not null,
  detail text not null,
  actor text not null,
  started_at real not null,
  finished_at real not null,
  checksum text not null
);
create index record_by_key on record (key, state, id);
create index record_by_stage on record (stage, state, id);
create table hint (name text primary key, value text not null);
"""
INTENT, MADE, FOUND, FAILED = "intent", "made", "found", "failed"


@dataclass(frozen=True)
class Record:
    """One row: `state` is intent, made, found or failed; `detail` says why, the attempts and, where it failed, the error.

    `key` names the outcome before it exists, `parent` is the key of the stage before. Times are wall seconds since 1970.
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

    @property
    def seconds(self) -> float:
        return self.finished_at - self.started_at


class Records:
    """The record file at `path`; made with its folder on first use.

    Raises ConfigError where the folder cannot be written (before anything was done), IntegrityError where the file was written
    by a newer version. A file that is no longer a database is set aside as `*.corrupt-<time>`, never deleted.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def intend(self, run: str, stage: str, key: str, parent: str, why: str) -> float:
        """Write down, on disk, that a side effect is about to be tried. Gives the time it started."""
        now = self._clock.now()
        self._append(Record(run, stage, key, parent, INTENT, None, {"why": why}, actor(), now, now))
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
        record = Record(run, stage, key, parent, state, artifact, detail, actor(), started_at, self._clock.now())
        self._append(record)
        return record

    def artifact(self, key: str) -> Artifact | None:
        """The artifact that `key` last became, to ask the world about."""
        for record in self._select("key = ? and state in ('made', 'found')", (key,), 1):
            return record.artifact
        return None

    def last(self, stage: str, state: str = MADE) -> Record | None:
        """The newest record of a stage in that state."""
        return next(iter(self._select("stage = ? and state = ?", (stage, state), 1)), None)

    def history(self, limit: int = 50) -> list[Record]:
        """The newest records first, intents left out."""
        return list(self._select("state != 'intent'", (), limit))

    def unfinished(self) -> list[Record]:
        """Intents that no outcome followed: a run that was killed; the world has to be asked what became of them."""
        return list(
            self._select("state = 'intent' and not exists (select 1 from record o where o.run = record.run and o.key = record.key"
                         " and o.id > record.id and o.state != 'intent')", (), 50)
        )  # fmt: skip

    def usual(self, stage: str) -> float | None:
        """The median of the last nine times this stage took to make, in seconds."""
        times = sorted(record.seconds for record in self._select("stage = ? and state = 'made'", (stage,), 9))
        return times[len(times) // 2] if times else None

    def hint(self, name: str) -> str | None:
        """A remembered fact that saves a question; the world is asked all the same."""
        with self._database() as database:
            row = database.execute("select value from hint where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        """Keep `value` under `name` for the next run."""
        if self.hint(name) != value:
            with self._database() as database:
                database.execute("insert or replace into hint values (?, ?)", (name, value))

    def _append(self, record: Record) -> None:
        artifact = "" if record.artifact is None else json.dumps(to_json(record.artifact), sort_keys=True)
        values: list[Any] = [
            record.run, record.stage, record.key, record.parent, record.state, artifact, json.dumps(record.detail),
            record.actor, record.started_at, record.finished_at,
        ]  # fmt: skip
        columns = "run, stage, key, parent, state, artifact, detail, actor, started_at, finished_at, checksum"
        with self._database() as database:
            database.execute(f"insert into record ({columns}) values (?,?,?,?,?,?,?,?,?,?,?)", (*values, content_hash(values)))  # noqa: S608

    def _select(self, where: str, values: Sequence[Any], limit: int) -> Iterator[Record]:
        columns = "run, stage, key, parent, state, artifact, detail, actor, started_at, finished_at, checksum"
        query = f"select {columns} from record where {where} order by id desc limit ?"  # noqa: S608  # `where` is ours, values are bound
        with self._database() as database:
            rows = database.execute(query, (*values, limit)).fetchall()
        for row in rows:
            if content_hash(list(row[:-1])) != row[-1]:
                raise IntegrityError(
                    f"a record of run {row[0]} in {self.path} was changed after it was written",
                    mend=f"move {self.path} away; the next run asks the world and starts a new one",
                )
            run, stage, key, parent, state, artifact, detail, who, started_at, finished_at, _ = row
            made = from_json(json.loads(artifact)) if artifact else None
            yield Record(run, stage, key, parent, state, made, json.loads(detail), who, started_at, finished_at)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(self.path):
            if self._open is None:
                self._open = self._connect()
            with self._open:
                yield self._open

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return _ready(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self.path.with_name(f"{self.path.name}.corrupt-{int(self._clock.now())}")
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            return _ready(self.path)


def _ready(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        version = database.execute("pragma user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise IntegrityError(
                f"{path} was written by a newer version of this pipeline (schema {version}, this one reads {SCHEMA_VERSION})",
                mend="upgrade this pipeline, or run from another working copy",
            )
        if version == 0:
            # WAL lets others read while one writes; the full sync is what makes an intent an intent
            database.execute("pragma journal_mode = wal")
            database.executescript(f"begin immediate; {SCHEMA} pragma user_version = {SCHEMA_VERSION}; commit;")
        database.execute("pragma synchronous = full")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """sqlite's and the file system's errors in this project's words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text:
            raise _full(path, text) from error
        if "readonly" in text or "unable to open" in text:
            raise _unwritable(path, text) from error
        raise PipelineError(f"the records in {path} cannot be used", cause=text, mend="is another run stuck?") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(path, str(error)) from error
        raise _unwritable(path, str(error)) from error


def _full(path: Path, text: str) -> ResourceError:
    return ResourceError(
        f"no space left to write the record in {path.parent}",
        cause=text,
        mend="free some space and run again: what was done already is found, not done twice",
    )


def _unwritable(path: Path, text: str) -> ConfigError:
    return ConfigError(
        f"{path.parent} cannot be written, and nothing is done without a record",
        cause=text,
        mend=f"run from a working copy that you can write, or fix it: chown -R {os.geteuid()} {path.parent}",
    )


def actor() -> str:
    """Who this is, for the record: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in the container: Python 3.13 raises OSError, earlier ones KeyError
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
