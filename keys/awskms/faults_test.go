package awskms_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/writbroker/writ/internal/kmstest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

// answers has every request for an action answered with an error.
func answers(action string, f kmstest.Fault) func(string) *kmstest.Fault {
	return func(asked string) *kmstest.Fault {
		if asked != action {
			return nil
		}
		return &f
	}
}

func TestEachAnswerHasItsName(t *testing.T) {
	w := newWorld(t)
	sealing := w.client(t).Sealing()
	k := made(t, sealing, token.ES256)
	for name, row := range map[string]struct {
		fault kmstest.Fault
		kind  error
		what  string
	}{
		"throttled":                  {kmstest.Fault{Code: "ThrottlingException", Message: "Rate exceeded"}, awskms.ErrThrottled, "throttled"},
		"throttled by status":        {kmstest.Fault{Status: http.StatusTooManyRequests, Code: "Other"}, awskms.ErrThrottled, "throttled"},
		"internal":                   {kmstest.Fault{Status: 500, Code: "KMSInternalException"}, awskms.ErrAway, "away"},
		"a dependency":               {kmstest.Fault{Status: 500, Code: "DependencyTimeoutException"}, awskms.ErrAway, "away"},
		"an error without a name":    {kmstest.Fault{Status: 503, Code: "Whatever"}, awskms.ErrAway, "away"},
		"a page of a proxy":          {kmstest.Fault{Status: 200, Body: "<html>hello</html>"}, awskms.ErrAway, "away"},
		"a proxy that fails":         {kmstest.Fault{Status: 502, Body: "<html>bad gateway</html>"}, awskms.ErrAway, "away"},
		"half an answer":             {kmstest.Fault{Status: 200, Body: `{"Plaintext":"c2VjcmV0`}, awskms.ErrAway, "away"},
		"nothing":                    {kmstest.Fault{Drop: true}, awskms.ErrAway, "away"},
		"an answer about no key":     {kmstest.Fault{Status: 200, Body: `{"Plaintext":"AAAA"}`}, awskms.ErrBinding, "binding"},
		"a plaintext that is no key": {kmstest.Fault{Status: 200, Body: `{"Plaintext":"AAAA","KeyId":"` + w.sealKey + `"}`}, awskms.ErrBinding, "binding"},
		"denied":                     {kmstest.Fault{Code: "AccessDeniedException", Message: "not authorized"}, awskms.ErrDenied, "denied"},
		"no such key":                {kmstest.Fault{Code: "NotFoundException"}, awskms.ErrNotFound, "not_found"},
		"disabled":                   {kmstest.Fault{Code: "DisabledException"}, awskms.ErrKeyState, "key_state"},
		"pending deletion":           {kmstest.Fault{Code: "KMSInvalidStateException"}, awskms.ErrKeyState, "key_state"},
		"unavailable":                {kmstest.Fault{Status: 500, Code: "KeyUnavailableException"}, awskms.ErrAway, "away"},
		"usage":                      {kmstest.Fault{Code: "InvalidKeyUsageException"}, awskms.ErrKeyUsage, "key_usage"},
		"ciphertext":                 {kmstest.Fault{Code: "InvalidCiphertextException"}, awskms.ErrBinding, "binding"},
		"another key's ciphertext":   {kmstest.Fault{Code: "IncorrectKeyException"}, awskms.ErrBinding, "binding"},
		"another account's":          {kmstest.Fault{Code: "AccessDeniedException", Message: "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."}, awskms.ErrBinding, "binding"},
		"unknown credentials":        {kmstest.Fault{Code: "UnrecognizedClientException"}, awskms.ErrCredentials, "credentials"},
		"a signature of another key": {kmstest.Fault{Code: "InvalidSignatureException", Message: "The request signature we calculated does not match"}, awskms.ErrCredentials, "credentials"},
		"a signature that is late":   {kmstest.Fault{Code: "InvalidSignatureException", Message: "Signature expired: 20260101T000000Z is now earlier than"}, awskms.ErrClock, "clock"},
		"a request that is late":     {kmstest.Fault{Code: "RequestExpired"}, awskms.ErrClock, "clock"},
		"anything else":              {kmstest.Fault{Code: "ValidationException", Message: "no"}, awskms.ErrRefused, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w.Break(answers("Decrypt", row.fault))
			defer w.Break(nil)
			var seen observed
			client := w.client(t, func(c *awskms.Config) { c.Observe = seen.take })
			_, err := client.Sealing().Open(t.Context(), ring, k)
			want(t, err, row.kind)
			if awskms.What(err) != row.what {
				t.Errorf("its label is %q", awskms.What(err))
			}
			passing := row.what == "away" || row.what == "throttled"
			if errors.Is(err, keys.ErrUnavailable) != passing {
				t.Errorf("unavailable is %v: %v", !passing, err)
			}
			if failed, ok := errors.AsType[*awskms.CallError](err); !ok || failed.Action != "kms:Decrypt" {
				t.Errorf("the error does not name the action: %v", err)
			}
			w.wantHidden(t, err, "c2VjcmV0")
			// What KMS answered well and is wrong all the same is no failed call.
			if row.fault.Status != http.StatusOK && seen.count("kms:Decrypt "+row.what) != 1 {
				t.Errorf("observed %v", seen.seen)
			}
		})
	}
	if awskms.What(nil) != "ok" || awskms.What(context.Canceled) != "ended" || awskms.What(errors.New("x")) != "other" {
		t.Error("what is not KMS's has another label")
	}
}

