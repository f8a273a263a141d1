from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.tools import yamledit_scalar
from pipeline.tools.yamledit import Path, Scalar, Selector, Value, edit, read

RELEASE = """\
# the release; people may write here
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: fade   # as the chart
  namespace: fade
spec:
  interval: 5m
  values:
    server:
      image:
        repository: 'registry.example.org/fade-server'
        digest: sha256:aaa  # {"$imagepolicy": "flux-system:fade:digest"}
      # people's own
      replicas: 2

    node: {image: {digest: "sha256:bbb"}, replicas: 3}   # three
    empty: {}
    nothing:
  # the end
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fade}
data:
  text: |
    one
    two

  last: yes
"""
FADE = Selector("HelmRelease", "fade", "fade")
MAP = Selector("ConfigMap", "fade")
DIGEST: Path = ("spec", "values", "server", "image", "digest")


def changed_lines(old: str, new: str) -> list[str]:
    """The lines of `new` that are not in `old`, in order; every line of `old` that is missing as "-"."""
    import difflib

    return [line[2:] if line[0] == "+" else "-" for line in difflib.ndiff(old.splitlines(True), new.splitlines(True)) if line[0] in "+-"]


def one(text: str, value: Scalar, path: Path = ("a",)) -> str:
    made = edit(text, None, {path: value}, "x.yaml")
    assert edit(made, None, {path: value}, "x.yaml") == made
    return made


def test_only_the_line_changes_and_its_comment_stays() -> None:
    made = edit(RELEASE, FADE, {DIGEST: "sha256:ccc"})
    assert made == RELEASE.replace("sha256:aaa", "sha256:ccc")
    assert edit(made, FADE, {DIGEST: "sha256:ccc"}) == made


