from __future__ import annotations

from typing import Any

import pytest

from pipeline.verify.message import Message, letter


def test_no_two_messages_are_the_same() -> None:
    many = [letter() for _ in range(50)]
    assert len({each.key for each in many}) == len({each.value for each in many}) == 50


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"path": "data/{key}"}, "has to start with /"),
        ({"path": "/data"}, "two runs would write over one another"),
        ({"body": "hello"}, "could not be told from another"),
        ({"headers": {"X-TTL": "60\r\nX: y"}}, "no header can have"),
        ({"headers": {"Content-Length": "0"}}, "is no header that may be set"),
        ({"headers": {"X: y": "0"}}, "is no header that may be set"),
        ({"port": "0"}, "is no port"),
    ],
)
def test_i01_a_message_that_could_not_be_told_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Message(**{"path": "/data/{key}", **wrong})


def test_i01_a_body_may_have_any_form() -> None:
    one = letter("node-0")
    body = Message("/v1/{key}?ttl=9", body='{"id": "{key}", "data": "{value}"}')
    assert one.path(body) == f"/v1/{one.key}?ttl=9"
    assert one.body(body) == f'{{"id": "{one.key}", "data": "{one.value}"}}'.encode()
