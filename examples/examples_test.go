// Package examples_test holds the shipped examples to what the broker accepts.
package examples_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/store/redis"
)

func load(t *testing.T) *config.Config { return loadFile(t, "writ.yaml") }

func loadFile(t *testing.T, name string) *config.Config {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{"CREDENTIALS_DIRECTORY": "/run/credentials/writ"}
	c, err := config.Parse(name, data, base, func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigurationLoads(t *testing.T) {
	c := load(t)
	if got, want := c.Audit.Anchor.Webhook.TokenFile, "/run/credentials/writ/anchor-token"; got != want {
		t.Errorf("token_file = %q, want %q", got, want)
	}
}

// TestSharedConfigurationLoads: the example for several replicas says what only they need.
func TestSharedConfigurationLoads(t *testing.T) {
	c := loadFile(t, "writ-redis.yaml")
	r := c.Store.Redis
	if c.Store.Kind != config.StoreRedis || len(r.Addresses) != 3 || r.MasterName != "writ" || !r.TLS.Enabled || r.MinReplicas != 1 {
		t.Errorf("store is %+v", c.Store)
	}
	if want := "/run/credentials/writ/redis-password"; r.PasswordFile != want {
		t.Errorf("password_file = %q, want %q", r.PasswordFile, want)
	}
}

// TestRightsOfTheUserAreShown: what the example gives the user of Redis is what it needs.
func TestRightsOfTheUserAreShown(t *testing.T) {
	data, err := os.ReadFile("writ-redis.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "ACL SETUSER writ on >PASSWORD ")
	shown, _, _ := strings.Cut(rest, "username:")
	got := strings.Fields(strings.ReplaceAll(shown, "#", ""))
	if want := strings.Fields(redis.Rights); !slices.Equal(got, want) {
		t.Errorf("the example gives %q, want %q", got, want)
	}
}

// TestConfigurationShowsEveryKey keeps the examples full, if only in a comment.
func TestConfigurationShowsEveryKey(t *testing.T) {
	data, err := os.ReadFile("writ.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.ReadFile("writ-redis.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, shared...)
	for _, key := range keysOf(reflect.TypeFor[config.Config]()) {
		if !strings.Contains(string(data), key+":") {
			t.Errorf("no example shows %s", key)
		}
	}
}

func keysOf(typ reflect.Type) []string {
	var keys []string
	for field := range typ.Fields() {
		key := field.Tag.Get("yaml")
		if key == "" {
			continue
		}
		keys = append(keys, key)
		if field.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(field.Type)...)
		}
	}
	return keys
}

func TestBundleLoadsAndItsCasesHold(t *testing.T) {
	c := load(t)
	bundle, err := policy.Load(os.DirFS(c.Bundle.Dir), policy.Options{
		MaxTTL:      c.Tokens.MaxTTL,
		DefaultTTL:  c.Tokens.DefaultTTL,
		Issuer:      c.Issuer,
		Environment: c.Environment,
		Sources:     c.Identity.Sources,
	})
	if err != nil {
		t.Fatal(err)
	}
	results := bundle.RunTests()
	if len(results) < 16 {
		t.Errorf("%d cases ran, want all 16", len(results))
	}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s:%d: %s: %s\n%s", r.File, r.Line, r.Name, r.Message, r.Decision.Trace.String())
		}
	}
}
