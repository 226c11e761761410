package awskms_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/kmstest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

func opened(t testing.TB, c keys.Custody, k keys.KeyInfo) token.Signer {
	t.Helper()
	s, err := c.Open(t.Context(), ring, k)
	must(t, err)
	return s
}

func TestEachKeyOfARingIsAKMSKey(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t, func(c *awskms.Config) { c.Tags = map[string]string{"team": "identity"} }).Signing()
	for _, alg := range []string{token.ES256, token.RS256, token.ES256} {
		made(t, signing, alg)
	}
	all := w.Keys(kmstest.SignVerify)
	specs := map[string]int{}
	for _, k := range all {
		specs[k.Spec]++
		if k.Tags["writ:ring"] != ring || k.Tags["team"] != "identity" {
			t.Errorf("tags are %v", k.Tags)
		}
	}
	if len(all) != 3 || specs["ECC_NIST_P256"] != 2 || specs["RSA_2048"] != 1 {
		t.Errorf("made %v", specs)
	}
	_, err := signing.Generate(t.Context(), ring, token.Ed25519, birth)
	want(t, err, token.ErrAlgorithm)
}

func TestANewKeyMayBeUnknownForAWhile(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	made(t, signing, token.ES256)
	w.Unseen(2)
	k := made(t, signing, token.ES256)
	if err := signed(t.Context(), opened(t, signing, k), k); err != nil {
		t.Error(err)
	}
	if n := len(w.Keys(kmstest.SignVerify)); n != 2 {
		t.Errorf("%d keys were made for 2", n)
	}
}

// A rotator tries again and again: each try must not leave a key to pay for.
func TestAFailureLeavesNoHeapOfKeys(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	made(t, signing, token.ES256)
	for _, action := range []string{"Encrypt", "GetPublicKey"} {
		w.Deny(action)
		for range 5 {
			_, err := signing.Generate(t.Context(), ring, token.ES256, birth)
			want(t, err, awskms.ErrDenied)
		}
		w.Allow()
	}
	if n := len(w.Keys(kmstest.SignVerify)); n != 2 {
		t.Fatalf("there are %d keys, want the first and one spare", n)
	}
	// Somebody deletes the spare one: it must not be tried for ever.
	for _, k := range w.Keys(kmstest.SignVerify) {
		w.SetState(k.ARN, kmstest.PendingDeletion)
	}
	_, err := signing.Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrKeyState)
	k := made(t, signing, token.ES256)
	if err := signed(t.Context(), opened(t, signing, k), k); err != nil {
		t.Error(err)
	}
	// A key that KMS may have made without telling is not asked for twice.
	w.Break(answers("CreateKey", kmstest.Fault{Drop: true}))
	asked := w.Calls("CreateKey")
	_, err = signing.Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrAway)
	if n := w.Calls("CreateKey") - asked; n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestTheAccountMayBeFullOfKeys(t *testing.T) {
	w := newWorld(t)
	w.Break(answers("CreateKey", kmstest.Fault{Code: "LimitExceededException"}))
	_, err := w.client(t).Signing().Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrKeyLimit)
	if errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("a quota that somebody must raise is told as an outage: %v", err)
	}
}

func TestTheStateOfAKeyShowsWhenItSigns(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	k := made(t, signing, token.ES256)
	arn := w.Keys(kmstest.SignVerify)[0].ARN
	signer := opened(t, signing, k)
	for state, kind := range map[string]error{
		kmstest.Disabled: awskms.ErrKeyState, kmstest.PendingDeletion: awskms.ErrKeyState,
		kmstest.PendingImport: awskms.ErrKeyState, kmstest.Unavailable: awskms.ErrAway,
	} {
		w.SetState(arn, state)
		want(t, signed(t.Context(), signer, k), kind)
		_, err := signing.Open(t.Context(), ring, k)
		want(t, err, kind)
	}
	w.SetState(arn, kmstest.Enabled)
	must(t, signed(t.Context(), signer, k))
	w.Delete(arn)
	want(t, signed(t.Context(), signer, k), awskms.ErrNotFound)
	_, err := signing.Open(t.Context(), ring, k)
	want(t, err, awskms.ErrNotFound)
}

