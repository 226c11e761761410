package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// awsCLI is the system's own: another in PATH may be another version.
const awsCLI = "/usr/bin/aws"

const (
	urlVariable       = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	tokenFileVariable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
	tokenVariable     = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
)

// clean is an environment that has nothing of AWS but what is added.
func clean(added ...string) []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			out = append(out, v)
		}
	}
	return append(out, append([]string{"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_CONFIG_FILE=" + os.DevNull}, added...)...)
}

// program runs one, and says what it printed.
func program(t *testing.T, stdin string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// writAgent runs `writ aws agent` until the test ends, and says what AWS SDKs need to find it.
func (l *lake) writAgent(t *testing.T, args ...string) (url, tokenFile string) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"aws", "agent", "--json", "--broker", l.Issuer, "--subject-token-file", l.tokenFile()}, args...)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || complaints.Len() > 0 {
			t.Errorf("writ aws agent ended with %v: %s", err, complaints.Bytes())
		}
	})
	text, err := bufio.NewReader(stdout).ReadBytes('\n')
	var line struct {
		URL      string `json:"url"`
		AuthFile string `json:"auth_file"`
	}
	if err != nil || json.Unmarshal(text, &line) != nil {
		t.Fatalf("writ aws agent printed %q: %v", text, err)
	}
	return line.URL, line.AuthFile
}

func TestAWSCLI(t *testing.T) {
	if _, err := os.Stat(awsCLI); err != nil {
		t.Fatal("this test needs the AWS CLI: apt-get install -y --no-install-recommends awscli")
	}
	l := startLake(t, "web_identity")
	l.put(t, lakeBucket, "sales/q1")
	l.put(t, lakeBucket, "hr/q1")
	scopes := []string{"--scope", "lake:read:sales/**", "--scope", "lake:write:sales/**", "--scope", "lake:list:sales/**"}
	profile := filepath.Join(t.TempDir(), "config")
	writeFile(t, profile, "[default]\ncredential_process = "+binary+" aws credential-process --broker "+l.Issuer+" --subject-token-file "+l.tokenFile()+" "+strings.Join(scopes, " ")+"\n")
	url, tokenFile := l.writAgent(t, scopes...)
	token, err := os.ReadFile(tokenFile)
	must(t, err)
	exec := append([]string{"aws", "exec", "--broker", l.Issuer, "--subject-token-file", l.tokenFile()}, append(scopes, "--", awsCLI)...)
	for name, way := range map[string]struct {
		env     []string
		command []string
	}{
		"by credential_process": {clean("AWS_CONFIG_FILE=" + profile), []string{awsCLI}},
		"through the agent":     {clean(urlVariable+"="+url, tokenVariable+"="+string(token)), []string{awsCLI}},
		"as its child":          {clean("AWS_ACCESS_KEY_ID="+minioUser, "AWS_SECRET_ACCESS_KEY="+minioPassword), append([]string{binary}, exec...)},
	} {
		t.Run(name, func(t *testing.T) {
			aws := func(args ...string) (string, error) {
				args = append(append(way.command[1:len(way.command):len(way.command)], "--endpoint-url", l.endpoint, "s3"), args...)
				return program(t, "", way.env, way.command[0], args...)
			}
			file := filepath.Join(t.TempDir(), "file")
			writeFile(t, file, "from "+name)
			back := file + ".back"
			for _, args := range [][]string{
				{"ls", "s3://" + lakeBucket + "/sales/"},
				{"cp", file, "s3://" + lakeBucket + "/sales/new"},
				{"cp", "s3://" + lakeBucket + "/sales/new", back},
			} {
				if out, err := aws(args...); err != nil || args[0] == "ls" && !strings.Contains(out, "q1") {
					t.Errorf("%q: %v\n%s", args, err, out)
				}
			}
			if text, err := os.ReadFile(back); err != nil || string(text) != "from "+name {
				t.Errorf("it came back as %q: %v", text, err)
			}
			for _, args := range [][]string{
				{"ls", "s3://" + lakeBucket + "/hr/"},
				{"ls", "s3://" + lakeBucket},
				{"cp", "s3://" + lakeBucket + "/hr/q1", back},
				{"cp", file, "s3://" + lakeBucket + "/hr/q1"},
				{"rm", "s3://" + lakeBucket + "/sales/q1"},
				{"cp", file, "s3://" + otherBucket + "/sales/new"},
			} {
				if out, err := aws(args...); err == nil || !strings.Contains(out, "AccessDenied") && !strings.Contains(out, "403") {
					t.Errorf("%q was not refused: %v\n%s", args, err, out)
				}
			}
		})
	}
}

