"""What is known to break a Haskell build on a small host: memory without a ceiling, and two defects of GHC 9.10.3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.build.nix import Nix
from pipeline.doctor.verdict import Verdict, fail, ok, warn
from pipeline.errors import IntegrityError
from pipeline.tools.nix import INTERFACE

VERSION = "9.10.3"
# bytes of libHSghc-9.10.3-*.a: whole it has 289 MB; cut off at 287 MB the linker ends at position 287,686,318
CUT = range(286_500_000, 288_000_000)
WHOLE = range(288_500_000, 289_500_001)
SPARE = 512 << 20  # bytes that the rest of the machine needs
SMALL = 8 << 30  # bytes: below that a compiler without a ceiling fills the machine
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
CEILING = re.compile(r"(?:^|\s)-M(\d+(?:\.\d+)?)([kmgKMG]?)(?=\s|$)")
TAIL = 65_536  # bytes of a log that are read
NEWEST = 3  # logs
MEND = "in the build stage: env: {GHCRTS: -A32m -M2g}, jobs: 1"


def ceiling(rts: str) -> int:
    """The heap in bytes that GHCRTS allows (-M2g), 0 where it names none."""
    found = CEILING.findall(rts)
    return int(float(found[-1][0]) * UNITS[found[-1][1].lower()]) if found else 0


def memory(where: str, total: int, build: Nix) -> Verdict:
    """Whether the compilers that run at once fit into `total` bytes."""
    limit = ceiling(build.env.get("GHCRTS", ""))
    has = f"{total / (1 << 30):.1f} GiB"
    if not total:
        return warn(where, "memory", "/proc/meminfo tells nothing", "look at it by hand: free -m")
    if not limit:
        if total < SMALL:
            return warn(where, "memory", f"{has} and no ceiling for GHC: a full build fills it", MEND)
        return ok(where, "memory", f"{has}, no ceiling for GHC")
    asked = limit * build.jobs
    text = f"{has} for {build.jobs} job{'s' if build.jobs > 1 else ''} of at most {limit / (1 << 30):.1f} GiB"
    return warn(where, "memory", f"{text}: too much", MEND) if asked + SPARE > total else ok(where, "memory", text)


def archives(where: str, found: Sequence[tuple[int, str]]) -> Iterator[Verdict]:
    """The compiler's own library in the store, by size. Nothing where GHC 9.10.3 is not there."""
    for size, path in found:
        store_path = "/".join(path.split("/")[:4])
        repair = f"on the host: nix store repair {store_path}; look again after a change of flake.lock"
        text = f"{path.rpartition('/')[2]} has {size:,} bytes"
        if size in CUT:
            yield fail(where, f"ghc {VERSION}", f"{text}: it is cut off (whole: 289 MB), linking will fail", repair, IntegrityError)
        elif size in WHOLE:
            yield ok(where, f"ghc {VERSION}", text)
        else:
            yield warn(
                where,
                f"ghc {VERSION}",
                f"{text}: neither the whole 289 MB nor the known 287 MB",
                f"nix store verify --no-trust {store_path}",
            )


def interfaces(where: str, logs: Path) -> Iterator[Verdict]:
    """Whether one of the newest build logs here tells of an interface file that GHC could not read back."""
    newest = sorted(logs.glob("build-*.log"), key=lambda path: path.stat().st_mtime)[-NEWEST:] if logs.is_dir() else []
    for path in reversed(newest):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            text = file.read().decode(errors="replace")
        if INTERFACE.search(text):
            yield warn(
                where,
                "ghc .hi files",
                f"{path.name} tells of an interface file that is too large: GHC {VERSION} fails above 274 MB",
                "put the overlay for it into the flake of the application: docs/ihp-flake.md",
            )
            return
