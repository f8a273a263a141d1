"""nix on the build host: is it there, is its store, what may whom, and which holes does its version have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.build.nix import Nix
from pipeline.doctor.verdict import Verdict, broken, fail, ok, warn
from pipeline.tools import nix
from pipeline.tools.nix_log import NixLog

OLDEST = (2, 4)  # the first with flakes
# the first of each series without CVE-2024-27297 and what was left of it, CVE-2026-39860: advisory GHSA-g3g9-5vj6-r3gj of NixOS/nix
MENDED = {28: 6, 29: 3, 30: 4, 31: 4, 32: 7, 33: 4, 34: 5}
UPGRADE = "nix upgrade-nix, or apk upgrade nix"


def read(where: str, said: str, settings: Mapping[str, str], store_said: Sequence[str], build: Nix | None) -> Iterator[Verdict]:
    """Verdicts from `nix --version`, its settings, and what the store said where it did not answer ("" and none: all is well)."""
    if not said:
        error = nix.failure(_heard(["lacks nix"]), 71, where.partition(" ")[0], "")
        yield broken(where, "nix", error)
        return
    yield _version(where, said, settings)
    if store_said:
        error = nix.failure(_complained(store_said), 1, where.partition(" ")[0], "")
        yield fail(where, "nix store", "\n".join(store_said), error.mend, type(error))
    features = settings.get("experimental-features", "").split()
    off = [word for word in ("nix-command", "flakes") if word not in features]
    yield ok(where, "flakes", "on" if not off else f"{' and '.join(off)} off in nix.conf; the pipeline turns them on for its own calls")
    if settings.get("sandbox") == "false":
        yield warn(
            where,
            "nix sandbox",
            "off: a build sees the host, and may give another result there than elsewhere",
            "write into nix.conf there: sandbox = true (it needs user namespaces or root), then restart the daemon",
        )
    elif settings:
        text = ", ".join(f"{key} {settings[key]}" for key in ("max-jobs", "cores", "sandbox") if key in settings)
        asked = f"; this blueprint asks for jobs {build.jobs}, cores {build.cores or 'all'}" if build else ""
        yield ok(where, "nix settings", text + asked)


def _version(where: str, said: str, settings: Mapping[str, str]) -> Verdict:
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    if match is None:
        return fail(where, "nix", f"{said!r} is not nix", "install nix there")
    version = int(match[1]), int(match[2]), int(match[3] or 0)
    if version[:2] < OLDEST:
        return fail(where, "nix", f"{match[0]} has no flakes", f"{UPGRADE}: 2.4 or later")
    if "Lix" in said or _mended(version):
        return ok(where, "nix", match[0])
    allowed = settings.get("allowed-users", "*")
    text = f"{match[0]} lets any user who may build write as root (CVE-2024-27297, CVE-2026-39860); allowed-users is {allowed}"
    if allowed.split() in (["root"], ["@wheel"], ["root", "@wheel"]):
        return ok(where, "nix", text)
    return warn(where, "nix", text, f"{UPGRADE}; until then, in nix.conf there: allowed-users = root")


def _mended(version: tuple[int, int, int]) -> bool:
    major, minor, patch = version
    return (major, minor) > (2, max(MENDED)) or (major == 2 and minor in MENDED and patch >= MENDED[minor])


def _complained(lines: Sequence[str]) -> NixLog:
    """Return a log in which `lines` are nix's own: a short command speaks plain text."""
    log = NixLog()
    log.messages.extend(lines)
    return log


def _heard(lines: Sequence[str]) -> NixLog:
    log = NixLog()
    for line in lines:
        log.feed(line)
    return log
