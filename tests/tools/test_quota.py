"""What is left of a registry's quota: read from its headers, told once before it is gone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RateLimited
from pipeline.testing.registry import FakeRegistry
from pipeline.tools.http_faults import retry_after
from pipeline.tools.origin import Origin
from pipeline.tools.quota import Quota, read
from pipeline.tools.registry import Client
from pipeline.tools.tokens import Account, Authorization


def headers(remaining: int, limit: int = 100) -> Mapping[str, str]:
    """As Docker Hub writes them."""
    return {"ratelimit-limit": f"{limit};w=21600", "ratelimit-remaining": f"{remaining};w=21600", "docker-ratelimit-source": "192.0.2.1"}


def test_docker_hub_s_headers() -> None:
    found = read(headers(76))
    assert found == Quota(100, 76, 21600, "192.0.2.1")
    assert str(found) == "76 of 100 pulls left in 6 h, counted for 192.0.2.1"


@pytest.mark.parametrize(
    "said", [{}, {"ratelimit-limit": "100"}, {"ratelimit-limit": "x", "ratelimit-remaining": "1"}, {"ratelimit-remaining": "5;w=1"}]
)
def test_what_says_nothing_is_none(said: Mapping[str, str]) -> None:
    assert read(said) is None


@given(st.dictionaries(st.sampled_from(["ratelimit-limit", "ratelimit-remaining", "docker-ratelimit-source"]), st.text()))
def test_n10_any_header_is_read_or_not(said: Mapping[str, str]) -> None:
    found = read(said)
    assert found is None or found.remaining >= 0


def test_a_low_rest_is_told_once_and_before_it_is_gone() -> None:
    said: list[str] = []
    with FakeRegistry(auth="none") as registry:
        digest, _ = registry.put("a/b", "v1")
        origin = Origin("http", registry.address)
        client = Client(origin, Authorization(origin, Account("own")), said.append)
        for remaining in (11, 10, 9):
            registry.fault("HEAD", "", status=200, headers={**headers(remaining), "Docker-Content-Digest": digest})
            client.head("a/b", "v1")
            assert len(said) == (remaining < 11)
        assert client.quota == Quota(100, 9, 21600, "192.0.2.1")
        client.close()
    assert said == [f"http://{registry.address}: 10 of 100 pulls left in 6 h, counted for 192.0.2.1; log in for more, or wait"]


def test_429_says_until_when_in_seconds_or_as_a_moment() -> None:
    assert retry_after("30", 1_899_999_940) == 30
    assert retry_after("1900000000", 1_899_999_940) == 60
    with FakeRegistry(auth="none") as registry:
        registry.fault("HEAD", "", status=429, headers={"Retry-After": "7"}, body=b'{"errors":[{"code":"TOOMANYREQUESTS"}]}')
        origin = Origin("http", registry.address)
        client = Client(origin, Authorization(origin, Account("own")))
        with pytest.raises(RateLimited) as caught:
            client.head("a/b", "v1")
        client.close()
    assert caught.value.retry_after == 7


def test_a_limit_on_pulls_that_is_used_up_says_what_helps() -> None:
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. You may increase the limit by"}]}'
    with FakeRegistry(auth="none") as registry:
        origin = Origin("http", registry.address)
        client = Client(origin, Authorization(origin, Account("own")))
        for told, wait in ((headers(0), 216), ({}, 216), ({**headers(0), "Retry-After": "9"}, 9)):
            registry.fault("GET", "", status=429, headers=told, body=body)
            with pytest.raises(RateLimited, match=r"no more pulls for now: 0 of 100 pulls left in 6 h") as caught:
                client.manifest("a/b", "v1")
            assert caught.value.retry_after == wait
            assert "log in" in caught.value.mend
            assert "pull rate limit" in caught.value.cause
        client.close()


def test_a_limit_that_tells_no_numbers_waits_a_minute() -> None:
    with FakeRegistry(auth="none") as registry:
        registry.fault("GET", "", status=429, body=b"You have reached your pull rate limit.\n")
        origin = Origin("http", registry.address)
        client = Client(origin, Authorization(origin, Account("own")))
        with pytest.raises(RateLimited, match=r"gives no more pulls for now$") as caught:
            client.manifest("a/b", "v1")
        client.close()
    assert caught.value.retry_after == 60
