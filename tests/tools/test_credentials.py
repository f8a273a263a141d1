"""Who the site is to a registry: the site file first, then the machine; the token flow with each kind of login."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AuthError, ConfigError
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Registry, Site
from pipeline.testing import FakeClock
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools.credentials import login_of
from pipeline.tools.logins import Login
from pipeline.tools.origin import Answer, Origin
from pipeline.tools.providers import provider_of
from pipeline.tools.registry import Manifest, client_of
from pipeline.tools.tokens import Account, Authorization

REPOSITORY = "team/app"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with nothing in it, and none of GitHub's variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "GHCR_PAT", "GITHUB_TOKEN", "GITHUB_ACTOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(basic_too=False) as found:
        found.put(REPOSITORY, "v1")
        yield found


def site(tmp_path: Path, registry: FakeRegistry, **options: Any) -> Site:
    spec = Registry(registry.address, scheme="http", **options)
    return Site("app", tmp_path, {}, {}, {"hub": spec}, {}, {}, {}, Records(tmp_path / "r.db"), secrets=Secrets({"KEY": PASSWORD}))


def docker_config(tmp_path: Path, registry: FakeRegistry, entry: dict[str, str]) -> None:
    (tmp_path / ".docker").mkdir()
    path = tmp_path / ".docker/config.json"
    path.write_text(json.dumps({"auths": {registry.address: entry}}))
    path.chmod(0o600)


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def test_a_login_of_the_machine_opens_the_registry_and_is_masked(tmp_path: Path, registry: FakeRegistry) -> None:
    docker_config(tmp_path, registry, auth(USER, PASSWORD))
    with site(tmp_path, registry) as at:
        assert client_of(at, "hub").head(REPOSITORY, "v1")
        assert PASSWORD not in at.secrets.mask(f"x {PASSWORD} y")


def test_the_site_file_comes_first(tmp_path: Path, registry: FakeRegistry) -> None:
    docker_config(tmp_path, registry, auth(USER, "wrong"))
    with site(tmp_path, registry, username=USER, password="env:KEY") as at:
        assert client_of(at, "hub").head(REPOSITORY, "v1")
        assert login_of(at, "hub", REPOSITORY) == Login(USER, PASSWORD, "the site file")


def test_credentials_none_stays_anonymous(tmp_path: Path, registry: FakeRegistry) -> None:
    docker_config(tmp_path, registry, auth(USER, PASSWORD))
    with site(tmp_path, registry, credentials="none") as at:
        assert login_of(at, "hub", REPOSITORY) is None
        with pytest.raises(AuthError, match="it is private, or does not exist"):
            client_of(at, "hub").head(REPOSITORY, "v1")


def test_a_password_alone_is_a_token_of_anybody(tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, registry, password="env:KEY") as at:
        assert login_of(at, "hub", REPOSITORY) == Login("x-access-token", PASSWORD, "the site file's env:KEY")
    monkeypatch.setenv("GITHUB_ACTOR", USER)
    with site(tmp_path, registry, password="env:KEY", provider="ghcr") as at:
        assert client_of(at, "hub").head(REPOSITORY, "v1")


def test_ghcr_s_variables_where_the_registry_stands_for_it(tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", USER)
    monkeypatch.setenv("GITHUB_TOKEN", PASSWORD)
    with site(tmp_path, registry) as at:
        assert login_of(at, "hub", REPOSITORY) is None
    with site(tmp_path, registry, provider="ghcr") as at:
        assert client_of(at, "hub").head(REPOSITORY, "v1")


def test_a_wrong_token_is_told_with_where_it_came_from_and_asked_once(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHCR_PAT", "ghp_wrongwrongwrong")
    with site(tmp_path, registry, provider="ghcr") as at:
        for _ in range(2):
            with pytest.raises(AuthError, match="from the variable GHCR_PAT") as caught:
                client_of(at, "hub").head(REPOSITORY, "v1")
            assert "write:packages" in caught.value.mend
            assert "ghp_wrong" not in caught.value.what + caught.value.cause + caught.value.mend
    assert registry.tokens == 1


def test_a_bearer_token_is_used_as_it_is(tmp_path: Path, registry: FakeRegistry) -> None:
    docker_config(tmp_path, registry, {"registrytoken": registry.grant()})
    with site(tmp_path, registry) as at:
        assert client_of(at, "hub").head(REPOSITORY, "v1")
    assert registry.seen("GET", "token") == []


class Elsewhere(Origin):
    """An origin that answers from a list, and notes what it is asked."""

    def __init__(self, address: str, answers: list[Answer]) -> None:
        super().__init__("https", address, clock=FakeClock())
        self.answers = answers
        self.asked: list[tuple[str, str, str, bytes]] = []

    def ask(self, method: str, path: str, headers: Any, body: bytes = b"", *, cap: int = 0) -> Answer:
        self.asked.append((method, path, str(headers.get("Authorization", "")), body))
        return self.answers.pop(0)


def challenge(realm: str) -> Answer:
    return Answer(401, {"www-authenticate": f'Bearer realm="{realm}",service="registry.docker.io"'}, b"")


GIVEN = Answer(200, {}, b'{"access_token": "granted-token", "expires_in": 300}')


def test_an_identity_token_is_exchanged_by_post() -> None:
    origin = Elsewhere("r.example", [challenge("https://r.example/token"), GIVEN])
    login = Login("", "idtoken", "docker-credential-x", "identity")
    authorization = Authorization(origin, Account(find=lambda _repository: login))
    assert authorization.header(REPOSITORY, many=True) == "Bearer granted-token"
    method, path, used, body = origin.asked[1]
    assert (method, path, used) == ("POST", "/token", "")
    assert body == (
        b"grant_type=refresh_token&client_id=pipeline&service=registry.docker.io"
        b"&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&refresh_token=idtoken"
    )


def test_docker_hub_s_token_host_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Elsewhere] = []

    def at(_scheme: str, address: str, **_options: Any) -> Elsewhere:
        opened.append(Elsewhere(address, [GIVEN]))
        return opened[-1]

    monkeypatch.setattr("pipeline.tools.tokens.Origin", at)
    origin = Elsewhere("registry-1.docker.io", [challenge("https://auth.docker.io/token")])
    account = Account(username="anna", password=lambda: "x", provider=provider_of("docker.io"))
    assert Authorization(origin, account).header("library/debian", many=True) == "Bearer granted-token"
    assert opened[0].address == "auth.docker.io"
    assert opened[0].asked[0][1] == "/token?service=registry.docker.io&scope=repository:library/debian:pull,push"


@pytest.mark.parametrize(
    ("address", "realm"),
    [
        ("registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
        ("registry-1.docker.io", "https://auth.docker.io/other"),
        ("registry-1.docker.io", "http://auth.docker.io/token"),
        ("registry-1.docker.io", "https://169.254.169.254/token"),
        ("r.example", "https://auth.docker.io/token"),
        ("ghcr.io", "https://auth.docker.io/token"),
    ],
)
def test_n01_no_other_host_is_given_the_password(address: str, realm: str) -> None:
    origin = Elsewhere(address, [challenge(realm)])
    authorization = Authorization(origin, Account(username="anna", password=lambda: "x", provider=provider_of(address)))
    with pytest.raises(ConfigError, match="was not asked"):
        authorization.header("team/app", many=True)


def test_a_scope_that_was_not_granted_is_told(tmp_path: Path, registry: FakeRegistry) -> None:
    claims = {"access": [{"type": "repository", "name": REPOSITORY, "actions": ["pull"]}]}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    registry.token_answer = (json.dumps({"token": ".".join([*parts, "sig"])}).encode(), "application/json")
    with site(tmp_path, registry, username=USER, password="env:KEY", realm="own") as at:
        with pytest.raises(AuthError, match=f"lets user {USER} .* only pull {REPOSITORY}"):
            client_of(at, "hub").put_manifest(REPOSITORY, "v2", Manifest("sha256:" + "0" * 64, "application/json", b"{}", "", ()))
        assert client_of(at, "hub").authorization.granted(REPOSITORY) == frozenset({"pull"})


def test_a_pull_that_is_refused_is_told_as_one(tmp_path: Path, registry: FakeRegistry) -> None:
    registry.never_accepts = True
    with site(tmp_path, registry, username=USER, password="env:KEY", provider="ghcr") as at:
        with pytest.raises(AuthError) as caught:
            client_of(at, "hub").head(REPOSITORY, "v1")
        assert "read:packages" in caught.value.mend
