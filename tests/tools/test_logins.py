"""Where a registry's login is found on a machine: files and their order, keys from narrow to wide, helpers, GitHub's variables."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AuthError, ConfigError
from pipeline.tools import logins
from pipeline.tools.logins import ABSENT, Login, Place, find
from pipeline.tools.providers import OF_GHCR, Provider, provider_of

HOST = "registry.example:5000"


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@dataclass
class Machine:
    """A home folder with files, and helpers that answer as they are told."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Callable[[str], tuple[int, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def write(self, name: str, value: Any, mode: int = 0o600) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        path.chmod(mode)
        return path

    def docker(self, **content: Any) -> Path:
        return self.write(".docker/config.json", content)

    def helper(self, name: str, answers: Mapping[str, tuple[str, str]]) -> None:
        def answer(server: str) -> tuple[int, str]:
            if server not in answers:
                return 1, ABSENT + "\n"
            username, secret = answers[server]
            return 0, json.dumps({"ServerURL": server, "Username": username, "Secret": secret}) + "\n"

        self.answers[f"docker-credential-{name}"] = answer

    def run(self, argv: list[str], text: bytes) -> tuple[int, bytes]:
        self.asked.append((argv[0], text.decode()))
        if argv[0] not in self.answers:
            raise FileNotFoundError(argv[0])
        assert argv[1:] == ["get"]
        code, output = self.answers[argv[0]](text.decode())
        return code, output.encode()

    @property
    def place(self) -> Place:
        return Place(self.env, self.home, self.run, self.said.append)

    def find(self, address: str = HOST, repository: str = "team/app", provider: Provider | None = None) -> tuple[str, str] | None:
        found = find(self.place, address, repository, provider or provider_of(address))
        return (found.username, found.password) if found else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_logins_has_none(machine: Machine) -> None:
    assert machine.find() is None
    assert machine.asked == []


def test_docker_s_file(machine: Machine) -> None:
    path = machine.docker(auths={HOST: auth("anna:pass:word")})
    assert find(machine.place, HOST, "team/app", Provider("")) == Login("anna", "pass:word", f"{path} ({HOST})")
    assert machine.find("other.example") is None


def test_the_first_file_that_has_it_counts(machine: Machine, tmp_path: Path) -> None:
    files = {
        "given.json": {"REGISTRY_AUTH_FILE": str(tmp_path / "given.json")},
        "run/containers/auth.json": {"XDG_RUNTIME_DIR": str(tmp_path / "run")},
        ".config/containers/auth.json": {},
        "docker/config.json": {"DOCKER_CONFIG": str(tmp_path / "docker")},
    }
    for name, env in files.items():
        machine.env |= env
        machine.write(name, {"auths": {HOST: auth(f"{name}:secret")}})
    for name in files:
        assert machine.find() == (name, "secret")
        (tmp_path / name).unlink()
    assert machine.find() is None


def test_xdg_config_home_is_heeded(machine: Machine, tmp_path: Path) -> None:
    machine.env["XDG_CONFIG_HOME"] = str(tmp_path / "settings")
    machine.write("settings/containers/auth.json", {"auths": {HOST: auth("a:b")}})
    machine.write(".config/containers/auth.json", {"auths": {HOST: auth("c:d")}})
    assert machine.find() == ("a", "b")


def test_the_narrowest_key_counts(machine: Machine) -> None:
    keys = [f"{HOST}/team/app", f"{HOST}/team", HOST, f"https://{HOST}/v2/"]
    for first in range(len(keys)):
        auths = {key: auth(f"user{number}:x") for number, key in enumerate(keys) if number >= first}
        machine.write(".config/containers/auth.json", {"auths": auths})
        assert machine.find() == (f"user{first}", "x")
    machine.write(".config/containers/auth.json", {"auths": {f"{HOST}/team/ap": auth("a:b"), f"{HOST}/tea": auth("a:b")}})
    assert machine.find() is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io", "docker.io/library"]
)
@pytest.mark.parametrize("address", ["docker.io", "registry-1.docker.io"])
def test_docker_hub_by_all_its_names(machine: Machine, key: str, address: str) -> None:
    machine.docker(auths={key: auth("anna:x")})
    assert machine.find(address, "library/debian") == ("anna", "x")


