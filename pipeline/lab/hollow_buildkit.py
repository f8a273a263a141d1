"""What BuildKit and buildx are built without for the lab: caches in clouds, signed policies, builders in Kubernetes."""

from __future__ import annotations

BUILDKIT, POLICY = "github.com/moby/buildkit", "github.com/moby/policy-helpers"
BUILDX, CLIENT = "github.com/docker/buildx", "k8s.io/client-go"
CACHES = "cache/remotecache/"

NO_CACHE = """package {0}

import (
	"context"
	"errors"

	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/session"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var errNone = errors.New("this BuildKit was built for the lab, without the cache {0}")

// ResolveCacheExporterFunc exports to nowhere.
func ResolveCacheExporterFunc({1}) remotecache.ResolveCacheExporterFunc {{
	return func(context.Context, session.Group, map[string]string) (remotecache.Exporter, error) {{ return nil, errNone }}
}}

// ResolveCacheImporterFunc imports from nowhere.
func ResolveCacheImporterFunc({1}) remotecache.ResolveCacheImporterFunc {{
	return func(context.Context, session.Group, map[string]string) (remotecache.Importer, ocispecs.Descriptor, error) {{
		return nil, ocispecs.Descriptor{{}}, errNone
	}}
}}
"""
SESSION, TYPES = '"github.com/moby/buildkit/session"', '"github.com/moby/buildkit/cache/remotecache/gha/ghatypes"'
GHA = (
    NO_CACHE.format("gha", "*ghatypes.CacheConfig, VerifierProvider").replace(SESSION, f'{TYPES}\n\t{SESSION}\n\tpolicy "{POLICY}"')
    + "\n// VerifierProvider gives what verifies the cache's signatures.\ntype VerifierProvider func() (*policy.Verifier, error)\n"
)

VERIFIER = """package verifier

import "errors"

// Config is not looked at.
type Config struct {
	StateDir      string
	RequireOnline bool
}

// Verifier verifies nothing: this BuildKit was built for the lab.
type Verifier struct{}

// NewVerifier gives none.
func NewVerifier(Config) (*Verifier, error) { return nil, errors.New("this BuildKit was built for the lab, without signed policies") }
"""

OF_BUILDKIT = (
    (BUILDKIT, f"{CACHES}s3/s3.go", NO_CACHE.format("s3", "")),
    (BUILDKIT, f"{CACHES}s3/readerat.go", "package s3\n"),
    (BUILDKIT, f"{CACHES}azblob/exporter.go", NO_CACHE.format("azblob", "")),
    (BUILDKIT, f"{CACHES}azblob/importer.go", "package azblob\n"),
    (BUILDKIT, f"{CACHES}azblob/utils.go", "package azblob\n"),
    (BUILDKIT, f"{CACHES}gha/gha.go", GHA),
    (POLICY, "verifier.go", VERIFIER),
    (POLICY, "errors.go", "package verifier\n"),
    (POLICY, "hashedrecordbundle.go", "package verifier\n"),
)
OF_BUILDX = (
    (BUILDX, "driver/kubernetes/driver.go", "package kubernetes\n"),
    (BUILDX, "driver/kubernetes/factory.go", "package kubernetes\n"),
    (CLIENT, "plugin/pkg/client/auth/oidc/oidc.go", "package oidc\n"),
)
