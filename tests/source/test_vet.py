from __future__ import annotations

import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.source import snapshot
from pipeline.source.refuse import refused
from pipeline.source.vet import Context, collisions, leaves, sent, vet
from tests.source.worktree import Worktree


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    work = Worktree(tmp_path / "work")
    work.write("README")
    work.commit()
    return work


def test_an_ordinary_tree_may_travel(work: Worktree) -> None:
    (work.path / "link").symlink_to("README")
    (work.path / "gone").symlink_to("nowhere")
    work.write("empty", "")
    vet(snapshot(work.path))


KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{'b3BlbnNzaC1rZXk' * 4}\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env", "DB_PASSWORD=correct-horse\n"),
        ("deploy/.env.production", f"export API_TOKEN='{'x' * 20}'\n"),
        ("id_rsa", KEY),
        ("x/terraform.tfstate", "{}"),
        (".pipeline/records.db", ""),
    ],
)
def test_i07_tracked_secrets_are_refused_with_the_command_to_run(work: Worktree, name: str, content: str) -> None:
    work.write(name, content)
    work.commit()
    with pytest.raises(ConfigError, match="tracked by git") as caught:
        vet(snapshot(work.path))
    assert f"git rm --cached -- '{name}'" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # 10,779 public repositories track such a file
        (".env.production", "NODE_ENV=production\nVITE_API_URL=https://api.example.org\nPORT=8080\n"),
        (".env", "# copy this\nDB_PASSWORD=\nSECRET_KEY=$SECRET_KEY\nTOKEN=<yours>\n"),
        ("tests/fixtures/id_rsa_notes", "how the keys of the tests were made\n"),
        ("docs/chain.pem", "-----BEGIN CERTIFICATE-----\n"),
    ],
)
def test_i07_a_tracked_file_that_holds_no_secret_travels_whatever_its_name(work: Worktree, name: str, content: str) -> None:
    work.write(name, content)
    work.commit()
    assert vet(snapshot(work.path)) == []


def test_i07_what_only_looks_like_a_secret_travels_if_the_blueprint_says_why(work: Worktree) -> None:
    work.write("tests/fixtures/server_key.pem", KEY)
    work.write("other/server_key.pem", KEY)
    work.commit()
    known = {"tests/fixtures/*.pem": "made for the tests, opens nothing"}
    with pytest.raises(ConfigError, match=r"'other/server_key\.pem' looks like a secret") as caught:
        vet(snapshot(work.path), not_secret=known)
    assert "not_secret: {'other/server_key.pem': why it opens nothing}" in caught.value.mend
    passed = vet(snapshot(work.path), not_secret=known | {"other/server_key.pem": "revoked in 2020"})
    assert passed == ["other/server_key.pem: revoked in 2020", "tests/fixtures/server_key.pem: made for the tests, opens nothing"]


def test_a_file_of_git_crypt_is_refused_as_it_is_in_git(work: Worktree) -> None:
    """NixOS/nix#5260: the ciphertext travelled without a word."""
    work.write("secrets/.gitattributes", "*.yml filter=git-crypt diff=git-crypt\n")
    work.write("secrets/a.yml", b"\0GITCRYPT\0" + bytes(2000))
    work.write("plain.yml", "a: 1\n")
    work.commit()
    with pytest.raises(ConfigError, match=r"'secrets/a\.yml' is encrypted by git-crypt") as caught:
        vet(snapshot(work.path))
    assert "plain.yml" not in caught.value.cause
    work.write("docker/web.dockerignore", "secrets\n" + "# a long one\n" * 200)
    work.commit()
    assert vet(snapshot(work.path), contexts=[Context(".", "docker/web")]) == []


def test_only_what_travels_is_judged(work: Worktree) -> None:
    work.git("update-index", "--add", "--cacheinfo", f"160000,{work.git('rev-parse', 'HEAD')},vendor/lib")
    work.git("commit", "--quiet", "--message", "submodule")
    (work.path / "vendor/lib").mkdir(parents=True)
    work.write("ops/id_rsa", KEY)
    work.write("ops/big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n")
    (work.path / "ops/out").symlink_to("/etc/shadow")
    work.git("add", "--force", "ops")
    work.git("commit", "--quiet", "--message", "more")
    assert vet(snapshot(work.path), contexts=[Context("web")]) == []