def test_identity_and_registry_tokens(machine: Machine) -> None:
    path = machine.docker(auths={HOST: {**auth("00000000-0000-0000-0000-000000000000:"), "identitytoken": "idtoken"}})
    found = find(machine.place, HOST, "team/app", Provider(""))
    assert found == Login("00000000-0000-0000-0000-000000000000", "idtoken", f"{path} ({HOST})", "identity")
    machine.docker(auths={HOST: {"registrytoken": "bearer-token"}})
    found = find(machine.place, HOST, "team/app", Provider(""))
    assert found == Login("", "bearer-token", f"{path} ({HOST})", "bearer")


def test_an_entry_without_a_password_is_none(machine: Machine) -> None:
    machine.docker(auths={HOST: {}, f"{HOST}/team": "x", f"{HOST}/team/app": auth("anna:")})
    assert machine.find() is None


LOGIN = auth("anna:a rather long password, so that it has more than one line")["auth"]


@pytest.mark.parametrize(
    "text",
    [
        LOGIN + "\n",
        f"{LOGIN[:40]}\r\n{LOGIN[40:]}\r\n",
        "\n".join([LOGIN[i : i + 20] for i in range(0, len(LOGIN), 20)]),
        LOGIN.rstrip("="),
    ],
)
def test_an_auth_with_line_breaks_or_without_its_end_is_read(machine: Machine, text: str) -> None:
    machine.docker(auths={HOST: {"auth": text}})
    assert machine.find() == ("anna", "a rather long password, so that it has more than one line")


@pytest.mark.parametrize("text", ["anna", ":x", ""])
def test_an_auth_that_is_no_pair_is_told_without_it(machine: Machine, text: str) -> None:
    machine.docker(auths={HOST: {"auth": base64.b64encode(text.encode()).decode() or "=="}})
    with pytest.raises(ConfigError, match=r"has no USER:PASSWORD in it") as caught:
        machine.find()
    assert caught.value.mend == f"docker login {HOST}, again"


@pytest.mark.parametrize("key", [f"{HOST}/v1/", f"{HOST}/v2", f"{HOST}/", f"http://{HOST}", f"https://{HOST.upper()}/v1/", HOST.title()])
def test_docker_s_older_keys_are_for_the_whole_host(machine: Machine, key: str) -> None:
    machine.docker(auths={key: auth("anna:x"), f"other.example:5000/{HOST}": auth("b:x"), f"{HOST}/v1/team": auth("c:x")})
    assert machine.find() == ("anna", "x")


def test_a_wish_for_no_helper_is_granted(machine: Machine) -> None:
    machine.docker(credHelpers={HOST: ""}, credsStore="keys", auths={HOST: auth("anna:x")})
    machine.helper("keys", {HOST: ("keys", "x"), "other.example": ("keys", "y")})
    assert machine.find() == ("anna", "x")
    assert machine.find("other.example") == ("keys", "y")


def test_docker_hub_s_own_helper_is_named_by_its_url(machine: Machine) -> None:
    machine.docker(credHelpers={"https://index.docker.io/v1/": "keys"}, auths={"https://index.docker.io/v1/": {}})
    machine.helper("keys", {"https://index.docker.io/v1/": ("anna", "x")})
    assert machine.find("docker.io") == ("anna", "x")


