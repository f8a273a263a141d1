"""What may go, and why the rest stays: from what was seen alone."""

from __future__ import annotations

from pipeline.prune.decide import Place, Seen, decide, rows, table
from pipeline.stage import Left, Use
from pipeline.tools.image_list import Dated, Stored

PLACE = Place("hub", "registry.example", "team/app", (), 2)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def image(number: int, *tags: str, time: float | None = 0.0, strange: tuple[str, ...] = (), children: tuple[str, ...] = ()) -> Dated:
    stored = Stored(digest(number), tags or (f"{number:07x}",), children, digest(1000 + number))
    return Dated(stored, number if time == 0.0 else time, strange)


def revision(number: int, why: str = "") -> Left:
    return Left("revision", f"revision {number}", why, lambda: None)


def whys(*images: Dated, uses: tuple[Use, ...] = (), left: tuple[Left, ...] = ()) -> dict[str, str]:
    """Why each stays, by the first tag of an image or the name of what was left; "" where it goes."""
    found = decide(Seen(uses, left, ((PLACE, images),)))
    return {row.item.image.tags[0] if isinstance(row.item, Dated) else row.item.name: row.why for row in found}


def test_the_newest_stay_and_the_rest_goes() -> None:
    assert whys(image(1), image(4), image(2), image(3)) == {
        "0000004": "it is one of the newest 2", "0000003": "it is one of the newest 2", "0000002": "", "0000001": "",
    }  # fmt: skip


def test_what_is_needed_stays_by_each_of_its_names() -> None:
    those = (image(9), image(8), *(image(number) for number in range(1, 5)), image(5, children=(digest(77),)))
    uses = (Use(digest(1), "by digest"), Use("0000002", "by tag"), Use(digest(1003), "by config"), Use(digest(77), "by a child"))
    found = whys(*those, uses=uses)
    assert (found["0000001"], found["0000002"], found["0000003"], found["0000005"]) == ("by digest", "by tag", "by config", "by a child")
    assert found["0000004"] == ""


def test_two_tags_on_one_image_go_or_stay_together() -> None:
    found = whys(image(9), image(8), image(1, "aaaaaaa", "bbbbbbb"), image(2, "ccccccc", "ddddddd"), uses=(Use("ddddddd", "needed"),))
    assert found == {"0000009": "it is one of the newest 2", "0000008": "it is one of the newest 2", "ccccccc": "needed", "aaaaaaa": ""}


def test_a_part_of_an_index_that_stays_is_no_image_that_may_go() -> None:
    found = whys(image(9), image(8, children=(digest(1),)), image(1), image(2, children=(digest(3),)), image(3))
    assert found["0000001"] == "it is a part of team/app:0000008"
    assert (found["0000002"], found["0000003"]) == ("", ""), "both go together"


def test_what_others_have_tagged_and_what_has_no_known_commit_stays() -> None:
    found = whys(image(9), image(8), image(1, "aaaaaaa", "stable", strange=("stable",)), image(2, "v1", time=None, strange=("v1",)),
                 image(3, "ccccccc", time=None))  # fmt: skip
    assert found["aaaaaaa"] == "tag stable is not named after a commit"
    assert found["v1"] == "tag v1 is not named after a commit"
    assert "its commit is not known here" in found["ccccccc"]


def test_an_image_of_an_unknown_age_takes_no_place_of_the_newest() -> None:
    assert whys(image(1), image(2), image(3, "ccccccc", time=None))["0000001"] == "it is one of the newest 2"


def test_a_revision_that_goes_needs_nothing_and_one_that_stays_does() -> None:
    uses = (Use(digest(1), "revision 1 has it", "revision 1"), Use(digest(2), "revision 2 has it", "revision 2"))
    found = whys(image(9), image(8), image(1), image(2), uses=uses, left=(revision(2, "it is the way back"), revision(1)))
    assert found["revision 1"] == ""
    assert found["revision 2"] == "it is the way back"
    assert found["0000001"] == ""
    assert found["0000002"] == "revision 2 has it"


def test_a_root_of_a_tree_that_is_needed_stays() -> None:
    roots = tuple(Left("nix root", f"{tree}-docker", "", lambda: None, (tree,)) for tree in ("t1", "t2", "t3"))
    uses = (Use("t1", "revision 1 has it", "revision 1"), Use("t2", "revision 2 has it", "revision 2"))
    found = whys(uses=uses, left=(revision(2, "it is deployed"), revision(1), *roots))
    assert (found["t1-docker"], found["t2-docker"], found["t3-docker"]) == ("", "revision 2 has it", "")


def test_it_is_told_what_goes_first_and_how_much() -> None:
    known = decide(Seen((), (revision(1),), ((PLACE, (image(1), image(2), image(3))),)))
    told = table(known, dry=True).splitlines()
    assert told[0].split() == ["would", "go", "revision", "revision", "1"]
    assert told[-1] == "revisions: 1 would go, 0 stay; images: 1 would go, 2 stay"
    assert "gone" in table(known, dry=False)
    assert rows(known)[-1] == {"kind": "image", "name": f"team/app:0000001 ({digest(1)[:19]})", "goes": True, "why": ""}
    assert table((), dry=False) == "there is nothing of this release, so nothing goes"
