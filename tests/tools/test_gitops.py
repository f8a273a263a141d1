from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, HostKeyError, Locked, Transient
from pipeline.testing import FakeClock
from pipeline.tools.gitops import Changes, Head, Message, Raced, Repository, Trailers
from tests.tools.gitserver import Server, server

__all__ = ["server"]

ROOT = Path(__file__).parents[2]
FILE = "clusters/production/fade/release.yaml"
RELEASE = Message("fade: 1a2b3c4 to production", "fade-server sha256:aa", Trailers("fade", "1a2b3c4", "0011", "grace@desk"))


def line(text: str) -> Callable[[Head], Changes]:
    """The change of a release: one line of the file, whatever else stands in it."""

    def change(head: Head) -> Changes:
        old = head.need(FILE).decode()
        return {
            FILE: "".join(f"digest: {text}\n" if each.startswith("digest:") else each for each in old.splitlines(keepends=True)).encode()
        }

    return change


@pytest.fixture
def there(server: Server) -> Server:
    """A server that has a release already."""
    server.person({FILE: "# a person's note\ndigest: none\nreplicas: 3\n", "README.md": "hello\n"})
    return server


def test_nothing_changed_costs_one_connection_and_a_release_two(there: Server) -> None:
    repository = there.repository()
    repository.look()
    there.forget()
    made = repository.publish(line("a"), RELEASE)
    assert made.made
    assert there.connections == ["git-upload-pack", "git-receive-pack"]
    there.forget()
    again = repository.publish(line("a"), RELEASE)
    assert (again.commit, again.made) == (made.commit, False)
    assert there.connections == ["git-upload-pack"]


def test_a_commit_changes_its_lines_and_says_what_it_is(there: Server) -> None:
    before = there.head
    made = there.repository().publish(line("a"), RELEASE)
    assert there.head == made.commit
    assert there.git("diff", "--numstat", before, made.commit) == f"1\t1\t{FILE}"
    assert there.git("log", "-1", "--format=%an <%ae> %cn%n%B").splitlines() == [
        "Grace <grace@example.org> Grace",
        "fade: 1a2b3c4 to production",
        "",
        "fade-server sha256:aa",
        "",
        "Pipeline-App: fade",
        "Pipeline-Commit: 1a2b3c4",
        "Pipeline-Inputs: 0011",
        "Pipeline-By: grace@desk",
    ]
    assert there.git("fsck", "--strict") == ""


def test_what_a_person_pushed_meanwhile_is_kept_f01(there: Server) -> None:
    repository = there.repository()
    pushed: list[str] = []

    def change(head: Head) -> Changes:
        if not pushed:
            pushed.append(there.person({"README.md": "hello all\n", FILE: head.need(FILE).decode().replace("replicas: 3", "replicas: 5")}))
        return line("a")(head)

    made = repository.publish(change, RELEASE)
    assert there.git("show", f"{made.commit}:{FILE}") == "# a person's note\ndigest: a\nreplicas: 5"
    assert there.git("rev-parse", f"{made.commit}^") == pushed[0]
    assert there.count == 3


def test_somebody_who_is_faster_each_time_f01(there: Server) -> None:
    repository = there.repository()
    asked: list[str] = []

    def change(head: Head) -> Changes:
        asked.append(there.person({"README.md": f"{len(asked)}\n"}))
        return line("a")(head)

    with pytest.raises(Transient, match="each of 5 times"):
        repository.publish(change, RELEASE)
    assert len(asked) == 5
    clock = repository.site.clock
    assert isinstance(clock, FakeClock)
    assert len(clock.slept) == 5
    assert all(0.05 <= pause <= 3.2 for pause in clock.slept)
    assert there.git("show", f"main:{FILE}").splitlines()[1] == "digest: none"


def test_the_callers_function_decides_about_a_conflict_f01(there: Server) -> None:
    repository = there.repository()

    def change(head: Head) -> Changes:
        text = head.need(FILE).decode()
        if "digest: none" not in text:
            who = repository.last(FILE, text.splitlines().index("digest: pinned") + 1, head.commit)
            raise ConfigError(f"{who.author}: {who.subject}", cause=who.commit)
        there.person({FILE: text.replace("none", "pinned")}, "pin the digest")
        return line("a")(head)

    with pytest.raises(ConfigError, match=r"Ada <ada@example\.org>: pin the digest") as caught:
        repository.publish(change, RELEASE)
    assert caught.value.cause == there.head
    assert "digest: pinned" in there.git("show", f"main:{FILE}")
    assert repository.last(FILE, 1).subject == "a person's change"


