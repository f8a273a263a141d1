"""The lab's story: one line for each thing it does, with the time since the start."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from pipeline.safe import clean


@contextlib.contextmanager
def teller(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """A function that writes a line to `stream`, flushed at once: what is told has begun."""
    started = time.monotonic()

    def say(text: str) -> None:
        shown = "\n".join(map(clean, text.split("\n")))
        stream.write(f"{time.monotonic() - started:7.1f} s  {shown}\n")
        stream.flush()

    yield say
