"""What a build that failed means, read from what buildx and the step that failed said. Recorded outputs: tests/cases/buildx/."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import AuthError, BuildError, ConfigError, PipelineError, ResourceError, Transient
from pipeline.tools.buildx import INSTALL


class Lost(Transient):
    """The builder went away, or does not answer."""


@dataclass(frozen=True)
class Meaning:
    """What one of these expressions, found in buildx's last word (with `in_step` in the output of the step too), stands for."""

    found: tuple[str, ...]
    kind: type[PipelineError]
    what: str
    mend: str
    in_step: bool = False


MEANINGS = (
    Meaning(
        ("no space left on device", "disk quota exceeded"),
        ResourceError,
        "the builder's disk is full",
        "make room there: buildx prune",
        in_step=True,
    ),
    Meaning(
        (r"exit code: 137\b", "cannot allocate memory"),
        ResourceError,
        "a step of the build was killed, most often for want of memory",
        "give the builder more memory, or build fewer things at once",
    ),
    Meaning(
        (
            "failed to receive status: rpc error", "error reading from server", "transport is closing", "failed to list workers",
            "listing workers for Build", "graceful_stop", r"^ERROR: failed to build: context deadline exceeded",
        ),
        Lost,
        "the builder went away",
        "look whether it still runs, and at its log and memory",
    ),
    Meaning(
        (
            r"failed to fetch (?:oauth|anonymous) token:.*(?:40[13]|denied|unauthorized)", "insufficient_scope", "push access denied",
            "failed to authorize", "permission_denied", ": denied", "unauthorized", "no basic auth credentials",
            r"40[13] (?:Forbidden|Unauthorized)",
        ),
        AuthError,
        "the registry refused the account",
        "check the registry's username and password in the site file: it needs the right to write packages",
    ),
    Meaning(
        ("no match for platform in manifest",),
        ConfigError,
        "a base image is not there for one of the platforms",
        "leave the platform out, or take a base image that has it",
    ),
    Meaning(
        (r"failed to resolve source metadata.*(?:not found|does not exist)",),
        ConfigError,
        "a base image is not there",
        "correct its name in the Dockerfile",
    ),
    Meaning(
        ("exec format error",),
        ConfigError,
        "the builder cannot run programs of that platform",
        "add a builder of that architecture to the site file, or emulation (binfmt) to the one there is",
        in_step=True,
    ),
    Meaning((r"target stage .* could not be found",), ConfigError, "the Dockerfile has no such target", "correct target in the blueprint"),
    Meaning(("failed to read dockerfile",), ConfigError, "there is no such Dockerfile", "correct dockerfile in the blueprint"),
    Meaning(("dockerfile parse error", "unknown instruction"), BuildError, "the Dockerfile cannot be read", "correct that line"),
    Meaning(
        (r"failed to calculate checksum of ref", "failed to compute cache key"),
        BuildError,
        "the Dockerfile copies a file that is not in the context",
        "add it (what git or .dockerignore leaves out does not travel)",
    ),
    Meaning((r"secret .*: not found",), ConfigError, "the build asks for a secret that it is not given", "name it under secrets"),
    Meaning(("did not complete successfully: exit code",), BuildError, "a step of the build failed", "its output stands above"),
    Meaning(
        (
            "connection (?:refused|reset)", "i/o timeout", "TLS handshake timeout", "temporary failure in name resolution", "EOF$",
            "no route to host", r"(?:unexpected status|status code).* (?:429|5\d\d)", "toomanyrequests", "server misbehaving",
        ),
        Transient,
        "the way to a registry broke off",
        "look whether the registry answers",
    ),
    Meaning(("unknown flag: ",), ConfigError, "this buildx is too old", INSTALL),
)  # fmt: skip


def meaning(said: Sequence[str], step: Sequence[str], code: int) -> PipelineError:
    """The error that a failed build stands for: `said` are buildx's own lines, `step` the last lines of the step that failed.

    What is not known is a BuildError, or Transient where buildx was killed.
    """
    own = [line for line in said if line.strip() and not line.startswith("WARNING: ")]
    last = "\n".join(line for line in own if line.startswith("ERROR: ")) or "\n".join(own[-5:])
    evidence = "\n".join([*list(step)[-6:], *own[-12:]])[-3000:]
    for each in MEANINGS:
        text = "\n".join([last, *step]) if each.in_step else last
        if any(re.search(pattern, text, re.IGNORECASE | re.MULTILINE) for pattern in each.found):
            return each.kind(each.what, cause=evidence, mend=each.mend)
    if code in (129, 137, 143):
        what = f"buildx was ended by signal {code - 128}"
        return Transient(what, cause=evidence, mend="if it happens again, look at this machine's memory")
    return BuildError(f"buildx failed with exit {code}", cause=evidence, mend="the cause above is buildx's own word")