// The ring publishes one key, and KMS has another in its place.
func TestAnotherKeyInItsPlaceIsRefused(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	for _, alg := range []string{token.ES256, token.RS256} {
		k, before := made(t, signing, alg), len(w.Keys(kmstest.SignVerify))
		signer := opened(t, signing, k)
		for _, all := range w.Keys(kmstest.SignVerify) {
			w.Replace(t, all.ARN)
		}
		_, err := signing.Open(t.Context(), ring, k)
		want(t, err, awskms.ErrBinding)
		// What it signs would be refused everywhere, so nobody gets it.
		want(t, signed(t.Context(), signer, k), awskms.ErrAway)
		if len(w.Keys(kmstest.SignVerify)) != before {
			t.Error("another key was made")
		}
	}
}

// An answer that is not what was asked for comes from something that is not KMS.
func TestAnAnswerOfTheWrongKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	k := made(t, signing, token.ES256)
	signer := opened(t, signing, k)
	arn := w.Keys(kmstest.SignVerify)[0].ARN
	for name, row := range map[string]struct {
		action, body string
		kind         error
	}{
		"another key":       {"GetPublicKey", `{"KeyId":"arn:aws:kms:eu-test-1:111122223333:key/x"}`, awskms.ErrAway},
		"another usage":     {"GetPublicKey", `{"KeyId":"` + arn + `","KeyUsage":"ENCRYPT_DECRYPT","KeySpec":"ECC_NIST_P256"}`, awskms.ErrKeyUsage},
		"another spec":      {"GetPublicKey", `{"KeyId":"` + arn + `","KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P384"}`, awskms.ErrKeySpec},
		"no public key":     {"GetPublicKey", `{"KeyId":"` + arn + `","KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256","PublicKey":"AAAA"}`, awskms.ErrAway},
		"no signature":      {"Sign", `{"KeyId":"` + arn + `"}`, awskms.ErrAway},
		"another signature": {"Sign", `{"KeyId":"` + arn + `","Signature":"MAYCAQECAQE="}`, awskms.ErrAway},
	} {
		t.Run(name, func(t *testing.T) {
			w.Break(answers(row.action, kmstest.Fault{Status: 200, Body: row.body}))
			defer w.Break(nil)
			_, err := signing.Open(t.Context(), ring, k)
			want(t, errors.Join(err, signed(t.Context(), signer, k)), row.kind)
		})
	}
}

func TestDiscard(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t, func(c *awskms.Config) { c.DeleteAfter = 9 }).Signing()
	k, other := made(t, signing, token.ES256), made(t, signing, token.ES256)
	for range 2 {
		must(t, signing.Discard(t.Context(), ring, k))
	}
	doomed := 0
	for _, key := range w.Keys(kmstest.SignVerify) {
		if key.State == kmstest.PendingDeletion && key.Days == 9 {
			doomed++
			w.Delete(key.ARN)
		}
	}
	if doomed != 1 {
		t.Errorf("%d keys are on their way", doomed)
	}
	must(t, signing.Discard(t.Context(), ring, k))
	must(t, signed(t.Context(), opened(t, signing, other), other))
	// A writer to the store cannot have a key deleted under another's name.
	forged := k
	forged.Sealed = other.Sealed
	want(t, signing.Discard(t.Context(), ring, forged), awskms.ErrBinding)
	want(t, signing.Discard(t.Context(), "others", other), awskms.ErrBinding)
	must(t, signed(t.Context(), opened(t, signing, other), other))
	w.Deny("ScheduleKeyDeletion")
	want(t, signing.Discard(t.Context(), ring, other), awskms.ErrDenied)
}

