package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/writbroker/writ/client"
)

// Environment variables that stand in for flags.
const (
	envBroker   = "WRIT_BROKER"
	envAdmin    = "WRIT_ADMIN"
	envSocket   = "WRIT_SOCKET"
	envToken    = "WRIT_TOKEN_FILE" //nolint:gosec // the name of a variable that names a file
	envIdentity = "WRIT_IDENTITY_FILE"
	envCA       = "WRIT_CA_FILE"
)

// access is how a command reaches the broker: its URL, or the break-glass socket, and
// whom the caller is.
type access struct {
	broker, admin, socket     string
	tokenFile, identityFile   string
	identityType, certificate string
}

func (a *access) flags(f *pflag.FlagSet) {
	a.brokerFlags(f)
	f.StringVar(&a.admin, "admin", os.Getenv(envAdmin), "URL of the admin listener ["+envAdmin+"]")
	f.StringVar(&a.socket, "socket", os.Getenv(envSocket), "break-glass socket, instead of --admin ["+envSocket+"]")
	f.StringVar(&a.tokenFile, "token-file", os.Getenv(envToken), "file with a Writ token for administration ["+envToken+"]")
	f.StringVar(&a.identityFile, "identity-file", os.Getenv(envIdentity),
		"file with your identity provider's token; it is exchanged for what the command needs ["+envIdentity+"]")
	f.StringVar(&a.identityType, "identity-type", "id_token", "what --identity-file holds: id_token or jwt")
}

func (a *access) brokerFlags(f *pflag.FlagSet) {
	f.StringVar(&a.broker, "broker", os.Getenv(envBroker), "URL of the broker ["+envBroker+"]")
	f.StringVar(&a.certificate, "ca-file", os.Getenv(envCA), "certificates that the broker's must chain to ["+envCA+"]")
}

// connect makes a client of the admin API, whose calls need these scopes.
func (a *access) connect(scopes ...string) (*client.Admin, error) {
	if a.socket != "" {
		return client.NewAdmin(client.AdminConfig{Socket: a.socket})
	}
	if a.admin == "" {
		return nil, hinted(ExitUsage, errors.New("where is the broker?"),
			"set --admin (or "+envAdmin+"), or --socket for the break-glass socket")
	}
	transport, err := a.transport()
	if err != nil {
		return nil, err
	}
	token, err := a.token(transport, scopes)
	if err != nil {
		return nil, err
	}
	return client.NewAdmin(client.AdminConfig{URL: a.admin, Token: token, Transport: transport})
}

// token gives the Writ token that a call is sent with.
func (a *access) token(transport http.RoundTripper, scopes []string) (func(context.Context) (string, error), error) {
	switch {
	case a.tokenFile != "":
		return client.File(a.tokenFile), nil
	case a.identityFile != "":
		c, err := a.client(transport)
		if err != nil {
			return nil, err
		}
		typ, err := tokenType(a.identityType)
		if err != nil {
			return nil, err
		}
		x := &exchanged{client: c, file: a.identityFile, typ: typ, scopes: scopes}
		return x.token, nil
	}
	return nil, hinted(ExitUsage, errors.New("who are you?"),
		"set --identity-file (or "+envIdentity+") to a token of your identity provider, or --token-file to a Writ token")
}

// exchanged is a Writ token for one command, which may make many calls. It is not for
// concurrent use.
type exchanged struct {
	client    *client.Client
	file, typ string
	scopes    []string
	have      *client.Token
}

// margin is how long a token that is used again must still live.
const margin = 30 * time.Second

func (x *exchanged) token(ctx context.Context) (string, error) {
	if x.have != nil && time.Until(x.have.Expiry) > margin {
		return x.have.Secret.Reveal(), nil
	}
	proof, err := client.File(x.file)(ctx)
	if err != nil {
		return "", err
	}
	x.have, err = x.client.Exchange(ctx, client.Request{SubjectToken: proof, SubjectTokenType: x.typ, Scopes: x.scopes})
	if err != nil {
		return "", err
	}
	return x.have.Secret.Reveal(), nil
}

// client makes a client of the public API.
func (a *access) client(transport http.RoundTripper) (*client.Client, error) {
	return a.connectTo(transport, 0)
}

// connectTo is client with a bound of attempts; 0 is the client's own.
func (a *access) connectTo(transport http.RoundTripper, attempts int) (*client.Client, error) {
	if a.broker == "" {
		return nil, hinted(ExitUsage, errors.New("where is the broker?"), "set --broker (or "+envBroker+") to its issuer URL")
	}
	return client.New(client.Config{Issuer: strings.TrimSuffix(a.broker, "/"), Transport: transport, Attempts: attempts})
}

func (a *access) transport() (http.RoundTripper, error) {
	if a.certificate == "" {
		return client.NewTransport(nil), nil
	}
	pem, err := os.ReadFile(a.certificate)
	if err != nil {
		return nil, fmt.Errorf("reading --ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usage("no certificate in %s", a.certificate)
	}
	return client.NewTransport(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nil
}
