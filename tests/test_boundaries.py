"""What files of this machine say of identities and of the site: whatever bytes stand there, only errors of our own come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, PipelineError
from pipeline.host.ssh_keys import lines_about
from pipeline.plan import read_site
from pipeline.tools import kubeconfig, logins
from pipeline.tools.providers import provider_of

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Config", "current-context": "one",
    "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one", "namespace": "shop"}}],
    "clusters": [{"name": "one", "cluster": {"server": "https://10.0.0.1:6443/prefix", "certificate-authority-data": "QUJD"}}],
    "users": [{"name": "one", "user": {"token": "abc", "exec": {"command": "aws", "args": ["x"]}, "auth-provider": {"name": "oidc"}}}],
}  # fmt: skip
DOCKER: dict[str, Any] = {
    "auths": {"ghcr.io": {"auth": "dTpw"}, "https://ghcr.io/v1/": {"username": "u", "password": "p"}}, "credHelpers": {"ghcr.io": "pass"}
}  # fmt: skip
SITE: dict[str, Any] = {
    "hosts": {"one": {"address": "10.0.0.1", "port": 22}}, "registries": {"reg": {"address": "reg.test", "scheme": "http"}},
    "clusters": {"one": {"kubeconfig": "~/.kube/config", "crictl": ["crictl"]}}, "values": {"a": "env:A"},
}  # fmt: skip
KNOWN = "host ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1m1XrTZmSNRb4wZPKqYrLdmGqYb8KCMOHXNUyZ9Mpe comment\n@revoked * ssh-rsa AAAA\n"
NASTY: tuple[Any, ...] = (
    None, True, 5, -1, 10**30, 1.5, "", "x", "~no-such-user/x", "a\0b", "https://[", "https://h:99999", "\ud800", ["x" * 5000],
    [], [5], [[1]], {}, {"a": 1}, {"https://[": {}}, [{"name": "one"}],
)  # fmt: skip
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value, the whole of it first."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, each in below for path in paths(each, (*here, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at one of its places."""
    if not path:
        return new
    made = dict(value) if isinstance(value, dict) else list(value)
    made[path[0]] = put(value[path[0]], path[1:], new)
    return made


@st.composite
def spoilt(draw: st.DrawFn, whole: Any) -> bytes:
    """A good file with a few bytes changed, or nothing that was ever a file."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    text = bytearray((whole if isinstance(whole, str) else json.dumps(whole)).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text) - 1))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(text)


def kube(file: Path) -> None:
    access = kubeconfig.load(str(file))
    kubeconfig.bound(access, "")
    access.for_tools()


def docker(file: Path) -> None:
    place = logins.Place(
        {"REGISTRY_AUTH_FILE": str(file)}, file.parent, lambda _argv, _given: (1, b"credentials not found in native keychain")
    )
    logins.find(place, "ghcr.io", "team/web", provider_of("ghcr.io"))


def known_hosts(file: Path) -> None:
    list(lines_about("host", (file,)))


READERS: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "kubeconfig": (KUBECONFIG, kube), "docker": (DOCKER, docker), "known_hosts": (KNOWN, known_hosts), "site.yml": (SITE, read_site),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name: str, tmp_path: Path) -> None:
    whole, reader = READERS[name]
    file = tmp_path / "file"
    file.write_text(whole if isinstance(whole, str) else json.dumps(whole))
    file.chmod(0o600)
    reader(file)


def read_or_refused(name: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    said = "nothing"
    try:
        READERS[name][1](file)
    except PipelineError as error:
        said = error.what
    assert 0 < len(said) < 2000


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_bytes_are_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    read_or_refused(name, tmp_path / "file", data.draw(spoilt(READERS[name][0])))


@pytest.mark.parametrize("name", [name for name, (whole, _) in READERS.items() if not isinstance(whole, str)])
def test_any_value_at_any_place_is_read_or_refused(name: str, tmp_path: Path) -> None:
    whole = READERS[name][0]
    for path in paths(whole):
        for value in NASTY:
            read_or_refused(name, tmp_path / "file", json.dumps(put(whole, path, value)).encode())


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "&a [*a]\n", "[" * 100_000, "a: " + "{a: " * 50_000], ids=range(5))
def test_aliases_and_depth_that_would_fill_the_memory_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        kubeconfig.load(str(file))
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 300


def test_a_kubeconfig_with_aliases_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "clusters: [{name: one, cluster: &same {server: 'https://10.0.0.1:6443'}}, {name: two, cluster: *same}]\n"
        "contexts: [{name: two, context: {cluster: two, user: one}}]\nusers: [{name: one, user: {token: abc}}]\ncurrent-context: two\n"
    )
    access = kubeconfig.load(str(file))
    assert (access.host, access.port, access.context) == ("10.0.0.1", 6443, "two")
