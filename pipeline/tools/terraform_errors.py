"""What the errors of Terraform and OpenTofu mean, by their recorded outputs: tests/cases/terraform/."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import Ambiguous, AuthError, ConfigError, Locked, PipelineError, ResourceError, Transient
from pipeline.tools.terraform import hear

AGAIN = "inv infra.plan, look at it, then inv infra.apply"


@dataclass(frozen=True)
class Lock:
    """Who holds the state: `who` as user@host, `created` as the tool writes it (UTC), `operation` as OperationTypeApply."""

    id: str
    who: str
    created: str
    operation: str

    @property
    def doing(self) -> str:
        return self.operation.removeprefix("OperationType").lower() or "something"


def lock_of(text: str) -> Lock | None:
    """The lock that a refused call tells of. `who` is "" where that is not told.

    Terraform's http backend (1.11) shows the lock that was asked for in place of the one that is held, and only names that one.
    """
    found = dict(re.findall(r"^\s+(ID|Operation|Who|Created):[ \t]*(.*?)\s*$", text, re.MULTILINE))
    held = re.search(r"already locked: ID=(\S+)", text)
    if held and held[1] != found.get("ID"):
        return Lock(held[1], "", "", "")
    return Lock(found["ID"], found.get("Who", ""), found.get("Created", ""), found.get("Operation", "")) if found.get("ID") else None


@dataclass(frozen=True)
class Meaning:
    """What an error that `pattern` finds in the tool's output means."""

    pattern: str
    kind: type[PipelineError]
    what: str
    mend: str


FILES = "correct what the cause names, in the folder that `infra` names or in its variables"
# The first that fits counts. What a provider says is its own: only what HTTP clients say everywhere is known here.
MEANINGS = (
    Meaning(r"Saved plan is stale", ConfigError, "the plan is older than the state: something else was applied since", AGAIN),
    Meaning(r"Saved plan does not match the given state", ConfigError, "the plan was made for another state", AGAIN),
    Meaning(r"Failed to load \"[^\"]*\" as a plan file|plan file .* (?:corrupt|invalid)", ConfigError, "this is not a plan", AGAIN),
    Meaning(
        r"doesn't match any of the\s+checksums previously recorded",
        ConfigError,
        "a provider is not the one that the lock file names",
        "see .terraform.lock.hcl: a platform is missing there (`providers lock -platform=…`), or the provider was tampered with",
    ),
    Meaning(
        r"Backend configuration changed",
        ConfigError,
        "the state is to lie elsewhere than it did",
        "move it by hand (init -migrate-state), or say in `infra` where it has always been",
    ),
    Meaning(
        r"Unsupported (?:Terraform|OpenTofu) Core version|Unsupported (?:Terraform|OpenTofu) version",
        ConfigError,
        "the configuration asks for another version of Terraform or OpenTofu",
        "install that version, and name it in the site file: tools: {terraform: …}",
    ),
    Meaning(r"no space left on device|disk quota exceeded", ResourceError, "no disk space for Terraform", "free some space here"),
    Meaning(
        r"was not found\s+in any of the search locations",
        ConfigError,
        "a provider cannot be had",
        "check its name and version, and provider_installation in the tool's own configuration",
    ),
    Meaning(
        r"\b(?:401|403)\b|(?i:unauthorized|forbidden|invalid (?:\w+ )?token|missing .*token|failed to read .*token|no valid credential"
        r"|permission denied|access denied)",
        AuthError,
        "the provider's credentials are missing or refused",
        "see `credentials` of `infra` in the blueprint, and the file or variable that it names",
    ),
    Meaning(
        r"\b(?:408|429|5\d\d)\b|(?i:service unavailable|bad gateway|gateway time-?out|internal server error|too many requests"
        r"|connection (?:refused|reset)|i/o timeout|TLS handshake timeout|no such host|network is unreachable"
        r"|context deadline exceeded|unexpected EOF|temporary failure in name resolution)",
        Transient,
        "the provider, or the way to it, failed",
        "if it lasts, see the provider's status page",
    ),
    Meaning(
        r"Plugin did not respond|plugin crashed|Failed to instantiate provider|Unrecognized remote plugin message",
        Ambiguous,
        "the provider crashed",
        "if it happens again, pin another version of it, and tell its maintainers what the log says",
    ),
    Meaning(
        r"Backend initialization required|Inconsistent dependency lock file|Required plugins are not installed|Module not installed",
        ConfigError,
        "the folder is not initialized for this state",
        AGAIN,
    ),
)


def failure(code: int, text: str, program: str = "terraform") -> PipelineError:
    """The error that the tool's exit `code` and its whole output mean; an interrupt is not looked for here."""
    said = [hear(line) for line in text.splitlines()]
    errors = [each for each in said if each.error and each.kind == "diagnostic"]
    evidence = "\n".join(each.text for each in errors) or _plain(text)
    if lock := lock_of(evidence):
        told = f"{lock.who} has been at {lock.doing} since {lock.created}" if lock.who else "by whom is not told"
        return Locked(
            f"the state is locked: {told}",
            cause=f"lock {lock.id}",
            mend=f"wait until that is done, then run it again; only if it is surely dead: {program} force-unlock {lock.id}",
        )
    if re.search(r"Error (?:acquiring|locking) .*state", evidence):
        return Locked("the state is locked, and it is not known by whom", cause=_cut(evidence), mend="wait, then run it again")
    for meaning in MEANINGS:
        if re.search(meaning.pattern, evidence):
            return meaning.kind(meaning.what, cause=_cut(evidence), mend=meaning.mend)
    if code < 0:
        return Ambiguous(f"it was ended by signal {-code}", cause=_cut(evidence), mend=AGAIN)
    return ConfigError("the configuration is refused", cause=_cut(evidence), mend=FILES)


def _plain(text: str) -> str:
    """The errors of a command that speaks plain text: from the first one on, frames and colours taken off."""
    bare = re.sub(r"\x1b\[[0-9;]*m|[│╷╵]", "", text)
    start = re.search(r"^\s*Error: ", bare, re.MULTILINE)
    return "\n".join(line.strip() for line in bare[start.start() if start else 0 :].splitlines() if line.strip())


def _cut(evidence: str) -> str:
    lines = [line for line in evidence.splitlines() if line.strip()]
    return "\n".join(lines[:8])[:1500]
