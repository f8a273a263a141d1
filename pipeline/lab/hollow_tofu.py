"""What OpenTofu is built without for the lab: clouds' state backends, key services and tracing, more than half of what it compiles."""

from __future__ import annotations

MODULE = "github.com/opentofu/opentofu"
GETTER = "github.com/hashicorp/go-getter"

BACKENDS = """package init

import (
	"github.com/opentofu/svchost/disco"

	"github.com/opentofu/opentofu/internal/backend"
	"github.com/opentofu/opentofu/internal/backend/local"
	"github.com/opentofu/opentofu/internal/backend/remote-state/http"
	"github.com/opentofu/opentofu/internal/backend/remote-state/inmem"
	"github.com/opentofu/opentofu/internal/encryption"
)

var backends = map[string]backend.InitFn{
	"local": func(state encryption.StateEncryption) backend.Backend { return local.New(state) },
	"http":  func(state encryption.StateEncryption) backend.Backend { return http.New(state) },
	"inmem": func(state encryption.StateEncryption) backend.Backend { return inmem.New(state) },
}

// RemovedBackends names none: this OpenTofu was built for the lab.
var RemovedBackends = map[string]string{}

// Init has nothing left to do.
func Init(*disco.Disco) {}

// Backend gives the backend of that name, nil where there is none, and its name.
func Backend(name string) (backend.InitFn, string) { return backends[name], name }
"""

KEYS = """package encryption

import (
	"github.com/opentofu/opentofu/internal/encryption/method/unencrypted"
	"github.com/opentofu/opentofu/internal/encryption/registry/lockingencryptionregistry"
)

// DefaultRegistry encrypts nothing: this OpenTofu was built for the lab.
var DefaultRegistry = lockingencryptionregistry.New()

func init() {
	if err := DefaultRegistry.RegisterMethod(unencrypted.New()); err != nil {
		panic(err)
	}
}
"""

TRACING = """package tracing

import "context"

// OTELExporterEnvVar has no effect: this OpenTofu was built for the lab.
const OTELExporterEnvVar = "OTEL_TRACES_EXPORTER"

const isTracingEnabled = false

// OpenTelemetryInit traces nothing.
func OpenTelemetryInit(ctx context.Context) (context.Context, error) { return ctx, nil }
"""


def _getter(name: str) -> str:
    """A source of modules that finds nothing of that name but files: the lab's modules are folders."""
    return f"package getter\n\n// {name}Getter fetches no bucket: this is the lab's OpenTofu.\ntype {name}Getter struct{{ FileGetter }}\n"


HOLLOW = (
    (MODULE, "internal/backend/init/init.go", BACKENDS),
    (MODULE, "internal/backend/init/testing.go", "package init\n"),
    (MODULE, "internal/encryption/default_registry.go", KEYS),
    (MODULE, "internal/tracing/init.go", TRACING),
    (GETTER, "get_gcs.go", _getter("GCS")),
    (GETTER, "get_s3.go", _getter("S3")),
)
