"""One message that a check writes and reads again: under a name that no other run uses, with content that no other message has."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.schema import keyed
from pipeline.verify.through import PATH

KEY, VALUE = "{key}", "{value}"
OWN_HEADERS = ("host", "content-length", "connection", "transfer-encoding", "accept-encoding")  # which the request itself sets


@dataclass(frozen=True)
class Message:
    """How a message is written to a service, and read from it.

    It is written to `path` by `method` with `body` and `headers`, and read by GET from the same path, where the answer has to be 200 and
    to have it in it. {key} stands for a name of this run's own (needed in the path), {value} for content of its own (needed in the body).
    `headers` is the place to bound how long it is kept, where the service takes such a bound; where it does not, `remove` has it deleted
    afterwards, by DELETE. `port` is the pods', a number or a name, by default their first. Raises ValueError where something is none of
    that.
    """

    path: str
    method: Literal["PUT", "POST"] = "PUT"
    body: str = VALUE
    headers: Mapping[str, str] = field(default_factory=dict)
    port: str = ""
    remove: bool = False

    def __post_init__(self) -> None:
        with keyed("path"):
            if not PATH.fullmatch(self.path):
                raise ValueError(f"path {self.path!r} has to start with / and have no spaces")
            if KEY not in self.path:
                raise ValueError(f"path {self.path!r} has no {KEY} in it: two runs would write over one another's message")
        with keyed("body"):
            if VALUE not in self.body:
                raise ValueError(f"the body has no {VALUE} in it: what is read could not be told from another message")
        with keyed("headers"):
            for name, value in self.headers.items():
                if not name.replace("-", "").isalnum() or not name.isascii() or name.lower() in OWN_HEADERS:
                    raise ValueError(f"{name!r} is no header that may be set")
                if not value.isprintable() or not value.isascii():
                    raise ValueError(f"header {name} has a value that no header can have")
        with keyed("port"):
            if self.port.isdigit() and not 0 < int(self.port) < 65536:
                raise ValueError(f"{self.port} is no port")


@dataclass(frozen=True)
class Letter:
    """A message of this run: its `key`, its `value`, and the node that it is written through, "" for another way."""

    key: str
    value: str
    writer: str = ""

    def path(self, message: Message) -> str:
        return message.path.replace(KEY, self.key)

    def body(self, message: Message) -> bytes:
        return message.body.replace(VALUE, self.value).replace(KEY, self.key).encode()


def letter(writer: str = "") -> Letter:
    """One that nobody has written before."""
    return Letter(f"pipeline-verify-{secrets.token_hex(6)}", secrets.token_hex(8), writer)
