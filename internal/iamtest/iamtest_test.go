package iamtest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/writbroker/writ/internal/iamtest"
)

const role = "arn:aws:iam::123456789012:role/writ-lake"

func client(s *iamtest.Server) *iam.Client {
	return iam.New(iam.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String("http://iam.test"), HTTPClient: &http.Client{Transport: s},
		Credentials: credentials.NewStaticCredentialsProvider("AKIAONE", "secret", ""), RetryMaxAttempts: 1,
	})
}

func document(text string) string { return `{"Version":"2012-10-17","Statement":["` + text + `"]}` }

func put(t *testing.T, c *iam.Client, name, text string) error {
	t.Helper()
	_, err := c.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("writ-lake"), PolicyName: aws.String(name), PolicyDocument: aws.String(document(text)),
	})
	return err
}

// The last writer wins; until the lag is over a read may show what was before, and then does not.
func TestWhatIsReadMayBeOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := iamtest.New(iamtest.Options{Roles: []string{role}, Lag: 10 * time.Second})
		c := client(s)
		for _, text := range []string{"first", "second"} {
			if err := put(t, c, "p", text); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if s.Policy(role, "p") != document("second") {
			t.Errorf("the policy is %s", s.Policy(role, "p"))
		}
		seen := map[string]bool{}
		for range 200 {
			out, err := c.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: aws.String("writ-lake"), PolicyName: aws.String("p")})
			if err != nil {
				t.Fatal(err)
			}
			seen[*out.PolicyDocument] = true
		}
		if len(seen) != 2 {
			t.Errorf("within the lag, reads show %v", seen)
		}
		time.Sleep(10 * time.Second)
		clear(seen)
		for range 50 {
			out, err := c.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: aws.String("writ-lake"), PolicyName: aws.String("p")})
			if err != nil {
				t.Fatal(err)
			}
			seen[*out.PolicyDocument] = true
		}
		if len(seen) != 1 {
			t.Errorf("after the lag, reads show %v", seen)
		}
	})
}

// The errors are those that the SDK has types for.
func TestErrorsAreIAMs(t *testing.T) {
	c := client(iamtest.New(iamtest.Options{Roles: []string{role}}))
	var limit *types.LimitExceededException
	if err := put(t, c, "big", strings.Repeat("x", iamtest.MaxInlineSize)); !errors.As(err, &limit) {
		t.Errorf("too large: %v", err)
	}
	if err := put(t, c, "big", strings.Repeat("x", 6000)); err != nil {
		t.Error(err)
	}
	if err := put(t, c, "another", strings.Repeat("x", 6000)); !errors.As(err, &limit) {
		t.Errorf("too large together: %v", err)
	}
	var gone *types.NoSuchEntityException
	if _, err := c.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("nobody")}); !errors.As(err, &gone) {
		t.Errorf("no role: %v", err)
	}
	_, err := c.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("writ-lake"), PolicyName: aws.String("p"), PolicyDocument: aws.String("{}"),
	})
	if _, ok := errors.AsType[*types.MalformedPolicyDocumentException](err); !ok {
		t.Errorf("no document: %v", err)
	}
}
