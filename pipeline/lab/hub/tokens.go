package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const lifetime = 300 // seconds

// An account may do what `Actions` lists (pull, push, delete) in every repository.
type account struct {
	Password string   `json:"password"`
	Actions  []string `json:"actions"`
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

type tokens struct {
	face     string
	accounts string
	signer   *signer
}

// ServeHTTP gives a token for the scopes that the account has of those it asks for: fewer, or none, is no error here but at the
// registry (the token specification of distribution). The accounts are read each time.
func (t *tokens) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	if in.Method != http.MethodGet && (in.Method != http.MethodPost || t.face == "ghcr") {
		t.refuse(out, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.")
		return
	}
	if err := in.ParseForm(); err != nil {
		t.refuse(out, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	user, password, given := in.BasicAuth()
	if in.Method == http.MethodPost && in.PostForm.Get("grant_type") == "password" {
		user, password, given = in.PostForm.Get("username"), in.PostForm.Get("password"), true
	}
	may := []string{"pull"}
	if given {
		known, err := t.account(user)
		if err != nil {
			t.refuse(out, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
		if known == nil || known.Password != password {
			if t.face == "ghcr" { // as GHCR says it, and Docker Hub the other
				t.refuse(out, http.StatusForbidden, "DENIED", "denied")
			} else {
				t.refuse(out, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
			}
			return
		}
		may = known.Actions
	}
	granted := []access{}
	for _, scope := range strings.Fields(strings.Join(in.Form["scope"], " ")) {
		if one, ok := grant(scope, may, given); ok {
			granted = append(granted, one)
		}
	}
	now := time.Now()
	token, err := t.signer.sign(map[string]any{
		"iss": "lab", "sub": user, "aud": in.Form.Get("service"), "iat": now.Unix(), "nbf": now.Unix() - 10,
		"exp": now.Unix() + lifetime, "jti": strconv.FormatInt(now.UnixNano(), 36), "access": granted,
	})
	if err != nil {
		t.refuse(out, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": lifetime, "issued_at": now.UTC().Format(time.RFC3339),
	})
}

// grant is the part of a scope that may be had. What lies below private/ is not for those without a name.
func grant(scope string, may []string, named bool) (access, bool) {
	kind, rest, _ := strings.Cut(scope, ":")
	cut := strings.LastIndex(rest, ":")
	if kind != "repository" || cut < 0 {
		return access{}, false
	}
	found := access{Type: kind, Name: rest[:cut], Actions: []string{}}
	if !named && strings.HasPrefix(found.Name, "private/") {
		return access{}, false
	}
	for _, action := range strings.Split(rest[cut+1:], ",") {
		for _, allowed := range may {
			if action == allowed {
				found.Actions = append(found.Actions, action)
			}
		}
	}
	return found, len(found.Actions) > 0
}

func (t *tokens) account(user string) (*account, error) {
	text, err := os.ReadFile(t.accounts)
	if err != nil {
		return nil, err
	}
	known := map[string]*account{}
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, err
	}
	return known[user], nil
}

func (t *tokens) refuse(out http.ResponseWriter, status int, code, message string) {
	log.Printf("%s: token refused: %d %s", t.face, status, message)
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}, "details": message})
}

// signer makes the JSON web tokens that docker-registry takes: it finds the certificate in their head and has it as its root.
type signer struct {
	key  *ecdsa.PrivateKey
	head string
}

func readSigner(keyFile, certificateFile string) (*signer, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", keyFile)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if text, err = os.ReadFile(certificateFile); err != nil {
		return nil, err
	}
	if block, _ = pem.Decode(text); block == nil {
		return nil, errors.New("no certificate")
	}
	head, err := json.Marshal(map[string]any{
		"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(block.Bytes)},
	})
	return &signer{key, base64.RawURLEncoding.EncodeToString(head)}, err
}

func (s *signer) sign(claims map[string]any) (string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := s.head + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func setBody(answer *http.Response, body string) {
	answer.Body = io.NopCloser(strings.NewReader(body))
	answer.ContentLength = int64(len(body))
	answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
	answer.Header.Set("Content-Type", "application/json")
}
