package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/verifier"
)

const (
	// look is how often each resource server is asked whether it still takes the token: the
	// error of the measurement, which makes it longer, never shorter.
	look = 500 * time.Microsecond
	// tooLong ends the measurement of one rule.
	tooLong = 10 * time.Second
)

// propagation measures from the start of the call to the admin API, over HTTP, to when each of the
// connected resource servers refuses the token that the rule hits. Rules by token, each of
// which hits one, take turns with rules by role, each of which hits every token that the
// role is in, however many there are.
func (r *run) propagation(ctx context.Context) error {
	b, err := r.startBroker(ctx, "revocation")
	if err != nil {
		return err
	}
	p := &propagation{run: r, broker: b, stop: func() {}}
	err = p.measure(ctx)
	p.stop()
	return errors.Join(err, b.stop())
}

type propagation struct {
	*run
	broker  *broker
	client  *client.Client
	admin   *client.Admin
	servers []*verifier.Verifier
	stop    func()
	agents  int // that were given a token so far

	byToken, byRole []time.Duration // until one server refused
	tokenCall       []time.Duration // until the last server refused
	roleCall        []time.Duration
}

func (p *propagation) measure(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	until := time.Now().Add(p.cfg.Duration / 2)
	for n := 0; n < 4 || time.Now().Before(until); n++ {
		if err := p.revokeOne(ctx, n%2 == 1, n < 2); err != nil {
			return err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	p.reportPropagation()
	return nil
}

// connect gets the tokens that the callers need, and brings up the resource servers.
func (p *propagation) connect(ctx context.Context) error {
	var err error
	if p.client, err = client.New(client.Config{Issuer: p.broker.url}); err != nil {
		return err
	}
	source := func(workload, scope string) (*client.Source, error) {
		raw, err := p.broker.issuer.token(ctx, workload)
		if err != nil {
			return nil, err
		}
		return client.NewSource(client.SourceConfig{Client: p.client, Request: client.Request{SubjectToken: raw, Scopes: []string{scope}}})
	}
	security, err := source(securityAgent, "writ:revoke:**")
	if err != nil {
		return err
	}
	server, err := source(serverAgent, "writ:feed:read")
	if err != nil {
		return err
	}
	p.admin, err = client.NewAdmin(client.AdminConfig{URL: p.broker.admin, Token: security.Bearer})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	p.stop = func() {
		cancel()
		_ = g.Wait() // Run ends with its context, without an error
		server.Close()
		security.Close()
	}
	transport := client.NewTransport(nil)
	transport.MaxIdleConnsPerHost = p.sizes.Connections
	for n := range p.sizes.Verifiers {
		v, err := verifier.New(ctx, verifier.Config{
			Issuer: p.broker.url, Audience: []string{toolAudience}, Tool: tool,
			FeedToken: server, Name: fmt.Sprintf("server-%d", n), Transport: transport,
		})
		if err != nil {
			return fmt.Errorf("making resource server: %w", err)
		}
		p.servers = append(p.servers, v)
		g.Go(func() error { return v.Run(running) })
	}
	return p.wait(ctx)
}

func (p *propagation) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, v := range p.servers {
		if err := v.Wait(ctx); err != nil {
			return fmt.Errorf("connecting resource servers: %w", err)
		}
	}
	return nil
}

// revokeOne gets a token, shows it to every server, revokes it, and waits until each refuses it.
func (p *propagation) revokeOne(ctx context.Context, byRole, warm bool) error {
	raw, rule, err := p.victim(ctx, byRole)
	if err != nil {
		return err
	}
	for _, v := range p.servers {
		if _, err := p.accepted(ctx, v, raw); err != nil {
			return err
		}
	}
	began := time.Now()
	called := make(chan error, 1)
	go func() {
		_, err := p.admin.Revoke(ctx, rule)
		called <- err
	}()
	took, err := p.refusals(ctx, raw, began, revoked)
	if err := errors.Join(err, <-called); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	if warm {
		return nil
	}
	last := took[len(took)-1]
	if byRole {
		p.byRole, p.roleCall = append(p.byRole, took...), append(p.roleCall, last)
	} else {
		p.byToken, p.tokenCall = append(p.byToken, took...), append(p.tokenCall, last)
	}
	return nil
}

// victim gets a token from the broker and says the rule that takes it back.
func (p *propagation) victim(ctx context.Context, byRole bool) (string, wire.RevokeRequest, error) {
	rule := wire.RevokeRequest{Selector: "role", Value: massRole, Apply: true, Reason: "bench"}
	subject, err := p.broker.issuer.token(ctx, agent(p.agents%agents(p.sizes.Bindings)))
	p.agents++
	if err != nil {
		return "", rule, err
	}
	t, err := p.client.Exchange(ctx, client.Request{
		SubjectToken: subject, Scopes: []string{"warehouse:read:sales/eu/*"}, Audience: []string{toolAudience},
	})
	if err != nil {
		return "", rule, err
	}
	if !byRole {
		claims, err := p.accepted(ctx, p.servers[0], t.Secret.Reveal())
		if err != nil {
			return "", rule, err
		}
		rule.Selector, rule.Value = "token", claims.ID
	}
	return t.Secret.Reveal(), rule, nil
}

// accepted waits until a server takes a token. One that was told of the rule before, but not
// yet of its place in the log, refuses what was minted after it too.
func (p *propagation) accepted(ctx context.Context, v *verifier.Verifier, raw string) (*verifier.Claims, error) {
	for began := time.Now(); ; {
		claims, err := v.Verify(ctx, raw)
		if err == nil {
			return claims, nil
		}
		if time.Since(began) > tooLong {
			return nil, fmt.Errorf("a resource server refuses a good token: %w", err)
		}
		if err := pause(ctx, look); err != nil {
			return nil, err
		}
	}
}

func revoked(err error) bool {
	_, ok := errors.AsType[*verifier.RevokedError](err)
	return ok
}

// refusals asks the servers in turn until each has refused for the reason that is meant, and gives how
// long each took, in order.
func (p *propagation) refusals(ctx context.Context, raw string, began time.Time, meant func(error) bool) ([]time.Duration, error) {
	waiting := slices.Clone(p.servers)
	var took []time.Duration
	for {
		waiting = slices.DeleteFunc(waiting, func(v *verifier.Verifier) bool {
			if _, err := v.Verify(ctx, raw); !meant(err) {
				return false
			}
			took = append(took, time.Since(began))
			return true
		})
		switch {
		case len(waiting) == 0:
			return took, nil
		case time.Since(began) > tooLong:
			return took, fmt.Errorf("%d resource servers still take the token after %s", len(waiting), tooLong)
		}
		if err := pause(ctx, look); err != nil {
			return took, err
		}
	}
}

func (p *propagation) reportPropagation() {
	slices.Sort(p.byToken)
	slices.Sort(p.byRole)
	all := slices.Concat(p.byToken, p.byRole)
	slices.Sort(all)
	about := fmt.Sprintf("from the admin call to when a resource server refuses, %d connected", p.sizes.Verifiers)
	p.report.add(PartRevocation, "propagation_p50_ms", milliseconds(at(all, 0.5)), Goal{}, about)
	p.report.add(PartRevocation, "propagation_p99_ms", milliseconds(at(all, 0.99)), AtMost(50), "")
	p.report.add(PartRevocation, "mass_rule_ratio", float64(median(p.roleCall))/float64(median(p.tokenCall)), AtMost(1.5),
		"time until every server refuses: a rule by role over one by token")
	p.report.add(PartRevocation, "propagation_rules", float64(len(p.roleCall)+len(p.tokenCall)), Goal{}, "rules that were timed")
}
