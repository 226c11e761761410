package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/client"
)

// exchanger hands out numbered tokens of a given life after a given delay.
type exchanger struct {
	calls  atomic.Int64
	delay  time.Duration
	life   time.Duration
	mu     sync.Mutex
	fail   error
	proofs []string
}

func (e *exchanger) set(err error) { e.mu.Lock(); e.fail = err; e.mu.Unlock() }

func (e *exchanger) Exchange(ctx context.Context, r client.Request) (*client.Token, error) {
	n := e.calls.Add(1)
	began := time.Now()
	select {
	case <-time.After(e.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proofs = append(e.proofs, r.SubjectToken)
	if e.fail != nil {
		return nil, e.fail
	}
	return &client.Token{Secret: client.Secret(fmt.Sprint("token-", n)), Expiry: began.Add(e.life)}, nil
}

func source(t *testing.T, e *exchanger) *client.Source {
	t.Helper()
	s, err := client.NewSource(client.SourceConfig{Client: e, Subject: func(context.Context) (string, error) { return "proof", nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestManyCallersOneExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{delay: time.Second, life: 5 * time.Minute}
		s := source(t, e)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got, err := s.Bearer(t.Context()); err != nil || got != "token-1" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if n := e.calls.Load(); n != 1 {
			t.Errorf("%d exchanges", n)
		}
	})
}

func TestOneCallerGivesUpTheOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{delay: time.Second, life: 5 * time.Minute}
		s := source(t, e)
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // starts the exchange
			if _, err := s.Token(impatient); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		if got, err := s.Bearer(t.Context()); err != nil || got != "token-1" {
			t.Errorf("got %q, %v", got, err)
		}
		wg.Wait()
	})
}

func TestRenewsBetween60And80PercentWithoutMakingCallersWait(t *testing.T) {
	renewedAt := map[time.Duration]bool{}
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			e := &exchanger{delay: time.Second, life: 100 * time.Second}
			s := source(t, e)
			if _, err := s.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for e.calls.Load() == 1 {
				time.Sleep(time.Second)
				before := time.Now()
				if got, err := s.Bearer(t.Context()); err != nil || got != "token-1" {
					t.Fatalf("got %q, %v", got, err)
				}
				if time.Since(before) != 0 {
					t.Error("a caller waited for a renewal while the token was good")
				}
				synctest.Wait()
			}
			at := time.Since(began)
			if at < 58*time.Second || at > 81*time.Second {
				t.Errorf("renewed after %v of 100s", at)
			}
			renewedAt[at] = true
			time.Sleep(2 * time.Second)
			if got, _ := s.Bearer(t.Context()); got != "token-2" {
				t.Errorf("got %q after the renewal", got)
			}
		})
	}
	if len(renewedAt) < 4 {
		t.Errorf("20 sources renewed at only %d distinct moments", len(renewedAt))
	}
}

func TestFailedRenewalKeepsTheOldTokenAndLeavesTheBrokerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{life: 100 * time.Second}
		s := source(t, e)
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.set(&client.ResponseError{Status: 503, RetryAfter: 10 * time.Second})
		time.Sleep(85 * time.Second)
		for range 9 { // within the ten seconds that the broker asked for
			if got, err := s.Bearer(t.Context()); err != nil || got != "token-1" {
				t.Fatalf("got %q, %v", got, err)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := e.calls.Load(); n != 2 {
			t.Errorf("%d exchanges, want the first and one renewal", n)
		}
		time.Sleep(20 * time.Second) // past the token's end
		if got, err := s.Token(t.Context()); err == nil {
			t.Errorf("a dead token was handed out: %v", got)
		}
		e.set(nil)
		time.Sleep(15 * time.Second)
		if _, err := s.Token(t.Context()); err != nil {
			t.Errorf("did not recover: %v", err)
		}
	})
}

func TestATokenIsNotHandedOutAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{life: 100 * time.Second}
		s := source(t, e)
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(96 * time.Second)
		if got, err := s.Bearer(t.Context()); err != nil || got != "token-2" {
			t.Errorf("got %q, %v four seconds before the end", got, err)
		}
	})
}

func TestDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{life: 100 * time.Second}
		s := source(t, e)
		first, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Discard(first)
		second, err := s.Token(t.Context())
		if err != nil || second == first {
			t.Fatalf("got the discarded token, %v", err)
		}
		s.Discard(first) // late news of the old one
		if third, _ := s.Token(t.Context()); third != second {
			t.Error("news of an old token dropped the new one")
		}
	})
}

func TestCloseEndsTheRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchanger{delay: time.Hour, life: time.Minute}
		s := source(t, e)
		done := make(chan error, 1)
		go func() { _, err := s.Token(t.Context()); done <- err }()
		synctest.Wait()
		s.Close()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Token(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v after Close", err)
		}
	})
}

func TestWorkloadTokenIsReadAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &exchanger{life: time.Minute}
	s, err := client.NewSource(client.SourceConfig{Client: e, Subject: client.File(path)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	write("  first\n")
	tok, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write("second")
	s.Discard(tok)
	if _, err := s.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(e.proofs, ","); got != "first,second" {
		t.Errorf("sent %s", got)
	}
}

func TestWorkloadTokenFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "blank": " \n\t", "huge": strings.Repeat("x", 16<<10+1)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := client.File(path)(t.Context()); err == nil {
			t.Errorf("%s file accepted", name)
		}
	}
	if _, err := client.File(filepath.Join(dir, "absent"))(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}
