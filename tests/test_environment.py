"""What a tool gets of the environment, and the way out that all of them share."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.environment import GIT, KUBE, TERRAFORM, Rule, passed, withheld
from pipeline.errors import AuthError
from pipeline.source.repository import Repository, environment
from pipeline.stage import Remote
from pipeline.tools import git, helm, kubecfg, kubectl, terraform
from tests.sshd import Sshd

AGENTS = {
    "SSH_AUTH_SOCK": "/a",
    "GNUPGHOME": "/g",
    "DBUS_SESSION_BUS_ADDRESS": "unix:/d",
    "XDG_RUNTIME_DIR": "/run/user/1",
    "KRB5CCNAME": "/k",
}
WAY_OUT = {"HTTPS_PROXY": "http://u:p@proxy:3128", "NO_PROXY": ".lan", "SSL_CERT_FILE": "/ca.pem", "SSL_CERT_DIR": "/certs"}
CLOUDS = {
    "AWS_SECRET_ACCESS_KEY": "a", "AWS_PROFILE": "b", "GOOGLE_APPLICATION_CREDENTIALS": "/g.json", "ARM_CLIENT_SECRET": "c",
    "HCLOUD_TOKEN": "d", "GITHUB_TOKEN": "e", "CI_JOB_TOKEN": "f", "OP_SERVICE_ACCOUNT_TOKEN": "g", "SYSTEM_ACCESSTOKEN": "h",
}  # fmt: skip
PLACES = {
    "PATH": "/bin",
    "HOME": "/home/ann",
    "LD_LIBRARY_PATH": "/nix/lib",
    "NIX_PATH": "nixpkgs=/n",
    "LOCALE_ARCHIVE": "/l",
    "TMPDIR": "/t",
}
HARM = {
    GIT: ("GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_PARAMETERS", "GIT_TRACE_CURL", "GIT_SSL_NO_VERIFY", "GIT_SSH_COMMAND", "SSH_ASKPASS"),
    KUBE: ("KUBECONFIG", "HELM_NAMESPACE", "HELM_DRIVER", "KUBECTL_EXTERNAL_DIFF", "KUBECFG_JPATH", "KUBE_EDITOR", "HTTP_PROXY"),
    TERRAFORM: ("TF_CLI_ARGS_plan", "TF_LOG", "TF_WORKSPACE"),
}
TOOLS: dict[str, Callable[[Mapping[str, str]], dict[str, str]]] = {
    "helm": lambda given: helm.environment(given, "/f"), "kubectl": lambda given: kubectl.environment(given, "/f"),
    "kubecfg": lambda given: kubecfg.environment(given, "/f"), "terraform": lambda given: terraform.environment(given, "/f")[0],
}  # fmt: skip


@pytest.mark.parametrize("tool", [*TOOLS, "git"])
def test_a_tool_gets_the_users_environment(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = AGENTS | WAY_OUT | CLOUDS | PLACES
    if tool == "git":
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        found = environment()
    else:
        found = TOOLS[tool](given)
    assert given.items() <= found.items()


@pytest.mark.parametrize("rule", HARM, ids=["git", "kube", "terraform"])
def test_what_does_harm_is_withheld_and_named(rule: Rule) -> None:
    given = dict.fromkeys(HARM[rule], "x") | PLACES
    assert passed(rule, given) == PLACES
    assert withheld(rule, given) == sorted(HARM[rule])


def test_secrets_of_nobody_they_know_are_not_for_the_tools() -> None:
    secrets = {"REGISTRY_PASSWORD": "x", "GITEA_API_KEY": "x", "SESSION_SECRET": "x", "DATABASE_URL": "postgresql://u:x@db/app"}
    for rule in (GIT, KUBE):
        assert passed(rule, secrets | {"TOKENIZERS_PARALLELISM": "1", "DOCS_URL": "https://docs/x:y"}) == {
            "TOKENIZERS_PARALLELISM": "1", "DOCS_URL": "https://docs/x:y",
        }  # fmt: skip
    assert passed(TERRAFORM, secrets) == secrets, "its providers read what they please"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"https_proxy": "http://a", "HTTPS_PROXY": "http://b"}, {"https_proxy": "http://b", "HTTPS_PROXY": "http://b"}),
        ({"no_proxy": "a", "NO_PROXY": "b"}, {"no_proxy": "b", "NO_PROXY": "b"}),
        ({"https_proxy": "http://a"}, {"https_proxy": "http://a"}),
        ({"ALL_PROXY": "http://a"}, {"HTTPS_PROXY": "http://a"}),
        ({"all_proxy": "http://a", "https_proxy": "http://b"}, {"https_proxy": "http://b"}),
        ({"all_proxy": "socks5h://a"}, {}),
    ],
    ids=["both cases", "both cases of what is excluded", "one case", "ALL_PROXY", "HTTPS_PROXY before ALL_PROXY", "SOCKS"],
)
def test_every_tool_goes_the_same_way_out(given: dict[str, str], expected: dict[str, str]) -> None:
    for rule in (GIT, KUBE, TERRAFORM):
        assert passed(rule, given) == expected


@pytest.mark.parametrize("named", ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"])
def test_a_companys_authorities_count_for_every_tool_by_whichever_name(named: str) -> None:
    assert passed(GIT, {named: "/ca.pem"}).items() >= {named: "/ca.pem", "GIT_SSL_CAINFO": "/ca.pem"}.items()
    kube = passed(KUBE, {named: "/ca.pem"})
    assert kube.pop("SSL_CERT_FILE") == "/ca.pem"


def test_git_uses_the_agent_that_alone_has_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what to look at where there is neither agent nor file."""
    (tmp_path / "sshd").mkdir()
    repository = tmp_path / "app.git"
    subprocess.run(("git", "init", "-q", "--bare", str(repository)), check=True)
    agent = tmp_path / "agent"
    with (
        Sshd(tmp_path / "sshd").running() as sshd,
        subprocess.Popen(("ssh-agent", "-D", "-a", str(agent)), stdout=subprocess.DEVNULL) as process,
    ):
        while not agent.exists():
            time.sleep(0.01)
        subprocess.run(("ssh-add", "-q", str(sshd.key)), check=True, env=os.environ | {"SSH_AUTH_SOCK": str(agent)})
        sshd.key.unlink()
        remote = Remote(f"ssh://{sshd.user}@127.0.0.1:{sshd.address.port}{repository}", known_hosts=str(sshd.known))

        def ask() -> subprocess.CompletedProcess[bytes]:
            argv = Repository(tmp_path).argv(*git.list_ref(git.remote_url(remote, "app"), "HEAD"))
            return subprocess.run(argv, env=environment(git.environment(remote)), capture_output=True, check=False)

        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        done = ask()
        assert done.returncode == 0, done.stderr
        monkeypatch.delenv("SSH_AUTH_SOCK")
        error = git.remote_error(ask().stderr.decode(), "git remote gitea")
        assert isinstance(error, AuthError)
        assert "ssh-add -l" in error.mend
        process.terminate()
