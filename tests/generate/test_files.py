"""Generated files and what lies in the working copy."""

from __future__ import annotations

from pathlib import Path

from pipeline.generate.files import differences, write


def test_a_file_that_is_missing_or_edited_differs_and_is_written(tmp_path: Path) -> None:
    wanted = {".github/workflows/a.yml": "a\n", ".github/workflows/b.yml": "b\n"}
    found = differences(tmp_path, wanted)
    assert [(each.path, each.there) for each in found] == [(".github/workflows/a.yml", None), (".github/workflows/b.yml", None)]
    write(tmp_path, found)
    assert differences(tmp_path, wanted) == []
    (tmp_path / ".github/workflows/a.yml").write_text("edited\n")
    (each,) = differences(tmp_path, wanted)
    assert each.lines()[-2:] == ["-edited", "+a"]
    assert sorted(path.name for path in (tmp_path / ".github/workflows").iterdir()) == ["a.yml", "b.yml"]


def test_line_ends_count(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"a\r\n")
    assert differences(tmp_path, {"a.yml": "a\n"}) != []
