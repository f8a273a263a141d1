"""Which way a request goes, and what a proxy with a login is told."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.environment import AUTHORITIES
from pipeline.errors import AuthError, ConfigError, PipelineError, Transient
from pipeline.secrets import Secrets
from pipeline.source.repository import Repository, environment
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from pipeline.tools.origin import Origin
from pipeline.tools.proxies import excluded, proxy_for

PROXY = "http://proxy.example.test:3128"


@pytest.mark.parametrize(
    ("scheme", "address", "env", "expected"),
    [
        ("https", "ghcr.example.test", {}, ""),
        ("https", "ghcr.example.test", {"https_proxy": PROXY}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"HTTPS_PROXY": "proxy.example.test:3128"}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"ALL_PROXY": PROXY}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"all_proxy": "http://other:1", "https_proxy": PROXY}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"all_proxy": "socks5h://127.0.0.1:1080"}, ""),
        ("https", "ghcr.example.test", {"all_proxy": "socks://127.0.0.1:1080", "https_proxy": PROXY}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"https_proxy": PROXY, "no_proxy": "other.test, example.test"}, ""),
        ("https", "ghcr.example.test:5000", {"https_proxy": PROXY, "NO_PROXY": ".example.test"}, ""),
        ("https", "ghcr.example.test", {"https_proxy": PROXY, "NO_PROXY": "*"}, ""),
        ("https", "notexample.test", {"https_proxy": PROXY, "NO_PROXY": "example.test"}, "proxy.example.test:3128"),
        ("https", "9.9.9.9:5000", {"https_proxy": PROXY, "NO_PROXY": "9.9.9.0/24"}, ""),
        ("https", "9.9.9.9:5000", {"https_proxy": PROXY}, "proxy.example.test:3128"),
        ("https", "192.168.178.135:5000", {"https_proxy": PROXY}, ""),
        ("https", "[::1]:5000", {"https_proxy": PROXY}, ""),
        ("https", "localhost:5000", {"https_proxy": PROXY}, ""),
        ("http", "registry.example.test:32166", {"http_proxy": PROXY, "HTTP_PROXY": PROXY, "https_proxy": PROXY}, ""),
    ],
)
def test_p22_a_proxy_of_the_environment(scheme: str, address: str, env: dict[str, str], expected: str) -> None:
    assert str(proxy_for(scheme, address, env) or "") == expected


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "straight"),
    [
        ("example.test", "api.example.test", 443, True),
        ("example.test", "example.test", 443, True),
        (".example.test", "example.test", 443, False),
        ("*.example.test", "example.test", 443, False),
        ("*.example.test", "api.example.test", 443, True),
        ("example.test:6443", "api.example.test", 6443, True),
        ("example.test:6443", "api.example.test", 443, False),
        ("10.0.0.0/8, 192.168.0.0/16", "10.1.2.3", 6443, True),
        ("10.0.0.0/8", "11.1.2.3", 6443, False),
        ("10.1.2.3:6443", "10.1.2.3", 6443, True),
        ("10.1.2.3:6443", "10.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::1]:6443", "fd00::1", 6443, True),
        ("[fd00::1]", "fd00::1", 443, True),
        ("fd00::1", "fd00::1", 443, True),
        ("no/network,:80,", "api.example.test", 443, False),
        ("", "localhost", 443, True),
        ("", "127.1.2.3", 443, True),
        ("", "::1", 443, True),
    ],
)
def test_p22_no_proxy_is_read_as_go_reads_it(no_proxy: str, host: str, port: int, straight: bool) -> None:
    assert excluded(host, no_proxy, port) == straight


def test_p22_the_api_of_a_cluster_in_the_lan_goes_the_way_that_helm_goes() -> None:
    env = {"HTTPS_PROXY": PROXY}
    assert proxy_for("https", "10.0.0.1:6443", env) is None
    assert str(proxy_for("https", "10.0.0.1:6443", env, private=True)) == "proxy.example.test:3128"
    assert proxy_for("https", "10.0.0.1:6443", env | {"NO_PROXY": "10.0.0.0/8"}, private=True) is None
    assert proxy_for("https", "127.0.0.1:6443", env, private=True) is None


def test_p22_a_proxy_that_is_not_http_is_said() -> None:
    with pytest.raises(ConfigError, match="socks5"):
        proxy_for("https", "ghcr.example.test", {"https_proxy": "socks5://127.0.0.1:1080"})


def test_p22_a_socks_proxy_that_is_not_used_is_told_where_the_way_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with contextlib.closing(Origin("https", address)) as origin, pytest.raises(Transient) as caught:
        origin.ask("GET", "/v2/", {})
    assert "all_proxy names a SOCKS proxy, which is not used: name an http:// proxy in HTTPS_PROXY" in caught.value.mend


@pytest.mark.parametrize("named", ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"])
def test_a_companys_authority_counts_for_our_requests_and_for_gits(
    fake: FakeKube, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is the same for both, and so is the file: only who is asked differs."""
    for name in AUTHORITIES:
        monkeypatch.delenv(name, raising=False)
    address = f"localhost:{fake.port}"
    with contextlib.closing(Origin("https", address)) as origin, pytest.raises(ConfigError, match="is not trusted"):
        origin.ask("GET", "/version", {})
    assert "certificate" in gits(tmp_path, address)
    monkeypatch.setenv(named, str(fake.folder / "ca.pem"))
    with contextlib.closing(Origin("https", address)) as origin:
        assert origin.ask("GET", "/version", {}).status != 0
    assert "certificate" not in gits(tmp_path, address)
    monkeypatch.setenv(named, str(tmp_path / "gone"))
    with contextlib.closing(Origin("https", address)) as origin, pytest.raises(ConfigError, match=f"{named} names .*gone"):
        origin.ask("GET", "/version", {})


