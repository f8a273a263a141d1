"""The registries that stand for GHCR and Docker Hub: every login, every refusal, tags that move and tags that do not."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import secrets
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import runner
from pipeline.artifacts import Images, Source
from pipeline.build import tagged
from pipeline.build.tagged import Tagged
from pipeline.errors import AuthError, ConfigError, IntegrityError
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.source import snapshot
from pipeline.stage import Registry, Site
from pipeline.tools import named
from pipeline.tools.git_ref import is_ancestor, ref_of
from pipeline.tools.references import digest_of
from pipeline.tools.registry import Client, Manifest, client_of
from pipeline.tools.retag import moved, retag
from pipeline.tools.tag_rules import parse
from pipeline.tools.tags import LABEL, labels, tags
from tests.real.images import BASE, Copy, copy

pytestmark = pytest.mark.real
FACES = ("ghcr", "hub")
VARIABLES = ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "GHCR_PAT", "GITHUB_TOKEN", "GITHUB_ACTOR")
OCI = "application/vnd.oci.image."
At = Callable[..., Site]


@pytest.fixture
def at(lab: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """A site whose registry `name` is one of the lab's, asked as the test says; the machine's own logins are out of the way."""
    if not lab.registries.keys() >= set(FACES):
        pytest.fail("these tests need one part more: inv lab.up --with hub", pytrace=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    made: list[Site] = []

    def site(face: str, **options: Any) -> Site:
        spec = dataclasses.replace(lab.registry(face), **options)
        provider = options.get("provider", {"ghcr": "ghcr", "hub": "dockerhub"}[face])
        registries = {face: dataclasses.replace(spec, provider=provider)}
        records = Records(tmp_path / f"records-{len(made)}.db")
        made.append(dataclasses.replace(lab, registries=registries, records=records, secrets=Secrets(), shared={}))
        return made[-1]

    yield site
    for each in made:
        each.close()


@pytest.fixture
def repository() -> str:
    """A repository of the test's own: registries keep what they were given."""
    return f"coulomb/test-{secrets.token_hex(4)}"


def password(spec: Registry, account: str) -> str:
    return Path(spec.password.removeprefix("file:")).with_name(f"hub-{account}-password").read_text().strip()


def reader(lab: Site, face: str) -> dict[str, str]:
    """The account that may only pull."""
    path = Path(lab.registry(face).password.removeprefix("file:")).with_name("hub-reader-password")
    return {"username": "reader", "password": f"file:{path}"}


