package brokertest

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

// Bounds of a World.
const (
	MaxTTL       = time.Hour
	DefaultTTL   = 15 * time.Minute
	Skew         = 30 * time.Second
	MaxStaleness = 30 * time.Second
	JWKSMaxAge   = 10 * time.Minute
)

// Noon is when a World begins whose Options have no clock.
var Noon = time.Date(2026, time.July, 8, 12, 0, 0, 0, time.UTC)

// Options change a World before it is made.
type Options struct {
	Now    func() time.Time          // nil: the clock stands at Noon until Advance
	Bundle string                    // "" = Bundle
	Log    func(store.Log) store.Log // wraps the revocation log
	Config func(*broker.Config)      // the last word on the broker's parts
}

// World is a broker and all that it stands on.
type World struct {
	*broker.Broker

	Cluster   *Issuer // workloads, k8s:…
	Corp      *Issuer // people, user:…, who need an agent for more than administration
	Staff     *Issuer // people, staff:…, who do not
	Authority *Authority

	Dir     string
	Root    *keys.Root
	Store   *bolt.DB
	Index   *revocation.Index
	Journal *journal.Journal
	Acks    *revocation.Acks
	Keys    *keys.Rotator
	Audit   *audit.Log
	Ledger  *broker.Ledger
	Policy  *policy.Holder
	Sources *identity.Registry
	JWKS    *jwks.Cache

	base   func() time.Time
	offset atomic.Int64
}

// New makes a World, which ends with the test.
func New(tb testing.TB, o Options) *World {
	tb.Helper()
	w := &World{Dir: tb.TempDir(), base: o.Now}
	if w.base == nil {
		w.base = func() time.Time { return Noon }
	}
	w.openStore(tb)
	w.openKeys(tb)
	w.openRevocation(tb, o)
	w.openAudit(tb)
	w.openIdentity(tb)
	bundle := o.Bundle
	if bundle == "" {
		bundle = Bundle
	}
	w.Policy = policy.NewHolder(Parse(tb, bundle, w.Sources.Sources()))
	w.openBroker(tb, o)
	return w
}

// Now is the World's time; Advance moves it.
func (w *World) Now() time.Time { return w.base().Add(time.Duration(w.offset.Load())) }

// Advance moves the clock, and nobody notices: the replica becomes stale.
func (w *World) Advance(d time.Duration) { w.offset.Add(int64(d)) }

// Pass moves the clock, while the replica keeps in touch with the store.
func (w *World) Pass(tb testing.TB, d time.Duration) {
	tb.Helper()
	w.Advance(d)
	must(tb, w.Journal.Sync(tb.Context()))
	must(tb, w.Keys.Refresh(tb.Context()))
}

