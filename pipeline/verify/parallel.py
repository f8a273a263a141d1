"""Several questions at once, with an end to the waiting: an answer that is not there in time is an error like any other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pipeline.errors import Transient

T = TypeVar("T")


def at_once(questions: Sequence[Callable[[], T]], seconds: float) -> list[T | Exception]:
    """The answer to each question, or the exception it ended with, in their order, after at most `seconds`.

    The threads are daemons, unlike an executor's: a name server that never answers cannot keep the process from ending.
    """
    answers: list[T | Exception] = [Transient(f"no answer within {seconds:.1f} s")] * len(questions)
    closed = threading.Event()

    def ask(number: int) -> None:
        try:
            answer: T | Exception = questions[number]()
        except Exception as error:
            answer = error
        if not closed.is_set():
            answers[number] = answer

    threads = [threading.Thread(target=ask, args=(number,), daemon=True, name="verify") for number in range(len(questions))]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    closed.set()
    return list(answers)


def a_few_at_once(questions: Sequence[Callable[[], T]], seconds: float, most: int = 8) -> list[T | Exception]:
    """The same with no more than `most` under way, each of which may need a connection of its own."""
    room = threading.Semaphore(most)

    def ask(question: Callable[[], T]) -> T:
        with room:
            return question()

    return at_once([partial(ask, question) for question in questions], seconds)
