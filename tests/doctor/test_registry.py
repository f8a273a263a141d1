"""The registry: the scheme it speaks, where it sends its clients, what the account may do."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from pipeline.doctor import registry
from pipeline.doctor.registry import Realm
from pipeline.doctor.verdict import Check, Verdict, ask_all
from pipeline.host import Address
from pipeline.stage import Registry
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER

from .parts import by_name, site

REPOSITORY = "team/app"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


def look(
    fake: FakeRegistry, tmp_path: Path, *, realm: str = "own", user: str = USER, password: str = PASSWORD, scheme: str = "http",
    reads: bool = False, provider: Literal["", "ghcr"] = "",
) -> dict[str, Verdict]:  # fmt: skip
    spec = Registry(fake.address, scheme, realm, user, "env:P" if user else "", "none", provider)
    names, pulled = ([], [REPOSITORY]) if reads else ([REPOSITORY], [])
    with site(tmp_path, registries={"lab": spec}, env={"P": password}) as there:
        return by_name(ask_all([Check("lab (registry)", "answers", lambda: registry.look("lab", names, there, pulled))]))


def test_all_is_well(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put(REPOSITORY, "a1")
    found = look(fake, tmp_path)
    assert {name: verdict.status for name, verdict in found.items()} == dict.fromkeys(("scheme", "realm", "credentials", "referrers"), "ok")
    assert "1 tags are there" in found["credentials"].evidence
    assert "no API" in found["referrers"].evidence
    assert {asked.method for asked in fake.asked} == {"GET", "HEAD"}, "nothing was written"


def test_https_where_the_site_file_says_http(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.fault("GET", "^/v2/$", status=400, body=b"Client sent an HTTP request to an HTTPS server.\n")
    (verdict,) = look(fake, tmp_path).values()
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert "write scheme: https" in verdict.mend


def test_http_where_the_site_file_says_https(fake: FakeRegistry, tmp_path: Path) -> None:
    (verdict,) = look(fake, tmp_path, scheme="https").values()
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert "scheme: http" in verdict.mend


def test_what_is_no_registry_is_told_before_credentials_are_sent(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.fault("GET", "^/v2/$", status=404)
    assert list(look(fake, tmp_path)) == ["scheme"]
    assert [asked.scheme for asked in fake.asked] == [""]


def test_a_realm_elsewhere_that_is_silent_is_told_and_gets_no_credentials(fake: FakeRegistry, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(2)
        fake.realm = f"http://127.0.0.1:{other.getsockname()[1]}/v2/token"
        found = look(fake, tmp_path)
        assert found["realm"].status == "ok"
        assert found["credentials"].status == "ok"
        connection, _ = other.accept()
        with connection:
            connection.settimeout(2)
            assert connection.recv(100) == b"", "a connection was tried, nothing was sent"
    fake.realm = "http://127.0.0.1:1/v2/token"
    silent = look(fake, tmp_path)["realm"]
    assert silent.status == "warn"
    assert "does not answer from here" in silent.evidence
    assert "ROOT_URL" in silent.mend


def test_a_realm_elsewhere_fails_where_it_would_be_followed(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.realm = "http://127.0.0.1:1/v2/token"
    found = look(fake, tmp_path, realm="follow")
    assert (found["realm"].status, found["realm"].code) == ("fail", 2)
    assert "realm: own" in found["realm"].mend
    assert found["credentials"].status == "fail"


def test_a_wrong_password_is_refused_once_and_never_shown(fake: FakeRegistry, tmp_path: Path) -> None:
    found = look(fake, tmp_path, password="wrong-password-of-anna")
    assert (found["credentials"].status, found["credentials"].code) == ("fail", 11)
    assert "wrong-password-of-anna" not in str(found)
    assert "referrers" not in found
    assert fake.tokens == 1, "accounts lock"


def test_no_user_can_read_but_not_push(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.auth = "none"
    found = look(fake, tmp_path, user="")
    assert found["credentials"].status == "warn"
    assert found["realm"].evidence == "asks for no login"


def pulls_alone(fake: FakeRegistry) -> None:
    """Let every token be one that says of itself that it is good for pulls."""
    claims = {"access": [{"type": "repository", "name": REPOSITORY, "actions": ["pull"]}]}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    fake.token_answer = (json.dumps({"token": ".".join([*parts, "sig"])}).encode(), "application/json")
    fake.auth = "none"
    fake.fault("GET", "^/v2/$", status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{fake.address}/v2/token"'}, count=9)


def test_a_token_that_lacks_the_right_to_push_is_told_before_anybody_pushes(fake: FakeRegistry, tmp_path: Path) -> None:
    pulls_alone(fake)
    verdict = look(fake, tmp_path, provider="ghcr")["credentials"]
    assert (verdict.status, verdict.code) == ("fail", 11)
    assert "only pull" in verdict.evidence
    assert "write:packages" in verdict.mend


def test_where_nothing_is_pushed_a_right_to_pull_is_enough(fake: FakeRegistry, tmp_path: Path) -> None:
    pulls_alone(fake)
    verdict = look(fake, tmp_path, reads=True)["credentials"]
    assert verdict.status == "ok"
    assert "a token for pull of" in verdict.evidence
    assert look(fake, tmp_path, reads=True, user="")["credentials"].status == "ok"


@pytest.mark.parametrize(("left", "status"), [(90, "ok"), (3, "warn")])
def test_the_rest_of_a_pull_limit_is_told(fake: FakeRegistry, tmp_path: Path, left: int, status: str) -> None:
    digest, _ = fake.put(REPOSITORY, "a1")
    headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{left};w=21600", "Docker-Content-Digest": digest}
    fake.fault("HEAD", "/manifests/a1$", status=200, headers=headers)
    verdict = look(fake, tmp_path)["rate limit"]
    assert (verdict.status, verdict.evidence) == (status, f"{left} of 100 pulls left in 6 h")


def test_a_registry_that_is_away_is_a_passing_fault(tmp_path: Path) -> None:
    with FakeRegistry() as gone:
        pass
    (verdict,) = look(gone, tmp_path).values()
    assert (verdict.status, verdict.code) == ("fail", 10)


def test_a_referrers_api_is_seen(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.fault("GET", "/referrers/", status=200, body=b'{"manifests": []}')
    assert look(fake, tmp_path)["referrers"].evidence == "there is an API for them"


def test_a_password_in_the_clear_over_a_public_network_is_told() -> None:
    from pipeline.tools.origin import Answer

    answer = Answer(401, {}, b"")
    assert registry.scheme("x", Registry("203.0.113.9:32166", "http", "own", "anna", "env:P"), answer).status == "ok"  # TEST-NET is private
    assert registry.scheme("x", Registry("93.184.216.34:80", "http", "own", "anna", "env:P"), answer).status == "warn"
    assert registry.scheme("x", Registry("93.184.216.34:80", "http", "own"), answer).status == "ok"
    assert registry.scheme("x", Registry("93.184.216.34:443", "https", "own", "anna", "env:P"), answer).status == "ok"


@pytest.mark.parametrize(
    ("url", "address", "foreign"),
    [
        ("http://10.0.0.1:32166/v2/token", Address("10.0.0.1", 32166), False),
        ("http://gitea.example/v2/token", Address("gitea.example", 80), True),
        ("https://10.0.0.1:32166/v2/token", Address("10.0.0.1", 32166), False),
        ("https://gitea.example/token", Address("gitea.example", 443), True),
        ("/v2/token", None, False),
        ("http://[bad/token", None, False),
        ("", None, False),
    ],
)
def test_a_realm_and_where_it_is(url: str, address: Address | None, foreign: bool) -> None:
    assert Realm(url).address == address
    assert Realm(url).foreign(Registry("10.0.0.1:32166", "http")) is foreign
