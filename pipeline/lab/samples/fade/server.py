"""The web server: a page on which messages fade away, and the same as JSON. What it has acknowledged, a majority of the nodes keeps.

It keeps nothing itself, so any number of them may run. /health says which nodes answer; while none does, everything else says so with 503.
On SIGTERM /health answers 503 while everything is still served, then what is under way is answered, and the program ends with 0.
"""

from __future__ import annotations

import html
import os
import re
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import board, settings
from .board import Board, Message, Node, NoNode
from .dial import Target
from .settings import Server, Wrong
from .web import Answer, Listener, Refused, Request, fields, page, say, told, wait_for

HERE = Path(__file__).parent
FILES = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
HTML = "text/html; charset=utf-8"
OWN_ONLY = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"}
IDENTITY = re.compile(r"[0-9a-z]{8,64}")
LONGEST_TEXT, LONGEST_AUTHOR = 1000, 40  # characters
LARGEST = 16 << 10  # bytes of one request


class Program:
    """What the server answers."""

    def __init__(self, found: Server) -> None:
        self.found = found
        self.board = Board(tuple(Node(Target(*each)) for each in found.nodes))
        self.draining = threading.Event()

    def answer(self, asked: Request) -> Answer:
        """Raises Refused."""
        path, read = asked.path, asked.method == "GET"
        if path == "/api/messages" and asked.method == "POST":
            return self.post(asked)
        if path == "/" and asked.method == "POST":
            return self.form(asked)
        if not read:
            raise Refused(405, f"{path} cannot be asked so")
        try:
            if path == "/":
                return self.front()
            if path == "/api/messages":
                messages, whole = self.board.list()
                return page(200, {"messages": [each.page() for each in messages], "complete": whole})
            if path.startswith("/api/messages/"):
                return self.one(path.removeprefix("/api/messages/"))
        except NoNode as error:
            raise Refused(503, str(error), nodes=self.states()) from error
        if path in FILES:
            return Answer(200, (HERE / path[1:]).read_bytes(), FILES[path])
        return self.health(path)

    def health(self, path: str) -> Answer:
        """/health by the nodes that answer; /health/live while the program runs; /health/ready once a node was seen, until the end."""
        states = self.states()
        up = sum(state == "up" for state in states.values())
        status = "draining" if self.draining.is_set() else "ok" if up == len(states) else "degraded" if up else "unavailable"
        common = self.found.common
        found = {"status": status, "commit": common.commit, "version": common.version, "nodes": states}
        match path:
            case "/health":
                return page(200 if status in ("ok", "degraded") else 503, found)
            case "/health/ready":
                return page(503 if self.draining.is_set() or not self.board.seen.is_set() else 200, found)
            case "/health/live":
                return page(200, {"status": "alive"})
        raise Refused(404, f"there is no {path} here")

    def states(self) -> dict[str, str]:
        return {node.url: "up" if node.up else "down" for node in self.board.nodes}

    def post(self, asked: Request) -> Answer:
        """A message as JSON: its `text`, and maybe `author`, `ttl` in seconds, and an `id`, with which it may be sent again."""
        message = self.message(asked.json(LARGEST))
        copies = self.keep(message)
        return page(201, {**message.page(), "copies": copies}, Location=f"/api/messages/{message.id}")

    def form(self, asked: Request) -> Answer:
        """A message of the page's own form, of a browser that runs no script."""
        given = fields(asked.read(LARGEST).decode(errors="replace"))
        ttl = str(given.get("ttl", ""))
        self.keep(self.message({**given, "ttl": int(ttl) if ttl.isascii() and ttl.isdigit() and len(ttl) < 10 else 0}))
        return Answer(303, b"", HTML, {"Location": "/"})

    def message(self, given: dict[str, Any]) -> Message:
        """Raises Refused for what cannot be kept."""
        text, author, ttl, name = (given.get(key) for key in ("text", "author", "ttl", "id"))
        text, author = text.strip() if isinstance(text, str) else text, "" if author is None else author
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_TEXT:
            raise Refused(400, f"text is wanted: 1 to {LONGEST_TEXT} characters")
        if not isinstance(author, str) or len(author.strip()) > LONGEST_AUTHOR:
            raise Refused(400, f"author is a name of at most {LONGEST_AUTHOR} characters")
        ttl = self.found.usual_ttl if ttl is None else ttl
        if type(ttl) is not int or not 0 < ttl <= self.found.longest_ttl:
            raise Refused(400, f"ttl is whole seconds from 1 to {self.found.longest_ttl}")
        name = secrets.token_hex(12) if name is None else name
        if not isinstance(name, str) or not IDENTITY.fullmatch(name):
            raise Refused(400, "id is 8 to 64 digits and small letters")
        return Message(name, text, author.strip(), ttl, ttl)

    def keep(self, message: Message) -> int:
        try:
            return self.board.write(message.id, message.text, message.author, message.ttl)
        except NoNode as error:
            raise Refused(503, str(error), id=message.id, nodes=self.states()) from error
        except board.Refused as error:
            raise Refused(error.code, str(error)) from error

    def one(self, name: str) -> Answer:
        found = self.board.read(name) if IDENTITY.fullmatch(name) else None
        if not found:
            raise Refused(404, "there is no such message, or it has faded")
        return page(200, found.page())

    def front(self) -> Answer:
        """The page, with the messages in it: it needs no script to be read."""
        note, code = "", 200
        messages: list[Message] = []
        try:
            messages, whole = self.board.list()
            note = "" if whole else "Some nodes do not answer: messages may be missing."
        except NoNode:
            note, code = "No node answers at the moment. Nothing is lost that was kept.", 503
        text = (HERE / "page.html").read_text()
        common = self.found.common
        for name, value in {
            "MESSAGES": "".join(_item(each) for each in messages), "NOTE": note, "USUAL": str(self.found.usual_ttl),
            "VERSION": html.escape(f"{common.version} ({common.commit[:12]})"),
        }.items():  # fmt: skip
            text = text.replace(f"<!--{name}-->", value)
        return Answer(code, text.encode(), HTML, OWN_ONLY)


def _item(message: Message) -> str:
    author = html.escape(message.author or "somebody")
    return (
        f'<li data-id="{message.id}" data-ttl="{message.ttl}" data-left="{message.left}"><p>{html.escape(message.text)}</p>'
        f'<small>{author}, <span class="left">{message.left} s left</span></small>'
        f'<progress max="{message.ttl}" value="{message.left}" aria-label="time left"></progress></li>'
    )


def main() -> int:
    """Serve until SIGTERM or SIGINT. 0 after an end in order, 2 for a wrong setting."""
    came = told()
    try:
        found = settings.server(os.environ)
        program = Program(found)
        listener = Listener(found.common.host, found.common.port, program.answer)
    except Wrong as error:
        say(f"fade: {error}")
        return 2
    listener.start()
    common = found.common
    say(f"fade {common.version} ({common.commit}) on {common.host}:{common.port}, nodes {', '.join(program.states())}")
    program.board.watch(found.probe)
    wait_for(came)
    say(f"fade: draining for {common.drain:g} s")
    program.draining.set()
    time.sleep(common.drain)
    listener.end()
    say("fade: ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
