package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

const session = `{"Version":1,"AccessKeyId":"ASIA1","SecretAccessKey":"sek","SessionToken":"ses","Expiration":"2031-01-02T03:04:05Z"}`

func awsAnswer(issued, text string) answer {
	return answer{status: 200, body: wire.TokenResponse{AccessToken: text, IssuedTokenType: issued, TokenType: "N_A", ExpiresIn: 900, Scope: "lake:read:a", DecisionID: "d-1"}}
}

func TestAWSCredentials(t *testing.T) {
	b, s := serve(t, awsAnswer(wire.TokenTypeAWSCredentials, session))
	before := time.Now()
	got, err := newClient(t, s).AWSCredentials(t.Context(), client.Request{SubjectToken: "subj", Scopes: []string{"lake:read:a"}, Role: "reader", Task: "job-7"})
	if err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(string(b.requests()[0].body))
	if err != nil || form.Get(wire.ParamRequestedTokenType) != wire.TokenTypeAWSCredentials || form.Get(wire.ParamRole) != "reader" || form.Get(wire.ParamTask) != "job-7" {
		t.Errorf("form %v: %v", form, err)
	}
	end := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
	if got.AccessKeyID != "ASIA1" || got.SecretAccessKey.Reveal() != "sek" || got.SessionToken.Reveal() != "ses" ||
		!got.Expiration.Equal(end) || got.DecisionID != "d-1" || len(got.Scopes) != 1 {
		t.Errorf("got %+v", got)
	}
	if got.Expiry.Before(before.Add(900*time.Second)) || got.Expiry.After(time.Now().Add(900*time.Second)) {
		t.Errorf("ends at %v by our clock", got.Expiry)
	}
	process, err := got.Process()
	if err != nil || string(process) != session+"\n" {
		t.Errorf("%s %v", process, err)
	}
	container, err := got.Container()
	if err != nil || string(container) != `{"AccessKeyId":"ASIA1","SecretAccessKey":"sek","Token":"ses","Expiration":"2031-01-02T03:04:05Z"}`+"\n" {
		t.Errorf("%s %v", container, err)
	}
	logged, err := json.Marshal(got)
	if text := fmt.Sprintf("%v %+v %#v %s", got, *got, *got, logged); err != nil || strings.Contains(text, "sek") || strings.Contains(text, `"ses"`) || strings.Contains(text, ":ses") {
		t.Errorf("secrets in %s", text)
	}
}

func TestAWSCredentialsRefusesWhatIsNone(t *testing.T) {
	for name, a := range map[string]answer{
		"a token instead":  awsAnswer(wire.TokenTypeAccessToken, session),
		"text":             awsAnswer(wire.TokenTypeAWSCredentials, "eyJ-secret"),
		"another version":  awsAnswer(wire.TokenTypeAWSCredentials, strings.Replace(session, "1,", "2,", 1)),
		"no session token": awsAnswer(wire.TokenTypeAWSCredentials, strings.Replace(session, `"ses"`, `""`, 1)),
		"no end":           awsAnswer(wire.TokenTypeAWSCredentials, `{"Version":1,"AccessKeyId":"ASIA1","SecretAccessKey":"sek","SessionToken":"ses"}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, s := serve(t, a)
			got, err := newClient(t, s).AWSCredentials(t.Context(), client.Request{SubjectToken: "subj"})
			if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sek") {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestAWSCredentialsSaysWhatKeptThemFromBeingMade(t *testing.T) {
	a := refusal(503, wire.ErrCodeTemporarilyUnavailable)
	body := a.body.(wire.Error)
	body.Reason = "aws_clock_skew"
	a.body = body
	_, s := serve(t, a)
	_, err := newClient(t, s).AWSCredentials(t.Context(), client.Request{SubjectToken: "subj"})
	if refused, ok := errors.AsType[*client.ResponseError](err); !ok || refused.Body.Reason != "aws_clock_skew" || !strings.Contains(err.Error(), "aws_clock_skew") {
		t.Errorf("got %v", err)
	}
}
