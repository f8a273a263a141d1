"""The route made true through the official library, on a service that answers as Cloudflare's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.errors import AuthError, ConfigError, Drifted, IntegrityError, Transient
from pipeline.testing import FakeClock
from pipeline.tunnel.api import Api
from pipeline.tunnel.apply import apply, wanted
from pipeline.tunnel.changes import NOTHING_KNOWN, changes
from pipeline.tunnel.ingress import rule
from tests.tunnel.cloudflare import CATCH_ALL, OTHER, TOKEN, TUNNEL, Cloudflare, route, serving


@pytest.fixture
def service() -> Iterator[Cloudflare]:
    with serving(Cloudflare()) as made:
        yield made


def make(service: Cloudflare, clock: FakeClock | None = None, token: str = TOKEN) -> list[str]:
    spec = route(service.api)
    return [change.what for change in apply(spec, Api(spec, token), clock or FakeClock(), lambda _text: None)]


def test_a_new_route_and_its_name_beside_what_others_have(service: Cloudflare) -> None:
    made = make(service)
    assert made == [
        "new route: staging.token.place leads to http://traefik.kube-system.svc.cluster.local; 1 other kept",
        f"new name: staging.token.place is a CNAME of {TUNNEL}.cfargtunnel.com, proxied",
    ]
    assert service.config == {"ingress": [OTHER, rule(route()), CATCH_ALL], "warp-routing": {"enabled": True}}
    (record,) = service.records
    assert (record["type"], record["content"], record["proxied"], record["ttl"]) == ("CNAME", f"{TUNNEL}.cfargtunnel.com", True, 1)
    assert [line.partition(" ")[0] for line in service.written] == ["PUT", "POST"]  # the route before the name
    assert service.tokens == {f"Bearer {TOKEN}"}


def test_a_second_time_writes_nothing(service: Cloudflare) -> None:
    make(service)
    service.asked.clear()
    assert make(service) == []
    assert service.written == []


def test_a_tunnel_that_has_no_configuration_yet(service: Cloudflare) -> None:
    service.config = None
    make(service)
    assert service.config == {"ingress": [rule(route()), CATCH_ALL]}


def test_a_record_that_names_another_tunnel_is_led_here(service: Cloudflare) -> None:
    service.records = [
        {"id": "r7", "type": "CNAME", "name": "staging.token.place", "content": "old.cfargtunnel.com", "proxied": False, "comment": "mine"},
        {"id": "r8", "type": "TXT", "name": "staging.token.place", "content": "x"},
    ]
    assert "it was old.cfargtunnel.com, not proxied" in make(service)[1]
    assert service.records[0]["content"] == f"{TUNNEL}.cfargtunnel.com"
    assert service.records[0]["comment"] == "mine"
    assert service.records[1]["content"] == "x"


def test_records_of_another_kind_are_never_taken_away(service: Cloudflare) -> None:
    service.records = [{"id": "r7", "type": "A", "name": "staging.token.place", "content": "192.0.2.1", "proxied": True}]
    with pytest.raises(ConfigError, match="DNS records of type A already"):
        make(service)
    assert service.written == []


def test_planning_writes_nothing(service: Cloudflare) -> None:
    spec = route(service.api)
    api = Api(spec, TOKEN)
    found = wanted(spec, api, FakeClock(), lambda _text: None)
    api.close()
    assert [(change.method, change.path) for change in found] == [
        ("PUT", f"/accounts/{spec.account}/cfd_tunnel/{TUNNEL}/configurations"), ("POST", f"/zones/{spec.zone}/dns_records"),
    ]  # fmt: skip
    assert found[0].before == [OTHER, CATCH_ALL]
    assert service.written == []


def test_without_asking_the_calls_are_those_of_an_empty_tunnel() -> None:
    found = changes(route(), NOTHING_KNOWN)
    assert found[0].body == {"config": {"ingress": [rule(route()), CATCH_ALL]}}
    assert found[0].lines()[1] == f"  PUT /accounts/{route().account}/cfd_tunnel/{TUNNEL}/configurations"


def test_a_wrong_token_is_told_once_and_nothing_is_written(service: Cloudflare) -> None:
    with pytest.raises(AuthError, match="refuses the token") as told:
        make(service, token="wrong-token-of-cloudflare")
    assert "9109 Invalid access token" in told.value.cause
    assert "edit DNS" in told.value.mend
    assert len(service.asked) == 1


def test_a_tunnel_that_is_not_there(service: Cloudflare) -> None:
    spec = route(service.api, tunnel=TUNNEL.replace("f", "0"))
    with pytest.raises(ConfigError, match="knows no such thing"):
        apply(spec, Api(spec, TOKEN), FakeClock(), lambda _text: None)


def test_a_limit_is_waited_for_as_long_as_was_asked(service: Cloudflare) -> None:
    clock = FakeClock()
    service.faults = [("GET", 429, {"Retry-After": "17"}, False)]
    make(service, clock)
    assert 17 <= clock.passed < 40


@pytest.mark.parametrize(("status", "stored"), [(0, True), (500, True), (0, False), (502, False)])
def test_a_write_whose_outcome_is_unknown_is_looked_for_and_not_repeated(service: Cloudflare, status: int, stored: bool) -> None:
    service.faults = [("POST", status, {}, stored)]
    make(service)
    assert len(service.records) == 1
    assert len([line for line in service.written if line.startswith("POST")]) == (1 if stored else 2)
    assert len([line for line in service.written if line.startswith("PUT")]) == 1


def test_a_service_that_is_not_there(service: Cloudflare) -> None:
    spec = route("http://127.0.0.1:1/client/v4")
    with pytest.raises(Transient, match="cannot be reached") as told:
        apply(spec, Api(spec, TOKEN), FakeClock(), lambda _text: None)
    assert told.value.attempts == 5
    assert TOKEN not in f"{told.value.cause}{told.value}"


def test_what_somebody_else_takes_back_is_told(service: Cloudflare) -> None:
    service.forgets = True
    with pytest.raises(Drifted, match="something else than was written"):
        make(service)


def test_an_answer_of_somebody_elses_service(service: Cloudflare) -> None:
    for config in ({"ingress": "x"}, {"ingress": ["x"]}):
        service.config = config
        with pytest.raises(IntegrityError, match="tunnel's configuration"):
            make(service)
    assert service.written == []
