package broker_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	warehouse = "https://warehouse.example"
	tickets   = "https://tickets.example"
	readEU    = "warehouse:read:sales/eu/*"
	readWide  = "warehouse:read:sales/eu/**"
)

// world is a broker of real parts whose requests are a line each.
type world struct {
	*brokertest.World
	tb testing.TB
}

func newWorld(tb testing.TB, o brokertest.Options) *world {
	tb.Helper()
	return &world{brokertest.New(tb, o), tb}
}

// workload, person and staff are fresh tokens of the three issuers.
func (w *world) workload(name string) string { return w.Cluster.Token(w.tb, name, nil) }
func (w *world) person(name string) string   { return w.Corp.Token(w.tb, name, nil) }
func (w *world) staff(name string) string    { return w.Staff.Token(w.tb, name, nil) }

// change alters a request that is otherwise what most of them are.
type change func(*broker.ExchangeRequest)

func scope(text string) change { return func(r *broker.ExchangeRequest) { r.Scope = text } }
func task(text string) change  { return func(r *broker.ExchangeRequest) { r.Task = text } }

// actor presents an actor token.
func actor(raw string) change {
	return func(r *broker.ExchangeRequest) { r.ActorToken, r.ActorTokenType = raw, broker.TokenTypeJWT }
}

// certificate presents an SVID in the handshake.
func (w *world) certificate(path string) change {
	chain := w.SVID(w.tb, path)
	return func(r *broker.ExchangeRequest) { r.Caller.Certificates = chain }
}

// clientCredentials is the other grant, by assertion.
func clientCredentials(assertion string) change {
	return func(r *broker.ExchangeRequest) {
		r.ClientCredentials, r.ClientAssertion = true, assertion
		r.SubjectToken, r.SubjectTokenType = "", ""
	}
}

func (w *world) request(subject string, changes []change) broker.ExchangeRequest {
	r := broker.ExchangeRequest{SubjectToken: subject, SubjectTokenType: broker.TokenTypeJWT, Scope: readEU}
	for _, c := range changes {
		c(&r)
	}
	return r
}

func (w *world) exchange(subject string, changes ...change) (*broker.Issued, error) {
	return w.Exchange(w.tb.Context(), w.request(subject, changes))
}

// minted is an exchange that must succeed: its token, and what that says.
func (w *world) minted(subject string, changes ...change) (string, *token.Claims) {
	w.tb.Helper()
	issued, err := w.exchange(subject, changes...)
	if err != nil {
		w.tb.Fatalf("exchange refused: %v", err)
	}
	c, _ := w.Claims(w.tb, issued.Token)
	return issued.Token, c
}

func (w *world) token(subject string, changes ...change) string {
	w.tb.Helper()
	raw, _ := w.minted(subject, changes...)
	return raw
}

// refused is an exchange that must fail with sentinel.
func (w *world) refused(sentinel error, subject string, changes ...change) error {
	w.tb.Helper()
	issued, err := w.exchange(subject, changes...)
	if err == nil {
		c, _ := w.Claims(w.tb, issued.Token)
		w.tb.Fatalf("a token was minted: %+v", c)
	}
	if !errors.Is(err, sentinel) {
		w.tb.Fatalf("got %v, want %v", err, sentinel)
	}
	return err
}
