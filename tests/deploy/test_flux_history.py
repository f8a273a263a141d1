"""Which release is before another, from the commits alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.deploy.flux_history import Step, bad, good, listed, named, origin
from pipeline.deploy.flux_used import of_git
from pipeline.errors import ConfigError
from pipeline.tools.gitops_history import Entry
from pipeline.tools.gitops_message import Trailers


def step(
    number: int, lines: str, *, restores: int = 0, reverts: int = 0, failed: bool = False, human: bool = False, source: str = ""
) -> Step:
    """Commit `number` of the repository, whose lines are called `lines`."""
    more = {**({"Restores": name(restores)} if restores else {}), **({"Failed": "no"} if failed else {})}
    trailers = (
        Trailers()
        if human
        else Trailers("web", (source or lines) * 40, f"in-{lines}", "grace@desk", name(reverts) if reverts else "", more)
    )
    entry = Entry(name(number), f"subject {number}", "Ada <a@x>", "2026-01-02T03:04:05Z", trailers, name(reverts) if reverts else "", human)
    return Step(entry, {("image",): lines})


def name(number: int) -> str:
    return f"{number:x}" * 40


def newest_first(*steps: Step) -> Sequence[Step]:
    return list(reversed(steps))


def test_x02_what_was_gone_back_to_is_not_before_what_is_live() -> None:
    known = newest_first(step(1, "a"), step(2, "b"), step(3, "c"), step(4, "b", restores=2, reverts=3))
    live = origin(known, known[0])
    assert live.commit == name(2)
    assert good(known, live) == known[-1]
    assert good(known, known[-1]) is None


def test_a_release_that_was_taken_back_is_passed_over_and_one_whose_revert_was_reverted_is_not() -> None:
    known = newest_first(step(1, "a"), step(2, "b"), step(3, "a", restores=1, reverts=2, failed=True), step(4, "c"))
    assert good(known, known[0]) == known[-1]
    assert bad(known) == {name(2)}
    again = newest_first(step(1, "a"), step(2, "b"), step(3, "a", reverts=2, human=True), step(4, "b", reverts=3, human=True), step(5, "c"))
    found = good(again, again[0])
    assert found is not None
    assert found.commit == name(2)


def test_a_release_of_the_same_lines_is_no_way_back() -> None:
    known = newest_first(step(1, "a"), step(2, "b"), step(3, "b"))
    assert good(known, known[0]) == known[-1]


def test_lines_of_people_only_where_there_is_nothing_of_ours_and_placeholders_never() -> None:
    known = newest_first(step(1, "a"), step(2, "x", human=True), step(3, "b"))
    found = good(known, known[0])
    assert found is not None
    assert found.commit == name(1)
    alone = newest_first(step(2, "x", human=True), step(3, "b"))
    assert good(alone, alone[0]) == alone[-1]
    first = newest_first(step(2, "sha256:" + "0" * 64, human=True), step(3, "b"))
    assert good(first, first[0]) is None


def test_a_name_leads_to_the_release_itself_and_one_of_several_to_none() -> None:
    known = newest_first(step(1, "a"), step(2, "b"), step(3, "a", restores=1, reverts=2))
    assert named(known, "aaaa").commit == name(1)
    assert named(known, name(3)[:8]).commit == name(1)
    twins = newest_first(step(1, "a", source="abcd1"), step(2, "b", source="abcd2"))
    with pytest.raises(ConfigError, match="several commits begin with abcd"):
        named(twins, "abcd")


def test_what_did_not_come_up_is_refused_by_name_with_the_list() -> None:
    known = newest_first(step(1, "a"), step(2, "b"), step(3, "a", restores=1, reverts=2, failed=True))
    with pytest.raises(ConfigError, match="never came up") as caught:
        named(known, "bbbb")
    assert "(did not come up)" in caught.value.cause
    assert listed(known).count("\n") == 2


def test_restores_that_lead_in_a_circle_end() -> None:
    known = newest_first(step(1, "a", restores=2), step(2, "a", restores=1))
    assert origin(known, known[0]).commit == name(1)


def test_images_are_needed_of_what_git_says_now_and_of_the_newest_releases_that_came_up() -> None:
    digests = {letter: "sha256:" + letter * 64 for letter in "abcd"}
    known = newest_first(
        step(1, digests["a"], source="a"), step(2, digests["b"], source="b"), step(3, digests["c"], source="c"),
        step(4, digests["d"], source="d"), step(5, digests["c"], restores=3, reverts=4, failed=True, source="c"),
        step(6, "v1.2.3", human=True),
    )  # fmt: skip
    assert {use.mark for use in of_git(known, 1)} == {"v1.2.3"}
    assert {use.mark for use in of_git(known, 3)} == {"v1.2.3", digests["c"], digests["b"]}, "what failed is no way back"
    assert {use.mark for use in of_git(known, 9)} == {"v1.2.3", *(digests[each] for each in "abc")}
    assert list(of_git([], 5)) == []
