// Package setup writes what an operator puts into AWS before Writ can work there: the trust
// policies of roles, the broker's own IAM policies, and the OIDC provider of the mode
// web_identity; as JSON or as Terraform.
//
// It only writes text. It is pure; its caller is the command line.
package setup

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// Mode is how the broker gets credentials of a role.
type Mode string

// The modes: with AWS credentials of its own, or as the OIDC provider that roles trust.
const (
	AssumeRole  Mode = "assume_role"
	WebIdentity Mode = "web_identity"
)

// DefaultAudience is the audience of the tokens of web_identity, which never leave the broker.
const DefaultAudience = "sts.amazonaws.com"

// tagKeys are what a role lets the broker tag sessions with; nobody else's tags get in.
const tagKeys = "writ:*"

var (
	roleARN      = regexp.MustCompile(`\Aarn:[a-z][a-z0-9-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}\z`)
	principalARN = regexp.MustCompile(`\Aarn:[a-z][a-z0-9-]*:iam::[0-9]{12}:(?:role|user)/[A-Za-z0-9_+=,.@/-]{1,512}\z`)
	externalID   = regexp.MustCompile(`\A[A-Za-z0-9_+=,.@:/-]{2,1000}\z`)
)

// Plan is what is to be set up.
type Plan struct {
	Mode  Mode
	Roles []string // ARNs of the roles that agents get credentials of

	// Broker is the ARN of the broker's own role or user, and ExternalID the name that it shows
	// so that nobody else can send it; for assume_role.
	Broker     string
	ExternalID string

	// Issuer is the broker's URL, Audience that of its tokens for AWS (empty means
	// DefaultAudience), and Subjects which agents get in: ids or patterns with '*'; none leaves
	// it to the broker's policy. For web_identity.
	Issuer   string
	Audience string
	Subjects []string

	// Revoke asks for the policy of the credentials that take sessions back, too.
	Revoke bool
}

// ErrPlan says what is missing or wrong in a plan.
var ErrPlan = errors.New("the setup is not complete")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPlan, fmt.Sprintf(format, args...))
}

// Check says what is wrong with the plan, or nil. The error wraps ErrPlan.
func (p *Plan) Check() error {
	if len(p.Roles) == 0 {
		return wrong("no role is named")
	}
	for _, r := range p.Roles {
		if !roleARN.MatchString(r) {
			return wrong("%q is not the ARN of a role", r)
		}
	}
	switch p.Mode {
	case AssumeRole:
		if !principalARN.MatchString(p.Broker) {
			return wrong("%q is not the ARN of the broker's role or user", p.Broker)
		}
		if p.ExternalID != "" && !externalID.MatchString(p.ExternalID) {
			return wrong("the external id has characters that AWS does not take")
		}
		return nil
	case WebIdentity:
		_, err := p.provider()
		return err
	}
	return wrong("unknown mode %q", p.Mode)
}

// provider is the issuer without its scheme, as AWS names providers.
func (p *Plan) provider() (string, error) {
	u, err := url.Parse(p.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", wrong("the issuer %q is not an https URL without query and fragment", p.Issuer)
	}
	if u.Port() != "" && u.Port() != "443" {
		return "", wrong("AWS reaches an OIDC provider at port 443 alone, not at %s", u.Port())
	}
	return strings.TrimSuffix(u.Hostname()+u.Path, "/"), nil
}

func (p *Plan) audience() string {
	if p.Audience == "" {
		return DefaultAudience
	}
	return p.Audience
}

// Trust is the trust policy of one of the roles. The plan was checked.
func (p *Plan) Trust(role string) iam.Document {
	if p.Mode == WebIdentity {
		return p.trustProvider(role)
	}
	broker := []iam.Principal{{Kind: "AWS", Names: []string{p.Broker}}}
	assume := iam.Statement{Sid: "WritAssumes", Effect: iam.Allow, Principals: broker, Actions: []string{"sts:AssumeRole"}}
	if p.ExternalID != "" {
		assume.Conditions = []iam.Condition{{Operator: "StringEquals", Key: "sts:ExternalId", Values: []string{iam.Exact(p.ExternalID)}}}
	}
	return iam.Document{Statements: []iam.Statement{assume, {
		Sid: "WritSaysWho", Effect: iam.Allow, Principals: broker, Actions: []string{"sts:SetSourceIdentity", "sts:TagSession"},
		Conditions: tagged(),
	}}}
}

