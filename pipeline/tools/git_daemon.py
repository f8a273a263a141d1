"""git's own protocol, git://, as it is asked and answered: argv, refs, and what the complaints mean. Texts are git 2.39's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.errors import ConfigError, PipelineError, Transient
from pipeline.host import Address, Output
from pipeline.tools.meanings import Rule, Said, Tool, shown

HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])"
PATH = r"/[A-Za-z0-9._~][A-Za-z0-9._~/+-]*"
URL = re.compile(rf"git://{HOST}(?::[0-9]{{1,5}})?{PATH}")
REPOSITORY = re.compile(PATH)
REF = re.compile(r"(?![./-])(?!.*(\.\.|//|@\{|\.lock(/|$)|/\.))[A-Za-z0-9._/@+=,#%-]+(?<![./])")  # as git-check-ref-format, and narrower
LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)")
# nothing of the user's own takes part: a proxy, another URL (insteadOf), a question
ENVIRONMENT: Mapping[str, str] = {
    "GIT_ALLOW_PROTOCOL": "git", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
}  # fmt: skip
PORT = 9418  # https://www.iana.org/assignments/service-names-port-numbers


def url(address: Address, repository: str) -> str:
    """The URL of a repository at an address."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"git://{host}:{address.port}{repository}"


def ls_remote(git: str, where: str, ref: str = "") -> tuple[str, ...]:
    """argv that lists the refs at `where`: all of them, or those named `ref` with the commits that tags of that name stand for."""
    return (git, "-c", "core.gitProxy=", "ls-remote", "--quiet", "--", where, *((ref, f"{ref}^{{}}") if ref else ()))


def refs(output: str) -> dict[str, str]:
    """Each ref with its commit; an annotated tag with the commit it stands for."""
    found = {match[2]: match[1] for match in map(LINE.fullmatch, output.splitlines()) if match}
    return {name: found.get(f"{name}^{{}}", value) for name, value in found.items() if not name.endswith("^{}")}


def named(found: Mapping[str, str], ref: str) -> str:
    """The full name of `ref` among those found, by git's own order of looking, "" where it is not there."""
    return next((name for name in (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}") if name in found), "")


class Unreachable(Transient):
    """No connection came about."""


RULES = (
    Rule(
        r"remote error: access denied or repository not exported: (?P<name>\S+)",
        Transient,
        "the git daemon has no repository {name}, or does not export it (git-daemon-export-ok)",
    ),
    Rule(r"unable to (?:connect to|look up) ", Unreachable, "no connection to the git daemon"),
    Rule(r"protocol error: ", Transient, "what answers does not speak git's protocol"),
    Rule(
        r"(?:Could not read from remote repository|[Tt]he remote end hung up )",
        Transient,
        "the git daemon closed the connection without an answer",
    ),
)
TOOL = Tool(
    "git ls-remote", RULES, lambda text: Said((text.strip().removeprefix("fatal: "),), shown(text.splitlines(), 3)), "see the cause"
)


def failure(output: Output) -> PipelineError:
    """Return what an exit code other than 0 means: ConfigError if git is not here, Unreachable if no connection came about."""
    if output.code == 127:
        return ConfigError(
            "git is not installed on this machine", mend="install it (Debian: apt-get install git), or name it under `tools`"
        )
    return TOOL.failure(output.code, output.errors)