def test_docker_s_variable_comes_before_its_files(machine: Machine) -> None:
    machine.docker(auths={HOST: auth("file:x"), "other.example": auth("file:y")})
    machine.env["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {HOST: auth("variable:x")}})
    assert machine.find() == ("variable", "x")
    assert find(machine.place, HOST, "a", Provider("")) == Login("variable", "x", f"the variable DOCKER_AUTH_CONFIG ({HOST})")
    assert machine.find("other.example") == ("file", "y")
    machine.env["DOCKER_AUTH_CONFIG"] = "{"
    with pytest.raises(ConfigError, match="the variable DOCKER_AUTH_CONFIG is not JSON"):
        machine.find()


def test_docker_s_oldest_file_is_read(machine: Machine) -> None:
    machine.write(".dockercfg", {f"https://{HOST}/v1/": {**auth("anna:x"), "email": "anna@example"}})
    assert machine.find() == ("anna", "x")


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_says_nothing(machine: Machine, text: str) -> None:
    machine.docker(auths={HOST: auth("anna:x")})
    machine.write(".config/containers/auth.json", text)
    assert machine.find() == ("anna", "x")


def test_a_helper_for_the_registry_then_the_store_then_the_file(machine: Machine) -> None:
    machine.docker(credHelpers={HOST: "one"}, credsStore="two", auths={HOST: auth("file:x")})
    machine.helper("one", {HOST: ("one", "x")})
    machine.helper("two", {HOST: ("two", "x")})
    assert machine.find() == ("one", "x")
    machine.helper("one", {})
    assert machine.find() == ("two", "x")
    machine.helper("two", {})
    assert machine.find() == ("file", "x")


def test_a_helper_is_asked_for_docker_hub_by_its_old_name(machine: Machine) -> None:
    machine.docker(credsStore="keys")
    machine.helper("keys", {"https://index.docker.io/v1/": ("anna", "dckr_pat_x")})
    assert machine.find("docker.io", "team/app") == ("anna", "dckr_pat_x")
    assert machine.asked == [("docker-credential-keys", "https://index.docker.io/v1/")]


def test_a_helper_s_identity_token(machine: Machine) -> None:
    machine.docker(credsStore="keys")
    machine.helper("keys", {HOST: ("<token>", "idtoken")})
    assert find(machine.place, HOST, "a", Provider("")) == Login("", "idtoken", "docker-credential-keys", "identity")


def test_a_helper_that_is_not_installed_is_told_and_passed_over(machine: Machine) -> None:
    machine.docker(credsStore="desktop.exe", auths={HOST: auth("anna:x")})
    assert machine.find() == ("anna", "x")
    assert "docker-credential-desktop.exe, which is not installed" in machine.said[0]


@pytest.mark.parametrize(("code", "output"), [
    (1, "error getting credentials - err: exit status 1"), (3, ""), (0, "not json"), (0, "{}"), (0, "[]"),
    (0, '{"Username": "a", "Secret": ""}'),
    (0, '{"Username": 1, "Secret": "x"}'), (0, '{"Username": "a", "Secret": 1}'),
])  # fmt: skip
def test_a_helper_that_fails_is_told(machine: Machine, code: int, output: str) -> None:
    machine.docker(credHelpers={HOST: "keys"})
    machine.answers["docker-credential-keys"] = lambda _server: (code, output)
    with pytest.raises(AuthError, match="docker-credential-keys") as caught:
        machine.find()
    assert caught.value.mend
    if code:
        assert caught.value.cause == (output or "exit 3")


@pytest.mark.parametrize("name", ["../../bin/sh", "-x", "a b", 5, "x;id"])
def test_i01_a_helper_s_name_is_a_name(machine: Machine, name: object) -> None:
    machine.docker(credHelpers={HOST: name})
    with pytest.raises(ConfigError, match="credential helper"):
        machine.find()
    assert machine.asked == []


def test_k02_a_file_with_a_password_is_closed_to_others(machine: Machine) -> None:
    path = machine.write(".docker/config.json", {"auths": {HOST: auth("anna:x")}}, 0o644)
    with pytest.raises(ConfigError, match="can be read by others") as caught:
        machine.find()
    assert caught.value.mend == f"chmod 600 {path}"
    for name in ("password", "identitytoken", "registrytoken"):
        machine.write(".docker/config.json", {"auths": {HOST: {"username": "anna", name: "x"}}}, 0o644)
        with pytest.raises(ConfigError, match="can be read by others"):
            machine.find()
    machine.write(".docker/config.json", {"credHelpers": {HOST: "keys"}}, 0o644)
    machine.helper("keys", {HOST: ("anna", "x")})
    assert machine.find() == ("anna", "x"), "a file that names a helper holds no secret"


def test_a_broken_entry_is_told_without_it(machine: Machine) -> None:
    machine.docker(auths={HOST: {"auth": "not base64: hunter2"}})
    with pytest.raises(ConfigError, match="not base64") as caught:
        machine.find()
    assert "hunter2" not in repr((caught.value.what, caught.value.cause, caught.value.mend, caught.value.__cause__))


@pytest.mark.parametrize("text", ["{", "[]", "5", "[" * 100_000])
def test_y03_a_file_that_is_none_is_told(machine: Machine, text: str) -> None:
    machine.write(".docker/config.json", text)
    with pytest.raises(ConfigError, match="not JSON"):
        machine.find()


KEYS = st.sampled_from(["auths", "credHelpers", "credsStore", HOST, "auth", "identitytoken", "x"])
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
CONTENT = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10)


