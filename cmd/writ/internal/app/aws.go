package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/revoker"
)

// openAWS makes the broker's way to AWS, if it has one, and names the audience that no token may
// have besides. It calls nobody: AWS may be down when a broker starts.
func (a *App) openAWS(ctx context.Context) (broker.SessionMinter, []string, error) {
	c := a.cfg.AWS
	if c.Mode == "" {
		return nil, nil, nil
	}
	roots, err := rootsOf(c.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("loading CA of the AWS endpoint: %w", err)
	}
	client := awssts.HTTPClient(roots, c.Timeout)
	a.onClose(func() error { client.CloseIdleConnections(); return nil })
	cfg := awssts.Config{
		Mode: awssts.Mode(c.Mode), Region: c.Region, Endpoint: c.Endpoint, Plain: c.PlainPolicies, ExternalID: c.ExternalID,
		Issuer: a.cfg.Issuer, HTTP: client, Timeout: c.Timeout, Now: a.now,
	}
	var reserved []string
	if c.Mode == config.AWSWebIdentity {
		cfg.Audience = c.WebAudience()
		reserved = []string{cfg.Audience}
	} else {
		cfg.Credentials, err = awssts.Login{
			Region: c.Region, Profile: c.Profile, ConfigFile: c.ConfigFile, CredentialsFile: c.CredentialsFile,
		}.Open(ctx)
		if err != nil {
			return nil, nil, err
		}
	}
	minter, err := awssts.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	sessions, err := awssts.NewSessions(awssts.SessionsConfig{Minter: minter, Environment: a.cfg.Environment})
	if err != nil {
		return nil, nil, err
	}
	a.sessions = sessions
	return sessions, reserved, nil
}

// openRevoker makes what has AWS deny sessions, if the configuration has one. It calls nobody but the store.
func (a *App) openRevoker(ctx context.Context) (broker.SessionRevoker, error) {
	c := a.cfg.AWS.Revoker
	if c == nil {
		return nil, nil //nolint:nilnil // nil means none, to the broker too
	}
	roots, err := rootsOf(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("loading CA of the IAM endpoint: %w", err)
	}
	login := awssts.Login{Region: a.cfg.AWS.Region, Profile: c.Profile, ConfigFile: c.ConfigFile, CredentialsFile: c.CredentialsFile}
	credentials, err := login.Open(ctx)
	if err != nil {
		return nil, err
	}
	client := awssts.HTTPClient(roots, a.cfg.AWS.Timeout)
	a.onClose(func() error { client.CloseIdleConnections(); return nil })
	r, err := revoker.New(revoker.Config{
		Region: a.cfg.AWS.Region, Endpoint: c.Endpoint, Credentials: credentials, HTTP: client,
		Cell: a.store.Cells(), Logger: a.logger, Now: a.now,
	})
	if err != nil {
		return nil, err
	}
	// Agents ask as soon as there is a listener: for what AWS denies already, they get nothing.
	if err := r.Load(ctx); err != nil {
		a.logger.WarnContext(ctx, "the plan of AWS denies is not known yet", "error", err)
	}
	a.revoker = r
	a.running = append(a.running, func(ctx context.Context) error { return r.Run(ctx, a.broker) })
	return r, nil
}

// rootsOf reads roots; without a file they are the system's, which is nil.
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nil means the system's, to crypto/tls too
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", path)
	}
	return roots, nil
}