def test_several_at_once_in_flow_and_block_and_what_is_not_there() -> None:
    values = ("spec", "values")
    changes: dict[Path, Scalar] = {
        DIGEST: "sha256:ccc",
        (*values, "server", "image", "repository"): "hub.example.org/x",
        (*values, "server", "image", "tag"): "1234567",
        (*values, "server", "new", "deep"): "v1",
        (*values, "server", "new", "deeper", "still"): True,
        (*values, "node", "image", "digest"): "sha256:ddd",
        (*values, "node", "image", "tag"): "1.2.3",
        (*values, "empty", "image", "digest"): "sha256:eee",
        (*values, "nothing", "image", "digest"): "sha256:fff",
        (*values, "last"): None,
        ("status",): 3,
    }
    made = edit(RELEASE, FADE, changes)
    first, second = made.split("---\n")
    assert second == RELEASE.split("---\n")[1]
    assert (
        first
        == """\
# the release; people may write here
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: fade   # as the chart
  namespace: fade
spec:
  interval: 5m
  values:
    server:
      image:
        repository: 'hub.example.org/x'
        digest: sha256:ccc  # {"$imagepolicy": "flux-system:fade:digest"}
        tag: "1234567"
      # people's own
      replicas: 2
      new:
        deep: v1
        deeper:
          still: true

    node: {image: {digest: "sha256:ddd", tag: 1.2.3}, replicas: 3}   # three
    empty: {image: {digest: "sha256:eee"}}
    nothing:
      image:
        digest: sha256:fff
    last: null
status: 3
  # the end
"""
    )
    assert edit(made, FADE, changes) == made


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("sha256:0a1b", "sha256:0a1b"),
        ("1a2b3c4", "1a2b3c4"),
        ("1234567", '"1234567"'),
        ("12e4567", '"12e4567"'),
        ("0x1F", '"0x1F"'),
        ("0o17", '"0o17"'),
        ("1_000", '"1_000"'),
        ("12:30:45", '"12:30:45"'),
        (".5", '".5"'),
        ("+1", '"+1"'),
        ("-.inf", '"-.inf"'),
        (".NaN", '".NaN"'),
        ("2026-11-21", '"2026-11-21"'),
        ("2026-11-21T10:00:00Z", '"2026-11-21T10:00:00Z"'),
        ("v1.2.3", "v1.2.3"),
        ("1.2.3", "1.2.3"),
        ("yes", '"yes"'),
        ("NO", '"NO"'),
        ("n", '"n"'),
        ("null", '"null"'),
        ("~", '"~"'),
        ("", '""'),
        ("=", '"="'),
        ("<<", '"<<"'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("a#b", '"a#b"'),
        ("- a", '"- a"'),
        ("{a}", '"{a}"'),
        ("a,b", "a,b"),
        ("two words", "two words"),
        (" blank", '" blank"'),
        ("blank ", '"blank "'),
        ("ends:", '"ends:"'),
        ("*x", '"*x"'),
        ("&x", '"&x"'),
        ("!x", '"!x"'),
        ("%x", '"%x"'),
        ("@x", '"@x"'),
        ("`x", '"`x"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ("line\nline\n", '"line\\nline\\n"'),
        ("tab\t", '"tab\\t"'),
        ("\u2028", '"\\u2028"'),
        ("\x7f\u200b\ufeff", '"\\u007f\\u200b\\ufeff"'),
        ("grün", '"grün"'),
        ("\U0001f600", '"\U0001f600"'),
        ("---", '"---"'),
        ("...", '"..."'),
        (7, "7"),
        (0.5, "0.5"),
        (1e30, "1.0e+30"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_a_value_is_quoted_where_a_reader_could_misread_it(value: Scalar, written: str) -> None:
    made = one("a: old # why\nb: 1\n", value)
    assert made == f"a: {written} # why\nb: 1\n"
    assert yaml.safe_load(made) == {"a": value, "b": 1}


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("a: 'x'", "it's", "a: 'it''s'"),
        ('a: "x"', "plain", 'a: "plain"'),
        ("a: 'x'", "two\nlines", 'a: "two\\nlines"'),
        ("a: '3'", 3, "a: 3"),
        ("a: 3", "3", 'a: "3"'),
        ("a: yes", "yes", 'a: "yes"'),
        ("a: 1e5", "1e5", 'a: "1e5"'),  # text to PyYAML, a number to Go
        ("a: yes", True, "a: yes"),
        ("a: 0x10", 16, "a: 0x10"),
        ("a: 1", True, "a: true"),
        ("a: 1", 1.0, "a: 1.0"),
        ("a:", "x", "a: x"),
        ("a:   # c", "x", "a: x   # c"),
        ("a: ~", "x", "a: x"),
        ("a: &here x", "z", "a: &here z"),
        ("a: plain\n  over lines # c", "x", "a: x # c"),
        ('a: "quoted\n  over lines" # c', "x", 'a: "x" # c'),
        ("{a: x, b: y}", "sha256:z", '{a: "sha256:z", b: y}'),
        ("{a: , b: y}", "z", "{a: z , b: y}"),
        ("{a: 'x'}", "z", "{a: 'z'}"),
        ('{"a":1}', 2, '{"a":2}'),
        ("{a}", "x", "{a: x}"),
        ("---\na: 1\n...", 2, "---\na: 2\n..."),
        ("\ufeffa: 1", 2, "\ufeffa: 2"),
        ("'a': 1", 2, "'a': 2"),
        ("b:\n- 1\n- 2\na: 1", 2, "b:\n- 1\n- 2\na: 2"),
    ],
)
def test_style_and_surroundings_stay(old: str, value: Scalar, new: str) -> None:
    for end in ("", "\n"):
        assert one(old + end, value) == new + end


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("a: |\n  one\n  two\nb: 1\n", "three\n\nfour\n", "a: |\n  three\n\n  four\nb: 1\n"),
        ("a: |- # c\n    one\n\n\nb: 1\n", "two", "a: |- # c\n    two\n\n\nb: 1\n"),
        ("a: |-\n  one\nb: 1\n", "ends\n", 'a: "ends\\n"\nb: 1\n'),
        ("a: |+ # c\n  one\n\nb: 1\n", "two\n", 'a: "two\\n" # c\n\nb: 1\n'),
        ("a: |2\n  one\nb: 1\n", "two\n", 'a: "two\\n"\nb: 1\n'),
        ("a: >\n  one\n  more\nb: 1\n", "two", 'a: "two"\nb: 1\n'),
        ("a: |\n  one\n# not in it\nb: 1\n", " leading\n", 'a: " leading\\n"\n# not in it\nb: 1\n'),
        ("a: |\n  one\nb: 1\n", "", 'a: ""\nb: 1\n'),
        ("a: |\r\n  one\r\nb: 1\r\n", "two\nthree\n", "a: |\r\n  two\r\n  three\r\nb: 1\r\n"),
    ],
)
def test_block_scalars(old: str, value: str, new: str) -> None:
    assert one(old, value) == new
    assert yaml.safe_load(new) == {"a": value, "b": 1}


