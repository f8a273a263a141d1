"""This machine: programs, files, secrets, and proxies that would catch the LAN."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.deploy.manifest_spec import Kubecfg
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.doctor import workstation
from pipeline.doctor.verdict import Verdict, ask_all
from pipeline.drivers import driver
from pipeline.environment import AUTHORITIES
from pipeline.push.skopeo import Spec as Skopeo
from pipeline.stage import Cluster, Registry, Remote, Site, Stage
from pipeline.sync.git import Git

from .parts import by_name, program, site

HELM = Helm("k3s", "shop", "web", secret=SecretSpec("web", {"KEY": "env:KEY"}))


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*workstation.PROXIES, *AUTHORITIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "chart").mkdir(parents=True)
    (folder / "chart/Chart.yaml").write_text("name: web\nversion: 1.0.0\n")
    (folder / ".gitignore").write_text(".pipeline/\nrecords.db*\n")
    for words in (("init", "-q"), ("add", "-A"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def there(root: Path, helm: str, env: dict[str, str] | None = None) -> Site:
    return site(
        root,
        remotes={"gitea": Remote("https://10.0.0.7/{app}.git")},
        registries={"lan": Registry("10.0.0.1:32166", "http", "own")},
        clusters={"k3s": Cluster("absent", ingress="http://10.0.0.2:80")},
        tools={"helm": helm},
        env={"KEY": "a-secret-of-this-test"} if env is None else env,
    )


def look(root: Path, *, helm: str = "", env: dict[str, str] | None = None) -> dict[str, Verdict]:
    stages = []
    for verb, name, spec in (
        ("sync", "git", Git("seed", "gitea")),
        ("push", "skopeo", Skopeo("lan", "team/app")),
        ("deploy", "helm", HELM),
    ):
        found = driver(verb, name)
        assert found
        stages.append(Stage(verb, found, spec))
    helm = helm or str(program(root.parent / "bin", "helm", "echo v3.18.4+gd80839c"))
    with there(root, helm, env) as site_:
        return by_name(ask_all(workstation.checks(tuple(stages), site_)))


def test_all_is_well(root: Path) -> None:
    found = look(root)
    assert {verdict.status for verdict in found.values()} == {"ok"}, found
    assert "a-secret-of-this-test" not in str(found)
    assert set(found) == {"git", "ssh", "helm", "clock", "working copy", "files", "chart", "secrets", "proxies"}


@pytest.mark.parametrize(("said", "word"), [("echo v3.12.0", "too old"), ("echo hello", "not helm")])
def test_a_helm_that_will_not_do(root: Path, said: str, word: str) -> None:
    verdict = look(root, helm=str(program(root.parent / "old", "helm", said)))["helm"]
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert word in verdict.evidence


def test_a_helm_that_is_not_there_comes_with_where_to_name_it(root: Path) -> None:
    verdict = look(root, helm="/nowhere/helm")["helm"]
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert "tools: {helm:" in verdict.mend


def test_a_git_that_is_not_there() -> None:
    (verdict,) = workstation.program("git", ("/nowhere/git", "--version"))
    assert verdict.mend == "apt-get install git"


def test_a_secret_that_cannot_be_read_is_told_now_and_not_in_the_middle_of_a_deploy(root: Path) -> None:
    verdict = look(root, env={})["secrets"]
    assert (verdict.status, verdict.code) == ("fail", 11)
    assert "export KEY=" in verdict.mend


def test_untracked_secrets_are_told_and_tracked_ones_fail(root: Path) -> None:
    (root / ".env").write_text("PASSWORD=correct-horse")
    untracked = look(root)["files"]
    assert untracked.status == "warn"
    assert "'.env'" in untracked.evidence
    subprocess.run(["git", "-C", str(root), "add", ".env"], check=True)
    subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "oops"], check=True)
    tracked = look(root)["files"]
    assert (tracked.status, tracked.code) == ("fail", 2)
    assert "git rm --cached" in tracked.mend


def test_of_a_dockerfile_only_its_context_is_judged_as_the_build_does(root: Path) -> None:
    (root / "web").mkdir()
    (root / "web/Dockerfile").write_text("FROM scratch\n")
    (root / ".env").write_text("PASSWORD=correct-horse")
    for words in (("add", "--all", "--force", "web", ".env"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "two")):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    found = driver("build", "buildx")
    assert found

    def judged(context: str) -> Verdict:
        spec = Buildx("lan", {"web": ImageSpec("team/web", context=context, dockerfile="web/Dockerfile")})
        with there(root, "helm") as site_:
            plan = (Stage("build", found, spec),)
            return by_name(ask_all([check for check in workstation.checks(plan, site_) if check.name == "files"]))["files"]

    assert judged("web").status == "ok"
    assert "the contexts of its images" in judged("web").evidence
    assert (judged(".").status, judged(".").code) == ("fail", 2)


def test_a_folder_that_is_no_working_copy(tmp_path: Path) -> None:
    with there(tmp_path, "helm") as site_:
        found = by_name(ask_all([check for check in workstation.checks((), site_) if check.name == "files"]))
    assert found["files"].code == 2


def test_p22_a_proxy_that_would_catch_the_lan_is_told_with_the_line_that_lets_it_through(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:hunter2@proxy.example:3128")
    verdict = look(root)["proxies"]
    assert verdict.status == "warn"
    assert "HTTPS_PROXY=proxy.example:3128" in verdict.evidence
    assert "hunter2" not in str(verdict)
    assert verdict.mend == "export no_proxy=10.0.0.1,10.0.0.2,10.0.0.7"
    monkeypatch.setenv("no_proxy", "localhost,10.0.0.0/8")
    assert look(root)["proxies"].status == "ok"


def test_a_clock_that_is_years_behind() -> None:
    class Old:
        def now(self) -> float:
            return 86_400.0

    class Behind:
        clock = Old()

    (verdict,) = workstation._clock(Behind())  # type: ignore[arg-type]  # the one thing it looks at
    assert (verdict.status, verdict.code) == ("fail", 2)


def test_manifests_and_their_tool_are_looked_at(root: Path, tmp_path: Path) -> None:
    (root / "manifests").mkdir()
    (root / "manifests/web.jsonnet").write_text("(import 'https://example.org/k.libsonnet')")
    found = driver("deploy", "kubecfg")
    assert found
    spec = Kubecfg("k3s", "shop", "web", secret=SecretSpec("web", {"KEY": "env:KEY"}))
    tool = str(program(tmp_path, "kubecfg", "echo kubecfg version: v0.34.3"))
    with site(root, clusters={"k3s": Cluster("absent")}, tools={"kubecfg": tool}, env={"KEY": "a-secret-of-this-test"}) as there_:
        verdicts = by_name(ask_all(workstation.checks((Stage("deploy", found, spec),), there_)))
        assert verdicts["kubecfg"].evidence == "kubecfg version: v0.34.3"
        assert verdicts["secrets"].evidence == "KEY can be read"
        assert "is imported from outside" in verdicts["manifests"].evidence
        (root / "manifests/web.jsonnet").write_text("{}")
        verdicts = by_name(ask_all(workstation.checks((Stage("deploy", found, spec),), there_)))
        assert verdicts["manifests"].evidence == "manifests/web.jsonnet, made from 1 files"


def test_what_a_tool_does_not_get_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TRACE_CURL", "1")
    monkeypatch.setenv("HELM_NAMESPACE", "other")
    found = look(root)
    assert "of your environment it does not get" in found["git"].evidence
    assert "GIT_TRACE_CURL" in found["git"].evidence
    assert "HELM_NAMESPACE" in found["helm"].evidence
    assert "other" not in found["helm"].evidence


def test_without_ssh_it_is_said_how_its_files_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.doctor.workstation.shutil.which", lambda _name: None)
    (verdict,) = workstation._ssh(needed=False)
    assert (verdict.status, verdict.mend) == ("warn", "apt-get install openssh-client")
    assert "no Include, no Match final" in verdict.evidence


def test_the_way_out_and_whose_certificates_count_are_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    monkeypatch.setenv("ALL_PROXY", "http://anna:hunter2@proxy.example:3128")
    said = look(root)["proxies"].evidence
    assert "our requests, helm, kubectl, git and Terraform: proxy.example:3128 by ALL_PROXY, with a login" in said
    assert "hunter2" not in said
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    socks = look(root)["proxies"]
    assert (socks.status, "ALL_PROXY is a SOCKS proxy, and not used" in socks.evidence) == ("warn", True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    broken = look(root)["proxies"]
    assert (broken.status, broken.code) == ("fail", 2)
    assert "REQUESTS_CA_BUNDLE names" in broken.evidence