def push(client: Client, repository: str, tag: str, words: str = "", **said: str) -> str:
    """A small image, with these labels; its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("words")
        info.size = len(words.encode())
        archive.addfile(info, io.BytesIO(words.encode()))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {LABEL + name: text for name, text in said.items()}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(buffer.getvalue())]},
    }
    blobs = [(f"{OCI}config.v1+json", json.dumps(config).encode()), (f"{OCI}layer.v1.tar+gzip", gzip.compress(buffer.getvalue(), mtime=0))]
    parts = [{"mediaType": kind, "digest": client.put_blob(repository, body), "size": len(body)} for kind, body in blobs]
    body = json.dumps({"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": parts[0], "layers": parts[1:]}).encode()
    return client.put_manifest(repository, tag, Manifest(digest_of(body), f"{OCI}manifest.v1+json", body, "", ()))


@pytest.mark.parametrize("face", FACES)
def test_an_image_goes_out_and_comes_back(at: At, face: str, repository: str) -> None:
    client = client_of(at(face), face)
    digest = push(client, repository, "v1", revision="c" * 40)
    assert client.head(repository, "v1") == digest
    assert client.tags(repository) == ("v1",)
    said = named.read(client, repository, digest)
    assert said is not None
    assert said.commit == "c" * 40
    assert client_of(at(face, username="", password="", credentials="none"), face).head(repository, "v1") == digest, "it is public"


@pytest.mark.parametrize("face", FACES)
def test_a_login_of_docker_s_file_opens_it(at: At, lab: Site, face: str, repository: str, tmp_path: Path) -> None:
    spec = lab.registry(face)
    auth = base64.b64encode(f"lab:{password(spec, 'lab')}".encode()).decode()
    (tmp_path / ".docker").mkdir()
    path = tmp_path / ".docker/config.json"
    path.write_text(json.dumps({"auths": {f"{spec.address}/{repository.partition('/')[0]}": {"auth": auth}}}))
    path.chmod(0o600)
    assert push(client_of(at(face, username="", password=""), face), repository, "v1")


def test_a_credential_helper_opens_it(at: At, lab: Site, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lab.registry("hub")
    secret = Path(spec.password.removeprefix("file:"))
    program = tmp_path / "bin/docker-credential-lab"
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
[ "$1" = get ] && [ "$(cat)" = https://index.docker.io/v1/ ] || {{ echo credentials not found in native keychain; exit 1; }}
printf '{{"Username": "lab", "Secret": "%s"}}' "$(cat {secret})"
""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"credsStore": "lab"}')
    assert push(client_of(at("hub", username="", password=""), "hub"), repository, "v1")


def test_github_s_token_and_actor_open_what_stands_for_ghcr(at: At, lab: Site, repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "lab")
    monkeypatch.setenv("GITHUB_TOKEN", password(lab.registry("ghcr"), "lab"))
    assert push(client_of(at("ghcr", username="", password=""), "ghcr"), repository, "v1")
    monkeypatch.setenv("GHCR_PAT", "ghp_anothertoken")
    with pytest.raises(AuthError, match="from the variable GHCR_PAT"):
        push(client_of(at("ghcr", username="", password=""), "ghcr"), repository, "v2")


@pytest.mark.parametrize(("face", "what"), [("ghcr", "lacks a scope"), ("hub", "lacks a scope|lets user reader .* only pull")])
def test_a_token_that_may_only_pull_is_told_what_it_lacks(at: At, lab: Site, face: str, what: str, repository: str) -> None:
    client = client_of(at(face, **reader(lab, face)), face)
    with pytest.raises(AuthError, match=what) as caught:
        push(client, repository, "v1")
    assert {"ghcr": "write:packages", "hub": "right to write"}[face] in caught.value.mend
    assert client_of(at(face), face).tags(repository) == ()


@pytest.mark.parametrize("face", FACES)
def test_a_wrong_password_is_told_as_one_and_not_tried_again(at: At, face: str, repository: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("ghp_0123456789")
    wrong.chmod(0o600)
    client = client_of(at(face, password=f"file:{wrong}"), face)
    for _ in range(2):
        with pytest.raises(AuthError, match="does not know this user and password: user lab") as caught:
            push(client, repository, "v1")
        assert {"ghcr": "make one with write:packages", "hub": "new access token"}[face] in caught.value.mend
        assert "ghp_0123456789" not in caught.value.what + caught.value.cause + caught.value.mend


@pytest.mark.parametrize("face", FACES)
def test_a_private_repository_and_a_missing_one_say_the_same_to_a_stranger(at: At, face: str) -> None:
    name = f"private/test-{secrets.token_hex(4)}"
    digest = push(client_of(at(face), face), name, "v1")
    for repository in (name, f"private/none-{secrets.token_hex(4)}"):
        client = client_of(at(face, username="", password="", credentials="none"), face)
        with pytest.raises(AuthError, match="it is private, or does not exist") as caught:
            client.head(repository, "v1")
        assert caught.value.mend
    assert client_of(at(face), face).head(name, "v1") == digest


def test_n01_a_realm_elsewhere_is_not_followed_unless_it_is_named(at: At, lab: Site, repository: str) -> None:
    with pytest.raises(ConfigError, match="which is not the registry itself: it was not asked") as caught:
        push(client_of(at("hub", realm="follow"), "hub"), repository, "v1")
    assert "the token URL if you trust it" in caught.value.mend
    assert lab.registry("hub").realm.startswith("http://")
    assert push(client_of(at("hub"), "hub"), repository, "v1")


def git(root: Path, *words: str) -> str:
    argv = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "commit", "--quiet", "--allow-empty", "--message=one")
    return root


POLICY = parse(["branch", "sha", "tag", "semver:{{version}}", "semver:{{major}}.{{minor}}", "raw:main-latest@main", "sortable"])


def released(client: Client, repository: str, source: Source, words: str) -> tuple[str, dict[str, str], list[str]]:
    """Build, push by digest and tag as the policy says: the digest, what each moved tag stood for, what stayed."""
    ref = ref_of(source, env={})
    given = tags(POLICY, ref)
    said = {name.removeprefix(LABEL): text for name, text in labels(given, ref).items()}
    digest = push(client, repository, f"build-{secrets.token_hex(4)}", words, **said)
    placed = retag(client, repository, digest, given.all, ref, is_ancestor(source))
    return digest, {each.tag: each.before for each in moved(client, repository, placed)}, [each.tag.name for each in placed if each.kept]


@pytest.mark.parametrize("face", FACES)
def test_tags_of_a_branch_and_of_releases(at: At, face: str, repository: str, work: Path) -> None:
    client = client_of(at(face), face)
    git(work, "tag", "v1.2.3")
    first_source = snapshot(work)
    first, written, kept = released(client, repository, first_source, "one")
    time = ref_of(first_source, env={}).time
    names = {
        "main",
        "main-latest",
        "1.2.3",
        "1.2",
        "v1.2.3",
        "latest",
        f"sha-{first_source.commit[:7]}",
        f"main-{first_source.commit[:7]}-{time}",
    }
    assert set(written) == names
    assert set(written.values()) == {""}
    assert {client.head(repository, name) for name in names} == {first}

    git(work, "commit", "--quiet", "--allow-empty", "--message=two")
    git(work, "tag", "v1.3.0")
    second, written, kept = released(client, repository, snapshot(work), "two")
    assert {name: before for name, before in written.items() if before} == {"main": first, "main-latest": first, "latest": first}
    assert kept == []

    git(work, "checkout", "--quiet", "-B", "main", first_source.commit)  # an old commit, and a release of the line before
    git(work, "tag", "v1.2.4")
    git(work, "tag", "--delete", "v1.2.3")
    with pytest.raises(IntegrityError, match=f"tag (main|sha)-{first_source.commit[:7]}.* .* another image already"):
        released(client, repository, snapshot(work), "another build of the same commit")
    git(work, "commit", "--quiet", "--amend", "--allow-empty", "--message=three")
    git(work, "tag", "--force", "v1.2.4")
    fourth, written, kept = released(client, repository, snapshot(work), "four")
    assert kept == ["latest"]
    assert written["1.2"] == first
    assert client.head(repository, "latest") == second
    assert client.head(repository, "main") == fourth, "a branch that was rewritten is another line of history, and moves"


def test_a_branch_s_tag_stays_where_an_old_commit_is_released_again(at: At, repository: str, work: Path) -> None:
    client = client_of(at("ghcr"), "ghcr")
    old = git(work, "rev-parse", "HEAD")
    git(work, "commit", "--quiet", "--allow-empty", "--message=two")
    new, _, _ = released(client, repository, snapshot(work), "two")
    git(work, "checkout", "--quiet", "-B", "main", old)
    _, written, kept = released(client, repository, snapshot(work), "one")
    assert kept == ["main", "main-latest"]
    assert set(written) == {f"sha-{old[:7]}", next(name for name in written if name.startswith("main-"))}
    assert client.head(repository, "main-latest") == new


def test_an_image_that_ci_built_is_found_by_its_commit_and_by_main_latest(at: At, repository: str, work: Path) -> None:
    site = at("ghcr")
    source = snapshot(work)
    spec = Tagged("ghcr", repository, default_tag="main-latest")
    with pytest.raises(ConfigError, match="no image under any tag"):
        tagged.make(spec, source, site)
    digest, _, _ = released(client_of(site, "ghcr"), repository, source, "one")
    for text in ("", "sha-{short}", digest):
        found = tagged.find(dataclasses.replace(spec, tag=text), source, site)
        assert isinstance(found.artifact, Images)
        assert found.artifact.images[0].reference == f"{site.registry('ghcr').address}/{repository}@{digest}"
        assert f"built from commit {source.commit[:7]}" in found.why
    with pytest.raises(ConfigError, match="did you mean 'main-latest'"):
        tagged.make(dataclasses.replace(spec, tag="main-lates"), source, site)


@pytest.fixture
def app(tmp_path: Path, lab_site_file: Path) -> Iterator[Copy]:
    with copy(tmp_path, lab_site_file) as made:
        made.write("web/Dockerfile", f"{BASE}COPY text /text\n")
        made.write("web/text", f"{made.space}\n")
        made.commit()
        yield made


def test_a_commit_that_is_released_later_keeps_its_image(app: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two workflow runs see it: one for the branch, then one for the git tag, on machines that know nothing of each other."""
    blueprint = app.blueprint({"web": {}}, tags=["branch", "sha", "tag"])
    commit = app.git("rev-parse", "HEAD")
    made: list[Images] = []
    for name in ("refs/heads/main", "refs/tags/v1.0.0"):
        for variable, value in {"GITHUB_ACTIONS": "true", "GITHUB_SHA": commit, "GITHUB_REF": name}.items():
            monkeypatch.setenv(variable, value)
        with app.site(blueprint, name.replace("/", "-")) as site:
            artifact = runner.run(blueprint.plan, site)[-1].artifact
            assert isinstance(artifact, Images)
            made.append(artifact)
            client = client_of(site, "ghcr")
            kept = site.records.last("build")
            assert kept is not None
            assert isinstance(kept.artifact, Images)
            assert kept.artifact.moved == artifact.moved
            place = f"{app.space}/web"
            heads = {tag: client.head(place, tag) or "" for tag in client.tags(place) if not tag.startswith("built-")}
            found = {tag: named.image_of(client, place, head) for tag, head in heads.items()}
    assert app.built() == ["web"], "once"
    assert made[0].images[0].digest == made[1].images[0].digest
    assert found == dict.fromkeys(("main", f"sha-{commit[:7]}", "v1.0.0", "latest"), made[0].images[0].digest)
    assert [(each.tag, each.before) for each in made[1].moved] == [("v1.0.0", ""), ("latest", "")]
