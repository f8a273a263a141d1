"""Records: on disk before and after, never lost, never believed when they are not what was written."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import Image, Images, Source, content_hash, to_json
from pipeline.errors import ConfigError, IntegrityError, Locked, PipelineError, ResourceError
from pipeline.records import COLUMNS, FAILED, FOUND, MADE, OPEN, Records, actor
from pipeline.records import file as record_file
from pipeline.records.file import writing
from pipeline.testing import FakeClock

ROOT = Path(__file__).parents[1]
AT = Source("7" * 40, "c" * 40, False, "/copy")
IMAGES = Images(AT, (Image("registry/app", "sha256:" + "d" * 64, "c0ffee1"),))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def records(tmp_path: Path, clock: FakeClock) -> Iterator[Records]:
    found = Records(tmp_path / ".pipeline" / "app.db", clock)
    yield found
    found.close()


def write(records: Records, stage: str = "push", key: str = "k", run: str = "r1", state: str = MADE, seconds: float = 0.0) -> Any:
    started = records.intend(run, stage, key, "p", "because")
    if seconds:
        clock = records._clock
        assert isinstance(clock, FakeClock)
        clock.advance(seconds)
    return records.outcome(run, stage, key, "p", state, IMAGES if state != FAILED else None, started, {"why": "because"})


@contextlib.contextmanager
def behind(records: Records) -> Iterator[sqlite3.Connection]:
    """The file by another connection, as an editor or an attacker has it."""
    with contextlib.closing(sqlite3.connect(records.path)) as database, database:
        yield database


def plan_of(records: Records, query: str, *values: object) -> list[str]:
    with behind(records) as database:
        return [str(row[3]) for row in database.execute(f"explain query plan {query}", values)]


# what is written and read


def test_intent_then_outcome(records: Records, clock: FakeClock) -> None:
    started = records.intend("r1", "push", "key", "parent", "not there")
    assert started == clock.now()
    assert [(record.stage, record.state, record.artifact) for record in records.unfinished()] == [("push", "intent", None)]
    clock.advance(2.5)
    written = records.outcome("r1", "push", "key", "parent", MADE, IMAGES, started, {"why": "not there", "attempts": []})
    assert records.unfinished() == []
    read = records.last("push")
    assert read == written
    assert read is not None
    assert (read.seconds, read.artifact, read.parent, read.actor) == (2.5, IMAGES, "parent", actor())
    assert read.detail == {"why": "not there", "attempts": []}


def test_nothing_is_known_of_what_was_never_written(records: Records) -> None:
    assert records.artifact("k") is None
    assert records.last("push") is None
    assert records.usual("push") is None
    assert records.hint("realm") is None
    assert records.history() == []
    assert records.unfinished() == []
    assert not records.interrupted("push")


def test_the_newest_made_or_found_counts(records: Records) -> None:
    write(records, key="k")
    other = Images(AT, ())
    records.outcome("r2", "push", "k", "p", FOUND, other, 0.0, {})
    assert records.artifact("k") == other
    write(records, key="k")
    assert records.artifact("k") == IMAGES
    write(records, key="k", state=FAILED)
    assert records.artifact("k") == IMAGES, "a failure takes nothing away"


def test_history_is_newest_first_without_intents(records: Records) -> None:
    for number in range(5):
        write(records, run=f"r{number}", state=FAILED if number == 2 else MADE)
    assert [(record.run, record.state) for record in records.history(4)] == [
        ("r4", MADE), ("r3", MADE), ("r2", FAILED), ("r1", MADE),
    ]  # fmt: skip


def test_usual_is_the_median_of_the_last_nine(records: Records) -> None:
    for seconds in (900, 900, 900, 10, 20, 30, 40, 50, 60, 70, 80, 90):
        write(records, seconds=seconds)
    write(records, seconds=5000, state=FAILED)
    assert records.usual("push") == 50


def test_hints_are_kept_and_replaced(records: Records, tmp_path: Path) -> None:
    records.remember("realm", "own")
    records.remember("realm", "https://x")
    records.remember("realm", "https://x")
    records.close()
    again = Records(records.path)
    assert again.hint("realm") == "https://x"
    again.close()


def test_nothing_is_ever_changed_and_nothing_but_forget_takes_away(records: Records) -> None:
    """What the module sends to the database has no way to change a record, and one to delete those that are old."""
    source = Path(record_file.__file__).with_name("__init__.py").read_text()
    assert "insert into record" in source
    assert not [words for words in ("update record", "insert or replace into record", "drop table") if words in source.lower()]
    assert [line.strip() for line in source.lower().splitlines() if "delete from" in line] == [
        'self._file.execute(f"delete from record where {old}", self._spared(runs))  # noqa: s608'
    ]


# open intents


def test_an_outcome_of_the_same_run_closes_an_intent(records: Records) -> None:
    for state in (MADE, FOUND, FAILED):
        write(records, key=state, state=state)
    assert records.unfinished() == []


def test_a_failure_of_another_run_does_not_close_it(records: Records) -> None:
    records.intend("killed", "push", "k", "p", "x")
    write(records, run="r2", state=FAILED)
    assert [record.run for record in records.unfinished()] == ["killed"]
    assert records.interrupted("push")
    assert not records.interrupted("deploy")


@pytest.mark.parametrize("state", [MADE, FOUND])
def test_a_later_success_of_the_stage_closes_it(records: Records, state: str) -> None:
    records.intend("killed", "push", "k", "p", "x")
    records.intend("killed too", "push", "another source", "p", "x")
    records.intend("killed three", "deploy", "k", "p", "x")
    write(records, run="r2", key="a third source", state=state)
    assert [record.run for record in records.unfinished()] == ["killed three"]
    records.intend("killed four", "push", "k", "p", "x")
    assert [record.run for record in records.unfinished()] == ["killed four", "killed three"]


# what is not right with the file


def test_r03_a_file_that_is_no_database_is_set_aside(records: Records, clock: FakeClock) -> None:
    records.path.parent.mkdir()
    garbage = b"this was a database once" * 100
    records.path.write_bytes(garbage)
    assert records.history() == []
    aside = records.path.with_name(f"app.db.corrupt-{int(clock.now())}")
    assert records.set_aside == aside
    assert aside.read_bytes() == garbage
    write(records)
    assert len(records.history()) == 1


def test_r03_a_second_broken_file_does_not_replace_the_first(records: Records) -> None:
    records.path.parent.mkdir()
    for number in range(3):
        records.close()
        records.path.write_bytes(b"broken %d" % number * 200)
        assert records.history() == []
    asides = sorted(path.read_bytes()[:8] for path in records.path.parent.glob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm")))
    assert asides == [b"broken 0", b"broken 1", b"broken 2"]


KILLED = """
import os, sys
from pathlib import Path
from pipeline.records import Records
Records(Path(sys.argv[1])).intend("r", "push", "k", "p", "canary-in-the-log")
os._exit(0)
"""


def test_r03_the_log_is_set_aside_with_the_file(records: Records) -> None:
    """The write-ahead log may hold the only good copy of the last records."""
    for number in range(100):
        write(records, key=f"k{number}")
    records.close()
    subprocess.run([sys.executable, "-c", KILLED, str(records.path)], env={"PYTHONPATH": str(ROOT)}, check=True)
    assert b"canary-in-the-log" in records.path.with_name("app.db-wal").read_bytes()
    damage(records.path)
    assert records.artifact("k7") is None
    assert records.set_aside is not None
    assert b"canary-in-the-log" in records.set_aside.with_name(records.set_aside.name + "-wal").read_bytes()


def damage(path: Path) -> None:
    """The header stays good, the pages do not."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def test_r03_a_file_that_breaks_while_it_is_open_is_set_aside(records: Records) -> None:
    for number in range(200):
        write(records, key=f"k{number}")
    records.close()
    size = records.path.stat().st_size
    damage(records.path)
    assert records.artifact("k7") is None
    assert records.set_aside is not None
    assert records.set_aside.stat().st_size == size
    write(records)
    assert records.artifact("k") == IMAGES


