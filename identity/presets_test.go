package identity_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// presetCase is what an operator writes for a platform, and what its token then proves.
type presetCase struct {
	source     identity.Source
	id         string
	attributes map[string]any
	tokenID    string
}

func presetCases() map[string]presetCase {
	aud := []string{audience}
	return map[string]presetCase{
		"kubernetes": {
			source: identity.Source{Name: "prod", Issuer: "https://kubernetes.default.svc.cluster.local", Audiences: aud},
			id:     "k8s:prod:payments:invoice-agent",
			attributes: map[string]any{
				"namespace": "payments", "service_account": "invoice-agent",
				"service_account_uid": "e2a4c6d8-1b3d-4f5a-9c7e-0d2f4b6a8c1e",
				"pod":                 "invoice-agent-7d9c5b6f4-x2x9k", "pod_uid": "0b5f6f0c-4a1e-4c7e-8d3b-9e5b7c1a2d3e",
				"node": "ip-10-0-1-7.eu-west-1.compute.internal",
			},
			tokenID: "3c1f6a52-7f6b-4c1e-9a55-0a2b4fd1c0de",
		},
		"spiffe-jwt": {
			source:     identity.Source{Name: "mesh", TrustDomain: "prod.example.org", JWKSFile: "bundle.json", Audiences: aud},
			id:         "spiffe://prod.example.org/ns/research/sa/crawler",
			attributes: map[string]any{},
		},
		"github": {
			source: identity.Source{Name: "actions", Audiences: aud},
			id:     "github:65417892/740192837",
			attributes: map[string]any{
				"repository": "octo-org/octo-repo", "repository_id": "740192837", "owner": "octo-org", "owner_id": "65417892",
				"actor_id": "583231", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
				"environment": "production", "event_name": "push",
				"workflow_ref":       "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
				"job_workflow_ref":   "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
				"runner_environment": "github-hosted", "run_id": "17290011823",
				"sha": "1f2e3d4c5b6a79880716253443526170f9e8d7c6",
			},
			tokenID: "6f4d2f0e-6a57-4d7a-8f41-bb0ad2f0a1c9",
		},
		"gitlab": {
			source: identity.Source{Name: "ci", Audiences: aud},
			id:     "gitlab:68413579/46573356",
			attributes: map[string]any{
				"project_path": "acme/billing", "project_id": "46573356", "namespace_path": "acme", "namespace_id": "68413579",
				"user_id": "184239", "ref": "main", "ref_type": "branch", "ref_protected": "true", "environment": "production",
				"pipeline_source": "push", "pipeline_id": "1519139981", "job_id": "8222997048",
				"runner_environment": "gitlab-hosted",
				"ci_config_ref_uri":  "gitlab.com/acme/billing//.gitlab-ci.yml@refs/heads/main",
			},
			tokenID: "9d1b2ad5-6f0d-4a52-9d35-31a9ad1c7b3f",
		},
		"aws": {
			source: identity.Source{
				Name: "data", Issuer: "https://1a2b3c4d-5e6f-4708-9a0b-c1d2e3f40516.tokens.sts.global.api.aws", Audiences: aud,
			},
			id: "aws:data:arn:aws:iam::123456789012:role/DataProcessingRole",
			attributes: map[string]any{
				"account": "123456789012", "region": "eu-west-1", "org_id": "o-a1b2c3d4e5",
				"ou_path":        "o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/",
				"principal_tags": map[string]any{"team": "data-engineering", "environment": "production"},
				"request_tags":   map[string]any{"job-id": "job-2026-001"},
			},
			tokenID: "f2b6c2b2-2a0b-4c4f-b8a9-8d9a4f5e6c7d",
		},
		"gcp": {
			source: identity.Source{Name: "google", Audiences: aud},
			id:     "gcp:104512345678901234567",
			attributes: map[string]any{
				"email": "crawler@acme-prod.iam.gserviceaccount.com", "project_id": "acme-prod", "zone": "europe-west4-a",
				"instance_id": "7419825637412985634", "instance_name": "crawler-1",
			},
		},
		"oidc-user": {
			source: identity.Source{Name: "okta", Issuer: "https://login.acme.example", Audiences: aud},
			id:     "user:okta:00u1a2b3c4d5e6f7g8h9",
			attributes: map[string]any{
				"email": "ada@acme.example", "name": "Ada Example", "groups": []any{"security-ops", "finance"},
				"amr": []any{"pwd", "mfa"}, "acr": "urn:okta:loa:2fa:any", "auth_time": int64(1789999000),
			},
			tokenID: "ID.5b1s6Tn0QJ2nJ3Xw",
		},
	}
}

// presetFixture signs the platform's token with a key of its algorithm.
func presetFixture(t *testing.T, preset string, changes object) (raw string, reg *identity.Registry, keys *keyRing) {
	t.Helper()
	c := presetCases()[preset]
	c.source.Preset = preset
	header, claims := fixture(t, preset)
	key := newKey(t, header["alg"].(string))
	keys = ringOf(c.source.Name, token.Key{ID: header["kid"].(string), Public: key.Public()})
	return sign(t, key, header, with(claims, changes)), compile(t, c.source), keys
}

