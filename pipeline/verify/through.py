"""By which way a check reaches the application, as the blueprint writes it: read strictly, nothing is contacted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.yamlfile import keys_like

NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
PORT = r"[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?"
URL = re.compile(r"(https?)://([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?/?")
ADDRESS = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")
BALANCER = re.compile(rf"({NAME}):({PORT})")
FORWARD = re.compile(rf"(service|pod)/({NAME}):({PORT})")
KINDS = ("ingress", "load-balancer", "port-forward", "port")
USER_WAYS = ("ingress", "address", "load-balancer")  # those that lead to whatever serves, as a user comes
PATH = re.compile(r"/[!-~]*")  # of a page
PORTS = {"http": 80, "https": 443}
FORMS = (
    "ingress, http://10.0.0.5:80, 10.0.0.5:9418, load-balancer:SERVICE:PORT, port-forward:service/NAME:PORT or port-forward:pod/NAME:PORT"
)


@dataclass(frozen=True)
class Through:
    """A way: `kind` is ingress, address, load-balancer, port-forward, or port (of a container that the check itself runs).

    `owner` is service or pod, `name` that object's name or the host of an address, `port` a number or, of an object, its name.
    """

    kind: str
    scheme: str = "http"
    owner: str = ""
    name: str = ""
    port: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "port-forward":
                return f"port-forward:{self.owner}/{self.name}:{self.port}"
            case "load-balancer":
                return f"load-balancer:{self.name}:{self.port}"
            case "address":
                return f"{self.name}:{self.port}"
            case "port":
                return f"port:{self.port}"
        return self.kind


INGRESS = Through("ingress")


def parse(text: str) -> Through:
    """The way that `text` names. Raises ValueError, with the form it may have been meant to have."""
    if text == "ingress":
        return INGRESS
    if found := URL.fullmatch(text):
        return Through("address", found[1], name=found[2], port=_number(found[3] or str(PORTS[found[1]])))
    kind, _, rest = text.partition(":")
    if kind == "load-balancer" and (found := BALANCER.fullmatch(rest)):
        return Through(kind, "https" if found[2] in ("443", "https") else "http", "service", found[1], _number(found[2]))
    if kind == "port-forward" and (found := FORWARD.fullmatch(rest)):
        return Through(kind, owner=found[1], name=found[2], port=_number(found[3]))
    if kind == "port" and rest.isascii() and rest.isdigit():
        return Through(kind, port=_number(rest))
    if kind not in KINDS and (found := ADDRESS.fullmatch(text)):
        return Through("address", name=found[1], port=_number(found[2]))
    meant = "" if kind in KINDS else keys_like(kind, list(KINDS))
    raise ValueError(f"{text!r} is no way to the application{meant}; a way is {FORMS}")


def _number(port: str) -> str:
    """`port`, where it is a name or a number that a port can have."""
    if port.isdigit() and not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port")
    return port
