"""What a person or a script is shown: the one way to stdout, clean and without secrets, and a stderr on which no secret stands."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pipeline.safe import clean, fold
from pipeline.secrets import Secrets

STDERR = 2  # the number of the last of the three streams that each process gets
_KNOWN: list[Secrets] = []  # of the sites that this process has opened


def remember(secrets: Secrets) -> None:
    """Mask what these secrets know in everything that is shown from now on, to the end of the process: a traceback comes last."""
    if secrets not in _KNOWN:
        _KNOWN.append(secrets)


def masked(text: str) -> str:
    """Return `text` without any secret that this process has read."""
    for secrets in _KNOWN:
        text = secrets.mask(text)
    return text


def say(*lines: str, colours: Mapping[str, str] | None = None) -> None:
    """Print these lines: none holds a secret, moves the cursor or passes for two. On a terminal long ones are folded to its width.

    `colours` gives words their SGR code: one that stands behind two spaces has its colour on a terminal, if NO_COLOR is not set.
    """
    shown = [clean(masked(line)) for line in lines]
    if width := _columns():
        shown = [part for line in shown for part in fold(line, width)]
        if colours and not os.environ.get("NO_COLOR"):
            shown = [_coloured(line, colours) for line in shown]
    print("\n".join(shown))


def say_block(text: str, colours: Mapping[str, str] | None = None) -> None:
    """Print a text of many lines, made by a function that has made each of them one."""
    say(*text.split("\n"), colours=colours)


def _columns() -> int:
    """How wide the terminal is, 0 if stdout is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    except (OSError, ValueError, AttributeError):
        return 0


def _coloured(line: str, colours: Mapping[str, str]) -> str:
    word = line[2:].partition(" ")[0] if line.startswith("  ") else ""
    return f"  \x1b[{colours[word]}m{word}\x1b[0m{line[2 + len(word) :]}" if word in colours else line


def say_json(value: dict[str, Any]) -> None:
    """Print a result as JSON, in ASCII: what is no letter of it is an escape of JSON's own."""
    print(masked(json.dumps({"schema_version": 1, **value}, indent=2, default=str)))


def ask(question: str) -> str:
    """Ask a person on stderr, and return the line that they typed, with its end: "" if there is nobody any more."""
    sys.stderr.write("\n".join(map(clean, question.split("\n"))))
    sys.stderr.flush()
    return sys.stdin.readline()


def hand_over(text: str) -> None:
    """Write a text as it is, in UTF-8 whatever the terminal's encoding is: a secret that was asked for by its name."""
    text = text.removesuffix("\n") + "\n"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    else:
        sys.stdout.write(text)


def open_streams() -> None:
    """Open what the caller has closed of stdin, stdout and stderr (`inv plan >&-`) on nowhere. The next file or pipe of this process would
    get its number else: what is printed would go into that, and a tool would wait for ever for one that it was given under this number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115  # for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115


def guard_streams() -> None:
    """Let no secret through to stderr, whoever writes it: a face, an error at the end, the traceback of a thread. A character that the
    encoding of stdout or stderr does not have (LC_ALL=C, PYTHONIOENCODING=ascii) is shown as "?"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not isinstance(sys.stderr, Masked):
        sys.stderr = Masked(sys.stderr)  # it is what it wraps, but for one method


class Masked:
    """`stream`, on which no secret is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
