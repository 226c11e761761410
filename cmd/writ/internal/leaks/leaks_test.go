package leaks_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/demo"
	"github.com/writbroker/writ/cmd/writ/internal/dev"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store/redis"
)

const (
	redisPassword  = "redis+Secret/pass=word%7e"
	clientPassword = "client+Secret/pass=word&7e"
)

// stage is the demo's world on a real Redis, and all that looks at it.
type stage struct {
	redis    *redistest.Node
	dir      string
	log      *buffer
	logger   *slog.Logger
	recorder *recorder
	printed  bytes.Buffer
	places   map[string][]byte
	secrets  []secret
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{redis: redistest.Start(t, "--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000"), dir: dir, log: &buffer{}, recorder: newRecorder(), places: map[string][]byte{}}
	s.logger = slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte(redisPassword+"\n"), 0o600))
	s.admit(t)
	return s
}

// admit makes the broker's user, who has a password and no more rights than it needs.
func (s *stage) admit(t *testing.T) {
	t.Helper()
	rule := []any{"ACL", "SETUSER", "writ", "on", ">" + redisPassword}
	for right := range strings.FieldsSeq(redis.Rights) {
		rule = append(rule, right)
	}
	s.redis.Do(t, rule...)
	s.redis.Do(t, "SLOWLOG", "RESET") // which has that command, and not by the broker
}

func (s *stage) data() string { return filepath.Join(s.dir, "data") }

// TestNothingSecretIsWritten plays the whole demo and many faults with secrets that it knows, and
// finds none of them in what is written.
func TestNothingSecretIsWritten(t *testing.T) {
	s := newStage(t)
	printer := &demo.Printer{Out: &s.printed}
	var world *dev.World
	report, err := demo.Run(t.Context(), demo.Config{
		DataDir: s.data(), Logger: s.logger, Transport: s.recorder,
		Redis:   &dev.Redis{Address: s.redis.Addr, Username: "writ", PasswordFile: filepath.Join(s.dir, "password")},
		Started: func(w *dev.World) { world = w; printer.Started(w) },
		Done: func(step demo.Step) {
			printer.Done(step)
			if step.Name == "audit" && step.OK {
				s.misuse(t, world)
				s.look(t, world)
			}
		},
	})
	printer.End(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.printed.String())
	}
	if len(s.places) == 0 {
		t.Fatal("the last step was not reached")
	}
	told, err := json.Marshal(report)
	must(t, err)
	s.places["what the demo tells"] = append(told, s.printed.Bytes()...)
	s.places["the data folder, at the end"] = files(t, s.data(), "root.key", "tokens")
	s.places["the log, at the end"] = s.log.Bytes()
	s.collect(t)
	for _, found := range search(s.places, s.secrets) {
		t.Error(found)
	}
	for place, data := range s.places {
		t.Logf("%s: %d bytes", place, len(data))
		if len(data) < 100 {
			t.Errorf("%s: only %d bytes", place, len(data))
		}
	}
	t.Logf("%d secrets in %d forms; %d answers were refusals", len(s.secrets), len(all(s.secrets)), s.recorder.refused)
	if len(s.secrets) < 50 || s.recorder.refused < 300 {
		t.Error("that is too little to show anything")
	}
}

// misuse is everything that goes wrong.
func (s *stage) misuse(t *testing.T, w *dev.World) {
	t.Helper()
	f := &faults{t: t, world: w, recorder: s.recorder, http: &http.Client{Transport: s.recorder}, password: clientPassword}
	f.play()
	s.places["brokers that do not start"] = starts(t, w, redisPassword, s.logger)
	t.Logf("brokers that do not start:\n%s", s.places["brokers that do not start"])
	s.redis.Kill(t)
	time.Sleep(500 * time.Millisecond)
	operator := f.exchange(dev.SampleSecurity, typeID, "writ:revoke:**")
	f.admin(operator, operator)
	f.parameters(f.sample(dev.SampleAgent).Token, operator)
	s.redis.Restart(t)
	s.admit(t)
	redistest.Until(t, "the broker is ready again", func() bool {
		status, _ := f.send(http.MethodGet, w.Issuer()+"/readyz", nil, nil)
		return status == http.StatusOK
	})
	f.play()
}

// look takes down what can be seen while the broker runs.
func (s *stage) look(t *testing.T, w *dev.World) {
	t.Helper()
	s.places["metrics"] = page(t, w.Admin()+"/metrics")
	s.places["profiles"] = profiles(t)
	s.places["redis"] = contents(t, s.redis)
	s.places["the files of redis"] = files(t, s.redis.Dir())
	s.places["the data folder"] = files(t, s.data(), "root.key", "tokens")
	root, secrets := ofRoot(t, s.data())
	s.secrets = append(secrets, ofRing(t, s.redis, root)...)
}

// collect gathers what is secret, now that all of it has been seen.
func (s *stage) collect(t *testing.T) {
	t.Helper()
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.findLocked(files(t, filepath.Join(s.data(), "tokens")))
	s.places["answers"] = s.recorder.answers.Bytes()
	s.secrets = append(s.secrets, ofTokens(t, s.recorder.tokens)...)
	s.secrets = append(s.secrets, secret{"the password of redis", []byte(redisPassword)}, secret{"a client's password", []byte(clientPassword)},
		secret{"a client's password, cut", []byte(clientPassword[:len(clientPassword)-2])})
}
