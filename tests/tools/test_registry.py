"""The registry's client: what it believes, where credentials go, what each refusal means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError, RateLimited, Transient
from pipeline.testing import FakeClock
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.origin import Origin
from pipeline.tools.registry import MANIFEST_CAP, Client
from pipeline.tools.tokens import Account, Authorization

REPOSITORY = "team/probe"


OPENED: list[Client] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def client(
    registry: FakeRegistry, realm: str = "own", *, username: str = USER, password: str = PASSWORD,
    say: Callable[[str], None] = lambda _: None, clock: FakeClock | None = None,
) -> Client:  # fmt: skip
    origin = Origin("http", registry.address, read_timeout=2, deadline=4, clock=clock)
    OPENED.append(Client(origin, Authorization(origin, Account(realm, username, lambda: password), say=say)))
    return OPENED[-1]


def test_a_lone_head_is_one_request() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        assert client(registry).head(REPOSITORY, "v1") == digest
        assert [(asked.method, asked.scheme) for asked in registry.asked] == [("HEAD", "Basic")]


def test_what_is_not_there_is_none() -> None:
    with FakeRegistry() as registry:
        asking = client(registry)
        assert asking.head(REPOSITORY, "v1") is None
        assert asking.manifest(REPOSITORY, "v1") is None
        assert asking.blob(REPOSITORY, "sha256:" + "0" * 64) is None
        assert not asking.opens(REPOSITORY, "sha256:" + "0" * 64)
        assert asking.tags(REPOSITORY) == ()
        assert not asking.exists(f"{registry.address}/{REPOSITORY}@sha256:" + "0" * 64)


def test_a_manifest_is_known_by_its_bytes() -> None:
    with FakeRegistry() as registry:
        digest, config = registry.put(REPOSITORY, "v1", (b"one", b"second"))
        asking = client(registry)
        manifest = asking.manifest(REPOSITORY, "v1")
        assert manifest is not None
        assert (manifest.digest, manifest.config, [size for _, size in manifest.layers]) == (digest, config, [3, 6])
        assert asking.exists(f"{registry.address}/{REPOSITORY}@{digest}")
        assert asking.blob(REPOSITORY, manifest.layers[1][0]) == 6
        assert asking.opens(REPOSITORY, config)
        assert asking.resolve(REPOSITORY, "v1") == digest


def test_a_reference_to_another_registry_is_not_asked_here() -> None:
    with FakeRegistry() as registry, pytest.raises(ConfigError):
        client(registry).exists("elsewhere.test/team/probe@sha256:" + "0" * 64)


def test_a_tag_is_put_on_the_same_bytes() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        asking = client(registry)
        manifest = asking.manifest(REPOSITORY, digest)
        assert manifest is not None
        assert asking.put_manifest(REPOSITORY, "v2", manifest) == digest
        assert registry.tags[REPOSITORY, "v2"] == digest
        assert sorted(asking.tags(REPOSITORY)) == ["v1", "v2"]


def test_n08_a_forged_digest_header_is_found_out() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        registry.lies[digest] = "sha256:" + "6" * 64
        with pytest.raises(IntegrityError, match="not what the registry says") as caught:
            client(registry).manifest(REPOSITORY, "v1")
        assert digest in caught.value.cause
        registry.lies[digest] = "sha256:../../etc"
        with pytest.raises(IntegrityError):
            client(registry).head(REPOSITORY, "v1")


def test_n08_other_bytes_than_asked_for() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        media_type, body = registry.manifests[REPOSITORY, digest]
        registry.manifests[REPOSITORY, digest] = (media_type, body + b" ")
        registry.lies[digest] = digest
        with pytest.raises(IntegrityError):
            client(registry).manifest(REPOSITORY, digest)


@pytest.mark.parametrize(
    "body", [b"<xml>", b"[]", b'{"config":{}}', b'{"config":{"digest":"sha256:../x"},"layers":[]}', b'{"layers":[{"digest":1}]}']
)
def test_t03_what_is_no_manifest(body: bytes) -> None:
    with FakeRegistry() as registry:
        registry.fault("GET", "manifests", status=200, body=body)
        with pytest.raises(IntegrityError):
            client(registry).manifest(REPOSITORY, "v1")


def test_n10_a_manifest_larger_than_the_specification_allows() -> None:
    with FakeRegistry() as registry:
        registry.fault("GET", "manifests", status=200, body=b" " * (MANIFEST_CAP + 1))
        with pytest.raises(IntegrityError, match="larger than"):
            client(registry).manifest(REPOSITORY, "v1")


def test_p07_a_blob_that_only_the_database_knows_does_not_open() -> None:
    with FakeRegistry() as registry:
        _, config = registry.put(REPOSITORY, "v1")
        registry.hollow.add(config)
        asking = client(registry)
        assert asking.blob(REPOSITORY, config) == 2
        assert not asking.opens(REPOSITORY, config)


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest",
        "http://gitea.example.test:80/v2/token",
        "file:///etc/passwd",
        "https://[::1",
        "",
        "http://127.0.0.1:1/v2/token",
    ],
)
def test_n01_p10_the_realm_a_registry_names_is_only_shown(realm: str) -> None:
    with FakeRegistry(realm=realm, basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        said: list[str] = []
        assert client(registry, say=said.append).head(REPOSITORY, "v1") == digest
        assert registry.tokens == 1
        assert realm in said[0]
        assert f"{registry.address}/v2/token" in said[0]


@pytest.mark.parametrize("realm", ["http://169.254.169.254/latest", "https://127.0.0.1:1/token", "", "https://[::1"])
def test_n01_follow_goes_only_to_the_registry_itself(realm: str) -> None:
    with FakeRegistry(realm=realm) as registry:
        registry.put(REPOSITORY, "v1")
        with pytest.raises(ConfigError, match="not the registry itself") as caught:
            client(registry, "follow").head(REPOSITORY, "v1")
        assert "realm: own" in caught.value.mend
        assert registry.tokens == 0


def test_follow_uses_the_registrys_own_realm_and_sends_no_password_before() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        said: list[str] = []
        assert client(registry, "follow", say=said.append).head(REPOSITORY, "v1") == digest
        assert [asked.scheme for asked in registry.asked] == ["", "Basic", "Bearer"]
        assert said == []


def test_a_pinned_realm_is_used() -> None:
    with FakeRegistry() as other, FakeRegistry(realm="http://gitea.example.test/token", basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        other.grant = registry.grant  # type: ignore[method-assign]
        assert client(registry, f"http://{other.address}/v2/token").head(REPOSITORY, "v1") == digest
        assert [asked.path.partition("?")[0] for asked in other.asked] == ["/v2/token"]


def test_n07_a_password_for_an_https_registry_does_not_go_to_an_http_realm() -> None:
    origin = Origin("https", "registry.example.test")
    authorization = Authorization(origin, Account("http://registry.example.test/token", USER, lambda: PASSWORD))
    with pytest.raises(ConfigError, match="in the clear"):
        authorization.again(REPOSITORY, "", {"www-authenticate": 'Bearer realm="https://registry.example.test/token"'})


def test_n02_a_redirect_elsewhere_is_not_followed() -> None:
    with FakeRegistry() as attacker, FakeRegistry() as registry:
        registry.fault("GET", "manifests", status=307, headers={"Location": f"http://{attacker.address}/v2/x/manifests/y"})
        with pytest.raises(ConfigError, match="not asked"):
            client(registry).manifest(REPOSITORY, "v1")
        assert attacker.asked == []


def test_n02_a_redirect_to_itself_is_followed_once() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        registry.fault("HEAD", "manifests/v0", status=307, headers={"Location": f"/v2/{REPOSITORY}/manifests/v1"})
        assert client(registry).head(REPOSITORY, "v0") == digest
        registry.fault("HEAD", "manifests", status=307, headers={"Location": f"/v2/{REPOSITORY}/manifests/v1"}, count=9)
        with pytest.raises(ConfigError):
            client(registry).head(REPOSITORY, "v0")


def test_p09_a_registry_that_never_accepts_is_asked_for_few_tokens() -> None:
    with FakeRegistry() as registry:
        registry.never_accepts = True
        asking = client(registry)
        for _ in range(3):
            with pytest.raises(AuthError) as caught:
                asking.head(REPOSITORY, "v1")
        assert USER in caught.value.what
        assert caught.value.mend
        assert registry.tokens <= 2
        assert registry.refused == 2  # Basic, then the token; later calls fail without asking


def test_p09_a_wrong_password_is_tried_twice_at_most() -> None:
    for basic_too in (True, False):
        with FakeRegistry(basic_too=basic_too) as registry:
            asking = client(registry, password="wrong-password")
            for _ in range(3):
                with pytest.raises(AuthError):
                    asking.head(REPOSITORY, "v1")
            assert len(registry.asked) == 2
    with FakeRegistry(auth="basic") as registry:
        with pytest.raises(AuthError):
            client(registry, password="wrong-password").head(REPOSITORY, "v1")
        assert len(registry.asked) == 1


def test_p08_one_refresh_for_each_expiry() -> None:
    clock = FakeClock()
    with FakeRegistry(basic_too=False) as registry:
        registry.put(REPOSITORY, "v1")
        registry.says_lifetime, registry.lifetime = True, 5.0
        asking = client(registry, clock=clock)
        for _ in range(4):
            asking.head(REPOSITORY, "v1")
        assert registry.tokens == 1
        clock.advance(4.1)  # a fifth of its life before its end
        asking.head(REPOSITORY, "v1")
        asking.head(REPOSITORY, "v1")
        assert registry.tokens == 2


def test_p08_a_token_that_is_refused_early_is_renewed_once() -> None:
    with FakeRegistry(basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        asking = client(registry)
        asking.head(REPOSITORY, "v1")
        registry._valid.clear()
        assert asking.head(REPOSITORY, "v1") == digest
        assert registry.tokens == 2


def test_trap12_threads_share_one_token_request() -> None:
    with FakeRegistry(basic_too=False) as registry:
        registry.put(REPOSITORY, "v1")
        asking = client(registry)
        found: list[str | None] = []
        threads = [threading.Thread(target=lambda: found.append(asking.head(REPOSITORY, "v1"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert registry.tokens == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<token>x</token>", "text/xml"),
        (b"{}", "application/json"),
        (b'{"token":"a b"}', "application/json"),
        (b'{"token":1}', ""),
        (b"[]", ""),
        (b"x" * 10_000_000, ""),
    ],
)
def test_p11_answers_that_are_no_tokens(body: bytes, kind: str) -> None:
    with FakeRegistry(basic_too=False) as registry:
        registry.token_answer = (body, kind)
        with pytest.raises(ConfigError, match="not with a token") as caught:
            client(registry).head(REPOSITORY, "v1")
        assert len(caught.value.cause) < 300
        assert "/v2/token" in caught.value.what


def test_p11_access_token_is_a_token() -> None:
    with FakeRegistry(basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        registry.token_answer = (f'{{"access_token":"{registry.grant()}"}}'.encode(), "application/json")
        assert client(registry).head(REPOSITORY, "v1") == digest


def test_an_anonymous_account_asks_without_a_password() -> None:
    with FakeRegistry(auth="none") as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        assert client(registry, username="").head(REPOSITORY, "v1") == digest
        assert [asked.scheme for asked in registry.asked] == [""]


def test_403_says_which_right_is_missing() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        asking = client(registry)
        manifest = asking.manifest(REPOSITORY, digest)
        assert manifest
        for method, need in (("HEAD", "read"), ("PUT", "write")):
            registry.fault(method, "", status=403)
            with pytest.raises(AuthError, match="does not allow") as caught:
                asking.head(REPOSITORY, "v1") if method == "HEAD" else asking.put_manifest(REPOSITORY, "v2", manifest)
            assert f"{need} packages" in caught.value.mend


def test_429_carries_the_time_to_wait() -> None:
    with FakeRegistry() as registry:
        registry.fault("HEAD", "", status=429, headers={"Retry-After": "90000"})
        with pytest.raises(RateLimited) as caught:
            client(registry).head(REPOSITORY, "v1")
        assert caught.value.retry_after == 90_000


def test_p03_p04_a_5xx_is_transient_and_for_a_write_ambiguous() -> None:
    with FakeRegistry() as registry:
        registry.put(REPOSITORY, "v1")
        asking = client(registry)
        manifest = asking.manifest(REPOSITORY, "v1")
        assert manifest is not None
        registry.fault("HEAD", "", status=503)
        with pytest.raises(Transient) as caught:
            asking.head(REPOSITORY, "v1")
        assert not isinstance(caught.value, Ambiguous)
        registry.fault("PUT", "manifests", status=500, stored=True)
        with pytest.raises(Ambiguous):
            asking.put_manifest(REPOSITORY, "v2", manifest)
        assert asking.head(REPOSITORY, "v2") == manifest.digest


def test_all_pages_of_the_tags_are_read() -> None:
    with FakeRegistry() as registry:
        for number in range(7):
            registry.put(REPOSITORY, f"v{number}")
        registry.page = 3
        assert client(registry).tags(REPOSITORY) == tuple(f"v{number}" for number in range(7))
        assert len(registry.seen("GET", "tags/list")) == 3


def test_n02_a_next_page_elsewhere_is_looked_for_at_home() -> None:
    with FakeRegistry() as registry:
        registry.put(REPOSITORY, "v1")
        link = {"Link": '<http://169.254.169.254/steal?last=v1&n=5>; rel="next"'}
        registry.fault("GET", "tags/list", status=200, headers=link, body=b'{"tags": ["v0"]}')
        assert client(registry).tags(REPOSITORY) == ("v0",)
        assert [asked.path for asked in registry.seen("GET", "tags/list")][-1] == f"/v2/{REPOSITORY}/tags/list?last=v1&n=5"


def test_an_image_goes_with_all_of_its_tags_and_once() -> None:
    with FakeRegistry() as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        registry.put(REPOSITORY, "v2")
        other, _ = registry.put(REPOSITORY, "v3", (b"other",))
        asking = client(registry)
        assert asking.delete(REPOSITORY, digest) is True
        assert asking.delete(REPOSITORY, digest) is False
        assert asking.tags(REPOSITORY) == ("v3",)
        assert asking.head(REPOSITORY, other) == other
        with pytest.raises(IntegrityError, match="not a sha256 digest"):
            asking.delete(REPOSITORY, "v3")


def test_g05_a_registry_that_deletes_nothing_says_so() -> None:
    with FakeRegistry() as registry:
        registry.deletes = False
        digest, _ = registry.put(REPOSITORY, "v1")
        with pytest.raises(ConfigError, match="does not delete images") as caught:
            client(registry).delete(REPOSITORY, digest)
        assert "UNSUPPORTED" in caught.value.cause
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.mend


def test_a_token_is_asked_for_what_it_is_to_do() -> None:
    with FakeRegistry(basic_too=False) as registry:
        digest, _ = registry.put(REPOSITORY, "v1")
        origin = Origin("http", registry.address, read_timeout=2, deadline=4)
        OPENED.append(Client(origin, Authorization(origin, Account("own", USER, lambda: PASSWORD), actions="pull,push,delete")))
        OPENED[-1].delete(REPOSITORY, digest)
        client(registry).tags(REPOSITORY)
        asked = [asked.path.rpartition("scope=")[2] for asked in registry.seen("GET", "/v2/token")]
        assert asked == [f"repository:{REPOSITORY}:pull,push,delete", f"repository:{REPOSITORY}:pull,push"]


def test_a_list_of_tags_that_is_cut_off_is_no_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tools.registry.PAGES", 2)
    with FakeRegistry() as registry:
        registry.page = 2
        for number in range(5):
            registry.put(REPOSITORY, f"v{number}")
        assert len(client(registry).tags(REPOSITORY)) == 4
        with pytest.raises(ConfigError, match="more than 4 tags"):
            client(registry).tags(REPOSITORY, whole=True)
        registry.page = 3
        assert len(client(registry).tags(REPOSITORY, whole=True)) == 5
