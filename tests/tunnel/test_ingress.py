"""One route among others, in the order in which cloudflared reads them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.tunnel.ingress import NOTHING, catches_all, changed, cloudflared, matches, rule
from tests.tunnel.cloudflare import CATCH_ALL, OTHER, TUNNEL, route

MINE = rule(route())
NAMES = st.sampled_from(["a.token.place", "staging.token.place", "*.token.place", "*", "", "b.example.org", "*.example.org"])
RULES = st.lists(st.builds(lambda name, service: {"hostname": name, "service": service}, NAMES, st.sampled_from(["http://a", "http://b"])))


def test_the_rule_of_the_plan() -> None:
    assert MINE == {"hostname": "staging.token.place", "service": "http://traefik.kube-system.svc.cluster.local"}
    assert rule(route(host_header="relay.internal"))["originRequest"] == {"httpHostHeader": "relay.internal"}


def test_an_empty_tunnel_gets_the_route_and_a_catch_all() -> None:
    assert changed([], route()) == [MINE, NOTHING]


def test_others_stay_as_they_are_and_the_catch_all_stays_last() -> None:
    assert changed([OTHER, CATCH_ALL], route()) == [OTHER, MINE, CATCH_ALL]
    own = {"service": "http://everything-else"}
    assert changed([OTHER, own], route()) == [OTHER, MINE, own]


def test_a_route_that_leads_elsewhere_is_led_here_and_keeps_what_else_it_says() -> None:
    there = {**MINE, "service": "http://old", "originRequest": {"connectTimeout": 9}, "id": "x"}
    found = changed([there, OTHER, CATCH_ALL], route(host_header="relay.internal"))
    assert found[0] == {**MINE, "id": "x", "originRequest": {"connectTimeout": 9, "httpHostHeader": "relay.internal"}}
    assert found[1:] == [OTHER, CATCH_ALL]


def test_a_wildcard_before_the_route_would_take_its_requests() -> None:
    wild = {"hostname": "*.token.place", "service": "http://wild"}
    assert changed([OTHER, wild, CATCH_ALL], route()) == [OTHER, MINE, wild, CATCH_ALL]
    assert changed([wild, OTHER, MINE, CATCH_ALL], route()) == [MINE, wild, OTHER, CATCH_ALL]


def test_rules_by_path_are_somebody_elses() -> None:
    with pytest.raises(ConfigError, match="parts of"):
        changed([{**MINE, "path": "/api"}, CATCH_ALL], route())


@pytest.mark.parametrize(
    ("name", "path", "yes"),
    [
        ("staging.token.place", "", True), ("*.token.place", "", True), ("*", "", True), ("", "", True), ("*.place", "", True),
        ("token.place", "", False), ("*.oken.place", "", False), ("*.staging.token.place", "", False),
    ],
)  # fmt: skip
def test_what_cloudflared_takes_a_name_for(name: str, path: str, yes: bool) -> None:
    assert matches({"hostname": name, "path": path}, "staging.token.place") is yes


@settings(deadline=None)
@given(RULES)
def test_whatever_is_there_the_others_stay_in_order_and_a_second_time_changes_nothing(present: list[dict[str, Any]]) -> None:
    found = changed(present, route())
    others = [each for each in present if each["hostname"] != "staging.token.place"]
    assert [each for each in found if each.get("hostname") != "staging.token.place"][: len(others)] == others
    assert [each for each in found if each.get("hostname") == "staging.token.place"] == [MINE]
    first = next(each for each in found if matches(each, "staging.token.place"))
    assert first == MINE
    assert catches_all(found[-1])
    assert changed(found, route()) == found


def test_the_same_as_cloudflareds_own_file() -> None:
    text = cloudflared(route(), changed([], route()))
    assert yaml.safe_load(text) == {"tunnel": TUNNEL, "credentials-file": f"/etc/cloudflared/{TUNNEL}.json", "ingress": [MINE, NOTHING]}
