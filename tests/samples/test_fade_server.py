"""Fade's web server: its page and its API, and that it goes from node to node without losing what it acknowledged."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from pipeline.host import Address
from pipeline.lab.samples.fade import server, settings
from pipeline.lab.samples.fade.board import Board, Node
from pipeline.lab.samples.fade.dial import Target, Unreachable
from pipeline.lab.samples.fade.settings import Wrong
from pipeline.lab.samples.fade.web import Answer, Refused, Request
from pipeline.testing.proxy import FaultProxy
from tests.samples.conftest import Program, Start, ended
from tests.samples.fade import START, Cluster, quiet_port, soon

Page = dict[str, Any]


@pytest.fixture
def cluster(start: Start) -> Cluster:
    found = Cluster(start)
    found.up()
    return found


def serve(start: Start, nodes: list[int], **environment: str) -> Program:
    usual = {
        "FADE_HOST": "127.0.0.1", "FADE_PORT": str(quiet_port()), "FADE_DRAIN_SECONDS": "0", "FADE_PROBE_SECONDS": "0.1",
        "REPRAM_NODES": ",".join(f"http://127.0.0.1:{port}" for port in nodes), "FADE_COMMIT": "abc", "FADE_VERSION": "main-1",
    }  # fmt: skip
    env = usual | environment
    program = start("fade.server", int(env["FADE_PORT"]), **env)
    program.until(program.listens, START)
    return program


@pytest.fixture
def fade(start: Start, cluster: Cluster) -> Program:
    program = serve(start, cluster.ports)
    program.until(lambda: states(program) == ["up", "up", "up"], START)
    return program


@pytest.fixture
def small(start: Start) -> Program:
    """A server with one node: where it does not matter how many there are."""
    one = Cluster(start, size=1)
    one.up()
    program = serve(start, one.ports)
    program.until(lambda: states(program) == ["up"], START)
    return program


def states(fade: Program) -> list[str]:
    return list(fade.page("/health")[1]["nodes"].values())


def write(fade: Program, text: str, **more: Any) -> tuple[int, Page]:
    return fade.page("/api/messages", "POST", {"text": text, **more})


def asked(method: str, path: str, body: bytes = b"") -> Answer:
    """What a server says whose node was not found: what is refused is refused before anybody is asked."""
    return server.Program(settings.server({"REPRAM_NODES": "n0:8080"})).answer(Request(method, path, {}, {}, lambda _: body))


def texts(fade: Program) -> set[str]:
    code, page = fade.page("/api/messages")
    assert code == 200, page
    return {each["text"] for each in page["messages"]}


def test_a_message_is_written_and_read_and_on_more_than_half_of_the_nodes(fade: Program, cluster: Cluster) -> None:
    code, page = write(fade, " hello\n", author="me", ttl=50)
    assert code == 201
    assert page["copies"] >= 2
    del page["copies"]
    assert page == {"id": page["id"], "text": "hello", "author": "me", "ttl": 50, "left": 50}
    for _ in range(3):
        assert fade.page(f"/api/messages/{page['id']}")[1]["text"] == "hello"
        code, found = fade.page("/api/messages")
        assert [each["id"] for each in found["messages"]] == [page["id"]]
        assert found["complete"]


def test_a_message_is_to_be_read_at_once_whichever_node_is_next(fade: Program) -> None:
    for number in range(12):
        code, page = write(fade, f"number {number}")
        assert code == 201
        assert fade.page(f"/api/messages/{page['id']}")[0] == 200
        assert len(texts(fade)) == number + 1


def test_health_says_what_runs_and_which_nodes_answer(fade: Program, cluster: Cluster) -> None:
    nodes = {f"http://127.0.0.1:{port}": "up" for port in cluster.ports}
    assert fade.page("/health") == (200, {"status": "ok", "commit": "abc", "version": "main-1", "nodes": nodes})
    cluster.kill(1)
    fade.until(lambda: states(fade) == ["up", "down", "up"])
    code, page = fade.page("/health")
    assert (code, page["status"]) == (200, "degraded")
    cluster.up(1)
    fade.until(lambda: states(fade) == ["up", "up", "up"])


def test_a_node_that_dies_under_load_costs_no_message_and_no_request(fade: Program, cluster: Cluster) -> None:
    acknowledged: list[str] = []
    failed: list[Any] = []
    stop = threading.Event()

    def load(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            code, page = write(fade, f"{name} {number}")
            if code == 201:
                acknowledged.append(page["id"])
            else:
                failed.append(page)

    threads = [threading.Thread(target=load, args=(name,)) for name in ("one", "two")]
    for each in threads:
        each.start()
    soon(lambda: len(acknowledged) > 20)
    cluster.kill(0)
    seen = len(acknowledged)
    soon(lambda: len(acknowledged) > seen + 20, 20)
    cluster.up(0)
    cluster.kill(2)
    seen = len(acknowledged)
    soon(lambda: len(acknowledged) > seen + 20, 20)
    stop.set()
    for each in threads:
        each.join()
    assert failed == []
    kept = cluster.keys(0) | cluster.keys(1)
    assert {f"message.{each}" for each in acknowledged} <= kept


def test_the_nodes_are_asked_in_turn(cluster: Cluster) -> None:
    board = Board(tuple(Node(Target("127.0.0.1", port), up=True) for port in cluster.ports))
    first = [next(board.order()).target.port for _ in range(6)]
    assert first == cluster.ports * 2
    board.nodes[1].up = False
    assert [each.target.port for each in board.order()][-1] == cluster.ports[1], "who did not answer is asked last, and is asked"


def test_too_few_nodes_keep_no_message_and_say_so(fade: Program, cluster: Cluster) -> None:
    assert write(fade, "before")[0] == 201
    cluster.kill(1)
    cluster.kill(2)
    code, page = write(fade, "after")
    assert code == 503
    assert page["error"].startswith("only 1 of 3 nodes could keep the message")
    code, found = fade.page("/api/messages")
    assert (code, found["complete"]) == (200, False)
    assert fade.page("/api/messages/" + "0" * 24)[0] == 503, "whether there is one cannot be said"
    assert "Some nodes do not answer" in fade.ask("/")[2].decode()
    cluster.up(1, 2, REPRAM_JOIN_SECONDS="0.2")
    again = write(fade, "after", id=page["id"])
    assert again[0] == 201
    assert [each["text"] for each in fade.page("/api/messages")[1]["messages"]].count("after") == 1


def test_no_node_at_all_is_told_clearly(start: Start) -> None:
    fade = serve(start, [quiet_port()])
    code, page = write(fade, "x")
    assert (code, page["error"]) == (503, "no node could keep the message: send it again")
    assert list(page["nodes"].values()) == ["down"]
    assert fade.page("/api/messages")[0] == 503
    code, headers, body = fade.ask("/")
    assert (code, headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert b"No node answers at the moment" in body
    assert (fade.page("/health")[0], fade.page("/health/live")[0], fade.page("/health/ready")[0]) == (503, 200, 503)


def test_a_server_is_ready_once_it_has_seen_a_node_and_stays_so(fade: Program, cluster: Cluster) -> None:
    assert fade.page("/health/ready")[0] == 200
    for number in range(3):
        cluster.kill(number)
    fade.until(lambda: fade.page("/health")[0] == 503)
    assert fade.page("/health/ready")[0] == 200, "another one would see no more, and its 503 says why"


def test_a_node_that_says_nothing_is_passed_over(start: Start, cluster: Cluster) -> None:
    with FaultProxy(Address("127.0.0.1", cluster.ports[0])) as proxy:
        fade = serve(start, [proxy.address.port, *cluster.ports[1:]], FADE_PROBE_SECONDS="60")
        fade.until(lambda: states(fade) == ["up", "up", "up"])
        proxy.freeze()
        assert [write(fade, f"number {number}")[0] for number in range(3)] == [201, 201, 201]
        assert states(fade) == ["down", "up", "up"]


def test_the_same_message_twice_is_one_and_another_of_its_id_is_refused(small: Program) -> None:
    assert write(small, "hello", id="0123456789ab")[0] == 201
    assert write(small, "hello", id="0123456789ab")[0] == 201
    assert write(small, "other", id="0123456789ab")[0] == 409
    assert texts(small) == {"hello"}


def test_what_is_no_message_is_no_harm_to_the_others(fade: Program, cluster: Cluster) -> None:
    assert write(fade, "hello")[0] == 201
    assert cluster.put(0, "message.deadbeef", "not JSON")[0] == 201
    assert cluster.put(0, "other", "x")[0] == 201
    assert texts(fade) == {"hello"}
    assert fade.page("/api/messages/deadbeef")[0] == 404


def test_a_message_fades(small: Program) -> None:
    code, page = write(small, "soon gone", ttl=1)
    assert code == 201
    small.until(lambda: small.page(f"/api/messages/{page['id']}")[0] == 404, 4)
    assert texts(small) == set()


def test_the_page_shows_messages_as_text_and_runs_nothing_but_its_own(small: Program) -> None:
    write(small, "<script>alert(1)</script> <!--NOTE-->", author='"><b>me')
    code, headers, body = small.ask("/")
    text = body.decode()
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &lt;!--NOTE--&gt;" in text
    assert "&quot;&gt;&lt;b&gt;me" in text
    assert "<!--" not in text, "every place of the page is filled"
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert 'value="600"' in text
    assert "main-1 (abc)" in text
    for name in ("page.css", "page.js"):
        assert f'"/{name}"' in text
        code, headers, body = small.ask(f"/{name}")
        assert (code, headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert headers["Content-Type"].startswith("text/")
        assert len(body) > 100


def test_the_page_can_be_used_by_everybody(small: Program) -> None:
    text = small.ask("/")[2].decode()
    assert '<html lang="en">' in text
    for name in ("text", "author", "ttl"):
        assert f'<label for="{name}">' in text
        assert f'id="{name}" name="{name}"' in text
    assert 'role="status"' in text
    assert "prefers-reduced-motion" in small.ask("/page.css")[2].decode()


def test_its_form_needs_no_script(small: Program) -> None:
    code, headers, _ = small.ask("/", "POST", b"text=one+%26+two&author=&ttl=30")
    assert (code, headers["Location"]) == (303, "/")
    assert "<p>one &amp; two</p>" in small.ask("/")[2].decode()
    assert small.ask("/", "POST", b"text=x&ttl=soon")[0] == 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "text is wanted"),
        ({"text": "  "}, "text is wanted"),
        ({"text": "x" * 1001}, "1 to 1000 characters"),
        ({"text": 7}, "text is wanted"),
        ({"text": "x", "author": "y" * 41}, "at most 40"),
        ({"text": "x", "ttl": 0}, "from 1 to 86400"),
        ({"text": "x", "ttl": 86401}, "from 1 to 86400"),
        ({"text": "x", "ttl": "9"}, "whole seconds"),
        ({"text": "x", "ttl": True}, "whole seconds"),
        ({"text": "x", "id": "../../x"}, "id is 8 to 64"),
        (b"{", "not JSON"),
        ([], "a JSON object is wanted"),
    ],
)
def test_what_is_no_message_is_refused(body: Any, says: str) -> None:
    with pytest.raises(Refused) as refused:
        asked("POST", "/api/messages", body if isinstance(body, bytes) else json.dumps(body).encode())
    assert refused.value.code == 400
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [("/api/messages", "DELETE", 405), ("/next", "GET", 404), ("/api/messages/../../keys", "GET", 404), ("/page.html", "GET", 404),
     ("/health", "POST", 405)],
)  # fmt: skip
def test_what_is_not_there_is_told(path: str, method: str, code: int) -> None:
    with pytest.raises(Refused) as refused:
        asked(method, path)
    assert refused.value.code == code


def test_on_sigterm_it_drains_answers_and_ends_with_0(start: Start, cluster: Cluster) -> None:
    fade = serve(start, cluster.ports, FADE_DRAIN_SECONDS="3")
    fade.until(lambda: "up" in states(fade))
    fade.terminate()
    fade.until(lambda: fade.page("/health/ready")[0] == 503)
    assert fade.page("/health")[1]["status"] == "draining"
    assert write(fade, "still")[0] == 201
    assert ended(fade)[0] == 0


def test_a_name_that_does_not_resolve_yet_is_looked_up_again(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    known, really = False, socket.getaddrinfo

    def look_up(host: str, port: int, *more: Any, **others: Any) -> Any:
        if host == "127.0.0.1":
            return really(host, port, *more, **others)
        if not known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("pipeline.lab.samples.fade.dial.socket.getaddrinfo", look_up)
    target = Target("repram-node-0.repram-nodes", cluster.ports[0])
    with pytest.raises(Unreachable, match="does not resolve: Temporary failure"):
        target.look_up()
    with pytest.raises(Unreachable, match="was not resolved yet"):
        target.ask("GET", "/health")
    known = True
    target.look_up()
    assert target.ask("GET", "/health").code == 200
    known = False
    target.look_up()
    assert target.ask("GET", "/health").code == 200, "a name server that is down takes nobody away who was found"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "REPRAM_NODES is not set"),
        ({"REPRAM_NODES": "https://n0:8080"}, "HOST:PORT is wanted"),
        ({"REPRAM_NODES": "http://n0"}, "HOST:PORT is wanted"),
        ({"REPRAM_NODES": "n0:1", "FADE_PORT": "0"}, "FADE_PORT is '0'"),
        ({"REPRAM_NODES": "n0:1", "FADE_USUAL_TTL": "1.5"}, "FADE_USUAL_TTL is '1.5'"),
        ({"REPRAM_NODES": "n0:1", "FADE_DRAIN_SECONDS": "x"}, "FADE_DRAIN_SECONDS is 'x'"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        settings.server(environment)
    assert says in str(wrong.value)


def test_a_server_without_nodes_ends_with_2(start: Start) -> None:
    code, log = ended(start("fade.server"))
    assert code == 2
    assert log.startswith("fade: REPRAM_NODES is not set")