def test_r03_a_newer_version_is_refused_and_left_alone(records: Records) -> None:
    write(records)
    records.close()
    with behind(records) as database:
        database.execute("pragma user_version = 99")
    before = records.path.read_bytes()
    with pytest.raises(IntegrityError, match="newer version") as caught:
        records.history()
    assert "upgrade" in caught.value.mend
    assert records.path.read_bytes() == before
    assert list(records.path.parent.glob("*.corrupt-*")) == []


@pytest.mark.parametrize("column", [name.strip() for name in COLUMNS.split(",")])
def test_r03_a_changed_row_is_detected(records: Records, column: str) -> None:
    write(records)
    with behind(records) as database:
        new = 1.5 if column.endswith("_at") else '{"kind": "source"}'
        database.execute(f"update record set {column} = ? where state = 'made'", (new,))  # noqa: S608
    with pytest.raises(IntegrityError, match="not what was written there") as caught:
        _ = records.history(), records.artifact("k"), records.unfinished()
    assert str(records.path) in caught.value.mend


HOSTILE = [
    "[" * 100_000,
    '{"a":' * 100_000,
    "1" * 10_000,
    "NaN",
    "not json",
    '{"kind": "images", "kind": "source"}',
    '{"kind": "images", "source": "\\ud800", "images": []}',
    '{"kind": "images", "images": [null]}',
    '{"kind": {}}',
    "[]",
    '"\\u0000"',
    "null",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_y03_hostile_json_with_a_good_checksum_is_still_refused(records: Records, text: str) -> None:
    write(records)
    with behind(records) as database:
        columns = COLUMNS.removesuffix(", checksum")
        row = list(database.execute(f"select {columns} from record where state = 'made'").fetchone())  # noqa: S608
        row[5] = text
        database.execute("update record set artifact = ?, checksum = ? where state = 'made'", (text, content_hash(row)))
    with pytest.raises(IntegrityError):
        records.history()


def test_a_value_json_cannot_hold_is_refused_before_it_is_written(records: Records) -> None:
    with pytest.raises(TypeError):
        records.outcome("r", "push", "k", "p", MADE, IMAGES, 0.0, {"why": object()})
    assert records.history() == []


@settings(max_examples=50)
@given(st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), max_size=4))
def test_whatever_text_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, why: str, detail: dict[str, Any]) -> None:
    records = Records(tmp_path_factory.mktemp("text") / "app.db")
    try:
        written = records.outcome("r", "push", "k", "p", FAILED, None, 1, {**detail, "why": why})
        assert records.last("push", FAILED) == written
    finally:
        records.close()


