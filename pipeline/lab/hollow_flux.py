"""What Flux's controllers and CoreDNS are built without for the lab: clouds, signatures, encrypted files, most name server plugins."""

from __future__ import annotations

import re
from pathlib import Path

FLUX, AUTH, COSIGN = "github.com/fluxcd", "github.com/fluxcd/pkg/auth", "github.com/sigstore/cosign/v2"
SOURCE, KUSTOMIZE = f"{FLUX}/source-controller", f"{FLUX}/kustomize-controller"
RUNTIME, HELM = f"{FLUX}/pkg/runtime", "helm.sh/helm/v3"
KEYCHAIN = "github.com/google/go-containerregistry/pkg/authn/k8schain"
COREDNS = "github.com/coredns/coredns"

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

NO_BUCKETS = """package controller

import (
	recorder "k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fluxcd/pkg/artifact/storage"
	"github.com/fluxcd/pkg/cache"
	helper "github.com/fluxcd/pkg/runtime/controller"
)

// BucketReconciler looks at no bucket: this controller was built for the lab.
type BucketReconciler struct {
	client.Client
	recorder.EventRecorder
	helper.Metrics
	Storage        *storage.Storage
	ControllerName string
	TokenCache     *cache.TokenCache
}

// BucketReconcilerOptions are not looked at.
type BucketReconcilerOptions struct {
	RateLimiter workqueue.TypedRateLimiter[reconcile.Request]
}

// SetupWithManagerAndOptions sets nothing up.
func (*BucketReconciler) SetupWithManagerAndOptions(ctrl.Manager, BucketReconcilerOptions) error { return nil }
"""

NO_COSIGN = """package cosign

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/fluxcd/source-controller/internal/oci"
)

// Options are not looked at.
type Options func()

func WithPublicKey([]byte) Options               { return nil }
func WithRemoteOptions(...remote.Option) Options { return nil }
func WithIdentities([]cosign.Identity) Options   { return nil }

// CosignVerifier verifies nothing: this controller was built for the lab.
type CosignVerifier struct{}

// NewCosignVerifier gives none.
func NewCosignVerifier(context.Context, ...Options) (*CosignVerifier, error) {
	return nil, errors.New("this controller was built for the lab, without signatures")
}

func (*CosignVerifier) Verify(context.Context, name.Reference) (oci.VerificationResult, error) {
	return oci.VerificationResultFailed, nil
}
"""

NO_NOTATION = """package notation

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/fluxcd/source-controller/internal/oci"
)

// DefaultTrustPolicyKey is where the secret of a verification has its policy.
const DefaultTrustPolicyKey = "trustpolicy.json"

// Options are not looked at.
type Options func()

func WithInsecureRegistry(bool) Options                { return nil }
func WithTrustPolicy(*trustpolicy.Document) Options    { return nil }
func WithRootCertificates([][]byte) Options            { return nil }
func WithRemoteOptions(...remote.Option) Options       { return nil }
func WithAuth(authn.Authenticator) Options             { return nil }
func WithKeychain(authn.Keychain) Options              { return nil }
func WithLogger(logr.Logger) Options                   { return nil }
func WithTransport(*http.Transport) Options            { return nil }

// NotationVerifier verifies nothing: this controller was built for the lab.
type NotationVerifier struct{}

// NewNotationVerifier gives none.
func NewNotationVerifier(...Options) (*NotationVerifier, error) {
	return nil, errors.New("this controller was built for the lab, without signatures")
}

func (*NotationVerifier) Verify(context.Context, name.Reference) (oci.VerificationResult, error) {
	return oci.VerificationResultFailed, nil
}

// CleanTrustPolicy leaves the policy as it is.
func CleanTrustPolicy(policy *trustpolicy.Document, _ logr.Logger) *trustpolicy.Document { return policy }
"""

IDENTITY = """// Package cosign is the one type that the controllers name.
package cosign

// Identity is whom a signature is expected of.
type Identity struct{ Issuer, Subject, IssuerRegExp, SubjectRegExp string }
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

OF_FLUX = (
    (AUTH, "utils/git.go", NO_GIT_LOGIN),
    (AUTH, "utils/provider.go", NO_PROVIDERS),
    (SOURCE, "internal/controller/bucket_controller.go", NO_BUCKETS),
    (SOURCE, "internal/oci/cosign/cosign.go", NO_COSIGN),
    (SOURCE, "internal/oci/notation/notation.go", NO_NOTATION),
    (COSIGN, "go.mod", f"module {COSIGN}\n"),
    (COSIGN, "pkg/cosign/identity.go", IDENTITY),
    (KUSTOMIZE, "internal/decryptor/decryptor.go", NO_SOPS),
    (KUSTOMIZE, "internal/decryptor/options.go", "package decryptor\n"),
    (RUNTIME, "conditions/matcher.go", "package conditions\n"),  # for tests
    (RUNTIME, "conditions/matchers.go", "package conditions\n"),
    (KEYCHAIN, "go.mod", f"module {KEYCHAIN}\n"),
    (KEYCHAIN, "k8schain.go", NO_HELPERS),
    (HELM, "pkg/storage/driver/sql.go", NO_SQL),
)
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

HOLLOW = OF_FLUX + OF_COREDNS
CONTROLLERS = (SOURCE, KUSTOMIZE, f"{FLUX}/helm-controller", f"{FLUX}/image-reflector-controller")
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
