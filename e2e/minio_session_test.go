package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/secure-io/sio-go"
	"golang.org/x/crypto/argon2"
)

// shortGrant is how long a grant is that ends while it is used, and how long before and after its
// end a call is made whose answer is known: some seconds, or 5 minutes where WRIT_SOAK is set.
func shortGrant() (life, margin time.Duration) {
	if os.Getenv("WRIT_SOAK") != "" {
		return 5 * time.Minute, 10 * time.Second
	}
	return 5 * time.Second, 5 * time.Second
}

// STS gives no session for less than 15 minutes. What is granted for less ends by a condition of
// its policy, which MinIO holds: its session lives on, and may do nothing. By web_identity MinIO
// ends the session as well.
func TestMinIOEndsAShortGrant(t *testing.T) {
	const longer = 5 * time.Minute
	life, margin := shortGrant()
	for mode, livesOn := range map[string]bool{"web_identity": false, "assume_role": true} {
		t.Run(mode, func(t *testing.T) {
			l := startLake(t, mode)
			l.put(t, lakeBucket, "sales/q1")
			t.Parallel() // both wait for the end of their grants
			began := time.Now()
			short := l.session(t, "--scope", "lake:read:sales/*", "--ttl", life.String())
			got := time.Now()
			end := short.Expiration
			within(t, "the grant", end, began, got, life)
			atSTS, code, status := life, "InvalidAccessKeyId", http.StatusForbidden
			if livesOn {
				atSTS, code, status = minSession, "AccessDenied", http.StatusOK
			}
			within(t, "the session at STS", short.atSTS(t), began, got, atSTS)
			s := l.s3(short.provider())
			read := func(from *s3.Client) error { return getObject(t.Context(), from, lakeBucket, "sales/q1") }

			var calls int
			last := time.Now()    // when the last call was begun that was done
			var refused time.Time // and when the first came back that was not
			if !answered(t, read(s)) {
				t.Fatal("the grant is not good at once")
			}
			c := l.s3(l.session(t, "--scope", "lake:read:sales/*", "--ttl", (life + longer).String()).provider())
			for ; refused.IsZero(); time.Sleep(min(life/100, time.Second)) {
				now := time.Now()
				if answered(t, read(s)) {
					last, calls = now, calls+1
				} else {
					refused = time.Now()
				}
				if now.After(end.Add(30 * time.Second)) {
					t.Fatal("the grant goes on for 30 s after its end")
				}
			}
			if last.Before(got.Add(life-margin)) || last.After(end) || refused.Before(end) {
				t.Errorf("it was last good at %v and refused at %v, and ends at %v", last, refused, end)
			}

			time.Sleep(time.Until(got.Add(life + margin)))
			err := read(s)
			denied, ok := errors.AsType[smithy.APIError](err)
			if !ok || denied.ErrorCode() != code {
				t.Fatalf("MinIO says %v, %v after it was given for %v", err, life+margin, life)
			}
			if got := l.account(t, short.provider()); got != status {
				t.Errorf("asked about the session itself MinIO answers %d, want %d", got, status)
			}
			if !answered(t, read(c)) {
				t.Error("the other grant ended with it")
			}
			since := func(at time.Time) time.Duration { return at.Sub(began).Round(time.Millisecond) }
			t.Logf("the grant ends at %v: %d calls done, the last begun at %v; refused at %v; %s at %v, in a session until %v",
				since(end), calls+1, since(last), since(refused), denied.ErrorCode(), since(time.Now()), since(short.atSTS(t)))
		})
	}
}

// minSession is the shortest session of an STS.
const minSession = 15 * time.Minute

// within checks an end in whole seconds of what was given for a life, between began and got.
func within(t *testing.T, what string, end, began, got time.Time, life time.Duration) {
	t.Helper()
	if end.Before(began.Add(life).Truncate(time.Second)) || end.After(got.Add(life)) {
		t.Errorf("%s ends at %v: asked for %v, between %v and %v", what, end, life, began, got)
	}
}