func TestPresetAcceptsThePlatformsToken(t *testing.T) {
	for preset, want := range presetCases() {
		t.Run(preset, func(t *testing.T) {
			raw, reg, keys := presetFixture(t, preset, nil)
			p, err := reg.Authenticate(t.Context(), raw, now(), keys)
			if err != nil {
				t.Fatal(err)
			}
			kind := identity.KindWorkload
			if preset == "oidc-user" {
				kind = identity.KindUser
			}
			if p.ID != want.id || p.Kind != kind || p.Source != want.source.Name || p.TokenID != want.tokenID {
				t.Errorf("got id %q kind %q source %q jti %q", p.ID, p.Kind, p.Source, p.TokenID)
			}
			if !reflect.DeepEqual(p.Attributes, want.attributes) {
				t.Errorf("attributes\n got %v\nwant %v", p.Attributes, want.attributes)
			}
			if !p.IssuedAt.Equal(issuedAt()) || p.Actor != nil || p.MayAct != nil {
				t.Errorf("issued %v, actor %v, may act %v", p.IssuedAt, p.Actor, p.MayAct)
			}
			if src, ok := reg.SourceOf(p.ID); !ok || src.Name != want.source.Name {
				t.Errorf("SourceOf(%q) = %q, %v", p.ID, src.Name, ok)
			}
		})
	}
}

func TestEveryPresetHasAFixtureOrIsX509(t *testing.T) {
	for _, preset := range identity.Presets() {
		if _, ok := presetCases()[preset]; !ok && preset != "spiffe-x509" {
			t.Errorf("preset %s is not tested with a token of its platform", preset)
		}
	}
}

func TestPresetRefuses(t *testing.T) {
	cases := []struct {
		name, preset string
		changes      object
		want         error
	}{
		{"a Kubernetes token kept in a secret", "kubernetes", object{"kubernetes.io": nil}, identity.ErrRequirement},
		{"a Kubernetes sub that is not the service account's", "kubernetes",
			object{"sub": "system:serviceaccount:kube-system:admin"}, identity.ErrRequirement},
		{"a SPIFFE ID of another trust domain", "spiffe-jwt",
			object{"sub": "spiffe://prod.example.org.evil.example/a"}, identity.ErrUnknownIssuer},
		{"a SPIFFE ID with a dot segment", "spiffe-jwt",
			object{"sub": "spiffe://prod.example.org/ns/../root"}, identity.ErrMissingClaim},
		{"a JWT-SVID with an issuer that is not configured", "spiffe-jwt",
			object{"iss": "https://evil.example"}, identity.ErrUnknownIssuer},
		{"a GitHub token without ids", "github", object{"repository_id": nil}, identity.ErrRequirement},
		{"a GitHub id with more in it", "github", object{"repository_owner_id": "65417892/1"}, identity.ErrRequirement},
		{"a GitLab id with more in it", "gitlab", object{"project_id": "1\n2"}, identity.ErrRequirement},
		{"an AWS token of another account's role", "aws",
			object{"sub": "arn:aws:iam::999999999999:role/DataProcessingRole"}, identity.ErrRequirement},
		{"a Google account of a person", "gcp", object{"email": "mallory@gmail.com"}, identity.ErrRequirement},
		{"a Google address that is not verified", "gcp", object{"email_verified": false}, identity.ErrRequirement},
		{"a Google token without the address", "gcp", object{"email": nil, "email_verified": nil}, identity.ErrRequirement},
		{"a person without sub", "oidc-user", object{"sub": nil}, identity.ErrMissingClaim},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			raw, reg, keys := presetFixture(t, c.preset, c.changes)
			if _, err := reg.Authenticate(t.Context(), raw, now(), keys); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestUnverifiedAddressIsNoAttribute(t *testing.T) {
	for name, changes := range map[string]object{
		"not verified": {"email_verified": false},
		"not said":     {"email_verified": nil},
		"said in text": {"email_verified": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, reg, keys := presetFixture(t, "oidc-user", changes)
			p, err := reg.Authenticate(t.Context(), raw, now(), keys)
			if err != nil {
				t.Fatal(err)
			}
			if email, ok := p.Attributes["email"]; ok {
				t.Errorf("email = %v", email)
			}
		})
	}
}

func TestPresetIsMergedWithTheSource(t *testing.T) {
	source := identity.Source{
		Name: "actions", Preset: "github", Audiences: []string{audience}, JWKSFile: "keys.json",
		Claims:  map[string]string{"sha": "", "branch": `claims.ref.after("refs/heads/")`},
		Require: []identity.Rule{{Expression: `claims.event_name == "push"`, Message: "only pushes"}},
	}
	reg := compile(t, source)
	got := reg.Sources()[0]
	if got.Discovery || got.Issuer == "" || len(got.Require) != 2 || got.Claims["branch"] == "" || got.Claims["ref"] == "" {
		t.Errorf("merged: %+v", got)
	}
	if _, kept := got.Claims["sha"]; kept {
		t.Error("an empty expression does not drop the preset's attribute")
	}
	if len(source.Claims) != 2 || len(source.Require) != 1 {
		t.Error("Compile changed the caller's source")
	}
}
