"""What Flux's controllers are built without for the lab, and of which versions: no clouds, no encrypted files, no databases."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.lab.hollow_coredns import COREDNS, OF_COREDNS
from pipeline.lab.hollow_source import OF_SOURCE, SOURCE

FLUX = "github.com/fluxcd"
AUTH, KUSTOMIZE = f"{FLUX}/pkg/auth", f"{FLUX}/kustomize-controller"
RUNTIME, HELM = f"{FLUX}/pkg/runtime", "helm.sh/helm/v3"
KEYCHAIN = "github.com/google/go-containerregistry/pkg/authn/k8schain"

NO_GIT_LOGIN = """package utils

import (
	"context"
	"errors"

	"github.com/fluxcd/pkg/auth"
)

// GitCredentials is what a cloud would give.
type GitCredentials struct{ BearerToken, Username, Password string }

// GetGitCredentials gives none: this controller was built for the lab.
func GetGitCredentials(context.Context, string, ...auth.Option) (*GitCredentials, error) {
	return nil, errors.New("this controller was built for the lab, without the logins of clouds")
}
"""

NO_PROVIDERS = """package utils

import (
	"errors"

	"github.com/fluxcd/pkg/auth/generic"
)

// ProviderByName knows the cluster's own tokens and no cloud: this controller was built for the lab.
func ProviderByName[T any](name string) (T, error) {
	if own, ok := any(generic.Provider{}).(T); ok && name == generic.ProviderName {
		return own, nil
	}
	var none T
	return none, errors.New("this controller was built for the lab, without the provider " + name)
}
"""

NO_SOPS = """package decryptor

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/resource"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/cache"
)

// Option is not looked at.
type Option func()

func WithRoot(string) Option                  { return nil }
func WithTokenCache(cache.TokenCache) Option  { return nil }
func WithSOPSAgeSecret(string, string) Option { return nil }

// Decryptor decrypts nothing: this controller was built for the lab.
type Decryptor struct{ asked bool }

// New gives one that refuses where the Kustomization asks for it.
func New(_ client.Client, asking *kustomizev1.Kustomization, _ ...Option) (*Decryptor, func(), error) {
	return &Decryptor{asking.Spec.Decryption != nil}, func() {}, nil
}

func (d *Decryptor) ImportKeys(context.Context) error {
	if d.asked {
		return errors.New("this controller was built for the lab, without SOPS")
	}
	return nil
}

func (*Decryptor) SetAuthOptions(context.Context) {}

func (*Decryptor) DecryptSources(string) error { return nil }

func (*Decryptor) DecryptResource(*resource.Resource) (*resource.Resource, error) { return nil, nil }

// IsEncryptedSecret tells whether it is a Secret that SOPS wrote: nobody may apply that.
func IsEncryptedSecret(object *unstructured.Unstructured) bool {
	_, found := object.Object["sops"]
	return found && object.GetKind() == "Secret" && object.GetAPIVersion() == "v1"
}
"""

NO_HELPERS = """// Package k8schain knows the cluster's own secrets and no cloud.
package k8schain

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	corev1 "k8s.io/api/core/v1"
)

// NewFromPullSecrets gives the logins in these secrets.
func NewFromPullSecrets(ctx context.Context, secrets []corev1.Secret) (authn.Keychain, error) {
	return kubernetes.NewFromPullSecrets(ctx, secrets)
}
"""

NO_SQL = """package driver

import "errors"

// SQL stores nothing: this controller was built for the lab.
type SQL struct{ Driver }

// NewSQL gives none.
func NewSQL(string, func(string, ...interface{}), string) (*SQL, error) {
	return nil, errors.New("this controller was built for the lab, without databases")
}
"""

OF_FLUX = (
    (AUTH, "utils/git.go", NO_GIT_LOGIN),
    (AUTH, "utils/provider.go", NO_PROVIDERS),
    *OF_SOURCE,
    (KUSTOMIZE, "internal/decryptor/decryptor.go", NO_SOPS),
    (KUSTOMIZE, "internal/decryptor/options.go", "package decryptor\n"),
    (RUNTIME, "conditions/matcher.go", "package conditions\n"),  # for tests
    (RUNTIME, "conditions/matchers.go", "package conditions\n"),
    (KEYCHAIN, "go.mod", f"module {KEYCHAIN}\n"),
    (KEYCHAIN, "k8schain.go", NO_HELPERS),
    (HELM, "pkg/storage/driver/sql.go", NO_SQL),
)
HOLLOW = OF_FLUX + OF_COREDNS
CONTROLLERS = (SOURCE, KUSTOMIZE, f"{FLUX}/helm-controller", f"{FLUX}/image-reflector-controller")
PACKAGES = (*CONTROLLERS, COREDNS)
BESIDE = (
    (KUSTOMIZE, "v1.7.3"),
    (f"{FLUX}/helm-controller", "v1.4.0"),
    (f"{FLUX}/image-reflector-controller", "v1.1.1"),
    (COREDNS, "v1.14.0"),
)


def of_cluster(go_mod: str) -> tuple[tuple[str, str], ...]:
    """The versions that the cluster's own build stands on: one file says which Kubernetes the lab is, and what it was tried with."""
    found = dict(re.findall(r"(?m)^\s*([\w.-]+\.\w+/\S+) (v\S+)", go_mod)) | dict(re.findall(r"(?m)^\s*(\S+) => \S+ (v\S+)$", go_mod))
    return tuple(sorted((module, version) for module, version in found.items() if version != "v0.0.0"))


# beside the cluster's, one library for all four controllers, kustomize-controller's; the last version named holds
PINS = (
    *of_cluster((Path(__file__).parent / "kubelab" / "go.mod").read_text()),
    ("github.com/opencontainers/go-digest", "v1.0.1-0.20231025023718-d50d2fec9c98"),  # with BLAKE3, which they import
    ("sigs.k8s.io/controller-runtime", "v0.22.4"),
    (f"{FLUX}/cli-utils", "v0.36.0-flux.15"),
    (f"{FLUX}/pkg/apis/event", "v0.21.0"),
    (f"{FLUX}/pkg/apis/meta", "v1.23.0"),
    (AUTH, "v0.33.0"),
    (f"{FLUX}/pkg/cache", "v0.12.0"),
    (RUNTIME, "v0.91.0"),
)
