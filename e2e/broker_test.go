package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/examples"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/token"
)

const (
	clusterIssuer = "https://cluster.example.com"
	peopleIssuer  = "https://id.example.com"
	warehouse     = "https://warehouse.example.com"
	// maxAge is how long a verifier may keep the key set, and the least that may be configured.
	maxAge = time.Second
)

// system is what the brokers of a test have in common: a folder, the policy of the examples, and
// a cluster whose workloads call them at one issuer.
type system struct {
	dir     string
	issuer  string
	cluster token.Signer
}

func newSystem(t *testing.T, issuer string) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "writ-e2e-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bundle, err := examples.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "bundle"), bundle); err != nil {
		t.Fatal(err)
	}
	// Its own tests know of tokens that live longer than they may here.
	if err := os.Remove(filepath.Join(dir, "bundle", "tests.yaml")); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{dir: dir, issuer: issuer}
	if s.cluster, err = token.NewLocalSigner("cluster", token.ES256, key); err != nil {
		t.Fatal(err)
	}
	set, err := token.NewKeySet(token.Key{ID: "cluster", Algorithm: token.ES256, Public: key.Public(), Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "cluster.json", string(jwks))
	return s
}

func (s *system) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// workload signs a new token of a service account, as Kubernetes projects it.
func (s *system) workload(ctx context.Context, namespace, account string) (string, error) {
	now := time.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": clusterIssuer, "aud": []string{s.issuer}, "sub": "system:serviceaccount:" + namespace + ":" + account, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace, "serviceaccount": map[string]any{"name": account, "uid": "4a1d5f8e"},
			"pod": map[string]any{"name": account + "-0", "uid": "4a1d5f8f"},
		},
	})
	if err != nil {
		return "", err
	}
	return token.Sign(ctx, "JWT", payload, s.cluster)
}

// process is a broker as `writ serve` runs it, which can be stopped and started anew.
type process struct {
	system        *system
	name          string
	public, admin string // host:port
	socket        string
	cmd           *exec.Cmd
	ended         chan struct{}
	log           lines
}

// lines is what a process writes, for when a test fails.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// broker prepares a process. The system's issuer is its address, unless there is one already.
func (s *system) broker(t *testing.T, name string) *process {
	t.Helper()
	p := &process{system: s, name: name, public: porttest.Address(t), admin: porttest.Address(t), socket: filepath.Join(s.dir, name+".sock")}
	if s.issuer == "" {
		s.issuer = "http://" + p.public
	}
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("broker %s:\n%s", name, p.log.String())
		}
	})
	return p
}

// configure writes its configuration, which ends with more, and names the file.
func (p *process) configure(t *testing.T, more string) string {
	t.Helper()
	s := p.system
	return s.write(t, p.name+".yaml", fmt.Sprintf(`
issuer: %[1]q
public: {address: %[2]q}
admin: {address: %[3]q}
break_glass: {socket: %[4]q}
data_dir: %[5]q
bundle: {dir: %[6]q}
identity:
  sources:
    - {name: cluster, preset: kubernetes, issuer: %[7]q, jwks_file: %[8]q, audiences: [%[1]q], subject_prefix: "k8s:prod:"}
    - {name: people, preset: oidc-user, issuer: %[9]q, jwks_file: %[8]q, audiences: [writ], subject_prefix: "user:"}
rate_limits: {per_agent: {rate: 100000, burst: 100000}, unauthenticated: {rate: 100000, burst: 100000}}
environment: {stage: prod, change_freeze: "false"}
tokens: {max_ttl: 60s, default_ttl: 60s, skew: 0s}
revocation: {max_staleness: 10s, heartbeat: 500ms}
log: {level: warn}
shutdown_grace: 2s
`, s.issuer, p.public, p.admin, p.socket, filepath.Join(s.dir, p.name), filepath.Join(s.dir, "bundle"), clusterIssuer,
		filepath.Join(s.dir, "cluster.json"), peopleIssuer)+more)
}

// start runs the broker, and waits until it is ready.
func (p *process) start(t *testing.T, more string) {
	t.Helper()
	config := p.configure(t, more)
	p.cmd, p.ended = exec.Command(binary, "serve", "--config", config), make(chan struct{})
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		if err := cmd.Wait(); err != nil {
			fmt.Fprintln(&p.log, "ended with", err)
		}
		close(ended)
	}(p.cmd, p.ended)
	vaultcases.Eventually(t, func() error {
		select {
		case <-p.ended:
			t.Fatalf("broker %s ended:\n%s", p.name, p.log.String())
		default:
		}
		resp, err := http.Get("http://" + p.public + wire.PathReady) //nolint:noctx // as a probe would
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New("not ready: " + resp.Status)
		}
		return nil
	})
}

