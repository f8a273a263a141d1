"""What is shown: nothing of others moves the cursor, nothing is a secret, on neither stream, however the process ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke import Context, Exit

from pipeline import say as shown
from pipeline.ending import cli
from pipeline.errors import AuthError, ConfigError
from pipeline.report.status import show
from pipeline.say import Masked, hand_over, remember, say, say_block, say_json
from pipeline.secrets import Secret, Secrets, sendable

CANARY = "canary-4711-token"
CLEAR = "\x1b[2J\x1b[H"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    monkeypatch.setattr(shown, "_KNOWN", [])
    secrets = Secrets({})
    secrets.guard(CANARY)
    remember(secrets)
    remember(secrets)
    assert len(shown._KNOWN) == 1
    return secrets


def test_g01_a_line_is_one_line_and_does_nothing(known: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"frozen   {CLEAR}no deploys\nlive     yes", CANARY)
    say_block("a\nb\x1b]0;title\x07")
    assert capsys.readouterr().out == "frozen   \\x1b[2J\\x1b[Hno deploys\\x0alive     yes\n[secret]\na\nb\\x1b]0;title\\x07\n"


def test_g01_json_stays_json(known: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"why": f"{CLEAR}\n{CANARY}", "n": 4711})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == {"schema_version": 1, "why": f"{CLEAR}\n[secret]", "n": 4711}


def test_what_was_asked_for_by_name_is_handed_over_as_it_is(known: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    hand_over(f"token: {CANARY}\n")
    assert capsys.readouterr().out == f"token: {CANARY}\n"


def test_g01_a_freeze_message_clears_no_screen() -> None:
    facts: dict[str, Any] = {
        "app": "a", "blueprint": "b", "environment": "e", "live": [], "unasked": None, "frozen": [f"{CLEAR}all is well\nlive     yes"],
        "current": True, "same": False, "source": {"label": "abc"}, "unfinished": [], "records": [],
    }  # fmt: skip
    text = show(facts)
    assert "\x1b" not in text
    assert "\nlive     yes" not in text


def test_g02_an_error_at_the_end_is_masked(known: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    @cli
    def body(_c: Context) -> None:
        raise AuthError(f"the API does not know {CANARY}")

    with pytest.raises(Exit) as caught:
        body(Context())
    print(caught.value.message, file=sys.stderr)  # as invoke does
    assert CANARY not in stream.getvalue()
    assert "[secret]" in stream.getvalue()
    assert isinstance(sys.stderr, Masked)
    assert sys.stderr.getvalue() == stream.getvalue()  # all else is the stream's own


ENDS = {
    "an exception": "raise ValueError(header)",
    "a chain": "try:\n    raise KeyError(header)\nexcept KeyError as error:\n    raise ValueError('x') from error",
    "a thread": "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()",
    "what nobody can raise": "class Late:\n    def __del__(self): fail()\nLate()",
    "a log": "logging.getLogger('paramiko').error('%s', header)",
    "a warning": "warnings.warn(header)",
}


@pytest.mark.parametrize("end", ENDS)
def test_g02_no_traceback_holds_a_secret(end: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import logging, os, threading, warnings
from pipeline.ending import cli
from pipeline.say import remember
from pipeline.secrets import Secrets

@cli
def body():
    secrets = Secrets()
    token = secrets.get("env:CANARY").reveal()
    remember(secrets)
    header = f"Invalid header value b'Bearer {{token}}\\\\n'"
    def fail():
        raise ValueError(header)
    {ENDS[end].replace(chr(10), chr(10) + "    ")}

body()
""")
    env = {"CANARY": CANARY, "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120, env=env)
    assert "[secret]" in done.stderr
    assert CANARY not in done.stderr + done.stdout


PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("how", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, PLAIN_C])
def test_a_terminal_that_has_not_every_character_shows_the_rest(how: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import sys
from pipeline.ending import cli
from pipeline.errors import ConfigError
from pipeline.say import hand_over, say

@cli
def body():
    say("✓ done, grüße …")
    sys.stderr.write("● builds\\n")
    hand_over("grüße")
    raise ConfigError("größer als …", mend="✓")

try:
    body()
except BaseException as error:
    sys.exit(error.code)
""")
    env = {**how, "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=False, timeout=120, env=env)
    shown, handed = done.stdout.splitlines()
    assert shown.startswith(b"? done, gr")
    assert handed == "grüße".encode(), "what was asked for by name is not altered"
    assert done.stderr.splitlines()[0] == b"? builds"
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2


def test_g02_a_secret_that_cannot_stand_in_a_header_names_its_source() -> None:
    assert Secret("ghp_abc.~+/=", "env:TOKEN").for_header() == "ghp_abc.~+/="
    with pytest.raises(ConfigError, match="secret env:TOKEN cannot stand in an HTTP header: it has a line break at its end") as caught:
        Secret(CANARY + "\n", "env:TOKEN").for_header()
    assert CANARY not in str(caught.value) + caught.value.mend
    with pytest.raises(ConfigError, match=r"it has a space$"):
        sendable("two words", "it")


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, act: Callable[[], None]) -> str:
    """What `act` prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with os.fdopen(theirs, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        act()
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as read, contextlib.suppress(OSError):  # EIO says that nobody writes any more
        while part := read.read(1 << 16):
            shown += part
    return shown.decode().replace("\r\n", "\n")


def test_long_lines_are_folded_on_a_terminal_and_left_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "here     a1b2c3d  is not what is live"
    assert on_terminal(monkeypatch, 30, lambda: say(line)) == "here     a1b2c3d  is not what\n         is live\n"
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_a_verdict_has_its_colour_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "node\n  fail    disk  fail\n          mend  warn"
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = on_terminal(monkeypatch, 80, lambda: say_block(text, {"fail": "1;31", "warn": "33"}))
    assert shown == "node\n  \x1b[1;31mfail\x1b[0m    disk  fail\n          mend  warn\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_terminal(monkeypatch, 80, lambda: say_block(text, {"fail": "1;31"})) == f"{text}\n"
    say_block(text, {"fail": "1;31"})
    assert capsys.readouterr().out == f"{text}\n"
