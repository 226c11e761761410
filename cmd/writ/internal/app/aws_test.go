package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/token"
)

const lakeRole = "arn:aws:iam::123456789012:role/writ-lake"

const lakeBundle = `
kind: catalog
tools:
  - {name: lake, audience: "https://lake.example", actions: [read], aws: {service: s3, role: "` + lakeRole + `", with: {bucket: acme-lake}}}
---
kind: roles
roles:
  - {name: lake-reader, grants: [{scopes: ["lake:read:**"]}]}
---
kind: bindings
bindings:
  - {name: lake, principals: ["k8s:prod:agents:**"], roles: [lake-reader]}
`

// startWithAWS runs a broker whose configuration ends in this aws section, before an STS that
// reads the broker's keys where the world reads them.
func startWithAWS(t *testing.T, section string) (*world, *ststest.Server) {
	t.Helper()
	w := newWorld(t)
	sts := ststest.New(t, ststest.Options{
		Roles:      []ststest.Role{{ARN: lakeRole, Federated: true, ExternalID: map[bool]string{true: "4711"}[strings.Contains(section, "4711")]}},
		Principals: []ststest.Principal{{AccessKeyID: "AKIABROKER", ARN: "arn:aws:iam::123456789012:user/writ"}},
		Issuer:     w.issuer, Audience: "sts.test", Keys: func() *token.KeySet { return published(t, w.issuer) },
	})
	must(t, os.WriteFile(filepath.Join(w.dir, "bundle", "lake.yaml"), []byte(lakeBundle), 0o600))
	must(t, os.WriteFile(filepath.Join(w.dir, "aws"), []byte("[broker]\naws_access_key_id = AKIABROKER\naws_secret_access_key = secret\n"), 0o600))
	text, err := os.ReadFile(w.config)
	must(t, err)
	text = append(text, strings.NewReplacer("STS", sts.URL, "DIR", w.dir).Replace(section)...)
	must(t, os.WriteFile(w.config, text, 0o600))
	cfg, err := config.Load(w.config)
	must(t, err)
	must(t, cfg.CheckFiles())
	a, err := app.Start(t.Context(), cfg, app.Options{})
	must(t, err)
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.ready(t, &strings.Builder{})
	return w, sts
}

// published are the keys at the issuer's address.
func published(t *testing.T, issuer string) *token.KeySet {
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, issuer+wire.PathJWKS, nil)
	if err != nil {
		t.Error(err)
		return &token.KeySet{}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return &token.KeySet{}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	set, err := token.ParseJWKS(data, token.JWKSOptions{})
	if err != nil {
		t.Error(err)
		return &token.KeySet{}
	}
	return set
}

// A configuration is all it takes: an SDK gets credentials from the broker by its workload's
// token, in either mode.
func TestAWSCredentialsByConfiguration(t *testing.T) {
	for mode, section := range map[string]string{
		"assume_role": `aws: {mode: assume_role, region: ` + ststest.Region + `, endpoint: "STS", external_id: "4711", profile: broker, credentials_file: DIR/aws}
`,
		"web_identity": `aws: {mode: web_identity, region: ` + ststest.Region + `, endpoint: "STS", audience: sts.test}
`,
	} {
		t.Run(mode, func(t *testing.T) {
			w, sts := startWithAWS(t, section)
			workload, err := w.workload(t.Context(), "analyst")
			must(t, err)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
			p := endpointcreds.New(w.issuer+wire.PathAWSCredentials+"?scope=lake:read:sales/eu/**", func(o *endpointcreds.Options) {
				o.HTTPClient, o.AuthorizationToken = client, workload
			})
			got, err := p.Retrieve(t.Context())
			must(t, err)
			calls := sts.Calls("")
			last := calls[len(calls)-1]
			if got.AccessKeyID != last.SessionKeyID || last.Role != lakeRole || last.Tags["writ:agent"] != "k8s:prod:agents:analyst" {
				t.Errorf("credentials %s of call %+v", got.AccessKeyID, last)
			}
			// The audience of the proof is nobody else's, and the proof is no subject token.
			if mode != "web_identity" {
				return
			}
			for name, f := range map[string]url.Values{
				"a token for STS": {"subject_token": {workload}, "audience": {"sts.test"}},
				"the proof":       {"subject_token": {last.Proof}, "scope": {"lake:read:x"}},
			} {
				f.Set("grant_type", wire.GrantTokenExchange)
				f.Set("subject_token_type", wire.TokenTypeJWT)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.issuer+wire.PathToken, strings.NewReader(f.Encode()))
				must(t, err)
				req.Header.Set("Content-Type", wire.TypeForm)
				resp, err := client.Do(req)
				must(t, err)
				var e wire.Error
				err = json.NewDecoder(resp.Body).Decode(&e)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: %d %+v", name, resp.StatusCode, e)
				}
			}
		})
	}
}
