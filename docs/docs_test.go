// Package docs_test holds the documents to the code that they speak of.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var testName = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestThreatModelNamesTestsThatExist keeps a guard from losing its test unseen.
func TestThreatModelNamesTestsThatExist(t *testing.T) {
	named := testName.FindAllStringSubmatch(read(t, "threat-model.md"), -1)
	if len(named) < 20 {
		t.Errorf("the threat model names %d tests", len(named))
	}
	for _, m := range named {
		files, err := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			found = found || strings.Contains(read(t, f), "\nfunc "+m[2]+"(")
		}
		if !found {
			t.Errorf("there is no test %s in package %s", m[2], m[1])
		}
	}
}

// TestProtocolIsComplete: what is on the wire is in the reference.
func TestProtocolIsComplete(t *testing.T) {
	text := read(t, "protocol.md")
	words := []string{
		wire.PathToken, wire.PathRevoke, wire.PathIntrospect, wire.PathMetadata, wire.PathOpenIDMetadata,
		wire.PathJWKS, wire.PathFeed, wire.PathAck, wire.PathHealth, wire.PathReady, wire.PathMetrics, wire.PathAWSCredentials,
		wire.PathAdminRevocations, wire.PathAdminRule, wire.PathAdminFeed, wire.PathAdminVerifiers, wire.PathAdminKeys,
		wire.PathAdminRotate, wire.PathAdminPolicy, wire.PathAdminDecision, wire.PathAdminAudit,
		wire.GrantTokenExchange, wire.GrantClientCredentials, wire.AssertionJWTBearer, wire.TokenTypeAWSCredentials,
		wire.HeaderLastEventID, revocation.TypeSnapshot,
	}
	for _, name := range []string{
		wire.ParamSubjectToken, wire.ParamSubjectTokenType, wire.ParamActorToken, wire.ParamActorTokenType,
		wire.ParamRequestedTokenType, wire.ParamResource, wire.ParamAudience, wire.ParamScope, wire.ParamClientID,
		wire.ParamClientAssertion, wire.ParamClientAssertionType, wire.ParamToken, wire.ParamTask, wire.ParamRequestedTTL, wire.ParamRole,
		wire.ParamVerifier, wire.ParamVerifierName,
		wire.ErrCodeInvalidRequest, wire.ErrCodeInvalidClient, wire.ErrCodeUnsupportedGrantType,
		wire.ErrCodeInvalidScope, wire.ErrCodeInvalidTarget, wire.ErrCodeInvalidToken, wire.ErrCodeInsufficientScope,
		wire.ErrCodeNotFound, wire.ErrCodeSlowDown, wire.ErrCodeServerError, wire.ErrCodeTemporarilyUnavailable,
		"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "act", "may_act", "roles", "cnf", "txn", "rev", "pol", "anc",
	} {
		words = append(words, "`"+name+"`")
	}
	for _, s := range revocation.Selectors() {
		words = append(words, "| `"+string(s)+"` |")
	}
	for _, e := range []revocation.EventType{
		revocation.EventSnapshot, revocation.EventRule, revocation.EventLift,
		revocation.EventLineage, revocation.EventKeys, revocation.EventHeartbeat,
	} {
		words = append(words, "| `"+string(e)+"` |")
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("protocol.md says nothing of %s", w)
		}
	}
}

// TestAWSIsComplete: each ready service is in the reference, and its example is a bundle.
func TestAWSIsComplete(t *testing.T) {
	text := read(t, "aws.md")
	for _, service := range awssts.Services() {
		if !strings.Contains(text, "\n| `"+service+"` |") {
			t.Errorf("aws.md does not have the service %s", service)
		}
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(text)
	if example == nil {
		t.Fatal("aws.md has no example")
	}
	b, err := policy.Parse(map[string][]byte{"catalog.yaml": []byte(example[1])}, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awssts.NewCatalog(b.Catalog(), map[string]string{"account": "123456789012"}); err != nil {
		t.Error(err)
	}
}
