"""What tools fail with, as it was recorded of them, and what it is taken to mean: tests/cases/expected.yml has both lists side by side."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import errors
from pipeline.errors import Ambiguous, ConfigError, PipelineError, Transient, Unknown
from pipeline.host import Output
from pipeline.tools import (
    buildx_errors,
    crictl,
    dockerd,
    gh,
    git_daemon,
    gitops_call,
    helm,
    kubecfg,
    kubectl,
    nix,
    skopeo,
    terraform_errors,
)
from pipeline.tools.buildx_log import BuildxLog
from pipeline.tools.meanings import QUOTED, Rule, Said, Tool, clauses, find
from pipeline.tools.nix_log import NixLog

CASES = Path(__file__).parents[1] / "cases"
EXPECTED: dict[str, Any] = yaml.safe_load((CASES / "expected.yml").read_text())
THREADS: list[dict[str, Any]] = EXPECTED.pop("threads")
Failure = Callable[[int, str], PipelineError]


def built(code: int, text: str) -> PipelineError:
    log = BuildxLog()
    for line in text.splitlines():
        log.feed(line)
    return buildx_errors.meaning(log.said, log.failed, code)


def evaluated(code: int, text: str) -> PipelineError:
    log = NixLog()
    for line in text.splitlines():
        log.feed(line)
    return nix.failure(log, code, "haskelseed", "", ["default", "docker"])


@dataclass(frozen=True)
class Engine:
    """One tool's way from its text to a class, and the form in which its outputs were recorded."""

    failure: Failure
    form: str  # where the exit code stands: first line, last line, second line, or nowhere


ENGINES: dict[str, Engine] = {
    "buildx": Engine(built, "none"),
    "crictl": Engine(lambda _code, text: crictl.error(crictl.classify(text), "an image", "node", "registry:5000"), "last"),
    "dockerd": Engine(lambda _code, text: dockerd.failure("pull x", text, "lab", "10.0.0.1:5000/x"), "none"),
    "gh": Engine(gh.failure, "second"),
    "git": Engine(lambda _code, text: gitops_call.server_error(text, "branch main", writing=True), "none"),
    "git_daemon": Engine(lambda code, text: git_daemon.failure(Output(code, stderr=text.encode())), "none"),
    "helm": Engine(helm.failure, "last"),
    "helm_lint": Engine(helm.lint_failure, "last"),
    "kubecfg": Engine(kubecfg.TOOL.failure, "none"),
    "kubectl": Engine(kubectl.TOOL.failure, "none"),
    "nix": Engine(evaluated, "none"),
    "skopeo": Engine(skopeo.TOOL.failure, "first"),
    "terraform": Engine(terraform_errors.failure, "last"),
}


def recorded(tool: str, path: Path) -> tuple[int, str]:
    """The exit code and the output."""
    text = path.read_text()
    form = ENGINES[tool].form
    if form == "first":
        first, _, text = text.partition("\n")
        return int(first.removeprefix("exit ")), text
    if form == "second":
        _, code, text = text.split("\n", 2)
        return int(code.removeprefix("exit ")), text
    if form == "last" and (found := text.rstrip().rpartition("\nexit "))[1]:
        return int(found[2]), found[0] + "\n"
    return 1, text


def files(tool: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((CASES / tool).iterdir()) if path.suffix in (".txt", ".log")}


KNOWN = [(tool, case) for tool in ENGINES for case in EXPECTED[tool]]


@pytest.mark.parametrize("tool", ENGINES)
def test_every_recorded_output_has_its_expectation(tool: str) -> None:
    assert sorted(files(tool)) == sorted(EXPECTED[tool])


@pytest.mark.parametrize(("tool", "case"), KNOWN)
def test_a_recorded_output_means_what_it_says(tool: str, case: str) -> None:
    expected = EXPECTED[tool][case]
    if "error" not in expected:
        assert expected == {"fails": "never"}
        return
    code, text = recorded(tool, files(tool)[case])
    error = ENGINES[tool].failure(code, text)
    kind = getattr(errors, expected["error"], None) or getattr(buildx_errors, expected["error"], None)
    kind = kind or getattr(git_daemon, expected["error"])
    assert type(error) is kind, error.what
    assert expected["says"] in error.what
    assert expected.get("mend", "") in error.mend
    assert error.cause
    assert error.mend or isinstance(error, Transient)
    assert "\x1b" not in error.what + error.cause


FAMILIES = {"helm_lint": "helm", "git_daemon": "git"}  # one program


@pytest.mark.parametrize("tool", ENGINES)
def test_no_tool_takes_the_words_of_another_for_its_own(tool: str) -> None:
    family = FAMILIES.get(tool, tool)
    others = [(other, case) for other, case in KNOWN if FAMILIES.get(other, other) != family]
    read = {}
    for other, case in others:
        error = ENGINES[tool].failure(1, recorded(other, files(other)[case])[1])
        if type(error) is not Unknown:
            read[f"{other}/{case}"] = f"{type(error).__name__}: {error.what}"
    assert len(others) > 100
    assert read == {}


PREFIXES = ("", "Error: ", "error: ", "ERROR: ", "fatal: ", "remote: ", "npm ERR! ", "    > ", "E1130 12:00:00.000000 1 main.go:12] ",
            "FAIL: test_it: ", "web_1  | ", "E   AssertionError: ", "[builder 3/7] ", "panic: ", "#12 4.532 ",
            "thread 'main' panicked: ")  # fmt: skip
