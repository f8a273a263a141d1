"""skopeo: the argv of a copy from a docker-archive to a registry, and what its output means.

Recorded outputs: tests/cases/skopeo/. skopeo's own retries stay off: they miss a 503 on the manifest and repeat every HEAD otherwise
(measured on 1.9.3). Precomputed digests keep a lost cache from sending every layer again, at the price of compressing them.
"""

from __future__ import annotations

import re

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient

OLDEST = "1.6"  # --dest-precompute-digests, --digestfile and --retry-times are all there (containers/skopeo, CHANGELOG of 1.6)
INSTALL = "install skopeo there: apt-get install skopeo (Debian), apk add skopeo (Alpine), nix profile install nixpkgs#skopeo"


def copy(program: str) -> tuple[str, ...]:
    """The argv of a copy, up to what is only known on the host: authfile, digestfile, `--`, source and destination follow."""
    return (program, "copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-precompute-digests", "--retry-times", "0")


_MEANING: tuple[tuple[str, type[PipelineError], str, str], ...] = (
    (r"no space left on device|disk quota exceeded", ResourceError, "the build host's disk is full", ""),
    (
        r"cannot allocate memory|too many open files|signal: killed|out of memory",
        ResourceError,
        "the build host ran out of memory or files",
        "",
    ),
    (
        r"unknown flag: (\S+)",
        ConfigError,
        f"skopeo on the build host is older than {OLDEST}",
        INSTALL + f"; at least {OLDEST}",
    ),
    (
        r"invalid tar header|unexpected EOF(?!.*127\.0\.0\.1)|tar manifest|file \S+ not found in archive|manifest\.json",
        IntegrityError,
        "the image archive is damaged or not a docker-archive",
        "build it again",
    ),
    (
        r"digest did not match|did not match expected|does not match|Digest mismatch|diffID",
        IntegrityError,
        "a layer is not what the archive's configuration says",
        "build it again",
    ),
    (r"(?:docker|Unexpected|more than one) .*(?:exactly one|multiple) image", ConfigError, "the archive holds more than one image", ""),
    (
        r"unauthorized|authentication required|denied",
        AuthError,
        "the registry refused the upload",
        "check the registry's account in the site file",
    ),
    (
        r"connection (?:refused|reset)|broken pipe|EOF|i/o timeout|HTTP status: (?:408|429|5\d\d)|TOOMANYREQUESTS|proxyconnect",
        Transient,
        "the way to the registry broke off",
        "",
    ),
)


def meaning(output: str, code: int) -> PipelineError:
    """The error that a failed copy's output stands for. What is not known is Transient if skopeo was killed, else a ConfigError."""
    lines = [line for line in output.strip().splitlines() if not line.startswith(("Copying ", "Getting ", "Writing "))]
    cause = "\n".join(lines[-5:])[-1500:]
    for pattern, kind, what, mend in _MEANING:
        if re.search(pattern, cause, re.IGNORECASE):
            return kind(what, cause=cause, mend=mend or _space(kind))
    if code in (137, 143, 129):
        return Transient(
            f"skopeo was ended by signal {code - 128}", cause=cause, mend="if it happens again, look at the host's memory (dmesg)"
        )
    return ConfigError(f"skopeo failed with exit {code}", cause=cause, mend="the cause above is skopeo's own word")


def _space(kind: type[PipelineError]) -> str:
    return "free space where TMPDIR is: a copy needs up to the image's size there" if kind is ResourceError else ""


def stored(stdout: str) -> str:
    """The digest that the copy ended with, as --digestfile gave it; "" where there is none. Its grammar is the caller's to check."""
    lines = stdout.strip().splitlines()
    return lines[-1].strip() if lines else ""
