from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.tools.gitops import Changes, Entry, Head, Message, Trailers, taken_back
from pipeline.tools.gitops_history import read
from tests.tools.gitserver import Server, server

__all__ = ["server"]

FILE = "fade/release.yaml"


def release(repository_of: Server, digest: str, commit: str = "1a2b3c4") -> str:
    def change(_head: Head) -> Changes:
        return {FILE: f"digest: {digest}\n".encode()}

    return (
        repository_of.repository()
        .publish(change, Message(f"fade: {commit} to production", "", Trailers("fade", commit)), first=True)
        .commit
    )


def test_releases_reverts_and_a_persons_commits_newest_first(server: Server) -> None:
    first = release(server, "a", "aaaaaaa")
    server.person({"README.md": "not the release\n"})
    second = release(server, "b", "bbbbbbb")
    by_hand = server.at_home(lambda _home: None, "revert", "--no-edit", second)
    server.repository().look()
    entries = server.repository().history(FILE)
    assert [(entry.commit, entry.subject, entry.human) for entry in entries] == [
        (by_hand, 'Revert "fade: bbbbbbb to production"', True),
        (second, "fade: bbbbbbb to production", False),
        (first, "fade: aaaaaaa to production", False),
    ]
    assert (entries[0].reverts, entries[0].trailers) == (second, Trailers())
    assert entries[1].trailers == Trailers("fade", "bbbbbbb")
    assert entries[1].author == "Grace <grace@example.org>"
    assert taken_back(entries) == {second}
    assert [entry.commit for entry in server.repository().history(FILE, 1)] == [by_hand]
    assert [entry.commit for entry in server.repository().history(FILE, at=second)] == [second, first]
    assert len(server.repository().history("")) == 4


def test_a_revert_that_was_reverted_stands_again(server: Server) -> None:
    first = release(server, "a")
    second = release(server, "b")
    back = server.at_home(lambda _home: None, "revert", "--no-edit", second)
    again = server.at_home(lambda _home: None, "revert", "--no-edit", back)
    server.repository().look()
    entries = server.repository().history(FILE)
    assert [entry.commit for entry in entries] == [again, back, second, first]
    assert taken_back(entries) == {back}


def test_a_short_name_of_a_revert_is_the_whole_one(server: Server) -> None:
    release(server, "a")
    second = release(server, "b")
    server.at_home(lambda _home: None, "revert", "--reference", "--no-edit", second)
    server.repository().look()
    assert server.repository().history(FILE)[0].reverts == second


def test_a_picked_release_is_a_persons(server: Server) -> None:
    release(server, "a")
    second = release(server, "b")
    third = release(server, "c")
    # onto a branch where the line is another one
    server.person({FILE: "digest: a\n"})
    server.at_home(lambda _home: None, "cherry-pick", "-x", second)
    server.repository().look()
    newest = server.repository().history(FILE)[0]
    assert (newest.human, newest.trailers.app) == (True, "fade")
    assert third in [entry.commit for entry in server.repository().history(FILE)]


def test_settings_of_the_users_change_nothing(server: Server) -> None:
    with (server.folder / "own" / ".gitconfig").open("a") as file:
        file.write(
            "[log]\n\tshowSignature = true\n\tfollow = true\n\tdate = relative\n[color]\n\tui = always\n[format]\n\tpretty = fuller\n"
        )
        file.write(
            "[core]\n\tquotePath = true\n[diff]\n\trenames = copies\n[i18n]\n\tlogOutputEncoding = latin1\n\tcommitEncoding = latin1\n"
        )
    release(server, "a", "grün")
    entry = server.repository().history(FILE)[0]
    assert entry.subject == "fade: grün to production"
    assert entry.when[:2] == "20"
    assert len(entry.when) == 25


def test_a_path_is_a_path_and_no_pattern(server: Server) -> None:
    release(server, "a")
    assert server.repository().history("fade/*.yaml") == ()
    assert server.repository().history(":(top)") == ()
    assert len(server.repository().history("fade")) == 1


def test_what_the_file_was_is_read_with_the_history_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = release(server, "a"), release(server, "b")
    gone = server.at_home(lambda home: (home / FILE).unlink(), "commit", "-qm", "take it out")
    third = release(server, "c\nmissing\n")
    repository = server.repository()
    repository.look()
    found = [entry.commit for entry in repository.history(FILE)]
    assert found == [third, gone, second, first]

    def none(*_words: object, **_more: object) -> bytes:
        pytest.fail("git was asked once more")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.source.repository.subprocess.run", none)
        patch.setattr("pipeline.source.repository.subprocess.Popen", none)
        assert [repository.at(commit).read(FILE) for commit in (third, second, first)] == [
            b"digest: c\nmissing\n\n",
            b"digest: b\n",
            b"digest: a\n",
        ]
    assert repository.at(gone).read(FILE) is None


def test_who_wrote_a_line(server: Server) -> None:
    server.person({FILE: "digest: none\nreplicas: 3\n"}, "begin")
    made = server.person({FILE: "digest: none\nreplicas: 5\n"}, "scale", "Bob <bob@example.org>")
    repository = server.repository()
    repository.look()
    assert repository.last(FILE, 1).subject == "begin"
    entry = repository.last(FILE, 2)
    assert (entry.commit, entry.author, entry.human) == (made, "Bob <bob@example.org>", True)
    with pytest.raises(ConfigError):
        repository.last(FILE, 9)
    with pytest.raises(ConfigError, match="whole name"):
        repository.history(FILE, at="--all")


def test_an_answer_that_is_cut_is_no_entry() -> None:
    assert read("") == ()
    assert read("abc\nAda <a@example.org>\n2026-11-21T10:00:00+00:00\nsubject\n\nbody\0half\nof") == (
        Entry("abc", "subject", "Ada <a@example.org>", "2026-11-21T10:00:00+00:00", Trailers(), "", True),
    )
