from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools.gitops_message import Message, Trailers, parse, picked, reverted, text

SHA = "0123456789abcdef0123456789abcdef01234567"
RELEASE = Message(
    "fade: 1a2b3c4 to production",
    "fade-server  hub.example.org/fade-server@sha256:aa\nnode  hub.example.org/node@sha256:bb",
    Trailers("fade", "1a2b3c4", "0011", "grace@desk", more={"Environment": "production"}),
)


def test_a_release_is_written_as_git_keeps_it() -> None:
    assert text(RELEASE) == (
        "fade: 1a2b3c4 to production\n"
        "\n"
        "fade-server  hub.example.org/fade-server@sha256:aa\n"
        "node  hub.example.org/node@sha256:bb\n"
        "\n"
        "Pipeline-App: fade\n"
        "Pipeline-Commit: 1a2b3c4\n"
        "Pipeline-Inputs: 0011\n"
        "Pipeline-By: grace@desk\n"
        "Pipeline-Environment: production\n"
    )
    assert parse(text(RELEASE)) == RELEASE
    assert reverted(text(RELEASE)) == ""


def test_a_revert_has_gits_own_sentence_beside_the_trailer() -> None:
    back = Message('Revert "fade: 1a2b3c4 to production"', "it did not become ready", Trailers("fade", reverts=SHA))
    written = text(back)
    assert f"\n\nThis reverts commit {SHA}.\n\nit did not become ready\n\nPipeline-App: fade\nPipeline-Reverts: {SHA}\n" in written
    assert reverted(written) == SHA
    assert text(parse(written)) == written  # the sentence is not put in a second time


def test_no_value_writes_another_trailer_or_obeys_a_terminal() -> None:
    evil = Trailers("fade\nPipeline-Reverts: " + SHA, by="x\r\n\x1b[2J\u202ey", more={"Note": "\n\nPipeline-App: other"})
    written = text(Message("subject\nPipeline-App: other", "body\x1b[2J", evil))
    said = parse(written)
    assert said.subject == "subject Pipeline-App: other"
    assert said.trailers.reverts == ""
    assert said.trailers.app == f"fade Pipeline-Reverts: {SHA}"
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert [line.split(":")[0] for line in written.splitlines() if line.startswith("Pipeline-")] == [
        "Pipeline-App",
        "Pipeline-By",
        "Pipeline-Note",
    ]


@pytest.mark.parametrize(
    ("message", "commit"),
    [
        (f'Revert "x"\n\nThis reverts commit {SHA}.\n', SHA),
        (f'Reapply "x"\n\nThis reverts commit {SHA}.\n', SHA),
        (f'Revert "x"\n\nThis reverts commit {SHA}, reversing\nchanges made to {SHA[::-1]}.\n', SHA),
        ("Revert it\n\nThis reverts commit 0123456789 (fade: 1a2b3c4 to production, 2026-11-21).\n", "0123456789"),
        (f"Back\n\nI think This reverts commit {SHA}.\n", ""),
        ("Back\n\nThis reverts commit of mine.\n", ""),
        (f"Back\n\nPipeline-App: fade\nPipeline-Reverts: {SHA}\n", SHA),
        ("Back\n\nPipeline-App: fade\nPipeline-Reverts: --all\n", ""),
        ("", ""),
    ],
)
def test_which_commit_is_taken_back(message: str, commit: str) -> None:
    assert reverted(message) == commit


def test_a_persons_message_has_no_trailers_of_ours() -> None:
    assert parse("tune\n\nmore\n\nSigned-off-by: Ada <ada@example.org>\n") == Message(
        "tune", "more\n\nSigned-off-by: Ada <ada@example.org>"
    )
    assert parse("tune\n\nPipeline-App: fade\n\nand more\n").trailers == Trailers()
    assert parse("tune\n\nPipeline-App: fade\nand more\n").trailers == Trailers()
    assert parse("Pipeline-App: fade\n") == Message("Pipeline-App: fade")
    assert parse("") == Message("")


def test_trailers_beside_others_and_a_commit_that_was_picked() -> None:
    message = f"s\n\nPipeline-App: fade\nSigned-off-by: Ada <ada@example.org>\nPipeline-App: last\n(cherry picked from commit {SHA})\n"
    assert parse(message).trailers == Trailers("last")
    assert picked(message)
    assert not picked(text(RELEASE))


LINES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(LINES, st.lists(LINES, max_size=4).map("\n".join), LINES, LINES)
def test_what_is_written_is_read_again(subject: str, body: str, app: str, by: str) -> None:
    written = text(Message(subject or "s", body, Trailers(f"a{app}", by=by)))
    once = parse(written)
    assert once.trailers.app == " ".join(once.trailers.app.split()) != ""
    assert once.trailers.reverts == ""
    assert parse(text(once)) == once
