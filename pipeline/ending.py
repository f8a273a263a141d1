"""How a task ends: an error as its sentence and exit code, a signal in order, a result that nobody takes without noise."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from invoke import Exit

from pipeline.dry import acts
from pipeline.errors import Cancelled, PipelineError, ResourceError, explain
from pipeline.say import guard_streams, open_streams

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def cli(body: Callable[..., Any]) -> Any:
    """An error becomes its sentence and its exit code; a signal becomes Cancelled. No traceback for what a user can cause."""

    @acts
    @functools.wraps(body)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(ValueError):  # not the main thread: a library's business
            signal.signal(signal.SIGTERM, _stopped)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
                signal.signal(signal.SIGHUP, _stopped)
        guard_streams()
        try:
            result = body(*args, **kwargs)
            sys.stdout.flush()  # what cannot be written is told here, not when the interpreter ends
        except PipelineError as error:
            raise Exit(_as_line(error) if kwargs.get("json") else explain(error), code=error.exit_code) from error
        except KeyboardInterrupt as error:
            raise Exit(explain(Cancelled("stopped")), code=130) from error
        except BrokenPipeError:
            _mute(sys.stdout, sys.stderr)
            raise Exit(code=141) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            _mute(sys.stdout)
            mend = "what was done is done: inv status, once there is space"
            what = ResourceError("the result could not be written", cause=str(error), mend=mend)
            raise Exit(explain(what), code=what.exit_code) from error
        return result

    return wrapped


def end_quietly() -> None:
    """Have a reader that goes away (`inv --list | head`) end this in silence with 141, in what Invoke prints by itself too; and a caller
    that has closed a stream change nothing else."""
    open_streams()
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, BrokenPipeError):
            _leave()
        before(kind, error, trace)

    sys.excepthook = hook
    atexit.register(_flush)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave()
    except (OSError, ValueError):  # the interpreter says so itself
        return


def _leave() -> None:
    _mute(sys.stdout, sys.stderr)
    os._exit(141)


def _as_line(error: PipelineError) -> str:
    """The error as the JSON line that a run would have told it with."""
    import time

    from pipeline.events import Event, What
    from pipeline.report.jsonl import dumps
    from pipeline.runner.walk import facts

    return dumps(Event(What.FAILED, error.stage, error.what, time.time(), facts(error)))


def _stopped(number: int, _frame: Any) -> None:
    raise Cancelled(f"stopped by {signal.Signals(number).name}", signal=number)


def _mute(*streams: Any) -> None:
    """Let what is left in the buffers go nowhere: nobody reads it, and the interpreter would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
