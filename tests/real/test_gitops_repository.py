"""The GitOps repository in the lab's Gitea, over ssh: races, lost answers, a server that is away, people's commits, signatures."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, HostKeyError, Transient
from pipeline.events import Event
from pipeline.host import Address
from pipeline.lab import gitea, layout
from pipeline.lab.layout import Lab
from pipeline.records import Records
from pipeline.stage import Remote, Site
from pipeline.testing.proxy import FaultProxy
from pipeline.tools import yamledit
from pipeline.tools.gitops import Changes, Head, Message, Repository, Trailers, taken_back

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
FILE = "clusters/production/fade/release.yaml"
FADE = yamledit.Selector("HelmRelease", "fade", "fade")
SERVER: yamledit.Path = ("spec", "values", "server", "image", "digest")
NODE: yamledit.Path = ("spec", "values", "node", "image", "digest")
TEXT = """\
# people write here, too
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: fade, namespace: fade}
spec:
  interval: 5m
  values:
    server:
      replicas: 2 # as many as there are
      image: {digest: "sha256:none"}
    node:
      image:
        digest: sha256:none
"""


@dataclass(frozen=True)
class Place:
    """A repository of this test's own in the lab's Gitea, with a HelmRelease in it; `folder` is for working copies."""

    lab: Lab
    site: Site
    folder: Path
    name: str
    events: list[Event]

    @property
    def remote(self) -> Remote:
        return self.site.remotes["gitops"]

    def repository(self, who: str, *, sign: bool = False, through: FaultProxy | None = None) -> Repository:
        """The pipeline of somebody, from a working copy of theirs."""
        return of(self.site, self.folder / who, self.remote if through is None else self.by(through), sign=sign)

    def by(self, proxy: FaultProxy) -> Remote:
        """The same server behind `proxy`, with its host key known there."""
        known = self.folder / f"known-{proxy.address.port}"
        keys = Path(self.remote.known_hosts).read_text().splitlines()
        mine = [line.split(" ", 1)[1] for line in keys if line.startswith(f"[{self.lab.host}]:{self.lab.git} ")]
        known.write_text("".join(f"[{proxy.address.host}]:{proxy.address.port} {key}\n" for key in mine))
        url = f"ssh://git@{proxy.address.host}:{proxy.address.port}/{layout.APP_OWNER}/{self.name}.git"
        return replace(self.remote, url=url, known_hosts=str(known))

    def proxy(self) -> FaultProxy:
        return FaultProxy(Address(self.lab.host, self.lab.git))

    def person(self, change: Callable[[str], str], message: str) -> str:
        """A person's commit to the release, from a pipeline's clone of theirs (any git would do)."""
        theirs = self.repository("ada")
        head = theirs.look()
        made = theirs.commit(head.commit, {FILE: change(head.need(FILE).decode()).encode()}, Message(message))
        theirs.push(made, head.commit)
        return made

    def commits(self) -> list[str]:
        repository = self.repository("looks")
        repository.look()
        return [entry.subject for entry in repository.history("")]

    def warnings(self) -> list[str]:
        return [event.text for event in self.events if event.what == "warn"]


def of(site: Site, root: Path, remote: Remote, *, sign: bool = False) -> Repository:
    root.mkdir(exist_ok=True)
    own = replace(site, root=root, remotes={"gitops": remote}, records=Records(root / "records.db"), shared={})
    return Repository(own, "gitops", sign=sign)


def release(digest: str) -> Callable[[Head], Changes]:
    def change(head: Head) -> Changes:
        old = head.need(FILE).decode()
        return {FILE: yamledit.edit(old, FADE, {SERVER: f"sha256:{digest}", NODE: f"sha256:{digest}"}, FILE).encode()}

    return change


def message(digest: str) -> Message:
    return Message(f"fade: {digest} to production", "", Trailers("fade", digest, by="grace@desk"))


@pytest.fixture
def place(lab: Site, lab_site_file: Path, events: list[Event], tmp_path: Path) -> Iterator[Place]:
    known = layout.read(lab_site_file.resolve().parent)
    assert known is not None
    name = f"gitops-{secrets.token_hex(3)}"
    gitea.create_repository(known, name)
    remote = replace(lab.remotes["gitops"], url=lab.remotes["gitops"].url.replace("{app}-gitops", name))
    found = Place(known, replace(lab, remotes={"gitops": remote}), tmp_path, name, events)
    try:
        found.repository("begin").publish(lambda _head: {FILE: TEXT.encode(), "README.md": b"hello\n"}, Message("begin"), first=True)
        yield found
    finally:
        gitea.ask(known, "DELETE", f"/repos/{layout.APP_OWNER}/{name}")


def text_of(repository: Repository) -> str:
    return repository.look().need(FILE).decode()


def test_a_release_is_one_commit_that_changes_its_lines(place: Place) -> None:
    repository = place.repository("grace")
    made = repository.publish(release("aaa"), message("aaa"))
    assert made.made
    assert text_of(repository) == TEXT.replace("sha256:none", "sha256:aaa")
    assert repository.publish(release("aaa"), message("aaa")) == replace(made, made=False)
    assert place.commits() == ["fade: aaa to production", "begin"]
    assert repository.history(FILE)[0].trailers == Trailers("fade", "aaa", by="grace@desk")


RACER = """
import json, sys
from pathlib import Path
from pipeline.records import Records
from pipeline.stage import Remote, Site
from pipeline.tools.gitops import Message, Repository
root, remote, names = json.loads(sys.argv[1])
site = Site("app", Path(root), {}, {"gitops": Remote(**remote)}, {}, {}, {}, {}, Records(Path(root) / "records.db"))
repository = Repository(site, "gitops")
repository.look()
for name in names:
    print("ready", flush=True)
    sys.stdin.readline()
    repository.publish(lambda head: {f"apps/{name}.txt": name.encode()}, Message(name))
