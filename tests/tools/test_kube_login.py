"""Who asks: exec plugins, files that are written anew, what the tools get, and that nobody is asked without an identity."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from pipeline.errors import AuthError, ConfigError
from pipeline.secrets import Secrets
from pipeline.stage import Cluster
from pipeline.testing.kube import TOKEN, FakeKube
from pipeline.tools import helm, kube_login, kubecfg, kubeconfig, kubectl, private
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_status import Asked, refused
from pipeline.tools.kubeconfig import access_of, load

ONE = path("v1", "configmaps", "shop", "one")
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    server = FakeKube(tmp_path)
    yield server
    server.close()


def config(fake: FakeKube, user: dict[str, Any], name: str = "kubeconfig", **cluster: Any) -> Path:
    file = fake.kubeconfig(name)
    value = json.loads(file.read_text())
    value["users"][0]["user"] = user
    value["clusters"][0]["cluster"] |= cluster
    file.write_text(json.dumps(value))
    return file


def plugin(folder: Path, *tokens: str, ends: str = "", name: str = "plugin") -> dict[str, Any]:
    """An exec plugin that gives one token after another, the last for ever, and writes down what it was told."""
    script = folder / name
    lines = "\n".join(tokens)
    (folder / f"{name}.tokens").write_text(lines + "\n")
    status = '{"token": "\'$token\'"' + (f', "expirationTimestamp": "{ends}"' if ends else "") + "}"
    script.write_text(f"""#!/bin/sh
