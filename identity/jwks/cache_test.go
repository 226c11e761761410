package jwks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
)

func TestKeysByDiscovery(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "a", "b")
	cache := open(t, config(&clock{}, i.source(t, "s")))
	if cache.Generation("s") != 0 {
		t.Error("a generation before any fetch")
	}
	keys, generation, err := cache.Keys(t.Context(), "s", "a")
	if err != nil || len(keys) != 1 || keys[0].ID != "a" || generation != 1 || cache.Generation("s") != 1 {
		t.Fatalf("got %v, %d, %v", keys, generation, err)
	}
	if keys, _, err = cache.Keys(t.Context(), "s", ""); err != nil || len(keys) != 2 {
		t.Errorf("all keys: %v, %v", keys, err)
	}
	if i.fetches.Load() != 1 {
		t.Errorf("%d fetches", i.fetches.Load())
	}
	if _, _, err := cache.Keys(t.Context(), "other", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("a source that is not there: %v", err)
	}
}

func TestKeysByURIAndFile(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "a")
	byURI := i.source(t, "uri")
	byURI.Discovery, byURI.JWKSURI = false, i.URL+"/keys"
	byFile := identity.Source{Name: "file", JWKSFile: write(t, "keys.json", set(t, "f"))}
	c := &clock{}
	cache := open(t, config(c, byURI, byFile))
	if _, _, err := cache.Keys(t.Context(), "uri", "a"); err != nil {
		t.Error(err)
	}
	if _, _, err := cache.Keys(t.Context(), "file", "f"); err != nil {
		t.Error(err)
	}
	// The file is replaced: an unknown kid has it read again.
	if err := os.WriteFile(byFile.JWKSFile, set(t, "g"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, generation, err := cache.Keys(t.Context(), "file", "g"); err != nil || generation != 2 {
		t.Errorf("after the file changed: generation %d, %v", generation, err)
	}
}

func TestNewRefusesAFileThatIsNotUsable(t *testing.T) {
	for name, data := range map[string][]byte{
		"no JSON": []byte("x"), "no keys": []byte(`{"keys":[]}`), "only keys of a kind unknown": []byte(`{"keys":[{"kty":"oct9"}]}`),
		"a private key": []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := jwks.New(config(&clock{}, identity.Source{Name: "s", JWKSFile: write(t, "k", data)})); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := jwks.New(config(&clock{}, identity.Source{Name: "s", JWKSFile: "/does/not/exist"})); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// A thousand requests with the new key at the moment of a rotation make one fetch.
func TestNoHerdAfterARotation(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "old")
	cache := open(t, config(&clock{}, i.source(t, "s")))
	if _, _, err := cache.Keys(t.Context(), "s", "old"); err != nil {
		t.Fatal(err)
	}
	rotated, arrived := set(t, "old", "new"), make(chan struct{})
	i.serve(func(w http.ResponseWriter, _ *http.Request) {
		<-arrived
		_, _ = w.Write(rotated)
	})
	before := i.fetches.Load()
	var wg, begun sync.WaitGroup
	for range 200 {
		begun.Add(1)
		wg.Go(func() {
			begun.Done()
			if _, _, err := cache.Keys(t.Context(), "s", "new"); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	close(arrived)
	wg.Wait()
	if n := i.fetches.Load() - before; n != 1 {
		t.Errorf("%d fetches for one rotation", n)
	}
}

// Who looked for the key before the fetch had ended, and asks for one after it, needs none.
func TestWhoAsksLateNeedsNoFetch(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "old")
	c := &clock{}
	conf := config(c, i.source(t, "s"))
	var meanwhile func() // what happens between a look at what is known and the next step
	conf.Now = func() time.Time {
		if f := meanwhile; f != nil {
			meanwhile = nil
			f()
		}
		return c.now()
	}
	cache := open(t, conf)
	if _, _, err := cache.Keys(t.Context(), "s", "old"); err != nil {
		t.Fatal(err)
	}
	i.serveKeys(t, "old", "new")
	before := i.fetches.Load()
	meanwhile = func() {
		if _, _, err := cache.Keys(t.Context(), "s", "new"); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := cache.Keys(t.Context(), "s", "new"); err != nil {
		t.Error(err)
	}
	if n := i.fetches.Load() - before; n != 1 {
		t.Errorf("%d fetches for one rotation", n)
	}
}

// A flood of invented kids costs its issuer a bounded number of fetches, disturbs no known key and no other
// source, and does not keep the issuer's own next key from being found.
func TestFloodOfUnknownKIDs(t *testing.T) {
	flooded, calm := newIssuer(t), newIssuer(t)
	flooded.serveKeys(t, "a")
	calm.serveKeys(t, "c")
	c := &clock{}
	cache := open(t, config(c, flooded.source(t, "flooded"), calm.source(t, "calm")))
	if _, _, err := cache.Keys(t.Context(), "flooded", "a"); err != nil {
		t.Fatal(err)
	}
	flood := func() {
		t.Helper()
		for n := range 2000 {
			if _, _, err := cache.Keys(t.Context(), "flooded", fmt.Sprint("x", n)); !errors.Is(err, identity.ErrKeyNotFound) {
				t.Fatalf("an invented kid: %v", err)
			}
		}
	}
	flood()
	if n := flooded.fetches.Load(); n > 3 {
		t.Errorf("%d fetches, the budget is a burst of 3", n)
	}
	if _, _, err := cache.Keys(t.Context(), "flooded", "a"); err != nil {
		t.Errorf("a known key during the flood: %v", err)
	}
	if _, _, err := cache.Keys(t.Context(), "calm", "c"); err != nil {
		t.Errorf("another source during the flood: %v", err)
	}

	// The issuer rotates while the flood goes on. The requests do not push back the moment of the next fetch.
	flooded.serveKeys(t, "a", "next")
	for range 11 {
		c.advance(time.Second)
		for n := range 200 {
			_, _, _ = cache.Keys(t.Context(), "flooded", fmt.Sprint("y", n))
		}
	}
	if _, _, err := cache.Keys(t.Context(), "flooded", "next"); err != nil {
		t.Errorf("the next key, 11 s into the flood: %v", err)
	}
	if n := flooded.fetches.Load(); n > 5 {
		t.Errorf("%d fetches in 11 s", n)
	}
}

// One source that spends all it may leaves the budget of all sources to the others.
func TestOneSourceCannotSpendTheBudgetOfAll(t *testing.T) {
	flooded, calm := newIssuer(t), newIssuer(t)
	flooded.serveKeys(t, "a")
	calm.serveKeys(t, "c")
	c := &clock{}
	conf := config(c, flooded.source(t, "flooded"), calm.source(t, "calm"))
	conf.PerSource = jwks.Budget{Burst: 2, Every: 10 * time.Second}
	conf.Total = jwks.Budget{Burst: 4, Every: 5 * time.Second}
	cache := open(t, conf)
	for range 60 {
		c.advance(time.Second)
		for n := range 50 {
			_, _, _ = cache.Keys(t.Context(), "flooded", fmt.Sprint("x", n))
		}
	}
	if _, _, err := cache.Keys(t.Context(), "calm", "c"); err != nil {
		t.Errorf("after a minute of flood: %v", err)
	}
}

func TestLastKnownGood(t *testing.T) {
	i := newIssuer(t)
	i.serveKeys(t, "a")
	c := &clock{}
	cache := open(t, config(c, i.source(t, "s")))
	known := func(want error) {
		t.Helper()
		if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	known(nil)
	for name, h := range map[string]http.HandlerFunc{
		"down": down,
		"no JSON": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>"))
		},
		"no keys": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			i.serve(h)
			c.advance(10 * time.Second)
			if _, _, err := cache.Keys(t.Context(), "s", "unknown"); !errors.Is(err, identity.ErrKeysUnavailable) {
				t.Errorf("an unknown kid: %v", err)
			}
			known(nil)
			if s := cache.Status()[0]; !s.Usable || s.Err == nil || s.Entries != 1 {
				t.Errorf("status %+v", s)
			}
		})
	}
	c.advance(time.Hour)
	if cache.Generation("s") != 0 {
		t.Error("a generation of keys that are too old")
	}
	known(identity.ErrKeysUnavailable)
	i.serveKeys(t, "a")
	c.advance(10 * time.Second)
	known(nil)
	if g := cache.Generation("s"); g != 2 {
		t.Errorf("generation %d after other keys came, want 2", g)
	}
}

func TestStartsWhileTheIssuerIsDown(t *testing.T) {
	i := newIssuer(t)
	i.serve(down)
	c := &clock{}
	cache := open(t, config(c, i.source(t, "s")))
	if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("while it is down: %v", err)
	}
	i.serveKeys(t, "a")
	c.advance(10 * time.Second)
	if _, _, err := cache.Keys(t.Context(), "s", "a"); err != nil {
		t.Errorf("when it is up: %v", err)
	}
}

// A caller that gives up neither waits for a slow issuer nor ends the fetch of the others.
func TestCallerThatLeaves(t *testing.T) {
	i := newIssuer(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	document := set(t, "a")
	i.serve(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = w.Write(document)
	})
	cache := open(t, config(&clock{}, i.source(t, "s")))
	impatient, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := cache.Keys(impatient, "s", "a")
		left <- err
	}()
	<-arrived
	go func() {
		_, _, err := cache.Keys(t.Context(), "s", "a")
		stayed <- err
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left: %v", err)
	}
	close(release)
	if err := <-stayed; err != nil {
		t.Errorf("the one that stayed: %v", err)
	}
}

func TestCloseEndsFetches(t *testing.T) {
	i := newIssuer(t)
	arrived := make(chan struct{})
	i.serve(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	cache := open(t, config(&clock{}, i.source(t, "s")))
	done := make(chan error, 1)
	go func() {
		_, _, err := cache.Keys(t.Context(), "s", "a")
		done <- err
	}()
	<-arrived
	cache.Close()
	if err := <-done; !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*jwks.Config){
		"no clock":                          func(c *jwks.Config) { c.Now = nil },
		"no logger":                         func(c *jwks.Config) { c.Logger = nil },
		"too old before it is refreshed":    func(c *jwks.Config) { c.MaxStale = time.Minute },
		"a total that one source can spend": func(c *jwks.Config) { c.Total = jwks.Budget{Burst: 1, Every: time.Second} },
		"authorities that nobody hears of": func(c *jwks.Config) {
			c.OnAuthorities, c.Sources = nil, []identity.Source{{Name: "s", X509: &identity.X509Config{BundleFile: "b"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(&clock{})
			change(&c)
			if _, err := jwks.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}
