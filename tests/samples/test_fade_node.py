"""Fade's nodes as processes: they replicate, a node that comes back empty gets everything, a partition heals, and how one ends."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pipeline.host import Address
from pipeline.lab.samples.fade import wire
from pipeline.lab.samples.fade.cluster import Cluster as Members
from pipeline.lab.samples.fade.node import Program
from pipeline.lab.samples.fade.settings import Wrong, node
from pipeline.lab.samples.fade.store import BUCKETS, Store
from pipeline.lab.samples.fade.web import Refused, Request
from pipeline.testing.proxy import FaultProxy
from tests.samples.conftest import Start, ended
from tests.samples.fade import Cluster, ask, soon


@pytest.fixture
def cluster(start: Start) -> Cluster:
    return Cluster(start)


@pytest.fixture
def alone(start: Start) -> Cluster:
    """One node, by design."""
    found = Cluster(start, size=1)
    found.up(REPRAM_PEERS="", REPRAM_ENTRIES="3", REPRAM_LONGEST_TTL="100", FADE_COMMIT="abc")
    return found


def test_what_is_written_on_one_node_is_read_from_the_others(cluster: Cluster) -> None:
    cluster.up()
    code, page = cluster.put(0, "a", "hello")
    assert (code, page["nodes"], page["quorum"]) == (201, 3, True)
    assert page["copies"] >= 2
    for number in (1, 2):
        soon(lambda number=number: cluster.get(number, "a") == "hello")  # type: ignore[misc]
    assert cluster.put(2, "a", "again")[0] == 201
    for number in (0, 1):
        soon(lambda number=number: cluster.get(number, "a") == "again")  # type: ignore[misc]
    assert ask(cluster.ports[1], "DELETE", "/data/a")[0] == 200
    for number in (0, 2):
        soon(lambda number=number: cluster.get(number, "a") == 404)  # type: ignore[misc]


def test_a_node_that_was_killed_loses_nothing_and_comes_back_with_everything(cluster: Cluster) -> None:
    cluster.up()
    kept = {f"k{number}" for number in range(300)}
    for key in sorted(kept):
        assert cluster.put(int(key[1:]) % 3, key, f"value of {key}")[0] == 201
    cluster.kill(1)
    assert cluster.put(0, "meanwhile", "x")[0] == 201
    assert cluster.keys(0) | cluster.keys(2) == kept | {"meanwhile"}
    cluster.up(1)
    assert cluster.keys(1) == kept | {"meanwhile"}, "and was ready no sooner"
    assert cluster.get(1, "k7") == "value of k7"
    left = next(each["left"] for each in cluster.nodes[1].page("/keys?prefix=k7")[1]["keys"])
    assert left <= 60, "what comes back has no longer to live"


def test_every_node_may_go_in_turn_as_an_update_makes_them(cluster: Cluster) -> None:
    cluster.up()
    assert all(cluster.put(number % 3, f"k{number}", "x")[0] == 201 for number in range(30))
    for number in (2, 1, 0):
        cluster.nodes[number].terminate()
        assert ended(cluster.nodes[number])[0] == 0
        cluster.up(number)
    assert all(len(cluster.keys(number)) == 30 for number in range(3))


def test_a_node_that_finds_nobody_is_not_ready_and_says_whom_it_misses(cluster: Cluster) -> None:
    cluster.up(0, ready=False, REPRAM_JOIN_SECONDS="0")
    time.sleep(0.5)
    assert cluster.health(0)[1]["status"] == "joining"
    assert cluster.nodes[0].page("/health/live")[0] == 200
    assert cluster.put(0, "a", "x")[0] == cluster.get(0, "a") == 503
    peers = cluster.nodes[0].page("/status")[1]["peers"]
    assert "refused" in peers[f"127.0.0.1:{cluster.gossip[1]}"]["why"]
    cluster.up(1, REPRAM_JOIN_SECONDS="0")
    soon(lambda: cluster.health(0)[0] == 200)


def test_a_node_waits_for_so_many_peers_that_one_has_what_a_majority_kept(cluster: Cluster) -> None:
    cluster.up(0, 1, ready=False)
    time.sleep(0.5)
    assert [cluster.health(number)[0] for number in (0, 1)] == [503, 503], "one of two peers may be the one that missed a write"
    cluster.up(2)
    soon(lambda: [cluster.health(number)[0] for number in (0, 1)] == [200, 200])


@pytest.mark.parametrize(("size", "quorum", "needed"), [(2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3)])
def test_how_many_peers_are_needed(size: int, quorum: int, needed: int) -> None:
    peers = ",".join(f"n{number}.nodes:9090" for number in range(size))
    found = Members(node({"REPRAM_PEERS": peers}, "n0"), Store("n0.00000000", 10, 1 << 20))
    assert (found.size, found.quorum, found.needed) == (size, quorum, needed)
    assert quorum - 1 + needed > size - 1, "a majority without this node, and that many others, have one in common"


def test_a_write_says_how_many_copies_it_has_where_they_are_too_few(cluster: Cluster) -> None:
    cluster.up(REPRAM_WRITE_SECONDS="60")
    cluster.kill(1)
    cluster.kill(2)
    code, page = cluster.put(0, "a", "x")
    assert (code, page["copies"], page["quorum"]) == (202, 1, False)
    cluster.up(1, REPRAM_JOIN_SECONDS="0.2")
    assert cluster.get(1, "a") == "x"


def test_a_peer_that_has_no_room_left_is_no_copy(cluster: Cluster) -> None:
    cluster.up(REPRAM_ENTRIES="1")
    assert cluster.put(0, "a", "x")[0] == 201
    assert cluster.put(0, "b", "x")[0] == 507
    cluster.kill(0)
    cluster.up(0, REPRAM_ENTRIES="10")
    code, page = cluster.put(0, "b", "x")
    assert (code, page["copies"]) == (202, 1)


@pytest.fixture
def links(cluster: Cluster) -> Iterator[list[FaultProxy]]:
    """Every way to node 2, and every way from it."""
    with ExitStack() as stack:
        ways = [((0, 2), 2), ((1, 2), 2), ((2, 0), 0), ((2, 1), 1)]
        made = [stack.enter_context(FaultProxy(Address("127.0.0.1", cluster.gossip[target]))) for _, target in ways]
        cluster.links = {way: proxy.address.port for (way, _), proxy in zip(ways, made, strict=True)}
        yield made


@pytest.mark.parametrize("how", ["refuse", "freeze"])
def test_a_partition_heals(cluster: Cluster, links: list[FaultProxy], how: str) -> None:
    cluster.up(REPRAM_WRITE_SECONDS="3")
    assert cluster.put(0, "before", "x")[0] == 201
    for each in links:
        getattr(each, how)()
    assert cluster.put(0, "greater", "x")[0] == 201
    assert cluster.put(2, "smaller", "x")[0] == 202
    assert cluster.put(0, "both", "of the greater side")[0] == 201
    assert cluster.put(2, "both", "of the smaller side")[0] == 202
    assert cluster.get(2, "greater") == cluster.get(0, "smaller") == 404
    for each in links:
        (each.accept if how == "refuse" else each.thaw)()
    every = {"before", "greater", "smaller", "both"}
    soon(lambda: all(cluster.keys(number) == every for number in range(3)), 15)
    soon(lambda: len({cluster.get(number, "both") for number in range(3)}) == 1)


def test_what_was_written_on_a_node_alone_is_handed_over_when_it_is_ended(cluster: Cluster, links: list[FaultProxy]) -> None:
    cluster.up(REPRAM_SYNC_SECONDS="60")
    for each in links:
        each.refuse()
    assert cluster.put(2, "a", "x")[0] == 202
    for each in links:
        each.accept()
    assert cluster.get(0, "a") == cluster.get(1, "a") == 404
    cluster.nodes[2].terminate()
    assert ended(cluster.nodes[2])[0] == 0
    assert cluster.get(0, "a") == cluster.get(1, "a") == "x"


def test_on_sigterm_it_takes_no_write_is_read_from_and_ends_with_0(start: Start) -> None:
    cluster = Cluster(start)
    cluster.up(REPRAM_DRAIN_SECONDS="3")
    cluster.put(0, "a", "x")
    cluster.nodes[0].process.send_signal(signal.SIGTERM)
    soon(lambda: cluster.health(0)[0] == 503)
    assert cluster.health(0)[1]["status"] == "draining"
    assert cluster.get(0, "a") == "x"
    assert cluster.put(0, "b", "x")[0] == 503
    assert cluster.nodes[0].page("/health/live")[0] == 200
    assert ended(cluster.nodes[0])[0] == 0


def test_a_node_alone_by_design_is_ready_and_says_what_it_is(alone: Cluster) -> None:
    page = {"status": "ok", "ready": True, "node": "n0", "commit": "abc", "version": "unknown", "nodes": 1, "reached": 1}
    assert alone.health(0) == (200, page)
    assert alone.put(0, "a", "x")[0] == 201


def test_a_value_fades_and_says_how_long_it_has(alone: Cluster) -> None:
    alone.put(0, "a", "x", ttl=1)
    code, headers, body = alone.nodes[0].ask("/data/a")
    assert (code, headers["X-TTL"], headers["X-Remaining-TTL"], body) == (200, "1", "1", b"x")
    soon(lambda: alone.get(0, "a") == 404, 3)


def test_memory_is_bounded_and_the_bound_is_told(alone: Cluster) -> None:
    assert [alone.put(0, f"k{number}", "x")[0] for number in range(4)] == [201, 201, 201, 507]
    assert alone.keys(0) == {"k0", "k1", "k2"}


def test_the_same_write_twice_is_one_where_it_is_to_be_new(alone: Cluster) -> None:
    codes = [alone.put(0, "a", value, 60, **{"If-None-Match": "*"})[0] for value in ("x", "x", "y")]
    assert codes == [201, 201, 409]
    assert alone.get(0, "a") == "x"


@pytest.mark.parametrize(
    ("path", "method", "given", "code"),
    [
        ("/data/a", "PUT", {"x-ttl": "0"}, 400),
        ("/data/a", "PUT", {"x-ttl": "86401"}, 400),
        ("/data/a", "PUT", {"x-ttl": "²"}, 400),
        ("/data/a", "PUT", {"x-ttl": "9" * 5000}, 400),
        ("/data/../a", "PUT", {}, 400),
        ("/data/", "PUT", {}, 400),
        ("/data/" + "a" * 201, "GET", {}, 400),
        ("/data/a", "GET", {}, 404),
        ("/keys", "DELETE", {}, 405),
        ("/data", "POST", {}, 405),
        ("/", "GET", {}, 404),
    ],
)
def test_what_is_not_taken_is_told(path: str, method: str, given: dict[str, str], code: int) -> None:
    program = Program(node({"REPRAM_PEERS": ""}, "n0"))
    program.cluster.look()
    with pytest.raises(Refused) as refused:
        program.answer(Request(method, path, {}, given, lambda _: b"x"))
    assert refused.value.code == code
    assert program.store.counts() == (0, 0)


NO_REQUESTS = [
    ("PUT /data/a", "Content-Length: 65537", 413),
    ("PUT /data/a", "Content-Length: 9999999999999999", 413),
    ("PUT /data/a", "Content-Length: -1", 411),
    ("PUT /data/a", "X: y", 411),
    ("PUT /data/a", "Transfer-Encoding: chunked", 411),
    ("PUT /data/a?ttl=101", "Content-Length: 0", 400),
    ("GET /keys?limit=0", "X: y", 400),
    ("GET /health?" + "a&" * 30, "X: y", 400),
    ("PATCH /data/a", "X: y", 501),
]


def test_a_request_that_is_none_is_told(alone: Cluster) -> None:
    for line, header, code in NO_REQUESTS:
        with socket.create_connection(("127.0.0.1", alone.ports[0]), timeout=5) as peer:
            peer.sendall(f"{line} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
            assert peer.recv(100).startswith(f"HTTP/1.1 {code} ".encode()), line
    assert alone.keys(0) == set()


@pytest.mark.parametrize("message", ["{", "[]", "[" * 100_000, '{"entries": 7}', '{"entries": [{"key": "a"}]}'])
@pytest.mark.parametrize("what", ["push", "bucket"])
def test_what_no_node_says_is_refused_and_changes_nothing(what: str, message: str) -> None:
    program = Program(node({"REPRAM_PEERS": ""}, "n0"))
    with pytest.raises(Refused) as refused:
        program.gossip(Request("POST", f"/gossip/{what}", {}, {}, lambda _: message.encode()))
    assert refused.value.code == 400
    assert program.store.counts() == (0, 0)


def test_a_bucket_that_is_larger_than_a_message_comes_in_parts() -> None:
    program = Program(node({"REPRAM_PEERS": ""}, "n0"))
    other = Store("n1.00000000", 1000, 1 << 24)
    keys = [key for key in (f"k{number}" for number in range(3000)) if program.store.put(key, b"x" * 100, 60)]
    number = next(number for number in range(BUCKETS) if program.store.bucket(number))
    here = {each.key for each in program.store.bucket(number)}
    for key in keys:
        if key in here:
            program.store.put(key, b"x" * 60_000, 60)
    rounds, more = 0, True
    while more:
        have = {each.key: str(each.version) for each in other.bucket(number)}
        page = json.loads(program.gossip(Request("POST", "/gossip/bucket", {}, {}, _body({"bucket": number, "have": have}))).body)
        assert page["entries"], "each part has something"
        assert page["wanted"] == []
        for entry in wire.unpacked(page["entries"], other.now()):
            other.merge(entry)
        rounds, more = rounds + 1, page["more"]
    assert rounds > 1
    assert {each.key for each in other.bucket(number)} == here


def _body(given: dict[str, object]) -> Callable[[int], bytes]:
    return lambda _: json.dumps(given).encode()


def test_a_peer_that_speaks_another_language_is_down_and_harms_nobody(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        cluster = Cluster(start)
        cluster.gossip[2] = stranger.getsockname()[1]
        cluster.up(0, 1, REPRAM_JOIN_SECONDS="0.2")
        peer, _ = stranger.accept()
        peer.sendall(b"SSH-2.0-x\r\n")
        peer.close()
        assert cluster.put(0, "a", "x")[0] == 201
        assert cluster.nodes[0].page("/status")[1]["peers"][f"127.0.0.1:{cluster.gossip[2]}"]["state"] == "down"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"REPRAM_PORT": "http"}, "REPRAM_PORT is 'http'"),
        ({"REPRAM_HOST": "a b"}, "REPRAM_HOST is 'a b'"),
        ({"REPRAM_NAME": "A_b"}, "REPRAM_NAME is 'A_b'"),
        ({"REPRAM_PORT": "9090"}, "are both 9090"),
        ({"REPRAM_PEERS": "n0"}, "'n0' in it: HOST:PORT"),
        ({"REPRAM_PEERS": "n0:70000"}, "HOST:PORT is wanted"),
        ({"REPRAM_PEERS": "n0:1,n0:1"}, "names a node twice"),
        ({"REPRAM_PEERS": ",".join(f"n{each}:1" for each in range(16))}, "at most 15"),
        ({"REPRAM_USUAL_TTL": "20", "REPRAM_LONGEST_TTL": "10"}, "REPRAM_USUAL_TTL is '20'"),
        ({"REPRAM_SYNC_SECONDS": "0"}, "from 0.02 to 300"),
        ({"REPRAM_JOIN_SECONDS": "nan"}, "REPRAM_JOIN_SECONDS is 'nan'"),
        ({"REPRAM_SPACE": "1"}, "REPRAM_SPACE is '1'"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        node(environment, "machine")
    assert says in str(wrong.value)


def test_a_node_is_told_its_peers_as_kubernetes_names_them_and_is_not_its_own() -> None:
    names = [f"repram-node-{number}.repram-nodes.fade.svc.cluster.local" for number in range(3)]
    found = node({"REPRAM_PEERS": ", ".join(f"http://{name}:9090/" for name in names), "REPRAM_NAME": "repram-node-1"}, "machine")
    assert found.peers == tuple((name, 9090) for name in names)
    assert [peer.target.host for peer in Members(found, Store("x", 1, 1)).others] == [names[0], names[2]]


def test_a_port_that_is_taken_is_told(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, log = ended(start("fade.node", REPRAM_HOST="127.0.0.1", REPRAM_PORT=port, REPRAM_NAME="n0"))
    assert (code, log) == (2, f"node: cannot listen on 127.0.0.1 port {port}: Address already in use\n")