@given(CONTENT)
def test_any_content_is_a_login_none_or_told(content: Any) -> None:
    place = Place({}, Path("/nowhere"), lambda _argv, _text: (1, ABSENT.encode()))
    try:
        found = logins._in(place, Path(__file__), content if isinstance(content, dict) else {}, HOST, "a/b", Provider(""))
    except (ConfigError, AuthError):
        return
    assert found is None or found.password


def test_github_s_variables_are_for_ghcr_alone(machine: Machine) -> None:
    machine.env |= {"GITHUB_TOKEN": "ghs_x", "GITHUB_ACTOR": "anna"}
    assert machine.find("ghcr.io") == ("anna", "ghs_x")
    assert machine.find("ghcr.io.example") is None
    assert machine.find(HOST) is None
    assert machine.find(HOST, provider=OF_GHCR) == ("anna", "ghs_x")


def test_ghcr_pat_comes_first_the_files_then_github_token(machine: Machine) -> None:
    machine.env["GITHUB_TOKEN"] = "ghs_x"
    assert machine.find("ghcr.io") == ("x-access-token", "ghs_x")
    machine.docker(auths={"ghcr.io": auth("bea:file")})
    assert machine.find("ghcr.io") == ("bea", "file")
    machine.env["GHCR_PAT"] = "ghp_y\n"
    assert machine.find("ghcr.io") == ("x-access-token", "ghp_y")


def test_a_login_does_not_print_its_password() -> None:
    assert "hunter2" not in repr(Login("anna", "hunter2", "x"))


def test_a_real_helper_is_spoken_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "docker-credential-real"
    script.write_text('#!/bin/sh\nread -r server || true\nprintf \'{"Username": "%s", "Secret": "%s"}\' "$1" "$server"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"credsStore": "real"}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    place = replace(logins.here(), env={}, home=tmp_path)
    assert find(place, HOST, "a", Provider("")) == Login("get", HOST, "docker-credential-real")


def test_what_a_helper_complains_of_is_told_wherever_it_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "docker-credential-real"
    script.write_text("#!/bin/sh\necho 'the session has expired, run: cloud login' >&2\nexit 2\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"credsStore": "real"}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(AuthError) as caught:
        find(replace(logins.here(), env={}, home=tmp_path), HOST, "a", Provider(""))
    assert caught.value.cause == "the session has expired, run: cloud login"


def test_a_helper_that_hangs_is_an_error(machine: Machine) -> None:
    def hang(_argv: list[str], _text: bytes) -> tuple[int, bytes]:
        raise subprocess.TimeoutExpired("x", 60)

    machine.docker(credsStore="keys")
    with pytest.raises(AuthError, match="within 60 s"):
        find(replace(machine.place, run=hang), HOST, "a", Provider(""))
