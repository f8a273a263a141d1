"""The note of what was begun: whose lock it is, and who is at work."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import Locked
from pipeline.provision import begun
from pipeline.provision.begun import Begun
from pipeline.provision.process import marked
from pipeline.provision.root import MARK
from pipeline.tools.terraform_errors import Lock

AT = 1795264000.0  # 2026-11-21 12:26:40 UTC
NOTE = Begun("0123456789ab", "apply", AT, "anna@desk", "boot", (("a.b", "create"),))
LOCK = Lock("id", "anna@desk", "2026-11-21 12:26:41.5 +0000 UTC", "OperationTypeApply")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_t01_a_lock_is_ours_by_name_and_time(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert NOTE.holds(LOCK)
        assert NOTE.holds(dataclasses.replace(LOCK, created="2026-11-21T12:26:41Z".replace("T", " ")))
        for other in (
            {"who": "anna@other"},
            {"created": "2026-11-21 12:20:00 +0000 UTC"},
            {"created": "2026-11-21 12:40:00 +0000 UTC"},
            {"created": ""},
            {"operation": "OperationTypePlan"},
        ):
            assert not NOTE.holds(dataclasses.replace(LOCK, **other))
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def root(tmp_path: Path) -> Any:
    return SimpleNamespace(home=tmp_path)


def test_it_is_read_as_it_was_written(root: Any) -> None:
    assert begun.read(root, "apply") is None
    begun.begin(root, NOTE)
    assert begun.read(root, "apply") == NOTE
    assert begun.read(root, "plan") is None
    assert begun.file(root, "apply").stat().st_mode & 0o777 == 0o600
    begun.end(root, dataclasses.replace(NOTE, run="another"))
    assert begun.read(root, "apply") == NOTE
    begun.end(root, NOTE)
    assert begun.read(root, "apply") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run":1,"changes":[]}'])
def test_half_a_note_is_none(root: Any, text: str) -> None:
    begun.file(root, "apply").write_text(text)
    assert begun.read(root, "apply") is None


def alive(note: Begun) -> bool:
    return note.alive


def test_who_is_at_work_is_not_disturbed_and_the_dead_are_swept(root: Any) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    env = {**os.environ, MARK: NOTE.run}
    tool = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert tool.stdout is not None
        provider = int(tool.stdout.readline())
        while marked(NOTE.run) != [tool.pid, provider]:  # the environment of a process can be read a moment after it has begun
            time.sleep(0.01)
        begun.begin(root, NOTE)
        assert alive(NOTE)
        with pytest.raises(Locked, match="has been at work since") as caught:
            begun.begin(root, dataclasses.replace(NOTE, run="another"))
        assert str(tool.pid) in caught.value.cause
        tool.kill()
        tool.wait()
        assert not alive(NOTE)
        assert marked(NOTE.run) == [provider]
        NOTE.sweep()
        assert begun.begin(root, dataclasses.replace(NOTE, run="another")).run == "another"
    finally:
        tool.kill()
        tool.communicate()
