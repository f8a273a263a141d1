"""A command on the workstation itself: an argv, run to its end, its output as text."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def run(*argv: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it and give code, stdout and stderr; the caller judges the code. Raises OSError where there is no such program."""
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
