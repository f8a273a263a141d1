"""Content that lies elsewhere: downloaded from a store that is known, without credentials, and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.errors import ConfigError, IntegrityError, Transient
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools import stores
from pipeline.tools.origin import Origin
from pipeline.tools.providers import provider_of
from pipeline.tools.references import digest_of
from pipeline.tools.registry import Client
from pipeline.tools.tokens import Account, Authorization

REPOSITORY = "team/chart"
BODY = b"content"


@pytest.fixture
def store() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as fake:
        fake.blobs[digest_of(BODY)] = BODY
        yield fake


@pytest.fixture
def registry(store: FakeRegistry) -> Iterator[FakeRegistry]:
    """A registry that sends every download on to the store, as GHCR does."""
    with FakeRegistry() as fake:
        where = f"http://{store.address}/v2/{REPOSITORY}/blobs/{digest_of(BODY)}?sig=x"
        fake.fault("GET", "/blobs/", status=307, headers={"Location": where}, count=9)
        fake.fault("HEAD", "/blobs/", status=307, headers={"Location": where}, count=9)
        yield fake


@pytest.fixture
def asking(registry: FakeRegistry) -> Iterator[Client]:
    origin = Origin("http", registry.address, read_timeout=2, deadline=4)
    client = Client(origin, Authorization(origin, Account("own", USER, lambda: PASSWORD)))
    yield client
    client.close()


def test_n02_a_download_from_a_known_store_carries_no_credentials(asking: Client, store: FakeRegistry) -> None:
    asking.stores = (store.address,)
    assert asking.fetch(REPOSITORY, digest_of(BODY), 100) == BODY
    (asked,) = store.asked
    assert (asked.method, asked.scheme) == ("GET", "")
    assert "sig=x" in asked.path


def test_n02_a_host_that_is_not_known_is_not_asked_and_named_with_what_to_write(asking: Client, store: FakeRegistry) -> None:
    with pytest.raises(ConfigError, match="sends a download on to") as refused:
        asking.fetch(REPOSITORY, digest_of(BODY), 100)
    assert f"stores: [{store.address}]" in refused.value.mend
    assert store.asked == []


def test_n08_what_a_store_gives_is_compared_with_its_digest(asking: Client, store: FakeRegistry) -> None:
    asking.stores = (store.address,)
    store.blobs[digest_of(BODY)] = b"another"
    with pytest.raises(IntegrityError):
        asking.fetch(REPOSITORY, digest_of(BODY), 100)


def test_a_blob_that_is_sent_on_is_there_and_not_uploaded_again(asking: Client, store: FakeRegistry, registry: FakeRegistry) -> None:
    asking.stores = (store.address,)
    assert asking.put_blob(REPOSITORY, BODY) == digest_of(BODY)
    assert store.asked == []
    assert registry.seen("POST") == []


def test_a_store_that_fails_is_told_as_what_passes(asking: Client, store: FakeRegistry) -> None:
    asking.stores = (store.address,)
    store.fault("GET", "/blobs/", status=503)
    with pytest.raises(Transient):
        asking.fetch(REPOSITORY, digest_of(BODY), 100)


def test_n07_a_registry_with_tls_does_not_send_on_to_one_without() -> None:
    from urllib.parse import urlsplit

    with pytest.raises(ConfigError, match="sends a download on"):
        stores.download(Origin("https", "ghcr.io"), urlsplit("http://cdn.test/x"), ("cdn.test",), {}, "GET", 9)


def test_the_stores_of_the_large_registries_are_known() -> None:
    assert "pkg-containers.githubusercontent.com" in provider_of("ghcr.io").stores
    assert "production.cloudflare.docker.com" in provider_of("docker.io").stores
    assert provider_of("registry.test").stores == ()
