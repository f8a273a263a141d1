"""What the errors of Terraform and OpenTofu mean, by their recorded outputs: tests/cases/terraform/."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import Ambiguous, AuthError, ConfigError, Locked, PipelineError, ResourceError, Transient, Unknown
from pipeline.tools.meanings import LOST, NO_NAME, Rule, Said, Tool, request
from pipeline.tools.terraform import Heard, hear

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


FILES = "correct what the cause names, in the folder that `infra` names or in its variables"
PASSES = r"(?:408|429|5\d\d)\b"
REFUSED = r"(?:401|403)\b"
# how providers and their SDKs say an HTTP status: Rackspace's, Google's, AWS's, Azure's, and what Go's net/http calls it
STATUS = (
    r"(?:unexpected status(?: code)?:? |(?:googleapi: )?(?:Error|HTTP|got HTTP response code) "
    r"|(?:http )?(?:response )?[Ss]tatus ?[Cc]ode:? "
    r"|(?:[^:\n]*, )?https response error StatusCode: |StatusCode[:=] ?|API returned |HTTP status |(?=(?:408|429|4\d\d|5\d\d) [A-Z][a-z]))"
)

# The first that fits counts
RULES = (
    Rule(r"Saved plan is stale", ConfigError, "the plan is older than the state: something else was applied since", AGAIN),
    Rule(r"Saved plan does not match the given state", ConfigError, "the plan was made for another state", AGAIN),
    Rule(r"Failed to load \"[^\"]*\" as a plan file", ConfigError, "this is not a plan", AGAIN),
    Rule(
        r"[^\n]*doesn't match any of the checksums previously recorded",
        ConfigError,
        "a provider is not the one that the lock file names",
        "see .terraform.lock.hcl: a platform is missing there (`providers lock -platform=…`), or the provider was tampered with",
    ),
    Rule(r"(?:Value for undeclared variable|No value for required variable)$", ConfigError, "the configuration is refused", FILES),
    Rule(r"Output \"[^\"]*\" not found", ConfigError, "the state has no such output", "inv infra.apply, if it was written since"),
    Rule(
        r"Backend configuration changed",
        ConfigError,
        "the state is to lie elsewhere than it did",
        "move it by hand (init -migrate-state), or say in `infra` where it has always been",
    ),
    Rule(
        r"Unsupported (?:Terraform|OpenTofu) (?:Core )?version",
        ConfigError,
        "the configuration asks for another version of Terraform or OpenTofu",
        "install that version, and name it in the site file: tools: {{terraform: …}}",
    ),
    Rule(
        r"[^\n]*was not found in any of the search locations",
        ConfigError,
        "a provider cannot be had",
        "check its name and version, and provider_installation in the tool's own configuration",
    ),
    Rule(
        r"(?:Plugin did not respond|The plugin encountered an error|Request cancelled|Failed to instantiate provider"
        r"|Unrecognized remote plugin message)",
        Ambiguous,
        "the provider crashed",
        "if it happens again, pin another version of it, and tell its maintainers what the log says",
    ),
    Rule(
        r"(?:Backend initialization required|Inconsistent dependency lock file|Required plugins are not installed|Module not installed)",
        ConfigError,
        "the folder is not initialized for this state",
        AGAIN,
    ),
    Rule(
        rf"{STATUS}403[^\n]*(?:[Qq]uota|QUOTA|[Ll]imit[Ee]xceeded|limit exceeded)|[^\n:]*(?:QuotaExceeded|ServiceQuotaExceeded"
        rf"|LimitExceeded)\b",
        ResourceError,
        "a quota of the provider is used up",
        "raise it with the provider, or free some of it",
    ),
    Rule(
        rf"{STATUS}{PASSES}|(?:[^\n]*: )?{request()}(?:{LOST}|{NO_NAME})|dial tcp[^\n]*: {LOST}",
        Transient,
        "the provider, or the way to it, failed",
        "if it lasts, see the provider's status page",
    ),
    Rule(
        rf"{STATUS}{REFUSED}|(?:[Ii]nvalid (?:\w+ )?token|Missing [\w ]*token$|Failed to read token|No valid credential"
        rf"|[\w ]*[Aa]uthentication failed"
        r"|api error (?:AccessDenied|UnauthorizedOperation|AuthFailure|ExpiredToken|InvalidClientTokenId|UnrecognizedClient)\w*)",
        AuthError,
        "the provider's credentials are missing or refused",
        "see `credentials` of `infra` in the blueprint, and the file or variable that it names",
    ),
    Rule(
        r"(?:[^:\n]*: )?(?:no space left on device|disk quota exceeded)$",
        ResourceError,
        "no disk space for Terraform",
        "free some space here",
    ),
)
# a plain complaint: the sentence, an empty line, and what more there is to say; helm's and buildx's have no empty line there
PLAIN = re.compile(r"^Error: [^\n]+\n\n(?= *\S)", re.MULTILINE)


def read(text: str) -> Said:
    """Return the summary and the detail of each error. Lines that are broken for a narrow terminal are joined again."""
    errors = [each.text for each in _diagnostics(text)] or _plain(text)
    sentences = tuple(re.sub(r"(?<=\S)\n(?=[^\s\n])", " ", detail) for each in errors for detail in each.split("\n", 1))
    return Said(sentences, _cut("\n".join(errors) or text))


TOOL = Tool("terraform", RULES, read, FILES)


def failure(code: int, text: str, program: str = "terraform") -> PipelineError:
    """Return the error that the tool's exit `code` and its whole output mean; an interrupt is not looked for here."""
    said = read(text)
    evidence = "\n".join(said.sentences)
    if lock := lock_of(evidence):
        told = f"{lock.who} has been at {lock.doing} since {lock.created}" if lock.who else "by whom is not told"
        return Locked(
            f"the state is locked: {told}",
            cause=f"lock {lock.id}",
            mend=f"wait until that is done, then run it again; only if it is surely dead: {program} force-unlock {lock.id}",
        )
    if re.search(r"^Error (?:acquiring|locking) .*state", evidence, re.MULTILINE):
        return Locked("the state is locked, and it is not known by whom", cause=said.shown, mend="wait, then run it again")
    error = TOOL.meaning(code, said)
    if isinstance(error, Unknown) and _is_own(text):
        return ConfigError("the configuration is refused", cause=said.shown, mend=FILES)
    return error


def _diagnostics(text: str) -> list[Heard]:
    """Return the errors of a command that speaks JSON."""
    return [each for each in map(hear, text.splitlines()) if each.error and each.kind == "diagnostic"]


def _is_own(text: str) -> bool:
    """Return whether every error names a place in the files, and no resource: Terraform says that by itself, and no provider."""
    errors = _diagnostics(text)
    return bool(errors) and all(each.written and not each.address for each in errors)


def _plain(text: str) -> list[str]:
    """Return the errors of a command that speaks plain text, without frames and colours."""
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    bare = re.sub(r"^[│╷╵] ?", "", bare, flags=re.MULTILINE)
    found = list(PLAIN.finditer(bare))
    ends = [*(each.start() for each in found), len(bare)][1:]
    return [bare[each.start() + len("Error: ") : end].strip() for each, end in zip(found, ends, strict=True)]


def _cut(evidence: str) -> str:
    lines = [line for line in evidence.splitlines() if line.strip()]
    return "\n".join(lines[:8])[:1500]
