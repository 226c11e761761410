package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
)

// killable is a broker that can be killed and started again on what the kill left.
type killable interface {
	start(t *testing.T)
	// kill ends it between two instructions. before runs at the last moment in which an
	// answer counts.
	kill(t *testing.T, before func())
	// stop ends it well.
	stop(t *testing.T)
	remains
}

// remains is what a kill leaves to look at.
type remains interface {
	records() fs.FS
	// verify verifies the audit log, with all anchors.
	verify(t *testing.T)
	fmt.Stringer // what the broker had to say
}

// How often a broker is killed: in the short form once through, in the long one anew until
// WRIT_SOAK is over.
const (
	shortKills = 6
	longKills  = 20
)

// TestKill9 kills the built binary under load.
func TestKill9(t *testing.T) {
	binary := buildBinary(t)
	soak(t, func(t *testing.T, rng *rand.Rand, kills int) {
		w := newWorld(t)
		killAgain(t, w, &process{world: w, binary: binary}, rng, kills)
	})
}

// TestKillLosesUnsynced kills a broker in this process, whose journal and audit log lose each
// byte that was not synced, and whose store goes back to an older copy of itself.
func TestKillLosesUnsynced(t *testing.T) {
	soak(t, func(t *testing.T, rng *rand.Rand, kills int) {
		w := newWorld(t)
		killAgain(t, w, &inProcess{world: w, rng: fork(rng), journal: newLossyFS(), audit: &crashfs.FS{}}, rng, kills)
	})
}

// soak runs a test once, or for as long as WRIT_SOAK says. WRIT_SEED repeats what a failure
// printed, as far as a schedule can be repeated.
func soak(t *testing.T, run func(*testing.T, *rand.Rand, int)) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WRIT_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	text := os.Getenv("WRIT_SOAK")
	if text == "" {
		t.Logf("seed %d", seed)
		run(t, rand.New(rand.NewPCG(seed, 0)), shortKills)
		return
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("WRIT_SOAK: %v", err)
	}
	for end := time.Now().Add(duration); time.Now().Before(end) && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { run(t, rand.New(rand.NewPCG(seed, 0)), longKills) })
	}
}

func killAgain(t *testing.T, w *world, b killable, rng *rand.Rand, kills int) {
	t.Helper()
	k := newKnown()
	var slowest time.Duration
	for n := range kills {
		started := time.Now()
		b.start(t)
		w.ready(t, b)
		slowest = max(slowest, time.Since(started))
		k.check(t, w, rng, b)
		rules, tokens := k.counts()
		l := startLoad(t, w, k, rng)
		time.Sleep(200*time.Millisecond + time.Duration(rng.IntN(600))*time.Millisecond)
		eventually(t, "there is something to lose", func() bool {
			r, t := k.counts()
			return r > rules && t >= tokens+10
		})
		b.kill(t, func() { l.killed.Store(true) })
		l.stop()
		k.recorded(t, b.records())
		b.verify(t)
		if t.Failed() {
			t.Fatalf("after kill %d:\n%s", n+1, b)
		}
	}
	b.start(t)
	w.ready(t, b)
	k.check(t, w, rng, b)
	b.stop(t)
	b.verify(t)
	if len(k.rules) < kills || len(k.delivered) < 10*kills {
		t.Errorf("only %d rules and %d tokens: that shows nothing", len(k.rules), len(k.delivered))
	}
	t.Logf("%d kills; %d tokens delivered, %d rules acknowledged, %d lifted, %d checkpoints witnessed; ready again within %v",
		kills, len(k.delivered), len(k.rules), len(k.lifted), len(w.witnessed()), slowest.Round(time.Millisecond))
}

// check asks the restarted broker for all that it had acknowledged.
func (k *known) check(t *testing.T, w *world, rng *rand.Rand, b fmt.Stringer) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.rules) == 0 {
		return
	}
	admin, err := w.operator()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for q := (client.RuleQuery{Limit: 1000}); ; {
		page, err := admin.Rules(t.Context(), q)
		if err != nil {
			t.Fatalf("listing rules: %v\n%s", err, b)
		}
		for _, r := range page.Rules {
			have[r.ID] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for id, what := range k.rules {
		switch {
		case !have[id] && !k.lifting[id]:
			t.Errorf("acknowledged rule %s is gone: %s", id, what)
		case have[id] && k.lifted[id]:
			t.Errorf("rule %s is back, though it was lifted: %s", id, what)
		}
	}
	k.inForce(t, w, rng)
}

// inForce shows that rules are not only listed.
func (k *known) inForce(t *testing.T, w *world, rng *rand.Rand) {
	t.Helper()
	c, err := w.once()
	if err != nil {
		t.Fatal(err)
	}
	if len(k.suspects) > 0 {
		suspect := k.suspects[rng.IntN(len(k.suspects))]
		if _, id, err := w.issue(t.Context(), c, suspect, "tickets:read:queue/support", ""); err == nil {
			t.Errorf("quarantined %s got token %s", suspect, id)
		}
	}
	if _, _, err := w.issue(t.Context(), c, "bystander", "tickets:read:queue/support", ""); err != nil {
		t.Errorf("an agent that nobody suspects got no token: %v", err)
	}
	// A token that was delivered before the kill serves as an agent's subject token after it,
	// whichever key signed it: only what a rule hits is refused.
	for id, raw := range k.samples {
		proof, err := w.workload(t.Context(), "analyst")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Exchange(t.Context(), client.Request{
			SubjectToken: raw, SubjectTokenType: "urn:ietf:params:oauth:token-type:access_token",
			ActorToken: proof, Scopes: []string{"warehouse:read:sales/eu/orders"},
		})
		if err != nil {
			t.Errorf("token %s is not accepted after the restart: %v", id, err)
		}
		break
	}
}

// recorded holds the audit log to the tokens that were delivered.
func (k *known) recorded(t *testing.T, files fs.FS) {
	t.Helper()
	have := map[string]bool{}
	for r, err := range audit.Query(files, audit.Filter{Kind: audit.KindExchange}) {
		if err != nil {
			t.Fatalf("reading audit log: %v", err)
		}
		have[r.TokenID] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range k.delivered {
		if !have[id] {
			t.Errorf("token %s was delivered and has no record", id)
		}
	}
}

// process is the built binary.
type process struct {
	*world
	binary string
	cmd    *exec.Cmd
	output bytes.Buffer
}

func buildBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "writ")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/writbroker/writ/cmd/writ")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building writ: %v\n%s", err, out)
	}
	return binary
}