// stop ends the broker as an orchestrator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("broker %s ended with %d after SIGTERM", p.name, code)
		}
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		t.Errorf("broker %s did not end within 30 s of SIGTERM", p.name)
	}
	p.cmd = nil
}

// keys lists the ring, through the break-glass socket.
func (p *process) keys(t *testing.T) *wire.KeyList {
	t.Helper()
	admin, err := client.NewAdmin(client.AdminConfig{Socket: p.socket})
	if err != nil {
		t.Fatal(err)
	}
	list, err := admin.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// security is the admin API for a person of security ops, whose token is one of the key that signs now.
func (p *process) security(t *testing.T) *client.Admin {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": peopleIssuer, "aud": []string{"writ"}, "sub": "sam", "jti": rand.Text(), "groups": []string{"security-ops"},
		"iat": now.Unix(), "auth_time": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := token.Sign(t.Context(), "JWT", claims, p.system.cluster)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Issuer: p.system.issuer})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Exchange(t.Context(), client.Request{
		SubjectToken: proof, SubjectTokenType: wire.TokenTypeIDToken, Scopes: []string{"writ:revoke:**"},
	})
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.NewAdmin(client.AdminConfig{
		URL: "http://" + p.admin, Token: func(context.Context) (string, error) { return got.Secret.Reveal(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

// stage is the key of a ring that is "active", or "next"; nil if there is none.
func stage(list *wire.KeyList, name string) *wire.Key {
	for i := range list.Keys {
		if list.Keys[i].State == name {
			return &list.Keys[i]
		}
	}
	return nil
}

// rotate runs `writ keys rotate` and returns what it printed.
func (p *process) rotate(t *testing.T, args ...string) *wire.RotateResponse {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"keys", "rotate", "--socket", p.socket, "--json"}, args...)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("writ keys rotate: %v: %s%s", err, out, complaints.String())
	}
	var resp wire.RotateResponse
	if err := json.Unmarshal(out, &resp); err != nil || !resp.Applied {
		t.Fatalf("writ keys rotate printed %s (%v)", out, err)
	}
	return &resp
}

// planned rotates once a verifier that obeys max-age can have the next key, and waits until the key
// after it is made. It says --now, since prepublish is longer: it allows for replicas that are out
// of touch and for clocks that are off, and here are neither.
func (p *process) planned(t *testing.T) {
	t.Helper()
	next := p.settled(t)
	if resp := p.rotate(t, "--now"); resp.Activated != next {
		t.Fatalf("%s signs, and not %s", resp.Activated, next)
	}
}

// settled waits until the next key has been published for longer than max-age, and names it.
func (p *process) settled(t *testing.T) string {
	t.Helper()
	var next string
	vaultcases.Eventually(t, func() error {
		k := stage(p.keys(t), "next")
		if k == nil || k.Published == nil || time.Since(*k.Published) < 2*maxAge {
			return errors.New("the next key is not out for long enough")
		}
		next = k.ID
		return nil
	})
	return next
}

// signs waits until another key than the named one signs.
func (p *process) signsOther(t *testing.T, than string) string {
	t.Helper()
	var active string
	vaultcases.Eventually(t, func() error {
		k := stage(p.keys(t), "active")
		if k == nil || k.ID == than {
			return errors.New("no other key signs")
		}
		active = k.ID
		return nil
	})
	return active
}

// inVault is the keys section of a broker whose keys are, or may be, in a deployment's Vault. The
// policy there becomes what the broker itself says that it needs.
func (s *system) inVault(t *testing.T, d *vaultcases.Deployment, settings string) string {
	t.Helper()
	c := d.Config
	text := fmt.Sprintf("keys: {%s, vault: {address: %q, login: {method: approle, mount: %q, role_id: %q, secret_id_file: %q}, transit_mount: %q, seal_key: %q, sign_keys: %q, kv_mount: %q, kv_path: %q}}\n",
		settings, c.Address, c.Login.Mount, c.Login.RoleID, c.Login.SecretIDFile, c.Transit, c.SealKey, c.SignKeys, c.KV, c.KVPath)
	return text
}

// grant gives the broker what `writ keys vault-policy` prints.
func (p *process) grant(t *testing.T, d *vaultcases.Deployment) {
	t.Helper()
	cmd := exec.Command(binary, "keys", "vault-policy", "--config", filepath.Join(p.system.dir, p.name+".yaml"))
	policy, err := cmd.Output()
	if err != nil {
		t.Fatalf("writ keys vault-policy: %v: %s", err, policy)
	}
	d.SetPolicy(t, string(policy))
}
