"""The token.place sample: the relay's pages and settings, the nodes it knows, how it ends, and the node that registers."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from pipeline.lab.samples.tokenplace import node
from pipeline.lab.samples.tokenplace.relay import NODES, Nodes
from pipeline.lab.samples.tokenplace.settings import TOKEN_HEADER, Wrong, settings
from tests.samples.conftest import Program, Start, ended, free_port

KEY = "c29tZS1ub2Rl"
URL = "https://staging.token.place"


@pytest.fixture
def relay(start: Start) -> Program:
    return relay_on(start, free_port())


def relay_on(start: Start, port: int, **environment: str) -> Program:
    usual = {
        "RELAY_HOST": "127.0.0.1", "RELAY_PORT": str(port), "TOKEN_PLACE_ENV": "staging", "TOKENPLACE_RELAY_PUBLIC_URL": URL,
        "TOKENPLACE_RELAY_PING_SECONDS": "0.1", "TOKENPLACE_RELAY_FORGET_SECONDS": "60", "RELAY_DRAIN_SECONDS": "0.5",
        "RELAY_COMMIT": "abc",
    }  # fmt: skip
    program = start("tokenplace.relay", port, **(usual | environment))
    program.until(program.listens)
    return program


def test_health_says_who_it_is_and_whom_it_knows(relay: Program) -> None:
    page: dict[str, Any] = {
        "status": "ok", "publicUrl": URL, "knownServers": 0, "environment": "staging", "version": "unknown", "commit": "abc",
    }  # fmt: skip
    assert relay.page("/healthz") == (200, page)
    assert relay.page("/livez") == (200, {"status": "alive"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_front_page(relay: Program, method: str) -> None:
    code, headers, body = relay.ask("/", method)
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert int(headers["Content-Length"]) > 100
    assert body.startswith(b"<!doctype html>") == (method == "GET")


def test_a_node_registers_and_sends_answers(relay: Program) -> None:
    assert relay.page("/source", "POST", {"server_public_key": KEY, "response": "early"})[0] == 409
    assert relay.page("/sink", "POST", {"server_public_key": KEY}) == (200, {"next_ping_in_x_seconds": 0.1})
    assert relay.page("/sink", "POST", {"server_public_key": KEY})[0] == 200
    assert relay.page("/healthz")[1]["knownServers"] == 1
    assert relay.page("/source", "POST", {"server_public_key": KEY, "response": "hello"}) == (200, {"status": "accepted"})
    log = relay.log.read_text()
    assert f"/sink registered {KEY[:8]}: 1 known" in log
    assert f"/sink heartbeat {KEY[:8]}: 1 known" in log
    assert f"/source {KEY[:8]}: 5 characters" in log


def test_a_relay_with_a_token_takes_only_nodes_that_show_it(start: Start) -> None:
    port = free_port()
    relay = relay_on(start, port, TOKENPLACE_RELAY_SERVER_TOKEN="s3cret-token\n")
    for shown in ({}, {TOKEN_HEADER: "another-token"}, {TOKEN_HEADER: "s3cret-toke\xfc"}):
        for path in ("/sink", "/source"):
            assert relay.ask(path, "POST", {"server_public_key": KEY, "response": "x"}, **shown)[0] == 401
    assert relay.page("/healthz")[1]["knownServers"] == 0
    compute = start("tokenplace.node", RELAY_URL=f"http://127.0.0.1:{port}", TOKENPLACE_RELAY_SERVER_TOKEN="s3cret-token")
    relay.until(lambda: relay.page("/healthz")[1]["knownServers"] == 1 and "/source" in relay.log.read_text())
    assert "s3cret" not in relay.log.read_text() + compute.log.read_text()


def test_a_token_that_the_relay_does_not_ask_for_does_no_harm(relay: Program) -> None:
    assert relay.ask("/sink", "POST", {"server_public_key": KEY}, **{TOKEN_HEADER: "some-token"})[0] == 200


def test_the_server_behind_the_relay_stands_in_its_health(start: Start) -> None:
    relay = relay_on(start, free_port(), TOKENPLACE_RELAY_UPSTREAM_URL="http://gpu-server:3000/")
    assert relay.page("/healthz")[1]["upstream"] == "http://gpu-server:3000"


@pytest.mark.parametrize(
    ("path", "method", "body", "code"),
    [
        ("/sink", "GET", None, 405),
        ("/source", "HEAD", None, 405),
        ("/next", "GET", None, 404),
        ("/next", "POST", {"server_public_key": KEY}, 404),
        ("/sink", "POST", b"{", 400),
        ("/sink", "POST", b"[" * 100_000, 400),
        ("/sink", "POST", [], 400),
        ("/sink", "POST", {}, 400),
        ("/sink", "POST", {"server_public_key": "a\nb" * 5}, 400),
        ("/sink", "POST", {"server_public_key": 7}, 400),
    ],
)
def test_what_is_not_taken_is_told(relay: Program, path: str, method: str, body: Any, code: int) -> None:
    assert relay.ask(path, method, body)[0] == code
    assert relay.page("/healthz")[1]["knownServers"] == 0


@pytest.mark.parametrize(("header", "code"), [("Content-Length: 9999999999", 413), ("Content-Length: -1", 411), ("X: y", 411)])
def test_a_body_of_no_or_too_great_length_is_not_read(relay: Program, header: str, code: int) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as peer:
        peer.sendall(f"POST /sink HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert peer.recv(100).startswith(f"HTTP/1.1 {code} ".encode())


def test_on_sigterm_it_drains_and_ends_with_0(relay: Program) -> None:
    relay.terminate()
    relay.until(lambda: relay.page("/healthz")[0] == 503)
    assert relay.page("/healthz")[1]["status"] == "draining"
    assert relay.ask("/")[0] == 200, "the pages are served while it drains"
    assert relay.page("/livez")[0] == 200
    assert ended(relay)[0] == 0
    assert not relay.listens()


def test_no_request_is_lost_while_it_ends(relay: Program) -> None:
    """Those that connected before the end are answered, and then nobody is listening any more."""
    codes: list[int] = []
    lost: list[OSError] = []

    def load() -> None:
        while relay.process.poll() is None:
            try:
                codes.append(relay.ask("/")[0])
            except ConnectionRefusedError:
                return
            except OSError as error:
                lost.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for each in threads:
        each.start()
    relay.terminate()
    for each in threads:
        each.join(15)
    assert ended(relay)[0] == 0
    assert set(codes) == {200}
    assert len(lost) <= len(threads), "at most what stood in the backlog when the socket was closed"


def test_a_node_comes_registers_and_comes_back(start: Start) -> None:
    port = free_port()
    compute = start("tokenplace.node", TOKENPLACE_RELAY_URL=f"http://127.0.0.1:{port}", TOKENPLACE_NODE_KEY=KEY)
    compute.until(lambda: "does not answer as a relay" in compute.log.read_text())
    relay = relay_on(start, port)
    relay.until(lambda: relay.page("/healthz")[1]["knownServers"] == 1)
    relay.until(lambda: "/sink heartbeat" in relay.log.read_text() and "/source" in relay.log.read_text())
    compute.terminate()
    assert ended(compute)[0] == 0
    assert f"node {KEY[:8]}: registered with http://127.0.0.1:{port}, a heartbeat every 0.1 s" in compute.log.read_text()


def test_a_node_that_is_silent_is_forgotten() -> None:
    now = [0.0]
    nodes = Nodes(60, lambda: now[0])
    assert nodes.heartbeat("one")
    now[0] = 59
    assert not nodes.heartbeat("one")
    assert nodes.heartbeat("two")
    now[0] = 118
    assert nodes.count() == 2
    now[0] = 119
    assert nodes.count() == 0
    assert not nodes.known("one")


def test_there_is_an_end_to_the_nodes_that_are_remembered() -> None:
    nodes = Nodes(60, lambda: 0.0)
    nodes.seen = {str(number): 0.0 for number in range(NODES)}
    with pytest.raises(Wrong, match="too many"):
        nodes.heartbeat("one more")
    assert not nodes.heartbeat("0"), "those that are known stay"


def test_a_port_that_is_taken_is_told(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, log = ended(start("tokenplace.relay", RELAY_HOST="127.0.0.1", RELAY_PORT=port))
    assert (code, log) == (2, f"relay: cannot listen on 127.0.0.1 port {port}: Address already in use\n")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RELAY_PORT": "http"}, "RELAY_PORT is 'http'"),
        ({"RELAY_HOST": "a b"}, "RELAY_HOST is 'a b'"),
        ({"TOKEN_PLACE_ENV": "stagging"}, "TOKEN_PLACE_ENV is 'stagging': one of development, testing, staging, production"),
        ({"TOKEN_PLACE_ENV": "staging"}, "TOKENPLACE_RELAY_PUBLIC_URL is not set"),
        ({"TOKENPLACE_RELAY_PUBLIC_URL": "staging.token.place"}, "is 'staging.token.place': an address such as"),
        ({"RELAY_PUBLIC_URL": "staging.token.place"}, "RELAY_PUBLIC_URL is 'staging.token.place'"),
        ({"TOKENPLACE_RELAY_UPSTREAM_URL": "gpu:3000"}, "TOKENPLACE_RELAY_UPSTREAM_URL is 'gpu:3000'"),
        ({"TOKENPLACE_RELAY_SERVER_TOKEN": "a b"}, "TOKENPLACE_RELAY_SERVER_TOKEN is not one word"),
        ({"TOKENPLACE_RELAY_PUBLIC_URL": "https://me:secret@x"}, "an address such as"),
        ({"TOKENPLACE_RELAY_PUBLIC_URL": "https://x/path"}, "with no path"),
        ({"TOKENPLACE_RELAY_PUBLIC_URL": "https://[x"}, "an address such as"),
        ({"TOKENPLACE_RELAY_PING_SECONDS": "60"}, "less than TOKENPLACE_RELAY_FORGET_SECONDS"),
        ({"TOKENPLACE_RELAY_PING_SECONDS": "0"}, "more than 0"),
        ({"RELAY_DRAIN_SECONDS": "inf"}, "RELAY_DRAIN_SECONDS is 'inf'"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        settings(environment)
    assert says in str(wrong.value)


def test_settings_of_the_plan() -> None:
    found = settings({"TOKEN_PLACE_ENV": "staging", "TOKENPLACE_RELAY_PUBLIC_URL": URL + "/"})
    assert (found.port, found.environment, found.public_url) == (5010, "staging", URL)
    found = settings({"TOKEN_PLACE_ENV": "staging", "RELAY_PUBLIC_URL": URL, "TOKENPLACE_RELAY_SERVER_TOKEN": "s3cret-token\n"})
    assert (found.public_url, found.token) == (URL, "s3cret-token")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "TOKENPLACE_RELAY_URL is ''"),
        ({"TOKENPLACE_RELAY_URL": "file:///etc/passwd"}, "the relay's address is wanted"),
        ({"RELAY_URL": "relay"}, "RELAY_URL is 'relay'"),
        ({"RELAY_URL": "http://relay", "TOKENPLACE_RELAY_PORT": "tcp://10.0.0.1:5010"}, "TOKENPLACE_RELAY_PORT is 'tcp://10.0.0.1:5010'"),
        ({"TOKENPLACE_RELAY_URL": "http://relay:5010", "TOKEN_PLACE_ENV": "prod"}, "TOKEN_PLACE_ENV is 'prod'"),
        ({"TOKENPLACE_RELAY_URL": "http://relay:5010", "TOKENPLACE_NODE_KEY": "x"}, "TOKENPLACE_NODE_KEY is not a public key"),
    ],
)
def test_a_wrong_setting_of_the_node_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        node.settings(environment, "machine")
    assert says in str(wrong.value)


def test_a_node_without_a_key_is_named_by_its_machine() -> None:
    url = {"TOKENPLACE_RELAY_URL": "http://relay:5010/"}
    assert node.settings(url, "one").key == node.settings(url, "one").key != node.settings(url, "two").key
    assert node.settings(url, "one").relay == "http://relay:5010"


@pytest.mark.parametrize(
    ("environment", "relay"),
    [
        ({"TOKENPLACE_RELAY_URL": "https://staging.token.place"}, "https://staging.token.place"),
        ({"RELAY_URL": "http://relay", "RELAY_PORT": "5010"}, "http://relay:5010"),
        ({"TOKENPLACE_RELAY_URL": "http://relay/", "RELAY_URL": "http://other", "TOKENPLACE_RELAY_PORT": "8080"}, "http://relay:8080"),
        ({"TOKENPLACE_RELAY_URL": "http://relay:5010", "TOKENPLACE_RELAY_PORT": "tcp://10.0.0.1:5010"}, "http://relay:5010"),
    ],
)
def test_where_the_node_finds_the_relay(environment: dict[str, str], relay: str) -> None:
    """By the names of the plan; the last case is what Kubernetes sets beside a Service tokenplace-relay."""
    assert node.settings(environment, "one").relay == relay


def test_a_node_with_a_wrong_setting_ends_with_2(start: Start) -> None:
    code, log = ended(start("tokenplace.node"))
    assert code == 2
    assert log.startswith("node: TOKENPLACE_RELAY_URL is ''")
