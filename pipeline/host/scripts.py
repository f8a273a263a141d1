"""The constant shell scripts beside these modules, and the one place where argv becomes a line for a remote shell."""

from __future__ import annotations

import functools
import re
import shlex

from pipeline.errors import ConfigError
from pipeline.host import Cmd

LONGEST = 120_000  # bytes; Linux takes no single argument of 128 KiB or more, and a login shell gets the line as one
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@functools.cache
def script(name: str) -> str:
    """The script `<name>.sh` of this package, without its comment lines: it travels with every call."""
    from importlib import resources

    text = resources.files("pipeline.host").joinpath(f"{name}.sh").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def words(cmd: Cmd) -> tuple[str, ...]:
    """The argv that runs `cmd` with its environment. Raises ConfigError for what no program can be called with.

    The values of `cmd.env` show in the host's process list: a secret goes by stdin.
    """
    if not cmd.argv or not cmd.argv[0] or cmd.argv[0].startswith("-"):
        raise ConfigError(f"{cmd.argv[0] if cmd.argv else ''!r} is not a command", mend="name a program first")
    for name in cmd.env:
        if not VARIABLE.match(name):
            raise ConfigError(f"{name!r} is not the name of an environment variable")
    line = cmd.argv
    if cmd.env:
        if "=" in cmd.argv[0]:
            raise ConfigError(f"{cmd.argv[0]!r} cannot be run with an environment: its name looks like a variable")
        line = ("env", *(f"{name}={value}" for name, value in cmd.env.items()), *cmd.argv)
    if any("\0" in word for word in (*line, cmd.cwd or "")):
        raise ConfigError(f"an argument of {cmd.argv[0]} contains a NUL byte, which no argument can")
    return line


def one_value(text: str) -> str:
    """Return `text` as one value of an option that takes several with commas between them, which Go's programs read as CSV."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\n]', text) else text


def login_line(argv: tuple[str, ...]) -> bytes:
    """`argv` as one line for a login shell of whatever kind: sh, bash, zsh, fish, csh and tcsh read it alike.

    They agree on words in single quotes that hold neither quotes nor backslashes before those, no line breaks and no `!`. So all such
    bytes are written as octal numbers, which the sh that is called makes bytes of again. What would be too long goes as it is.
    """
    plain = command_line(argv)
    packed = re.sub(rb"[^ -~]|['!\\\\]", lambda found: b"\\0%03o" % found[0][0], b"exec " + plain)
    line = b'sh -c \'eval "$(printf %b "$0")"\' \'' + packed + b"'"
    return line if len(line) <= LONGEST else plain


def command_line(argv: tuple[str, ...]) -> bytes:
    """`argv` as one line for a POSIX shell, each word a single token whatever is in it."""
    line = shlex.join(argv).encode(errors="surrogateescape")
    if len(line) > LONGEST:
        raise ConfigError(f"the command is {len(line)} bytes long, {LONGEST} is the most", mend="give long input by stdin")
    return line