func TestTheSealKeyMustFit(t *testing.T) {
	w := newWorld(t)
	disabled, deleted := w.SymmetricKey(t), w.SymmetricKey(t)
	w.SetState(disabled, kmstest.Disabled)
	w.SetState(deleted, kmstest.PendingDeletion)
	for name, row := range map[string]struct {
		key  string
		kind error
		hint string
	}{
		"a key that signs":           {w.NewKey(t, "ECC_NIST_P256", kmstest.SignVerify), awskms.ErrKeyUsage, "ENCRYPT_DECRYPT"},
		"one that cannot bind":       {w.NewKey(t, "RSA_2048", kmstest.EncryptDecrypt), awskms.ErrKeySpec, "SYMMETRIC_DEFAULT"},
		"one that is disabled":       {disabled, awskms.ErrKeyState, "Disabled"},
		"one that will be deleted":   {deleted, awskms.ErrKeyState, "PendingDeletion"},
		"one that is not there":      {"alias/nothing", awskms.ErrNotFound, "alias/nothing"},
		"one of nobody, by its name": {"11111111-2222-3333-4444-555555555555", awskms.ErrNotFound, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			client := w.client(t, func(c *awskms.Config) { c.SealKey = row.key })
			for _, custody := range []keys.Custody{client.Sealing(), client.Signing()} {
				_, err := custody.Generate(t.Context(), ring, token.ES256, birth)
				want(t, err, row.kind)
				if err == nil || !strings.Contains(err.Error(), row.hint) {
					t.Errorf("%v does not say %s", err, row.hint)
				}
			}
		})
	}
	if made := w.Keys(kmstest.SignVerify); len(made) != 1 {
		t.Errorf("%d keys that sign were made before the seal key was looked at", len(made)-1)
	}
}

func TestAKeyIsFoundByEachOfItsNames(t *testing.T) {
	w := newWorld(t)
	w.Alias("alias/writ", w.sealKey)
	k := made(t, w.client(t).Sealing(), token.ES256)
	prefix, id, _ := strings.Cut(w.sealKey, "key/")
	for _, name := range []string{id, w.sealKey, "alias/writ", prefix + "alias/writ"} {
		custody := w.client(t, func(c *awskms.Config) { c.SealKey = name }).Sealing()
		if _, err := custody.Open(t.Context(), ring, k); err != nil {
			t.Errorf("by %s: %v", name, err)
		}
	}
	w.Alias("alias/writ", w.SymmetricKey(t))
	_, err := w.client(t, func(c *awskms.Config) { c.SealKey = "alias/writ" }).Sealing().Open(t.Context(), ring, k)
	want(t, err, awskms.ErrBinding)
}

