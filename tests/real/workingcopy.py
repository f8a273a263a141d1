"""A git working copy of a test's own, in which `inv` is run as a user would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import warm

ROOT = Path(__file__).parents[2]


class WorkingCopy:
    """The working copy in `root`."""

    root: Path

    def git(self, *words: str) -> str:
        return subprocess.run(["git", "-C", str(self.root), *words], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all there is. The commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def inv(self, *words: str, env: dict[str, str] | None = None, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """`inv` in the working copy, as a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        return warm.inv(words, self.root, environment, timeout)