@pytest.mark.parametrize(
    ("old", "path", "new"),
    [
        ("b: 1", ("a",), "b: 1\na: x"),
        ("b: 1\n", ("a",), "b: 1\na: x\n"),
        ("b: 1\r\nc: 2\r\n", ("a",), "b: 1\r\nc: 2\r\na: x\r\n"),
        ("b: 1 # c\n\n# the end\n", ("a",), "b: 1 # c\na: x\n\n# the end\n"),
        ("b:\n    c:\n        d: 1\n", ("b", "e", "a"), "b:\n    c:\n        d: 1\n    e:\n        a: x\n"),
        ("b:\n  - c: 1\n    d: 2\n", ("a",), "b:\n  - c: 1\n    d: 2\na: x\n"),
        ("b: |\n  text\n\n# c\n", ("a",), "b: |\n  text\na: x\n\n# c\n"),
        ("b: |+\n  text\n\n", ("a",), "b: |+\n  text\n\na: x\n"),
        ("b:\n", ("b", "a"), "b:\n  a: x\n"),
        ("b: # c\nd: 1\n", ("b", "a"), "b: # c\n  a: x\nd: 1\n"),
        ("b: ~\n", ("b", "a"), "b: {a: x}\n"),
        ("{b: }\n", ("b", "a"), "{b: {a: x} }\n"),
        ("b: {}\n", ("b", "a"), "b: {a: x}\n"),
        ("{}\n", ("b", "a"), "{b: {a: x}}\n"),
        ("b: {\n  c: 1, # one\n}\n", ("b", "a"), "b: {\n  c: 1, a: x, # one\n}\n"),
        ("b: {c: [1, 2]}\n", ("b", "a"), "b: {c: [1, 2], a: x}\n"),
        ("b: [1,\n 2]\n", ("a",), "b: [1,\n 2]\na: x\n"),
        ("? b\n: 1\n", ("a",), "? b\n: 1\na: x\n"),
        ("b: &n\n  c: 1\n", ("b", "a"), "b: &n\n  c: 1\n  a: x\n"),
        ("n: &n {c: 1}\nb: *n\n", ("a",), "n: &n {c: 1}\nb: *n\na: x\n"),
        ("b: 1\n", ("yes",), 'b: 1\n"yes": x\n'),
    ],
)
def test_keys_that_are_not_there_go_to_the_end_of_the_deepest_mapping(old: str, path: Path, new: str) -> None:
    assert one(old, "x", path) == new


