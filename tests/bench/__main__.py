"""Ratios against the plain script, measured in turns in one run, printed as a table: `python -m tests.bench` on a running lab.

No figure here is a test: machines differ, and a ratio that misses its bound is for a person to look at.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.world import NAMESPACE, REPOSITORY, World, world

SCRIPT = Path(__file__).with_name("blueprint.sh")
ROUNDS = 9


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of both contenders, the bound on ours divided by the script's, and what else was counted."""

    name: str
    ours: float
    script: float
    bound: float
    notes: str

    def text(self) -> str:
        ratio = self.ours / self.script
        verdict = "ok" if ratio <= self.bound else "MISSED"
        return f"{self.name:<28} {self.ours:7.2f} s {self.script:7.2f} s {ratio:6.2f} <= {self.bound:.3f} {verdict:<7} {self.notes}"


def timed(argv: list[str], environment: dict[str, str], folder: Path) -> tuple[float, str]:
    """Seconds of the whole process inside the benchmark's namespace, and its stdout. Raises where it fails: a failed run is no figure."""
    started = time.perf_counter()
    done = subprocess.run(
        ["ip", "netns", "exec", NAMESPACE, *argv], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds, done.stdout


def ours(here: World, *verbs: str) -> tuple[float, Any]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    inv = str(Path(sys.executable).with_name("inv"))
    seconds, out = timed([inv, *verbs, "--json"], environment, here.root)
    return seconds, json.loads(out)


def script(here: World) -> float:
    return timed(["bash", str(SCRIPT)], here.environment(), here.root)[0]


def turns(rounds: int, first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Means of both, taken in turns, so that a machine that slows down slows both.

    A kubelet looks at its containers once a second (its pod lifecycle event generator), so a rollout meets that second early or late:
    each turn begins at a random moment of it, and what is a second longer by bad luck counts in the mean.
    """

    def begun(contender: Callable[[], float]) -> float:
        time.sleep(random.random())  # noqa: S311  # no secret
        return contender()

    pairs = [(begun(first), begun(second)) for _ in range(rounds)]
    return statistics.mean(a for a, _ in pairs), statistics.mean(b for _, b in pairs)


def revision(here: World) -> int:
    environment = here.environment()
    done = subprocess.run(
        [environment["HELM"], "history", here.app, "--namespace", "coulomb", "--output", "json"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(json.loads(done.stdout)[-1]["revision"])


def unchanged(here: World, name: str, rounds: int, bound: float) -> Row:
    before = revision(here)
    host, sent = here.connections("haskelseed"), []

    def once() -> float:
        start = here.bytes_up()
        seconds = ours(here, "build", "push", "deploy", "verify")[0]
        sent.append(here.bytes_up() - start)
        return seconds

    once()
    contacts = here.connections("haskelseed") - host
    pairs = [(once(), script(here)) for _ in range(rounds)]
    made = revision(here) - before
    notes = f"{made} revisions, {contacts} connections to the build host, {statistics.median(sent):.0f} bytes sent in all"
    return Row(name, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), bound, notes)


def cold(folder: Path) -> Row:
    """Each contender with an application that neither nix nor the registry nor the cluster has seen."""
    stamp, count = int(time.time()) % 100000, itertools.count()

    def fresh(contender: Callable[[World], float]) -> Callable[[], float]:
        def once() -> float:
            name = f"bench-{stamp}-{next(count)}"
            with world(name, folder / name) as here:
                return contender(here)

        return once

    return Row("cold", *turns(ROUNDS, fresh(lambda here: ours(here, "release")[0]), fresh(script)), 1.1, "")


def changed(here: World) -> Row:
    count = 0

    def change(contender: Callable[[World], Any]) -> Callable[[], float]:
        def once() -> float:
            nonlocal count
            count += 1
            here.change_a_line(count)
            started = time.perf_counter()
            contender(here)
            return time.perf_counter() - started

        return once

    mine = change(lambda here: ours(here, "build", "push", "deploy", "verify"))
    return Row("one line changed", *turns(ROUNDS, mine, change(script)), 0.8, "")


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as name:
        folder = Path(name)
        print("cold ...", file=sys.stderr)
        rows.append(cold(folder))
        with world(f"bench-{int(time.time()) % 100000}", folder / "main") as here:
            ours(here, "release")
            script(here)
            print("unchanged ...", file=sys.stderr)
            rows.append(unchanged(here, "nothing changed", ROUNDS, 1 / 3))
            here.latency(0.05)
            rows.append(unchanged(here, "nothing changed, 50 ms", 3, 1 / 8))
            here.latency(0)
            print("one line changed ...", file=sys.stderr)
            rows.append(changed(here))
    print(f"{'':<28} {'ours':>9} {'script':>9} {'ratio':>6}")
    for row in rows:
        print(row.text())


if __name__ == "__main__":
    main()