def test_an_answer_that_was_lost_is_looked_up_f02(there: Server) -> None:
    # the server's process dies when the branch has moved and before it says so
    there.hook("reference-transaction", '[ "$1" = committed ] && kill -9 $PPID; exit 0')
    repository = there.repository()
    repository.look()
    there.forget()
    made = repository.publish(line("a"), RELEASE)
    there.unhook()
    assert made.made
    assert there.head == made.commit
    assert there.connections == ["git-upload-pack", "git-receive-pack", "git-upload-pack"]
    assert not repository.publish(line("a"), RELEASE).made
    assert there.count == 2


def test_a_push_that_did_not_arrive_is_told_and_the_next_one_commits_once_f02(there: Server) -> None:
    there.hook("update", "kill -9 $PPID; sleep 1; exit 1")
    repository = there.repository()
    with pytest.raises(Transient, match="did not take commit"):
        repository.publish(line("a"), RELEASE)
    there.unhook()
    assert there.count == 1
    assert repository.publish(line("a"), RELEASE).made
    assert there.count == 2


def test_a_lost_answer_below_somebody_elses_commit_f02(there: Server) -> None:
    """The commit arrived, the answer did not, and before the server is asked another one is on top."""
    repository = there.repository()
    top = there.folder / "top.sh"
    top.write_text(
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org\n"
        "unset GIT_QUARANTINE_PATH\n"
        'new=$(git commit-tree -p main -m on-top "main^{tree}") && git update-ref refs/heads/main "$new"\n'
    )
    there.hook("reference-transaction", f'[ "$1" = committed ] || exit 0; rm "$0"; sh {top}; kill -9 $PPID')
    made = repository.publish(line("a"), RELEASE)
    assert there.git("log", "--format=%s", "main").splitlines()[:2] == ["on-top", "fade: 1a2b3c4 to production"]
    assert made.made
    assert not repository.publish(line("a"), RELEASE).made


def test_a_server_that_is_down_passes(there: Server) -> None:
    repository = there.repository()
    repository.look()
    there.down()
    with pytest.raises(Transient, match="cannot be reached"):
        repository.publish(line("a"), RELEASE)
    there.up()
    assert repository.publish(line("a"), RELEASE).made


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("Host key verification failed.", HostKeyError, "not known"),
        ("git@server.test: Permission denied (publickey).", AuthError, "refuses the key"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", ConfigError, "does not exist"),
        ("Gitea: Internal Server Connection Error\nfatal: Could not read from remote repository.", Transient, "error of its own"),
        ("kex_exchange_identification: Connection closed by remote host", Transient, "cannot be reached"),
    ],
)
def test_what_the_server_says(there: Server, text: str, kind: type[Exception], says: str) -> None:
    there.down(text)
    with pytest.raises(kind, match=says) as caught:
        there.repository().look()
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "says", "mend"),
    [
        ("echo 'Gitea: Not allowed to push to protected branch main' >&2; exit 1", "refuses the commit", "`branch`"),
        ("echo 'no' >&2; exit 1", "refuses the commit", "`branch`"),
    ],
)
def test_a_branch_that_is_protected(there: Server, hook: str, says: str, mend: str) -> None:
    there.hook("pre-receive", hook)
    with pytest.raises(ConfigError, match=says) as caught:
        there.repository().publish(line("a"), RELEASE)
    assert mend in caught.value.mend
    assert there.count == 1


def test_a_repository_that_is_empty(server: Server) -> None:
    repository = server.repository()
    with pytest.raises(ConfigError, match="there is no branch main") as caught:
        repository.look()
    assert caught.value.cause == "the repository is empty"
    made = repository.publish(lambda head: {FILE: b"digest: none\n"} if head.read(FILE) is None else {}, RELEASE, first=True)
    assert made.made
    assert (server.head, server.count) == (made.commit, 1)
    assert repository.look().names() == (FILE,)


def test_a_branch_of_another_name(there: Server) -> None:
    with pytest.raises(ConfigError, match="there is no branch trunk") as caught:
        there.repository(branch="trunk").look()
    assert caught.value.cause == "it has main"


def test_a_branch_that_was_deleted_is_not_made_again_by_itself(there: Server) -> None:
    repository = there.repository()
    head = repository.look().commit
    there.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(ConfigError, match=f"is gone; its head was {head[:12]}") as caught:
        repository.publish(line("a"), RELEASE)
    assert f"push {repository.url} {head}:refs/heads/main" in caught.value.mend
    with pytest.raises(ConfigError, match="is gone"):
        repository.look(first=True)


def test_a_history_rewritten_by_force_is_told_and_kept(there: Server) -> None:
    repository = there.repository()
    old = repository.publish(line("a"), RELEASE).commit
    there.git("update-ref", "refs/heads/main", f"{old}^")
    there.person({"README.md": "another history\n"})
    head = repository.look()
    assert head.commit == there.head
    assert [f"was rewritten by force: {old[:12]}" in text for text in there.warnings()] == [True]
    assert repository.contains(old, head.commit) is False
    assert repository.at(old).need(FILE).startswith(b"# a person's note\ndigest: a")
    assert repository.publish(line("a"), RELEASE).made