# where there is no place for it


def test_r10_a_place_that_cannot_be_made_ends_it_before_anything(tmp_path: Path) -> None:
    (tmp_path / ".pipeline").write_text("in the way")
    with pytest.raises(ConfigError, match="nothing is done without a record") as caught:
        Records(tmp_path / ".pipeline" / "app.db").intend("r", "push", "k", "p", "x")
    assert f"move away what is there: {tmp_path / '.pipeline'} is no folder" in caught.value.mend


def test_r10_how_a_place_can_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to give a folder to the user that it belongs to already."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert writing(tmp_path) == f"chown -R 1000 {tmp_path}"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert writing(tmp_path) == f"see what keeps root from it: lsattr -d {tmp_path}"
    monkeypatch.setattr(os, "statvfs", lambda _folder: types.SimpleNamespace(f_flag=os.ST_RDONLY))
    assert writing(tmp_path) == f"mount the file system of {tmp_path} for writing"


def test_r10_a_read_only_place_ends_it_before_anything(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        records = Records(disk / "app.db")
        write(records)
        records.close()
        _mount("-o", "remount,ro", str(disk))
        with pytest.raises(ConfigError, match="cannot be written"):
            records.intend("r", "push", "k", "p", "x")
        records.close()
        with pytest.raises(ConfigError):
            Records(disk / "new" / "app.db").usual("push")


def test_r02_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    """Real ENOSPC, at whichever page it happens; once there is space again, it goes on."""
    with mounted(tmp_path / "disk", "size=1m") as disk:
        records = Records(disk / "app.db")
        write(records, key="first")
        kept = 1

        def fill() -> None:
            nonlocal kept
            for number in range(2000):
                records.outcome("r", "push", f"k{number}", "p", MADE, IMAGES, 0.0, {"why": "x" * 2000})
                kept += 1

        with pytest.raises(ResourceError) as caught:
            fill()
        assert caught.value.exit_code == 19
        assert str(disk) in caught.value.what
        assert "found, not done twice" in caught.value.mend
        assert kept > 10
        with pytest.raises(ResourceError):
            records.intend("r2", "push", "k", "p", "x" * 100_000)
        assert records.artifact("first") == IMAGES
        assert len(records.history(5000)) == kept
        records.close()
        _mount("-o", "remount,size=4m", str(disk))
        again = Records(disk / "app.db")
        assert len(again.history(5000)) == kept
        write(again, key="last")
        assert again.artifact("last") == IMAGES
        assert again.set_aside is None
        again.close()


def test_r02_no_space_for_a_new_file_is_said(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        (disk / "fill").write_bytes(b"x" * (1 << 15))
        with contextlib.suppress(OSError), (disk / "fill").open("ab") as file:
            for _ in range(64):
                file.write(b"x" * 1024)
                file.flush()
        records = Records(disk / "app.db")
        with pytest.raises(ResourceError):
            records.intend("r", "push", "k", "p", "x")
        records.close()


# more than one at a time


WRITER = """
import sys
from pathlib import Path
from pipeline.records import Records
records = Records(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(12):
    started = records.intend(sys.argv[2], "push", f"{sys.argv[2]}-{number}", "p", "x")
    records.outcome(sys.argv[2], "push", f"{sys.argv[2]}-{number}", "p", "failed", None, started, {})
records.close()
"""


def test_r05_processes_that_start_and_write_at_once_lose_nothing(records: Records) -> None:
    """The file does not exist yet: they race to make it, too."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(records.path), f"w{number}"],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    history = records.history(1000)
    assert sorted(record.key for record in history) == sorted(f"w{writer}-{number}" for writer in range(4) for number in range(12))
    assert records.unfinished() == []


RACER = """
import sys
from pathlib import Path
from pipeline.records import Records
sys.stdin.readline()
for number in range(20):
    records = Records(Path(sys.argv[1]) / f"{number}.db")
    print(number, flush=True)
    sys.stdin.readline()
    records.intend(sys.argv[2], "push", sys.argv[2], "p", "x")
    records.close()
"""


def test_r05_whoever_makes_the_file_at_the_same_moment_waits_for_the_other(tmp_path: Path) -> None:
    """sqlite says "locked" at once, whatever its time-out, where two processes make one file a WAL one."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), f"w{number}"],
            env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]  # fmt: skip

    def all_go() -> None:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(b"go\n")
            racer.stdin.flush()

    all_go()
    for number in range(20):
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"%d\n" % number
        all_go()
    errors = [racer.communicate(timeout=60)[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, errors


def test_r05_threads_share_one_connection(records: Records) -> None:
    threads = [threading.Thread(target=write, args=(records, "push", f"k{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.history()) == 8


def test_read_while_another_writes(records: Records) -> None:
    write(records)
    with behind(records) as writer:
        writer.execute("begin immediate")
        writer.execute("insert into hint values ('half', 'done')")
        assert len(records.history()) == 1
        assert records.hint("half") is None
        writer.rollback()


def test_another_writer_that_does_not_end_is_named(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    write(records)
    records.close()
    monkeypatch.setattr(record_file, "PATIENCE", 0.05)
    with behind(records) as writer:
        writer.execute("begin immediate")
        with pytest.raises(Locked) as caught:
            records.intend("r", "push", "k", "p", "x")
        writer.rollback()
    assert caught.value.exit_code == 13
    assert str(records.path) in caught.value.what
    write(records)


# many


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    """A hundred thousand records."""
    records = Records(tmp_path_factory.mktemp("many") / "app.db", FakeClock())
    write(records)
    artifact = json.dumps(to_json(IMAGES), sort_keys=True)
    rows = []
    for number in range(50_000):
        base = [f"r{number}", ("sync", "build", "push", "deploy", "verify")[number % 5], f"k{number % 5000}", "p"]
        rest = ["{}", "a@b", float(number), float(number + 1)]
        pair = ([*base, "intent", "", *rest], [*base, "made", artifact, *rest])
        rows += [(*values, content_hash(values) if number > 49_900 else "") for values in pair]
    with behind(records) as database:
        database.executemany(f"insert into record ({COLUMNS}) values (?,?,?,?,?,?,?,?,?,?,?)", rows)  # noqa: S608
    yield records
    records.close()


@pytest.mark.parametrize(
    "query",
    [
        "select * from record where key = 'k' and state = 'made' order by id desc limit 1",
        "select * from record where stage = 'push' and state = 'made' order by id desc limit 9",
        f"select * from record where {OPEN} order by id desc limit 50".replace(":stage", "'push'"),  # noqa: S608
        "select min(stage) from record where stage > 'build'",
    ],
)
def test_r04_every_question_goes_by_an_index(many: Records, query: str) -> None:
    steps = plan_of(many, query)
    assert steps
    assert [step for step in steps if step.startswith("SCAN")] == []
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    assert all("USING INDEX" in step or "USING COVERING INDEX" in step for step in steps if step.startswith("SEARCH"))


def test_r04_the_newest_records_are_read_from_the_end(many: Records) -> None:
    assert plan_of(many, "select * from record where state != 'intent' order by id desc limit 50") == ["SCAN record"], (
        "by number, ends at 50"
    )
    assert [record.run for record in many.history(3)] == ["r49999", "r49998", "r49997"]
    assert many.usual("push") == 1.0
    assert many.unfinished() == []


def test_r04_reading_a_few_of_many_touches_few(many: Records) -> None:
    """Counted in sqlite's own steps, not in seconds: a thousand steps for a page of history, not a hundred thousand rows."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    many.history(1)
    connection = many._file._open
    assert connection is not None
    connection.set_progress_handler(count, 100)
    many.history(50)
    many.usual("push")
    many.artifact("k4999")
    many.last("deploy")
    many.unfinished()
    connection.set_progress_handler(None, 100)
    assert steps < 100


@contextlib.contextmanager
def mounted(at: Path, options: str) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    at.mkdir()
    _mount("-t", "tmpfs", "-o", options, "none", str(at))
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def test_every_error_of_the_file_is_one_of_ours(records: Records) -> None:
    write(records)
    with behind(records) as database:
        database.execute("drop table record")
    with pytest.raises(PipelineError) as caught:
        records.history()
    assert caught.value.mend


def test_a_clock_that_was_set_back_makes_no_negative_time(records: Records, clock: FakeClock) -> None:
    records.outcome("r1", "push", "key", "parent", MADE, IMAGES, clock.now() + 3600, {})
    assert records.usual("push") == 0.0


def test_old_records_are_counted_and_forgotten_but_not_those_of_a_run_that_did_not_end(records: Records, clock: FakeClock) -> None:
    records.intend("killed", "deploy", "k0", "p", "because")
    for number in range(5):
        write(records, "push", f"k{number}", f"r{number}", seconds=1.0)
        clock.advance(100)
    third = records.last("push")
    assert third
    count, until = records.old(2)
    assert (count, until) == (6, third.finished_at - 202.0), "an intent and an outcome of each of the three oldest runs that ended"
    assert records.old(5) == (0, 0.0)
    records.forget(2)
    assert [record.run for record in records.history()] == ["r4", "r3"]
    assert [record.run for record in records.unfinished()] == ["killed"]
    assert records.artifact("k0") is None
    assert records.artifact("k4") == IMAGES
    records.forget(2)
    assert len(records.history()) == 2


def test_what_closes_an_intent_that_stays_stays_too(records: Records) -> None:
    """A long run began before a short one, was killed after it, and the short one has made what it was about."""
    records.intend("long", "push", "k", "p", "because")
    write(records, "push", "k", "short")
    records.outcome("long", "verify", "v", "p", FAILED, None, 0.0, {})
    assert records.unfinished() == []
    records.forget(1)
    assert records.unfinished() == []
    assert [record.run for record in records.history()] == ["long", "short"]
