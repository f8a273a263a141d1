from __future__ import annotations

import threading

import pytest

from pipeline.errors import AuthError, ConfigError, Transient
from pipeline.host import Address
from pipeline.verify.expect import Page
from pipeline.verify.page import question
from pipeline.verify.through import parse
from pipeline.verify.ways import Ways
from pipeline.verify.web import Answer, Unreachable
from tests.verify.servers import answer, saying, serving
from tests.verify.worlds import Shop

FORWARD = "port-forward:service/probe:http"


def test_a_service_leads_to_a_ready_pod_and_the_port_it_names(at: Shop) -> None:
    at.pod("probe-0", ready=False)
    at.pod("probe-1")
    at.service()
    with serving(saying(answer(b"here"))) as server:
        at.fake.ports["probe-1:8000"] = Address(server.address, server.port)
        asked = question(Page("/x", through=FORWARD), at.world)
        (found,) = asked.ask(at.view, 5)
    assert isinstance(found, Answer)
    assert found.body == b"here"
    assert "Host: probe.example" in server.requests[0]


def test_a_replaced_pod_is_followed_on_the_same_port(at: Shop) -> None:
    at.service()
    way = parse("port-forward:service/probe:git")
    first, second = at.pod("probe-1"), ""
    before = at.ways.address(way, at.view)
    at.fake.drop(first)
    second = at.pod("probe-2")
    assert at.ways.address(way, at.look()) == before
    at.fake.ports["probe-2:9418"] = Address("127.0.0.1", 1)
    assert second.endswith("/probe-2")


def test_a_port_that_is_not_mapped_is_named_with_the_ports_there_are(at: Shop) -> None:
    at.pod()
    at.service()
    with pytest.raises(ConfigError, match=r"Service probe does not map port 8088; it maps: http 80, git 9418"):
        at.ways.address(parse("port-forward:service/probe:8088"), at.view)


def test_a_port_that_no_container_names_is_named_with_those_there_are(at: Shop) -> None:
    at.pod(ports=(("web", 8000), ("git", 9418)))
    at.service()
    with pytest.raises(ConfigError, match=r"no container of pod probe-1 has a port named http; there are: web 8000, git 9418"):
        at.ways.address(parse(FORWARD), at.view)


def test_a_service_that_is_not_there_is_waited_for_and_the_near_one_named(at: Shop) -> None:
    at.service("relay")
    with pytest.raises(Transient, match=r"there is no Service rely in namespace coulomb; did you mean 'relay'\? \(there are: relay\)"):
        at.ways.address(parse("port-forward:service/rely:http"), at.view)


def test_a_pod_that_is_not_ready_is_waited_for(at: Shop) -> None:
    at.pod(ready=False)
    at.service()
    with pytest.raises(Transient, match=r"no pod behind Service probe is ready \(probe-1 not ready\)"):
        at.ways.address(parse(FORWARD), at.view)


def test_a_service_without_selector_has_no_pod(at: Shop) -> None:
    at.service(selector={})
    with pytest.raises(ConfigError, match="no selector"):
        at.ways.address(parse(FORWARD), at.view)


def test_a_load_balancer_is_waited_for_until_it_has_an_address(at: Shop) -> None:
    way = parse("load-balancer:probe:http")
    at.service(type="LoadBalancer")
    with pytest.raises(Transient, match="has no external address yet"):
        at.ways.address(way, at.view)
    at.service(type="LoadBalancer", status={"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}})
    assert at.ways.address(way, at.look()) == Address("lb.example", 80)
    at.service()
    with pytest.raises(ConfigError, match="of type ClusterIP, not LoadBalancer"):
        at.ways.address(way, at.look())


def test_why_a_port_forward_failed_is_the_evidence(at: Shop) -> None:
    at.pod()
    at.service()
    asked = question(Page("/", through=FORWARD), at.world)
    with pytest.raises(Transient, match="nothing listens on that port in the pod"):
        asked.ask(at.view, 5)


def test_a_missing_permission_to_forward_is_no_failed_check(at: Shop) -> None:
    at.pod()
    at.service()
    at.fake.fault = lambda _method, target: (403, {"message": "no"}, {}) if "portforward" in target else None
    with pytest.raises(AuthError, match="pods/portforward"):
        question(Page("/", through=FORWARD), at.world).ask(at.view, 5)


def test_a_cluster_that_does_not_answer_says_nothing_about_the_release(at: Shop) -> None:
    at.fake.stop()
    with pytest.raises(Unreachable, match="the cluster could not be asked"):
        at.ways.address(parse(FORWARD), at.view)
    at.fake.start()


def test_closing_leaves_no_thread(at: Shop) -> None:
    at.pod()
    at.service()
    at.ways.address(parse(FORWARD), at.view)
    at.ways.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("port-forward")]


def test_published_ports_are_the_only_ones(at: Shop) -> None:
    ways = Ways({parse("port:8088"): Address("10.0.0.5", 32770)})
    assert ways.address(parse("port:8088"), at.view) == Address("10.0.0.5", 32770)
    with pytest.raises(ConfigError, match="port:9418 is no way") as caught:
        ways.address(parse("port:9418"), at.view)
    assert "8088" in caught.value.mend
