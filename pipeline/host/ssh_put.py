"""Copies a file to a machine: from where a former try stopped, and in place only when its sha256 is right."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.host import Cmd, Output
from pipeline.host.scripts import script

Stream = Callable[[Cmd, Iterable[bytes], int], Output]
SLOWEST = 50_000  # bytes per second below which a copy is given up
CHUNK = 1 << 18
TURNS = 5  # looks at what is there, if others send the same file and are ended on the way


def copy(name: str, stream: Stream, source: Path, target: str) -> None:
    """Copy `source` to the absolute path `target` on the machine `name`, whose commands `stream` runs.

    Raises Transient where the connection fails (call again: it goes on where it stopped), ResourceError where the disk is too small,
    IntegrityError where what arrived is not what was sent, ConfigError where the target cannot be written.
    """
    if not target.startswith("/") or target.endswith("/"):
        raise ConfigError(f"{target!r} is not the absolute path of a file on {name}")
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = source.stat()
    except OSError as error:
        raise ConfigError(f"{source} cannot be read", cause=str(error)) from error
    size, mode = status.st_size, f"{stat.S_IMODE(status.st_mode):04o}"

    def call(step: str, offset: int, stdin: Iterable[bytes] = ()) -> list[str]:
        left = size - offset if step == "add" else 0
        argv = ("sh", "-c", script("ssh_put"), "put", step, target, digest, str(size), str(offset), mode)
        output = stream(Cmd(argv, timeout=120 + size / SLOWEST), stdin, left)
        if output.code > 128:
            raise Transient(f"the copy to {target} was ended on {name}", cause=f"by signal {output.code - 128}")
        if not output.ok or not output.text:
            raise ConfigError(
                f"{target} cannot be written on {name}",
                cause=output.tail(),
                mend=f"on {name}: ls -ld the folder; chown it to the user of the site file",
            )
        return output.text.split()

    for _ in range(TURNS):
        answer, *numbers = call("look", 0)
        if answer == "have":
            offset = int(numbers[0])
            answer, *numbers = call("add", offset, _pieces(source, offset, size))
        if answer != "moved":  # another copy of the same file has added to it meanwhile
            break
    if answer != "done":
        raise _fault(name, target, answer, numbers, size)


def _pieces(source: Path, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of `source` from `offset` to `size`. Raises ConfigError if they are not there any more."""
    try:
        with source.open("rb") as file:
            file.seek(offset)
            while offset < size:
                piece = file.read(min(CHUNK, size - offset))
                if not piece:
                    raise ConfigError(f"{source} became shorter while it was copied", mend="run again when nothing writes to it")
                offset += len(piece)
                yield piece
    except OSError as error:
        raise ConfigError(f"{source} cannot be read", cause=str(error)) from error


def _fault(name: str, target: str, answer: str, numbers: list[str], size: int) -> PipelineError:
    if answer == "full":
        folder = target.rpartition("/")[0] or "/"
        return ResourceError(
            f"{name} has no room for {target}",
            cause=f"{size:,} bytes are needed, {int(numbers[0]):,} are free",
            mend=f"make room in {folder} on {name}: df -h {folder}",
        )
    if answer == "differs":
        return IntegrityError(
            f"{target} arrived on {name} with another sha256 than it was sent with",
            mend="what arrived was removed; run again, and if it happens again have the memory and the disk of both machines checked",
        )
    return Transient(f"{target} is being written on {name} by somebody else", mend="wait for the other copy to end")
