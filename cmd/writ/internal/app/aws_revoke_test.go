package app_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/writbroker/writ/cmd/writ/internal/cli"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts/denylist"
)

// revokeCLI is the command, over the break-glass socket.
func (w *world) revokeCLI(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr strings.Builder
	args = append([]string{"revoke", "agent", "k8s:prod:agents:analyst", "--socket", filepath.Join(w.dir, "data", "break-glass.sock")}, args...)
	code = cli.Main(args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// session has an agent get AWS credentials.
func (w *world) session(t *testing.T) {
	t.Helper()
	workload, err := w.workload(t.Context(), "analyst")
	must(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	_, err = endpointcreds.New(w.issuer+wire.PathAWSCredentials+"?scope=lake:read:sales/eu/**", func(o *endpointcreds.Options) {
		o.HTTPClient, o.AuthorizationToken = client, workload
	}).Retrieve(t.Context())
	must(t, err)
}

const webIdentity = `aws: {mode: web_identity, region: ` + ststest.Region + `, endpoint: "STS", audience: sts.test`

// A configuration is all that it takes to have AWS deny what is revoked, and the command says
// how far that is.
func TestRevokingAWSSessionsByConfiguration(t *testing.T) {
	iam := iamtest.New(iamtest.Options{Roles: []string{lakeRole}, Keys: []string{"AKIAREVOKER"}})
	file := filepath.Join(t.TempDir(), "revoker")
	must(t, os.WriteFile(file, []byte("[revoker]\naws_access_key_id = AKIAREVOKER\naws_secret_access_key = secret\n"), 0o600))
	w, _ := startWithAWS(t, webIdentity+`, revoker: {profile: revoker, credentials_file: "`+file+`", endpoint: "`+iam.Serve(t)+`"}}`+"\n")
	w.session(t)
	code, out := w.revokeCLI(t)
	if code != 0 || !strings.Contains(out, "1 sessions, would be denied by source_identity, all made before ") || !strings.Contains(out, "for others, made before the cutoff, is denied too") || iam.Calls("PutRolePolicy") != 0 {
		t.Fatalf("dry run: exit %d\n%s", code, out)
	}
	code, out = w.revokeCLI(t, "--apply", "--wait=30s")
	if code != 0 || !strings.Contains(out, lakeRole+": 1 sessions, done by source_identity") || !strings.Contains(out, "seconds, at times minutes") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if entries, err := denylist.Parse(iam.Policy(lakeRole, denylist.PolicyName)); err != nil || len(entries) != 1 {
		t.Errorf("the role denies %v, %v", entries, err)
	}
	w.denying(t, "done")
}

// What IAM refuses is said, and the exit code is that of something left to be done.
func TestRevokingAWSSessionsThatCannotBeDenied(t *testing.T) {
	iam := iamtest.New(iamtest.Options{Roles: []string{lakeRole}, Keys: []string{"AKIAOTHER"}})
	file := filepath.Join(t.TempDir(), "revoker")
	must(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = AKIAREVOKER\naws_secret_access_key = secret\n"), 0o600))
	w, _ := startWithAWS(t, webIdentity+`, revoker: {credentials_file: "`+file+`", endpoint: "`+iam.Serve(t)+`"}}`+"\n")
	w.session(t)
	code, out := w.revokeCLI(t, "--apply", "--wait=30s")
	if code != cli.ExitIncomplete || !strings.Contains(out, "1 sessions, failed by source_identity") || !strings.Contains(out, "may not do this") {
		t.Errorf("exit %d\n%s", code, out)
	}
	w.denying(t, "failed")
}

// denying checks how many roles the metric counts in which state: one, and in this.
func (w *world) denying(t *testing.T, want string) {
	t.Helper()
	for _, state := range []string{"pending", "done", "failed"} {
		n := w.metric(t, `writ_aws_denying_roles{state="`+state+`"}`)
		if wanted := state == want; wanted != (n == 1) || !wanted && n != 0 {
			t.Errorf("%v roles are %s, one should be %s", n, state, want)
		}
	}
}

func TestRevokingAWSSessionsWithoutARevoker(t *testing.T) {
	w, _ := startWithAWS(t, webIdentity+"}\n")
	w.session(t)
	code, out := w.revokeCLI(t, "--apply", "--wait=5s")
	if code != 0 || !strings.Contains(out, lakeRole+": 1 sessions, not denied") || !strings.Contains(out, "These sessions work in AWS until they end") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
