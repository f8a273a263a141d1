"""A build host that is this machine's own shell, for tests of the scripts that run on build hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pipeline.host import Cmd, Output
from pipeline.testing import FakeHost


class Machine(FakeHost):
    """Runs what it is asked, here. With `busybox` the shell and every tool it has are busybox's, as on Alpine.

    `break_after` bytes of a put, the connection breaks; `sent` counts what crossed.
    """

    def __init__(self, state: Path, *, busybox: bool = False) -> None:
        super().__init__(name="builder", state=str(state), otherwise=self._here)
        self.path = os.environ["PATH"]
        self.sent = 0
        if busybox:
            tools = state.parent / "busybox"
            tools.mkdir()
            program = shutil.which("busybox") or "busybox"
            for applet in subprocess.run([program, "--list"], capture_output=True, check=True).stdout.decode().split():
                (tools / applet).symlink_to(program)
            self.path = f"{tools}:{self.path}"

    def put(self, source: Path, target: str) -> None:
        super().put(source, target)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        self.sent += source.stat().st_size

    def _here(self, cmd: Cmd) -> Output:
        self.sent += len(cmd.stdin)
        program = shutil.which(cmd.argv[0], path=self.path) or cmd.argv[0]
        done = subprocess.run(
            [cmd.argv[0], *cmd.argv[1:]],
            executable=program,
            input=cmd.stdin,
            capture_output=True,
            env={"PATH": self.path, "HOME": self.state, **cmd.env},
            cwd=cmd.cwd,
            timeout=cmd.timeout,
            check=False,
        )
        return Output(done.returncode, done.stdout, done.stderr)