"""


def test_two_processes_that_push_at_one_moment_both_get_in_f01(place: Place) -> None:
    rounds = 2
    racers = []
    for who in ("one", "two"):
        (place.folder / who).mkdir()
        said = json.dumps([str(place.folder / who), asdict(place.remote), [f"{who}-{number}" for number in range(rounds)]])
        argv = [sys.executable, "-c", RACER, said]
        racers.append(subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for _ in range(rounds):
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=200)
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sorted(place.commits()) == ["begin", "one-0", "one-1", "two-0", "two-1"]
    assert place.repository("looks").look().names("apps") == tuple(
        f"apps/{who}-{number}.txt" for who in ("one", "two") for number in (0, 1)
    )


def test_a_person_who_changes_another_line_meanwhile_keeps_it_f01(place: Place) -> None:
    repository = place.repository("grace")
    met: list[str] = []

    def change(head: Head) -> Changes:
        if not met:
            met.append(place.person(lambda text: text.replace("replicas: 2", "replicas: 5"), "more of them"))
        return release("aaa")(head)

    assert repository.publish(change, message("aaa")).made
    assert text_of(repository) == TEXT.replace("sha256:none", "sha256:aaa").replace("replicas: 2", "replicas: 5")
    assert place.commits() == ["fade: aaa to production", "more of them", "begin"]


def test_a_person_who_changes_the_same_line_meanwhile_is_named_and_not_overwritten_f01(place: Place) -> None:
    repository = place.repository("grace")

    def change(head: Head) -> Changes:
        text = head.need(FILE).decode()
        found = yamledit.read(text, FADE, [NODE], FILE)[NODE]
        assert found is not None
        if found.value != "sha256:none":
            who = repository.last(FILE, found.line, head.commit)
            raise ConfigError(f"{FILE}:{found.line} was changed by {who.author}: {who.subject}", cause=who.commit)
        place.person(lambda text: text.replace("digest: sha256:none", "digest: sha256:pinned"), "pin the node")
        return release("aaa")(head)

    with pytest.raises(ConfigError, match=rf"{FILE}:13 was changed by .*: pin the node"):
        repository.publish(change, message("aaa"))
    assert place.commits() == ["pin the node", "begin"]
    assert "sha256:pinned" in text_of(repository)


@contextlib.contextmanager
def cut(place: Place, proxy: FaultProxy, *, for_good: bool = False) -> Iterator[None]:
    """Break the connection when the server has moved the branch and before it can say so; `for_good` takes no new ones either."""
    home = next(place.lab.state.glob(f"gitea/**/{place.name}.git"))
    moved, over = home / "moved", home / "over"
    hook = home / "hooks" / "reference-transaction"
    hook.write_text(
        f'#!/bin/sh\n[ "$1" = committed ] || exit 0\ntouch {moved}\nwaited=0\n'
        f"while [ ! -e {over} ] && [ $waited -lt 300 ]; do sleep 0.1; waited=$((waited + 1)); done\n"
    )
    hook.chmod(0o755)
    ended = threading.Event()

    def watch() -> None:
        while not moved.exists() and not ended.wait(0.01):
            pass
        if moved.exists():
            if for_good:
                proxy.refuse()
            proxy.reset()
        over.touch()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        hook.unlink()


def test_an_answer_lost_after_the_pack_was_sent_is_looked_up_f02(place: Place) -> None:
    with place.proxy() as proxy:
        repository = place.repository("grace", through=proxy)
        repository.look()
        with cut(place, proxy):
            made = repository.publish(release("aaa"), message("aaa"))
        assert made.made
        assert place.repository("looks").look().commit == made.commit
        assert proxy.connections == 4  # a look, another, the push that broke, and the question what became of it
        assert not repository.publish(release("aaa"), message("aaa")).made
    assert place.commits() == ["fade: aaa to production", "begin"]


def test_a_line_that_breaks_before_the_pack_is_over_leaves_nothing_f02(place: Place) -> None:
    with place.proxy() as proxy:
        repository = place.repository("grace", through=proxy)
        repository.look()
        proxy.reset_after(2500, "up")  # in the middle of ssh's own greeting and keys
        with pytest.raises(Transient):
            repository.publish(release("aaa"), message("aaa"))
        assert place.commits() == ["begin"]
        assert repository.publish(release("aaa"), message("aaa")).made
    assert place.commits() == ["fade: aaa to production", "begin"]


def test_a_server_that_goes_away_after_the_pack_leaves_a_doubt_and_no_second_commit_f02(place: Place) -> None:
    with place.proxy() as proxy:
        repository = place.repository("grace", through=proxy)
        repository.look()
        with cut(place, proxy, for_good=True), pytest.raises(Ambiguous, match="is not known"):
            repository.publish(release("aaa"), message("aaa"))
        proxy.accept()
        assert not repository.publish(release("aaa"), message("aaa")).made  # what arrived is found
    assert place.commits() == ["fade: aaa to production", "begin"]


def test_a_server_that_is_down_for_a_while(place: Place) -> None:
    with place.proxy() as proxy:
        repository = place.repository("grace", through=proxy)
        repository.look()
        proxy.refuse()
        with pytest.raises(Transient, match="cannot be reached"):
            repository.publish(release("aaa"), message("aaa"))
        assert repository.seen() is not None  # what is known stays readable
        proxy.accept()
        assert repository.publish(release("aaa"), message("aaa")).made


def test_a_commit_signed_by_ssh(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    home = place.folder / "home"
    home.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "signs", "-f", str(home / "key")], check=True)
    (home / ".gitconfig").write_text(
        f"[user]\n\tname = Grace\n\temail = grace@example.org\n\tsigningkey = {home}/key.pub\n[gpg]\n\tformat = ssh\n"
        f'[gpg "ssh"]\n\tallowedSignersFile = {home}/allowed\n'
    )
    (home / "allowed").write_text(f"grace@example.org {(home / 'key.pub').read_text()}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    repository = place.repository("grace", sign=True)
    made = repository.publish(release("aaa"), message("aaa"))
    found = place.repository("looks")
    found.look()
    verified = subprocess.run(["git", "-C", str(found.folder), "verify-commit", made.commit], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert 'Good "git" signature for grace@example.org' in verified.stderr
    said = gitea.ask(place.lab, "GET", f"/repos/{layout.APP_OWNER}/{place.name}/git/commits/{made.commit}")
    assert said["commit"]["verification"]["signature"].startswith("-----BEGIN SSH SIGNATURE-----")


def test_a_revert_by_hand_is_understood(place: Place) -> None:
    repository = place.repository("grace")
    first = repository.publish(release("aaa"), message("aaa")).commit
    second = repository.publish(release("bbb"), message("bbb")).commit
    text = repository.at(first).need(FILE)
    back = repository.publish(lambda _head: {FILE: text}, Message('Revert "fade: bbb to production"', f"This reverts commit {second}."))
    entries = repository.history(FILE)
    assert [(entry.commit, entry.reverts, entry.human) for entry in entries[:3]] == [
        (back.commit, second, True),
        (second, "", False),
        (first, "", False),
    ]
    assert taken_back(entries) == {second}


def test_what_the_server_refuses_is_said(place: Place) -> None:
    repository = place.repository("grace")
    repository.look()
    body = {"branch_name": "main", "rule_name": "main", "enable_push": False}
    gitea.ask(place.lab, "POST", f"/repos/{layout.APP_OWNER}/{place.name}/branch_protections", body)
    with pytest.raises(ConfigError, match="refuses the commit") as caught:
        repository.publish(release("aaa"), message("aaa"))
    assert "protected branch main" in caught.value.cause
    gitea.ask(place.lab, "DELETE", f"/repos/{layout.APP_OWNER}/{place.name}/branch_protections/main")

    missing = of(
        place.site, place.folder / "missing", replace(place.remote, url=place.remote.url.replace(place.name, "no-such-repository"))
    )
    with pytest.raises(ConfigError, match="does not exist, or the key may not see it"):
        missing.look()
    unknown = of(place.site, place.folder / "unknown", replace(place.remote, known_hosts="/dev/null"))
    with pytest.raises(HostKeyError):
        unknown.look()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place.folder / "stranger")], check=True)
    stranger = of(place.site, place.folder / "other", replace(place.remote, identity_file=str(place.folder / "stranger")))
    with pytest.raises(AuthError):
        stranger.look()
    assert place.commits() == ["begin"]


def test_a_key_that_may_only_read(place: Place) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place.folder / "reader")], check=True)
    body = {"title": "reader", "key": (place.folder / "reader.pub").read_text(), "read_only": True}
    gitea.ask(place.lab, "POST", f"/repos/{layout.APP_OWNER}/{place.name}/keys", body)
    reader = of(place.site, place.folder / "reads", replace(place.remote, identity_file=str(place.folder / "reader")))
    assert reader.look().need("README.md") == b"hello\n"
    with pytest.raises(AuthError, match="may not write"):
        reader.publish(release("aaa"), message("aaa"))
    assert place.commits() == ["begin"]


def test_what_is_written_is_what_kubernetes_reads(place: Place) -> None:
    """The Go library that Kubernetes reads YAML with takes every text for the same text."""
    texts = [
        *("yes", "n", "NULL", "~", "", "<<", "=", "12e4567", "0o17", "0777", "1_000", "12:30:45", "0x1F", ".5", "+1", ".NaN", "2026-11-21"),
        *("a: b", "#x", "{x}", "-", "a,b", " x ", "it's", '"', "two\nlines\n", "grün", "\U0001f600", "\u2028", "sha256:0123", "1.2.3"),
    ]
    begin = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    wanted = {f"k{number}": each for number, each in enumerate(texts)} | {"old": "it's: #1"}
    changes: dict[yamledit.Path, yamledit.Scalar] = {("data", key): value for key, value in wanted.items()}
    made = yamledit.edit(f"{begin}data:\n  old: 'quoted'\n", yamledit.Selector("ConfigMap", "x"), changes)
    flow = yamledit.edit(f"{begin}data: {{}}\n", None, changes)
    for each in (made, flow):
        argv = [place.site.tool("kubectl"), "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"]
        config = ["--kubeconfig", place.site.clusters["railiance01"].kubeconfig]
        done = subprocess.run([*argv, *config], input=each, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["data"] == wanted
