package awssts_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/token"
)

// wantReason is an order that must fail by this name.
func wantReason(t *testing.T, s *studio, w workload, whose mint.SessionFault, reason string) *mint.SessionError {
	t.Helper()
	_, _, err := s.sessions().Session(t.Context(), s.order(w))
	named, ok := errors.AsType[*mint.SessionError](err)
	if !ok || named.Reason != reason || named.Fault != whose {
		t.Fatalf("got %v (%T), want %s", err, err, reason)
	}
	if (named.RetryAfter > 0) != (whose == mint.FaultUnavailable) {
		t.Errorf("%s: retry after %s", reason, named.RetryAfter)
	}
	if named.Detail == "" || strings.Contains(named.Detail, "123456789012") {
		t.Errorf("%s says %q", reason, named.Detail)
	}
	return named
}

// Every way in which STS fails has a name.
func TestEachFailureHasAName(t *testing.T) {
	long := []string{}
	for _, name := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "ccccccccccccccccccccccccccc"} {
		for _, last := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13"} {
			long = append(long, "lake:read:"+name+"/"+last+"/"+name+"/x")
		}
	}
	always := func(f ststest.Fault) func(*studio) { return func(s *studio) { s.sts.Always(&f) } }
	for name, row := range map[string]struct {
		break_ func(*studio)
		order  workload
		whose  mint.SessionFault
		reason string
		calls  int // how often STS is asked; 0 = do not count
	}{
		"STS down":                  {func(s *studio) { s.cfg.Endpoint = "http://" + porttest.Address(t) }, workload{}, mint.FaultUnavailable, awssts.ReasonDown, 0},
		"STS closes the connection": {always(ststest.Fault{Drop: true}), workload{}, mint.FaultUnavailable, awssts.ReasonDown, 0},
		"STS fails":                 {always(ststest.Fault{Status: 500, Code: "InternalFailure"}), workload{}, mint.FaultUnavailable, awssts.ReasonDown, 3},
		"STS slow": {func(s *studio) {
			s.sts.Always(&ststest.Fault{Delay: time.Minute})
			s.cfg.Timeout = 200 * time.Millisecond
		}, workload{}, mint.FaultUnavailable, awssts.ReasonSlow, 0},
		"throttling":                      {always(ststest.Fault{Code: "Throttling", Message: "Rate exceeded"}), workload{}, mint.FaultUnavailable, awssts.ReasonThrottled, 3},
		"expired broker credentials":      {always(ststest.Fault{Status: 403, Code: "ExpiredToken", Message: "The security token included in the request is expired"}), workload{}, mint.FaultUnavailable, awssts.ReasonExpired, 1},
		"unknown broker credentials":      {func(s *studio) { s.cfg.Credentials = static("AKIANOBODY", "") }, workload{}, mint.FaultUnavailable, awssts.ReasonCredentials, 1},
		"no broker credentials":           {func(s *studio) { s.cfg.Credentials = nowhere{} }, workload{}, mint.FaultUnavailable, awssts.ReasonNoCredentials, 0},
		"a broker's secret that is wrong": {always(ststest.Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match"}), workload{}, mint.FaultUnavailable, awssts.ReasonCredentials, 0},
		"clock skew":                      {always(ststest.Fault{Status: 403, Code: "RequestTimeTooSkewed"}), workload{}, mint.FaultUnavailable, awssts.ReasonClockSkew, 0},
		"clock skew, as STS says it":      {always(ststest.Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "Signature expired: 20260708T120000Z is now earlier than 20260708T124500Z"}), workload{}, mint.FaultUnavailable, awssts.ReasonClockSkew, 0},
		"a clock that is ahead":           {always(ststest.Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "Signature not yet current: 20260708T120000Z is still later than"}), workload{}, mint.FaultUnavailable, awssts.ReasonClockSkew, 0},
		"wrong region":                    {func(s *studio) { s.cfg.Region = "us-west-2" }, workload{}, mint.FaultBroker, awssts.ReasonRegion, 1},
		"a region that is off":            {always(ststest.Fault{Status: 403, Code: "RegionDisabledException"}), workload{}, mint.FaultBroker, awssts.ReasonRegion, 1},
		"malformed ARN":                   {nil, workload{asked: []string{"broken:read:x"}}, mint.FaultTarget, awssts.ReasonMalformedARN, 1},
		"a role that does not trust us":   {nil, workload{role: "audit"}, mint.FaultTarget, awssts.ReasonUntrusted, 1},
		"a role that nobody knows":        {nil, workload{role: "nobody"}, mint.FaultTarget, awssts.ReasonRole, 0},
		"packed policy too large":         {always(ststest.Fault{Code: "PackedPolicyTooLarge"}), workload{}, mint.FaultScope, awssts.ReasonPackedSize, 1},
		"policy too large":                {nil, workload{asked: long}, mint.FaultScope, awssts.ReasonPolicySize, 0},
		"malformed policy":                {always(ststest.Fault{Code: "MalformedPolicyDocument"}), workload{}, mint.FaultBroker, awssts.ReasonMalformedPolicy, 1},
		"a tool that is not in AWS":       {nil, workload{asked: []string{"tickets:read:x"}}, mint.FaultTarget, awssts.ReasonRole, 0},
		"a scope that IAM cannot say":     {nil, workload{asked: []string{"lake:read:a/*/b/**"}}, mint.FaultScope, awssts.ReasonScope, 0},
		"longer than the role gives":      {nil, workload{role: foreign}, mint.FaultTarget, awssts.ReasonRole, 0},
		"chaining, found by STS":          {always(ststest.Fault{Code: "ValidationError", Message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"}), workload{}, mint.FaultRequest, awssts.ReasonChaining, 1},
		"longer than the role's limit":    {always(ststest.Fault{Code: "ValidationError", Message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."}), workload{}, mint.FaultRequest, awssts.ReasonRoleDuration, 1},
		"anything else":                   {always(ststest.Fault{Code: "Strange", Message: "?"}), workload{}, mint.FaultBroker, awssts.ReasonSTS, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStudio(t, awssts.AssumeRole)
			if row.break_ != nil {
				row.break_(s)
			}
			wantReason(t, s, row.order, row.whose, row.reason)
			if n := len(s.sts.Calls("AssumeRole")); row.calls > 0 && n != row.calls {
				t.Errorf("STS was asked %d times, want %d", n, row.calls)
			}
		})
	}
}

func TestEachFailureOfAWebIdentityHasAName(t *testing.T) {
	for name, row := range map[string]struct {
		break_ func(*studio)
		whose  mint.SessionFault
		reason string
	}{
		"another issuer":              {func(s *studio) { s.cfg.Issuer = "https://evil.example" }, mint.FaultBroker, awssts.ReasonProof},
		"another audience":            {func(s *studio) { s.cfg.Audience = "sts.example" }, mint.FaultBroker, awssts.ReasonProof},
		"a key that is not published": {func(s *studio) { s.keys, _ = token.NewKeySet() }, mint.FaultBroker, awssts.ReasonProof},
		"no key":                      {func(s *studio) { s.signer = nil }, mint.FaultUnavailable, awssts.ReasonNoKey},
		"keys that STS cannot fetch":  {func(s *studio) { s.sts.Always(&ststest.Fault{Code: "IDPCommunicationError"}) }, mint.FaultUnavailable, awssts.ReasonProof},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStudio(t, awssts.WebIdentity)
			row.break_(s)
			wantReason(t, s, workload{}, row.whose, row.reason)
		})
	}
}

// nowhere has no credentials, like a chain whose every link is missing.
type nowhere struct{}

func (nowhere) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("no EC2 IMDS role found")
}

// A failure that passes costs an attempt and no more.
func TestAttempts(t *testing.T) {
	for name, f := range map[string]ststest.Fault{
		"throttling":          {Code: "Throttling"},
		"an internal failure": {Status: 500, Code: "InternalFailure"},
		"a lost connection":   {Drop: true},
	} {
		s := newStudio(t, awssts.AssumeRole)
		s.sts.Fail(f, f)
		if _, _, err := s.sessions().Session(t.Context(), s.order(workload{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// After failures in a row STS is left alone, but for one call that finds out.
func TestBreaker(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	s.cfg.Attempts = 1
	s.sts.Always(&ststest.Fault{Status: 503, Code: "ServiceUnavailable"})
	all := s.sessions()
	reason := func() string {
		_, _, err := all.Session(t.Context(), s.order(workload{}))
		if named, ok := errors.AsType[*mint.SessionError](err); ok {
			return named.Reason
		}
		return ""
	}
	for range 5 {
		if got := reason(); got != awssts.ReasonDown {
			t.Fatalf("got %q", got)
		}
	}
	asked := len(s.sts.Calls(""))
	for range 20 {
		if got := reason(); got != awssts.ReasonPaused {
			t.Fatalf("got %q", got)
		}
	}
	if n := len(s.sts.Calls("")); n != asked {
		t.Errorf("%d calls while it was paused", n-asked)
	}
	s.now = s.now.Add(time.Minute)
	if got := reason(); got != awssts.ReasonDown {
		t.Errorf("the probe: %q", got)
	}
	if got := reason(); got != awssts.ReasonPaused {
		t.Errorf("after a probe that failed: %q", got)
	}
	s.now = s.now.Add(time.Minute)
	s.sts.Always(nil)
	for range 3 {
		if got := reason(); got != "" {
			t.Errorf("when STS is back: %q", got)
		}
	}
	// What callers ask wrongly says nothing of STS.
	for range 10 {
		_, _, _ = all.Session(t.Context(), s.order(workload{asked: []string{"broken:read:x"}}))
	}
	if _, _, err := all.Session(t.Context(), s.order(workload{task: "another"})); err != nil {
		t.Errorf("after orders that were wrong: %v", err)
	}
}
