from __future__ import annotations

import contextlib
import errno
import hashlib
import threading
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, Locked, ResourceError
from pipeline.testing import FakeClock
from pipeline.tools import gitops_clone
from pipeline.tools.gitops import Message
from pipeline.tools.gitops_call import is_broken, machine_error
from pipeline.tools.gitops_clone import PATIENCE, Gate
from tests.tools.gitserver import Server, server

__all__ = ["server"]


def nobody(_holder: str) -> None:
    pytest.fail("nobody has to be waited for")


def test_the_same_thread_enters_again_and_another_one_after_it(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "x.git", FakeClock())
    seen: list[str] = []

    def other() -> None:
        with gate.held(nobody):
            seen.append("other")

    with gate.held(nobody), gate.held(nobody):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        seen.append("first")
    thread.join(5)
    assert seen == ["first", "other"]


def test_another_process_is_named_once_and_waited_for(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = Gate(tmp_path / "x.git", clock), Gate(tmp_path / "x.git", clock)
    told: list[str] = []
    hold = contextlib.ExitStack()
    hold.enter_context(first.held(nobody))
    clock.after(5, hold.close)
    with second.held(told.append):
        assert 5 <= clock.passed < 6
    assert len(told) == 1
    assert told[0].startswith("process ")


def test_a_process_that_does_not_let_go_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = Gate(tmp_path / "x.git", clock), Gate(tmp_path / "x.git", clock)
    with first.held(nobody), pytest.raises(Locked, match="another process is at work"), second.held(lambda _holder: None):
        pytest.fail("two at once")
    assert PATIENCE <= clock.passed < PATIENCE + 1


def test_a_clone_that_was_begun_and_not_finished_is_begun_again(server: Server) -> None:
    repository = server.repository()
    repository.folder.mkdir(parents=True)
    (repository.folder / "objects").mkdir()
    repository.folder.with_suffix(".new").mkdir()
    made = repository.publish(lambda _head: {"x": b"x"}, Message("first"), first=True)
    assert server.head == made.commit
    assert not repository.folder.with_suffix(".new").exists()


def test_what_the_disk_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_words: object, **_more: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.open", full)
    with pytest.raises(ResourceError, match="no space left"), Gate(tmp_path / "x.git", FakeClock()).held(nobody):
        pytest.fail("it cannot be held")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("error: insufficient permission for adding an object to repository database objects", ConfigError),
        ("error: cannot lock ref 'refs/heads/main': Unable to create 'main.lock': Permission denied", ConfigError),
        ("error: unable to unpack: No space left on device", ResourceError),
        ("fatal: detected dubious ownership in repository at '/x'", ConfigError),
    ],
)
def test_this_machines_faults_are_not_the_clones(text: str, kind: type[Exception]) -> None:
    assert not is_broken(text)
    assert isinstance(machine_error(text, Path("/x")), kind)
    assert machine_error(f"remote: {text}", Path("/x")) is None
    assert machine_error("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", Path("/x")) is None


def test_many_releases_are_packed_and_none_is_lost(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops_clone, "LOOSE", 1)
    repository = server.repository()
    # git guesses how many there are from those whose name begins with 17
    blobs = (b"%d" % number for number in range(4000))
    chosen = [blob for blob in blobs if hashlib.sha1(b"blob %d\0%s" % (len(blob), blob), usedforsecurity=False).hexdigest()[:2] == "17"][:3]
    for number, blob in enumerate(chosen):
        repository.publish(lambda _head, blob=blob: {"x": blob}, Message(f"n{number}"), first=True)  # type: ignore[misc]
    assert list((repository.folder / "objects" / "pack").glob("*.pack")) != []
    assert [entry.subject for entry in repository.history("")] == ["n2", "n1", "n0"]
