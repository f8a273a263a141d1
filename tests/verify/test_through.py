from __future__ import annotations

import pytest

from pipeline.verify.through import INGRESS, Through, parse


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("ingress", INGRESS),
        ("http://10.0.0.5:8080", Through("address", "http", name="10.0.0.5", port="8080")),
        ("https://relay.example", Through("address", "https", name="relay.example", port="443")),
        ("10.0.0.5:9418", Through("address", name="10.0.0.5", port="9418")),
        ("[fd00::1]:9418", Through("address", name="[fd00::1]", port="9418")),
        ("load-balancer:relay:http", Through("load-balancer", "http", "service", "relay", "http")),
        ("load-balancer:relay:443", Through("load-balancer", "https", "service", "relay", "443")),
        ("port-forward:service/relay:git", Through("port-forward", owner="service", name="relay", port="git")),
        ("port-forward:pod/relay-0:9418", Through("port-forward", owner="pod", name="relay-0", port="9418")),
        ("port:8088", Through("port", port="8088")),
    ],
)
def test_each_form_is_read_and_written_back(text: str, way: Through) -> None:
    assert parse(text) == way
    assert text.startswith("http") or str(way) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ingres", "did you mean 'ingress'"),
        ("port-foward:service/relay:80", "did you mean 'port-forward'"),
        ("loadbalancer:relay:80", "did you mean 'load-balancer'"),
        ("port-forward:relay:80", "port-forward:service/NAME:PORT"),
        ("port-forward:service/relay", "port-forward:service/NAME:PORT"),
        ("port-forward:service/-relay:80", "no way"),
        ("port-forward:service/relay:99999", "99999 is no port"),
        ("http://user@10.0.0.5", "no way"),
        ("http://10.0.0.5/path", "no way"),
        ("http://-oProxyCommand=x", "no way"),
        ("10.0.0.5:0", "0 is no port"),
        ("port:http", "no way"),
        ("", "no way"),
    ],
)
def test_i01_what_is_no_way_is_refused_with_the_form_it_may_have(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse(text)
