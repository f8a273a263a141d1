"""skopeo: the argv of a copy from a docker-archive to a registry, and what its output means.

Recorded outputs: tests/cases/skopeo/. skopeo's own retries stay off: they miss a 503 on the manifest and repeat every HEAD otherwise
(measured on 1.9.3). Precomputed digests keep a lost cache from sending every layer again, at the price of compressing them.
"""

from __future__ import annotations

import re

from pipeline.errors import AuthError, ConfigError, IntegrityError, ResourceError, Transient
from pipeline.tools.meanings import LOST, Rule, Said, Tool, request, shown, unquoted

OLDEST = "1.6"  # --dest-precompute-digests, --digestfile and --retry-times are all there (containers/skopeo, CHANGELOG of 1.6)
INSTALL = "install skopeo there: apt-get install skopeo (Debian), apk add skopeo (Alpine), nix profile install nixpkgs#skopeo"


SPACE = "free space in the state folder on the build host: a copy needs up to the image's size there (--tmpdir lies in it)"
AGAIN = "build it again"


def copy() -> tuple[str, ...]:
    """The words after `skopeo --tmpdir DIR`; authfile, digestfile, `--`, source and destination follow, which only the host knows."""
    return ("copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-precompute-digests", "--retry-times", "0")


_ARCHIVE = "the image archive is damaged, or is not a docker-archive with one image"
_REACH = "look whether the relay's connection to the build host and the registry hold"
_LOST = "the way to the registry broke off"
# a terminal's form of the log, and that of a pipe
OWN = re.compile(r'(?:time="[^"]*" level=fatal msg=(?P<quoted>".*")|FATA\[\d+\] (?P<plain>.*))')

RULES = (
    Rule(r"unknown flag: ", ConfigError, f"skopeo on the build host is older than {OLDEST}", f"{INSTALL}; at least {OLDEST}"),
    Rule(request("/v2/") + LOST, Transient, _LOST, _REACH),
    Rule(r"(?:received unexpected HTTP status: |StatusCode: )(?:408|429|5\d\d)\b|toomanyrequests: ", Transient, _LOST, _REACH),
    Rule(
        r"writing to temporary [^\n]*: (?:no space left on device|disk quota exceeded)$",
        ResourceError,
        "the build host's disk is full",
        SPACE,
    ),
    Rule(
        r"(?:[^:\n]*: )?(?:cannot allocate memory|too many open files)$",
        ResourceError,
        "the build host ran out of memory or files",
        "see there what uses them, then run again",
    ),
    Rule(r"(?:initializing source docker-archive|determining manifest MIME type for docker-archive):", IntegrityError, _ARCHIVE, AGAIN),
    Rule(r"writing blob: [^\n]*(?:invalid tar header|unexpected EOF)$", IntegrityError, _ARCHIVE, AGAIN),
    Rule(r"Digest did not match, ", IntegrityError, "a layer is not what the archive's configuration says", AGAIN),
    Rule(
        r"(?:unauthorized: |authentication required|denied(?:$|: )|requested access to the resource is denied)",
        AuthError,
        "the registry refused the upload",
        "check the registry's account in the site file",
    ),
    Rule(r"StatusCode: 4\d\d, ", ConfigError, "the registry does not take the image", "see the cause, and the registry's log"),
)


def own(text: str) -> Said:
    """Return skopeo's last words."""
    lines = text.splitlines()
    found = [match for line in lines if (match := OWN.fullmatch(line))]
    sentences = tuple(match["plain"] or unquoted(match["quoted"]) for match in found)
    return Said(sentences, shown((line for line in lines if not line.startswith(("Copying ", "Getting ", "Writing "))), 5))


TOOL = Tool("skopeo", RULES, own, "the cause above is skopeo's own word")


def stored(stdout: str) -> str:
    """The digest that the copy ended with, as --digestfile gave it; "" where there is none. Its grammar is the caller's to check."""
    lines = stdout.strip().splitlines()
    return lines[-1].strip() if lines else ""