func TestAnActionThatIsDeniedIsNamed(t *testing.T) {
	for _, action := range []string{"DescribeKey", "CreateKey", "TagResource", "GetPublicKey", "Encrypt"} {
		t.Run(action, func(t *testing.T) {
			w := newWorld(t)
			w.Deny(action)
			_, err := w.client(t).Signing().Generate(t.Context(), ring, token.ES256, birth)
			want(t, err, awskms.ErrDenied)
			if err == nil || !strings.Contains(err.Error(), "kms:"+action) {
				t.Errorf("%v does not name kms:%s", err, action)
			}
		})
	}
}

func TestExpiredCredentialsAreReplaced(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	current := w.login
	source := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		mu.Lock()
		defer mu.Unlock()
		return static(current).Retrieve(ctx)
	})
	sealing := w.client(t, func(c *awskms.Config) { c.Credentials = source }).Sealing()
	k := made(t, sealing, token.ES256)

	w.Expire(w.login)
	_, err := sealing.Open(t.Context(), ring, k)
	want(t, err, awskms.ErrCredentials)
	if errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("credentials that somebody must replace are told as an outage: %v", err)
	}
	mu.Lock()
	current = w.NewLogin()
	mu.Unlock()
	if _, err = sealing.Open(t.Context(), ring, k); err != nil {
		t.Errorf("new ones were not taken: %v", err)
	}
}

func TestASourceOfCredentialsMayBeAway(t *testing.T) {
	w := newWorld(t)
	var seen observed
	away := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("metadata service is down")
	})
	sealing := w.client(t, func(c *awskms.Config) { c.Credentials, c.Observe = away, seen.take }).Sealing()
	for range 8 {
		_, err := sealing.Generate(t.Context(), ring, token.ES256, birth)
		want(t, err, awskms.ErrNoCredentials)
		want(t, err, keys.ErrUnavailable)
	}
	if w.Calls("DescribeKey") != 0 {
		t.Error("KMS was asked without credentials")
	}
	if seen.count("kms:DescribeKey no_credentials") != 8 {
		t.Errorf("observed %v", seen.seen)
	}
}

// A credential process that prints what cannot be parsed is quoted by the SDK's error.
func TestACredentialProcessIsNotQuoted(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "config")
	const secret = "wJalrXUtnFEMIsecretkey"
	must(t, os.WriteFile(file, []byte("[profile broker]\nregion = "+kmstest.Region+"\ncredential_process = echo '{\"SecretAccessKey\": "+secret+"'\n"), 0o600))
	t.Setenv("AWS_CONFIG_FILE", file)
	var log bytes.Buffer
	client := w.client(t, func(c *awskms.Config) {
		c.Credentials, c.Profile, c.Region, c.BreakAfter = nil, "broker", "", 1
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	_, err := client.Sealing().Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrNoCredentials)
	for shown := err; shown != nil; shown = errors.Unwrap(shown) {
		log.WriteString(fmt.Sprintf("%v %+v %#v", shown, shown, shown))
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the secret is shown: %s", log.String())
	}
	if !strings.Contains(log.String(), "credential_process failed") {
		t.Errorf("it does not say what failed: %s", log.String())
	}
}

func TestTheDefaultChainIsAsked(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AWS_REGION", kmstest.Region)
	t.Setenv("AWS_ACCESS_KEY_ID", w.login.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", w.login.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", w.login.SessionToken)
	made(t, w.client(t, func(c *awskms.Config) { c.Credentials, c.Region = nil, "" }).Sealing(), token.ES256)

	stranger := kmstest.Login{AccessKeyID: w.login.AccessKeyID, SecretAccessKey: "wrong", SessionToken: w.login.SessionToken}
	_, err := w.client(t, func(c *awskms.Config) { c.Credentials = static(stranger) }).Sealing().Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrCredentials)
	_, err = w.client(t, func(c *awskms.Config) {
		c.Credentials = credentials.NewStaticCredentialsProvider("AKIANOBODY", "x", "")
	}).Sealing().Generate(t.Context(), ring, token.ES256, birth)
	want(t, err, awskms.ErrCredentials)
}

