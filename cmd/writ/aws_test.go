package main_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/writbroker/writ/internal/ststest"
)

const lakeRole = "arn:aws:iam::" + ststest.Account + ":role/writ-lake"

// lakeBundle adds a tool in AWS to the shipped bundle.
const lakeBundle = `
kind: catalog
tools:
  - {name: lake, audience: "https://lake.example.com", actions: [read, list], aws: {service: s3, role: "` + lakeRole + `", with: {bucket: acme-lake}}}
---
kind: roles
roles:
  - {name: lake-reader, grants: [{scopes: ["lake:*:sales/**"]}]}
---
kind: bindings
bindings:
  - {name: lake, principals: ["k8s:prod:agents:*"], roles: [lake-reader]}
`

// withAWS readies a data directory for a broker that gets sessions from an STS, with a tool
// named lake, and returns what the configuration has to say of it.
func withAWS(t *testing.T, dir string) (more string, err error) {
	sts := ststest.New(t, ststest.Options{
		Roles:      []ststest.Role{{ARN: lakeRole}},
		Principals: []ststest.Principal{{AccessKeyID: "AKIABROKER", ARN: "arn:aws:iam::" + ststest.Account + ":user/writ"}},
	})
	bundle, credentials := filepath.Join(dir, "bundle"), filepath.Join(dir, "broker-credentials")
	err = errors.Join(
		os.CopyFS(bundle, os.DirFS("../../examples/bundle")),
		os.WriteFile(filepath.Join(bundle, "lake.yaml"), []byte(lakeBundle), 0o600),
		os.WriteFile(credentials, []byte("[default]\naws_access_key_id = AKIABROKER\naws_secret_access_key = secret\n"), 0o600))
	return "aws: {mode: assume_role, region: " + ststest.Region + ", endpoint: \"" + sts.URL + "\", credentials_file: \"" + credentials + "\"}\n", err
}

// awsWorld is world with AWS.
func awsWorld(t *testing.T, ts *testscript.TestScript) {
	more, err := withAWS(t, ts.MkAbs("world"))
	ts.Check(err)
	openWorld(ts, more)
	ts.Setenv("WRIT_SUBJECT_TOKEN_FILE", filepath.Join(ts.Getenv("TOKENS"), "agent.jwt"))
}

// probe is a program with an AWS SDK of its own, as far as writ aws exec has to do with it:
// it prints what of AWS is in its environment, and what the agent gives it. "probe CODE" ends
// with that code; "probe SIGNAL parent" sends its parent a signal, and ends with 100 more than
// its number when it has got it too.
func probe(args []string) int {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		of := strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AMAZON_") || name == "BOTO_CONFIG"
		if of && name != "AWS_CONTAINER_AUTHORIZATION_TOKEN" {
			_, _ = io.WriteString(os.Stdout, name+"="+value+"\n")
		}
	}
	if err := askAgent(os.Stdout); err != nil {
		_, _ = io.WriteString(os.Stdout, "no credentials: "+err.Error()+"\n")
		return 9
	}
	if len(args) == 0 {
		return 0
	}
	number, err := strconv.Atoi(args[0])
	if err != nil || len(args) == 1 {
		return number
	}
	wanted := syscall.Signal(number)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, wanted)
	if err := syscall.Kill(os.Getppid(), wanted); err != nil {
		return 9
	}
	select {
	case <-signals:
		if askAgent(os.Stdout) != nil { // to end well a program may need credentials
			return 9
		}
		return 100 + number
	case <-time.After(time.Minute):
		return 9
	}
}

func askAgent(out io.Writer) error {
	req, err := http.NewRequest(http.MethodGet, os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"), nil) //nolint:noctx // a program of its own
	if err != nil {
		return err
	}
	token := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		token = string(data)
	}
	req.Header.Set("Authorization", token)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var got struct{ AccessKeyID, SecretAccessKey, Token, Code, Message string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || got.SecretAccessKey == "" || got.Token == "" {
		return errors.New(resp.Status + " " + got.Code + ": " + got.Message)
	}
	_, err = io.WriteString(out, "credentials "+got.AccessKeyID+"\n")
	return err
}

// awsCLI is as much of the AWS CLI as the README uses: it needs credentials.
func awsCLI([]string) int {
	if err := askAgent(os.Stdout); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		return 1
	}
	return 0
}
