"""The API client against an API in this process: what it sends, how it fails, how little it asks."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, RateLimited, Transient
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Conflict, Gone, Kube, path
from pipeline.tools.kube_paths import asked
from pipeline.tools.kubeconfig import bound, load

CONFIG = path("v1", "configmaps", "shop")
ONE = f"{CONFIG}/one"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    server = FakeKube(tmp_path)
    yield server
    server.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    client = Kube(load(str(fake.kubeconfig())), timeout=3)
    yield client
    client.close()


def made(name: str, **labels: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def test_paths_are_quoted_and_never_climb() -> None:
    assert path("apps/v1", "deployments", "shop", "web") == "/apis/apps/v1/namespaces/shop/deployments/web"
    assert path("v1", "pods", "a b", "x?y", "log") == "/api/v1/namespaces/a%20b/pods/x%3Fy/log"
    with pytest.raises(ConfigError):
        path("v1", "pods", "..", "x")


def test_a_life_of_an_object_on_one_connection(kube: Kube, fake: FakeKube) -> None:
    assert kube.get(ONE) is None
    kube.create(CONFIG, made("one", app="web"))
    kube.merge(ONE, {"data": {"a": None, "b": "2"}})
    kube.apply(ONE, {"data": {"c": "3"}})
    seen = kube.get(ONE)
    assert seen is not None
    assert seen["data"] == {"b": "2", "c": "3"}
    assert len(kube.list(CONFIG, "app=web")["items"]) == 1
    assert kube.list(CONFIG, "app=other")["items"] == []
    assert kube.delete(ONE) is True
    assert kube.delete(ONE) is False
    assert kube.connections == 1
    assert kube.requests == len(fake.asked) == 9


def test_a_list_of_metadata_leaves_the_content_where_it_is(kube: Kube) -> None:
    kube.create(CONFIG, made("one", app="web"))
    assert "data" not in kube.list(CONFIG, "app=web", metadata=True)["items"][0]


def test_somebody_elses_write_is_a_conflict(kube: Kube) -> None:
    first = kube.create(CONFIG, made("one"))
    kube.merge(ONE, {"data": {"a": "2"}})
    with pytest.raises(Conflict):
        kube.replace(ONE, first)
    with pytest.raises(Conflict):
        kube.create(CONFIG, made("one"))


def test_d08_unknown_credentials_are_named(fake: FakeKube) -> None:
    kube = Kube(load(str(fake.kubeconfig("other", token="wrong"))))
    with pytest.raises(AuthError, match="does not know these credentials"):
        kube.get(ONE)
    kube.close()


def test_d08_what_is_forbidden_is_named(kube: Kube, fake: FakeKube) -> None:
    fake.fault = lambda _m, _p: (403, {"kind": "Status", "message": "User cannot list deployments"}, {})
    with pytest.raises(AuthError) as caught:
        kube.list(path("apps/v1", "deployments", "shop"))
    assert "list deployments.apps in namespace shop" in caught.value.what
    assert caught.value.cause == "User cannot list deployments"
    assert "RoleBinding" in caught.value.mend


def test_d08_a_server_that_is_down_is_transient(kube: Kube, fake: FakeKube) -> None:
    assert kube.get(ONE) is None
    fake.stop()
    with pytest.raises(Transient, match=f"127.0.0.1:{fake.port} does not answer"):
        kube.get(ONE)
    fake.start()
    assert kube.get(ONE) is None


@pytest.mark.parametrize("message", ["etcdserver: leader changed", "raft proposal dropped", "failed calling webhook: timed out"])
def test_d09_server_faults_are_transient_for_reads_and_ambiguous_for_writes(kube: Kube, fake: FakeKube, message: str) -> None:
    fake.fault = lambda _m, _p: (500, {"kind": "Status", "message": message}, {})
    with pytest.raises(Transient) as caught:
        kube.get(ONE)
    assert not isinstance(caught.value, Ambiguous)
    assert caught.value.cause == message
    with pytest.raises(Ambiguous):
        kube.create(CONFIG, made("one"))


def test_d09_a_swallowed_answer_to_a_write_is_ambiguous_and_the_write_is_there(kube: Kube, fake: FakeKube) -> None:
    fake.fault = lambda method, _p: "swallow" if method == "POST" else None
    with pytest.raises(Ambiguous, match="whether it did create configmaps"):
        kube.create(CONFIG, made("one"))
    assert kube.get(ONE) is not None


def test_d08_an_answer_that_breaks_off_is_not_taken_for_whole(kube: Kube, fake: FakeKube) -> None:
    fake.fault = lambda method, _p: "cut"
    with pytest.raises(Transient) as caught:
        kube.get(CONFIG)
    assert "broke off" in caught.value.cause
    with pytest.raises(Ambiguous):
        kube.create(CONFIG, made("one"))


def test_a_kept_connection_that_was_dropped_costs_a_read_nothing(kube: Kube, fake: FakeKube) -> None:
    assert kube.get(ONE) is None
    drops = iter(["drop"])
    fake.fault = lambda _m, _p: next(drops, None)
    assert kube.get(ONE) is None
    assert kube.connections == 2


def test_patience_that_the_server_asks_for_is_passed_on(kube: Kube, fake: FakeKube) -> None:
    fake.fault = lambda _m, _p: (429, {"message": "slow down"}, {"Retry-After": "7"})
    with pytest.raises(RateLimited) as caught:
        kube.get(ONE)
    assert caught.value.retry_after == 7.0


def test_d12_a_terminating_namespace_is_told_in_clear_text(kube: Kube, fake: FakeKube) -> None:
    body = {"message": "unable to create new content", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    fake.fault = lambda _m, _p: (403, body, {})
    with pytest.raises(ConfigError, match="namespace shop is being deleted"):
        kube.create(CONFIG, made("one"))


@pytest.mark.parametrize(("valid", "text"), [((3600.0, 7200.0), "not valid yet"), ((-7200.0, -3600.0), "expired")])
def test_d21_a_certificate_out_of_its_time_is_explained_by_the_clock(tmp_path: Path, valid: tuple[float, float], text: str) -> None:
    fake = FakeKube(tmp_path, valid)
    kube = Kube(load(str(fake.kubeconfig())))
    with pytest.raises(ConfigError, match=text) as caught:
        kube.get(ONE)
    assert "date -u" in caught.value.mend
    assert "on this machine" in caught.value.cause
    kube.close()
    fake.close()


def test_another_server_at_that_address_is_refused(fake: FakeKube, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = FakeKube(folder)
    config = json.loads(fake.kubeconfig().read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{other.port}"
    (tmp_path / "mixed").write_text(json.dumps(config))
    kube = Kube(load(str(tmp_path / "mixed")))
    with pytest.raises(ConfigError, match="is not the cluster of this kubeconfig"):
        kube.get(ONE)
    assert other.asked == []
    kube.close()
    other.close()


def test_a_watch_gives_changes_after_a_version_and_ends(kube: Kube, fake: FakeKube) -> None:
    kube.create(CONFIG, made("one", app="web"))
    version = kube.list(CONFIG)["metadata"]["resourceVersion"]
    watch = kube.watch(CONFIG, "app=web", version, seconds=1)
    kube.create(CONFIG, made("two", app="other"))
    kube.merge(ONE, {"data": {"a": "9"}})
    assert [(kind, value["metadata"]["name"]) for kind, value in watch] == [("MODIFIED", "one")]


def test_a_watch_from_a_forgotten_version_is_gone(kube: Kube, fake: FakeKube) -> None:
    fake.kept_from = 100
    with pytest.raises(Gone):
        list(kube.watch(CONFIG, "", "5", seconds=1))


def test_a_connection_that_comes_back_after_the_end_is_let_go(kube: Kube, fake: FakeKube) -> None:
    """A watcher that is asked to end may be in the middle of a request: nobody would close what it gives back then."""
    asking, ended = threading.Event(), threading.Event()

    def slow(_method: str, _path: str) -> None:
        asking.set()
        ended.wait(5)

    fake.fault = slow
    thread = threading.Thread(target=kube.get, args=(ONE,))
    thread.start()
    assert asking.wait(5)
    kube.close()
    ended.set()
    thread.join(5)
    assert kube._idle == []


def test_a_watch_can_be_closed_from_another_thread(kube: Kube) -> None:
    watch = kube.watch(CONFIG, "", kube.list(CONFIG)["metadata"]["resourceVersion"], seconds=30)
    threading.Timer(0.05, watch.close).start()
    assert list(watch) == []


def test_logs_of_a_container_that_never_ran_are_empty(kube: Kube, fake: FakeKube) -> None:
    fake.logs["web-1/app/previous"] = "boom\n"
    assert kube.logs("shop", "web-1", "app", previous=True) == "boom\n"
    assert kube.logs("shop", "web-1", "app") == ""


def test_a_warm_connection_is_the_one_the_first_request_takes(fake: FakeKube) -> None:
    kube = Kube(load(str(fake.kubeconfig()))).warm()
    kube.get(ONE)
    assert kube.connections == 1
    kube.close()


def test_the_clusters_identity_is_its_ca(fake: FakeKube) -> None:
    access = load(str(fake.kubeconfig()))
    (identity,) = access.identities
    assert bound(access, f"SHA256:{identity.upper()}") == ""
    assert bound(access, "") == f"identity: sha256:{identity}"
    with pytest.raises(ConfigError, match="another cluster") as caught:
        bound(access, "sha256:" + "0" * 64)
    assert identity in caught.value.cause
    assert "0" * 64 in caught.value.cause


def test_certificate_checks_cannot_be_turned_off(fake: FakeKube) -> None:
    file = fake.kubeconfig()
    config = json.loads(file.read_text())
    config["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="turns certificate checks off"):
        load(str(file))


def test_inline_data_and_a_server_name_are_read(fake: FakeKube) -> None:
    file = fake.kubeconfig()
    config = json.loads(file.read_text())
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.b64encode(fake.ca.encode()).decode()
    cluster["tls-server-name"] = "localhost"
    file.write_text(json.dumps(config))
    access = load(str(file))
    assert access.ca == fake.ca
    assert access.server_name == "localhost"
    kube = Kube(access)
    assert kube.get(ONE) is None
    kube.close()
    assert "fake-kube-token" not in repr(access)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[", "not YAML"),
        ("[]", "not a kubeconfig"),
        ("{}", "has no context"),
        ("!!python/object/apply:os.system [id]", "not a kubeconfig"),
    ],
)
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what):
        load(str(file))


@pytest.mark.parametrize(
    "server", ["https://10.0.0.1:64x43", "https://10.0.0.1:99999", "https://[::1", "http://10.0.0.1", "https://:6443", "6443"]
)
def test_a_server_that_is_no_address_is_told_with_file_and_line(fake: FakeKube, server: str) -> None:
    file = fake.kubeconfig()
    config = json.loads(file.read_text())
    config["clusters"][0]["cluster"]["server"] = server
    file.write_text(json.dumps(config, indent=1))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if '"server"' in text)
    with pytest.raises(ConfigError, match=rf"kubeconfig {file.name}:{line}: server '{re.escape(server)}' is not an https:// address"):
        load(str(file))


def test_base64_with_line_breaks_is_read_and_what_is_none_is_told_with_its_line(fake: FakeKube) -> None:
    """As `base64 file` prints it, in a YAML block; client-go skips line breaks too, and nothing else."""
    file = fake.kubeconfig()
    config = json.loads(file.read_text())
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.encodebytes(fake.ca.encode()).decode().replace("\n", "\r\n")
    file.write_text(json.dumps(config))
    assert load(str(file)).ca == fake.ca
    cluster["certificate-authority-data"] = "not base64"
    file.write_text(json.dumps(config, indent=1))
    with pytest.raises(ConfigError, match=rf"kubeconfig {file.name}:\d+: certificate-authority-data is not base64"):
        load(str(file))


def test_a_kubeconfig_is_read_as_kubectl_reads_it(fake: FakeKube) -> None:
    """A name that is a number, merge keys, a key that stands twice, a tag: all of them are in the files of people."""
    file = fake.kubeconfig()
    config = json.loads(file.read_text())
    cluster = json.dumps(config["clusters"][0]["cluster"])
    user = json.dumps(config["users"][0]["user"])
    file.write_text(f"""
