"""What a page must say: the checks of a blueprint, read strictly, filled with the release's own words, held against an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.artifacts import Check, Release
from pipeline.errors import ConfigError
from pipeline.verify.web import PATH, Answer

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
NAMES = ("app", "commit", "digest", "label", "short", "tag")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Page:
    """One page and what is expected of it.

    `json` pairs a dotted path into the body with a value, `headers` are of the answer, `text` is somewhere in the body. In the values
    {app} {commit} {short} {label} {digest} {tag} stand for the release's own. Raises ValueError where something is none of that.
    """

    path: str
    status: int = 200
    json: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        if not PATH.fullmatch(self.path):
            raise ValueError(f"path {self.path!r} has to start with / and have no spaces")
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is no HTTP status that ends a request")
        for key, value in self.json.items():
            if not key or not (value is None or isinstance(value, str | int | float | bool)):
                raise ValueError(f"json pairs a dotted path with one value, not {key!r} with {value!r}")
        for name in self.headers:
            if not HEADER.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
        texts = (self.text, *self.headers.values(), *(value for value in self.json.values() if isinstance(value, str)))
        for name in PLACEHOLDER.findall(" ".join(texts)):
            if name not in NAMES:
                known = " ".join(f"{{{each}}}" for each in NAMES)
                raise ValueError(f"{{{name}}} is nothing that a release has; it has {known}")

    @property
    def follow(self) -> bool:
        """A page that is expected to redirect is looked at itself, not where it leads."""
        return not 300 <= self.status < 400


def words(release: Release, app: str) -> dict[str, tuple[str, ...]]:
    """What each placeholder may stand for; `digest` and `tag` have as many values as the release has images."""
    source = release.source
    return {
        "app": (app,),
        "commit": (source.commit,),
        "short": (source.commit[:7],),
        "label": (source.label,),
        "digest": tuple(dict.fromkeys(image.digest for image in release.images)),
        "tag": tuple(dict.fromkeys(image.tag for image in release.images)),
    }


def filled(wanted: Page, known: Mapping[str, tuple[str, ...]]) -> Page:
    """`wanted` with its placeholders replaced. Raises ConfigError where one has no single value."""

    def word(found: re.Match[str]) -> str:
        values = known[found[1]]
        if len(values) != 1 or not values[0]:
            raise ConfigError(
                f"{found[0]} in a check of {wanted.path} is not one value: the release has {len(values)}",
                mend="use {commit}, which is the same for every image",
            )
        return values[0]

    def fill(value: Scalar) -> Scalar:
        return PLACEHOLDER.sub(word, value) if isinstance(value, str) else value

    return replace(
        wanted,
        json={key: fill(value) for key, value in wanted.json.items()},
        headers={name: PLACEHOLDER.sub(word, value) for name, value in wanted.headers.items()},
        text=PLACEHOLDER.sub(word, wanted.text),
    )


def judge(wanted: Page, answer: Answer, release: Release) -> Check:
    """`wanted` held against `answer`: all that differs is named, with what was expected and what was seen."""
    wrong: list[str] = []
    held: list[str] = [str(answer.status)]
    if answer.status != wanted.status:
        wrong.append(f"status {answer.status}, expected {wanted.status}{_excerpt(answer)}")
    for name, value in wanted.headers.items():
        seen = answer.headers.get(name.lower())
        _hold(f"header {name}", seen if seen is not None else _NOTHING, value, held, wrong)
    if wanted.json:
        body = _json(answer)
        if isinstance(body, _Unreadable):
            wrong.append(f"{body.why}, expected JSON with " + ", ".join(wanted.json))
        else:
            for key, expected in wanted.json.items():
                _hold(key, _at(body, key), expected, held, wrong, _commits(release))
    if wanted.text:
        plain = "content-encoding" not in answer.headers or answer.headers["content-encoding"] == "identity"
        if plain and wanted.text.encode() in answer.body:
            held.append(f"says {_shown(wanted.text)}")
        else:
            wrong.append(f"does not say {_shown(wanted.text)}{_unread(answer)}")
    return Check(f"GET {wanted.path}", not wrong, "; ".join(wrong or held))


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
