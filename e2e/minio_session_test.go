package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/secure-io/sio-go"
	"golang.org/x/crypto/argon2"
)

// STS gives no session for less than 15 minutes. What is granted for less ends by a condition of
// its policy, which MinIO holds.
func TestMinIOEndsAShortGrant(t *testing.T) {
	for _, mode := range []string{"web_identity", "assume_role"} {
		t.Run(mode, func(t *testing.T) {
			l := startLake(t, mode)
			l.put(t, lakeBucket, "sales/q1")
			short := l.session(t, "--scope", "lake:read:sales/*", "--ttl", "5s")
			long := l.session(t, "--scope", "lake:read:sales/*", "--ttl", "5m")
			if left := time.Until(long.Expiration); left > 5*time.Minute {
				t.Errorf("a grant of 5 minutes ends in %v", left)
			}
			s, c := l.s3(short.provider()), l.s3(long.provider())
			last := time.Time{} // the last success was begun before it
			for began := time.Now(); answered(t, getObject(t.Context(), s, lakeBucket, "sales/q1")); began = time.Now() {
				last = began
				if began.After(short.Expiration.Add(30 * time.Second)) {
					t.Fatal("the short grant goes on for 30 s after its end")
				}
				time.Sleep(50 * time.Millisecond)
			}
			if last.IsZero() || last.After(short.Expiration) {
				t.Errorf("it was last good at %v, and ends at %v", last, short.Expiration)
			}
			if !answered(t, getObject(t.Context(), c, lakeBucket, "sales/q1")) {
				t.Error("the other grant ended with it")
			}
		})
	}
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
	body := enciphered(t, creds.SecretAccessKey, []byte("{}"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, l.endpoint+"/minio/admin/v3/add-service-account", bytes.NewReader(body))
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
