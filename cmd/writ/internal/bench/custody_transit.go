package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

const (
	transitRounds = 9
	signedBytes   = 700 // of a usual token, without its signature
)

// signing measures signatures that Vault makes: by the broker's own client, with batches and without,
// and by a bare one that knows nothing but the request.
type signing struct {
	*custodyWorld
	broker          *broker
	bodies          [][]byte
	single, batched token.Signer
	bare            *bareClient
	inputs          [][]byte

	floor, ones, batches, exchanges []*sample // one a round
}

func (w *custodyWorld) transit(ctx context.Context) error {
	b, err := w.startConfigured(ctx, "vault-signs", nil, w.vault.keys(config.CustodyVaultTransit))
	if err != nil {
		return err
	}
	s := &signing{custodyWorld: w, broker: b}
	return errors.Join(s.measure(ctx), stopAll(b))
}

func (s *signing) measure(ctx context.Context) error {
	unbatched := s.vault.config()
	unbatched.BatchSize = 1
	one, err := vault.New(unbatched)
	if err != nil {
		return err
	}
	many, err := vault.New(s.vault.config())
	if err != nil {
		return errors.Join(err, one.Close(ctx))
	}
	err = s.prepare(ctx, one, many)
	if err == nil {
		err = s.rounds(ctx)
	}
	if s.bare != nil {
		s.bare.http.CloseIdleConnections()
	}
	if err := errors.Join(err, one.Close(ctx), many.Close(ctx)); err != nil {
		return err
	}
	s.tell()
	return nil
}

// prepare has one key made, which all sign with.
func (s *signing) prepare(ctx context.Context, one, many *vault.Client) error {
	ring := s.vault.config().Rings[0]
	k, err := makeKey(ctx, one, ring)
	if err != nil {
		return err
	}
	for c, signer := range map[*vault.Client]*token.Signer{one: &s.single, many: &s.batched} {
		custody, err := c.Signing()
		if err != nil {
			return err
		}
		if *signer, err = custody.Open(ctx, ring, k); err != nil {
			return fmt.Errorf("opening key: %w", err)
		}
	}
	if s.bare, err = s.vault.bareClient(ctx, ring, s.sizes.Connections); err != nil {
		return err
	}
	for range repeated {
		input := make([]byte, signedBytes)
		_, _ = rand.Read(input) // never fails
		s.inputs = append(s.inputs, input)
	}
	n := agents(s.sizes.Bindings)
	s.bodies, err = s.broker.issuer.exchanges(ctx, min(repeated, n), n)
	return err
}

func makeKey(ctx context.Context, c *vault.Client, ring string) (keys.KeyInfo, error) {
	custody, err := c.Signing()
	if err != nil {
		return keys.KeyInfo{}, err
	}
	const born = 1
	m, err := custody.Generate(ctx, ring, token.ES256, born)
	if err != nil {
		return keys.KeyInfo{}, fmt.Errorf("making key: %w", err)
	}
	public, err := token.Key{ID: m.ID, Algorithm: token.ES256, Public: m.Public}.MarshalJSON()
	return keys.KeyInfo{ID: m.ID, Algorithm: token.ES256, Public: public, Sealed: m.Sealed, Custody: custody.Name(), Born: born}, err
}

// rounds measures all in turn, in an order that changes. The first round warms up.
func (s *signing) rounds(ctx context.Context) error {
	each := s.cfg.Duration / (4*transitRounds + 4)
	by := func(signer token.Signer) func() (*sample, error) {
		return func() (*sample, error) {
			return drive(ctx, s.sizes.Connections, each, func(ctx context.Context, n int) (bool, error) {
				_, err := signer.Sign(ctx, s.inputs[n%len(s.inputs)])
				return true, err
			})
		}
	}
	stretches := []struct {
		into  *[]*sample
		drive func() (*sample, error)
	}{
		{&s.floor, func() (*sample, error) {
			return drive(ctx, s.sizes.Connections, each, func(ctx context.Context, n int) (bool, error) { return true, s.bare.sign(ctx, n) })
		}},
		{&s.ones, by(s.single)},
		{&s.batches, by(s.batched)},
		{&s.exchanges, func() (*sample, error) {
			return s.load.post(ctx, s.broker.url+wire.PathToken, s.bodies, false, each)
		}},
	}
	for round := range transitRounds + 1 {
		for i := range stretches {
			runtime.GC() // none pays for the garbage of the one before
			one := stretches[(i+round)%len(stretches)]
			got, err := one.drive()
			if err != nil {
				return err
			}
			if round > 0 {
				*one.into = append(*one.into, got)
			}
		}
	}
	return nil
}

