package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/httpapi/wire"
)

// Who lives in the world, as the shipped bundle knows them.
const (
	clusterPrefix  = "k8s:prod:"
	peoplePrefix   = "user:"
	peopleAudience = "writ"

	// tokenLife is what Kubernetes gives a projected token; each is replaced long before.
	tokenLife  = time.Hour
	tokenEvery = time.Minute
)

// Names of samples.
const (
	SampleAgent    = "agent"           // reads sales, for itself and for people
	SampleSubAgent = "sub_agent"       // draws what the agent found
	SampleUser     = "user"            // a person of analytics
	SampleOutsider = "outsider"        // a person who may not read sales
	SampleSecurity = "security_ops"    // a person who takes credentials back
	SampleServer   = "resource_server" // the warehouse itself
)

// Sample is a principal with a token that proves it, and what it may ask the broker for.
type Sample struct {
	ID           string `json:"id"`
	Token        string `json:"token"`
	TokenType    string `json:"token_type"`
	TokenFile    string `json:"token_file"`
	Audience     string `json:"audience,omitempty"`
	Scope        string `json:"scope,omitempty"`
	RefusedScope string `json:"refused_scope,omitempty"`
}

// identity is how a sample proves itself: a workload of the cluster, or a person.
type identity struct {
	namespace, account string
	subject, name      string
	groups             []string
}

func identities() map[string]identity {
	return map[string]identity{
		SampleAgent:    {namespace: "agents", account: "analyst"},
		SampleSubAgent: {namespace: "agents", account: "chart-maker"},
		SampleServer:   {namespace: "data", account: "warehouse-api"},
		SampleUser:     {subject: "1b4e28ba", name: "Bo Example", groups: []string{"analytics"}},
		SampleOutsider: {subject: "6fa459ea", name: "Cy Example", groups: []string{"catering"}},
		SampleSecurity: {subject: "9b2d7c11", name: "Di Example", groups: []string{"security-ops"}},
	}
}

func (i identity) workload() bool { return i.account != "" }

func (i identity) id() string {
	if i.workload() {
		return clusterPrefix + i.namespace + ":" + i.account
	}
	return peoplePrefix + i.subject
}

// Sample gives a principal with a token that is signed now, and lives for an hour.
func (w *World) Sample(ctx context.Context, name string) (Sample, error) {
	who, ok := identities()[name]
	if !ok {
		return Sample{}, fmt.Errorf("no sample %q", name)
	}
	s := Sample{ID: who.id(), TokenFile: w.tokenFile(name)}
	var err error
	if who.workload() {
		s.TokenType = wire.TokenTypeJWT
		s.Token, err = w.idp.cluster.sign(ctx, "", w.projected(who))
	} else {
		s.TokenType = wire.TokenTypeIDToken
		s.Token, err = w.idp.people.sign(ctx, "JWT", w.idToken(who))
	}
	if err != nil {
		return Sample{}, fmt.Errorf("making token of %s: %w", s.ID, err)
	}
	switch name {
	case SampleAgent:
		s.Audience, s.Scope, s.RefusedScope = toolAudience, "warehouse:read:sales/eu/*", "warehouse:read:sales/pii/*"
	case SampleSubAgent:
		s.Audience, s.Scope = toolAudience, "warehouse:read:sales/eu/orders"
	case SampleSecurity:
		s.Audience, s.Scope = w.Issuer(), "writ:revoke:**"
	case SampleServer:
		s.Audience, s.Scope = w.Issuer(), "writ:feed:read writ:introspect:**"
	}
	return s, nil
}

// Samples gives all of them.
func (w *World) Samples(ctx context.Context) (map[string]Sample, error) {
	out := map[string]Sample{}
	for name := range identities() {
		s, err := w.Sample(ctx, name)
		if err != nil {
			return nil, err
		}
		out[name] = s
	}
	return out, nil
}

// projected are the claims of a projected service account token, as the API server of
// Kubernetes writes them.
func (w *World) projected(who identity) map[string]any {
	now := w.now()
	object := func(name string) map[string]any {
		return map[string]any{"name": name, "uid": uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String()}
	}
	return map[string]any{
		"aud": []string{w.Issuer()}, "exp": now.Add(tokenLife).Unix(), "iat": now.Unix(), "nbf": now.Unix(),
		"iss": w.idp.cluster.url, "jti": uuid.NewString(),
		"sub": "system:serviceaccount:" + who.namespace + ":" + who.account,
		"kubernetes.io": map[string]any{
			"namespace": who.namespace, "node": object("node-1"), "pod": object(who.account + "-7d9f-x2x4q"),
			"serviceaccount": object(who.account), "warnafter": now.Add(tokenLife * 9 / 10).Unix(),
		},
	}
}

// idToken are the claims of a person's ID token (OpenID Connect Core, section 2).
func (w *World) idToken(who identity) map[string]any {
	now := w.now()
	return map[string]any{
		"iss": w.idp.people.url, "sub": who.subject, "aud": peopleAudience, "jti": uuid.NewString(),
		"exp": now.Add(tokenLife).Unix(), "iat": now.Unix(), "auth_time": now.Add(-time.Minute).Unix(),
		"amr": []string{"pwd", "mfa"}, "name": who.name, "groups": who.groups,
		"email": who.subject + "@example.com", "email_verified": true,
	}
}

func (w *World) tokenFile(name string) string { return filepath.Join(w.dir, "tokens", name+".jwt") }

// startKubelet puts every sample's token into a file, as a kubelet does for pods, and keeps
// replacing them.
func (w *World) startKubelet(ctx context.Context, _ Config) error {
	if err := os.MkdirAll(filepath.Join(w.dir, "tokens"), 0o700); err != nil {
		return fmt.Errorf("making directory of tokens: %w", err)
	}
	if err := w.project(ctx); err != nil {
		return err
	}
	w.run(ctx, "projection of tokens", func(ctx context.Context) error {
		tick := time.NewTicker(tokenEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if err := w.project(ctx); err != nil {
					return err
				}
			}
		}
	})
	return nil
}

func (w *World) project(ctx context.Context) error {
	samples, err := w.Samples(ctx)
	if err != nil {
		return err
	}
	for name, s := range samples {
		if err := replaceFile(w.tokenFile(name), s.Token); err != nil {
			return err
		}
	}
	return nil
}