def test_i07_a_tracked_key_is_known_by_what_it_holds(work: Worktree) -> None:
    work.write("ca.pem", "-----BEGIN CERTIFICATE-----\n")
    work.commit()
    vet(snapshot(work.path))
    work.write("key.pem", "x" * 5000 + "\n-----BEGIN PRIVATE KEY-----\n")
    work.commit()
    with pytest.raises(ConfigError, match=r"key\.pem"):
        vet(snapshot(work.path))


@pytest.mark.parametrize("target", ["/etc/shadow", "../../etc/passwd", "..", "sub/../../x"])
def test_i05_links_that_leave_the_tree_are_refused_and_named(work: Worktree, target: str) -> None:
    (work.path / "escape").symlink_to(target)
    with pytest.raises(ConfigError, match="leads out of the tree: 'escape' ->"):
        vet(snapshot(work.path))


def test_i05_links_are_followed_through_other_links() -> None:
    links = {"deep": "a/b/c", "trick": "deep/../../../..", "fine": "deep/../..", "loop": "loop", "up": "a/../b"}
    assert leaves("trick", links)
    assert not leaves("fine", links)
    assert not leaves("loop", links)
    assert not leaves("up", links)


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), min_size=1, max_size=8))
def test_without_other_links_the_way_is_the_lexical_one(parts: list[str]) -> None:
    target = "/".join(parts)
    depth, lowest = 1, 1  # the link lies one folder deep
    for part in parts:
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    expected = target.startswith("/") or lowest < 0
    assert leaves("d/link", {"d/link": target}) == expected


def test_i08_names_that_are_one_name_elsewhere_are_refused_in_pairs(work: Worktree) -> None:
    work.write("Docs/a")
    work.write("docs/b")
    work.write("caf\u00e9")
    work.write("cafe\u0301")
    with pytest.raises(ConfigError, match="are one name") as caught:
        vet(snapshot(work.path))
    assert "'Docs' and 'docs'" in caught.value.cause
    assert len(caught.value.cause.splitlines()) == 2


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), unique=True, max_size=8))
def test_names_collide_in_one_direction_as_in_the_other(names: list[str]) -> None:
    assert bool(collisions(names)) == bool(collisions(reversed(names)))
    assert not collisions([*names[:1], *names[:1]])


def test_i04_a_submodule_is_refused(work: Worktree) -> None:
    work.git("update-index", "--add", "--cacheinfo", f"160000,{work.git('rev-parse', 'HEAD')},vendor/lib")
    work.git("commit", "--quiet", "--message", "submodule")
    (work.path / "vendor/lib").mkdir(parents=True)
    with pytest.raises(ConfigError, match="'vendor/lib' is a submodule"):
        vet(snapshot(work.path))


def test_lfs_pointers_are_refused(work: Worktree) -> None:
    work.write("model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n")
    with pytest.raises(ConfigError, match=r"'model\.bin' is in Git LFS"):
        vet(snapshot(work.path))


@given(st.text(alphabet="abz.-_/", min_size=1))
def test_a_rule_looks_at_the_name_and_not_at_the_folder(folder: str) -> None:
    assert refused(posixpath.join(folder.strip("/") or "d", ".env"))
    assert not refused(posixpath.join("d", folder.strip("/") or "d", "main.c"))


def test_what_is_in_no_context_is_not_sent() -> None:
    ignored = {"web/.dockerignore": b"# not these\n\n.env\n**/fixtures\n!keep/.env\n/private\n"}
    is_sent = sent([Context("web"), Context("./worker")], ignored)
    assert is_sent("web/main.c")
    assert is_sent("worker/.env")
    assert is_sent("web/deep/.env"), "a pattern without ** is of the top alone"
    assert not is_sent("web/.env")
    assert not is_sent("web/tests/fixtures/key.pem")
    assert not is_sent("web/private/key")
    assert not is_sent("ops/.env")
    assert not is_sent(".env")


def test_a_dockerfile_may_have_an_ignore_file_of_its_own() -> None:
    ignored = {".dockerignore": b"*\n", "prod.Dockerfile.dockerignore": b"vendor\n"}
    is_sent = sent([Context(".", "prod.Dockerfile")], ignored)
    assert is_sent("main.c")
    assert not is_sent("vendor/lib")
    assert not sent([Context(".")], ignored)("main.c")
