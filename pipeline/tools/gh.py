"""gh: the argv that asks for workflow runs, its JSON read, and what its complaints mean.

Recorded outputs: tests/cases/gh/ (gh 2.23, as Debian 12 has it). Only fields that this version gives are asked for, and the filter by
commit is ours: `run list --commit` came later. Manual: https://cli.github.com/manual/gh_run
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, Transient
from pipeline.tools.meanings import LOST, Rule, Said, Tool, patience, shown

ENV = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "GH_PAGER": "cat"}
FIELDS = "databaseId,headSha,headBranch,event,status,conclusion,url,displayTitle,workflowName,createdAt"
NEWEST = 30  # runs of the workflow that are looked at
RUN = re.compile(r"[1-9][0-9]{0,18}")
REPOSITORY = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,100}/)?[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.][A-Za-z0-9._-]{0,99}")
LOG_LINE = re.compile(r"(?P<job>[^\t]*)\t(?P<step>[^\t]*)\t\ufeff?(?:\d{4}-\d\d-\d\dT[\d:.]+Z ?)?(?P<text>.*)")
PATIENCE = 60.0  # seconds to wait where a limit was hit and GitHub's own word on it is not known
RESET = 3600.0  # seconds that a limit lasts at most (docs.github.com, "Rate limits for the REST API")


@dataclass(frozen=True)
class Step:
    """A step of a job; `conclusion` is "" until it has ended."""

    number: int
    name: str
    status: str
    conclusion: str


@dataclass(frozen=True)
class Job:
    """A job of a run, with those of its steps that are known so far."""

    id: int
    name: str
    status: str
    conclusion: str
    url: str
    steps: tuple[Step, ...] = ()

    @property
    def failed(self) -> Step | None:
        """The first step that did not end well."""
        return next((step for step in self.steps if step.conclusion not in ("", "success", "skipped", "neutral")), None)


@dataclass(frozen=True)
class Run:
    """A run of a workflow. `branch` is the branch or the git tag that it runs for, `created` ISO 8601; `conclusion` "" before its end."""

    id: int
    commit: str
    branch: str
    event: str
    status: str
    conclusion: str
    url: str
    title: str
    workflow: str
    created: str
    jobs: tuple[Job, ...] = ()

    @property
    def over(self) -> bool:
        return self.status == "completed"


def runs(workflow: str, repository: str = "") -> tuple[str, ...]:
    """The words after `gh` that list a workflow's newest runs; without `repository` (owner/name) gh takes it from the git remote."""
    return ("run", "list", *_where(repository), "--workflow", workflow, "--limit", str(NEWEST), "--json", FIELDS)


def view(run: str, repository: str = "") -> tuple[str, ...]:
    """The words that show one run with its jobs and steps. Raises ConfigError where `run` is not a run's number."""
    return ("run", "view", *_where(repository), "--json", f"{FIELDS},jobs", "--", _number(run))


def log(run: str, repository: str = "") -> tuple[str, ...]:
    """The words that show the log of the steps that failed."""
    return ("run", "view", *_where(repository), "--log-failed", "--", _number(run))


def limits() -> tuple[str, ...]:
    """The words that ask when a rate limit ends; asking counts for nothing (docs.github.com, "Rate limit")."""
    return ("api", "--", "rate_limit")


