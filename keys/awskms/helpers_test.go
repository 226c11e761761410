package awskms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/writbroker/writ/internal/kmstest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

const ring, birth = "tokens", 7

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a KMS with a key that seals, and what a broker needs to use it.
type world struct {
	*kmstest.Server

	login   kmstest.Login
	sealKey string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	// Nothing of the machine's own settings, and no question to an instance's metadata.
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "/dev/null")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s := kmstest.Start(t)
	return &world{Server: s, login: s.NewLogin(), sealKey: s.SymmetricKey(t)}
}

// config has a timeout that no test waits for: a slow machine makes RSA keys slowly.
func (w *world) config() awskms.Config {
	cfg := awskms.Config{
		Region: kmstest.Region, Endpoint: w.URL, SealKey: w.sealKey,
		Credentials: static(w.login), Timeout: time.Minute, ProbeEvery: 20 * time.Millisecond,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	cfg.SetBackoff(200 * time.Millisecond)
	return cfg
}

func static(l kmstest.Login) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(l.AccessKeyID, l.SecretAccessKey, l.SessionToken)
}

// client makes one over a configuration that was changed.
func (w *world) client(t testing.TB, change ...func(*awskms.Config)) *awskms.Client {
	t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	client, err := awskms.New(t.Context(), cfg)
	must(t, err)
	return client
}

// observed is what Observe was told.
type observed struct {
	mu   sync.Mutex
	seen map[string]int // action and label
}

func (o *observed) take(action string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string]int{}
	}
	o.seen[action+" "+awskms.What(err)]++
}

func (o *observed) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[what]
}

// wantHidden looks for secrets in all that an error holds.
func (w *world) wantHidden(t testing.TB, err error, secrets ...string) {
	t.Helper()
	secrets = append(secrets, w.login.SecretAccessKey, w.login.SessionToken)
	for todo := []error{err}; len(todo) > 0; todo = todo[1:] {
		out, _ := json.Marshal(todo[0])
		shown := fmt.Sprintf("%v %+v %#v %s %T", todo[0], todo[0], todo[0], out, todo[0])
		for _, secret := range secrets {
			if strings.Contains(shown, secret) {
				t.Errorf("an error shows a secret: %s", shown)
			}
		}
		// It would hold the whole request.
		if strings.Contains(shown, "smithy") {
			t.Errorf("the SDK's own error is kept: %s", shown)
		}
		switch e := todo[0].(type) { //nolint:errorlint // each of the chain is looked at by itself
		case interface{ Unwrap() []error }:
			todo = append(todo, e.Unwrap()...)
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				todo = append(todo, inner)
			}
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func want(t testing.TB, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
}

// made has a custody make a key as it stands in a ring.
func made(t testing.TB, c keys.Custody, alg string) keys.KeyInfo {
	t.Helper()
	m, err := c.Generate(t.Context(), ring, alg, birth)
	must(t, err)
	return standing(t, c, m, alg)
}

func standing(t testing.TB, c keys.Custody, m keys.Material, alg string) keys.KeyInfo {
	t.Helper()
	public, err := token.Key{ID: m.ID, Algorithm: alg, Public: m.Public}.MarshalJSON()
	must(t, err)
	return keys.KeyInfo{ID: m.ID, Algorithm: alg, Public: public, Sealed: m.Sealed, Custody: c.Name(), Born: birth}
}

// signed has a signer sign a token and verifies it under what the ring publishes.
func signed(ctx context.Context, s token.Signer, k keys.KeyInfo) error {
	raw, err := token.Sign(ctx, token.TypeAccessToken, []byte(`{"sub":"agent"}`), s)
	if err != nil {
		return err
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return err
	}
	key, err := k.Key()
	if err != nil {
		return err
	}
	_, err = unverified.Verify(key)
	return err
}
