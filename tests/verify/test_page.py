from __future__ import annotations

import dataclasses

from pipeline.verify.expect import Page
from pipeline.verify.page import question
from tests.verify.servers import answer, saying, serving
from tests.verify.worlds import Shop


def test_a_head_is_asked_as_one_and_has_no_body(at: Shop) -> None:
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nX-Kind: new\r\n\r\n")) as server:
        asked = question(Page("/", method="HEAD", headers={"X-Kind": "new"}, through=server.url), at.world)
        check = asked.judge(asked.ask(at.view, 5))
    assert server.requests[0].startswith("HEAD / HTTP/1.1")
    assert check.passed
    assert check.name == f"HEAD / through {server.url}"


def test_pages_of_one_way_and_path_are_one_question(at: Shop) -> None:
    pages = [Page("/", text="a"), Page("/", text="b"), Page("/", method="HEAD"), Page("/", through="10.0.0.5:80")]
    assert len({question(page, at.world).key for page in pages}) == 3


def test_without_a_public_name_a_port_forward_is_asked_as_localhost_and_an_address_as_itself(at: Shop) -> None:
    world = dataclasses.replace(at.world, host="")
    with serving(saying(answer(b"x"))) as server:
        question(Page("/", through=server.url), world).ask(at.view, 5)
    assert "Host: 127.0.0.1" in server.requests[0]