func (p *process) String() string { return p.output.String() }

func (p *process) start(t *testing.T) {
	t.Helper()
	p.output.Reset()
	p.cmd = exec.CommandContext(t.Context(), p.binary, "serve", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (p *process) kill(t *testing.T, _ func()) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("the broker ended before it was killed: %v\n%s", err, p)
	}
	_ = p.cmd.Wait()
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the broker did not end well: %v\n%s", err, p)
	}
}

func (p *process) records() fs.FS { return os.DirFS(filepath.Join(p.dir, "data", "audit")) }

// verify runs `writ audit verify`, with the anchor in the store and those of the witness.
func (p *process) verify(t *testing.T) {
	t.Helper()
	var lines bytes.Buffer
	for _, c := range p.witnessed() {
		if err := json.NewEncoder(&lines).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	anchors := filepath.Join(p.dir, "anchors")
	if err := os.WriteFile(anchors, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := exec.CommandContext(t.Context(), p.binary, "audit", "verify", filepath.Join(p.dir, "data", "audit"),
		"--config", p.config, "--anchor", anchors)
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("writ audit verify: %v\n%s", err, out)
	}
}

// inProcess is a broker in this process, on file layers that lose what was not synced.
type inProcess struct {
	*world
	rng     *rand.Rand
	journal *lossyFS
	audit   *crashfs.FS

	app    *app.App
	end    context.CancelFunc
	ended  chan error
	copies [][]byte // of the store, taken while it was in use
	stopCp chan struct{}
	copier sync.WaitGroup
}

func (p *inProcess) String() string { return "seeds are above" }

func (p *inProcess) start(t *testing.T) {
	t.Helper()
	cfg, err := config.Load(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if p.app, err = app.Start(t.Context(), cfg, app.Options{}.On(p.journal, p.audit)); err != nil {
		t.Fatalf("starting again: %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	p.end, p.ended, p.stopCp = end, make(chan error, 1), make(chan struct{})
	go func() { p.ended <- p.app.Run(ctx) }()
	p.copier.Go(p.copyStore)
}

func (p *inProcess) store() string { return filepath.Join(p.dir, "data", "store.db") }

// copyStore takes copies at random moments, until the kill.
func (p *inProcess) copyStore() {
	for {
		select {
		case <-p.stopCp:
			return
		case <-time.After(time.Duration(20+p.rng.IntN(200)) * time.Millisecond):
		}
		if c := consistentCopy(p.store()); c != nil {
			p.copies = append(p.copies, c)
		}
	}
}

// consistentCopy reads a bolt file that is in use. Its first two pages name the tree that
// is committed, whose pages are not written again before the next commit: if they are the
// same after the reading, all that was read belongs together.
func consistentCopy(path string) []byte {
	const heads = 2 * 4096
	for range 100 {
		data, err := os.ReadFile(path)
		if err != nil || len(data) < heads {
			continue
		}
		again := make([]byte, heads)
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		_, err = f.ReadAt(again, 0)
		f.Close()
		if err == nil && bytes.Equal(again, data[:heads]) {
			return data
		}
	}
	return nil
}

func (p *inProcess) kill(t *testing.T, before func()) {
	t.Helper()
	close(p.stopCp)
	p.copier.Wait()
	eventually(t, "a copy of the store", func() bool {
		if len(p.copies) == 0 {
			if c := consistentCopy(p.store()); c != nil {
				p.copies = append(p.copies, c)
			}
		}
		return len(p.copies) > 0
	})
	before()
	p.journal = p.journal.kill(p.rng)
	p.audit = p.audit.Crash(func(unsynced []byte) []byte { return unsynced[:p.rng.IntN(len(unsynced)+1)] })
	p.end()
	<-p.ended // whatever it says: its files were taken from it
	older := p.copies[p.rng.IntN(len(p.copies))]
	if err := os.WriteFile(p.store(), older, 0o600); err != nil {
		t.Fatal(err)
	}
	p.copies = append(p.copies[max(0, len(p.copies)-20):], older)
}

func (p *inProcess) stop(t *testing.T) {
	t.Helper()
	close(p.stopCp)
	p.copier.Wait()
	p.end()
	if err := <-p.ended; err != nil {
		t.Errorf("the broker did not end well: %v", err)
	}
}

func (p *inProcess) records() fs.FS { return p.audit }

func (p *inProcess) verify(t *testing.T) {
	t.Helper()
	report, err := audit.Verify(p.audit, p.app.RecordsKey(), p.witnessed())
	if err != nil || !report.OK() {
		t.Errorf("audit verify: %v, %+v", err, report)
	}
}