func (s *signing) tell() {
	with := fmt.Sprintf(" at %d connections", s.sizes.Connections)
	s.figure("transit_ratio", ratio(s.ones, s.floor, rateOf), AtLeast(0.9), "signatures a second with custody vault-transit, each in a call of its own, over a bare client of Vault's transit/sign,"+with)
	s.figure("transit_batch_ratio", ratio(s.batches, s.floor, rateOf), AtLeast(1), "the same with batches, as they are by default")
	s.figure("transit_rps", middle(s.ones, rateOf), Goal{}, "signatures a second, without batches")
	s.figure("transit_p99_ms", middle(s.ones, p99Of), Goal{}, "")
	s.figure("transit_batch_rps", middle(s.batches, rateOf), Goal{}, "with batches")
	s.figure("transit_batch_p99_ms", middle(s.batches, p99Of), Goal{}, "")
	s.figure("vault_sign_rps", middle(s.floor, rateOf), Goal{}, "of the bare client")
	s.figure("vault_sign_p99_ms", middle(s.floor, p99Of), Goal{}, "")
	s.figure("transit_exchange_ratio", ratio(s.exchanges, s.floor, rateOf), Goal{}, "rate of exchange with custody vault-transit, over the bare client's signatures")
	s.figure("transit_exchange_rps", middle(s.exchanges, rateOf), Goal{}, "")
	s.figure("transit_exchange_p99_ms", middle(s.exchanges, p99Of), Goal{}, "")
}

// bareClient calls Vault's transit/sign with requests that were made ahead, and looks at no more of an
// answer than its status. It is what the way through Vault costs at least.
type bareClient struct {
	http   *http.Client
	url    string
	token  client.Secret
	bodies [][]byte
}

// bareClient signs with the newest version of a ring's key, under a token of the broker's own policy.
func (p *vaultPlace) bareClient(ctx context.Context, ring string, conns int) (*bareClient, error) {
	const es256 = "es256"
	name := signKeys + "-" + ring + "-" + es256
	var key struct {
		Data struct {
			Latest int `json:"latest_version"`
		} `json:"data"`
	}
	if err := p.server.call(ctx, http.MethodGet, p.settings.TransitMount+"/keys/"+name, nil, &key); err != nil {
		return nil, err
	}
	b := &bareClient{
		url: p.settings.Address + "/v1/" + p.settings.TransitMount + "/sign/" + name + "/sha2-256",
		http: &http.Client{Transport: &http.Transport{
			MaxIdleConns: conns, MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true,
		}},
	}
	var err error
	if b.token, err = p.token(ctx); err != nil {
		return nil, err
	}
	const digest = 32
	for range repeated {
		input := make([]byte, digest)
		_, _ = rand.Read(input) // never fails
		body, err := json.Marshal(map[string]any{"input": input, "key_version": key.Data.Latest, "marshaling_algorithm": "jws", "prehashed": true})
		if err != nil {
			return nil, fmt.Errorf("making requests: %w", err)
		}
		b.bodies = append(b.bodies, body)
	}
	return b, nil
}

func (b *bareClient) sign(ctx context.Context, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, b.url, bytes.NewReader(b.bodies[n%len(b.bodies)]))
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", b.token.Reveal())
	req.Header.Set("X-Vault-Request", "true")
	resp, err := b.http.Do(req)
	if err != nil {
		return fmt.Errorf("calling Vault: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("transit/sign answered %d: %s", resp.StatusCode, text)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("reading signature: %w", err)
	}
	return nil
}
