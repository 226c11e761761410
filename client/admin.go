package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// socketBase is the URL under which the break-glass socket is addressed; the
// host is never resolved.
const socketBase = "http://socket.invalid"

// AdminConfig says how to reach the admin API: exactly one of URL and Socket.
type AdminConfig struct {
	// URL is the admin listener's base URL, https (http for loopback).
	URL string
	// Socket is the path of the break-glass Unix socket. The kernel tells the
	// broker who calls, so no token is sent.
	Socket string
	// Token returns a token with the `writ:…` scopes that the calls need;
	// required with URL.
	Token func(ctx context.Context) (string, error)
	// Transport, Attempts, MaxWait, Timeout, Now, Logger are as in Config.
	// Transport is ignored with Socket.
	Transport http.RoundTripper
	Attempts  int
	MaxWait   time.Duration
	Timeout   time.Duration
	Now       func() time.Time
	Logger    *slog.Logger
}

// Admin calls the admin API. It is usable concurrently. Calls that change
// something are sent again only where the broker answered that it did nothing
// (429, 503), never after a broken connection.
type Admin struct {
	base   string
	token  func(context.Context) (string, error)
	caller caller
}

// NewAdmin checks cfg and makes an Admin. It does not connect.
func NewAdmin(cfg AdminConfig) (*Admin, error) {
	if (cfg.URL == "") == (cfg.Socket == "") {
		return nil, errors.New("client: set exactly one of AdminConfig.URL and Socket")
	}
	common := Config{Transport: cfg.Transport, Attempts: cfg.Attempts, MaxWait: cfg.MaxWait, Timeout: cfg.Timeout,
		Now: cfg.Now, Logger: cfg.Logger}
	if cfg.Socket != "" {
		common.Transport = socketTransport(cfg.Socket)
		return &Admin{base: socketBase, caller: newCaller(common)}, nil
	}
	if _, err := secureURL(cfg.URL); err != nil {
		return nil, fmt.Errorf("admin URL: %w", err)
	}
	if cfg.Token == nil {
		return nil, errors.New("client: AdminConfig.Token is missing")
	}
	return &Admin{base: strings.TrimSuffix(cfg.URL, "/"), token: cfg.Token, caller: newCaller(common)}, nil
}

func socketTransport(path string) http.RoundTripper {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
		// A break-glass call is rare; a kept connection would only outlive its caller.
		DisableKeepAlives: true,
	}
}

// Revoke makes a revocation rule, or, without r.Apply, says what it would hit.
func (a *Admin) Revoke(ctx context.Context, r wire.RevokeRequest) (*wire.RevokeResponse, error) {
	k := call{json: r, repeatable: !r.Apply}
	if r.WaitSeconds > 0 {
		k.timeout = a.caller.timeout + time.Duration(r.WaitSeconds)*time.Second
	}
	return post[wire.RevokeResponse](ctx, a, wire.PathAdminRevocations, k)
}

// Lift ends a rule, or, without r.Apply, shows it.
func (a *Admin) Lift(ctx context.Context, ruleID string, r wire.LiftRequest) (*wire.LiftResponse, error) {
	path, err := withID(wire.PathAdminRule, ruleID)
	if err != nil {
		return nil, err
	}
	return post[wire.LiftResponse](ctx, a, path+"/lift", call{json: r, repeatable: !r.Apply})
}

// RuleQuery filters Rules; empty fields do not filter.
type RuleQuery struct {
	Selector, Value, Cursor string
	Limit                   int
}

// Rules lists live revocation rules, a page at a time.
func (a *Admin) Rules(ctx context.Context, q RuleQuery) (*wire.RuleList, error) {
	return get[wire.RuleList](ctx, a, wire.PathAdminRevocations, query(
		"selector", q.Selector, "value", q.Value, "cursor", q.Cursor, "limit", positive(q.Limit)))
}

// Rule returns one rule and which verifiers have applied it.
func (a *Admin) Rule(ctx context.Context, id string) (*wire.RuleStatus, error) {
	return getByID[wire.RuleStatus](ctx, a, wire.PathAdminRule, id)
}

