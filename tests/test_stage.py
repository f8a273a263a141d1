"""What a stage may touch: passed by name, shared, closed, and told without secrets."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.events import Event, What
from pipeline.stage import Cluster, HostSpec, Registry, Remote, Stage
from pipeline.testing import FakeClock, FakeHost
from tests.world import Options, World, site


class Connection:
    """Says when it is closed."""

    def __init__(self, name: str, closed: list[str], error: bool = False) -> None:
        self.name, self.closed, self.error = name, closed, error

    def close(self) -> None:
        self.closed.append(self.name)
        if self.error:
            raise OSError(self.name)


def test_things_are_found_by_name_or_refused_with_the_names_there_are(tmp_path: Path) -> None:
    host = FakeHost("builder")
    with dataclasses.replace(
        site(tmp_path),
        hosts={"builder": host},
        remotes={"gitea": Remote("ssh://x")},
        registries={"gitea": Registry("r:1")},
        clusters={"k3s": Cluster("~/.kube/config")},
        tools={"helm": "/opt/helm"},
    ) as here:
        assert here.host("builder") is host
        assert here.remote("gitea").url == "ssh://x"
        assert (here.registry("gitea").address, here.registry("gitea").scheme) == ("r:1", "https")
        assert here.cluster("k3s").crictl == ("k3s", "crictl")
        assert (here.tool("helm"), here.tool("skopeo")) == ("/opt/helm", "skopeo")
        for ask in (here.host, here.remote, here.registry, here.cluster):
            with pytest.raises(ConfigError, match="the site has no") as caught:
                ask("nope")
            assert any(name in caught.value.mend for name in ("builder", "gitea", "k3s"))


def test_events_are_told_without_secrets_however_deep(tmp_path: Path) -> None:
    events: list[Event] = []
    clock = FakeClock()
    with site(tmp_path, events.append, clock) as here:
        here.secrets.guard("s3cr3t-canary")
        data: dict[str, Any] = {
            "words": "a s3cr3t-canary",
            "list": ["s3cr3t-canary", {"deep": "s3cr3t-canary"}],
            "pair": ("s3cr3t-canary", 1),
            "number": 7,
        }
        here.tell(What.LOG, "push", "token s3cr3t-canary", **data)
    (event,) = events
    assert "canary" not in repr(event)
    assert (event.text, event.at, event.stage) == ("token [secret]", clock.now(), "push")
    assert event.data["number"] == 7
    assert event.data["list"][1] == {"deep": "[secret]"}


def test_a_connection_is_shared(tmp_path: Path) -> None:
    made: list[str] = []
    with site(tmp_path) as here:

        def make() -> str:
            made.append("x")
            return "connection"

        assert [here.share("kube", make) for _ in range(3)] == ["connection"] * 3
        assert here.share("registry", lambda: "another") == "another"
    assert made == ["x"]


def test_two_looks_that_ask_at_once_get_one_connection(tmp_path: Path) -> None:
    here = site(tmp_path)
    begun, go = threading.Event(), threading.Event()
    found: list[object] = []

    def slow() -> object:
        begun.set()
        assert go.wait(10)
        return object()

    threads = [threading.Thread(target=lambda: found.append(here.share("kube", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert here.share("other", lambda: "not held up") == "not held up"
    go.set()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len({id(each) for each in found}) == 1


def test_a_connection_that_could_not_be_made_is_tried_again(tmp_path: Path) -> None:
    here = site(tmp_path)

    def fail() -> str:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        here.share("kube", fail)
    assert here.share("kube", lambda: "good") == "good"


def test_closing_goes_backwards_and_on_where_one_fails(tmp_path: Path) -> None:
    closed: list[str] = []

    class Hosts(dict[str, Any]):
        def close(self) -> None:
            closed.append("hosts")

    here = dataclasses.replace(site(tmp_path), hosts=Hosts())
    here.share("first", lambda: Connection("first", closed))
    here.share("broken", lambda: Connection("broken", closed, error=True))
    here.share("tunnel", lambda: Connection("tunnel", closed))
    here.share("plain", lambda: "has no close")
    with pytest.raises(OSError, match="broken"):
        here.close()
    assert closed == ["tunnel", "broken", "first", "hosts"]
    here.close()
    assert closed == ["tunnel", "broken", "first", "hosts", "hosts"]


def test_the_key_names_parent_driver_version_and_options(tmp_path: Path) -> None:
    driver = World(tmp_path).driver("build")
    key = Stage("build", driver, Options()).key("p")
    others = [
        Stage("build", driver, Options()).key("q"),
        Stage("build", driver, Options("x")).key("p"),
        Stage("build", dataclasses.replace(driver, version=2), Options()).key("p"),
        Stage("build", dataclasses.replace(driver, name="other"), Options()).key("p"),
        Stage("build", dataclasses.replace(driver, verb="sync"), Options()).key("p"),
    ]
    assert len({key, *others}) == 6
    assert Stage("build", driver, Options()).key("p") == key


@pytest.mark.parametrize("state", ["", "relative", "../x", "/var/../etc", "/tmp/$(id)", "/a b", "/a\nb", "-x", "/a/", "/"])
def test_i01_a_state_folder_is_a_plain_one(state: str) -> None:
    """A relative one was told as a broken pack, and one with a dollar was found out by nix, after the sync."""
    with pytest.raises(ValueError, match="not a plain folder named from the root"):
        HostSpec("h", state=state)
    assert HostSpec("h", state="/var/lib/pipe-line_1.2").state == "/var/lib/pipe-line_1.2"


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_one(port: int) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        HostSpec("h", port)
