"""The short form of a tag policy, as a blueprint writes it; and the same policy as the input of docker/metadata-action v6.

    tags: [branch, sha, tag, "semver:{{version}}", "raw:main-latest@main", "sha:main-@main", sortable@main, "latest:never"]

A rule is a kind, after a colon its value, after an @ the only branch it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.errors import ConfigError
from pipeline.tools import references
from pipeline.tools.git import BRANCH
from pipeline.tools.tags import EXPRESSION, PRIORITIES, SORTABLE, Policy, Rule, expressions, sanitised
from pipeline.yamlfile import keys_like

PREFIXES = {"branch": "", "tag": "", "pr": "pr-", "sha": "sha-", "commit": ""}  # what stands before the name where a rule says no other
KINDS = (*PREFIXES, "semver", "raw", "sortable", "latest")
ON_BRANCH = ("branch", "sha", "commit", "raw", "sortable")
OF_SEMVER = ("raw", "version", "major", "minor", "patch")
OF_RAW = ("branch", "tag", "sha", "commit_date")
FOR = {
    "branch": "the branch's name",
    "tag": "the git tag, and `latest` where it is a release",
    "pr": "pr-N",
    "sha": "sha-<short commit>, or another prefix: sha:main-",
    "commit": "the whole commit",
    "semver": "semver:{{version}}, semver:{{major}}.{{minor}}, semver:{{major}}",
    "raw": "raw:main-latest@main",
    "sortable": "<branch>-<short commit>-<unix time of the commit>",
    "latest": "latest:never, latest:auto",
}
MEND = "rules are: " + "; ".join(f"{kind} ({text})" for kind, text in FOR.items())
ON_A_BRANCH = "startsWith(github.ref, 'refs/heads/')"
ON_TAG = "startsWith(github.ref, 'refs/tags/')"
DEFAULT = ("branch", "tag", "pr", "sha")


def parse(texts: Sequence[str]) -> Policy:
    """The policy that these rules are; none at all mean DEFAULT. Raises ConfigError that names the rule and what was meant."""
    rules = [_rule(text) for text in texts or DEFAULT]
    twice = next((rule.text for number, rule in enumerate(rules) if rule in rules[:number]), "")
    if twice:
        raise ConfigError(f"tags: {twice!r} stands there twice", mend="leave one of them out")
    latest = [rule for rule in rules if rule.kind == "latest"]
    if len(latest) > 1:
        raise ConfigError("tags: latest is said twice", mend="leave one of them out")
    kept = sorted((rule for rule in rules if rule.kind != "latest"), key=lambda rule: -PRIORITIES[rule.kind])
    if not kept:
        raise ConfigError("tags: no rule gives a tag", mend=MEND)
    return Policy(tuple(kept), not any(rule.value == "never" for rule in latest))


def _rule(text: str) -> Rule:
    named, _, branch = text.partition("@") if "@" in text else (text, "", "")
    kind, colon, value = named.partition(":")
    if kind not in KINDS:
        raise ConfigError(f"tags: {text!r} is no rule{keys_like(kind, list(KINDS))}", mend=MEND)
    if "@" in text and not BRANCH.fullmatch(branch):
        raise ConfigError(f"tags: {branch!r} in {text!r} is not the name of a branch", mend="write it as git does: raw:main-latest@main")
    if "@" in text and kind not in ON_BRANCH:
        raise ConfigError(f"tags: {text!r} is for one branch, which {kind} is not", mend=f"@ is for: {', '.join(ON_BRANCH)}")
    if colon and not value:
        raise ConfigError(f"tags: {text!r} says nothing after its colon", mend=f"write {FOR[kind]}")
    check: dict[str, Callable[[str], str]] = {"semver": _semver, "raw": _raw, "latest": _latest, "sortable": _nothing}
    return Rule(kind, check.get(kind, _prefix)(value) if colon or kind in check else PREFIXES[kind], branch, text)


def _prefix(value: str) -> str:
    return _fits(value, value)


def _semver(value: str) -> str:
    if not set(expressions(value)):
        raise ConfigError(f"tags: semver needs a pattern, and {value!r} names no part of a version", mend=f"write {FOR['semver']}")
    return _template(value, OF_SEMVER)


def _raw(value: str) -> str:
    if not value:
        raise ConfigError("tags: raw needs a text", mend=f"write {FOR['raw']}")
    return _template(value, OF_RAW)


def _latest(value: str) -> str:
    if value not in ("auto", "never"):
        raise ConfigError(f"tags: latest is auto (on releases) or never, not {value or 'alone'!r}", mend=f"write {FOR['latest']}")
    return value


def _nothing(value: str) -> str:
    if value:
        raise ConfigError(f"tags: sortable takes no value, and {value!r} is one", mend="write sortable, or sortable@main")
    return value


def _template(value: str, known: Sequence[str]) -> str:
    for name in expressions(value):
        if name not in known:
            raise ConfigError(
                f"tags: {{{{{name}}}}} is not known there{keys_like(name, list(known))}", mend=f"known are: {', '.join(known)}"
            )
    for found in EXPRESSION.finditer(value):
        if (found[1] == "commit_date") != (found[2] is not None) or found[2] not in (None, "X"):
            raise ConfigError(f"tags: {found[0]!r} is not known", mend="write {{commit_date 'X'}}, the commit's time in seconds since 1970")
    return _fits(value, EXPRESSION.sub("0", value))


def _fits(value: str, example: str) -> str:
    """`value`, where what it gives can be a tag: braces that close nothing, blanks and slashes are nobody's wish."""
    if not references.TAG.fullmatch(example) or sanitised(example) != example:
        raise ConfigError(f"tags: {value!r} cannot be part of a tag", mend="use letters, digits, _ . and -, not starting with . or -")
    return value


