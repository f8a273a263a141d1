"""A chart as one file: the same bytes for the same content, and nothing taken from an archive that is none."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from pipeline.deploy import packed
from pipeline.errors import ConfigError, IntegrityError

FILES = (
    ("Chart.yaml", b"apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: 0.9\n"),
    ("templates/x.yaml", b"a: b\n"),
    ("values.yaml", b""),
)


def archive(*members: tuple[str, bytes], **facts: Any) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for fact, value in facts.items():
                setattr(entry, fact, value)
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def test_the_same_content_gives_the_same_bytes_in_whatever_order_it_is_found() -> None:
    body = packed.pack("web", FILES)
    assert body == packed.pack("web", FILES[::-1])
    assert packed.unpack(body, "here") == ("web", FILES)
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert {(entry.mtime, entry.uid, entry.mode, entry.uname) for entry in tar} == {(0, 0, 0o644, "")}
    assert body != packed.pack("web", (*FILES[:2], ("values.yaml", b"a: 1\n")))


def test_every_field_is_typed_as_helm_types_it() -> None:
    text = b"""name: web
version: 1.0.0
appVersion: 1.25
kubeVersion: 1.25
deprecated: yes
icon: null
keywords: [1, no]
annotations: {a: 1, b: true, c: 2026-01-01}
dependencies: [{name: db, version: 1, enabled: false}]
"""
    assert json.loads(packed.manifest_of("web", (("Chart.yaml", text),)).config) == {
        "name": "web", "version": "1.0.0", "appVersion": "1.25", "kubeVersion": "1.25", "deprecated": True, "keywords": ["1", "false"],
        "annotations": {"a": "1", "b": "true", "c": "2026-01-01"}, "dependencies": [{"name": "db", "version": "1", "enabled": False}],
    }  # fmt: skip


@pytest.mark.parametrize("text", [b"[" * 100_000, b"a: " + b"{a: " * 30 + b"}" * 30, b"name: web\nversion: 1.0.0\nx: .inf\n"])
def test_y01_a_description_that_is_none_ends_in_an_error(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"Chart\.yaml"):
        packed.manifest_of("web", (("Chart.yaml", text),))


def test_what_helm_itself_packs_is_read(tmp_path: Any) -> None:
    body = archive(("web/Chart.yaml", b"name: web\n"), ("web/charts/db/Chart.yaml", b"name: db\n"), mtime=1_700_000_000)
    assert packed.unpack(body, "here") == ("web", (("Chart.yaml", b"name: web\n"), ("charts/db/Chart.yaml", b"name: db\n")))


@pytest.mark.parametrize(
    "name", ["web/../../etc/passwd", "/etc/passwd", "web/./x", "web//x", "../web/x", "web/a\\b", "Chart.yaml", "web/Chart.yaml", "./../x/y"]
)
def test_t01_a_member_that_is_no_plain_file_of_the_chart_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="no plain file of a chart"):
        packed.unpack(archive(("web/Chart.yaml", b""), (name, b"x")), "here")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_y04_a_link_or_a_device_in_an_archive_is_refused(kind: bytes) -> None:
    with pytest.raises(IntegrityError, match="no plain file of a chart"):
        packed.unpack(archive(("web/Chart.lock", b""), type=kind, linkname="/etc/passwd"), "here")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        packed.pack("web", FILES)[:-20],
        gzip.compress(b"not tar"),
        archive(("web/x", b"")),
        archive(("a/Chart.yaml", b""), ("b/x", b"")),
    ],
    ids=["empty", "not gzip", "cut", "not tar", "no chart", "two charts"],
)
def test_what_is_no_archive_of_a_chart_is_refused(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not a chart's archive"):
        packed.unpack(body, "here")


def test_t02_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGEST", 1 << 20)
    with pytest.raises(IntegrityError, match="unpacks to more"):
        packed.unpack(gzip.compress(b"\0" * (3 << 20)), "here")
    with pytest.raises(IntegrityError, match="more than any chart does"):
        packed.unpack(packed.pack("web", (*FILES, ("big", b"\0" * ((1 << 20) + 1)))), "here")
    monkeypatch.setattr(packed, "MOST", 2)
    with pytest.raises(IntegrityError, match="more than any chart does"):
        packed.unpack(packed.pack("web", FILES), "here")


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", ["Chart.yaml", "a/b.md", "a/c.txt", "b.md"]),
        ("# a comment\n*.md\n", ["Chart.yaml", "a/c.txt"]),
        ("/*.md", ["Chart.yaml", "a/b.md", "a/c.txt"]),
        ("a/", ["Chart.yaml", "b.md"]),
        ("a/*.md", ["Chart.yaml", "a/c.txt", "b.md"]),
        ("a", ["Chart.yaml", "b.md"]),
        ("!*", ["Chart.yaml", "a/b.md", "a/c.txt", "b.md"]),
        ("b.md/", ["Chart.yaml", "a/b.md", "a/c.txt", "b.md"]),
    ],
)
def test_what_helmignore_names_is_left_out_as_helm_does_it(rules: str, left: list[str]) -> None:
    files = tuple((name, b"") for name in ("Chart.yaml", "a/b.md", "a/c.txt", "b.md", "templates/.x.swp"))
    kept = packed.kept((*files, (packed.IGNORE, rules.encode())))
    assert [name for name, _ in kept if name != packed.IGNORE] == left


def test_a_rule_that_leaves_out_the_chart_itself_is_told() -> None:
    with pytest.raises(ConfigError, match=r"leaves out Chart\.yaml itself") as caught:
        packed.kept((*FILES, (packed.IGNORE, b"!values.yaml\n")))
    assert "unlike git" in caught.value.mend


def test_a_rule_that_helm_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"helm takes no \*\*"):
        packed.kept((*FILES, (packed.IGNORE, b"a/**/b\n")))


def test_the_app_version_is_put_in_and_does_not_make_another_chart() -> None:
    stamped = packed.with_app_version(FILES, "abc1234")
    assert dict(stamped)["Chart.yaml"] == b'apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: "abc1234"\n'
    assert packed.with_app_version(FILES, "") == FILES
    assert packed.differing(stamped, FILES) == ["Chart.yaml"]
    assert packed.differing(stamped, FILES, app_version=False) == []
    assert packed.differing(FILES, (*FILES[:2], ("values.yaml", b"x"), ("y", b""))) == ["values.yaml", "y"]


def test_a_chart_s_description_counts_by_what_it_says() -> None:
    other = b"version: 1.0.0\nname: 'web'\n\nappVersion: '0.9'\napiVersion: v2\nicon: ''\ndeprecated: false\n"
    assert packed.differing(FILES, (("Chart.yaml", other), *FILES[1:])) == []


def test_the_app_version_is_put_in_where_there_is_none() -> None:
    assert packed.with_app_version((("Chart.yaml", b"name: web"),), "1")[0][1] == b'name: web\nappVersion: "1"\n'
