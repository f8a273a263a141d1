"""skopeo: the argv of a copy from a docker-archive to a registry, and what its output means.

Recorded outputs: tests/cases/skopeo/. skopeo's own retries stay off: they miss a 503 on the manifest and repeat every HEAD otherwise
(measured on 1.9.3). Precomputed digests keep a lost cache from sending every layer again, at the price of compressing them.
"""

from __future__ import annotations

import re

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient

OLDEST = "1.6"  # --dest-precompute-digests, --digestfile and --retry-times are all there (containers/skopeo, CHANGELOG of 1.6)
INSTALL = "install skopeo there: apt-get install skopeo (Debian), apk add skopeo (Alpine), nix profile install nixpkgs#skopeo"


SPACE = "free space in the state folder on the build host: a copy needs up to the image's size there (--tmpdir lies in it)"
AGAIN = "build it again"


def copy() -> tuple[str, ...]:
    """The words after `skopeo --tmpdir DIR`; authfile, digestfile, `--`, source and destination follow, which only the host knows."""
    return ("copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-precompute-digests", "--retry-times", "0")


_ARCHIVE = "the image archive is damaged, or is not a docker-archive with one image"
_MEANING: tuple[tuple[str, type[PipelineError], str, str], ...] = (
    (r"no space left on device|disk quota exceeded", ResourceError, "the build host's disk is full", SPACE),
    (r"cannot allocate memory|too many open files|out of memory", ResourceError, "the build host ran out of memory or files", ""),
    (r"unknown flag: ", ConfigError, f"skopeo on the build host is older than {OLDEST}", f"{INSTALL}; at least {OLDEST}"),
    (r"initializing source docker-archive|determining manifest MIME type for docker-archive", IntegrityError, _ARCHIVE, AGAIN),
    (r"writing blob: .*(?:invalid tar header|unexpected EOF)$", IntegrityError, _ARCHIVE, AGAIN),
    (r"Digest did not match", IntegrityError, "a layer is not what the archive's configuration says", AGAIN),
    (
        r"unauthorized|authentication required|: denied",
        AuthError,
        "the registry refused the upload",
        "check the registry's account in the site file",
    ),
    (
        r"connection (?:refused|reset)|broken pipe|EOF|i/o timeout|HTTP status: (?:408|429|5\d\d)|TOOMANYREQUESTS|proxyconnect",
        Transient,
        "the way to the registry broke off",
        "look whether the relay's connection to the build host and the registry hold",
    ),
)


def meaning(output: str, code: int) -> PipelineError:
    """The error that a failed copy's output stands for. What is not known is Transient if skopeo was killed, else a ConfigError."""
    lines = [line for line in output.strip().splitlines() if not line.startswith(("Copying ", "Getting ", "Writing "))]
    cause = "\n".join(lines[-5:])[-1500:]
    for pattern, kind, what, mend in _MEANING:
        if re.search(pattern, cause, re.IGNORECASE):
            return kind(what, cause=cause, mend=mend)
    if code in (137, 143, 129):
        return Transient(
            f"skopeo was ended by signal {code - 128}", cause=cause, mend="if it happens again, look at the host's memory (dmesg)"
        )
    return ConfigError(f"skopeo failed with exit {code}", cause=cause, mend="the cause above is skopeo's own word")


def stored(stdout: str) -> str:
    """The digest that the copy ended with, as --digestfile gave it; "" where there is none. Its grammar is the caller's to check."""
    lines = stdout.strip().splitlines()
    return lines[-1].strip() if lines else ""
