"""A page as a question: asked under the public name by the way that the check names, each page once however many checks read it."""

from __future__ import annotations

import urllib.parse

from pipeline.verify import expect
from pipeline.verify.expect import Page
from pipeline.verify.question import Question, World
from pipeline.verify.through import Through, parse
from pipeline.verify.view import View
from pipeline.verify.web import Answer, Ask, get


def question(check: Page, world: World) -> Question:
    """Raises ConfigError where a placeholder has no single value, or the front door has no address."""
    wanted, way = expect.filled(check, world.words), parse(check.through)
    front = world.front() if way.kind == "ingress" else ""
    name = world.host or ("localhost" if way.kind in ("port-forward", "port") else "")

    def ask(view: View, seconds: float) -> Answer:
        if front:
            return get(Ask(front, name, wanted.path, wanted.follow, wanted.method), seconds)
        address = world.ways.address(way, view)
        base = f"{way.scheme}://{f'[{address.host}]' if ':' in address.host else address.host}:{address.port}"
        with world.ways.told(way):
            return get(Ask(base, name or address.host, wanted.path, wanted.follow, wanted.method), seconds)

    return Question(
        wanted.name,
        ("page", way, wanted.path, wanted.follow, wanted.method),
        ask,
        lambda answer: expect.judge(wanted, answer, world.release),
        place=_place(way, front, world.host),
    )


def _place(way: Through, front: str, host: str) -> str:
    return f"{urllib.parse.urlsplit(front).scheme}://{host}" if front else str(way)
