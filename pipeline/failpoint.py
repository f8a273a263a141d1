"""Places where a test can make this process die, to prove that the next run picks up the pieces.

`FAILPOINT=push.made:kill` sends SIGKILL to this process when it reaches the point `push.made`; `term` and `int` are the other two
signals, and `push.log:3:kill` waits for the third time. Every event is a point too, `stage.what`. Unset, a failpoint is one
dictionary look-up.
"""

from __future__ import annotations

import collections
import os
import signal

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
_passed: collections.Counter[str] = collections.Counter()


def failpoint(name: str) -> None:
    """Die here if the environment says so."""
    if not (wanted := os.environ.get("FAILPOINT")):
        return
    point, *count, action = wanted.split(":")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] == (int(count[0]) if count else 1):
        os.kill(os.getpid(), SIGNALS[action])