// ways are the two endpoints at which an AWS SDK gets credentials without code: the broker's own,
// by the workload's token in a file, and the agent's. The lives are so short that both have to give
// new ones in each test, and that SDKs, which begin to ask 5 minutes before the end, ask each time.
func (l *lake) ways(t *testing.T) map[string][]string {
	url, tokenFile := l.writAgent(t, "--scope", "lake:read:sales/**", "--scope", "lake:list:sales/**", "--ttl", "10s", "--task", agentTask)
	return map[string][]string{
		"the broker": {urlVariable + "=" + l.Issuer + "/aws/credentials?scope=lake:read:sales/**+lake:list:sales/**&requested_ttl=10", tokenFileVariable + "=" + l.tokenFile()},
		"the agent":  {urlVariable + "=" + url, tokenFileVariable + "=" + tokenFile},
	}
}

const (
	// agentTask marks what the agent asks the broker for.
	agentTask = "by-the-agent"
	// sessions is how many a long run lives through.
	sessions = 4
)

// askedOnce checks that the agent asked the broker once for each session, however many SDKs
// asked it: no two of the broker's records are of one.
func (l *lake) askedOnce(t *testing.T) {
	t.Helper()
	out, err := program(t, "", clean(), binary, "audit", "query", "--dir", filepath.Join(filepath.Dir(l.tokens), "audit"), "--limit", "10000", "--json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type record struct {
		Task   string `json:"task"`
		Detail struct {
			AccessKeyID string `json:"access_key_id"`
		} `json:"detail"`
	}
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		var r record
		must(t, json.Unmarshal([]byte(line), &r))
		if r.Task != agentTask {
			continue
		}
		if id := r.Detail.AccessKeyID; id == "" || seen[id] {
			t.Errorf("the agent asked for %q again", id)
		}
		seen[r.Detail.AccessKeyID] = true
	}
	if len(seen) < sessions {
		t.Errorf("the broker has records of %d sessions for the agent", len(seen))
	}
}

func TestAWSSDKForJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("this test needs Node.js: apt-get install -y --no-install-recommends nodejs npm, then make e2e")
	}
	check, err := filepath.Abs("awssdk/check.mjs")
	must(t, err)
	l := startLake(t, "web_identity")
	l.put(t, lakeBucket, "sales/q1")
	l.put(t, lakeBucket, "hr/q1")
	task, err := json.Marshal(map[string]any{"endpoint": l.endpoint, "region": region, "bucket": lakeBucket, "key": "sales/q1",
		"prefix": "sales/", "refused": "hr/q1", "sessions": sessions})
	must(t, err)
	for name, env := range l.ways(t) {
		t.Run(name, func(t *testing.T) {
			out, err := program(t, string(task), clean(env...), node, check)
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
	l.askedOnce(t)
}

func TestAWSSDKForGo(t *testing.T) {
	l := startLake(t, "assume_role")
	l.put(t, lakeBucket, "sales/q1")
	l.put(t, lakeBucket, "hr/q1")
	for name, env := range l.ways(t) {
		t.Run(name, func(t *testing.T) {
			for _, v := range clean(env...) {
				if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
					t.Setenv(name, value)
				}
			}
			cfg, err := config.LoadDefaultConfig(t.Context())
			must(t, err)
			c := s3.NewFromConfig(cfg, func(o *s3.Options) {
				o.BaseEndpoint, o.UsePathStyle, o.RetryMaxAttempts, o.Logger = aws.String(l.endpoint), true, 1, logging.Nop{}
			})
			keys := map[string]bool{}
			calls := 0
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			for ; len(keys) < sessions; time.Sleep(50 * time.Millisecond) {
				must(t, getObject(ctx, c, lakeBucket, "sales/q1"))
				creds, err := cfg.Credentials.Retrieve(ctx)
				must(t, err)
				keys[creds.AccessKeyID] = true
				calls++
			}
			if answered(t, getObject(ctx, c, lakeBucket, "hr/q1")) {
				t.Error("it read what was not granted")
			}
			t.Logf("%d calls with %d sessions, none of which failed", calls, len(keys))
		})
	}
	l.askedOnce(t)
}
