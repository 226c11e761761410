package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/token"
)

// awsMinter is the broker's minter alone: policy's decision, the compiler, the call, the cache; no request
// over HTTP, no workload token, and nothing that waits for a disk.
type awsMinter struct {
	world    *awsWorld
	orders   *mint.Minter
	sessions *awssts.Sessions
	http     *http.Client
	signer   token.Signer
	asked    int
}

func (s *stsServer) minter(ctx context.Context, signer token.Signer) (*awsMinter, error) {
	m := &awsMinter{http: awssts.HTTPClient(nil, stsTimeout), signer: signer}
	var err error
	if m.world, err = newAWSWorld(); err != nil {
		return nil, err
	}
	if m.orders, err = mint.New(mint.Config{Issuer: issuerURL}); err != nil {
		return nil, err
	}
	credentials, err := awssts.Login{Region: s.region, CredentialsFile: s.credentials}.Open(ctx)
	if err != nil {
		return nil, err
	}
	minter, err := awssts.New(awssts.Config{
		Mode: awssts.AssumeRole, Region: s.region, Endpoint: s.address, Plain: true, Credentials: credentials,
		HTTP: m.http, Timeout: stsTimeout, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	m.sessions, err = awssts.NewSessions(awssts.SessionsConfig{Minter: minter})
	return m, err
}

func (m *awsMinter) close() { m.http.CloseIdleConnections() }

var (
	errRefused = errors.New("policy refuses what is measured")
	errCache   = errors.New("a session was kept that had to be made, or made that had to be kept")
)

// session decides and orders: a session of a new task, or again the one of the first.
func (m *awsMinter) session(ctx context.Context, again bool) error {
	id, now, task := prefix+agent(0), time.Now(), 0
	fresh := !again || m.asked == 0
	if fresh {
		task = m.asked
		m.asked++
	}
	d := m.world.bundle.Authorize(policy.Request{
		ID: uuid.NewString(), Time: now, Task: awsTask(task), TTL: stsSession, Scopes: slices.Collect(m.world.set.All()),
		Subject: identity.Principal{ID: id, Kind: identity.KindWorkload, Attributes: map[string]any{}},
	})
	if !d.Allowed {
		return fmt.Errorf("%w: %s", errRefused, d.Reason)
	}
	o, err := m.orders.SessionOrder(d.Grant, mint.Input{Signer: m.signer, IssuedAt: now, ClientID: id})
	if err != nil {
		return err
	}
	o.Bundle, o.RequestedTTL = m.world.bundle, stsSession
	o.Alive = func(*mint.Session) bool { return true }
	_, made, err := m.sessions.Session(ctx, o)
	if err == nil && made != fresh {
		err = errCache
	}
	return err
}
