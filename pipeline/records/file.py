"""One SQLite file, durable, shared between processes, set aside when it breaks, its errors in this project's words."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.errors import ConfigError, IntegrityError, Locked, ResourceError

SCHEMA_VERSION = 1
SCHEMA = """
create table if not exists record (
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
create index if not exists record_by_key on record (key, state, id);
create index if not exists record_by_stage on record (stage, state, id);
create table if not exists hint (name text primary key, value text not null);
"""
PATIENCE = 10.0  # seconds to wait for another process that is writing
PAUSE = 0.01  # seconds between two tries where sqlite itself does not wait
NEEDED = 1 << 18  # bytes of free space without which an input/output error is one of space: the log and its index grow by pieces


class File:
    """The database at `path`, made with its folder on first use. `set_aside` is where a broken one was moved to by this process.

    Raises ConfigError where it cannot be written, ResourceError where there is no space, Locked where another process holds it for
    longer than PATIENCE, IntegrityError where a newer version wrote it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self._clock = clock
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Run one statement to its end. A file found to be broken is set aside, and the statement run on a new one."""
        with self._lock, _told(self.path):
            try:
                return self._in_turn(statement, values)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                self._put_aside()
                return self._once(statement, values)

    def _in_turn(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        """Run it when no other process is in the way. sqlite waits for that by itself, but not where two at once make a file a WAL one."""
        end = self._clock.monotonic() + PATIENCE
        while True:
            try:
                return self._once(statement, values)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or self._clock.monotonic() >= end:
                    raise
            self._clock.sleep(PAUSE)

    def _once(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        if self._open is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open = _ready(self.path)
        with self._open:
            return self._open.execute(statement, values).fetchall()

    def _put_aside(self) -> None:
        names = (f"{self.path.name}.corrupt-{int(self._clock.now()) + number}" for number in itertools.count())
        self.set_aside = next(path for path in map(self.path.with_name, names) if not path.exists())
        log = self.path.with_name(self.path.name + "-wal")
        if log.exists():  # it may hold what the file has lost, and closing takes it away
            shutil.copyfile(log, self.set_aside.with_name(self.set_aside.name + "-wal"))
        self.close()
        self.path.rename(self.set_aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _ready(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
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
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended code says more in the upper bytes
        text = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _space(path) < NEEDED):
            raise _full(path, text) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _unwritable(path, text) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Locked(
                f"another process has been writing to {path} for {PATIENCE:.0f} s",
                cause=text,
                mend=f"see what holds it: fuser {path}; then run again",
            ) from error
        if code == sqlite3.SQLITE_IOERR:
            raise ResourceError(f"the disk of {path} fails", cause=text, mend="see what the system's log says of that disk") from error
        raise IntegrityError(f"{path} cannot be used", cause=text, mend=f"move {path} away; the next run asks the world") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(path, str(error)) from error
        raise _unwritable(path, str(error)) from error


def _space(path: Path) -> int:
    """Free bytes where `path` is."""
    with contextlib.suppress(OSError):
        state = os.statvfs(path.parent)
        return state.f_bavail * state.f_frsize
    return 0


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
        mend=f"run from a working copy that you can write, or {writing(path.parent)}",
    )


def writing(folder: Path) -> str:
    """Return what lets this user write in a folder in which nothing can be written now."""
    if folder.exists() and not folder.is_dir():
        return f"move away what is there: {folder} is no folder"
    with contextlib.suppress(OSError):
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return f"mount the file system of {folder} for writing"
    return f"chown -R {os.geteuid()} {folder}" if os.geteuid() else f"see what keeps root from it: lsattr -d {folder}"
