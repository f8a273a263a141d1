"""A page as a question: asked under the public name by the way that the check names, each page once however many checks read it."""

from __future__ import annotations

import urllib.parse

from pipeline.verify import expect
from pipeline.verify.expect import Page
from pipeline.verify.parallel import a_few_at_once
from pipeline.verify.question import Question, World
from pipeline.verify.through import Through, parse
from pipeline.verify.view import View
from pipeline.verify.web import Answer, Ask, get

SHORTEST = 0.2  # seconds for the answers after the first


def question(check: Page, world: World) -> Question:
    """Raises ConfigError where a placeholder has no single value, or the front door has no address."""
    wanted, way = expect.filled(check, world.words), parse(check.through)
    front = world.front() if way.kind == "ingress" else ""
    name = world.host or ("localhost" if way.kind in ("port-forward", "port") else "")

    def ask(view: View, seconds: float) -> list[Answer | Exception]:
        """Return one answer, and the others with it only if it has the right status: what is not up yet is asked once a look."""
        first = ask_once(view, seconds)
        if first.status != wanted.status:
            return [first]
        left = max(SHORTEST, seconds - first.seconds)
        return [first, *a_few_at_once([lambda: ask_once(view, left)] * (wanted.answers - 1), left)]

    def ask_once(view: View, seconds: float) -> Answer:
        if front:
            return get(Ask(front, name, wanted.path, wanted.follow, wanted.method), seconds)
        address = world.ways.address(way, view)
        base = f"{way.scheme}://{f'[{address.host}]' if ':' in address.host else address.host}:{address.port}"
        with world.ways.told(way):
            return get(Ask(base, name or address.host, wanted.path, wanted.follow, wanted.method), seconds)

    return Question(
        wanted.name,
        ("page", way, wanted.path, wanted.follow, wanted.method, wanted.answers),
        ask,
        lambda answers: expect.judge_all(wanted, answers, world.release),
        place=_place(way, front, world.host),
    )


def _place(way: Through, front: str, host: str) -> str:
    return f"{urllib.parse.urlsplit(front).scheme}://{host}" if front else str(way)