// atSTS is when the session ends by what MinIO itself wrote into its token.
func (s awsSession) atSTS(t *testing.T) time.Time {
	t.Helper()
	parts := strings.Split(s.SessionToken, ".")
	if len(parts) != 3 {
		t.Fatalf("MinIO's token has %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var claims struct {
		Expiry int64 `json:"exp"`
	}
	must(t, json.Unmarshal(text, &claims))
	return time.Unix(claims.Expiry, 0)
}

// A policy for MinIO has no statement that denies all else: there, what a session policy does
// not allow is denied, whatever else does.
func TestMinIOSessionsStayShut(t *testing.T) {
	for _, mode := range []string{"web_identity", "assume_role"} {
		t.Run(mode, func(t *testing.T) {
			l := startLake(t, mode)
			l.put(t, otherBucket, "sales/q1")
			from := l.session(t, "--scope", "lake:read:**").provider()
			_, err := l.root.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(otherBucket), Policy: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::` + otherBucket + `/*"]}]}`)})
			must(t, err)
			if answered(t, getObject(t.Context(), l.s3(from), otherBucket, "sales/q1")) {
				t.Error("a bucket's own policy gave a session more")
			}
			_, err = sts.New(sts.Options{Region: region, BaseEndpoint: aws.String(l.endpoint), Credentials: from, RetryMaxAttempts: 1}).AssumeRole(t.Context(),
				&sts.AssumeRoleInput{RoleArn: aws.String(minioRole()), RoleSessionName: aws.String("again")})
			if answered(t, err) {
				t.Error("a session made itself another, without a policy")
			}
			// An account may make itself keys without end, unless it is denied. Who may all things
			// shows that the call is a good one.
			if status := l.makeKeys(t, l.root.Options().Credentials); status != http.StatusOK {
				t.Errorf("the owner of all is answered %d", status)
			}
			if status := l.makeKeys(t, from); status != http.StatusForbidden {
				t.Errorf("a session that makes itself keys is answered %d", status)
			}
		})
	}
}

// makeKeys asks MinIO's own API for a service account for oneself, and says what it answered.
func (l *lake) makeKeys(t *testing.T, from aws.CredentialsProvider) int {
	t.Helper()
	creds, err := from.Retrieve(t.Context())
	must(t, err)
	return l.own(t, from, http.MethodPut, "add-service-account", enciphered(t, creds.SecretAccessKey, []byte("{}")))
}

// account asks MinIO who one is, which no policy has a say in, and says what it answered.
func (l *lake) account(t *testing.T, from aws.CredentialsProvider) int {
	t.Helper()
	return l.own(t, from, http.MethodGet, "accountinfo", nil)
}

// own makes a call of MinIO's own API.
func (l *lake) own(t *testing.T, from aws.CredentialsProvider, method, name string, body []byte) int {
	t.Helper()
	creds, err := from.Retrieve(t.Context())
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, l.endpoint+"/minio/admin/v3/"+name, bytes.NewReader(body))
	must(t, err)
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", digest)
	must(t, v4.NewSigner().SignHTTP(t.Context(), creds, req, digest, "s3", region, time.Now()))
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

// enciphered encrypts what is sent to MinIO's own API, by the caller's secret key: a salt, the number of
// the cipher, a nonce, the ciphertext.
func enciphered(t *testing.T, password string, data []byte) []byte {
	t.Helper()
	salt := make([]byte, 32)
	_, _ = rand.Read(salt)
	stream, err := sio.AES_256_GCM.Stream(argon2.IDKey([]byte(password), salt, 1, 64*1024, 4, 32))
	must(t, err)
	nonce := make([]byte, stream.NonceSize())
	_, _ = rand.Read(nonce)
	out := bytes.NewBuffer(append(append(salt, 0), nonce...))
	w := stream.EncryptWriter(out, nonce, nil)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}
