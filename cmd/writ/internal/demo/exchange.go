package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a type name of RFC 8693, not a credential
)

// ask is a token exchange to be made.
type ask struct {
	subject dev.Sample // whose own token is the subject token,
	from    *granted   // or a token of the broker is
	actor   string     // name of the sample that acts, empty for none
	scope   string
	task    string
	ttl     int
}

func (s *story) form(a ask) url.Values {
	f := url.Values{"grant_type": {grantExchange}, "scope": {a.scope}}
	if a.from != nil {
		f.Set("subject_token", a.from.raw)
		f.Set("subject_token_type", typeAccessToken)
	} else {
		f.Set("subject_token", a.subject.Token)
		f.Set("subject_token_type", a.subject.TokenType)
	}
	if a.actor != "" {
		f.Set("actor_token", s.sample(a.actor).Token)
		f.Set("actor_token_type", typeJWT)
	}
	if a.task != "" {
		f.Set("task", a.task)
	}
	if a.ttl > 0 {
		f.Set("requested_ttl", strconv.Itoa(a.ttl))
	}
	return f
}

func (s *story) post(ctx context.Context, a ask) (*reply, error) {
	return s.send(ctx, call{method: http.MethodPost, url: s.world.Issuer() + "/token", form: s.form(a)})
}

// exchange gets a token, and checks all that must hold of any: the answer's form (RFC 8693,
// section 2.2.1), the signature, and the claims of RFC 9068.
func (s *story) exchange(ctx context.Context, a ask) (*granted, error) {
	r, err := s.post(ctx, a)
	if err != nil {
		return nil, err
	}
	err = firstOf(r.is(http.StatusOK, "token_type", "Bearer", "issued_token_type", typeAccessToken, "scope", a.scope), r.uncached())
	if err != nil {
		return nil, err
	}
	raw, _ := r.member("access_token")
	g, err := parse(text(raw))
	if err != nil {
		return nil, fmt.Errorf("%s answered with a token, but %w", r.what, err)
	}
	fresh := !s.issued[g.ID]
	s.issued[g.ID] = true
	life, _ := r.member("expires_in")
	return g, firstOf(
		s.keys.verify(g),
		equal("alg", g.Algorithm, "ES256"), equal("typ", g.Type, "at+jwt"),
		equal("iss", g.Issuer, s.world.Issuer()), equal("scope", g.Scope, a.scope), equal("txn", g.Task, s.taskOf(a)),
		that(uuid7.MatchString(g.ID) && fresh, "jti %q is no fresh UUIDv7", g.ID),
		that(position.MatchString(g.Rev), "rev %q is no position in the revocation log", g.Rev),
		that(version.MatchString(g.Policy), "pol %q is no policy version", g.Policy),
		s.times(g, text(life)),
	)
}

var (
	uuid7    = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z`)
	uuidAny  = regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z`)
	position = regexp.MustCompile(`\A[0-9a-f]{16}\.[0-9]+\z`)
	version  = regexp.MustCompile(`\A[0-9a-f]{16}\z`)
)

// taskOf is the task that the token must carry: a parent's is never lost.
func (s *story) taskOf(a ask) string {
	if a.from != nil && a.from.Task != "" {
		return a.from.Task
	}
	return a.task
}

// times checks iat and exp against this machine's clock, the broker's own.
func (s *story) times(g *granted, expiresIn string) error {
	const slack = 2 // seconds, for a clock that is read twice
	now := time.Now().Unix()
	said, err := strconv.ParseInt(expiresIn, 10, 64)
	return firstOf(err,
		that(g.IssuedAt <= now && g.IssuedAt >= now-slack, "iat is %d, and it is %d", g.IssuedAt, now),
		that(g.life() > 0 && g.life() <= 3600, "the token lives %d s", g.life()),
		that(said <= g.Expiry-g.IssuedAt && said >= g.Expiry-now-slack, "expires_in is %d, and the token lives %d s", said, g.life()),
	)
}

// refusal asks for what must not be granted, and checks that the answer names the scope and
// the decision, and no rule.
func (s *story) refusal(ctx context.Context, a ask) (decision string, err error) {
	r, err := s.post(ctx, a)
	if err != nil {
		return "", err
	}
	id, _ := r.member("decision_id")
	decision = text(id)
	s.refused = append(s.refused, decision)
	return decision, firstOf(
		r.is(http.StatusBadRequest, "error", "invalid_scope", "refused_scopes", a.scope), r.uncached(),
		that(uuidAny.MatchString(decision), "the refusal names no decision"),
		discreet(r),
	)
}

// discreet is an error if an answer to a stranger names a rule of the policy.
func discreet(r *reply) error {
	for _, secret := range []string{roleReader, roleWriter, "pii-reader", "restricted", "analyst-agent", ".yaml"} {
		if strings.Contains(string(r.body), secret) {
			return fmt.Errorf("%s discloses policy: its answer speaks of %q", r.what, secret)
		}
	}
	return nil
}

// whose is an error unless the token is for this audience, and of these parties: the subject,
// and who acts for it, the current agent first.
func (g *granted) whose(audience, subject string, chain ...string) error {
	client := subject
	if len(chain) > 0 {
		client = chain[0]
	}
	return firstOf(
		equal("aud", []string(g.Audience), []string{audience}), equal("sub", g.Subject, subject),
		equal("client_id", g.ClientID, client), equal("act", g.chain(), chain),
	)
}

// operator gets security ops a token for just these administrative scopes.
func (s *story) operator(ctx context.Context, scope string) (*granted, error) {
	ops := s.sample(dev.SampleSecurity)
	g, err := s.exchange(ctx, ask{subject: ops, scope: scope})
	if err != nil {
		return nil, fmt.Errorf("security ops: %w", err)
	}
	return g, g.whose(s.world.Issuer(), ops.ID)
}

// get reads a path of the resource server with a token, nil for none.
func (s *story) get(ctx context.Context, g *granted, path string) (*reply, error) {
	c := call{method: http.MethodGet, url: s.world.Resource() + path}
	if g != nil {
		c.bearer = g.raw
	}
	return s.send(ctx, c)
}

// reads is an error unless the token reads the orders, and the server knows whose it is.
func (s *story) reads(ctx context.Context, g *granted) (*reply, error) {
	r, err := s.get(ctx, g, pathOrders)
	if err != nil {
		return nil, err
	}
	want := []string{"resource", "sales/eu/orders", "for", g.Subject}
	if chain := g.chain(); len(chain) > 0 {
		want = append(want, "by", strings.Join(chain, " "))
	}
	rows, _ := r.member("rows")
	list, _ := rows.([]any)
	return r, firstOf(r.is(http.StatusOK, want...), that(len(list) > 0, "%s answered no rows", r.what))
}

// killed is an error unless the token is refused for itself.
func (s *story) killed(ctx context.Context, g *granted) error {
	r, err := s.get(ctx, g, pathOrders)
	if err != nil {
		return err
	}
	return s.dead(r)
}

var errNoKeys = errors.New("the broker publishes no keys")
