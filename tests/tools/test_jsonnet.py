"""Imports are found in jsonnet as it is written, and not where they only seem to be."""

from __future__ import annotations

import pytest

from pipeline.tools.jsonnet import Import, imports


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local a = import 'a.libsonnet';\n{ b: importstr \"b.txt\" }", [Import(1, "a.libsonnet"), Import(2, "b.txt")]),
        ("import\n  // why\n  'c.libsonnet'", [Import(3, "c.libsonnet")]),
        ("{ x: importbin @'d''e.bin' }", [Import(1, "d'e.bin")]),
        (r"import 'http:\/\/x.example\/k.libsonnet'", [Import(1, "http://x.example/k.libsonnet")]),
        ("// import 'no'\n# import 'no'\n/* import 'no'\n*/ {}", []),
        ("{ text: \"import 'no'\", more: 'import \"no\"' }", []),
        ("{ text: |||\n    import 'no'\n  |||, x: import 'yes' }", [Import(3, "yes")]),
        ("{ 'import': 'no', important: 'no', import_: 'no' }", []),
        ("(import 'a') + (import 'b')", [Import(1, "a"), Import(1, "b")]),
        ("{ a: 'it''s', b: \"quote \\\" import 'no'\" }", []),
        ("", []),
    ],
)
def test_imports(text: str, found: list[Import]) -> None:
    assert list(imports(text)) == found
