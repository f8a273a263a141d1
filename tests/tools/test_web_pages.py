"""Somebody answers with a web page in place of a registry or an API: nothing is taken for its answer, and who it is stands in the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, PipelineError, Transient
from pipeline.push.relay import Relay
from pipeline.testing.kube import FakeKube
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.http_answer import page
from pipeline.tools.http_faults import in_place, refusal, words
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from pipeline.tools.origin import Origin
from pipeline.tools.registry import Client
from pipeline.tools.tokens import Account, Authorization

REPOSITORY = "team/probe"
NOTHING = "sha256:" + "0" * 64
HTML = {"Content-Type": "text/html; charset=utf-8"}
SQUID = (
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.01//EN">\n<html><head><meta charset=utf-8><style>body { color: red }</style>\n'
    b"<title>ERROR: The requested\n URL could not be retrieved</title></head><body><h1>ERROR</h1></body></html>"
)
PORTAL = b"<!-- saved --><HTML><BODY><script>location='/login'</script><h2>Guest &amp; visitor login</h2></BODY></HTML>"
SAYS = {SQUID: "ERROR: The requested URL could not be retrieved", PORTAL: "Guest & visitor login"}


def client(registry: FakeRegistry) -> Client:
    origin = Origin("http", registry.address, read_timeout=2, deadline=4)
    return Client(origin, Authorization(origin, Account("own", USER, lambda: PASSWORD)))


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize("body", [SQUID, PORTAL])
def test_what_a_page_says(body: bytes) -> None:
    assert page(lower(HTML), body) == SAYS[body]
    assert page({}, body) == SAYS[body]
    assert page({"content-type": "application/xhtml+xml"}, b"<p>no <b>entry</b></p>") == "no entry"
    assert page(lower(HTML), b"") == ""


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/vnd.oci.image.manifest.v1+json"])
def test_what_its_header_calls_by_another_name_is_no_page(kind: str) -> None:
    """A log of a pod, a layer."""
    assert page({"content-type": kind}, SQUID) is None
    assert page({}, b'{"errors": "<html>"}') is None
    assert page(lower(HTML), b"404 page not found") is None


def test_a_hostile_page_takes_no_time() -> None:
    for body in (b"<" * 10**7, b"<title>" * 10**6, b"<!--" * 10**6, b" " * 10**7, b"<script>" * 10**6):
        page(lower(HTML), body)
        page({}, body)
        words(body)


@pytest.mark.parametrize(("status", "body"), [(200, SQUID), (403, PORTAL), (404, SQUID), (404, PORTAL), (407, SQUID)])
@pytest.mark.parametrize(
    ("where", "ask"),
    [
        ("manifests", lambda asking: asking.manifest(REPOSITORY, "v1")),
        ("manifests", lambda asking: asking.head(REPOSITORY, "v1")),
        ("tags", lambda asking: asking.tags(REPOSITORY)),
        ("blobs", lambda asking: asking.blob(REPOSITORY, NOTHING)),
        ("blobs", lambda asking: asking.opens(REPOSITORY, NOTHING)),
        ("blobs", lambda asking: asking.fetch(REPOSITORY, NOTHING, 100)),
        ("referrers", lambda asking: asking.referrers(REPOSITORY, NOTHING)),
        ("manifests", lambda asking: asking.delete(REPOSITORY, NOTHING)),
        ("uploads", lambda asking: asking.put_blob(REPOSITORY, b"x")),
    ],
)
def test_a_page_is_no_answer_of_a_registry(where: str, ask: Callable[[Client], object], status: int, body: bytes) -> None:
    with FakeRegistry() as registry:
        registry.fault("", where, status=status, headers=HTML, body=body, count=9)
        asking = client(registry)
        with pytest.raises(ConfigError, match="a proxy answers in its place, with a web page") as caught:
            ask(asking)
        asking.close()
        assert registry.address in caught.value.what
        assert caught.value.cause.startswith(f"HTTP {status}, ")
        assert "NO_PROXY" in caught.value.mend


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_page_is_no_answer_of_the_place_for_tokens(status: int) -> None:
    with FakeRegistry(basic_too=False) as registry:
        registry.fault("GET", "/v2/token", status=status, headers=HTML, body=PORTAL)
        asking = client(registry)
        with pytest.raises(ConfigError, match=r"/v2/token: a proxy answers in its place, with a web page \(a token\)") as caught:
            asking.head(REPOSITORY, "v1")
        asking.close()
        assert caught.value.cause == f"HTTP {status}, Guest & visitor login"


def test_a_registry_behind_a_web_server_may_want_a_login_and_miss_content_by_a_page() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        named = {"WWW-Authenticate": f'Bearer realm="http://{registry.address}/v2/token"'}
        registry.fault("HEAD", "manifests", status=401, headers=HTML | named)
        asking = client(registry)
        assert asking.head(REPOSITORY, "v1") == digest
        registry.fault("GET", "manifests", status=404, headers=HTML | {"Docker-Distribution-Api-Version": "registry/2.0"}, body=SQUID)
        assert asking.manifest(REPOSITORY, "v1") is None
        asking.close()


@pytest.mark.parametrize(("status", "kind"), [(502, Transient), (503, Transient), (511, ConfigError)])
def test_a_page_that_says_that_it_is_down_passes_and_its_words_are_told(status: int, kind: type[PipelineError]) -> None:
    with FakeRegistry() as registry:
        registry.fault("GET", "manifests", status=status, headers=HTML, body=PORTAL)
        asking = client(registry)
        with pytest.raises(kind) as caught:
            asking.manifest(REPOSITORY, "v1")
        asking.close()
        assert "Guest & visitor login" in caught.value.cause


def test_a_401_that_asks_for_nothing_is_a_proxys() -> None:
    assert in_place(401, lower(HTML), SQUID, "https://r.example", "GET /v2/") is not None
    assert in_place(401, {}, b"{}", "https://r.example", "GET /v2/") is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (SQUID, SAYS[SQUID]),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>It has expired</Message></Error>", "AccessDenied It has expired"),
        (b"404 page not found\nmore", "404 page not found"),
        (b'{"errors":[{"code":"DENIED","message":"no"}]}', "DENIED no"),
        (b"", ""),
    ],
)  # fmt: skip
def test_the_words_of_an_answer_in_whatever_form(body: bytes, said: str) -> None:
    assert words(body) == said


def test_content_that_is_too_large_for_what_stands_before_the_registry() -> None:
    said = refusal(413, {}, "413 Request Entity Too Large", "https://r.example", "PUT /v2/x", written=True, now=0.0)
    assert isinstance(said, ConfigError)
    assert "client_max_body_size" in said.mend


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[tuple[Kube, FakeKube]]:
    fake = FakeKube(tmp_path)
    client = Kube(load(str(fake.kubeconfig())), timeout=3)
    yield client, fake
    client.close()
    fake.close()


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_page_is_no_answer_of_a_cluster(kube: tuple[Kube, FakeKube], status: int) -> None:
    """Above all 404: what is not there is made, or said to be gone."""
    client, fake = kube
    fake.fault = lambda _method, _path: (status, SQUID, HTML)
    for ask in (client.get, client.list, client.delete):
        with pytest.raises(ConfigError, match="a proxy answers in its place, with a web page") as caught:
            ask(path("v1", "configmaps", "shop"))
        assert caught.value.cause == f"HTTP {status}, {SAYS[SQUID]}"


def test_a_page_of_what_stands_before_a_cluster_that_is_down_is_told_in_words(kube: tuple[Kube, FakeKube]) -> None:
    client, fake = kube
    fake.fault = lambda _method, _path: (503, PORTAL, HTML)
    with pytest.raises(Transient) as caught:
        client.get(path("v1", "configmaps", "shop", "one"))
    assert caught.value.cause == SAYS[PORTAL]


def test_a_relay_takes_no_page_for_the_registrys_answer() -> None:
    for status, kind, said in ((200, ConfigError, 403), (403, ConfigError, 403), (413, ConfigError, 413), (502, Transient, 502)):
        with FakeRegistry() as registry:
            origin = Origin("http", registry.address)
            relay = Relay(origin, Authorization(origin, Account("own", USER, lambda: PASSWORD)), REPOSITORY)
            registry.fault("POST", "uploads", status=status, headers=HTML, body=SQUID)
            with relay.listening() as here:
                link = Origin("http", str(here))
                answer = link.ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/", {"Authorization": relay.expected})
                link.close()
            assert answer.status == said
            (fault,) = relay.traffic.faults
            assert isinstance(fault, kind)
            assert SAYS[SQUID] in fault.cause
