package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// jws puts a token together by hand.
func jws(tb testing.TB, header, payload any, sign func(input string) []byte) string {
	tb.Helper()
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	input := encode(header) + "." + encode(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func noise(string) []byte { return make([]byte, 64) }

// publicPEM is what a confused verifier would take for an HMAC secret.
func publicPEM(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// badProofs are tokens that prove nothing, and what their sender is told.
func badProofs(t *testing.T, w *world) map[string]struct{ raw, says string } {
	t.Helper()
	now := w.Now()
	good := claims{
		"iss": w.Cluster.URL, "sub": "analyst", "aud": brokertest.Audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	header := claims{"alg": "ES256", "kid": w.Cluster.Key.ID, "typ": "JWT"}
	with := func(base claims, name string, v any) claims {
		out := claims{}
		maps.Copy(out, base)
		out[name] = v
		if v == nil {
			delete(out, name)
		}
		return out
	}
	signed := func(name string, v any) string { return w.Cluster.Token(t, "analyst", claims{name: v}) }
	shaped := func(name string, v any) string { return jws(t, with(header, name, v), good, noise) }
	secret := publicPEM(t, w.Cluster.Key.Public)
	macced := jws(t, with(header, "alg", "HS256"), good, func(input string) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return m.Sum(nil)
	})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSigner, err := token.NewLocalSigner(w.Cluster.Key.ID, "RS256", rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := token.NewLocalSigner(w.Cluster.Key.ID, "ES256", ecKey)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := token.NewLocalSigner("k-unknown", "ES256", ecKey)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]struct{ raw, says string }{
		"no token at all":           {"hello", "it is malformed"},
		"two parts":                 {"a.b", "it is malformed"},
		"a part that is no JSON":    {"a.b.c", "it is malformed"},
		"padding":                   {w.workload("analyst") + "=", "it is malformed"},
		"alg none":                  {shaped("alg", "none"), "its algorithm is not accepted"},
		"HMAC with the public key":  {macced, "its algorithm is not accepted"},
		"an algorithm not the keys": {brokertest.Sign(t, rsaSigner, "JWT", good), "its algorithm is not accepted"},
		"no alg":                    {shaped("alg", nil), "its algorithm is not accepted"},
		"crit":                      {shaped("crit", []string{"exp"}), "its header lists critical extensions"},
		"b64":                       {shaped("b64", false), "its header lists critical extensions"},
		"an embedded jwk":           {shaped("jwk", claims{"kty": "EC"}), "its header carries or points to a key"},
		"jku":                       {shaped("jku", "https://evil.example/jwks"), "its header carries or points to a key"},
		"x5u":                       {shaped("x5u", "https://evil.example/x5u"), "its header carries or points to a key"},
		"typ of our own tokens":     {shaped("typ", "at+jwt"), "its typ is not accepted"},
		"an unknown kid":            {brokertest.Sign(t, unknown, "JWT", good), "it is signed by an unknown key"},
		"a stranger's signature":    {brokertest.Sign(t, stranger, "JWT", good), "its signature does not verify"},
		"an altered payload":        {tampered(t, w.workload("analyst")), "its signature does not verify"},
		"another issuer":            {signed("iss", "https://evil.example"), "its issuer is not configured"},
		"a prefix of the issuer":    {signed("iss", w.Cluster.URL+"/"), "its issuer is not configured"},
		"our issuer":                {signed("iss", brokertest.Audience), "it is signed by an unknown key"},
		"no iss":                    {signed("iss", nil), "a required claim is missing"},
		"another audience":          {signed("aud", "https://other.example"), "it is for another audience"},
		"no aud":                    {signed("aud", nil), "a required claim is missing"},
		"expired":                   {signed("exp", now.Add(-time.Minute).Unix()), "it has expired"},
		"no exp":                    {signed("exp", nil), "a required claim is missing"},
		"exp as text":               {signed("exp", "2040"), "it is malformed"},
		"not yet valid":             {signed("nbf", now.Add(time.Minute).Unix()), "it is not valid yet"},
		"issued in the future":      {signed("iat", now.Add(time.Minute).Unix()), "it is not valid yet"},
		"issued long ago":           {signed("iat", now.Add(-25*time.Hour).Unix()), "it was issued too long ago"},
		"no iat":                    {signed("iat", nil), "a required claim is missing"},
		"no sub":                    {signed("sub", nil), "a required claim is missing"},
		"a rule of the source":      {signed("suspended", true), "the account is suspended"},
		"act that is no object":     {signed("act", "helper"), "it is malformed"},
		"may_act that is null":      {signed("may_act", json.RawMessage("null")), "it is malformed"},
	}
}

func tampered(tb testing.TB, raw string) string {
	tb.Helper()
	parts := strings.Split(raw, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		tb.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "analyst", "sentine", 1)))
	return strings.Join(parts, ".")
}

// Each bad proof is refused in each position, with words that help and disclose nothing.
func TestBadProofs(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	for name, bad := range badProofs(t, w) {
		t.Run(name, func(t *testing.T) {
			for where, try := range map[string]struct {
				err      error
				sentinel error
			}{
				"subject": {w.refused(broker.ErrSubjectToken, bad.raw), broker.ErrSubjectToken},
				"actor":   {w.refused(broker.ErrActorToken, w.person("alice"), actor(bad.raw)), broker.ErrActorToken},
				"client":  {w.refused(broker.ErrClient, "", clientCredentials(bad.raw)), broker.ErrClient},
			} {
				if got, want := try.err.Error(), try.sentinel.Error()+": "+bad.says; got != want {
					t.Errorf("%s: %q, want %q", where, got, want)
				}
			}
		})
	}
}

// What only pretends to be one of ours.
func TestBadTokensOfOurs(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	active := w.Keys.Ring().Active()
	now := w.Now().Unix()
	base := claims{
		"iss": brokertest.Audience, "sub": "k8s:analyst", "aud": []string{warehouse}, "iat": now, "exp": now + 60,
		"jti": "01981c2e-58f0-7000-8000-00000000f00d", "client_id": "k8s:analyst", "scope": readEU,
		"rev": w.Index.Position().String(), "pol": w.Policy.Current().Short(),
	}
	sign := func(typ, name string, v any) string {
		c := claims{}
		maps.Copy(c, base)
		if name != "" {
			c[name] = v
		}
		if v == nil {
			delete(c, name)
		}
		return brokertest.Sign(t, active, typ, c)
	}
	w.token(sign(token.TypeAccessToken, "", nil))
	for name, bad := range map[string]struct{ raw, says string }{
		"typ of another kind of token": {sign("JWT", "", nil), "its typ is not accepted"},
		"typ of a snapshot":            {sign("writ-snapshot+jwt", "", nil), "its typ is not accepted"},
		"another issuer":               {sign("at+jwt", "iss", "https://other.example"), "it has another issuer"},
		"no audience":                  {sign("at+jwt", "aud", nil), "a required claim is missing"},
		"an empty audience":            {sign("at+jwt", "aud", []string{}), "a required claim is missing"},
		"expired":                      {sign("at+jwt", "exp", now-31), "it has expired"},
		"not yet valid":                {sign("at+jwt", "nbf", now+31), "it is not valid yet"},
		"issued in the future":         {sign("at+jwt", "iat", now+31), "it is not valid yet"},
		"too long a life":              {sign("at+jwt", "exp", now+3601), "it lives longer than tokens may"},
		"no exp":                       {sign("at+jwt", "exp", nil), "a required claim is missing"},
		"no iat":                       {sign("at+jwt", "iat", nil), "a required claim is missing"},
		"no jti":                       {sign("at+jwt", "jti", nil), "a required claim is missing"},
		"no sub":                       {sign("at+jwt", "sub", nil), "a required claim is missing"},
		"no client_id":                 {sign("at+jwt", "client_id", nil), "a required claim is missing"},
		"no scope":                     {sign("at+jwt", "scope", nil), "a required claim is missing"},
		"no rev":                       {sign("at+jwt", "rev", nil), "a required claim is missing"},
		"a principal of no source":     {sign("at+jwt", "sub", "elsewhere:x"), "it names a principal of no identity source"},
		"an agent of no source":        {sign("at+jwt", "act", claims{"sub": "elsewhere:x"}), "it names a principal of no identity source"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.refused(broker.ErrSubjectToken, bad.raw)
			if got, want := err.Error(), "subject token not accepted: "+bad.says; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	w.refused(broker.ErrSubjectToken, sign("at+jwt", "", nil), func(r *broker.ExchangeRequest) { r.SubjectTokenType = broker.TokenTypeIDToken })
	w.refused(broker.ErrActorToken, w.person("alice"), actor(sign("at+jwt", "", nil)), func(r *broker.ExchangeRequest) { r.ActorTokenType = broker.TokenTypeIDToken })
}

func TestBadParameters(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	set := func(f func(*broker.ExchangeRequest)) change { return f }
	huge := strings.Repeat("x", token.MaxBytes+1)
	long := strings.Repeat("a/", 300) + "a"
	many := ""
	for i := range scopes.MaxSetScopes + 1 {
		many += fmt.Sprintf("warehouse:read:sales/eu/%d ", i)
	}
	for name, row := range map[string]struct {
		change   change
		sentinel error
		says     string
	}{
		"no subject_token":               {set(func(r *broker.ExchangeRequest) { r.SubjectToken = "" }), broker.ErrRequest, "subject_token is missing"},
		"no subject_token_type":          {set(func(r *broker.ExchangeRequest) { r.SubjectTokenType = "" }), broker.ErrRequest, "subject_token_type is missing"},
		"no actor_token_type":            {set(func(r *broker.ExchangeRequest) { r.ActorToken = "x" }), broker.ErrRequest, "actor_token_type is missing"},
		"actor_token_type alone":         {set(func(r *broker.ExchangeRequest) { r.ActorTokenType = broker.TokenTypeJWT }), broker.ErrRequest, "must not be sent without"},
		"an unknown subject_token_type":  {set(func(r *broker.ExchangeRequest) { r.SubjectTokenType = "urn:ietf:params:oauth:token-type:saml2" }), broker.ErrTokenType, "subject_token_type must be"},
		"an unknown actor_token_type":    {set(func(r *broker.ExchangeRequest) { r.ActorToken, r.ActorTokenType = "x", "refresh" }), broker.ErrTokenType, "actor_token_type must be"},
		"a type that is not issued":      {set(func(r *broker.ExchangeRequest) { r.RequestedTokenType = broker.TokenTypeIDToken }), broker.ErrTokenType, "requested_token_type must be"},
		"a negative life":                {set(func(r *broker.ExchangeRequest) { r.RequestedTTL = -time.Second }), broker.ErrRequest, "requested_ttl"},
		"a subject_token over 16 KiB":    {set(func(r *broker.ExchangeRequest) { r.SubjectToken = huge }), broker.ErrRequest, "subject_token is larger than 16 KiB"},
		"an actor_token over 16 KiB":     {actor(huge), broker.ErrRequest, "actor_token is larger than 16 KiB"},
		"a client_assertion over 16 KiB": {set(func(r *broker.ExchangeRequest) { r.ClientAssertion = huge }), broker.ErrRequest, "client_assertion is larger than 16 KiB"},
		"a long task":                    {task(strings.Repeat("t", 129)), broker.ErrRequest, "task must be"},
		"a task with a line break":       {task("a\nb"), broker.ErrRequest, "task must be"},
		"a task that is not UTF-8":       {task("a\xff"), broker.ErrRequest, "task must be"},
		"a task with control of C1":      {task("a\u0085b"), broker.ErrRequest, "task must be"},
		"a malformed scope":              {scope("warehouse:read"), broker.ErrScope, "warehouse:read"},
		"an empty segment":               {scope("warehouse:read:sales//eu"), broker.ErrScope, ""},
		"a dot segment":                  {scope("warehouse:read:sales/../hr"), broker.ErrScope, ""},
		"an escape that is not needed":   {scope("warehouse:read:%61"), broker.ErrScope, ""},
		"scopes parted by tabs":          {scope(readEU + "\t" + readEU), broker.ErrScope, ""},
		"a long scope":                   {scope("warehouse:read:" + long), broker.ErrScope, ""},
		"too many scopes":                {scope(many), broker.ErrScope, "65 scopes were requested, the limit is 64"},
		"an unknown tool":                {scope("vault:read:a"), broker.ErrScope, "not granted"},
		"an unknown action":              {scope("warehouse:drop:sales/eu/q1"), broker.ErrScope, "not granted"},
		"a scope that is denied":         {scope("warehouse:read:sales/pii/x"), broker.ErrScope, "not granted"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.refused(row.sentinel, w.workload("analyst"), row.change)
			if !strings.Contains(err.Error(), row.says) {
				t.Errorf("says %q, want %q", err, row.says)
			}
		})
	}
	// A stranger, a name that does not exist and one that is not theirs look alike.
	unknown := w.refused(broker.ErrScope, w.workload("analyst"), scope("vault:read:a"))
	denied := w.refused(broker.ErrScope, w.workload("analyst"), scope("warehouse:read:sales/pii/x"))
	if unknown.Error() != denied.Error() {
		t.Errorf("%q and %q tell a tool that exists from one that does not", unknown, denied)
	}
	var refusal *broker.ScopeError
	if !errors.As(denied, &refusal) || refusal.DecisionID == "" || len(refusal.Refused) != 1 || refusal.Refused[0].String() != "warehouse:read:sales/pii/x" {
		t.Errorf("the refusal names %+v", refusal)
	}
	rec, err := w.Audit.Decision(t.Context(), refusal.DecisionID)
	if err != nil || rec.Subject != "k8s:analyst" || rec.Trace == nil {
		t.Errorf("the decision opens as %+v, %v", rec, err)
	}
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) {
		c.Limits.AgentRate, c.Limits.AgentBurst = 0.5, 2
		c.Limits.FailureRate, c.Limits.FailureBurst = 1, 3
	}})
	limited := func(err error) time.Duration {
		t.Helper()
		var l *broker.RateLimitError
		if !errors.As(err, &l) {
			t.Fatalf("got %v", err)
		}
		return l.RetryAfter
	}
	w.token(w.workload("analyst"))
	w.token(w.person("alice"), actor(w.workload("analyst")))
	wait := limited(w.refused(broker.ErrRateLimited, w.workload("analyst")))
	if wait <= 0 || wait > 2*time.Second {
		t.Errorf("to come back in %v", wait)
	}
	w.refused(broker.ErrRateLimited, w.person("bob"), actor(w.workload("analyst")))
	w.token(w.workload("helper")) // another agent is not held up
	w.Pass(t, wait)
	w.token(w.workload("analyst"))

	from := func(ip string) change {
		return func(r *broker.ExchangeRequest) { r.Caller.IP = netip.MustParseAddr(ip) }
	}
	for range 3 {
		w.refused(broker.ErrSubjectToken, "rubbish", from("192.0.2.1"))
	}
	limited(w.refused(broker.ErrRateLimited, "rubbish", from("192.0.2.1")))
	limited(w.refused(broker.ErrRateLimited, "rubbish", from("::ffff:192.0.2.1")))
	w.refused(broker.ErrSubjectToken, "rubbish", from("192.0.2.2"))
	// Whoever is behind the same address and proves itself passes.
	w.token(w.workload("helper"), from("192.0.2.1"))
	if got := w.Records(t, "refusal"); len(got) != 0 {
		t.Errorf("strangers fill the audit log: %+v", got)
	}
}
