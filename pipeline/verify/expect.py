"""What a page must say: the checks of a blueprint, read strictly, filled with the release's own words, held against an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline.artifacts import Check, Release
from pipeline.errors import Transient
from pipeline.schema import keyed
from pipeline.verify.through import PATH, USER_WAYS, parse
from pipeline.verify.words import compiled, fill, refuse_unknown

if TYPE_CHECKING:
    from pipeline.verify.web import Answer

LONGEST = 10_000  # characters of a value that a pattern is tried on
MOST = 100  # answers of one page in one look
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Page:
    """One page and what is expected of it.

    Of the dotted paths into a JSON body, `json` are equal to a value, `matches` to a regular expression (somewhere in the text), `at_least`
    are numbers no smaller, `present` are there and not null. `headers` are of the answer, `text` is somewhere in the body. In all of
    these {app} {commit} {short} {label} {digest} {tag} stand for the release's own, {name.digest} {name.tag} for those of one image of a
    set. `through` is the way: ingress, an address, load-balancer:SERVICE:PORT, port-forward:service/NAME:PORT. A page on a way that users
    go is asked for `times` times in the look that counts, and at most `failures` of these answers may be wrong: a front door with several
    pods behind it gives many answers. Raises ValueError if something is none of that.
    """

    path: str
    status: int = 200
    json: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    matches: Mapping[str, str] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    method: Literal["GET", "HEAD"] = "GET"
    through: str = "ingress"
    times: int = 10
    failures: int = 0

    def __post_init__(self) -> None:
        with keyed("times"):
            if not 1 <= self.times <= MOST:
                raise ValueError(f"{self.times} is not between 1 and {MOST}")
        with keyed("failures"):
            if not 0 <= self.failures < self.times:
                raise ValueError(f"{self.failures} of {self.times} answers may be wrong: name fewer than `times`, 0 or more")
        with keyed("path"):
            if not PATH.fullmatch(self.path):
                raise ValueError(f"path {self.path!r} has to start with / and have no spaces")
        with keyed("status"):
            if not 200 <= self.status <= 599:
                raise ValueError(f"{self.status} is no HTTP status that ends a request")
        with keyed("json"):
            for key, value in self.json.items():
                if not key or not (value is None or isinstance(value, str | int | float | bool)):
                    raise ValueError(f"json pairs a dotted path with one value, not {key!r} with {value!r}")
        with keyed("headers"):
            for name in self.headers:
                if not HEADER.fullmatch(name):
                    raise ValueError(f"{name!r} is no name of a header")
        if self.method == "HEAD" and (self.text or self.asks_json):
            raise ValueError("a HEAD has no body: ask for status and headers alone, or with GET")
        if "" in (*self.present, *self.matches, *self.at_least):
            raise ValueError("a dotted path into the body is empty")
        with keyed("matches"):
            for pattern in self.matches.values():
                compiled(pattern)
        refuse_unknown(
            self.text, *self.headers.values(), *self.matches.values(), *(each for each in self.json.values() if isinstance(each, str))
        )
        with keyed("through"):
            parse(self.through)

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{self.method} {self.path}" + ("" if self.through == "ingress" else f" through {self.through}")

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.through,)

    @property
    def asks_json(self) -> bool:
        return bool(self.json or self.matches or self.at_least or self.present)

    @property
    def answers(self) -> int:
        """How many answers are asked for in one look: one if the way leads to a single pod or container."""
        return self.times if parse(self.through).kind in USER_WAYS else 1

    @property
    def follow(self) -> bool:
        """A page that is expected to redirect is looked at itself, not where it leads."""
        return not 300 <= self.status < 400


def filled(wanted: Page, known: Mapping[str, str]) -> Page:
    """`wanted` with its placeholders replaced. Raises ConfigError where one has no single value."""
    return replace(
        wanted,
        json={key: fill(value, known, wanted.path) if isinstance(value, str) else value for key, value in wanted.json.items()},
        headers={name: fill(value, known, wanted.path) for name, value in wanted.headers.items()},
        text=fill(wanted.text, known, wanted.path),
        matches={key: fill(value, known, wanted.path, pattern=True) for key, value in wanted.matches.items()},
    )


def judge_all(wanted: Page, answers: Sequence[Answer | Exception], release: Release) -> Check:
    """Return whether enough of `answers` hold: how many do not, and what differs in the first of them."""
    checks = [judge(wanted, each, release) for each in answers]
    wrong = [check.evidence for check in checks if not check.passed]
    if len(checks) == 1:
        return checks[0]
    if not wrong:
        return Check(wanted.name, True, f"{checks[0].evidence}; {len(checks)} of {len(checks)} answers")
    allowed = f"{wanted.failures} may be" if wanted.failures else "none may be"
    said = f"{len(wrong)} of {len(checks)} answers are wrong, {allowed}: {wrong[0]}"
    return Check(wanted.name, len(wrong) <= wanted.failures, said)


def judge(wanted: Page, answer: Answer | Exception, release: Release) -> Check:
    """Return what one answer shows: all that differs from `wanted` is named, with what was expected and what was seen."""
    if isinstance(answer, Exception):
        return Check(wanted.name, False, answer.what if isinstance(answer, Transient) else repr(answer))
    wrong: list[str] = []
    held: list[str] = [str(answer.status)]
    if answer.status != wanted.status:
        wrong.append(f"status {answer.status}, expected {wanted.status}{_excerpt(answer)}")
    for name, value in wanted.headers.items():
        seen = answer.headers.get(name.lower())
        _hold(f"header {name}", seen if seen is not None else _NOTHING, value, held, wrong)
    if wanted.asks_json:
        body = _json(answer)
        if isinstance(body, _Unreadable):
            keys = dict.fromkeys((*wanted.json, *wanted.matches, *wanted.at_least, *wanted.present))
            wrong.append(f"{body.why}, expected JSON with " + ", ".join(keys))
        else:
            _hold_body(wanted, body, release, held, wrong)
    if wanted.text:
        plain = "content-encoding" not in answer.headers or answer.headers["content-encoding"] == "identity"
        if plain and wanted.text.encode() in answer.body:
            held.append(f"says {_shown(wanted.text)}")
        else:
            wrong.append(f"does not say {_shown(wanted.text)}{_unread(answer)}")
    return Check(wanted.name, not wrong, "; ".join(wrong or held))


def _hold_body(wanted: Page, body: Any, release: Release, held: list[str], wrong: list[str]) -> None:
    for key, expected in wanted.json.items():
        _hold(key, _at(body, key), expected, held, wrong, _commits(release))
    for key, pattern in wanted.matches.items():
        seen = _at(body, key)
        fits = isinstance(seen, str) and re.search(pattern, seen[:LONGEST])
        (held if fits else wrong).append(
            f"{key} {'=' if fits else 'is'} {_shown(seen)}" + ("" if fits else f", expected to match {pattern!r}")
        )
    for key, least in wanted.at_least.items():
        seen = _at(body, key)
        enough = isinstance(seen, int | float) and not isinstance(seen, bool) and seen >= least
        (held if enough else wrong).append(
            f"{key} {'=' if enough else 'is'} {_shown(seen)}" + ("" if enough else f", expected at least {least:g}")
        )
    for key in wanted.present:
        seen = _at(body, key)
        there = seen is not None and not isinstance(seen, _Nothing)
        (held if there else wrong).append(f"{key} {'=' if there else 'is'} {_shown(seen)}" + ("" if there else ", expected to be there"))


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


@dataclass(frozen=True)
class _Unreadable:
    why: str


def _hold(name: str, seen: Any, expected: Scalar, held: list[str], wrong: list[str], commits: tuple[str, ...] = ()) -> None:
    if type(seen) is type(expected) and seen == expected:
        held.append(f"{name} = {_shown(seen)}")
    elif expected in commits and isinstance(seen, str):
        wrong.append(f"another version answers: {name} is {_shown(seen)}, {_shown(expected)} was released")
    else:
        wrong.append(f"{name} is {_shown(seen)}, expected {_shown(expected)}")


def _commits(release: Release) -> tuple[str, ...]:
    return (release.source.commit, release.source.commit[:7], release.source.label)


def _json(answer: Answer) -> Any:
    if answer.cut or answer.headers.get("content-encoding", "identity") != "identity":
        return _Unreadable("the answer is no plain JSON" + _unread(answer))
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return _Unreadable("the answer is not JSON" + _excerpt(answer))


def _at(body: Any, path: str) -> Any:
    """The value at a dotted path; a number is an index where the body has a list."""
    for step in path.split("."):
        if isinstance(body, Mapping) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isdigit() and int(step[:9]) < len(body):
            body = body[int(step[:9])]
        else:
            return _NOTHING
    return body


def _unread(answer: Answer) -> str:
    if answer.headers.get("content-encoding", "identity") != "identity":
        return f" (sent as {_shown(answer.headers['content-encoding'])}, though plain was asked for)"
    return " (only the first MiB was read)" if answer.cut else _excerpt(answer)


def _excerpt(answer: Answer) -> str:
    text = answer.body[:400].decode(errors="replace").strip()
    return f", the answer begins {_shown(text)}" if text else ", the answer is empty"


def _shown(value: Any) -> str:
    """A value a peer may have chosen, on one line, with its control characters escaped."""
    text = repr(value) if isinstance(value, _Nothing) else json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= 120 else text[:119] + "…"