def gits(folder: Path, address: str) -> str:
    """What git says that asks a server which is none of git's."""
    argv = Repository(folder).argv("ls-remote", "--", f"https://{address}/x")
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode
    return done.stderr


# a proxy with a login

LOGIN = "Basic " + base64.b64encode(b"anna:hunter2/+ secret").decode()


class CompanyProxy:
    """Leads every CONNECT to `target`, if its login is the right one; `status` answers instead where it is not 200."""

    def __init__(self, target: int, status: int = 200) -> None:
        self.asked: list[tuple[str, str]] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:  # http.server's name
                given = self.headers.get("Proxy-Authorization", "")
                proxy.asked.append((self.path, given))
                if given != LOGIN:
                    self.send_response(407)
                    self.send_header("Proxy-Authenticate", 'Basic realm="company"')
                    self.send_header("Connection", "close")  # curl asks again on another line
                    self.end_headers()
                    return
                if status != 200:
                    self.send_error(status)
                    return
                self.send_response(200)
                self.end_headers()
                with socket.create_connection(("127.0.0.1", target)) as far:
                    back = threading.Thread(target=self._carry, args=(far, self.connection))
                    back.start()
                    self._carry(self.connection, far)
                    back.join()

            def _carry(self, start: socket.socket, end: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    while chunk := start.recv(65536):
                        end.sendall(chunk)
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    server = FakeKube(tmp_path)
    yield server
    server.close()


@contextlib.contextmanager
def company(monkeypatch: pytest.MonkeyPatch, target: int, login: str, status: int = 200) -> Iterator[CompanyProxy]:
    proxy = CompanyProxy(target, status)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{proxy.port}")
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_p22_git_goes_through_the_proxy_that_our_requests_go_through(
    fake: FakeKube, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with company(monkeypatch, fake.port, "anna:hunter2%2F%2B%20secret@") as proxy:
        value = os.environ["HTTPS_PROXY"]
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, value)
        gits(tmp_path, "git.example.test")
        with contextlib.closing(Origin("https", "ghcr.example.test")) as origin, contextlib.suppress(PipelineError):
            origin.ask("GET", "/v2/", {})
        assert dict(proxy.asked) == {"git.example.test:443": LOGIN, "ghcr.example.test:443": LOGIN}
        proxy.asked.clear()
        monkeypatch.setenv("no_proxy", "example.test")
        gits(tmp_path, "git.example.test")
        with contextlib.closing(Origin("https", "ghcr.example.test")) as origin, contextlib.suppress(PipelineError):
            origin.ask("GET", "/v2/", {})
        assert proxy.asked == []


def far_kube(fake: FakeKube) -> Kube:
    """A client of the API by a name that only the proxy can resolve."""
    file = fake.kubeconfig()
    text = file.read_text().replace(f"https://127.0.0.1:{fake.port}", "https://api.example.test:6443")
    file.write_text(text.replace('"certificate-authority"', '"tls-server-name": "localhost", "certificate-authority"'))
    return Kube(load(str(file)))


def test_p22_the_kubernetes_client_goes_through_a_proxy_with_its_login(fake: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    with company(monkeypatch, fake.port, "anna:hunter2%2F%2B%20secret@") as proxy:
        kube = far_kube(fake)
        assert kube.get(path("v1", "configmaps", "shop", "one")) is None
        assert proxy.asked == [("api.example.test:6443", LOGIN)]
        kube.close()


@pytest.mark.parametrize(("login", "what"), [("", "wants a login"), ("anna:wrong-password@", "does not know this login")])
def test_p22_a_proxy_that_does_not_know_us_names_the_variable(
    fake: FakeKube, monkeypatch: pytest.MonkeyPatch, login: str, what: str
) -> None:
    def asked() -> PipelineError:
        with contextlib.closing(far_kube(fake)) as kube, pytest.raises(AuthError, match=what) as caught:
            kube.get("/version")
        return caught.value

    def fetched() -> PipelineError:
        with contextlib.closing(Origin("https", "ghcr.example.test")) as origin, pytest.raises(AuthError, match=what) as caught:
            origin.ask("GET", "/v2/", {})
        return caught.value

    with company(monkeypatch, fake.port, login):
        for error in (asked(), fetched()):
            assert "HTTPS_PROXY" in error.mend
            assert "wrong-password" not in f"{error} {error.cause} {error.mend}"


def test_p22_what_a_proxy_forbids_and_what_passes_are_told_apart(fake: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(status: int) -> PipelineError:
        with contextlib.ExitStack() as stack:
            stack.enter_context(company(monkeypatch, fake.port, "anna:hunter2%2F%2B%20secret@", status))
            kube = stack.enter_context(contextlib.closing(far_kube(fake)))
            with pytest.raises(PipelineError) as caught:
                kube.get("/version")
        return caught.value

    refused, lost = asked(403), asked(503)
    assert isinstance(refused, ConfigError)
    assert "does not lead to api.example.test:6443" in refused.what
    assert isinstance(lost, Transient)


def test_p22_the_password_of_a_proxy_is_a_secret() -> None:
    secrets = Secrets({"HTTPS_PROXY": "http://anna:hunter2%2F%2B%20secret@proxy:3128", "http_proxy": "http://bob:pw@proxy:3128"})
    for shown in ("anna:hunter2%2F%2B%20secret@proxy", "hunter2/+ secret", LOGIN):
        assert "[secret]" in secrets.mask(shown)
        assert "hunter2" not in secrets.mask(shown)
    assert LOGIN.partition(" ")[2] not in secrets.mask(LOGIN)
    assert secrets.mask("http://bob:pw@proxy") == "http://bob:pw@proxy"  # too short to be found in innocent text