func TestAClockThatIsOff(t *testing.T) {
	w := newWorld(t)
	for _, by := range []time.Duration{-20 * time.Minute, 20 * time.Minute} {
		w.Skew(by, false)
		if _, err := w.client(t).Sealing().Generate(t.Context(), ring, token.ES256, birth); err != nil {
			t.Errorf("off by %v, and KMS says its time: %v", by, err)
		}
		w.Skew(by, true)
		_, err := w.client(t).Sealing().Generate(t.Context(), ring, token.ES256, birth)
		want(t, err, awskms.ErrClock)
	}
}

func TestABlobOfAnotherPurposeOpensNothing(t *testing.T) {
	w := newWorld(t)
	client := w.client(t)
	sealed, reference := made(t, client.Sealing(), token.ES256), made(t, client.Signing(), token.ES256)
	_, err := client.Signing().Open(t.Context(), ring, sealed)
	want(t, err, awskms.ErrBinding)
	_, err = client.Sealing().Open(t.Context(), ring, reference)
	want(t, err, awskms.ErrBinding)
	// Nothing that KMS would have to be asked about is as long as this.
	sealed.Sealed = append(sealed.Sealed, make([]byte, 1<<20)...)
	asked := w.Calls("Decrypt")
	_, err = client.Sealing().Open(t.Context(), ring, sealed)
	want(t, err, awskms.ErrBinding)
	if w.Calls("Decrypt") != asked {
		t.Error("KMS was asked about a blob that it never makes")
	}
}

// Policies can tell custodies and rings apart.
func TestAPolicyCanNarrowWhatIsSealed(t *testing.T) {
	w := newWorld(t)
	client := w.client(t)
	sealed, reference := made(t, client.Sealing(), token.ES256), made(t, client.Signing(), token.ES256)
	for _, condition := range [][2]string{{"writ:ring", "others"}, {"writ:custody", "another"}, {"writ:kid", "another"}, {"writ:alg", token.RS256}, {"writ:born", "8"}} {
		w.Require(condition[0], condition[1])
		_, err := client.Sealing().Open(t.Context(), ring, sealed)
		want(t, err, awskms.ErrDenied)
	}
	w.Require("writ:custody", "aws-kms")
	_, err := client.Sealing().Open(t.Context(), ring, sealed)
	must(t, err)
	_, err = client.Signing().Open(t.Context(), ring, reference)
	want(t, err, awskms.ErrDenied)
	w.Require("writ:custody", "aws-kms-sign")
	_, err = client.Signing().Open(t.Context(), ring, reference)
	must(t, err)
	w.Require("writ:ring", ring)
	_, err = client.Sealing().Generate(t.Context(), "others", token.ES256, birth)
	want(t, err, awskms.ErrDenied)
}

// What decrypts must be the seal key, and the answer says what it was.
func TestAPlaintextOfAnotherKeyIsNotTaken(t *testing.T) {
	w := newWorld(t)
	sealing := w.client(t).Sealing()
	k := made(t, sealing, token.ES256)
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	plain, err := x509.MarshalPKCS8PrivateKey(theirs)
	must(t, err)
	k.ID, err = keys.KeyID(theirs.Public())
	must(t, err)
	for keyARN, kind := range map[string]error{w.sealKey: nil, w.SymmetricKey(t): awskms.ErrBinding} {
		body, err := json.Marshal(map[string]any{"KeyId": keyARN, "Plaintext": plain})
		must(t, err)
		w.Break(answers("Decrypt", kmstest.Fault{Status: http.StatusOK, Body: string(body)}))
		_, err = sealing.Open(t.Context(), ring, k)
		want(t, err, kind)
	}
}

// A ciphertext says which key it is of. Somebody else's, to which they let everybody, must
// not open: whoever has one could put a key of theirs into a ring.
func TestACiphertextDoesNotNameItsKey(t *testing.T) {
	w := newWorld(t)
	theirs := w.SymmetricKey(t)
	k := made(t, w.client(t, func(c *awskms.Config) { c.SealKey = theirs }).Sealing(), token.ES256)
	_, err := w.client(t).Sealing().Open(t.Context(), ring, k)
	want(t, err, awskms.ErrBinding)
	failed, ok := errors.AsType[*awskms.CallError](err)
	if !ok || !strings.Contains(failed.Detail, "IncorrectKeyException") {
		t.Errorf("KMS was not told which key is ours: %v", err)
	}
}
