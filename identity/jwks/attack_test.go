package jwks_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
)

func TestPrivateAddressesAreRefused(t *testing.T) {
	const (
		open    = iota // public
		private        // only where configured
		never
	)
	for addr, kind := range map[string]int{
		"1.1.1.1": open, "2606:4700::1111": open, "::ffff:1.1.1.1": open,
		"127.0.0.1": private, "127.9.9.9": private, "::1": private, "::ffff:127.0.0.1": private,
		"10.0.0.1": private, "172.16.0.1": private, "192.168.1.1": private, "100.64.0.1": private, "::ffff:100.64.0.1": private, "fd12::1": private,
		"0.1.2.3": private, "192.0.0.8": private, "198.18.0.1": private, "240.0.0.1": private, "255.255.255.255": private,
		"64:ff9b::7f00:1": private, "64:ff9b::a9fe:a9fe": private, "2002:7f00:1::": private, "2001::1": private, "::7f00:1": private,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "fe80::1": never, "fe80::1%eth0": never, "fd00:ec2::254": never, "fd20:ce::254": never,
		"100.100.100.200": never, "::ffff:100.100.100.200": never, "0.0.0.0": never, "::": never, "224.0.0.1": never, "ff02::1": never,
	} {
		a := netip.MustParseAddr(addr)
		if err := jwks.CheckAddress(a, false); (err == nil) != (kind == open) {
			t.Errorf("%s, private addresses closed: %v", addr, err)
		}
		if err := jwks.CheckAddress(a, true); (err == nil) != (kind != never) {
			t.Errorf("%s, private addresses open: %v", addr, err)
		}
	}
}

// The check is made when the connection is: a name that resolves to loopback gains nothing.
func TestDialingChecksTheAddress(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "a")
	for _, uri := range []string{i.URL + "/keys", strings.Replace(i.URL, "127.0.0.1", "localhost", 1) + "/keys"} {
		source := identity.Source{Name: "s", Issuer: "https://issuer.example", JWKSURI: uri, CAFile: i.caFile(t)}
		cache := open(t, config(&clock{}, source))
		if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
			t.Errorf("%s: %v", uri, err)
		}
		contains(t, errText(cache), "address is not allowed")
	}
	if i.fetches.Load() != 0 {
		t.Error("the request arrived")
	}
}

func TestRefusedDocuments(t *testing.T) {
	large := []byte(`{"keys":[` + strings.Repeat(" ", 1<<20) + `]}`)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(bytes.Repeat(large, 20))
	_ = z.Close()
	elsewhere := newIssuer(t)
	elsewhere.serveKeys(t, "a")

	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/keys", http.StatusFound)
		}, "unexpected status 302"},
		{"a redirect that has a body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL+"/keys")
			w.WriteHeader(http.StatusTemporaryRedirect)
			_, _ = w.Write(set(t, "a"))
		}, "unexpected status 307"},
		{"an error with a body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write(set(t, "a"))
		}, "unexpected status 404"},
		{"over 1 MiB", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) }, "too large"},
		{"over 1 MiB once unpacked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}, "too large"},
		{"a member twice", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[],"keys":[]}`)) }, "duplicate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newIssuer(t)
			i.serve(c.handler)
			cache := open(t, config(&clock{}, i.source(t, "s")))
			if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
				t.Errorf("got %v", err)
			}
			contains(t, errText(cache), c.want)
		})
	}
	if elsewhere.fetches.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestDiscoveryDocumentMustBeTheIssuers(t *testing.T) {
	var keys atomic.Int64
	var document atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			keys.Add(1)
			_, _ = w.Write(set(t, "a"))
			return
		}
		_, _ = fmt.Fprint(w, document.Load())
	}))
	t.Cleanup(server.Close)
	i := &issuer{Server: server}
	us, uri := server.URL, server.URL+"/keys"
	for _, c := range []struct{ name, document, want string }{
		{"another issuer", `{"issuer":"https://evil.example","jwks_uri":"` + uri + `"}`, "issuer is not the configured"},
		{"a slash more", `{"issuer":"` + us + `/","jwks_uri":"` + uri + `"}`, "issuer is not the configured"},
		{"no issuer", `{"jwks_uri":"` + uri + `"}`, "issuer is not the configured"},
		{"issuer twice", `{"issuer":"https://evil.example","issuer":"` + us + `","jwks_uri":"` + uri + `"}`, "duplicate"},
		{"no jwks_uri", `{"issuer":"` + us + `"}`, "no jwks_uri"},
		{"a file", `{"issuer":"` + us + `","jwks_uri":"file:///etc/passwd"}`, "absolute https"},
		{"a path", `{"issuer":"` + us + `","jwks_uri":"/keys"}`, "absolute https"},
		{"a password", `{"issuer":"` + us + `","jwks_uri":"https://u:p@127.0.0.1/keys"}`, "absolute https"},
		{"the metadata service", `{"issuer":"` + us + `","jwks_uri":"http://169.254.169.254/keys"}`, "address is not allowed"},
		{"no JSON", `<html>`, "discovery"},
	} {
		t.Run(c.name, func(t *testing.T) {
			document.Store(c.document)
			cache := open(t, config(&clock{}, i.source(t, "s")))
			if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
				t.Errorf("got %v", err)
			}
			contains(t, errText(cache), c.want)
		})
	}
	if keys.Load() != 0 {
		t.Error("keys were fetched for a discovery document that is not the issuer's")
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	i := newIssuer(t)
	i.serve(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(`{"keys":[`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	conf := config(&clock{}, i.source(t, "s"))
	conf.Timeout = 100 * time.Millisecond
	cache := open(t, conf)
	if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestServerThatTheCADoesNotVouchFor(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "a")
	source := i.source(t, "s")
	source.CAFile = ""
	cache := open(t, config(&clock{}, source))
	if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
	contains(t, errText(cache), "certificate")
}

// A Kubernetes API server asks for a token; nobody else gets it.
func TestBearerTokenGoesToTheConfiguredHostAlone(t *testing.T) {
	var seen atomic.Value
	document := set(t, "a")
	record := func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		_, _ = w.Write(document)
	}
	i, other := newIssuer(t), newIssuer(t)
	i.serve(record)
	other.serve(record)
	fetch := func(source identity.Source) any {
		t.Helper()
		seen.Store("none")
		if _, _, err := open(t, config(&clock{}, source)).Keys(t.Context(), "s", "a"); err != nil {
			t.Fatal(err)
		}
		return seen.Load()
	}
	source := i.source(t, "s")
	source.TokenFile = write(t, "token", []byte("secret\n"))
	if got := fetch(source); got != "Bearer secret" {
		t.Errorf("the configured host got %q", got)
	}
	source.Discovery, source.JWKSURI = false, i.URL+"/keys"
	if got := fetch(source); got != "Bearer secret" {
		t.Errorf("the configured jwks_uri got %q", got)
	}

	away := httptest.NewTLSServer(nil)
	t.Cleanup(away.Close)
	away.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, away.URL, other.URL+"/keys")
	})
	source.Discovery, source.JWKSURI, source.Issuer = true, "", away.URL
	if got := fetch(source); got != "" {
		t.Errorf("a host that the discovery document names got %q", got)
	}
}