def read_runs(text: str) -> tuple[Run, ...]:
    """The answer to `runs`, the newest first. Raises IntegrityError where it is not one."""
    try:
        listed = jsontext.loads(text)
        found = [_run(value) for value in (listed if isinstance(listed, list) else [listed])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _strange(text, error) from error
    return tuple(sorted(found, key=lambda run: run.id, reverse=True))


def read_run(text: str) -> Run:
    """The answer to `view`: a run that waits for its turn has no `jobs`. Raises IntegrityError where it is not one."""
    try:
        return _run(jsontext.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _strange(text, error) from error


def read_reset(text: str, now: float) -> float:
    """Seconds until the rate limit ends, by the answer to `limits`; PATIENCE where it does not say."""
    try:
        core = jsontext.loads(text)["resources"]["core"]
        left = float(core["reset"]) - now if int(core["remaining"]) == 0 else PATIENCE
    except (ValueError, KeyError, TypeError):
        return PATIENCE
    return min(max(1.0, left), RESET)


def read_log(text: str) -> list[tuple[str, str, str]]:
    """(job, step, line) of a log, without the time that stands before each line."""
    found = (LOG_LINE.fullmatch(line) for line in text.splitlines())
    return [(line["job"], line["step"], line["text"]) for line in found if line]


API = r'(?:Get|Post|Put|Patch|Delete) "https?://(?:api\.[^"/]+/|[^"/]+/api/)[^"]*": '
OF_API = re.compile(r"gh: (.*) \((HTTP \d+)\)")
NO_LOGIN = 4  # gh's exit code where it is not logged in: https://cli.github.com/manual/gh_help_exit-codes
_LOGIN = "gh auth login, or export GH_TOKEN with a token that may read actions; in a workflow: env: GH_TOKEN: ${{{{ github.token }}}}"
RULES = (
    Rule(r"HTTP (?:403: [^\n]*rate limit|429: )", patience(PATIENCE), "GitHub asks for patience"),
    Rule(r"(?:HTTP 401: |To get started with GitHub CLI, please run: )", AuthError, "gh is not logged in, or its token is refused", _LOGIN),
    Rule(
        r"HTTP 403: (?:Resource not accessible|[^\n]*(?:scope|SAML|permission))", AuthError, "gh's token may not read workflow runs", _LOGIN
    ),
    Rule(
        r"(?:failed to determine base repo: |no git remotes found|none of the git remotes )",
        ConfigError,
        "gh cannot tell which repository on GitHub this is",
        "write repository: owner/name in the blueprint's section ci",
    ),
    Rule(r"failed to get run: HTTP 404: ", ConfigError, "GitHub knows no such run", "gh run list shows those there are"),
    Rule(
        r"(?:HTTP 404: |could not find any workflows|Could not resolve to a Repository)",
        ConfigError,
        "GitHub shows no such repository or workflow to this account",
        "push the workflow's file to the default branch first; is ci.repository right, and may the account see it?",
    ),
    Rule(r"unknown (?:flag|command|json field)\b", ConfigError, "gh is too old", "install gh 2.20 or newer"),
    Rule(r"run \d+ is still in progress; ", Transient, "the run is not over yet", "inv ci.watch follows it"),
    Rule(
        rf"(?:HTTP 5\d\d: |error connecting to |{API}{LOST})",
        Transient,
        "GitHub could not be asked",
        "the run goes on without us: inv ci.watch again follows it",
    ),
)


def own(text: str) -> Said:
    """Return gh's complaint, which is its first line; that of `gh api` in the form of the others."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return Said(tuple(OF_API.sub(r"\2: \1", line) for line in lines[:1]), shown(lines, 5))


def is_missing(text: str) -> bool:
    """Return whether gh complains that GitHub does not have what was asked for."""
    return any(sentence.startswith("HTTP 404: ") for sentence in own(text).sentences)


TOOL = Tool("gh", RULES, own, "run the same by hand: gh run list")


def failure(code: int, text: str) -> PipelineError:
    """Return the error that a failed call's exit code and output mean."""
    if code in (126, 127):
        return ConfigError("gh is not installed", cause=own(text).shown, mend="apt-get install gh, or see https://cli.github.com")
    if code == NO_LOGIN:
        return AuthError("gh is not logged in", cause=own(text).shown, mend=_LOGIN.format())
    return TOOL.failure(code, text)


def _where(repository: str) -> tuple[str, ...]:
    if repository and not REPOSITORY.fullmatch(repository):
        raise ConfigError(f"{repository!r} is not a repository on GitHub", mend="write it as owner/name")
    return ("-R", repository) if repository else ()


def _number(run: str) -> str:
    if not RUN.fullmatch(run):
        raise ConfigError(f"{run!r} is not the number of a run", mend="gh run list shows them, under ID")
    return run


def _run(value: Any) -> Run:
    jobs = tuple(_job(job) for job in value.get("jobs") or ())
    return Run(
        id=int(value["databaseId"]),
        commit=str(value["headSha"] or ""),
        branch=str(value["headBranch"] or ""),
        event=str(value["event"] or ""),
        status=str(value["status"] or ""),
        conclusion=str(value["conclusion"] or ""),
        url=str(value["url"] or ""),
        title=str(value["displayTitle"] or ""),
        workflow=str(value["workflowName"] or ""),
        created=str(value["createdAt"] or ""),
        jobs=jobs,
    )


def _job(value: Any) -> Job:
    steps = tuple(
        Step(int(step["number"]), str(step["name"]), str(step["status"] or ""), str(step["conclusion"] or ""))
        for step in value.get("steps") or ()
    )
    return Job(int(value["databaseId"]), str(value["name"]), str(value["status"]), str(value["conclusion"] or ""), str(value["url"]), steps)


def _strange(text: str, error: Exception) -> IntegrityError:
    return IntegrityError(
        "gh's answer is not what it should be", cause=f"{type(error).__name__}: {error}: {text[:200]!r}", mend="gh --version: 2.20 or newer"
    )