def _cut(clone: Path) -> None:
    for path in (clone / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:10])


def _empty(clone: Path) -> None:
    for path in (clone / "objects").rglob("*"):
        if path.is_file():
            path.unlink()


def _without_head(clone: Path) -> None:
    (clone / "HEAD").unlink()


def _bad_config(clone: Path) -> None:
    (clone / "config").write_text("[core\n")


def _bad_ref(clone: Path) -> None:
    (clone / "refs/heads/main").write_text("")


def _locked_ref(clone: Path) -> None:
    (clone / "refs/heads/main.lock").write_text("")


def _gone(clone: Path) -> None:
    (clone / "objects").rename(clone / "no-objects")


@pytest.mark.parametrize("damage", [_cut, _empty, _without_head, _bad_config, _bad_ref, _locked_ref, _gone])
@pytest.mark.parametrize("moved", [False, True])
def test_a_damaged_clone_is_made_anew(there: Server, damage: Callable[[Path], None], moved: bool) -> None:
    repository = there.repository()
    repository.publish(line("a"), RELEASE)
    damage(repository.folder)
    if moved:
        there.person({"README.md": "meanwhile\n"})
    made = repository.publish(line("b"), RELEASE)
    assert made.made
    assert there.git("show", f"{made.commit}:{FILE}").splitlines()[1] == "digest: b"
    assert there.git("show", f"{made.commit}:README.md") == ("meanwhile" if moved else "hello")
    assert [entry.subject for entry in repository.history(FILE)] == ["fade: 1a2b3c4 to production"] * 2 + ["a person's change"]
    assert there.count == 3 + moved


def test_another_process_is_waited_for_and_named(there: Server) -> None:
    first, second = there.repository(), there.repository()
    assert first.folder == second.folder
    with first._alone(), pytest.raises(Locked, match="another process") as caught:
        second.publish(line("a"), RELEASE)
    assert caught.value.cause.startswith("process ")
    assert second.publish(line("a"), RELEASE).made


def test_reading(there: Server) -> None:
    head = there.repository().look()
    assert head.read("README.md") == b"hello\n"
    assert head.read("nothing.md") is None
    assert head.names("clusters") == (FILE,)
    assert head.names("nowhere") == ()
    assert head.names() == ("README.md", FILE)
    with pytest.raises(ConfigError, match=r"no file nothing\.md"):
        head.need("nothing.md")
    with pytest.raises(ConfigError, match="clusters is not a file"):
        head.read("clusters")
    with pytest.raises(ConfigError, match="not a path within"):
        head.read("../x")
    with pytest.raises(ConfigError, match="there is no commit"):
        there.repository().at("0" * 40)


def test_what_was_seen_last_needs_no_server(there: Server) -> None:
    repository = there.repository()
    assert repository.seen() is None
    with pytest.raises(ConfigError, match="was not looked at yet"):
        repository.history(FILE)
    head = repository.look()
    there.forget()
    seen = repository.seen()
    assert seen == head
    assert head.need(FILE)
    assert len(repository.history(FILE)) == 1
    assert there.connections == []


def test_a_push_by_hand_meets_another(there: Server) -> None:
    repository = there.repository()
    head = repository.look()
    made = repository.commit(head.commit, {FILE: b"digest: z\n"}, RELEASE)
    there.person({"README.md": "first\n"})
    with pytest.raises(Raced):
        repository.push(made, head.commit)
    assert there.count == 2


def test_names_are_checked_without_contact(there: Server) -> None:
    there.repository().check()
    with pytest.raises(ConfigError, match="branch"):
        there.repository(branch="--force").check()
    with pytest.raises(ConfigError, match="no remote"):
        Repository(there.repository().site, "elsewhere").check()
    assert there.connections == []


KILLED = """
import json, sys
from pathlib import Path
from pipeline.records import Records
from pipeline.stage import Remote, Site
from pipeline.tools.gitops import Message, Repository
root, url = Path(sys.argv[1]), sys.argv[2]
site = Site("app", root, {}, {"gitops": Remote(url)}, {}, {}, {}, {}, Records(root / "records.db"))
print("ready", flush=True)
Repository(site, "gitops").publish(lambda head: {"x": b"released"}, Message("the release"))
"""


def test_killed_at_any_moment_the_next_run_releases_once_f02(there: Server) -> None:
    repository = there.repository("killed")
    argv = [sys.executable, "-c", KILLED, str(repository.site.root), repository.url]
    for pause in (0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.4):
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    repository.publish(lambda _head: {"x": b"released"}, Message("the release"))
    assert there.git("log", "--format=%s", "main").splitlines() == ["the release", "a person's change"]
    assert there.git("fsck", "--connectivity-only", "--no-dangling") == ""
    assert repository.look().need("x") == b"released"