// Parse compiles a bundle.
func Parse(tb testing.TB, text string, sources []identity.Source) *policy.Bundle {
	tb.Helper()
	b, err := policy.Parse(map[string][]byte{"bundle.yaml": []byte(text)}, policy.Options{
		Issuer: Audience, MaxTTL: MaxTTL, DefaultTTL: DefaultTTL, Sources: sources,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (w *World) openStore(tb testing.TB) {
	tb.Helper()
	root, err := keys.LoadOrCreateRoot(filepath.Join(w.Dir, "root.key"))
	must(tb, err)
	sealer, err := store.NewSealer(root.StoreMACKey())
	must(tb, err)
	w.Root = root
	w.Store, err = bolt.Open(tb.Context(), bolt.Config{Path: filepath.Join(w.Dir, "store.db"), Sealer: sealer, Now: w.Now})
	must(tb, err)
	tb.Cleanup(func() { _ = w.Store.Close() })
}

func (w *World) openKeys(tb testing.TB) {
	tb.Helper()
	custody, err := file.New(w.Root.SealKey())
	must(tb, err)
	w.Keys, err = keys.New(tb.Context(), keys.Config{
		Ring: "signing-keys", Cell: w.Store.Cells(), Custody: custody, MACKey: w.Root.RingMACKey(),
		Schedule: keys.Schedule{
			RotateEvery: 24 * time.Hour, JWKSMaxAge: JWKSMaxAge, MaxTTL: MaxTTL, Skew: Skew,
		},
		Now: w.Now, Logger: slog.New(slog.DiscardHandler), Lacking: w.lacking,
	})
	must(tb, err)
}

// lacking is asked when a rotation is due, long after everything is open.
func (w *World) lacking(kid string) (out keys.Lacking) {
	behind, silent := w.Acks.Lacking(kid)
	for _, v := range behind {
		out.Behind = append(out.Behind, v.Label())
	}
	for _, v := range silent {
		out.Silent = append(out.Silent, v.Label())
	}
	return out
}

func (w *World) openRevocation(tb testing.TB, o Options) {
	tb.Helper()
	life := MaxTTL + 2*Skew
	w.Index = revocation.NewIndex(revocation.Options{Retain: 2 * life, ForeignSkew: Skew})
	w.Acks = revocation.NewAcks(w.Now, w.Index.Covers)
	var log store.Log = w.Store.Log("revocations")
	if o.Log != nil {
		log = o.Log(log)
	}
	var err error
	w.Journal, err = journal.Open(tb.Context(), journal.Config{
		Dir: filepath.Join(w.Dir, "journal"), Log: log, Index: w.Index, Now: w.Now,
		Logger: slog.New(slog.DiscardHandler), MaxStaleness: MaxStaleness, TokenLife: life,
	})
	must(tb, err)
	tb.Cleanup(func() { _ = w.Journal.Close() })
	must(tb, w.Journal.Sync(tb.Context()))
}

func (w *World) openAudit(tb testing.TB) {
	tb.Helper()
	var err error
	w.Audit, err = audit.Open(tb.Context(), audit.Config{
		// Longer than any test moves the clock: a write under way would look as if it hung.
		Dir: filepath.Join(w.Dir, "audit"), Signer: w.Root.RecordsKey(), Now: w.Now, MaxWait: 48 * time.Hour,
	})
	must(tb, err)
	tb.Cleanup(func() { _ = w.Audit.Close() })
}

func (w *World) openIdentity(tb testing.TB) {
	tb.Helper()
	w.Cluster, w.Corp, w.Staff = newIssuer(tb, "cluster", w.Now), newIssuer(tb, "corp", w.Now), newIssuer(tb, "staff", w.Now)
	w.Authority = NewAuthority(tb, w.Now)
	source := func(i *Issuer, prefix string, kind identity.Kind) identity.Source {
		return identity.Source{
			Name: i.Name, Issuer: i.URL, JWKSFile: w.write(tb, i.Name+".jwks", i.jwks(tb)),
			Audiences: []string{Audience}, Algorithms: []string{token.ES256}, SubjectPrefix: prefix, Kind: kind,
			Claims: map[string]string{"team": "claims.?team"},
			Require: []identity.Rule{{
				Expression: `!has(claims.suspended)`, Message: "the account is suspended",
			}},
		}
	}
	staff := source(w.Staff, "staff:", identity.KindUser)
	staff.SelfExchange = true
	var err error
	w.Sources, err = identity.Compile([]identity.Source{
		source(w.Cluster, "k8s:", identity.KindWorkload), source(w.Corp, "user:", identity.KindUser), staff,
		{
			Name: "spire", Preset: "spiffe-x509", TrustDomain: TrustDomain,
			X509: &identity.X509Config{BundleFile: w.write(tb, "bundle.pem", w.Authority.PEM())},
		},
	})
	must(tb, err)
	w.JWKS, err = jwks.New(jwks.Config{
		Sources: w.Sources.Sources(), OnAuthorities: w.Sources.SetAuthorities, Now: w.Now, Logger: slog.New(slog.DiscardHandler),
	})
	must(tb, err)
	tb.Cleanup(w.JWKS.Close)
}

func (w *World) write(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(w.Dir, name)
	must(tb, os.WriteFile(path, data, 0o600))
	return path
}

func (w *World) openBroker(tb testing.TB, o Options) {
	tb.Helper()
	minter, err := mint.New(mint.Config{Issuer: Audience})
	must(tb, err)
	w.Ledger = broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: MaxTTL})
	cfg := broker.Config{
		Issuer: Audience, Identity: identity.NewCache(w.Sources, w.JWKS, 1000), Policy: w.Policy.Current, Keys: w.Keys,
		Index: w.Index, Recorder: w.Journal, Acks: w.Acks, Minter: minter, Audit: w.Audit, Ledger: w.Ledger,
		Limits: broker.Limits{
			MaxTTL: MaxTTL, Skew: Skew, MaxStaleness: MaxStaleness, MaxDepth: 4, MaxAncestors: 8,
		},
		Reserved: []string{"https://Cloud.example/"}, // of the tool cloud
		Now:      w.Now,
	}
	if o.Config != nil {
		o.Config(&cfg)
	}
	w.Broker, err = broker.New(cfg)
	must(tb, err)
}

// Revoke puts one rule into force, as another replica would: by the journal alone.
func (w *World) Revoke(tb testing.TB, sel revocation.Selector, value string) revocation.Rule {
	tb.Helper()
	return w.rule(tb, sel, value, false)
}

// Quarantine stops issuance to a principal or an identity source.
func (w *World) Quarantine(tb testing.TB, sel revocation.Selector, value string) revocation.Rule {
	tb.Helper()
	return w.rule(tb, sel, value, true)
}

func (w *World) rule(tb testing.TB, sel revocation.Selector, value string, quarantine bool) revocation.Rule {
	tb.Helper()
	r := revocation.Rule{
		ID: uuid.Must(uuid.NewV7()).String(), Selector: sel, Value: value, Quarantine: quarantine,
		CreatedAt: w.Now(), Reason: "test", By: "test",
	}
	if !quarantine {
		r.ExpiresAt = w.Now().Add(2 * MaxTTL)
	}
	_, err := w.Journal.Append(context.WithoutCancel(tb.Context()), []revocation.Rule{r}, nil)
	must(tb, err)
	return r
}

// Claims verifies a token of the broker and gives what it says.
func (w *World) Claims(tb testing.TB, raw string) (*token.Claims, string) {
	tb.Helper()
	u, err := token.Parse(raw)
	must(tb, err)
	must(tb, token.CheckType(u.Header(), token.TypeAccessToken))
	key, ok := w.Keys.Ring().Public().Key(u.Header().KeyID)
	if !ok {
		tb.Fatalf("kid %q is not published", u.Header().KeyID)
	}
	payload, err := u.Verify(key)
	must(tb, err)
	c, err := token.DecodeClaims(payload)
	must(tb, err)
	must(tb, c.Validate(token.Expect{Issuer: Audience, Audience: c.Audience, Now: w.Now(), MaxTTL: MaxTTL}))
	return c, u.Header().KeyID
}

// SVID is a workload's certificate chain.
func (w *World) SVID(tb testing.TB, path string) []*x509.Certificate {
	tb.Helper()
	chain, _ := w.Authority.SVID(tb, path)
	return chain
}

// RecordsKey is the public half of the records key.
func (w *World) RecordsKey() ed25519.PublicKey {
	pub, _ := w.Root.RecordsKey().Public().(ed25519.PublicKey)
	return pub
}

// Records gives what the audit log holds of a kind, oldest first.
func (w *World) Records(tb testing.TB, kind audit.Kind) []audit.Record {
	tb.Helper()
	var out []audit.Record
	for r, err := range audit.Query(w.Audit.Files(), audit.Filter{}) {
		must(tb, err)
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	return out
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
