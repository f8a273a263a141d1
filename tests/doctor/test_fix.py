"""What --fix does, and what it leaves: told first, agreed to, done once, and looked at again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor.fix import Consent, Fix, carry_out, cure, trust
from pipeline.doctor.k3s import plain_http, with_mirror
from pipeline.doctor.show import rows
from pipeline.doctor.verdict import Status, Verdict, broken, fail, ok
from pipeline.errors import ConfigError, HostKeyError, ResourceError
from pipeline.host.local import LocalHost
from pipeline.stage import Registry
from pipeline.tools import goyaml

from .parts import program

KEY = "10.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE"
PRINT = "SHA256:abc"
HTTP = "10.0.0.9:5000"


def told() -> list[str]:
    return []


def test_an_unknown_host_key_offers_its_line_and_a_changed_one_does_not(tmp_path: Path) -> None:
    unknown = HostKeyError("not known")
    unknown.offer = (str(tmp_path / "known"), KEY, PRINT)
    assert broken("node", "ssh", HostKeyError("has changed")).fix is None
    fix = broken("node", "ssh", unknown).fix
    assert fix is not None
    assert PRINT in fix.does
    assert "fix" in rows([broken("node", "ssh", unknown)])[0]


def test_trust_writes_the_line_once(tmp_path: Path) -> None:
    file = tmp_path / "ssh/known_hosts"
    fix = trust(str(file), KEY, PRINT)
    fix.act()
    fix.act()
    assert file.read_text() == KEY + "\n"
    file.write_text("other ssh-rsa AAAA")
    fix.act()
    assert file.read_text() == f"other ssh-rsa AAAA\n{KEY}\n"


@pytest.mark.parametrize(
    ("consent", "done"),
    [
        (Consent(), False),
        (Consent(yes=True), False),
        (Consent(keys=frozenset({"SHA256:other"})), False),
        (Consent(keys=frozenset({PRINT})), True),
        (Consent(ask=lambda _question: True), True),
        (Consent(yes=True, ask=lambda _question: False), False),
    ],
)
def test_a_host_key_is_trusted_by_its_fingerprint_or_by_a_person_alone(consent: Consent, done: bool, tmp_path: Path) -> None:
    file = tmp_path / "known"
    carry_out([trust(str(file), KEY, PRINT)], consent, told().append)
    assert file.exists() is done


def test_a_person_sees_the_fingerprint_before(tmp_path: Path) -> None:
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    carry_out([trust(str(tmp_path / "known"), KEY, PRINT)], Consent(ask=no), told().append)
    assert PRINT in asked[0]
    assert "Compare the fingerprint" in asked[0]


def test_what_is_left_says_by_what_word_it_is_done(tmp_path: Path) -> None:
    said = told()
    carry_out([Fix("make it", lambda: None), trust(str(tmp_path / "known"), KEY, PRINT)], Consent(), said.append)
    assert "--yes" in said[0]
    assert f"--host-key {PRINT}" in said[1]


def test_a_fix_that_fails_is_told_and_keeps_no_other() -> None:
    def broke() -> None:
        raise ResourceError("no space", mend="make some")

    said, ran = told(), told()
    done = carry_out([Fix("first", broke), Fix("second", lambda: ran.append("x"))], Consent(yes=True), said.append)
    assert [each.does for each in done] == ["second"]
    assert ran == ["x"]
    assert "no space" in said[0]
    assert "make some" in said[0]


def test_it_looks_again_and_mends_what_was_hidden() -> None:
    state = {"first": False, "second": False}

    def mended(name: str) -> Fix:
        return Fix(name, lambda: state.update({name: True}))

    def look() -> list[Verdict]:
        for name in ("first", "second"):
            if not state[name]:
                return [fail("node", name, "wrong", "by hand", fix=mended(name))]
        return [ok("node", "all", "well")]

    assert [each.status for each in cure(look, Consent(yes=True), told().append)] == [Status.OK]
    assert state == {"first": True, "second": True}


def test_one_that_does_not_help_is_not_tried_for_ever() -> None:
    runs = told()
    found = cure(
        lambda: [fail("node", "x", "wrong", "by hand", fix=Fix("try", lambda: runs.append("x")))], Consent(yes=True), told().append
    )
    assert runs == ["x"]
    assert found[0].status is Status.FAIL


def test_nothing_to_mend_is_told() -> None:
    said = told()
    cure(lambda: [fail("node", "disk", "full", "by hand")], Consent(yes=True), said.append)
    assert "nothing that --fix mends" in said[0]


def test_where_all_is_well_nothing_is_said() -> None:
    said = told()
    cure(lambda: [ok("node", "disk", "room")], Consent(), said.append)
    assert said == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\nconfigs:\n  x:\n    auth: {username: a} # as it was\n",
        'mirrors:\n    # ours\n    "a:1":\n        endpoint: ["http://a:1"]\nconfigs: {}\n',
        "mirrors:\n  docker.io:\n    endpoint:\n      - https://mirror",
    ],
)
def test_the_entry_comes_in_and_every_other_line_stays(text: str) -> None:
    new = with_mirror(text, HTTP)
    before, after = (goyaml.values(each, "x") for each in (text or "{}", new))
    mirrors = after[0]["mirrors"]
    assert mirrors.pop(HTTP) == {"endpoint": [f"http://{HTTP}"]}
    assert mirrors == (before[0].get("mirrors") or {})
    assert set(text.splitlines()) <= set(new.splitlines())
    assert with_mirror(new, HTTP) == new


@pytest.mark.parametrize(
    "text", [f'mirrors:\n  "{HTTP}":\n    endpoint: ["https://{HTTP}"]\n', "mirrors: {a: {endpoint: [b]}}\n", "- a list\n", "a: [\n"]
)
def test_what_is_not_understood_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigError):
        with_mirror(text, HTTP)


def test_the_node_gets_its_file_and_a_copy_and_k3s_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "k3s"
    folder.mkdir()
    (folder / "registries.yaml").write_text("# mine\n")
    log = tmp_path / "log"
    program(tmp_path / "bin", "systemctl", f'echo "$@" >>{log}; case "$*" in *k3s-agent) exit 3 ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    fix = plain_http(LocalHost(), Registry(HTTP, "http"), str(folder))
    fix.act()
    assert (folder / "registries.yaml").read_text() == with_mirror("# mine\n", HTTP)
    (kept,) = folder.glob("registries.yaml.before-*")
    assert kept.read_text() == "# mine\n"
    assert log.read_text().splitlines() == ["is-active --quiet k3s", "restart k3s", "is-active --quiet k3s-agent"]
    fix.act()
    assert len(log.read_text().splitlines()) == 3
    assert len(list(folder.iterdir())) == 2


def test_a_k3s_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "systemctl", 'case "$1" in restart) echo "job failed" >&2; exit 1 ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(ResourceError) as caught:
        plain_http(LocalHost(), Registry(HTTP, "http"), str(tmp_path)).act()
    assert "job failed" in caught.value.cause
