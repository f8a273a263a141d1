from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.source import look, snapshot
from pipeline.source.repository import Repository, refusal
from tests.source.worktree import Worktree


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    work = Worktree(tmp_path / "work")
    work.write("README", "hello\n")
    work.write("src/main.c", "int main;\n")
    work.commit()
    return work


def expected_tree(work: Worktree, tmp_path: Path) -> str:
    """What `git add --all` in a copy gives."""
    shutil.copytree(work.path, tmp_path / "copy", symlinks=True)
    copy = Worktree(tmp_path / "copy")
    copy.git("add", "--all")
    return copy.git("write-tree")


def test_a_clean_copy_is_its_commit(work: Worktree) -> None:
    source = snapshot(work.path)
    assert (source.commit, source.tree, source.dirty) == (work.git("rev-parse", "HEAD"), work.tree, False)
    assert source.path == str(work.path)


def test_a_folder_within_the_copy_stands_for_the_whole(work: Worktree) -> None:
    assert snapshot(work.path / "src") == snapshot(work.path)


def test_a_clean_look_starts_two_processes(work: Worktree, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    real: Any = subprocess.Popen

    def counted(*args: Any, **options: Any) -> Any:
        started.append(args)
        return real(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    snapshot(work.path)
    assert len(started) == 2


def test_tracked_and_untracked_changes_travel_and_ignored_files_do_not(work: Worktree, tmp_path: Path) -> None:
    work.write(".gitignore", "*.o\n")
    work.write("new.txt")
    work.write("big.o")
    work.write("README", "changed\n")
    (work.path / "src/main.c").unlink()
    source = snapshot(work.path)
    assert source.dirty
    assert source.tree == expected_tree(work, tmp_path)
    names = work.git("ls-tree", "-r", "--name-only", source.tree).splitlines()
    assert names == [".gitignore", "README", "new.txt"]


def test_a_folder_that_became_a_link_and_a_file_that_became_a_folder(work: Worktree, tmp_path: Path) -> None:
    work.write("lib/a")
    work.write("tool")
    work.commit()
    (work.path / "lib/a").unlink()
    (work.path / "lib").rmdir()
    (work.path / "lib").symlink_to("src")
    (work.path / "tool").unlink()
    work.write("tool/main")
    assert snapshot(work.path).tree == expected_tree(work, tmp_path)


def test_the_index_is_neither_read_as_the_truth_nor_written(work: Worktree) -> None:
    """N6: what the user staged stays staged as it was."""
    work.write("README", "staged\n")
    work.git("add", "README")
    work.write("README", "newer\n")
    before = hashlib.sha256((work.path / ".git/index").read_bytes()).hexdigest()
    source = snapshot(work.path)
    assert work.git("cat-file", "blob", f"{source.tree}:README") == "newer"
    assert hashlib.sha256((work.path / ".git/index").read_bytes()).hexdigest() == before
    assert work.git("diff", "--cached", "--name-only") == "README"


def test_a_file_dropped_from_the_index_but_kept_on_disk_is_judged_as_untracked(work: Worktree) -> None:
    work.write(".env", "PASSWORD=x\n")
    work.commit()
    work.git("rm", "--cached", "--quiet", ".env")
    found = look(work.path)
    assert found.left_out == (".env",)
    assert ".env" not in work.git("ls-tree", "--name-only", found.source.tree).splitlines()


def test_s11_new_times_alone_change_nothing(work: Worktree) -> None:
    before = snapshot(work.path)
    os.utime(work.path / "README", (1, 1))
    assert snapshot(work.path) == before


def test_s10_what_was_named_stays_what_it_was_when_files_change_afterwards(work: Worktree) -> None:
    work.write("README", "first\n")
    source = snapshot(work.path)
    work.write("README", "second\n")
    assert work.git("cat-file", "blob", f"{source.tree}:README") == "first"


def test_the_same_second_the_same_size_is_noticed(work: Worktree) -> None:
    """git compares times and sizes; a copied index must not make a fresh change look old."""
    for round_ in range(20):
        work.write("README", f"{round_:05}\n")
        work.write("other", f"{round_}\n")
        work.git("add", "README")
        work.write("README", f"{round_ + 50000:05}\n")
        source = snapshot(work.path)
        assert work.git("cat-file", "blob", f"{source.tree}:README") == f"{round_ + 50000:05}"


def test_i07_untracked_secrets_are_left_out_and_named(work: Worktree) -> None:
    clean = snapshot(work.path)
    work.write(".env", "PASSWORD=x\n")
    work.write("keys/id_rsa")
    work.write("infra/terraform.tfstate.backup")
    work.write("tls/key.pem", "-----BEGIN RSA PRIVATE KEY-----\n")
    work.write(".pipeline/records.db")
    found = look(work.path)
    assert found.source == clean
    assert set(found.left_out) == {".env", "keys/id_rsa", "infra/terraform.tfstate.backup", "tls/key.pem", ".pipeline/records.db"}
    work.write("README", "dirty too\n")
    assert look(work.path).source.tree != clean.tree
    assert ".env" not in work.git("ls-tree", "-r", "--name-only", look(work.path).source.tree).splitlines()


LINES = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n" * 3
SECRETS: dict[str, str | bytes] = {
    "server.key": f"-----BEGIN PRIVATE KEY-----\n{LINES}-----END PRIVATE KEY-----\n",
    "tls/both.crt": f"-----BEGIN CERTIFICATE-----\n{LINES}-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n{LINES}",
    "deploy_key": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LINES}",
    "locked": f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{LINES}",
    "backup.asc": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{LINES}",
    "keys.txt": "# created: today\nAGE-SECRET-KEY-1" + "QPZRY9X8GF" * 6 + "\n",
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\n",
    "cluster.yaml": "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    token: abcdefghij\n",
    "cluster.json": '{"apiVersion": "v1", "kind": "Config", "users": [{"user": {"client-key-data": "LS0tLS1"}}]}',
    "prod.env": "export DB_PASSWORD=correct-horse\n",
    "prod.tfvars": 'rackspace_spot_token = "abcdefghijkl"\n',
    "account.json": '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\n' + LINES.replace("\n", "\\n") + '"}',
    "notes.md": "use ghp_" + "a1B2" * 9 + "\n",
    "docker/config.json": '{"auths": {"registry.example.org": {"auth": "YW5uYTpzZWNyZXQ="}}}',
    "rackspace_token": "x",
    "store.p12": b"\x30\x82",
    ".netrc": "machine a login b password c\n",
}
HARMLESS = {
    "public.asc": f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{LINES}",
    "rules.py": 'KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")\nTOKENS = ("ghp_", "AGE-SECRET-KEY-1")\n',
    "README.md": "The file begins with `-----BEGIN PRIVATE KEY-----`.\n",
    "cluster.yml": "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    exec: {command: aws}\n",
    "values.yaml": 'password: ""\ntoken: abcdefghij\n',
    "some.env": "PASSWORD=\nTOKEN=${TOKEN}\nLOG=debug\n",
    "sample.env.example": "PASSWORD=changeme-please\n",
}


def test_i07_what_git_does_not_know_is_judged_by_what_it_holds(work: Worktree) -> None:
    clean = snapshot(work.path)
    for name, content in SECRETS.items():
        work.write(name, content)
    found = look(work.path)
    assert set(found.left_out) == set(SECRETS)
    assert found.source == clean


def test_i07_what_only_speaks_of_secrets_travels(work: Worktree) -> None:
    for name, content in HARMLESS.items():
        work.write(f"new/{name}", content)
    assert look(work.path).left_out == ()


def test_i07_what_configuration_names_as_a_secret_stays(work: Worktree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work.path)
    work.write("deploy/anything", "abc\n")
    work.write("deploy/other", "abc\n")
    assert look(work.path, private={Path("deploy/anything"), Path("deploy/none")}).left_out == ("deploy/anything",)


@pytest.mark.timeout(60)
def test_what_is_no_file_is_not_waited_for(work: Worktree) -> None:
    os.mkfifo(work.path / "pipe")
    (work.path / "x.pem").symlink_to("pipe")
    found = look(work.path)
    assert found.left_out == ()
    assert "x.pem" in work.git("ls-tree", "-r", "--name-only", found.source.tree).splitlines()


@pytest.mark.parametrize("kind", ["clean", "process", "included"])
def test_i04_a_filter_of_the_repository_starts_nothing(work: Worktree, tmp_path: Path, kind: str) -> None:
    marker, script = tmp_path / "started", tmp_path / "filter"
    script.write_text(f"#!/bin/sh\ntouch '{marker}'\ncat\n")
    script.chmod(0o755)
    os.utime(work.path / "src/main.c", (1e9, 1e9))
    work.git("update-index", "--refresh")  # a file as young as the index is read to see whether it changed
    clean = snapshot(work.path)
    work.write(".git/info/attributes", "*.c filter=evil\n")
    if kind == "included":
        work.write(".git/more", f'[filter "evil"]\nclean = {script}\n')
        work.git("config", "include.path", "more")
    else:
        work.git("config", f"filter.evil.{kind}", str(script))
    assert snapshot(work.path) == clean
    work.write("src/main.c", "int other;\n")
    with pytest.raises(ConfigError, match="filter") as caught:
        snapshot(work.path)
    assert "git config --unset" in caught.value.mend
    assert not marker.exists()


def test_a_filter_of_the_users_own_settings_runs(work: Worktree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text('[filter "mine"]\nclean = tr a-z A-Z\n')
    work.write(".git/info/attributes", "README filter=mine\n")
    work.write("README", "loud\n")
    assert work.git("cat-file", "blob", f"{snapshot(work.path).tree}:README") == "LOUD"


def test_i07_what_only_looks_like_a_secret_travels(work: Worktree) -> None:
    work.write(".env.example")
    work.write("ca.pem", "-----BEGIN CERTIFICATE-----\n")
    work.write("id_rsa.pub")
    found = look(work.path)
    assert found.left_out == ()
    assert "ca.pem" in work.git("ls-tree", "-r", "--name-only", found.source.tree).splitlines()


def test_i04_the_environment_and_the_repository_start_nothing(work: Worktree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "started"
    script = work.write(".git/start", f"#!/bin/sh\ntouch '{marker}'\n")
    script.chmod(0o755)
    work.git("config", "core.fsmonitor", str(script))
    (work.path / ".git/hooks").mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (work.path / ".git/hooks" / hook).write_bytes(script.read_bytes())
        (work.path / ".git/hooks" / hook).chmod(0o755)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    work.write("README", "dirty\n")
    assert snapshot(work.path).dirty
    assert not marker.exists()


def test_names_of_any_bytes_are_taken_as_they_are(work: Worktree) -> None:
    """S13, the near half: the tree holds the very bytes."""
    names = [b"a\nb", b"-rf", b"\xff\xfe", b"n" * 255, b"space ", b":(top)", b"*"]
    for name in names:
        work.write(name)
    source = snapshot(work.path)
    listing = os.fsencode(work.git("ls-tree", "--name-only", "-z", source.tree))
    assert set(names) <= set(listing.split(b"\0"))


def test_detached_head_and_branch_are_told_apart(work: Worktree) -> None:
    assert look(work.path).branch == "main"
    work.git("checkout", "--quiet", "--detach")
    assert look(work.path).branch == ""


def test_a_shallow_clone_has_the_same_tree(work: Worktree, tmp_path: Path) -> None:
    work.write("second")
    work.commit()
    work.git("clone", "--quiet", "--depth=1", f"file://{work.path}", str(tmp_path / "clone"))
    assert snapshot(tmp_path / "clone").tree == work.tree


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not in a git repository") as caught:
        snapshot(tmp_path)
    assert "git init" in caught.value.mend


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="git"):
        snapshot(tmp_path / "absent")


def test_no_commit_yet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no commit yet"):
        snapshot(Worktree(tmp_path / "new").path)


def test_a_bare_repository(tmp_path: Path) -> None:
    Worktree(tmp_path / "work").git("init", "--quiet", "--bare", str(tmp_path / "bare"))
    with pytest.raises(ConfigError, match="bare repository"):
        snapshot(tmp_path / "bare")


def test_git_is_not_installed(work: Worktree) -> None:
    with pytest.raises(ConfigError, match="not installed") as caught:
        snapshot(work.path, "git-that-is-not-there")
    assert "apt install git" in caught.value.mend


def test_a_merge_in_progress(work: Worktree) -> None:
    work.git("checkout", "--quiet", "-b", "other")
    work.write("README", "theirs\n")
    work.commit()
    work.git("checkout", "--quiet", "main")
    work.write("README", "ours\n")
    work.commit()
    with pytest.raises(subprocess.CalledProcessError):
        work.git("merge", "other")
    with pytest.raises(ConfigError, match="merge is in progress: 'README'"):
        snapshot(work.path)


def test_a_repository_within_the_repository(work: Worktree) -> None:
    Worktree(work.path / "inner").write("f")
    with pytest.raises(ConfigError, match="'inner/' is a git repository of its own"):
        snapshot(work.path)


def test_dubious_ownership_gives_gits_own_command(tmp_path: Path) -> None:
    text = (
        "fatal: detected dubious ownership in repository at '/srv/app'\n"
        "To add an exception for this directory, call:\n\n\tgit config --global --add safe.directory /srv/app\n"
    )
    error = refusal(text, tmp_path)
    assert isinstance(error, ConfigError)
    assert error.mend == "git config --global --add safe.directory /srv/app"


def test_a_complaint_that_nobody_knows_is_quoted(work: Worktree) -> None:
    with pytest.raises(ConfigError) as caught:
        Repository(work.path).run("cat-file", "blob", "0" * 40)
    assert "bad file" in caught.value.cause
