"""The route through a tunnel: its rules, its name, and the zone's TLS mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.doctor.tunnel import look
from pipeline.doctor.verdict import Status, Verdict
from pipeline.errors import AuthError, ConfigError
from pipeline.testing import FakeClock
from pipeline.tunnel.api import Api
from pipeline.tunnel.apply import apply
from tests.tunnel.cloudflare import TOKEN, Cloudflare, route, serving

from .parts import by_name, site


@pytest.fixture
def service() -> Iterator[Cloudflare]:
    with serving(Cloudflare()) as made:
        yield made


def ask(service: Cloudflare, root: Path, token: str = TOKEN) -> dict[str, Verdict]:
    with site(root, env={"CLOUDFLARE_API_TOKEN": token} if token else {}) as there:
        return by_name(list(look(route(service.api), there)))


def put(service: Cloudflare) -> None:
    spec = route(service.api)
    apply(spec, Api(spec, TOKEN), FakeClock(), lambda _text: None)
    service.asked.clear()


def test_a_route_that_is_there(service: Cloudflare, tmp_path: Path) -> None:
    put(service)
    found = ask(service, tmp_path)
    assert {name: verdict.status for name, verdict in found.items()} == {"route": Status.OK, "dns": Status.OK, "tls": Status.OK}
    assert "one of 3 rules" in found["route"].evidence
    assert service.written == []


def test_a_route_that_is_not_there_and_a_name_that_leads_elsewhere(service: Cloudflare, tmp_path: Path) -> None:
    service.records = [{"id": "r1", "type": "CNAME", "name": "staging.token.place", "content": "elsewhere.example.org", "proxied": False}]
    found = ask(service, tmp_path)
    assert found["route"].status is found["dns"].status is Status.FAIL
    assert "it was elsewhere.example.org, not proxied" in found["dns"].evidence
    assert "inv tunnel.apply" in found["dns"].mend
    assert service.written == []


@pytest.mark.parametrize(
    ("mode", "status", "evidence"),
    [
        ("full", Status.OK, "full"), ("strict", Status.OK, "strict"), ("flexible", Status.FAIL, "loops for ever"),
        ("off", Status.FAIL, "plain http"), ("origin_pull", Status.WARN, "not known"),
    ],
)  # fmt: skip
def test_the_tls_mode(service: Cloudflare, tmp_path: Path, mode: str, status: Status, evidence: str) -> None:
    put(service)
    service.tls = mode
    found = ask(service, tmp_path)["tls"]
    assert found.status is status
    assert evidence in found.evidence
    assert status is Status.OK or "Full (strict)" in found.mend


def test_without_a_token_nobody_is_asked_and_nothing_is_known(service: Cloudflare, tmp_path: Path) -> None:
    found = ask(service, tmp_path, token="")
    assert {verdict.status for verdict in found.values()} == {Status.UNKNOWN}
    assert set(found) == {"route", "dns", "tls"}
    assert service.asked == []


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_an_id_that_is_not_filled_in_is_told_and_nobody_is_asked(service: Cloudflare, tmp_path: Path, token: str) -> None:
    spec = dataclasses.replace(route(service.api), account="0" * 32)
    with site(tmp_path, env={"CLOUDFLARE_API_TOKEN": token} if token else {}) as there, pytest.raises(ConfigError) as caught:
        list(look(spec, there))
    assert caught.value.what == "account of the route is not filled in yet"
    assert service.asked == []


def test_a_token_that_may_not_read_settings_says_so_and_the_rest_is_told(service: Cloudflare, tmp_path: Path) -> None:
    put(service)
    real = service.answer
    service.answer = lambda method, path, query, body: (403, None) if path.endswith("/ssl") else real(method, path, query, body)  # type: ignore[method-assign]
    found = ask(service, tmp_path)
    assert found["route"].status is Status.OK
    assert found["tls"].status is Status.UNKNOWN
    assert "Zone Settings" in found["tls"].mend


def test_a_wrong_token_is_an_error_of_its_own(service: Cloudflare, tmp_path: Path) -> None:
    with pytest.raises(AuthError):
        ask(service, tmp_path, token="wrong-token-of-cloudflare")


def test_records_of_another_kind(service: Cloudflare, tmp_path: Path) -> None:
    put(service)
    service.records = [{"id": "r1", "type": "A", "name": "staging.token.place", "content": "192.0.2.1", "proxied": True}]
    verdict = ask(service, tmp_path)["dns"]
    assert (verdict.status, verdict.code) == (Status.FAIL, ConfigError.exit_code)
    assert "192.0.2.1" in verdict.evidence
