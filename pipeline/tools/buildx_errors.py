"""What a build that failed means, by what buildx itself says. Recorded outputs: tests/cases/buildx/.

What a step of the build printed is shown, and decides nothing: any program may print any words. But for one case: a program for another
processor prints nothing itself, so if the runtime's complaint of that is all there is, it is the runtime's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.errors import AuthError, BuildError, ConfigError, PipelineError, ResourceError, Transient
from pipeline.tools.buildx import INSTALL
from pipeline.tools.buildx_log import BuildxLog
from pipeline.tools.meanings import LINES, LOST, NO_NAME, UNTRUSTED, Rule, Said, Tool, patience, request, shown

OWN = re.compile(r"ERROR: (?=failed to (?:build|solve): |unknown flag: )")
FOREIGN = re.compile(r"exec (?:/\S+|user process caused): exec format error\s*")


class Lost(Transient):
    """The builder went away, or does not answer."""


PROCESS = r'process "(?:\\.|[^"\\])*" did not complete successfully: '
LOGIN = r"failed to fetch (?:oauth|anonymous) token: "
STATUS = r"(?:unexpected status(?: code)?(?: \[[^\]]*\])?(?: from [A-Z]+ request to \S+)?: )"
PUSH = r"failed to push \S+: "
BASE = r"failed to resolve source metadata for (?P<image>\S+): "
FAILING = r"(?:408|429|5\d\d)\b"
_WAY, _ANSWERS = "the way to a registry broke off", "look whether the registry answers"
_ACCOUNT = "check the registry's username and password in the site file: it needs the right to write packages"

RULES = (
    Rule(
        rf"{PROCESS}(?:exit code: 137\b|cannot allocate memory)",
        ResourceError,
        "a step of the build was killed, most often for want of memory",
        "give the builder more memory, or build fewer things at once",
    ),
    Rule(PROCESS, BuildError, "a step of the build failed", "its output stands above"),
    Rule(
        r"(?:failed to receive status: rpc error|(?:rpc error: [^\n]*)?error reading from server: |transport is closing"
        r"|failed to list workers: "
        r"|listing workers for Build: |[^\n]*graceful_stop|failed to build: context deadline exceeded)",
        Lost,
        "the builder went away",
        "look whether it still runs, and at its log and memory",
    ),
    Rule(
        r"failed to resolve source metadata for \S+: no match for platform in manifest",
        ConfigError,
        "a base image is not there for one of the platforms",
        "leave the platform out, or take a base image that has it",
    ),
    Rule(
        rf"{BASE}(?:\S+: )?(?:not found|pull access denied, repository does not exist or may require authorization)",
        ConfigError,
        "a base image is not there: {image}, or this account may not see it",
        "correct its name in the Dockerfile; if it is private, write its registry with username and password into the site file",
    ),
    Rule(r"toomanyrequests: ", patience(60.0), "a registry asks for patience", "log in with an account that may pull more"),
    Rule(rf"(?:{LOGIN})?{STATUS}{FAILING}|{LOGIN}(?:failed to do request: )?{request()}{LOST}", Transient, _WAY, _ANSWERS),
    Rule(rf"(?:failed to do request: )?{request()}{UNTRUSTED}", ConfigError, "the builder does not trust a registry's certificate",
         "give the builder the registry's CA: buildkitd.toml, [registry.\"HOST\"] ca"),
    Rule(rf"(?:failed to do request: )?{request()}{NO_NAME}", ConfigError, "a registry's host has no address", "correct the name"),
    Rule(rf"(?:failed to do request: )?{request()}{LOST}", Transient, _WAY, _ANSWERS),
    Rule(
        rf"(?:{LOGIN}|failed to authorize: |no basic auth credentials|{STATUS}40[13]\b|{PUSH}(?:push access denied|denied: |unauthorized: )"
        r")",
        AuthError,
        "the registry refused the account",
        _ACCOUNT,
    ),
    Rule(r'target stage "[^"]*" could not be found', ConfigError, "the Dockerfile has no such target", "correct target in the blueprint"),
    Rule(r"failed to read dockerfile: ", ConfigError, "there is no such Dockerfile", "correct dockerfile in the blueprint"),
    Rule(r"(?:dockerfile parse error|unknown instruction: )", BuildError, "the Dockerfile cannot be read", "correct that line"),
    Rule(
        r"failed to (?:calculate checksum of ref|compute cache key: )",
        BuildError,
        "the Dockerfile copies a file that is not there",
        "add it to the context (what git or .dockerignore leaves out does not travel); with --from, let that stage make it",
    ),
    Rule(r"secret \S+: not found", ConfigError, "the build asks for a secret that it is not given", "name it under secrets"),
    Rule(
        r"(?:[^:\n]*: )?(?:no space left on device|disk quota exceeded)$",
        ResourceError,
        "the builder's disk is full",
        "make room there: buildx prune",
    ),
    Rule(r"unknown flag: ", ConfigError, "this buildx is too old", INSTALL),
)  # fmt: skip


def own(said: Sequence[str], step: Sequence[str]) -> Said:
    """Return buildx's own words, `said`, shown with the last lines of the step that failed."""
    lines = [line for line in said if line.strip() and not line.startswith("WARNING: ")]
    sentences = tuple(line[found.end() :] for line in lines if (found := OWN.match(line)))
    return Said(sentences, shown([*list(step)[-6:], *lines[-12:]], 18))


def read(text: str) -> Said:
    """Return what `own` does for all that a build printed."""
    log = BuildxLog()
    for line in text.splitlines():
        log.feed(line)
    return own(log.said, log.failed)


TOOL = Tool("buildx", RULES, read, "the cause above is buildx's own word")


def meaning(said: Sequence[str], step: Sequence[str], code: int) -> PipelineError:
    """Return the error that a failed build stands for: `said` are buildx's own lines, `step` the last lines of the step that failed."""
    error = TOOL.meaning(code, own(said, step))
    if isinstance(error, BuildError) and FOREIGN.fullmatch("\n".join(step[-LINES:])):
        mend = "add a builder of that architecture to the site file, or emulation (binfmt) to the one there is"
        return ConfigError("the builder cannot run programs of that platform", cause=error.cause, mend=mend)
    return error
