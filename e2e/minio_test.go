package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/writbroker/writ/internal/porttest"
)

// minioBinary is what make e2e builds of MinIO.
const minioBinary = "../.cache/bin/minio"

const (
	minioUser     = "writ-broker"
	minioPassword = "writ-broker-password"
	minioAudience = "minio.writ.example"
	region        = "us-east-1"

	lakeBucket  = "acme-lake"
	otherBucket = "acme-vault"
)

// minioRole is the name that MinIO gives the role of an OpenID provider: a digest of the client.
func minioRole() string {
	digest := sha1.Sum([]byte(minioAudience))
	return "arn:minio:iam:::role/" + base64.RawURLEncoding.EncodeToString(digest[:])
}

// lake is a broker with two tools whose resources lie in a real MinIO: one is all of a bucket,
// the other what is under teams/a of the same.
type lake struct {
	dev
	endpoint string // of MinIO
	tokens   string // directory with workload tokens
	root     *s3.Client
}

const lakeBundle = `
kind: catalog
tools:
  - {name: lake, audience: "https://lake.example.com", actions: [read, write, delete, list], aws: {service: s3, role: "ROLE", with: {bucket: acme-lake}}}
  - {name: team, audience: "https://team.example.com", actions: [read, write, delete, list], aws: {service: s3, role: "ROLE", with: {bucket: acme-lake, prefix: teams/a}}}
---
kind: roles
roles:
  - {name: lake, grants: [{scopes: ["lake:*:**", "team:*:**"]}]}
---
kind: bindings
bindings:
  - {name: lake, principals: ["k8s:prod:agents:analyst"], roles: [lake]}
`

// startLake runs both until the test ends. In web_identity MinIO trusts the broker as its OpenID
// provider; in assume_role the broker has an AWS identity that MinIO knows.
func startLake(t *testing.T, mode string) *lake {
	t.Helper()
	dir := t.TempDir()
	data, more := filepath.Join(dir, "data"), filepath.Join(dir, "more.yaml")
	bundle := filepath.Join(data, "bundle")
	must(t, os.MkdirAll(data, 0o700))
	must(t, os.CopyFS(bundle, os.DirFS("../examples/bundle")))
	writeFile(t, filepath.Join(bundle, "lake.yaml"), strings.ReplaceAll(lakeBundle, "ROLE", minioRole()))
	// The broker is first, since MinIO reads its metadata when it starts.
	address := porttest.Address(t)
	section := "audience: " + minioAudience
	if mode == "assume_role" {
		file := filepath.Join(dir, "credentials")
		writeFile(t, file, "[default]\naws_access_key_id = "+minioUser+"\naws_secret_access_key = "+minioPassword+"\n")
		section = fmt.Sprintf("credentials_file: %q", file)
	}
	writeFile(t, more, fmt.Sprintf("aws: {mode: %s, region: %s, endpoint: %q, plain_policies: true, %s}\n", mode, region, "http://"+address, section))
	l := &lake{endpoint: "http://" + address, tokens: filepath.Join(data, "tokens")}
	l.dev, _ = startDevWith(t, "--data-dir", data, "--more-config", more)
	l.startMinIO(t, address)
	for _, bucket := range []string{lakeBucket, otherBucket} {
		_, err := l.root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)})
		must(t, err)
	}
	return l
}

// startMinIO runs a MinIO that trusts the broker, until the test ends.
func (l *lake) startMinIO(t *testing.T, address string) {
	t.Helper()
	path, err := filepath.Abs(minioBinary)
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("MinIO is not built: make %s (%v)", strings.TrimPrefix(minioBinary, "../"), err)
	}
	cmd := exec.Command(path, "server", "--quiet", "--address", address, "--console-address", porttest.Address(t), t.TempDir())
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioPassword, "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"MINIO_IDENTITY_OPENID_CONFIG_URL="+l.Issuer+"/.well-known/openid-configuration", "MINIO_IDENTITY_OPENID_CLIENT_ID="+minioAudience,
		"MINIO_IDENTITY_OPENID_ROLE_POLICY=readwrite")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // by a signal
		if t.Failed() {
			t.Logf("MinIO: %s", log.Bytes())
		}
	})
	l.root = l.s3(credentials.NewStaticCredentialsProvider(minioUser, minioPassword, ""))
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err = l.root.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("MinIO is not ready within a minute: %v\n%s", err, log.Bytes())
		}
	}
}

// s3 is a client that tries once: an answer is to be seen, not repeated until it is another.
func (l *lake) s3(from aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{Region: region, BaseEndpoint: aws.String(l.endpoint), UsePathStyle: true, Credentials: from, RetryMaxAttempts: 1, Logger: logging.Nop{}})
}

// tokenFile is the agent's workload token.
func (l *lake) tokenFile() string { return filepath.Join(l.tokens, "agent.jwt") }

// awsSession is what a credential_process prints.
type awsSession struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// session asks for credentials as the AWS CLI does.
func (l *lake) session(t *testing.T, args ...string) awsSession {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"aws", "credential-process", "--broker", l.Issuer, "--subject-token-file", l.tokenFile()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stderr.Bytes())
	}
	var s awsSession
	must(t, json.Unmarshal(out, &s))
	return s
}

func (s awsSession) provider() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, s.SessionToken)
}

func (l *lake) put(t *testing.T, bucket, key string) {
	t.Helper()
	_, err := l.root.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader(key)})
	must(t, err)
}

// answered reads what MinIO said: whether it did it, or refused. Anything else ends the test.
func answered(t *testing.T, err error) bool {
	t.Helper()
	var status interface{ HTTPStatusCode() int }
	switch {
	case err == nil:
		return true
	case errors.As(err, &status) && status.HTTPStatusCode() == http.StatusForbidden:
		return false
	}
	t.Fatalf("MinIO answered neither yes nor no: %v", err)
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// getObject reads an object to its end.
func getObject(ctx context.Context, c *s3.Client, bucket, key string) error {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return err
	}
	return out.Body.Close()
}
