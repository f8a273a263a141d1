"""A chart's version: one, the highest of a range, or the latest; and as a registry's tag.

Source of the ranges: those that Helm takes for a chart's version, but for "1.2 - 2.0".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pipeline.errors import ConfigError
from pipeline.tools import semver
from pipeline.tools.references import TAG

TERM = re.compile(
    rf"(\^|~>?|>=|<=|!=|>|<|=)?\s*v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:-({semver.IDENTIFIER}(?:\.{semver.IDENTIFIER})*))?"
)
LATEST = "latest"
Key = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]
Test = Callable[[Key], bool]


def exact(text: str) -> bool:
    """Whether `text` names one version: three numbers, and what may follow them."""
    return semver.parse(text) is not None


def order(version: str) -> Key:
    """What a version is sorted by; what follows a + does not count. Raises ConfigError where it is not one."""
    found = semver.parse(version)
    if found is None:
        raise ConfigError(f"{version[:80]!r} is not a version", mend="write it as 1.2.3 (semver.org)")
    return found.key


def tag(version: str) -> str:
    """The tag a chart's version has in a registry, where + is not allowed. Source: helm.sh/helm/v4/pkg/registry, the same since 3.8.

    Raises ConfigError where no tag can hold it.
    """
    found = version.replace("+", "_")
    if not TAG.fullmatch(found):
        raise ConfigError(f"version {version[:80]!r} cannot be a registry's tag", mend="at most 128 letters, digits, . - and +")
    return found


def of_tags(tags: Iterable[str]) -> list[str]:
    """The versions among a repository's tags, lowest first."""
    return sorted((name for name in (each.replace("_", "+") for each in tags) if exact(name)), key=order)


def best(wanted: str, versions: Iterable[str]) -> str | None:
    """The highest of `versions` that `wanted` ("latest" or a range) allows, or None. A preliminary version (1.0.0-rc.1) only where the
    range names one. Raises ConfigError where `wanted` is not a range."""
    allows = allowing(wanted)
    return max((version for version in versions if allows(version)), key=order, default=None)


def allowing(wanted: str) -> Callable[[str], bool]:
    """Whether a version is in a range: terms with a blank or a comma between them hold together, || stands between alternatives."""
    if wanted == LATEST:
        return lambda version: order(version)[1]
    alternatives = [_terms(part.strip(), wanted) for part in wanted.split("||")]

    def allows(version: str) -> bool:
        key = order(version)
        return any((key[1] or preliminary) and all(test(key) for test in tests) for tests, preliminary in alternatives)

    return allows


def _terms(text: str, whole: str) -> tuple[list[Test], bool]:
    """The tests of one alternative, and whether it names a preliminary version."""
    tests, preliminary, at = [], False, 0
    while match := TERM.match(text, at):
        rest = text[match.end() :]
        if rest and rest[0] not in " ,":
            break
        tests.append(_test(match[1] or "=", [*match.groups()[1:4]], match[5] or ""))
        preliminary = preliminary or match[5] is not None
        at = len(text) - len(rest.lstrip(" ,"))
    if not tests or at < len(text):
        raise ConfigError(f"version {whole!r} is neither a version nor a range", mend="write 1.2.3, ^1.2, ~1.2.3, '>=1.0 <2', or latest")
    return tests, preliminary


def _test(operator: str, parts: list[str | None], after: str) -> Test:
    numbers: list[int] = []
    for part in parts:
        if part is None or not part.isdigit():
            break
        numbers.append(int(part))
    if not numbers:
        return lambda _key: operator != "!="
    whole = len(numbers) == 3
    low = order(f"{_dotted(numbers)}-{after}" if after else _dotted(numbers)) if whole else _first(numbers)
    above = _above(operator, numbers)

    def inside(key: Key) -> bool:
        return key == low if whole and operator in ("=", "!=") else low <= key < above

    tests: dict[str, Test] = {
        ">=": lambda key: key >= low,
        "<": lambda key: key < low,
        "<=": lambda key: key <= low if whole else key < above,
        ">": lambda key: key > low if whole else key >= above,
        "!=": lambda key: not inside(key),
    }
    return tests.get(operator, inside)


def _above(operator: str, numbers: list[int]) -> Key:
    """The first version above those that `operator` opens at `numbers`."""
    last = len(numbers) - 1
    if operator == "^":
        last = next((place for place, number in enumerate(numbers) if number), last)
    elif operator in ("~", "~>"):
        last = min(last, 1)
    return _first([*numbers[:last], numbers[last] + 1])


def _first(numbers: list[int]) -> Key:
    """Below every version that begins with `numbers`, the preliminary ones too."""
    major, minor, patch = [*numbers, 0, 0][:3]
    return (major, minor, patch), False, ()


def _dotted(numbers: list[int]) -> str:
    return ".".join(map(str, numbers))
