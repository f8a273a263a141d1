"""docker/metadata-action v6 as its documentation and its rules have it, for the lines that we write for it and no others."""

from __future__ import annotations

import re

from pipeline.tools import semver
from pipeline.tools.tags import Ref

# https://github.com/docker/metadata-action, README: "tags input", "flavor input", "Latest tag", "Priority", "Global expressions"
PRIORITY = {"semver": 900, "ref": 600, "raw": 200, "sha": 100}


def given(lines: list[str], flavor: list[str], ref: Ref) -> tuple[str, ...]:
    """The tags of a run for `ref`, which is one branch, one git tag or one pull request."""
    name = f"refs/heads/{ref.branch}" if ref.branch else f"refs/tags/{ref.tags[0]}" if ref.tags else f"refs/pull/{ref.pull}/merge"
    rules = [dict(part.split("=", 1) for part in _evaluated(line, name).split(",")) for line in lines]
    main: list[str] = []
    latest: bool | None = None
    for rule in sorted(rules, key=lambda each: -int(each.get("priority", PRIORITY[each["type"]]))):
        if rule.get("enable", "true") != "true":
            continue
        value, release = _value(rule, name, ref)
        if not value:
            continue
        written = re.sub(r"[^a-zA-Z0-9._-]+", "-", value)
        if written not in main:
            main.append(written)
        latest = release if latest is None else latest  # the first one that gives a tag decides
    return (*main, *(["latest"] if latest and flavor == ["latest=auto"] and "latest" not in main else []))


def _evaluated(line: str, name: str) -> str:
    """The line after GitHub has put in what stands in `${{ }}`."""

    def truth(found: re.Match[str]) -> str:
        terms = [term.strip() for term in found[1].split("&&")]
        return str(all(_holds(term, name) for term in terms)).lower()

    return re.sub(r"\$\{\{(.*?)\}\}(?!\})", truth, line)


def _holds(term: str, name: str) -> bool:
    if same := re.fullmatch(r"github\.ref == '([^']*)'", term):
        return name == same[1]
    starts = re.fullmatch(r"startsWith\(github\.ref, '([^']*)'\)", term)
    assert starts, term
    return name.startswith(starts[1])


def _value(rule: dict[str, str], name: str, ref: Ref) -> tuple[str, bool]:
    kind, prefix = rule["type"], rule.get("prefix", "")
    tag = name.removeprefix("refs/tags/") if name.startswith("refs/tags/") else ""
    branch = name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else ""
    if kind == "ref":
        if rule["event"] == "branch":
            return (prefix + branch, False) if branch else ("", False)
        return (f"{rule.get('prefix', 'pr-')}{ref.pull}", False) if name.startswith("refs/pull/") else ("", False)
    if kind == "sha":
        return rule.get("prefix", "sha-") + (ref.commit if rule.get("format") == "long" else ref.commit[:7]), False
    if kind == "semver":
        version = semver.parse(tag)
        if not version:
            return "", False
        pattern = rule["pattern"] if not version.pre or rule["pattern"] == "{{raw}}" else "{{version}}"
        return prefix + re.sub(r"\{\{(\w+)\}\}", lambda found: str(getattr(version, found[1])), pattern), not version.pre
    words = {"branch": branch, "tag": tag, "sha": ref.commit[:7], "commit_date 'X'": str(ref.time)}
    return prefix + re.sub(r"\{\{(.*?)\}\}", lambda found: words[found[1]], rule["value"]), False
