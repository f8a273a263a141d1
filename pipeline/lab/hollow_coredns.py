"""What CoreDNS is built without for the lab: QUIC, and all plugins but those that the lab's name server is made of."""

from __future__ import annotations

COREDNS = "github.com/coredns/coredns"

NO_QUIC = """package dnsserver

import "errors"

var errNone = errors.New("this CoreDNS was built for the lab, without QUIC")

// ServerQUIC and ServerHTTPS3 serve nothing.
type (
	ServerQUIC   struct{ *Server }
	ServerHTTPS3 struct{ *Server }
)

func NewServerQUIC(string, []*Config) (*ServerQUIC, error)     { return nil, errNone }
func NewServerHTTPS3(string, []*Config) (*ServerHTTPS3, error) { return nil, errNone }
"""

PLUGINS = ("errors", "ready", "kubernetes", "template")  # in the order in which a question passes them
OF_COREDNS = (
    (COREDNS, "core/dnsserver/quic.go", NO_QUIC),
    (COREDNS, "core/dnsserver/server_quic.go", "package dnsserver\n"),
    (COREDNS, "core/dnsserver/server_https3.go", "package dnsserver\n"),
    (
        COREDNS,
        "core/plugin/zplugin.go",
        "package plugin\n\nimport (\n" + "".join(f'\t_ "{COREDNS}/plugin/{name}"\n' for name in PLUGINS) + ")\n",
    ),
    (
        COREDNS,
        "core/dnsserver/zdirectives.go",
        "package dnsserver\n\n// Directives are the lab's.\nvar Directives = []string{"
        + ", ".join(f'"{name}"' for name in PLUGINS)
        + "}\n",
    ),
)
