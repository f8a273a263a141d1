"""Secrets come from where configuration says, are read once, and are printed nowhere in any form."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import logging
import os
import pickle
import shlex
import stat
import threading
import traceback
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import AuthError, ConfigError, PipelineError, explain
from pipeline.secrets import MASK, SHORTEST, Secret, Secrets

VALUE = "hunter2 & 'son' <3/+"


def script(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


# sources


def test_every_source_gives_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    (tmp_path / "secret").chmod(0o600)
    script(tmp_path, "keyring", 'echo "$1 $2 $3 $4"')
    script(tmp_path, "sops", 'echo "$1 $2 $3 $4 $5"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    secrets = Secrets({"TOKEN": "from-the-environment"})
    assert secrets.get("env:TOKEN").reveal() == "from-the-environment"
    assert secrets.get(f"file:{tmp_path}/secret").reveal() == "from-a-file"
    assert secrets.get('cmd:["printf", "%s", "from a command"]').reveal() == "from a command"
    assert secrets.get("keyring:registry/me").reveal() == "get -- registry me"
    assert secrets.get("sops:secrets.yml#db.password").reveal() == 'decrypt --extract ["db"]["password"] -- secrets.yml'


def test_a_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("a-token-at-home")
    (tmp_path / "token").chmod(0o600)
    assert Secrets({}).get("file:~/token").reveal() == "a-token-at-home"


def test_the_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets()
    monkeypatch.setenv("PIPELINE_TEST_TOKEN", "set after the start")
    assert secrets.get("env:PIPELINE_TEST_TOKEN").reveal() == "set after the start"


def test_read_once_even_when_asked_from_two_sides(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    program = script(tmp_path, "give", f"echo x >> {shlex.quote(str(counter))}; echo the-secret-value")
    secrets, source = Secrets({}), f"cmd:{json.dumps([str(program)])}"
    threads = [threading.Thread(target=secrets.get, args=(source,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert secrets.get(source) is secrets.get(source)
    assert counter.read_text() == "x\n"


@pytest.mark.parametrize(
    ("source", "error", "names"),
    [
        ("env:MISSING_TOKEN", AuthError, "MISSING_TOKEN"),
        ("env:EMPTY", AuthError, "env:EMPTY is empty"),
        ("file:/nowhere/at/all", AuthError, "/nowhere/at/all"),
        ('cmd:["/nowhere/program"]', ConfigError, "/nowhere/program is not installed"),
        ('cmd:["/"]', ConfigError, "cannot be run"),
        ('cmd:["a\\u0000b"]', ConfigError, "cannot be run"),
        ('cmd:["false"]', AuthError, "exit 1"),
        ('cmd:["true"]', AuthError, "is empty"),
        ("cmd:pass show x", ConfigError, "JSON list"),
        ("cmd:[]", ConfigError, "JSON list"),
        ("cmd:[1]", ConfigError, "JSON list"),
        ("keyring:service", ConfigError, "a service and a user"),
        ("sops:file.yml", ConfigError, "a file and a path of keys"),
        ("sops:file.yml#a..b", ConfigError, "a file and a path of keys"),
        ("env:", ConfigError, "not a source"),
        ("vault:secret/x", ConfigError, "not a source"),
        ("", ConfigError, "not a source"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_mend(source: str, error: type[PipelineError], names: str) -> None:
    with pytest.raises(error, match=names) as caught:
        Secrets({"EMPTY": ""}).get(source)
    assert caught.value.mend or caught.value.cause or "exit 1" in caught.value.what


def test_a_password_in_place_of_its_source_is_not_echoed() -> None:
    for text in ("correct-horse-battery", "correct-horse:battery", "postgres://u:correct-horse@db/x"):
        with pytest.raises(ConfigError) as caught:
            Secrets({}).get(text)
        assert "correct-horse" not in explain(caught.value)
        assert "env:NAME" in caught.value.mend


def test_a_command_does_not_get_the_terminal() -> None:
    with pytest.raises(AuthError, match="is empty"):
        Secrets({}).get('cmd:["cat"]')


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601])
def test_k02_a_file_open_to_others_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-a-file")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="can be read by others") as caught:
        Secrets({}).get(f"file:{path}")
    assert caught.value.mend == f"chmod 600 {path}"
    path.chmod(0o400)
    assert Secrets({}).get(f"file:{path}").reveal() == "from-a-file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_k02_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-a-file")
    path.chmod(0o600)
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        Secrets({}).get(f"file:{path}")


def test_a_link_to_a_good_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("from-a-file")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    assert stat.S_ISLNK((tmp_path / "link").lstat().st_mode)
    assert Secrets({}).get(f"file:{tmp_path}/link").reveal() == "from-a-file"


def test_a_file_that_is_not_text_is_refused_without_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"correct-horse\xff\xfe")
    path.chmod(0o600)
    found = Secrets({}).get(f"file:{path}")
    with pytest.raises(ConfigError, match="is not text") as caught:
        found.reveal()
    assert "correct-horse" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("written", "content", "revealed"),
    [
        (b"a password\n", b"a password", "a password"),
        (b" with blanks \r\n", b" with blanks ", "with blanks"),
        (b"-----BEGIN KEY-----\nabc\n-----END KEY-----\n", None, "-----BEGIN KEY-----\nabc\n-----END KEY-----"),
        (b"\xff\xfe binary\n", None, ""),
        (b"\x00\x01\n", None, "\x00\x01"),
        ("grüße\n".encode(), "grüße".encode(), "grüße"),
    ],
)
@pytest.mark.parametrize("way", ["file", "cmd"])
def test_what_a_file_is_made_of_is_byte_for_byte(tmp_path: Path, way: str, written: bytes, content: bytes | None, revealed: str) -> None:
    """ssh refuses a key without its last line break, and a keystore is no text at all."""
    path = tmp_path / "secret"
    path.write_bytes(written)
    path.chmod(0o600)
    found = Secrets({}).get(f"file:{path}" if way == "file" else f"cmd:{json.dumps(['cat', str(path)])}")
    assert found.content().encode(errors="surrogateescape") == (written if content is None else content)
    if revealed:
        assert found.reveal() == revealed


def test_a_file_that_is_too_large_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x" * ((1 << 20) + 1))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        Secrets({}).get(f"file:{path}")


# a Secret does not print


def test_g02_no_way_of_printing_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    @dataclasses.dataclass
    class Holder:
        password: Secret

    secret = Secret(VALUE, "env:PW")

    def fail(password: Secret) -> None:
        raise RuntimeError(f"cannot log in with {password}")

    logging.getLogger("test").warning("%s %r %s", secret, secret, [secret])
    with pytest.raises(RuntimeError) as caught:
        fail(secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        "%s" % secret,  # noqa: UP031  # one way more of printing
        "{}".format(secret),  # noqa: UP032
        repr([secret]),
        repr(Holder(secret)),
        "".join(traceback.format_exception(caught.value)),
        caplog.text,
    ]  # fmt: skip
    assert [text for text in shown if "hunter2" in text] == []
    assert all("env:PW" in text for text in shown)


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, copy.copy, json.dumps, lambda s: dataclasses.asdict(_Held(s))])
def test_g02_it_is_not_written_down(write: Any) -> None:
    with pytest.raises(TypeError):
        write(Secret(VALUE, "env:PW"))


def test_two_secrets_are_compared_by_value() -> None:
    assert Secret("a", "env:A") == Secret("a", "env:B")
    assert Secret("a", "env:A") != Secret("b", "env:A")
    assert Secret("a", "env:A") != "a"
    assert len({Secret("a", "env:A"), Secret("a", "env:B")}) == 1


# masks


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
        urllib.parse.quote(VALUE, safe=""),
        urllib.parse.quote_plus(VALUE),
        json.dumps(VALUE)[1:-1],
        html.escape(VALUE),
        shlex.quote(VALUE)[1:-1],
        VALUE.encode().hex(),
        VALUE.encode().hex().upper(),
    ],
)
def test_g04_every_form_is_masked(form: str) -> None:
    secrets = Secrets({"PW": VALUE})
    text = f"before {form} after"
    assert secrets.mask(text) == text, "nothing is masked before it is read"
    secrets.get("env:PW")
    assert secrets.mask(text).startswith(f"before {MASK}")
    assert secrets.mask(text).endswith(" after")


@pytest.mark.parametrize("user", ["", "u", "me", "bot", "someone-with-a-long-name"])
def test_g04_inside_a_basic_header(user: str) -> None:
    secrets = Secrets({"PW": "correct-horse-battery"})
    secrets.get("env:PW")
    header = base64.b64encode(f"{user}:correct-horse-battery".encode()).decode()
    masked = secrets.mask(f"Authorization: Basic {header}")
    before, _, after = masked.removeprefix("Authorization: Basic ").partition(MASK)
    assert masked.count(MASK) == 1
    assert header.startswith(before)
    assert len(before) <= len(user + ":") * 8 // 6 + 1, "the user's name is left, and at most one letter that is half the secret's"
    assert len(after) <= 1 + header.count("=")


@given(st.binary(max_size=20), st.text(min_size=SHORTEST, max_size=30), st.binary(max_size=20))
def test_g04_inside_any_base64_hardly_a_byte_is_left(before: bytes, value: str, after: bytes) -> None:
    assume(len(value.strip()) >= SHORTEST)
    secrets = Secrets({})
    secrets.guard(value)
    whole = base64.b64encode(before + value.encode() + after).decode()
    masked = secrets.mask(whole)
    assert MASK in masked
    assert len(masked.replace(MASK, "")) <= len(whole) - (len(value.encode()) * 8 // 6 - 2)


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), min_size=SHORTEST), st.text(), st.text())
def test_g04_a_guarded_value_never_comes_through(value: str, before: str, after: str) -> None:
    assume(value not in MASK)
    secrets = Secrets({})
    secrets.guard(value)
    masked = secrets.mask(before + value + after)
    assert value not in masked.replace(MASK, "\0")


def test_g04_each_line_of_a_key_is_masked() -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQ", "EFAASCBKcwggSjAgEAAoIBAQDf", "ab==", "-----END PRIVATE KEY-----"]
    secrets = Secrets({"KEY": "\n".join(lines) + "\n"})
    secrets.get("env:KEY")
    for line in lines:
        assert (line in secrets.mask(f"log: {line} .")) == (len(line) < SHORTEST)
    assert secrets.mask("\\n".join(lines)).count("MII") == 0, "as JSON writes it"


def test_g05_a_short_secret_is_left_alone() -> None:
    secrets = Secrets({"PW": "admin", "LONG": "admin-of-all"})
    secrets.get("env:PW")
    assert secrets.mask("the admin page") == "the admin page"
    secrets.get("env:LONG")
    assert secrets.mask("the admin-of-all page, the admin page") == f"the {MASK} page, the admin page"


def test_the_longer_secret_is_masked_whole() -> None:
    secrets = Secrets({"A": "password", "B": "password-and-more"})
    secrets.get("env:A")
    secrets.get("env:B")
    assert secrets.mask("password-and-more password") == f"{MASK} {MASK}"


def test_bytes_of_the_environment_that_are_not_utf8_are_masked_too() -> None:
    value = b"pass\xffword-bytes".decode(errors="surrogateescape")
    secrets = Secrets({"PW": value})
    secrets.get("env:PW")
    assert secrets.mask(f"x {value} y") == f"x {MASK} y"


@dataclasses.dataclass
class _Held:
    secret: Any
