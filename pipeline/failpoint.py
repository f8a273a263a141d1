"""Places where a test can make this process die, to prove that the next run picks up the pieces.

`FAILPOINT=push.made:kill` sends SIGKILL to this process when it reaches the point `push.made`; `term`, `int` the other two signals.
Unset, a failpoint is one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}


def failpoint(name: str) -> None:
    """Die here if the environment says so."""
    point, _, action = os.environ.get("FAILPOINT", "").partition(":")
    if point == name:
        os.kill(os.getpid(), SIGNALS[action])