apiVersion: v1
current-context: none
current-context: "0755"
clusters: [{{name: 1, cluster: &c {cluster}}}, {{name: 2, cluster: {{<<: *c, tls-server-name: !!str localhost}}}}]
contexts: [{{name: 0755, context: {{cluster: 1, user: dev}}}}, {{name: "0755", context: {{cluster: "2", user: dev, namespace: 2026-1-1}}}}]
users: [{{name: dev, user: {user}}}]
---
""")
    access = load(str(file), "0755")
    assert (access.server_name, access.namespace) == ("localhost", "2026-1-1")


def test_a_missing_kubeconfig_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(str(tmp_path / "none"))
    assert "k3s.yaml" in caught.value.mend


def test_a_request_for_no_object_is_named_by_its_path() -> None:
    assert str(asked("get", "/version", "api.test:6443")) == "get /version"
    assert str(asked("list", "/apis/apps/v1/namespaces/shop/deployments", "api.test:6443")) == "list deployments.apps in namespace shop"


def test_an_empty_list_of_metadata_has_items(kube: Kube, fake: FakeKube) -> None:
    """Kubernetes 1.34 answers an empty PartialObjectMetadataList with `"items": null`, as a fresh cluster showed."""
    fake.fault = lambda _method, _path: (200, {"kind": "PartialObjectMetadataList", "items": None}, {})
    assert kube.list(CONFIG, metadata=True)["items"] == []