// hang has KMS not answer an action until the returned call.
func hang(w *world, action string) (end func()) {
	held := make(chan struct{})
	w.Break(answers(action, kmstest.Fault{Hang: held}))
	return sync.OnceFunc(func() {
		w.Break(nil)
		close(held)
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	var seen observed
	client := w.client(t, func(c *awskms.Config) {
		c.Concurrency, c.QueueSize, c.Timeout, c.Observe = 2, 3, time.Minute, seen.take
	})
	k := made(t, client.Signing(), token.ES256)
	signer := opened(t, client.Signing(), k)
	const calls, rounds = 20, 2
	before := w.Calls("Sign")
	fillQueue(t, signer, k, calls, hang(w, "Sign"), func() {
		if n := w.Calls("Sign") - before; n > 2 {
			t.Errorf("%d calls at once", n)
		}
	})
	// A place in the queue is free again once its wait is over. What KMS gets from here on is not
	// counted: a call whose turn comes while all are being cancelled may still reach it, and late.
	must(t, signed(t.Context(), signer, k))
	fillQueue(t, signer, k, calls, hang(w, "Sign"), func() {})
	must(t, signed(t.Context(), signer, k))
	if seen.count("kms:Sign queue_full") != rounds*(calls-5) {
		t.Errorf("observed %v", seen.seen)
	}
}

// fillQueue makes calls while KMS answers none, of which 2 may be under way and 3 wait. Full looks
// at it while it is so.
func fillQueue(t *testing.T, signer token.Signer, k keys.KeyInfo, calls int, end, full func()) {
	t.Helper()
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	results := make(chan error)
	for range calls {
		go func() { results <- signed(ctx, signer, k) }()
	}
	for range calls - 5 {
		err := <-results
		want(t, err, awskms.ErrQueueFull)
		want(t, err, keys.ErrUnavailable)
	}
	full()
	cancel()
	for range 5 {
		want(t, <-results, context.Canceled)
	}
}

func TestAWaitHasAnEnd(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, func(c *awskms.Config) {
		c.Concurrency, c.Timeout, c.BreakAfter = 1, 100*time.Millisecond, 1000
	})
	k := made(t, w.client(t).Signing(), token.ES256)
	signer := openedInTime(t, client.Signing(), k)
	end := hang(w, "Sign")
	defer end()
	results := make(chan error)
	for range 4 {
		go func() { results <- signed(t.Context(), signer, k) }()
	}
	for range 4 {
		want(t, <-results, keys.ErrUnavailable)
	}
	end()
	endDecrypt, asked := hang(w, "Decrypt"), w.Calls("Decrypt")
	defer endDecrypt()
	opens := 0
	for deadline := time.Now().Add(time.Minute); w.Calls("Decrypt") == asked; opens++ { // a slow machine may not come to ask in time
		if time.Now().After(deadline) {
			t.Fatalf("KMS was not asked in %d calls", opens)
		}
		_, err := client.Signing().Open(t.Context(), ring, k)
		want(t, err, keys.ErrUnavailable)
		want(t, err, context.DeadlineExceeded)
	}
	if n := w.Calls("Decrypt") - asked; n > opens {
		t.Errorf("the bound is that of each of %d repetitions in %d calls", n, opens)
	}
	endDecrypt()
	// A caller's own end is as good.
	end = hang(w, "Sign")
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := signed(ctx, signer, k)
	want(t, err, keys.ErrUnavailable)
	want(t, err, context.DeadlineExceeded)
}

// openedInTime opens a key in a custody whose calls have little time: a slow machine may need
// more than one try.
func openedInTime(t *testing.T, c keys.Custody, k keys.KeyInfo) token.Signer {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		signer, err := c.Open(t.Context(), ring, k)
		if err == nil {
			return signer
		}
		if want(t, err, keys.ErrUnavailable); t.Failed() || time.Now().After(deadline) {
			t.Fatalf("it does not open: %v", err)
		}
	}
}

