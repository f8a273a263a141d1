"""What Flux's source controller is built without for the lab: buckets, and signatures of images and charts."""

from __future__ import annotations

SOURCE, COSIGN = "github.com/fluxcd/source-controller", "github.com/sigstore/cosign/v2"

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

OF_SOURCE = (
    (SOURCE, "internal/controller/bucket_controller.go", NO_BUCKETS),
    (SOURCE, "internal/oci/cosign/cosign.go", NO_COSIGN),
    (SOURCE, "internal/oci/notation/notation.go", NO_NOTATION),
    (COSIGN, "go.mod", f"module {COSIGN}\n"),
    (COSIGN, "pkg/cosign/identity.go", IDENTITY),
)
