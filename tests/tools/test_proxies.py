"""Which way a request goes."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.tools.proxies import proxy_for

PROXY = "http://proxy.example.test:3128"


@pytest.mark.parametrize(
    ("scheme", "address", "env", "expected"),
    [
        ("https", "ghcr.example.test", {}, ""),
        ("https", "ghcr.example.test", {"https_proxy": PROXY}, "proxy.example.test:3128"),
        ("https", "ghcr.example.test", {"HTTPS_PROXY": "proxy.example.test:3128"}, "proxy.example.test:3128"),
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
    assert proxy_for(scheme, address, env) == expected


def test_p22_a_proxy_that_is_not_http_is_said() -> None:
    with pytest.raises(ConfigError, match="socks5"):
        proxy_for("https", "ghcr.example.test", {"https_proxy": "socks5://127.0.0.1:1080"})
