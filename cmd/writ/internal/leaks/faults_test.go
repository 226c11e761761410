package leaks_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/cmd/writ/internal/dev"
	"github.com/writbroker/writ/config"
)

const (
	grant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT = "urn:ietf:params:oauth:token-type:jwt"
	typeID  = "urn:ietf:params:oauth:token-type:id_token"
)

// faults is callers that do everything wrong, with secrets in all the wrong places.
type faults struct {
	t        *testing.T
	world    *dev.World
	recorder *recorder
	http     *http.Client
	password string // of a client
}

func (f *faults) send(method, address string, body io.Reader, header http.Header) (int, string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	must(f.t, err)
	maps.Copy(req.Header, header)
	resp, err := f.http.Do(req)
	must(f.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(f.t, err)
	return resp.StatusCode, string(text)
}

func (f *faults) post(address string, form url.Values, header http.Header) (int, string) {
	f.t.Helper()
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	maps.Copy(h, header)
	return f.send(http.MethodPost, address, strings.NewReader(form.Encode()), h)
}

func (f *faults) sample(name string) dev.Sample {
	f.t.Helper()
	s, err := f.world.Sample(f.t.Context(), name)
	must(f.t, err)
	f.recorder.token(s.Token)
	return s
}

// exchange is a good one.
func (f *faults) exchange(name, tokenType, scope string) string {
	f.t.Helper()
	status, body := f.post(f.world.Issuer()+"/token", url.Values{
		"grant_type": {grant}, "subject_token": {f.sample(name).Token}, "subject_token_type": {tokenType}, "scope": {scope},
	}, nil)
	raw := jws.FindString(body)
	if status != http.StatusOK || raw == "" {
		f.t.Fatalf("exchange for %s answered %d %s", name, status, body)
	}
	return raw
}

// play is all of them.
func (f *faults) play() {
	f.t.Helper()
	workload := f.sample(dev.SampleAgent).Token
	minted := f.exchange(dev.SampleAgent, typeJWT, "warehouse:read:sales/eu/orders")
	operator := f.exchange(dev.SampleSecurity, typeID, "writ:revoke:** writ:keys:* writ:audit:read writ:policy:read")
	for _, raw := range []string{workload, minted, operator} {
		f.parameters(workload, raw)
		f.elsewhere(raw)
		f.admin(operator, raw)
	}
	for _, bad := range []string{workload[:len(workload)-9], workload + "A", strings.Replace(workload, ".", "..", 1), minted[:len(minted)-8] + "AAAAAAAA"} {
		f.recorder.token(bad)
		f.parameters(bad, bad)
		f.elsewhere(bad)
	}
	f.passwords(workload)
	f.resource(minted, workload)
}

// parameters puts a secret into each parameter of an exchange.
func (f *faults) parameters(subject, raw string) {
	f.t.Helper()
	for _, name := range []string{
		"grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "scope", "audience", "resource",
		"task", "requested_ttl", "requested_token_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "password",
	} {
		form := url.Values{
			"grant_type": {grant}, "subject_token": {subject}, "subject_token_type": {typeJWT}, "scope": {"warehouse:read:sales/eu/orders"},
		}
		form.Set(name, raw)
		f.post(f.world.Issuer()+"/token", form, nil)
		form.Add(name, raw) // twice
		f.post(f.world.Issuer()+"/token", form, nil)
	}
	for _, path := range []string{"/revoke", "/introspect"} {
		f.post(f.world.Issuer()+path, url.Values{"token": {raw}, "client_assertion": {raw}, "client_assertion_type": {raw}}, nil)
		f.post(f.world.Issuer()+path, url.Values{"token": {raw}}, http.Header{"Authorization": {"Bearer " + subject}})
	}
}

// passwords are sent where other servers want them: this one takes none.
func (f *faults) passwords(subject string) {
	f.t.Helper()
	header := http.Header{}
	(&http.Request{Header: header}).SetBasicAuth("agent", f.password)
	for _, name := range []string{"client_secret", "password", "client_assertion", "subject_token", "actor_token", "token"} {
		for _, path := range []string{"/token", "/revoke", "/introspect"} {
			form := url.Values{"grant_type": {grant}, "subject_token": {subject}, "subject_token_type": {typeJWT}, "actor_token_type": {typeJWT}}
			form.Set(name, f.password)
			f.post(f.world.Issuer()+path, form, nil)
			f.post(f.world.Issuer()+path, form, header)
		}
	}
	for _, address := range []string{f.world.Admin() + "/admin/v1/keys", f.world.Issuer() + "/revocations/feed", f.world.Resource() + "/data/us/orders"} {
		f.send(http.MethodGet, address, nil, header)
		f.send(http.MethodGet, address, nil, http.Header{"Authorization": {"Bearer " + f.password}})
	}
}

// elsewhere puts it into headers, paths, queries and bodies.
func (f *faults) elsewhere(raw string) {
	f.t.Helper()
	for _, base := range []string{f.world.Issuer(), f.world.Admin()} {
		for _, path := range []string{
			"/" + raw, "/token?subject_token=" + raw, "/admin/v1/" + raw, "/admin/v1/decisions/" + raw, "/admin/v1/audit?jti=" + raw,
			"/admin/v1/revocations/" + raw, "/revocations/feed?access_token=" + raw, "/readyz?token=" + raw,
		} {
			for _, header := range []http.Header{
				nil, {"Authorization": {"Bearer " + raw}}, {"Authorization": {"Basic " + raw}}, {"Authorization": {raw}},
				{"Last-Event-Id": {raw}, "Authorization": {"Bearer x"}}, {"Cookie": {"token=" + raw}}, {"Dpop": {raw}}, {"X-Forwarded-For": {raw}},
			} {
				f.send(http.MethodGet, base+path, nil, header)
			}
		}
		f.send(http.MethodPost, base+"/token", strings.NewReader(`{"subject_token":"`+raw+`"}`), http.Header{"Content-Type": {"application/json"}})
		f.send(http.MethodPost, base+"/token", bytes.NewReader(bytes.Repeat([]byte(raw), 1+70_000/len(raw))), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
		f.send(http.MethodPost, base+"/token", strings.NewReader("%zz"+raw), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
		f.send(http.MethodPost, base+"/token", strings.NewReader("x"), http.Header{"Content-Type": {raw}})
	}
}

// admin is an operator who pastes a secret where an id belongs.
func (f *faults) admin(operator, raw string) {
	f.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + operator}, "Content-Type": {"application/json"}}
	for _, selector := range []string{"token", "subject", "agent", "task", "key", "policy", "role", "audience", "scope", "issuer", raw} {
		for _, apply := range []string{"false", "true"} {
			f.send(http.MethodPost, f.world.Admin()+"/admin/v1/revocations",
				strings.NewReader(fmt.Sprintf(`{"selector":%q,"value":%q,"apply":%s}`, selector, raw, apply)), header)
		}
	}
	f.send(http.MethodPost, f.world.Admin()+"/admin/v1/revocations", strings.NewReader(`{"selector":"task","value":"t","apply":true,"reason":"`+raw[:min(len(raw), 400)]+`"}`), header)
	for _, body := range []string{`{"revoke_kid":"` + raw + `","apply":true}`, `{"` + raw + `":1}`, raw} {
		f.send(http.MethodPost, f.world.Admin()+"/admin/v1/keys/rotate", strings.NewReader(body), header)
		f.send(http.MethodPost, f.world.Admin()+"/admin/v1/revocations", strings.NewReader(body), header)
	}
	for _, path := range []string{"/admin/v1/decisions/" + raw, "/admin/v1/audit?jti=" + raw, "/admin/v1/audit?limit=" + raw, "/admin/v1/revocations/" + raw, "/admin/v1/keys", "/admin/v1/policy"} {
		f.send(http.MethodGet, f.world.Admin()+path, nil, header)
	}
}

// resource is a caller of the resource server.
func (f *faults) resource(tokens ...string) {
	f.t.Helper()
	for _, raw := range tokens {
		for _, header := range []http.Header{
			{"Authorization": {"Bearer " + raw}}, {"Authorization": {"Bearer " + raw + "x"}}, {"Authorization": {"Basic " + raw}}, {"Dpop": {raw}},
		} {
			f.send(http.MethodGet, f.world.Resource()+"/data/us/orders", nil, header)
			f.send(http.MethodGet, f.world.Resource()+"/data/eu/"+raw, nil, header)
		}
	}
}

// starts are brokers that do not start, since a secret is wrong or stands in the wrong place; it
// returns what they say.
func starts(t *testing.T, w *dev.World, redisPassword string, logger *slog.Logger) []byte {
	t.Helper()
	var said bytes.Buffer
	whole, err := os.ReadFile(w.ConfigFile())
	must(t, err)
	root, err := os.ReadFile(filepath.Join(w.DataDir(), "root.key"))
	must(t, err)
	for name, change := range map[string]func(dir, text string) string{
		"a wrong password of redis": func(dir, text string) string {
			file := filepath.Join(dir, "wrong")
			must(t, os.WriteFile(file, []byte(redisPassword+"x"), 0o600))
			text = strings.ReplaceAll(text, filepath.Join(filepath.Dir(w.DataDir()), "password"), file)
			return text + "\nroot_key_file: " + filepath.Join(w.DataDir(), "root.key") + "\n"
		},
		"a password in the configuration": func(_, text string) string {
			return text + "\npassword: '" + redisPassword + "'\n"
		},
		"a password in an address": func(_, text string) string {
			return strings.Replace(text, `addresses: ["`, `addresses: ["redis://writ:`+url.QueryEscape(redisPassword)+`@`, 1)
		},
		"a root secret that is cut off": func(dir, text string) string {
			file := filepath.Join(dir, "root")
			must(t, os.WriteFile(file, root[:60], 0o600))
			return text + "\nroot_key_file: " + file + "\n"
		},
	} {
		dir := t.TempDir()
		text := change(dir, string(whole))
		text = strings.ReplaceAll(text, "data_dir: \""+w.DataDir()+`"`, "data_dir: "+dir+"/data")
		text = strings.Replace(text, w.Socket(), dir+"/s", 1)
		file := filepath.Join(dir, "writ.yaml")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		cfg, err := config.Load(file)
		if err == nil {
			ln := cfg.Public.Address
			cfg.Public.Address = "127.0.0.1:0"
			var a *app.App
			if a, err = app.Start(t.Context(), cfg, app.Options{Logger: logger}); err == nil {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				err = a.Run(ctx)
				fmt.Fprintf(&said, "%s: it starts, in place of %s\n", name, ln)
			}
		}
		fmt.Fprintf(&said, "%s: %v\n", name, err)
	}
	return said.Bytes()
}