func TestAKMSThatIsAwayIsNotAskedByEveryRequest(t *testing.T) {
	w := newWorld(t)
	clock := &sync.Mutex{}
	now := time.Now()
	client := w.client(t, func(c *awskms.Config) {
		c.BreakAfter, c.ProbeEvery = 3, time.Hour
		c.Now = func() time.Time {
			clock.Lock()
			defer clock.Unlock()
			return now
		}
	})
	k := made(t, client.Signing(), token.ES256)
	signer := opened(t, client.Signing(), k)
	w.Break(drop)
	for range 3 {
		want(t, signed(t.Context(), signer, k), awskms.ErrAway)
	}
	w.Break(nil)
	asked := w.Calls("Sign")
	for range 50 {
		err := signed(t.Context(), signer, k)
		want(t, err, awskms.ErrAway)
		if err == nil || !strings.Contains(err.Error(), "not asked") {
			t.Fatalf("it was asked: %v", err)
		}
	}
	if w.Calls("Sign") != asked {
		t.Errorf("KMS was asked %d times", w.Calls("Sign")-asked)
	}
	clock.Lock()
	now = now.Add(2 * time.Hour)
	clock.Unlock()
	for range 3 {
		must(t, signed(t.Context(), signer, k))
	}
}

// A KMS that refuses, or has too much to do, is there.
func TestARefusalIsNoOutage(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, func(c *awskms.Config) { c.BreakAfter, c.ProbeEvery = 2, time.Hour })
	k := made(t, client.Signing(), token.ES256)
	signer := opened(t, client.Signing(), k)
	for kind, code := range map[error]string{awskms.ErrDenied: "AccessDeniedException", awskms.ErrThrottled: "ThrottlingException"} {
		w.Break(answers("Sign", kmstest.Fault{Code: code}))
		for range 4 {
			want(t, signed(t.Context(), signer, k), kind)
		}
	}
	w.Break(nil)
	must(t, signed(t.Context(), signer, k))
}

// What is throttled once goes through without anybody's help.
func TestAThrottledCallIsRepeated(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	k := made(t, signing, token.ES256)
	signer := opened(t, signing, k)
	var once sync.Once
	w.Break(func(string) (fault *kmstest.Fault) {
		once.Do(func() { fault = &kmstest.Fault{Code: "ThrottlingException"} })
		return fault
	})
	must(t, signed(t.Context(), signer, k))
	if w.Calls("Sign") != 2 {
		t.Errorf("asked %d times", w.Calls("Sign"))
	}
}

// The kid is right and what is published under it is not: the ring is what verifiers see.
func TestThePublishedKeyIsTheOneThatSigns(t *testing.T) {
	w := newWorld(t)
	signing := w.client(t).Signing()
	k, other := made(t, signing, token.ES256), made(t, signing, token.ES256)
	theirs, err := other.Key()
	must(t, err)
	for name, public := range map[string]token.Key{
		"another key":       {ID: k.ID, Algorithm: k.Algorithm, Public: theirs.Public},
		"another key's kid": theirs,
	} {
		forged := k
		forged.Public, err = public.MarshalJSON()
		must(t, err)
		if _, err := signing.Open(t.Context(), ring, forged); !errors.Is(err, awskms.ErrBinding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.Public = nil
	_, err = signing.Open(t.Context(), ring, k)
	want(t, err, awskms.ErrBinding)
}

// Who gives up shows nothing of KMS.
func TestACallerThatGivesUpIsNoOutage(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, func(c *awskms.Config) { c.BreakAfter, c.ProbeEvery, c.Timeout = 2, time.Hour, time.Minute })
	k := made(t, client.Signing(), token.ES256)
	signer := opened(t, client.Signing(), k)
	end := hang(w, "Sign")
	defer end()
	for i := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- signed(ctx, signer, k) }()
		for w.Calls("Sign") <= i && len(result) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		want(t, <-result, context.Canceled)
	}
	end()
	must(t, signed(t.Context(), signer, k))
}