def action(policy: Policy) -> tuple[list[str], list[str]]:
    """(`tags` lines, `flavor` lines) that make docker/metadata-action v6 give what `pipeline.tools.tags.tags` gives.

    Its own `type=ref,event=tag` makes every git tag `latest`, a pre-release too; as a version written raw, a tag is `latest` only
    where it is a release, and `{{tag}}` alone never is.
    """
    lines = [line for rule in policy.rules for line in _lines(rule)]
    return lines, [f"latest={'auto' if policy.latest else 'false'}"]


def _lines(rule: Rule) -> list[str]:
    prefix = f",prefix={rule.value}" if rule.kind in PREFIXES and rule.value != PREFIXES[rule.kind] else ""
    match rule.kind:
        case "branch" | "pr":
            return [f"type=ref,event={rule.kind}{prefix}{_only(_on(rule))}"]
        case "tag":
            rank = f",priority={PRIORITIES['tag']}"
            bare = f"type=raw,value={rule.value}{{{{tag}}}}{rank}{_only([ON_TAG])}"
            return [f"type=semver,pattern={{{{raw}}}}{prefix}{rank}", bare]
        case "sha":
            return [f"type=sha{prefix}{_only(_on(rule))}"]
        case "commit":
            return [f"type=sha,format=long,prefix={rule.value}{_only(_on(rule))}"]
        case "semver":
            return [f"type=semver,pattern={rule.value}"]
        case _:
            text = SORTABLE if rule.kind == "sortable" else rule.value
            needed = [where for name, where in (("branch", ON_A_BRANCH), ("tag", ON_TAG)) if name in expressions(text)]
            return [f"type=raw,value={text}{_only(_on(rule) or needed)}"]


def _on(rule: Rule) -> list[str]:
    return [f"github.ref == 'refs/heads/{rule.branch}'"] if rule.branch else []


def _only(conditions: list[str]) -> str:
    return f",enable=${{{{ {' && '.join(conditions)} }}}}" if conditions else ""
