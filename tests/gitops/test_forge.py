"""Deploy keys: known with the right they shall have, and with no other; on Gitea by its API, on GitHub by gh."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError, PipelineError, RateLimited, Transient
from pipeline.gitops import forge
from pipeline.gitops.spec import Forge
from pipeline.host.local import LocalHost
from pipeline.tools.origin import Origin
from tests.gitops.gitea import LOGIN, TOKEN, Gitea, serving

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA flux"


@pytest.fixture
def service() -> Iterator[Gitea]:
    with serving(Gitea()) as made:
        yield made


@pytest.fixture
def gitea(service: Gitea) -> Iterator[forge.Gitea]:
    origin = Origin("http", service.address)
    yield forge.Gitea(origin, "", LOGIN, "coulomb", "fade-gitops", "coulomb")
    origin.close()


def gh(folder: Path, script: str) -> forge.GitHub:
    """GitHub by a stand-in that writes down its arguments, then does what `script` says."""
    program = folder / "gh"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {folder}/argv\nprintf "\\n" >> {folder}/argv\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return forge.GitHub("owner", "fade-gitops", LocalHost(), str(program))


def argv(folder: Path) -> list[str]:
    return [line.replace("|", " ").strip() for line in (folder / "argv").read_text().splitlines()]


def test_a_repository_is_made_once(service: Gitea, gitea: forge.Gitea) -> None:
    assert gitea.create()
    assert not gitea.create()
    assert list(service.keys) == ["coulomb/fade-gitops"]
    assert service.asked.count("POST /api/v1/user/repos") == 1


def test_a_repository_of_an_organization_is_made_there(service: Gitea) -> None:
    origin = Origin("http", service.address)
    assert forge.Gitea(origin, "", TOKEN, "team", "fade-gitops").create()
    assert list(service.keys) == ["team/fade-gitops"]
    with pytest.raises(ConfigError, match="has no user and no organization nobody"):
        forge.Gitea(origin, "", TOKEN, "nobody", "fade-gitops").create()
    origin.close()


def test_a_key_is_known_once_and_may_read(service: Gitea, gitea: forge.Gitea) -> None:
    gitea.create()
    assert forge.registered(gitea, "flux", KEY, read_only=True) == "flux is known there, and may read"
    assert forge.registered(gitea, "flux", KEY, read_only=True) == ""
    [known] = gitea.known()
    assert (known.title, known.read_only, known.key) == ("flux", True, KEY)


def test_another_right_is_another_key_and_others_stay(service: Gitea, gitea: forge.Gitea) -> None:
    gitea.create()
    gitea.add("somebody", "ssh-ed25519 BBBB somebody", read_only=False)
    forge.registered(gitea, "flux", KEY, read_only=True)
    assert forge.registered(gitea, "flux", KEY, read_only=False) == "flux may read and write now"
    assert [(each.title, each.read_only) for each in gitea.known()] == [("somebody", False), ("flux", False)]


def test_a_key_with_another_comment_is_the_same_key(gitea: forge.Gitea) -> None:
    gitea.create()
    gitea.add("flux", KEY.rpartition(" ")[0], read_only=True)
    assert forge.registered(gitea, "flux", KEY, read_only=True) == ""


@pytest.mark.parametrize(
    ("method", "status", "kind"),
    [
        ("GET", 401, AuthError), ("GET", 403, AuthError), ("GET", 500, Transient), ("POST", 502, Ambiguous), ("GET", 429, RateLimited),
        ("POST", 422, ConfigError), ("POST", 403, AuthError),
    ],
)  # fmt: skip
def test_what_gitea_refuses(service: Gitea, gitea: forge.Gitea, method: str, status: int, kind: type[PipelineError]) -> None:
    gitea.create()
    service.faults.append((method, status))
    with pytest.raises(kind) as refused:
        forge.registered(gitea, "flux", KEY, read_only=True)
    assert type(refused.value) is kind
    assert "c2VjcmV0" not in f"{refused.value} {refused.value.cause} {gitea}"


def test_keys_of_a_repository_that_is_not_shown(gitea: forge.Gitea) -> None:
    with pytest.raises(ConfigError, match="shows no repository coulomb/fade-gitops"):
        gitea.known()


def test_github_is_asked_by_gh(tmp_path: Path) -> None:
    listed = json.dumps([{"id": 7, "title": "flux", "key": KEY, "read_only": False}])
    hub = gh(tmp_path, f"case \"$*\" in *keys?per_page*) echo '{listed}';; esac")
    assert forge.registered(hub, "flux", KEY, read_only=True) == "flux may read now"
    assert argv(tmp_path) == [
        "api -- repos/owner/fade-gitops/keys?per_page=100",
        "api --method DELETE -- repos/owner/fade-gitops/keys/7",
        f"api --method POST -f title=flux -f key={KEY} -F read_only=true -- repos/owner/fade-gitops/keys",
    ]


def test_github_makes_the_repository_where_it_is_not_there(tmp_path: Path) -> None:
    missing = 'case "$1" in api) echo "gh: Not Found (HTTP 404)" >&2; exit 1;; esac'
    assert gh(tmp_path, missing).create()
    assert argv(tmp_path) == ["api -- repos/owner/fade-gitops", "repo create --private -- owner/fade-gitops"]
    assert not gh(tmp_path, "echo {}").create()


@pytest.mark.parametrize(
    ("script", "kind"),
    [('echo "gh: Bad credentials (HTTP 401)" >&2; exit 1', AuthError), ("exit 127", ConfigError), ("echo none", IntegrityError)],
)
def test_what_gh_refuses(tmp_path: Path, script: str, kind: type[PipelineError]) -> None:
    with pytest.raises(kind):
        gh(tmp_path, script).known()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("ssh://git@h:22/owner/name.git", ("owner", "name")), ("git@github.com:owner/name.git", ("owner", "name")),
        ("https://h/group/owner/name", ("owner", "name")),
    ],
)  # fmt: skip
def test_which_repository_an_address_means(url: str, found: tuple[str, str]) -> None:
    assert forge.owner_and_name(url) == found


def test_an_address_that_means_none() -> None:
    with pytest.raises(ConfigError, match="does not name a repository as OWNER/NAME"):
        forge.owner_and_name("ssh://git@h/name.git")


def test_which_forge_is_asked(tmp_path: Path) -> None:
    from pipeline.records import Records
    from pipeline.secrets import Secrets
    from pipeline.stage import Registry, Site

    registry = Registry("127.0.0.1:1", "http", username="coulomb", password="env:SECRET")
    site = Site(
        "fade", tmp_path, {}, {}, {"lab": registry}, {}, {"gh": "/bin/gh"}, {}, Records(tmp_path / "r.db"), Secrets({"SECRET": "secret"})
    )
    with site:
        by_registry = forge.open_forge(Forge("gitea", registry="lab"), "ssh://git@h/coulomb/x.git", site)
        assert isinstance(by_registry, forge.Gitea)
        assert (by_registry.authorization, by_registry.user, str(by_registry.origin)) == (LOGIN, "coulomb", "http://127.0.0.1:1")
        by_api = forge.open_forge(Forge("gitea", api="https://git.test/sub/", token="env:SECRET"), "ssh://git@h/coulomb/x.git", site)
        assert isinstance(by_api, forge.Gitea)
        assert (by_api.authorization, by_api.prefix, str(by_api.origin)) == ("token secret", "/sub", "https://git.test")
        assert site.secrets.mask(f"x {LOGIN}") == "x Basic [secret]"
        hub = forge.open_forge(Forge("github"), "git@github.com:owner/x.git", site)
        assert isinstance(hub, forge.GitHub)
        assert (hub.owner, hub.name, hub.program) == ("owner", "x", "/bin/gh")