// tagged lets in Writ's own tags alone.
func tagged() []iam.Condition {
	return []iam.Condition{{Operator: "ForAllValues:StringLike", Key: "aws:TagKeys", Values: []string{tagKeys}}}
}

func (p *Plan) trustProvider(role string) iam.Document {
	provider, err := p.provider()
	if err != nil {
		return iam.Document{} // Check refuses such a plan; a document without statements trusts nobody
	}
	conditions := append(tagged(), iam.Condition{Operator: "StringEquals", Key: provider + ":aud", Values: []string{iam.Exact(p.audience())}})
	if sub, ok := p.subjects(provider + ":sub"); ok {
		conditions = append(conditions, sub) // StringEquals again, or StringLike after it
	}
	return iam.Document{Statements: []iam.Statement{{
		Sid: "WritProves", Effect: iam.Allow, Principals: []iam.Principal{{Kind: "Federated", Names: []string{providerARN(role, provider)}}},
		Actions:    []string{"sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity", "sts:TagSession"},
		Conditions: conditions,
	}}}
}

// subjects is one condition on who gets in: two would both have to hold.
func (p *Plan) subjects(key string) (iam.Condition, bool) {
	c := iam.Condition{Operator: "StringEquals", Key: key}
	if slices.ContainsFunc(p.Subjects, func(s string) bool { return strings.Contains(s, "*") }) {
		c.Operator = "StringLike"
	}
	for _, s := range p.Subjects {
		if c.Operator == "StringEquals" {
			c.Values = append(c.Values, iam.Exact(s))
			continue
		}
		parts := strings.Split(s, "*")
		for i := range parts {
			parts[i] = iam.Literal(parts[i])
		}
		c.Values = append(c.Values, strings.Join(parts, "*"))
	}
	c.Values = sorted(c.Values)
	return c, len(c.Values) > 0
}

func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

// providerARN is the provider in the role's account.
func providerARN(role, provider string) string {
	parts := strings.SplitN(role, ":", 6)
	return "arn:" + parts[1] + ":iam::" + parts[4] + ":oidc-provider/" + provider
}

// BrokerPolicy is the policy of the broker's own principal: it may become the roles, and
// nothing else. In web_identity it needs none, and the document has no statements.
func (p *Plan) BrokerPolicy() iam.Document {
	if p.Mode == WebIdentity {
		return iam.Document{}
	}
	return iam.Document{Statements: []iam.Statement{{
		Sid: "BecomeTheRoles", Effect: iam.Allow, Actions: []string{"sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"},
		Resources: sorted(slices.Clone(p.Roles)),
	}}}
}

// RevokerPolicy is the policy of the principal that takes sessions back. Whoever may write a
// role's inline policies may give it any right that its boundary leaves: it is apart from the
// broker's, and optional.
func (p *Plan) RevokerPolicy() iam.Document {
	return iam.Document{Statements: []iam.Statement{{
		Sid: "DenyRevokedSessions", Effect: iam.Allow,
		Actions:   []string{"iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:PutRolePolicy"},
		Resources: sorted(slices.Clone(p.Roles)),
	}}}
}

// Provider is what an OIDC provider in IAM is made of.
type Provider struct {
	URL       string   `json:"url"`
	Audiences []string `json:"client_id_list"`
	ARNs      []string `json:"arns"` // that it has in the accounts of the roles
}

// Provider is the OIDC provider of web_identity, one in each account of a role; false in the
// other mode.
func (p *Plan) Provider() (Provider, bool) {
	provider, err := p.provider()
	if p.Mode != WebIdentity || err != nil {
		return Provider{}, false
	}
	out := Provider{URL: "https://" + provider, Audiences: []string{p.audience()}}
	for _, r := range p.Roles {
		out.ARNs = append(out.ARNs, providerARN(r, provider))
	}
	out.ARNs = sorted(out.ARNs)
	return out, true
}
