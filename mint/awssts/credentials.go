package awssts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Login says where the broker's own credentials come from. The zero value is the SDK's default
// chain: environment, shared files, a workload's role.
type Login struct {
	Region          string // required
	Profile         string
	ConfigFile      string // shared config, instead of ~/.aws/config
	CredentialsFile string // shared credentials, instead of ~/.aws/credentials
}

// Open finds the credentials, which renew themselves. It fetches none yet: what cannot be had
// now is an error of the sessions that need it.
func (l Login) Open(ctx context.Context) (aws.CredentialsProvider, error) {
	opt := []func(*config.LoadOptions) error{config.WithRegion(l.Region)}
	if l.Profile != "" {
		opt = append(opt, config.WithSharedConfigProfile(l.Profile))
	}
	if l.ConfigFile != "" {
		opt = append(opt, config.WithSharedConfigFiles([]string{l.ConfigFile}))
	}
	if l.CredentialsFile != "" {
		opt = append(opt, config.WithSharedCredentialsFiles([]string{l.CredentialsFile}))
	}
	loaded, err := config.LoadDefaultConfig(ctx, opt...)
	if err != nil {
		return nil, fmt.Errorf("finding the broker's AWS credentials: %w", err)
	}
	return loaded.Credentials, nil
}

// HTTPClient makes calls to STS: to servers of these roots (nil: the system's), without
// following a redirect, which would take a signed request elsewhere. Timeout is that of a
// session; an attempt gives up early enough for another.
func HTTPClient(roots *x509.CertPool, timeout time.Duration) *http.Client {
	const idlePerHost = 64
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DialContext:       (&net.Dialer{Timeout: timeout / 2}).DialContext,
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: timeout / 2, ResponseHeaderTimeout: timeout * 2 / 5,
			MaxIdleConns: idlePerHost, MaxIdleConnsPerHost: idlePerHost, IdleConnTimeout: time.Minute,
		},
	}
}
