package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	publisherBeat = time.Second
	partRules     = 20_000
)

// publisher serves what a resource server reads of a broker: metadata, keys, and a feed whose
// snapshot holds as many rules as were asked for. No broker of a benchmark lives long enough to
// get a million rules by its admin API, each made durable; a resource server cannot tell.
type publisher struct {
	url     string
	key     *ecdsa.PrivateKey
	signer  token.Signer
	records token.Signer
	public  ed25519.PublicKey
	rules   int
	http    *http.Server
	done    chan error
}

func startPublisher(ctx context.Context, rules int) (*publisher, error) {
	p := &publisher{rules: rules, done: make(chan error, 1)}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	if p.signer, err = token.NewLocalSigner(signingKey, token.ES256, p.key); err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making records key: %w", err)
	}
	p.public = public
	if p.records, err = token.NewLocalSigner("records-1", token.Ed25519, private); err != nil {
		return nil, fmt.Errorf("making records signer: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	p.url = "http://" + ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathMetadata, p.metadata)
	mux.HandleFunc("GET "+wire.PathJWKS, p.jwks)
	mux.HandleFunc("GET "+wire.PathFeed, p.feed)
	mux.HandleFunc("POST "+wire.PathAck, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	p.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { p.done <- p.http.Serve(ln) }()
	return p, nil
}

func (p *publisher) close() error {
	err := p.http.Close()
	<-p.done
	return err
}

func (p *publisher) metadata(w http.ResponseWriter, _ *http.Request) {
	set, err := token.NewKeySet(token.Key{ID: p.records.KeyID(), Algorithm: token.Ed25519, Public: p.public, Use: "sig"})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	records, _ := json.Marshal(set) // of public keys: it cannot fail
	answer(w, wire.Metadata{
		Issuer: p.url, JWKSURI: p.url + wire.PathJWKS, RevocationFeed: p.url + wire.PathFeed,
		RevocationAck: p.url + wire.PathAck, RecordsJWKS: records, MaxTokenTTL: 3600,
	})
}

func (p *publisher) jwks(w http.ResponseWriter, _ *http.Request) {
	set, err := token.NewKeySet(token.Key{ID: signingKey, Algorithm: token.ES256, Public: p.key.Public(), Use: "sig"})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer(w, set)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", wire.TypeJSON)
	_ = json.NewEncoder(w).Encode(v)
}

// feed sends everything once, and then heartbeats.
func (p *publisher) feed(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	w.Header().Set("Content-Type", wire.TypeEventStream)
	if err := p.snapshot(r.Context(), w); err != nil {
		return // the reader's wait will say that nothing came
	}
	for r.Context().Err() == nil {
		h := revocation.Heartbeat{Position: p.last(), StreamAgeMS: time.Since(began).Milliseconds() + 1}
		if err := sendEvent(w, revocation.Event{Type: revocation.EventHeartbeat, Heartbeat: &h}); err != nil {
			return
		}
		if pause(r.Context(), publisherBeat) != nil {
			return
		}
	}
}

func (p *publisher) last() token.Rev {
	return token.Rev{Lineage: lineage, Seq: uint64(p.rules) + 1}
}

// snapshot makes and sends the rules in parts, each signed.
func (p *publisher) snapshot(ctx context.Context, w http.ResponseWriter) error {
	part := revocation.Snapshot{ID: "bench", Part: 1, Lineages: []revocation.Lineage{*markerEvent().Lineage}}
	for n := range p.rules {
		part.Rules = append(part.Rules, *tokenRule(n).Rule)
		if len(part.Rules) < partRules {
			continue
		}
		if err := p.sendPart(ctx, w, part); err != nil {
			return err
		}
		part = revocation.Snapshot{ID: part.ID, Part: part.Part + 1, Rules: part.Rules[:0]}
	}
	part.Last, part.Position = true, p.last()
	return p.sendPart(ctx, w, part)
}

func (p *publisher) sendPart(ctx context.Context, w http.ResponseWriter, part revocation.Snapshot) error {
	payload, err := json.Marshal(part)
	if err != nil {
		return err
	}
	signed, err := token.Sign(ctx, revocation.TypeSnapshot, payload, p.records)
	if err != nil {
		return err
	}
	return sendEvent(w, revocation.Event{Type: revocation.EventSnapshot, Position: part.Position, Snapshot: signed})
}

func sendEvent(w http.ResponseWriter, e revocation.Event) error {
	data, err := revocation.AppendSSE(nil, e)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// mint signs the n-th token that no rule hits.
func (p *publisher) mint(ctx context.Context, n int) (string, error) {
	c, err := bystander(n)
	if err != nil {
		return "", err
	}
	c.Issuer = p.url
	payload, err := c.Encode()
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	return token.Sign(ctx, token.TypeAccessToken, payload, p.signer)
}

// Token is what the publisher takes for the feed: anything.
func (p *publisher) Token(context.Context) (*client.Token, error) {
	return &client.Token{Secret: "bench"}, nil
}

// Discard has nothing to drop.
func (p *publisher) Discard(*client.Token) {}