// Verifiers lists the connected verifiers with how far behind each is.
func (a *Admin) Verifiers(ctx context.Context) (*wire.VerifierList, error) {
	return get[wire.VerifierList](ctx, a, wire.PathAdminVerifiers, nil)
}

// Keys lists the signing keys.
func (a *Admin) Keys(ctx context.Context) (*wire.KeyList, error) {
	return get[wire.KeyList](ctx, a, wire.PathAdminKeys, nil)
}

// Rotate activates the next signing key now, or, without r.Apply, says what
// would happen. Sent twice it rotates twice, so it is not retried blindly.
func (a *Admin) Rotate(ctx context.Context, r wire.RotateRequest) (*wire.RotateResponse, error) {
	return post[wire.RotateResponse](ctx, a, wire.PathAdminRotate, call{json: r, repeatable: !r.Apply})
}

// Policy tells which bundle is in force, and what is wrong with a newer one.
func (a *Admin) Policy(ctx context.Context) (*wire.PolicyStatus, error) {
	return get[wire.PolicyStatus](ctx, a, wire.PathAdminPolicy, nil)
}

// Decision returns a decision by its id, with every rule that took part.
func (a *Admin) Decision(ctx context.Context, id string) (*wire.Decision, error) {
	return getByID[wire.Decision](ctx, a, wire.PathAdminDecision, id)
}

// AuditQuery filters Audit; zero fields do not filter.
type AuditQuery struct {
	Agent, Subject, Tool, Outcome, Kind, TokenID, DecisionID, Cursor string
	Since, Until                                                     time.Time
	Limit                                                            int
}

// Audit returns a page of audit records, newest first.
func (a *Admin) Audit(ctx context.Context, q AuditQuery) (*wire.AuditPage, error) {
	return get[wire.AuditPage](ctx, a, wire.PathAdminAudit, query(
		"agent", q.Agent, "subject", q.Subject, "tool", q.Tool, "outcome", q.Outcome, "kind", q.Kind,
		"jti", q.TokenID, "decision_id", q.DecisionID, "cursor", q.Cursor,
		"since", instant(q.Since), "until", instant(q.Until), "limit", positive(q.Limit)))
}

// Watch follows the revocation feed over the admin API; see Client.Watch.
func (a *Admin) Watch(ctx context.Context, w Watch) error {
	w.URL = a.base + wire.PathAdminFeed
	auth, err := a.bearer(ctx)
	if err != nil {
		return err
	}
	return a.caller.watch(ctx, w, auth)
}

func (a *Admin) bearer(ctx context.Context) (string, error) {
	if a.token == nil {
		return "", nil
	}
	text, err := a.token(ctx)
	if err != nil {
		return "", fmt.Errorf("getting an admin token: %w", err)
	}
	return text, nil
}

func (a *Admin) send(ctx context.Context, path string, k call) error {
	auth, err := a.bearer(ctx)
	if err != nil {
		return err
	}
	k.url, k.auth, k.accept = a.base+path, auth, wire.TypeJSON
	return a.caller.do(ctx, k)
}

func get[T any](ctx context.Context, a *Admin, path string, q url.Values) (*T, error) {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	out := new(T)
	if err := a.send(ctx, path, call{method: http.MethodGet, repeatable: true, read: into(out)}); err != nil {
		return nil, err
	}
	return out, nil
}

func getByID[T any](ctx context.Context, a *Admin, path, id string) (*T, error) {
	path, err := withID(path, id)
	if err != nil {
		return nil, err
	}
	return get[T](ctx, a, path, nil)
}

func post[T any](ctx context.Context, a *Admin, path string, k call) (*T, error) {
	out := new(T)
	k.method, k.read = http.MethodPost, into(out)
	if err := a.send(ctx, path, k); err != nil {
		return nil, err
	}
	return out, nil
}

// withID appends an id as one path segment; an id that would be another path
// is refused here, where the mistake is, and not as a 404 there.
func withID(path, id string) (string, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/?#\\") {
		return "", fmt.Errorf("client: %q is not an id", id)
	}
	return path + url.PathEscape(id), nil
}

// query makes values of pairs, leaving out the empty ones.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
