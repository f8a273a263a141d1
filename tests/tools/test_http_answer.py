"""What stands before an answer, and where a redirect leads, as servers really write them."""

from __future__ import annotations

import socket

import pytest

from pipeline.errors import AuthError, ConfigError, Transient
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.http_answer import INTERIM, challenges, leads_to, redirected, target
from pipeline.tools.origin import Origin
from pipeline.tools.registry import REDIRECTS, Client
from pipeline.tools.tokens import Account, Authorization
from tests.tools.test_origin import serving

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: last\r\n\r\nok"
BASE = "https://r.example/a/b?c"
REPOSITORY = "team/probe"


@pytest.mark.parametrize(
    "before",
    [
        HINTS,
        HINTS * 3,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 2,
        b"HTTP/1.1 199 Whatever\r\nContent-Length: 5\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_comes_before_the_answer_is_passed_over(before: bytes, method: str) -> None:
    def answer(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(before + LAST)

    with serving(answer) as address:
        origin = Origin("http", address)
        for _ in range(2):  # the connection is as good as before
            found = origin.ask(method, "/", {})
            assert (found.status, found.body, found.headers["x-kind"], "link" in found.headers) == (200, b"ok", "last", False)
        origin.close()


def test_a_server_that_only_ever_announces_is_left() -> None:
    with serving(lambda connection: connection.sendall(HINTS * (INTERIM + 1) + LAST)) as address:
        origin = Origin("http", address)
        with pytest.raises(Transient) as caught:
            origin.ask("GET", "/", {})
        assert f"more than {INTERIM} answers before the answer" in caught.value.cause


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/caf\u00c3\u00a9", "https://r.example/caf%C3%A9"),  # two bytes of UTF-8, as http.client gives them
        ("/caf\u00e9", "https://r.example/caf%E9"),  # one byte of Latin-1
        ("/caf%C3%A9", "https://r.example/caf%C3%A9"),
        ("/d\u00c3\u00a0", "https://r.example/d%C3%A0"),
        ("/with blank?and one", "https://r.example/with%20blank?and+one"),
        ("next", "https://r.example/a/next"),
        ("?page=2", "https://r.example/a/b?page=2"),
        ("//r.example/c", "https://r.example/c"),
        ("../../c", "https://r.example/c"),
        (" /c ", "https://r.example/c"),
        ("/c\r\nHost: x", "https://r.example/c%0D%0AHost:%20x"),
        ("HTTPS://R.EXAMPLE/c", "https://R.EXAMPLE/c"),
        ("https://m\u00c3\u00bcnchen.example:8443/c", "https://xn--mnchen-3ya.example:8443/c"),
        ("", BASE),
    ],
)
def test_a_location_is_read_as_curl_reads_it(location: str, leads: str) -> None:
    assert redirected(BASE, location).geturl() == leads


@pytest.mark.parametrize("location", ["https://[broken/", "https://caf\u00c3.example/"])
def test_a_location_that_is_no_address_is_a_value_error(location: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        redirected(BASE, location)


@pytest.mark.parametrize(
    ("url", "address", "there"),
    [
        ("https://r.example/c", "r.example", True),
        ("https://R.Example:443/c", "r.example", True),
        ("https://r.example/c", "r.example:443", True),
        ("https://r.example:8443/c", "r.example", False),
        ("http://r.example/c", "r.example", False),
        ("https://user@r.example/c", "r.example", False),
        ("https://other.example/c", "r.example", False),
    ],
)
def test_which_address_is_the_same_one(url: str, address: str, there: bool) -> None:
    assert leads_to(redirected(BASE, url), "https", address) is there


def test_what_is_asked_for_has_the_query() -> None:
    assert target(redirected(BASE, "https://r.example?x=1")) == "/?x=1"


def client(registry: FakeRegistry) -> Client:
    origin = Origin("http", registry.address, read_timeout=2, deadline=4)
    return Client(origin, Authorization(origin, Account("own", USER, lambda: PASSWORD)))


def test_a_registry_may_send_on_several_times_on_itself() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        there = f"http://{registry.address.upper()}/v2/{REPOSITORY}/manifests/v1"
        registry.fault("GET", "/x3/", status=302, headers={"Location": there})
        registry.fault("GET", "/x2/", status=307, headers={"Location": "x3/manifests"})
        registry.fault("GET", "manifests/v1", status=301, headers={"Location": f"//{registry.address}/v2/x2/"})
        asking = client(registry)
        manifest = asking.manifest(REPOSITORY, "v1")
        asking.close()
        assert manifest is not None
        assert manifest.digest == digest


def test_a_registry_that_sends_on_for_ever_is_left() -> None:
    with FakeRegistry() as registry:
        registry.fault("GET", "", status=302, headers={"Location": "/v2/again"}, count=99)
        asking = client(registry)
        with pytest.raises(ConfigError, match="refused GET"):
            asking.manifest(REPOSITORY, "v1")
        asking.close()
        assert len(registry.asked) == REDIRECTS


def test_a_registry_that_sends_to_no_address_is_told() -> None:
    with FakeRegistry() as registry:
        registry.fault("GET", "", status=302, headers={"Location": "http://[broken/"})
        asking = client(registry)
        with pytest.raises(ConfigError, match="what is no address") as caught:
            asking.manifest(REPOSITORY, "v1")
        asking.close()
        assert "http://[broken/" in caught.value.cause


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Bearer realm=https://r.example/t,service=r", [("bearer", {"realm": "https://r.example/t", "service": "r"})]),
        ('Bearer realm="https://g.example/t",service=g.example', [("bearer", {"realm": "https://g.example/t", "service": "g.example"})]),
        ('bearer Realm = "x" service="y" \t', [("bearer", {"realm": "x", "service": "y"})]),
        ('Basic realm="a, b",Bearer realm="x",scope="repository:x:pull,push"',
         [("basic", {"realm": "a, b"}), ("bearer", {"realm": "x", "scope": "repository:x:pull,push"})]),
        ('Negotiate, NTLM, Bearer realm="x"', [("negotiate", {}), ("ntlm", {}), ("bearer", {"realm": "x"})]),
        ('Bearer realm="say \\"x\\", y",error=invalid_token', [("bearer", {"realm": 'say "x", y', "error": "invalid_token"})]),
        ("Bearer realm=https://r.example/token?account=a&client=b, service=c",
         [("bearer", {"realm": "https://r.example/token?account=a&client=b", "service": "c"})]),
        ('Basic realm="broken', [("basic", {"realm": "broken"})]),
        ("Basic", [("basic", {})]),
        (',, "x", =', []),
    ],
)  # fmt: skip
def test_a_challenge_is_read_with_and_without_quotes(text: str, asked: object) -> None:
    assert challenges(text) == asked


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer realm=http://{address}/v2/token,service=fake",
        "bearer realm = http://{address}/v2/token",
        'Basic realm="fake", Bearer service=fake, realm="http://{address}/v2/token"',
        'Bearer realm="/v2/token"',
        'Bearer realm="http://{address}/v2/token?account=x",service="fake"',
    ],
)
def test_a_token_is_fetched_by_whatever_form_of_challenge(challenge: str) -> None:
    with FakeRegistry(basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        named = {"WWW-Authenticate": challenge.format(address=registry.address)}
        registry.fault("HEAD", "manifests", status=401, headers=named)
        origin = Origin("http", registry.address, read_timeout=2, deadline=4)
        asking = Client(origin, Authorization(origin, Account("follow", USER, lambda: PASSWORD)))
        assert asking.head(REPOSITORY, "v1") == digest
        asking.close()
        (asked,) = registry.seen("GET", "/v2/token")
        assert ("account=x&" in asked.path, "service=fake" in asked.path) == ("account" in challenge, "service" in challenge)


def test_a_login_that_is_not_spoken_here_is_told_and_no_password_is_sent() -> None:
    with FakeRegistry(basic_too=False) as registry:
        registry.fault("", "", status=401, headers={"WWW-Authenticate": "Negotiate, NTLM"}, count=9)
        origin = Origin("http", registry.address, read_timeout=2, deadline=4)
        asking = Client(origin, Authorization(origin, Account("follow", USER, lambda: PASSWORD)))
        with pytest.raises(AuthError, match="wants a login by negotiate, ntlm, which is not spoken here") as caught:
            asking.head(REPOSITORY, "v1")
        asking.close()
        assert caught.value.cause == "Negotiate, NTLM"
        assert [asked.scheme for asked in registry.asked] == [""]
