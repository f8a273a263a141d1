// Hub is the door of the lab's registries: it gives tokens as GHCR and Docker Hub do and passes everything else on to docker-registry.
//
//	hub ACCOUNTS KEY CERTIFICATE FACE...    with FACE = NAME,LISTEN,SOCKET[,REALM-LISTEN]
//
// A face with a realm of its own gives its tokens there, as Docker Hub does; one without gives them at its own address, as GHCR does.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: hub ACCOUNTS KEY CERTIFICATE FACE...")
	}
	signer, err := readSigner(os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	for _, text := range os.Args[4:] {
		words := strings.Split(text, ",")
		if len(words) < 3 {
			log.Fatalf("%q is not NAME,LISTEN,SOCKET", text)
		}
		tokens := &tokens{face: words[0], accounts: os.Args[1], signer: signer}
		door := http.NewServeMux()
		door.Handle("/", registry(words[0], words[2]))
		if len(words) > 3 {
			realm := http.NewServeMux()
			realm.Handle("/token", tokens)
			go serve(words[3], realm, failed)
		} else {
			door.Handle("/token", tokens)
		}
		go serve(words[1], door, failed)
	}
	log.Fatal(<-failed)
}

func serve(address string, handler http.Handler, failed chan<- error) {
	failed <- fmt.Errorf("%s: %w", address, http.ListenAndServe(address, handler))
}

// registry passes requests on to docker-registry's socket. The address that the client used stays in the request: docker-registry
// makes the places of uploads from it.
func registry(face, socket string) http.Handler {
	var dialer net.Dialer
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "registry"})
	proxy.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", socket) },
		MaxIdleConnsPerHost: 32, DisableCompression: true,
	}
	proxy.ErrorLog = log.Default()
	if face == "ghcr" {
		proxy.ModifyResponse = asGHCR
	}
	return proxy
}

// asGHCR turns the answer to a token that lacks a scope into GHCR's: docker-registry and Docker Hub say 401, GHCR says 403.
func asGHCR(answer *http.Response) error {
	if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(answer.Header.Get("WWW-Authenticate"), "insufficient_scope") {
		return nil
	}
	body := `{"errors":[{"code":"DENIED","message":"permission_denied: The token provided does not match expected scopes."}]}` + "\n"
	_ = answer.Body.Close()
	answer.StatusCode, answer.Status = http.StatusForbidden, "403 Forbidden"
	answer.Header.Del("WWW-Authenticate")
	setBody(answer, body)
	return nil
}