@pytest.mark.parametrize(
    ("text", "path", "says", "mend"),
    [
        ("a: &x 1\nb: *x\n", ("b",), "x.yaml:2: b is an alias", "write out"),
        ("a: &x 1\nb: *x\n", ("a",), "x.yaml:1: a is used a second time, as \\*x", "where \\*x stands"),
        ("a: &x {c: 1}\nb: *x\n", ("b", "c"), "x.yaml:2: b is an alias", "write out"),
        ("a: &x {c: 1}\nb: *x\n", ("a", "c"), "x.yaml:1: a is used a second time", "write out"),
        ("x: &x {c: 1}\na:\n  <<: *x\n", ("a", "c"), "x.yaml:3: a takes keys from <<", "write 'c' out"),
        ("a: 1\nb: 2\na: 3\n", ("b",), "x.yaml:3: 'a' stands here a second time", "keep one"),
        ("b:\n  a: {c: 1, c: 2}\n", ("b", "a", "d"), "x.yaml:2: 'c' stands here a second time", "keep one"),
        ("a:\n- b: 1\n", ("a", "b"), "x.yaml:2: a is a list, and a.b would be below it", "mapping with the key 'b'"),
        ("a:\n  b: text\n", ("a", "b", "c"), "x.yaml:2: a.b is one value", "mapping"),
        ("a:\n  b: 1\n", ("a",), "x.yaml:2: a is a mapping, one value was expected", "below a"),
        ("a: [1]\n", ("a",), "x.yaml:1: a is a list", "below a"),
        ("a: !!str 1\n", ("a",), "x.yaml:1: a has the tag", "plain"),
        ("- 1\n", ("a",), "x.yaml:1: the document is a list", "mapping"),
        ("a: [\n", ("a",), "x.yaml:2: this is not YAML", "mend"),
        ("a: b: c\n", ("a",), "x.yaml:1: this is not YAML", "mend"),
        ("a: \x00\n", ("a",), "x.yaml: this is not YAML", "mend"),
        ("a: 1\n---\na: 2\n", ("a",), "x.yaml:3: one document stands a second time", "which"),
        ("", ("a",), "x.yaml does not hold one document", "write it"),
        ("[" * 100_000, ("a",), "x.yaml:1: nested too deep", "less"),
        ("a: 1\n", (), "cannot be one value", "one of the two"),
        ("b: |\n  no line break at the end", ("a",), "cannot be written there without changing something else", "line break"),
    ],
)
def test_what_cannot_be_written_is_said_with_its_line(text: str, path: Path, says: str, mend: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        edit(text, None, {path: "x"}, "x.yaml")
    import re

    assert re.search(mend, caught.value.mend)


def test_paths_through_each_other() -> None:
    with pytest.raises(ConfigError, match=r"'a' cannot be one value and hold a\.b too"):
        edit("c: 1\n", None, {("a",): 1, ("a", "b"): 2})


def test_a_document_is_chosen_by_kind_name_and_namespace() -> None:
    with pytest.raises(ConfigError, match="does not hold HelmRelease other/fade") as caught:
        edit(RELEASE, Selector("HelmRelease", "fade", "other"), {DIGEST: "x"}, "release.yaml")
    assert caught.value.cause == "it holds HelmRelease fade, ConfigMap fade"
    assert edit(RELEASE, Selector("ConfigMap", "fade", "any"), {("data", "last"): "no"}).endswith('  last: "no"\n')
    with pytest.raises(ConfigError, match=r"release\.yaml:23: HelmRelease fade/fade stands a second time"):
        edit(RELEASE.split("---\n")[0] + "---\n" + RELEASE, FADE, {DIGEST: "x"}, "release.yaml")


def test_reading_gives_values_lines_and_comments() -> None:
    values = ("spec", "values")
    assert read(RELEASE, FADE, [DIGEST, (*values, "node", "replicas"), (*values, "nothing"), (*values, "not", "there")]) == {
        DIGEST: Value("sha256:aaa", 13, '# {"$imagepolicy": "flux-system:fade:digest"}'),
        (*values, "node", "replicas"): Value(3, 17, "# three"),
        (*values, "nothing"): Value(None, 19),
        (*values, "not", "there"): None,
    }
    assert read(RELEASE, MAP, [("data", "last"), ("data", "text")]) == {
        ("data", "last"): Value(True, 30),
        ("data", "text"): Value("one\ntwo\n", 26),
    }
    with pytest.raises(ConfigError, match="is a mapping"):
        read(RELEASE, FADE, [values])


WORDS = st.sampled_from(["a", "b", "image", "digest", "replicas", "tag", "yes", "1", "x-y", "with blank"])
STRINGS = st.one_of(
    st.sampled_from(["sha256:0a1b", "yes", "12e4567", "a: b", "#", "", "two\nlines\n", " x", "it's", '"', "\t", "-", "{}", "*a", "0777"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
)
SCALARS = st.one_of(STRINGS, st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6, allow_nan=False))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(WORDS, inner, max_size=4), st.lists(inner, max_size=3)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(WORDS, TREES, min_size=1, max_size=5)


def paths_of(data: Any, path: Path = ()) -> list[Path]:
    """The paths of all scalars that no list is above."""
    if isinstance(data, dict):
        return [found for key, value in data.items() for found in paths_of(value, (*path, key))]
    return [] if isinstance(data, list) else [path]


def laid(data: Any, path: Path, value: Scalar) -> Any:
    """`data` with `value` at `path`; what is empty there becomes a mapping."""
    made = copy.deepcopy(data)
    below = made
    for key in path[:-1]:
        if below.get(key) is None:
            below[key] = {}
        below = below[key]
    below[path[-1]] = value
    return made


def plain(data: Any) -> bool:
    """Whether all scalars are text: others would be given a tag with the quotes."""
    inner = data.values() if isinstance(data, dict) else data
    return all(plain(each) if isinstance(each, dict | list) else isinstance(each, str) for each in inner)


def written(data: dict[str, Any], flow: bool, style: str | None, indent: int, end: str) -> str:
    """`data` as a person might have written it, with comments between the outermost keys."""

    def dump(part: Any) -> str:
        return yaml.safe_dump(
            part, default_flow_style=flow, default_style=style if plain(data) else None, indent=indent, sort_keys=False, allow_unicode=True
        )

    text = dump(data) if flow else "".join(f"# about {number}\n{dump({key: value})}\n" for number, (key, value) in enumerate(data.items()))
    return text.replace("\n", end)


def lines_of(text: str, path: Path) -> int:
    """How many lines the value at `path` takes; 1 where it is not there, since a line of its mapping may have to change."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in path:
        below = [value for name, value in node.value if name.value == key] if isinstance(node, yaml.MappingNode) else []
        if not below:
            return 1
        node = below[0]
    assert node is not None
    return int(node.end_mark.line - node.start_mark.line + 1)


@settings(max_examples=150, deadline=None)
@given(
    data=DOCUMENTS,
    flow=st.booleans(),
    style=st.sampled_from([None, None, "'", '"', "|"]),
    indent=st.sampled_from([2, 4]),
    end=st.sampled_from(["\n", "\r\n"]),
    value=SCALARS,
    draw=st.data(),
)
def test_reading_again_gives_the_change_and_nothing_else(
    data: dict[str, Any], flow: bool, style: str | None, indent: int, end: str, value: Scalar, draw: st.DataObject
) -> None:
    text = written(data, flow, style, indent, end)
    before = yaml.safe_load(text)
    there = paths_of(before)
    path = draw.draw(st.sampled_from(there or [("new",)]))
    if draw.draw(st.booleans()):
        path = (*path[:-1], *draw.draw(st.sampled_from([("new",), ("new", "newer"), ("new", "yes")])))
    made = edit(text, None, {path: value})
    assert yaml.safe_load(made) == laid(before, path, value)
    assert edit(made, None, {path: value}) == made
    found = read(made, None, [path])[path]
    assert found is not None
    assert (type(found.value), found.value) == (type(value), value)
    old, new = text.splitlines(True), made.splitlines(True)
    first = next((index for index, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    last = next(
        (index for index, (one, other) in enumerate(zip(reversed(old[first:]), reversed(new[first:]), strict=False)) if one != other),
        min(len(old), len(new)) - first,
    )
    assert len(old) - first - last <= lines_of(text, path), "more lines changed than the value takes"


def test_a_scalar_is_what_flux_reads_and_not_what_yaml_1_1_says() -> None:
    """Flux is written in Go: 1:30 is no number of minutes there, and 0o17 and y are no text."""
    words = ("1:30", "0o17", "0755", "y", "no", "=", "2026-01-01", "1e3", "~", "x")
    assert [yamledit_scalar.value_of(word, "") for word in words] == ["1:30", 15, 493, True, False, "=", "2026-01-01", 1000.0, None, "x"]
    assert yamledit_scalar.value_of("no", '"') == "no"
