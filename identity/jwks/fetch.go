package jwks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

const discoveryPath = "/.well-known/openid-configuration"

var (
	errStatus    = errors.New("unexpected status")
	errTooLarge  = errors.New("document is too large")
	errDiscovery = errors.New("discovery document is not usable")
	errBundle    = errors.New("bundle is not usable")
)

// loader gets a document's bytes from where its source says that they are.
type loader func(ctx context.Context) ([]byte, error)

// fetcher talks to the key server of one source.
type fetcher struct {
	source identity.Source
	guard  *guard
	// transport replaces the network, in tests.
	transport http.RoundTripper
}

func newFetcher(source identity.Source, insecure http.RoundTripper) *fetcher {
	return &fetcher{source: source, guard: newGuard(source.AllowPrivateAddresses), transport: insecure}
}

// keys loads the JWKS of a source.
func (f *fetcher) keys(ctx context.Context) ([]byte, error) {
	switch {
	case f.source.JWKSFile != "":
		return readFile(f.source.JWKSFile)
	case f.source.Discovery:
		uri, err := f.discover(ctx)
		if err != nil {
			return nil, err
		}
		return f.get(ctx, uri)
	default:
		return f.get(ctx, f.source.JWKSURI)
	}
}

// bundle loads the X.509 authorities of a source.
func (f *fetcher) bundle(ctx context.Context) ([]byte, error) {
	if f.source.X509.BundleFile != "" {
		return readFile(f.source.X509.BundleFile)
	}
	return f.get(ctx, f.source.X509.BundleURI)
}

// discover asks the issuer where its keys are (OpenID Connect Discovery §4). The document must name the very issuer
// that is configured (§4.3), or its keys are not this issuer's.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	data, err := f.get(ctx, strings.TrimSuffix(f.source.Issuer, "/")+discoveryPath)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	document, err := token.DecodeObject(data)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errDiscovery, err)
	}
	if document["issuer"] != f.source.Issuer {
		return "", fmt.Errorf("%w: its issuer is not the configured one", errDiscovery)
	}
	uri, ok := document["jwks_uri"].(string)
	if !ok {
		return "", fmt.Errorf("%w: no jwks_uri", errDiscovery)
	}
	if err := f.checkURL(uri); err != nil {
		return "", fmt.Errorf("%w: jwks_uri: %w", errDiscovery, err)
	}
	return uri, nil
}

// checkURL holds a URL that came over the network to what Compile asks of a configured one.
func (f *fetcher) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("not a URL")
	}
	plain := u.Scheme == "http" && f.source.AllowPrivateAddresses
	if u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !plain {
		return errors.New("must be an absolute https URL")
	}
	return nil
}

// get reads one document. Each fetch has a transport of its own: they are minutes apart, and so the CA file
// may be replaced at any time and nothing idles in between.
func (f *fetcher) get(ctx context.Context, uri string) ([]byte, error) {
	transport, err := f.roundTripper()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	request.Header.Set("User-Agent", "writ")
	if err := f.authorize(request); err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: transport,
		// The 3xx itself is the answer then, and no document.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w %d from %s", errStatus, response.StatusCode, request.URL.Host)
	}
	return readAll(response.Body)
}

func (f *fetcher) roundTripper() (http.RoundTripper, error) {
	if f.transport != nil {
		return f.transport, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.source.CAFile != "" {
		data, err := readFile(f.source.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("no certificate in %s", f.source.CAFile)
		}
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: f.guard.control}
	return &http.Transport{
		// No proxy: dialing it would hide the address of the real target from the guard.
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  5 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}, nil
}

// authorize adds the bearer token of TokenFile, for the configured host alone: a discovery document
// must not be able to send it elsewhere.
func (f *fetcher) authorize(request *http.Request) error {
	if f.source.TokenFile == "" {
		return nil
	}
	configured := f.source.JWKSURI
	if f.source.Discovery {
		configured = f.source.Issuer
	}
	u, err := url.Parse(configured)
	if err != nil || u.Host != request.URL.Host || request.URL.Scheme != "https" {
		return nil //nolint:nilerr // not the configured host: without the token, then
	}
	data, err := readFile(f.source.TokenFile)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(data)))
	return nil
}

// readFile reads a file of the configuration, within the size cap.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return readAll(file)
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, token.MaxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > token.MaxJWKSBytes {
		return nil, fmt.Errorf("%w: over %d bytes", errTooLarge, token.MaxJWKSBytes)
	}
	return data, nil
}

// contents is a parsed document.
type contents struct {
	keys        *token.KeySet
	authorities []*x509.Certificate
}

// parseKeys reads a JWKS. The bundle of a trust domain follows SPIFFE's rules, but what an OIDC discovery
// provider publishes for it is a plain JWKS. A set without any usable key would lock everybody out: it
// is an error, and the keys known before stay.
func parseKeys(source identity.Source) func([]byte) (contents, error) {
	return func(data []byte) (contents, error) {
		set, err := token.ParseJWKS(data, token.JWKSOptions{SPIFFE: source.TrustDomain != "" && !source.Discovery})
		if err != nil {
			return contents{}, err
		}
		for _, key := range set.Keys() {
			if key.Use != token.UseX509SVID {
				return contents{keys: set}, nil
			}
		}
		return contents{}, fmt.Errorf("%w: no usable key (%s)", token.ErrKeySet, strings.Join(set.Skipped(), "; "))
	}
}

// parseAuthorities reads a SPIFFE bundle, or PEM certificates.
func parseAuthorities(data []byte) (contents, error) {
	var out contents
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		set, err := token.ParseJWKS(data, token.JWKSOptions{SPIFFE: true})
		if err != nil {
			return out, err
		}
		out.authorities = set.X509Authorities()
	} else {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				return out, fmt.Errorf("%w: it holds a %s", errBundle, strings.ToLower(block.Type))
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return out, fmt.Errorf("%w: %w", errBundle, err)
			}
			out.authorities = append(out.authorities, cert)
		}
	}
	if len(out.authorities) == 0 {
		return out, fmt.Errorf("%w: no X.509 authority", errBundle)
	}
	for _, cert := range out.authorities {
		if !cert.IsCA {
			return out, fmt.Errorf("%w: a certificate of it is no authority", errBundle)
		}
	}
	return out, nil
}
