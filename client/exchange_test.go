package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

func TestExchangeSendsTheWholeForm(t *testing.T) {
	b, s := serve(t, success("tok"))
	tok, err := newClient(t, s).Exchange(t.Context(), client.Request{
		SubjectToken: "subj", SubjectTokenType: wire.TokenTypeIDToken, ActorToken: "act",
		RequestedTokenType: wire.TokenTypeAccessToken, Resource: []string{"https://r1", "https://r2"}, Audience: []string{"a1", "a2"},
		Scopes: []string{"t:read:a", "t:read:b"}, Task: "job-7", TTL: 90 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := b.requests()[0]
	if r.Method != "POST" || r.URL.Path != wire.PathToken || r.Header.Get("Content-Type") != wire.TypeForm || r.Header.Get("Authorization") != "" {
		t.Errorf("got %s %s %q", r.Method, r.URL.Path, r.Header)
	}
	form, err := url.ParseQuery(string(r.body))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {wire.GrantTokenExchange}, "subject_token": {"subj"}, "subject_token_type": {wire.TokenTypeIDToken},
		"actor_token": {"act"}, "actor_token_type": {wire.TokenTypeJWT}, "requested_token_type": {wire.TokenTypeAccessToken},
		"resource": {"https://r1", "https://r2"}, "audience": {"a1", "a2"}, "scope": {"t:read:a t:read:b"}, "task": {"job-7"}, "requested_ttl": {"90"},
	}
	if !reflect.DeepEqual(form, want) {
		t.Errorf("form %v\nwant %v", form, want)
	}
	if tok.Secret.Reveal() != "tok" || tok.Type != wire.Bearer || len(tok.Scopes) != 1 {
		t.Errorf("token %+v", tok)
	}
}

func TestExchangeRefusesWhatRFC8693Forbids(t *testing.T) {
	_, s := serve(t, success("tok"))
	c := newClient(t, s)
	for name, r := range map[string]client.Request{
		"no subject token":               {},
		"actor type without actor token": {SubjectToken: "s", ActorTokenType: wire.TokenTypeJWT},
		"fraction of a second":           {SubjectToken: "s", TTL: time.Millisecond},
		"negative lifetime":              {SubjectToken: "s", TTL: -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.Exchange(t.Context(), r); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestRefusalIsReported(t *testing.T) {
	b, s := serve(t, refusal(400, wire.ErrCodeInvalidScope))
	_, err := newClient(t, s).Exchange(t.Context(), client.Request{SubjectToken: "s"})
	var refused *client.ResponseError
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Body.Code != wire.ErrCodeInvalidScope ||
		refused.Body.DecisionID != "d-1" || refused.Body.Refused[0] != "warehouse:write:a" || refused.Temporary() {
		t.Errorf("got %v", err)
	}
	if n := len(b.requests()); n != 1 {
		t.Errorf("%d requests: a refusal was sent again", n)
	}
}

func TestAnswersThatAreNoToken(t *testing.T) {
	for name, a := range map[string]answer{
		"no JSON":        {status: 200, body: "<html>"},
		"no token":       {status: 200, body: `{"expires_in":300}`},
		"no lifetime":    {status: 200, body: `{"access_token":"x"}`},
		"redirect":       {status: 302, header: map[string]string{"Location": "/elsewhere"}, body: ""},
		"a proxy's page": {status: 404, body: "<html>not found</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := serve(t, a)
			_, err := newClient(t, s).Exchange(t.Context(), client.Request{SubjectToken: "secret-subject"})
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "secret-subject") || strings.Contains(err.Error(), "<html>") {
				t.Errorf("the error passes on what it should not: %v", err)
			}
			if len(b.requests()) != 1 {
				t.Error("followed or repeated")
			}
		})
	}
}

// Retries run in a bubble, where waiting takes no time and can be measured.
func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		name     string
		script   []answer
		requests int
		least    time.Duration // the pauses together
		most     time.Duration
		fails    bool
	}{
		{"429 then success", []answer{refusal(429, "slow_down", "Retry-After", "3"), success("t")}, 2, 3 * time.Second, 4 * time.Second, false},
		{"503 without Retry-After backs off", []answer{refusal(503, ""), refusal(503, ""), success("t")}, 3, 150 * time.Millisecond, 301 * time.Millisecond, false},
		{"502 is a proxy's", []answer{{status: 502, body: "bad gateway"}, success("t")}, 2, 50 * time.Millisecond, 101 * time.Millisecond, false},
		{"attempts end", []answer{refusal(503, "")}, 4, 350 * time.Millisecond, 701 * time.Millisecond, true},
		{"a Retry-After beyond MaxWait ends the call", []answer{refusal(429, "", "Retry-After", "3600")}, 1, 0, time.Millisecond, true},
		{"500 is not sent again", []answer{refusal(500, "server_error")}, 1, 0, time.Millisecond, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{script: tc.script}
				c, err := client.New(client.Config{Issuer: "https://writ.example", Transport: b})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				tok, err := c.Exchange(t.Context(), client.Request{SubjectToken: "s"})
				took := time.Since(began)
				if (err != nil) != tc.fails || len(b.requests()) != tc.requests {
					t.Errorf("error %v after %d requests", err, len(b.requests()))
				}
				if took < tc.least || took > tc.most {
					t.Errorf("took %v, want %v to %v", took, tc.least, tc.most)
				}
				if err == nil && !tok.Expiry.Equal(began.Add(took+300*time.Second)) {
					t.Errorf("expiry %v is not counted from the attempt that succeeded", tok.Expiry.Sub(began))
				}
			})
		})
	}
}

func TestRetryAfterAsDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := &broker{script: []answer{refusal(503, "", "Retry-After", began.Add(10*time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")), success("t")}}
		c, err := client.New(client.Config{Issuer: "https://writ.example", Transport: b})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exchange(t.Context(), client.Request{SubjectToken: "s"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("came back after %v", took)
		}
	})
}

func TestNoRetryPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{script: []answer{refusal(503, "temporarily_unavailable", "Retry-After", "20")}}
		c, err := client.New(client.Config{Issuer: "https://writ.example", Transport: b})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = c.Exchange(ctx, client.Request{SubjectToken: "s"})
		var refused *client.ResponseError
		if !errors.As(err, &refused) || refused.RetryAfter != 20*time.Second || ctx.Err() != nil {
			t.Errorf("got %v, which does not say when to come back", err)
		}
	})
}

func TestURLsThatWouldShowTheToken(t *testing.T) {
	for _, issuer := range []string{"http://writ.example", "ftp://writ.example", "writ.example", "", "https://user:pw@writ.example",
		"http://localhost.evil.example", "http://127.0.0.1.evil.example", "https://writ.example?x=1", "https://writ.example#f"} {
		if _, err := client.New(client.Config{Issuer: issuer}); err == nil {
			t.Errorf("issuer %q accepted", issuer)
		}
	}
	for _, issuer := range []string{"https://writ.example", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:1"} {
		if _, err := client.New(client.Config{Issuer: issuer}); err != nil {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

func TestMetadataPathAndIssuer(t *testing.T) {
	for _, tc := range []struct {
		name, path, says, wantPath string
		ok                         bool
	}{
		{"at the root", "", "", "/.well-known/oauth-authorization-server", true},
		{"between host and path", "/tenant/a", "", "/.well-known/oauth-authorization-server/tenant/a", true},
		{"of another issuer", "", "https://evil.example", "/.well-known/oauth-authorization-server", false},
		{"with a slash more", "", "/", "/.well-known/oauth-authorization-server", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, s := serve(t, answer{})
			issuer := s.URL + tc.path
			says := issuer
			if tc.says == "/" {
				says = issuer + "/"
			} else if tc.says != "" {
				says = tc.says
			}
			b.script = []answer{{status: 200, body: wire.Metadata{Issuer: says, JWKSURI: s.URL + "/jwks"}}}
			transport := client.NewTransport(nil)
			t.Cleanup(transport.CloseIdleConnections)
			c, err := client.New(client.Config{Issuer: issuer, Transport: transport})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Metadata(t.Context())
			if (err == nil) != tc.ok {
				t.Errorf("error %v", err)
			}
			if got := b.requests()[0].URL.Path; got != tc.wantPath {
				t.Errorf("asked %s", got)
			}
		})
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	tok := client.Token{Secret: "top-secret"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", tok, "inner", tok.Secret, "pointer", &tok)
	for _, text := range []string{fmt.Sprint(tok), fmt.Sprintf("%+v %#v %s %q", tok, tok, tok.Secret, tok.Secret), log.String()} {
		if strings.Contains(text, "top-secret") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestRevokeAndIntrospect(t *testing.T) {
	b, s := serve(t, answer{status: 200, body: ""}, answer{status: 200, body: `{"active":true,"sub":"k8s:a","future_member":1}`})
	c := newClient(t, s)
	if err := c.Revoke(t.Context(), "tok", ""); err != nil {
		t.Error(err)
	}
	in, err := c.Introspect(t.Context(), "tok", "mine")
	if err != nil || !in.Active || in.Subject != "k8s:a" {
		t.Errorf("%+v %v", in, err)
	}
	got := b.requests()
	if string(got[0].body) != "token=tok" || got[0].Header.Get("Authorization") != "" || got[1].Header.Get("Authorization") != "Bearer mine" {
		t.Errorf("sent %q, %q", got[0].body, got[1].Header)
	}
}