cd {folder}
printf '%s\\n' "$KUBERNETES_EXEC_INFO" >> {name}.told
count=$(wc -l < {name}.told)
token=$(sed -n "${{count}}p" {name}.tokens)
[ -n "$token" ] || token=$(tail -n 1 {name}.tokens)
printf '%s' '{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {status}}}'
""")
    script.chmod(0o700)
    return {"exec": {"apiVersion": V1, "command": str(script), "interactiveMode": "IfAvailable"}}


def runs(folder: Path, name: str = "plugin") -> list[Any]:
    file = folder / f"{name}.told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_d08_a_plugin_is_asked_once_and_its_token_shown(fake: FakeKube, tmp_path: Path) -> None:
    secrets = Secrets()
    access = load(str(config(fake, plugin(tmp_path, TOKEN))), guard=secrets.guard)
    assert runs(tmp_path) == []  # a look at the kubeconfig contacts nobody
    kube = Kube(access).warm()
    assert kube.get(ONE) is None
    assert kube.get(ONE) is None
    kube.close()
    assert [each["kind"] for each in runs(tmp_path)] == ["ExecCredential"]
    assert TOKEN not in secrets.mask(f"Bearer {TOKEN}")
    assert TOKEN not in repr(access)


def test_d08_the_official_client_gets_the_same_of_the_same_plugin(fake: FakeKube, tmp_path: Path) -> None:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "us"}}
    user = plugin(tmp_path, TOKEN)
    user["exec"] |= {"provideClusterInfo": True, "env": [{"name": "AWS_PROFILE", "value": "shop"}]}
    file = config(fake, user, extensions=[extension])
    ours = load(str(file)).login.credentials()
    theirs = Configuration()
    load_kube_config(str(file), "fake", theirs, persist_config=False)  # type: ignore[no-untyped-call]  # ships no types
    key = theirs.api_key.get("BearerToken") or theirs.api_key.get("authorization")  # renamed with version 36
    assert key == f"Bearer {ours.token}" == f"Bearer {TOKEN}"
    mine, other = runs(tmp_path)
    assert mine["spec"]["cluster"]["server"] == other["spec"]["cluster"]["server"]
    assert mine["spec"]["cluster"]["config"] == other["spec"]["cluster"]["config"] == {"audience": "us"}
    assert (mine["apiVersion"], mine["kind"]) == (other["apiVersion"], other["kind"])
    assert base64.b64decode(mine["spec"]["cluster"]["certificate-authority-data"]).decode() == fake.ca


def test_d08_a_token_that_ends_within_the_run_is_renewed(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_login, "LEAST", 0.0)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + kube_login.EARLY - 1))
    access = load(str(config(fake, plugin(tmp_path, "first", TOKEN, ends=soon))))
    access.login._least = 0.0
    assert [access.login.credentials().token for _ in range(2)] == ["first", TOKEN]
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 900))
    access = load(str(config(fake, plugin(tmp_path, "first", "second", ends=later, name="eks"))))
    assert [access.login.credentials().token for _ in range(2)] == ["first", "first"]


@pytest.mark.parametrize("write", [False, True])
def test_d08_a_401_asks_the_plugin_once_more(fake: FakeKube, tmp_path: Path, write: bool) -> None:
    kube = Kube(load(str(config(fake, plugin(tmp_path, "withdrawn", TOKEN)))))
    if write:
        kube.apply(ONE, {"metadata": {"name": "one"}})
    assert (kube.get(ONE) is not None) == write
    assert len(runs(tmp_path)) == 2
    kube.close()


def test_d08_a_401_that_a_new_token_does_not_mend_is_said(fake: FakeKube, tmp_path: Path) -> None:
    kube = Kube(load(str(config(fake, plugin(tmp_path, "withdrawn")))))
    with pytest.raises(AuthError, match="does not know these credentials"):
        kube.get(ONE)
    assert len(runs(tmp_path)) == 2
    kube.close()


def test_d08_a_watch_is_asked_for_again_too(fake: FakeKube, tmp_path: Path) -> None:
    kube = Kube(load(str(config(fake, plugin(tmp_path, "withdrawn", TOKEN)))))
    fake.put(ONE, {"metadata": {"name": "one"}})
    watch = kube.watch(path("v1", "configmaps", "shop"), seconds=1)
    assert [value["metadata"]["name"] for _, value in watch] == ["one"]
    kube.close()


def test_d08_a_rotated_token_file_is_read_again(fake: FakeKube, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    secrets = Secrets()
    kube = Kube(load(str(config(fake, {"tokenFile": "token"})), guard=secrets.guard))
    assert kube.get(ONE) is None
    (tmp_path / "token").write_text("a-later-token")
    with pytest.raises(AuthError):
        kube.get(ONE)
    assert secrets.mask("a-later-token") == "[secret]"
    (tmp_path / "token").write_text("")
    with pytest.raises(AuthError, match="is empty"):
        kube.get(ONE)
    kube.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('echo "Unable to locate credentials. aws sso login" >&2; exit 255', "aws sso login"),
        ("echo not json", "no ExecCredential"),
        ("echo '[1]'", "no ExecCredential"),
        ("echo '{}'", "no ExecCredential"),
        (f"""echo '{{"apiVersion": "{V1}", "status": {{}}}}'""", "neither a token nor a certificate"),
        (f"""echo '{{"apiVersion": "{V1}", "status": {{"clientCertificateData": "x"}}}}'""", "neither a token nor a certificate"),
        (f"""echo '{{"apiVersion": "{V1}beta1", "status": {{"token": "canary-token"}}}}'""", "v1beta1"),
        (f"""echo '{{"apiVersion": "{V1}", "status": {{"token": "canary-token", "expirationTimestamp": "x"}}}}'""", "isoformat"),
        ("""echo '{"status": {"token": "canary-token"'; exit 1""", "exit 1"),
    ],
)
def test_d08_a_plugin_without_an_identity_is_named_with_its_output(fake: FakeKube, tmp_path: Path, body: str, said: str) -> None:
    user = plugin(tmp_path, TOKEN)
    (tmp_path / "plugin").write_text(f"#!/bin/sh\n{body}\n")
    kube = Kube(load(str(config(fake, user))))
    with pytest.raises(AuthError) as caught:
        kube.get(ONE)
    assert str(tmp_path / "plugin") in caught.value.what
    assert said in caught.value.cause
    assert "canary-token" not in caught.value.what + caught.value.cause + caught.value.mend
    assert fake.asked == []  # never anonymously
    kube.close()


def test_d08_a_plugin_that_is_not_installed_or_does_not_end(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"exec": {"apiVersion": V1, "command": "no-such-plugin", "installHint": "gcloud components install no-such-plugin"}}
    with pytest.raises(AuthError, match="cannot be run") as caught:
        load(str(config(fake, user))).login.credentials()
    assert caught.value.mend == "gcloud components install no-such-plugin"
    monkeypatch.setattr(kube_login, "PATIENCE", 0.3)
    slow = plugin(tmp_path, TOKEN)
    (tmp_path / "plugin").write_text("#!/bin/sh\necho open this page >&2\nsleep 60 & wait\n")
    with pytest.raises(AuthError, match="gave no identity within") as caught:
        load(str(config(fake, slow))).login.credentials()
    assert "open this page" in caught.value.cause
    always = plugin(tmp_path, TOKEN)
    always["exec"]["interactiveMode"] = "Always"
    with pytest.raises(AuthError, match="wants a terminal"):
        load(str(config(fake, always))).login.credentials()


def test_d08_a_certificate_of_a_plugin_is_shown(fake: FakeKube, tmp_path: Path) -> None:
    user = plugin(tmp_path, TOKEN)
    status = {"token": TOKEN, "clientCertificateData": fake.ca, "clientKeyData": "no key"}
    (tmp_path / "answer").write_text(json.dumps({"apiVersion": V1, "status": status}))
    (tmp_path / "plugin").write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    kube = Kube(load(str(config(fake, user))))
    with pytest.raises(ConfigError, match="broken certificate or key"):
        kube.get(ONE)
    kube.close()


def jwt(**claims: Any) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "x"}, claims, {}))


@pytest.mark.parametrize(
    ("provider", "what", "mend"),
    [
        ({"name": "gcp", "config": {"access-token": "x"}}, "dropped the auth-provider 'gcp'", "get-credentials"),
        ({"name": "azure"}, "dropped the auth-provider 'azure'", "kubelogin"),
        ({"name": "oidc", "config": {"id-token": jwt(exp=1)}}, "has ended", "kubectl"),
        ({"name": "oidc", "config": {}}, "no OIDC token", "kubectl"),
    ],
)
def test_d08_an_auth_provider_that_gives_nothing_is_an_auth_error(fake: FakeKube, provider: dict[str, Any], what: str, mend: str) -> None:
    with pytest.raises(AuthError, match=what) as caught:
        load(str(config(fake, {"auth-provider": provider})))
    assert mend in caught.value.mend


def test_d08_an_oidc_token_is_shown_while_it_holds(fake: FakeKube) -> None:
    token = jwt(exp=time.time() + 600)
    access = load(str(config(fake, {"auth-provider": {"name": "oidc", "config": {"id-token": token}}})))
    assert access.login.credentials().token == token
    assert access.user == {"token": token}  # the tools' client would write what it renews into a file that goes away


@pytest.mark.parametrize("user", [{}, {"token": ""}])
def test_d08_no_request_without_an_identity(fake: FakeKube, user: dict[str, Any]) -> None:
    with pytest.raises(AuthError, match="names no credentials"):
        load(str(config(fake, user)))


def test_d08_acting_as_somebody_else_is_refused(fake: FakeKube) -> None:
    with pytest.raises(ConfigError, match="acts as somebody else"):
        load(str(config(fake, {"token": TOKEN, "as": "system:admin"})))


NOBODY = 'secrets is forbidden: User "system:anonymous" cannot list resource "secrets" in API group "" in the namespace "shop"'


def test_d08_nobody_is_given_rights() -> None:
    asked = Asked("list", "secrets", "shop", server="api.test")
    errors = [
        refused(asked, 403, {}, json.dumps({"message": NOBODY}).encode()),
        helm.failure(1, f"Error: {NOBODY}"), kubectl.TOOL.failure(1, f"Error from server (Forbidden): {NOBODY}"),
        kubecfg.TOOL.failure(1, f"ERROR {NOBODY}"),
    ]  # fmt: skip
    for error in errors:
        assert isinstance(error, AuthError)
        assert "allow" not in error.mend
        assert "grant" not in error.mend
        assert "credentials that this cluster knows" in error.mend
    known = refused(asked, 403, {}, json.dumps({"message": NOBODY.replace("system:anonymous", "jane")}).encode())
    assert "allow this user to list secrets" in known.mend


def test_d08_the_tools_get_what_plugins_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"AWS_PROFILE": "shop", "GOOGLE_APPLICATION_CREDENTIALS": "/k.json", "AZURE_CONFIG_DIR": "/a", "CLOUDSDK_CONFIG": "/g",
             "HOME": "/home/jane", "PATH": "/bin"}  # fmt: skip
    left = {"KUBECONFIG": "/k", "HELM_KUBETOKEN": "x", "REGISTRY_PASSWORD": "canary", "KUBECTL_EXTERNAL_DIFF": "x"}
    for tool in (helm, kubectl, kubecfg):
        found = tool.environment({**given, **left}, "/cache")
        assert given.items() <= found.items()
        assert not left.keys() & found.keys()


# what the tools get


def test_k06_the_tools_get_a_private_kubeconfig_of_what_was_checked(fake: FakeKube, tmp_path: Path) -> None:
    user = plugin(tmp_path, TOKEN)
    file = config(fake, user)
    value = json.loads(file.read_text())
    value["users"].append({"name": "root", "user": {"token": "another-token"}})
    value["contexts"].append({"name": "production", "context": {"cluster": "fake", "user": "root"}})
    file.write_text(json.dumps(value))
    kube = Kube(load(str(file)))
    given = Path(kube.kubeconfig())
    assert kube.kubeconfig() == str(given)
    assert stat.S_IMODE(given.stat().st_mode) == 0o600
    assert stat.S_IMODE(given.parent.stat().st_mode) == 0o700
    file.write_text("{}")  # what is changed after the check is not what the tools read
    written = json.loads(given.read_text())
    assert "another-token" not in given.read_text()
    assert [each["name"] for each in written["contexts"]] == ["fake"]
    assert written["users"][0]["user"] == user
    again = Kube(load(str(given), "fake"))
    assert again.access.identities == kube.access.identities
    assert again.get(ONE) is None
    again.close()
    kube.close()
    assert not given.parent.exists()


def test_k06_files_that_the_kubeconfig_names_from_its_own_folder_are_named_from_the_root(fake: FakeKube, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    user = plugin(tmp_path / "bin", TOKEN)
    user["exec"]["command"] = "bin/plugin"
    assert load(str(config(fake, user))).user["exec"]["command"] == f"{tmp_path}/bin/plugin"
    user["exec"]["command"] = "plugin"  # one of PATH
    assert load(str(config(fake, user))).user["exec"]["command"] == "plugin"
    assert load(str(config(fake, {"tokenFile": "token"}))).user == {"tokenFile": f"{tmp_path}/token"}


def test_k06_the_private_kubeconfig_of_a_process_that_was_killed_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left = tmp_path / f"{private.PREFIX}999999999-x"
    left.mkdir()
    file = private.File("kubeconfig", lambda: "text")
    assert Path(file.path()).read_text() == "text"
    assert not left.exists()
    file.close()
    assert list(tmp_path.iterdir()) == []


# where it comes from


def site(root: Path, **cluster: Any) -> Any:
    return SimpleNamespace(root=root, secrets=Secrets(), cluster=lambda _name: Cluster(**cluster))


def test_d08_the_files_of_the_variable_are_merged_as_kubectl_does(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "token").write_text(TOKEN)
    first, second = tmp_path / "first", tmp_path / "other" / "second"
    base = json.loads(fake.kubeconfig().read_text())
    first.write_text(json.dumps({"contexts": base["contexts"], "users": None, "current-context": ""}))
    second.write_text(json.dumps({
        "current-context": "fake", "users": [{"name": "admin", "user": {"tokenFile": "token"}}],
        "clusters": [{"name": "fake", "cluster": {"server": f"https://127.0.0.1:{fake.port}", "certificate-authority": "../ca.pem"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "nowhere"}}],
    }))  # fmt: skip
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(first), str(tmp_path / "none"), str(second)]))
    access, _ = access_of(site(tmp_path, kubeconfig="$KUBECONFIG", context="fake"), "k")
    kube = Kube(access)
    assert kube.get(ONE) is None
    kube.close()
    with pytest.raises(ConfigError, match="is whichever"):
        access_of(site(tmp_path, kubeconfig="$KUBECONFIG"), "k")
    monkeypatch.setenv("KUBECONFIG", "")
    with pytest.raises(ConfigError, match="names no kubeconfig"):
        access_of(site(tmp_path, kubeconfig="$KUBECONFIG", context="fake"), "k")


def test_d08_in_a_pod_its_own_service_account_is_known(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="does not run in a pod"):
        access_of(site(tmp_path, kubeconfig="in-cluster"), "k")
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", TOKEN), ("namespace", "shop"), ("ca.crt", fake.ca)):
        (account / name).write_text(text)
    monkeypatch.setattr(kubeconfig, "ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
    access, _ = access_of(site(tmp_path, kubeconfig="in-cluster"), "k")
    kube = Kube(access)
    assert kube.get(ONE) is None
    assert access.namespace == "shop"
    assert json.loads(Path(kube.kubeconfig()).read_text())["users"][0]["user"] == {"tokenFile": f"{account}/token"}
    kube.close()


# what cannot be sent


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN} ", "fäke-kube-token", "fake\x00kube-token", "a\r\nX-Injected: 1"])
def test_g02_a_token_that_cannot_stand_in_a_header_names_its_source(fake: FakeKube, token: str) -> None:
    secrets = Secrets()
    with pytest.raises(ConfigError, match=r"user admin of kubeconfig .* cannot stand in an HTTP header") as caught:
        load(str(fake.kubeconfig("bad", token=token)), guard=secrets.guard)
    told = caught.value.what + caught.value.cause + caught.value.mend
    assert token.strip() not in told
    assert secrets.mask(token) in ("[secret]", "[secret]\n", "[secret] ")
