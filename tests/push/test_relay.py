"""The relay: who may use it, what it adds, what it hides, and how it tells of faults."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError, PipelineError, RateLimited, ResourceError, Transient
from pipeline.push.relay import Relay
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.origin import Origin
from pipeline.tools.tokens import Account, Authorization
from tests.push.pusher import Link, basic

REPOSITORY = "team/probe"
BLOBS = f"/v2/{REPOSITORY}/blobs"
MANIFEST = f"/v2/{REPOSITORY}/manifests/v1"


@contextlib.contextmanager
def relaying(registry: FakeRegistry, **options: Any) -> Iterator[tuple[Relay, Link]]:
    """A relay to the registry, and a link to it with the right password."""
    origin = Origin("http", registry.address, read_timeout=5, deadline=20)
    asking = Origin("http", registry.address, read_timeout=5, deadline=20)
    relay = Relay(origin, Authorization(asking, Account("own", USER, lambda: PASSWORD)), REPOSITORY, **options)
    with contextlib.closing(asking), relay.listening() as address:
        yield relay, Link(str(address), relay.auth)


def upload(link: Link, content: bytes) -> list[int]:
    """The statuses of an upload in three steps; it stops where one fails."""
    status, location = link.ask("POST", f"{BLOBS}/uploads/")
    if status >= 300:
        return [status]
    patched, location = link.ask("PATCH", location, content, chunked=True)
    if patched >= 300:
        return [status, patched]
    put, _ = link.ask("PUT", f"{location}&digest=sha256:{hashlib.sha256(content).hexdigest()}")
    return [status, patched, put]


def test_nobody_without_the_password_gets_through() -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        for auth in ("", "bad", basic(USER, PASSWORD), basic("pipeline", "")):
            assert Link(link.door, auth).ask("GET", MANIFEST)[0] == 401
            assert Link(link.door, auth).ask("PATCH", f"{BLOBS}/uploads/x", b"x" * 100_000, chunked=True)[0] in (401, 599)
        assert registry.asked == []
        assert relay.traffic.uploaded == 0


def test_two_relays_have_two_passwords() -> None:
    with FakeRegistry() as registry, relaying(registry) as (one, _), relaying(registry) as (two, _):
        assert one.password != two.password
        assert len(one.password) >= 32


@pytest.mark.parametrize(
    "path",
    ["/v2/team/other/manifests/v1", "/v2/_catalog", "/v2/team/probe/../other/manifests/v1", "/api/v1/users", "/v2/token", "//evil/v2/"],
)
def test_only_the_one_repository_is_reached(path: str) -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        assert link.ask("GET", path)[0] == 404
        assert registry.asked == []


def test_the_relay_asks_for_basic_and_hides_the_realm() -> None:
    with FakeRegistry(realm="http://gitea.example.test/v2/token") as registry, relaying(registry) as (_, link):
        connection = http.client.HTTPConnection(link.door, timeout=5)
        connection.request("GET", "/v2/")
        response = connection.getresponse()
        assert response.status == 401
        assert response.getheader("WWW-Authenticate") == 'Basic realm="pipeline"'
        connection.close()
        assert link.ask("GET", "/v2/")[0] == 200
        assert link.ask("HEAD", MANIFEST)[0] == 404


def test_an_upload_passes_with_a_bearer_token_that_the_client_never_sees() -> None:
    content = bytes(range(256)) * 4000
    seen: list[int] = []
    with FakeRegistry() as registry, relaying(registry, on_bytes=seen.append) as (relay, link):
        assert upload(link, content) == [202, 202, 201]
        assert registry.blobs[f"sha256:{hashlib.sha256(content).hexdigest()}"] == content
        assert {asked.scheme for asked in registry.asked if "/blobs/" in asked.path} == {"Bearer"}
        assert registry.tokens == 1
        assert relay.traffic.uploaded == len(content)
        assert seen[-1] == len(content)
        assert relay.traffic.requests == 3


def test_connections_to_the_registry_are_kept() -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        for number in range(5):
            upload(link, b"%d" % number)
        assert len(registry.asked) == 17
        assert registry.connections <= 4  # one to ask for the token; a client may be back before the last connection is free again


def test_a_plain_http_proxy_request_is_understood() -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        registry.put(REPOSITORY, "v1")
        assert link.ask("HEAD", f"http://registry.invalid{MANIFEST}")[0] == 200
        connection = http.client.HTTPConnection(link.door, timeout=5)
        connection.request("CONNECT", "registry.invalid:443")
        assert connection.getresponse().status == 405
        connection.close()


@pytest.mark.parametrize(
    "location",
    [
        lambda real: real,
        lambda real: f"http://{{address}}{real}",
        lambda real: real.rpartition("/")[2],
    ],
    ids=["path", "absolute", "relative"],
)
def test_p23_locations_lead_back_to_the_relay(location: Callable[[str], str]) -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        registry.fault("PATCH", "uploads", location=lambda real: location(real).replace("{address}", registry.address), count=9)
        assert upload(link, b"layer") == [202, 202, 201]
        assert "_state=abc%3D" in registry.seen("PUT", "uploads")[0].path


def test_n02_p23_a_location_elsewhere_gets_nothing() -> None:
    with FakeRegistry() as attacker, FakeRegistry() as registry, relaying(registry) as (relay, link):
        registry.fault("POST", "uploads", location=lambda real: f"http://{attacker.address}{real}")
        assert upload(link, b"layer") == [403]
        assert isinstance(relay.traffic.faults[0], ConfigError)
        assert attacker.address in relay.traffic.faults[0].what
        assert attacker.asked == []


def test_p08_a_token_that_lapses_between_requests_is_renewed() -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        assert upload(link, b"one") == [202, 202, 201]
        registry._valid.clear()
        assert upload(link, b"two") == [202, 202, 201]
        assert registry.tokens == 2
        assert relay.traffic.faults == []


def test_p08_a_token_that_lapses_while_a_layer_is_sent_is_transient_and_renewed() -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        assert link.ask("HEAD", MANIFEST)[0] == 404
        _, location = link.ask("POST", f"{BLOBS}/uploads/")
        registry._valid.clear()
        assert link.ask("PATCH", location, b"layer", chunked=True)[0] == 503
        assert type(relay.traffic.faults[0]) is Transient
        assert upload(link, b"layer") == [202, 202, 201]
        assert registry.tokens == 2


def test_p09_a_registry_that_never_accepts_is_not_asked_again_and_again() -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        registry.never_accepts = True
        threads = [threading.Thread(target=link.ask, args=("HEAD", MANIFEST)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert link.ask("HEAD", MANIFEST)[0] == 403
        assert isinstance(relay.traffic.faults[-1], AuthError)
        assert registry.tokens <= 2


@pytest.mark.parametrize(
    ("fault", "answer", "kind"),
    [
        ({"status": 503}, 503, Transient),
        ({"status": 429, "headers": {"Retry-After": "77"}}, 503, RateLimited),
        ({"status": 507}, 507, ResourceError),
        ({"status": 403}, 403, AuthError),
        ({"reset": 0}, 503, Ambiguous),
        ({"swallow": True}, 503, Ambiguous),
        ({"status": 500, "stored": True}, 500, Ambiguous),
    ],
    ids=["503", "429", "507", "403", "reset", "swallow", "500-stored"],
)
def test_p03_p04_p05_p14_faults_on_the_manifest(fault: dict[str, Any], answer: int, kind: type[PipelineError]) -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        registry.fault("PUT", "manifests", **fault)
        assert link.ask("PUT", MANIFEST, b"{}", {"Content-Type": "x"})[0] == answer
        assert isinstance(relay.traffic.faults[0], kind)
        if isinstance(relay.traffic.faults[0], RateLimited):
            assert relay.traffic.faults[0].retry_after == 77


def test_p02_a_reset_in_the_middle_of_a_layer_is_told_and_the_next_try_passes() -> None:
    content = b"x" * 3_000_000
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        registry.fault("PATCH", "", reset=500_000)
        assert upload(link, content)[1] in (503, 599)
        assert isinstance(relay.traffic.faults[0], Transient)
        assert registry.address in relay.traffic.faults[0].what
        assert upload(link, content) == [202, 202, 201]


def test_a_client_that_goes_away_is_not_blamed_on_the_registry() -> None:
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        _, location = link.ask("POST", f"{BLOBS}/uploads/")
        host, _, port = link.door.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {link.auth}\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head.encode() + b"100\r\nabc")
        assert upload(link, b"layer") == [202, 202, 201]
        assert relay.traffic.faults == []


def test_p13_a_mount_that_is_refused_is_an_upload_that_can_be_cancelled() -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        status, location = link.ask("POST", f"{BLOBS}/uploads/?mount=sha256:{'0' * 64}&from=team/other")
        assert status == 202
        assert link.ask("DELETE", location)[0] == 204
        assert registry.uploads == {}


def test_p07_a_blob_said_to_be_absent_is_uploaded_again() -> None:
    digest = "sha256:" + hashlib.sha256(b"layer").hexdigest()
    with FakeRegistry() as registry, relaying(registry, absent=frozenset({digest})) as (_, link):
        registry.put(REPOSITORY, "v1", (b"layer",))
        registry.hollow.add(digest)
        assert link.ask("HEAD", f"{BLOBS}/{digest}")[0] == 404
        assert upload(link, b"layer") == [202, 202, 201]
        assert registry.hollow == set()


def test_a_guard_refuses_a_manifest_before_it_is_stored() -> None:
    def guard(reference: str, body: bytes) -> None:
        raise IntegrityError(f"{reference} is not wanted: {body.decode()}")

    with FakeRegistry() as registry, relaying(registry, guard=guard) as (relay, link):
        assert link.ask("PUT", MANIFEST, b"{}")[0] == 409
        assert registry.manifests == {}
        assert relay.traffic.faults[0].what == "v1 is not wanted: {}"


def test_n10_a_manifest_too_large_is_not_held() -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        assert link.ask("PUT", MANIFEST, b"x" * (4 * 1024 * 1024 + 1))[0] in (413, 599)
        assert link.ask("PUT", MANIFEST, b"x", chunked=True)[0] in (413, 599)
        assert registry.seen("PUT") == []


def test_nothing_listens_afterwards() -> None:
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        pass
    assert link.ask("GET", "/v2/")[0] == 599


def test_a_blob_that_is_asked_for_while_it_is_sent_is_waited_for() -> None:
    content = b"layer"
    place = f"/v2/team/probe/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
    with FakeRegistry() as registry, relaying(registry) as (relay, link):
        assert link.ask("HEAD", place)[0] == 404
        answers: list[int] = []
        with relay.uploading():
            others = [threading.Thread(target=lambda: answers.append(link.ask("HEAD", place)[0])) for _ in range(2)]
            for other in others:
                other.start()
            upload(link, content)
        for other in others:
            other.join()
    assert answers == [200, 200]


def test_a_blob_that_nobody_sends_is_not_waited_for() -> None:
    place = f"/v2/team/probe/blobs/sha256:{'0' * 64}"
    with FakeRegistry() as registry, relaying(registry) as (_, link):
        assert [link.ask("HEAD", place)[0] for _ in range(2)] == [404, 404]


def test_an_absent_blob_that_is_listed_three_times_is_sent_once() -> None:
    content = b"layer"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with FakeRegistry() as registry, relaying(registry, absent=frozenset({digest})) as (_, link):
        asked = []
        for _ in range(3):
            asked.append(link.ask("HEAD", f"/v2/team/probe/blobs/{digest}")[0])
            if asked[-1] == 404:
                upload(link, content)
    assert asked == [404, 200, 200]