PHRASES = (
    "connection refused", "Connection reset by peer", "timed out after 30 seconds", "HTTP 403: Forbidden", "401 Unauthorized",
    "denied: denied",
    "no space left on device", "No space left on device", "Forbidden: no", "exceeded quota: q, used: 1", "field is immutable",
    "x509: certificate signed by unknown authority", "exit code: 137", "builder failed with exit code 137", "toomanyrequests: slow down",
    "manifest unknown", "repository not found", "Permission denied (publickey)", "hash mismatch in fixed-output derivation", "EOF",
    "another operation is in progress", "request timed out", "rate limit", "the plan is stale",
    "unexpected status code 503", "context deadline exceeded", "invalid token", "port is already allocated",
)  # fmt: skip
HOSTILE = [f"{prefix}{phrase}" for prefix, phrase in itertools.product(PREFIXES, PHRASES)]


def carried(tool: str, line: str) -> str:
    """A line that a build step, a hook or a server printed, in the form in which the tool passes it on."""
    if tool == "nix":
        return "@nix " + json.dumps({"action": "result", "id": 1, "type": 101, "fields": [line]})
    if tool == "buildx":
        log = {"vertex": "sha256:1", "data": base64.b64encode(f"{line}\n".encode()).decode()}
        return json.dumps({"logs": [log]})
    if tool == "terraform":
        return json.dumps({"@level": "info", "@message": f"(local-exec): {line}", "type": "provision_progress", "hook": {"output": line}})
    if tool == "git":
        return f"remote: {line}"
    return line


@pytest.mark.parametrize("tool", ENGINES)
def test_hostile_lines_choose_no_class(tool: str) -> None:
    assert len(HOSTILE) > 200
    if tool != "dockerd":  # whose text is a field of its API's answer, and mixes with no other
        alone = {line: ENGINES[tool].failure(1, f"{line}\n") for line in HOSTILE}
        assert {line: f"{type(error).__name__}: {error.what}" for line, error in alone.items() if type(error) is not Unknown} == {}
    everything = ENGINES[tool].failure(1, "\n".join(carried(tool, line) for line in HOSTILE[:200]))
    assert type(everything) is Unknown
    assert everything.exit_code == 20
    assert everything.mend
    assert not isinstance(everything, Transient), "it is not tried again"


@pytest.mark.parametrize("tool", sorted(ENGINES.keys() - {"crictl", "dockerd"}))
def test_a_signal_is_no_word_of_the_tools(tool: str) -> None:
    if tool in ("git", "git_daemon", "helm_lint"):
        return
    assert isinstance(ENGINES[tool].failure(-9, ""), Ambiguous)


def rule(pattern: str) -> Rule:
    return Rule(pattern, ConfigError, "{who} did {what}", "ask {who}")


def test_a_rule_fits_only_at_the_start_of_a_clause() -> None:
    rules = (rule("denied: "),)
    assert find(rules, ("pushing: denied: no",))
    assert find(rules, ("first line\n  * denied: no",))
    assert not find(rules, ("access denied: no",))
    assert not find(rules, ('object "x: denied: y" is there',))
    assert not find(rules, ("object 'x: denied: y' isn't there",))
    assert find(rules, ("it isn't: denied: that's all",)), "an apostrophe is no quote"


def test_the_first_rule_counts_and_its_groups_fill_the_texts() -> None:
    tool = Tool("t", (rule(r"(?P<what>[a-z]+) by you"), rule(r"[a-z]+")), lambda text: Said((text,), text), "look")
    error = tool.meaning(1, Said(("it: gone by you",), "shown"), who="anna")
    assert (error.what, error.mend, error.cause) == ("anna did gone", "ask anna", "shown")
    assert tool.failure(1, "it").what == " did "
    assert type(tool.failure(1, "ÄÖ")) is Unknown


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_has_clauses_and_none_begins_inside_of_quotes(text: str) -> None:
    quoted = [found.span() for found in QUOTED.finditer(text)]
    for start in list(clauses(text))[1:]:
        assert not any(first < start < last for first, last in quoted if text[first] == '"' and "\n" not in text[first:last])


def as_printed(thread: dict[str, Any]) -> str:
    """What the tool printed, if it said what people quote of it."""
    if messages := thread.get("messages"):
        drv = "/nix/store/qr65zm5d5zkr637p7yb5s1qqlc5bndc7-app.drv"
        events = [
            {"action": "start", "id": 1, "type": 105, "fields": [drv, "", 1, 1]},
            *({"action": "result", "id": 1, "type": 101, "fields": [line]} for line in ("401 Unauthorized", "No space left on device")),
            *({"action": "msg", "level": 0, "msg": f"\x1b[31;1merror:\x1b[0m {said}"} for said in messages),
        ]
        return "\n".join(f"@nix {json.dumps(event)}" for event in events)
    if diagnostic := thread.get("diagnostic"):
        found = dict(zip(("summary", "detail"), diagnostic, strict=True)) | {"severity": "error", "address": "google_compute_instance.web"}
        return json.dumps({"@level": "error", "@message": "Error", "type": "diagnostic", "diagnostic": found})
    return f"{thread['said']}\n"


@pytest.mark.parametrize("thread", THREADS, ids=lambda thread: f"{thread['tool']}-{thread['source']}")
def test_b_what_people_met_means_what_it_says(thread: dict[str, Any]) -> None:
    error = ENGINES[thread["tool"]].failure(thread.get("code", 1), as_printed(thread))
    assert type(error) is getattr(errors, thread["error"]), error.what
    assert thread["says"] in error.what
    assert thread.get("mend", "") in error.mend
    assert "raise timeout" not in error.mend
    assert "inv push" in thread.get("mend", "") or "inv push" not in error.mend
