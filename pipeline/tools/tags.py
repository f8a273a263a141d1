"""What an image is called: a policy and the facts of a git ref become tags, the same that docker/metadata-action v6 gives.

Its rules, priorities and the way it writes names are facts of docker/metadata-action (README and src/meta.ts, v6). One thing differs:
`latest` is for releases only, so the bare `tag` rule gives it to a git tag that is a version without a pre-release part, and to no
other. `pipeline.tools.tag_rules` reads the policy's short form, and writes it as that action's input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pipeline.errors import ConfigError
from pipeline.tools import references, semver

SHORT = 7  # characters of a commit in a tag
PRIORITIES = {"semver": 900, "branch": 600, "tag": 600, "pr": 600, "raw": 200, "sortable": 200, "sha": 100, "commit": 100}
UNFIT = re.compile(r"[^a-zA-Z0-9._-]+")
EXPRESSION = re.compile(r"\{\{\s*(\w+)(?:\s+'([^']*)')?\s*\}\}")
SORTABLE = "{{branch}}-{{sha}}-{{commit_date 'X'}}"
LABEL = "org.opencontainers.image."
DIRTY = r"(?:-dirty-[0-9a-f]{8})?"  # what follows a short commit where the tree is not the commit's


@dataclass(frozen=True)
class Ref:
    """What git says of the commit that is built: `branch` ("" where HEAD is on none), the `tags` that name it, the number of the
    `pull` request it belongs to (0 for none), its committer's `time` (seconds since 1970). `dirty` is the label of a working copy that
    is not the commit, "" where it is."""

    commit: str
    branch: str = ""
    tags: tuple[str, ...] = ()
    pull: int = 0
    time: int = 0
    dirty: str = ""

    @property
    def short(self) -> str:
        return self.dirty or self.commit[:SHORT]

    @property
    def releases(self) -> tuple[semver.Version, ...]:
        """The versions among the git tags, the highest first."""
        found = filter(None, map(semver.parse, self.tags))
        return tuple(sorted(found, key=lambda version: version.key, reverse=True))


@dataclass(frozen=True)
class Rule:
    """One line of a policy: its `kind`, the `value` of it (pattern, prefix, text), the only branch it is for, as it was written."""

    kind: str
    value: str = ""
    branch: str = ""
    text: str = ""


@dataclass(frozen=True)
class Policy:
    """The rules in the order of their priority, and whether a release is `latest`."""

    rules: tuple[Rule, ...]
    latest: bool = True


@dataclass(frozen=True)
class Tag:
    """A tag to put on. One that `moves` stands for another image tomorrow; `branch` and `release` say what it follows ("" for neither).

    A tag that does not move stands for one commit for ever.
    """

    name: str
    moves: bool
    branch: str = ""
    release: str = ""


@dataclass(frozen=True)
class Tags:
    """All tags of one ref, the most telling first; `version` is what the label of that name says."""

    all: tuple[Tag, ...] = field(default=())
    version: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tag.name for tag in self.all)

    @property
    def fixed(self) -> tuple[Tag, ...]:
        """Those by which the image of this commit is found again: they never move."""
        return tuple(tag for tag in self.all if not tag.moves)

    @property
    def moving(self) -> tuple[Tag, ...]:
        return tuple(tag for tag in self.all if tag.moves)


def tags(policy: Policy, ref: Ref) -> Tags:
    """The tags of `ref`, each once.

    A working copy that differs from its commit gets nothing that a commit, a branch or a release is known by: only its `sha` tags, with
    the label of what is in it. Raises ConfigError where a name breaks the grammar of tags.
    """
    if ref.dirty:
        mine = [rule for rule in policy.rules if rule.kind == "sha"] or [Rule("sha", "sha-", text="sha")]
        found = [_named(rule, rule.value + ref.short, moves=False) for rule in mine]
    else:
        # where a commit is on a branch and has a git tag, the tag tells more; in the action it has one of them alone
        rules = sorted(policy.rules, key=lambda rule: (-PRIORITIES[rule.kind], rule.kind != "tag"))
        found = [tag for rule in rules for tag in _of(rule, ref)]
    given: dict[str, Tag] = {}
    for tag in found:
        given.setdefault(tag.name, tag)
    newest = next((version for version in ref.releases if not version.pre), None)
    tagged = any(rule.kind in ("tag", "semver") for rule in policy.rules)
    if policy.latest and newest and tagged and not ref.dirty:
        given.pop("latest", None)
        given["latest"] = Tag("latest", True, release=newest.version)
    return Tags(tuple(given.values()), next(iter(given), ""))


def labels(given: Tags, ref: Ref, *, title: str = "", source: str = "") -> Mapping[str, str]:
    """The labels of the OCI image specification (annotations.md): `source` is the repository's URL. `created` is the commit's time,
    so that the same commit gives the same image."""
    found = {"title": title, "source": source, "url": source, "version": given.version, "revision": "" if ref.dirty else ref.commit}
    if ref.time:
        found["created"] = datetime.fromtimestamp(ref.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {LABEL + name: value for name, value in sorted(found.items()) if value}


def by_commit(policy: Policy) -> tuple[str, ...]:
    """The expressions of the tags that `tags` calls after a commit, which is group 1 of each."""
    short, whole = f"([0-9a-f]{{{SHORT}}}){DIRTY}", "([0-9a-f]{40})"
    found = []
    for rule in policy.rules:
        if rule.kind in ("sha", "commit"):
            found.append(re.escape(sanitised(rule.value)) + (short if rule.kind == "sha" else whole))
        elif rule.kind in ("raw", "sortable"):
            parts = EXPRESSION.split(SORTABLE if rule.kind == "sortable" else rule.value)
            literal, named = parts[::3], parts[1::3]
            if named.count("sha") == 1:
                groups = [short if name == "sha" else ".+" for name in named]
                found.append("".join(re.escape(sanitised(text)) + group for text, group in zip(literal, [*groups, ""], strict=True)))
    return tuple(found)


def sanitised(name: str) -> str:
    """`name` as docker/metadata-action writes it: each run of characters that no tag has becomes one dash."""
    return UNFIT.sub("-", name)


def expressions(text: str) -> list[str]:
    """The names between double braces."""
    return [found[1] for found in EXPRESSION.finditer(text)]


def _of(rule: Rule, ref: Ref) -> list[Tag]:
    if rule.branch and rule.branch != ref.branch:
        return []
    match rule.kind:
        case "branch":
            return [_named(rule, rule.value + ref.branch, moves=True, branch=ref.branch)] if ref.branch else []
        case "pr":
            return [_named(rule, f"{rule.value}{ref.pull}", moves=True)] if ref.pull else []
        case "tag":
            return [_named(rule, rule.value + tag, moves=False) for tag in _highest_first(ref)]
        case "sha" | "commit":
            return [_named(rule, rule.value + (ref.short if rule.kind == "sha" else ref.commit), moves=False)]
        case "semver":
            return [_versioned(rule, version) for version in ref.releases]
        case _:
            return _text(rule, ref)


def _highest_first(ref: Ref) -> list[str]:
    versions = [version.raw for version in ref.releases]
    return versions + sorted(tag for tag in ref.tags if tag not in versions)


def _versioned(rule: Rule, version: semver.Version) -> Tag:
    """Of a pre-release only the whole version is given, whatever the pattern: `1.2` is for what may be relied on."""
    named = set(expressions(rule.value))
    pattern = rule.value if not version.pre or named == {"raw"} else "{{version}}"
    whole = bool({"raw", "version"} & set(expressions(pattern))) or {"major", "minor", "patch"} <= named
    name = EXPRESSION.sub(lambda found: str(getattr(version, found[1])), pattern)
    return replace(_named(rule, name, moves=not whole), release="" if whole else version.version)


def _text(rule: Rule, ref: Ref) -> list[Tag]:
    """A `raw` or `sortable` rule: nothing where an expression has no value (a branch's tag needs a branch)."""
    text = SORTABLE if rule.kind == "sortable" else rule.value
    tag = next(iter(_highest_first(ref)), "")
    values = {"branch": ref.branch, "tag": tag, "sha": ref.short, "commit_date": str(ref.time or "")}
    named = expressions(text)
    if not all(values[name] for name in named):
        return []
    name = EXPRESSION.sub(lambda found: values[found[1]], text)
    moves = not {"sha", "tag"} & set(named)
    return [_named(rule, name, moves=moves, branch=ref.branch if moves else "")]


def _named(rule: Rule, name: str, *, moves: bool, branch: str = "") -> Tag:
    fit = sanitised(name)
    if not references.TAG.fullmatch(fit):
        long = len(fit) > 128
        mine = "branch or git tag" if rule.kind in ("branch", "tag") else "prefix or text of the rule"
        raise ConfigError(
            f"rule {rule.text or rule.kind!r} gives the tag {fit[:140]!r}, which no registry takes",
            cause=f"it has {len(fit)} characters, a tag at most 128"
            if long
            else "a tag starts with a letter, a digit or _, and is not empty",
            mend=f"rename the {mine}, or leave the rule out",
        )
    return Tag(fit, moves, branch)
