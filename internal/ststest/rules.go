package ststest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The rules that AWS documents for AssumeRole.
var (
	nameRule   = regexp.MustCompile(`\A[\w+=,.@-]{2,64}\z`)
	policyRule = regexp.MustCompile("\\A[\u0009\u000A\u000D\u0020-\u00FF]+\\z")
	tagKeyRule = regexp.MustCompile(`\A[\p{L}\p{Z}\p{N}_.:/=+\-@]+\z`)
	tagRule    = regexp.MustCompile(`\A[\p{L}\p{Z}\p{N}_.:/=+\-@]*\z`)
	arnRule    = regexp.MustCompile(`\Aarn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+\z`)
	policyARN  = regexp.MustCompile(`\Aarn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[\w+=,.@/-]+\z`)
	signature  = regexp.MustCompile(`\AAWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/([0-9]{8})/([a-z0-9-]+)/sts/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}\z`)
)

const (
	minDuration = 15 * time.Minute
	maxDuration = 12 * time.Hour
	maxChained  = time.Hour
	maxPolicy   = 2048
	maxARNs     = 10
	maxTags     = 50
)

type sessionBody struct {
	XMLName xml.Name
	Result  struct {
		XMLName     xml.Name
		Credentials struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      string
		}
		User struct {
			Arn           string
			AssumedRoleID string `xml:"AssumedRoleId"`
		} `xml:"AssumedRoleUser"`
		SessionTokenUtilization int
		SourceIdentity          string `xml:",omitempty"`
	}
}

type identityBody struct {
	XMLName xml.Name `xml:"GetCallerIdentityResponse"`
	Arn     string   `xml:"GetCallerIdentityResult>Arn"`
	Account string   `xml:"GetCallerIdentityResult>Account"`
	UserID  string   `xml:"GetCallerIdentityResult>UserId"`
}

// answer is what a call gets, or why it gets nothing.
func (s *Server) answer(r *http.Request, c *Call) (any, *Fault) {
	switch c.Action {
	case "AssumeRole":
		return s.assumeRole(r, c)
	case "AssumeRoleWithWebIdentity":
		return s.webIdentity(r, c)
	case "GetCallerIdentity":
		p, refused := s.signer(r, c)
		if refused != nil {
			return nil, refused
		}
		return identityBody{Arn: p.ARN, Account: Account, UserID: p.AccessKeyID}, nil
	}
	return nil, &Fault{Code: "InvalidAction", Message: "no such action"}
}

func (s *Server) assumeRole(r *http.Request, c *Call) (any, *Fault) {
	p, refused := s.signer(r, c)
	if refused != nil {
		return nil, refused
	}
	role, refused := s.role(c)
	if refused != nil {
		return nil, refused
	}
	if len(role.Trusts) > 0 && !slices.Contains(role.Trusts, c.AccessKeyID) || role.ExternalID != "" && role.ExternalID != c.ExternalID {
		return nil, denied(p.ARN, "sts:AssumeRole", c.Role)
	}
	if p.SessionToken != "" && strings.Contains(p.ARN, ":assumed-role/") && c.Duration > maxChained {
		return nil, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	return s.session(c, role)
}

// signer checks that the call is signed for this service, by somebody who is known here. The
// signature itself is the SDK's own matter.
func (s *Server) signer(r *http.Request, c *Call) (*Principal, *Fault) {
	header := r.Header.Get("Authorization")
	found := signature.FindStringSubmatch(header)
	switch {
	case header == "":
		return nil, &Fault{Status: 403, Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token"}
	case found == nil:
		return nil, &Fault{Status: 400, Code: "IncompleteSignature", Message: "Authorization header is not of the form of SigV4"}
	case found[3] != Region:
		return nil, &Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "Credential should be scoped to a valid region, not '" + found[3] + "'."}
	case !strings.Contains(found[4], "host") || !strings.Contains(found[4], "x-amz-date") || !strings.HasPrefix(r.Header.Get("X-Amz-Date"), found[2]):
		return nil, &Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "The request signature does not cover host and date"}
	}
	c.AccessKeyID = found[1]
	for i := range s.opt.Principals {
		if p := &s.opt.Principals[i]; p.AccessKeyID == c.AccessKeyID && p.SessionToken == r.Header.Get("X-Amz-Security-Token") {
			return p, nil
		}
	}
	return nil, &Fault{Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
}

func (s *Server) role(c *Call) (*Role, *Fault) {
	if !arnRule.MatchString(c.Role) {
		return nil, invalid(c.Role + " is invalid: the ARN is malformed")
	}
	for i := range s.opt.Roles {
		if s.opt.Roles[i].ARN == c.Role {
			return &s.opt.Roles[i], nil
		}
	}
	return nil, denied("somebody", "sts:AssumeRole", c.Role) // AWS does not tell that from a role that is not there
}

func denied(who, what, role string) *Fault {
	return &Fault{Status: 403, Code: "AccessDenied", Message: fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", who, what, role)}
}

func invalid(message string) *Fault { return &Fault{Code: "ValidationError", Message: message} }

// session makes one of a call whose caller the role trusts.
func (s *Server) session(c *Call, role *Role) (any, *Fault) {
	if refused := s.check(c, role); refused != nil {
		return nil, refused
	}
	packed, refused := s.packed(c)
	if refused != nil {
		return nil, refused
	}
	name := c.Action
	b := sessionBody{XMLName: xml.Name{Space: "https://sts.amazonaws.com/doc/2011-06-15/", Local: name + "Response"}}
	b.Result.XMLName = xml.Name{Local: name + "Result"}
	k := &b.Result.Credentials
	c.SessionKeyID = random("ASIA", 10)
	k.AccessKeyID, k.SecretAccessKey, k.SessionToken = c.SessionKeyID, random("", 25), random("FwoG", 200)
	k.Expiration = s.opt.Now().Add(c.Duration).UTC().Format(time.RFC3339)
	b.Result.User.AssumedRoleID = "AROA" + strings.ToUpper(fmt.Sprintf("%017x", len(c.Role))) + ":" + c.SessionName
	b.Result.User.Arn = strings.Replace(strings.Replace(c.Role, ":iam:", ":sts:", 1), ":role/", ":assumed-role/", 1) + "/" + c.SessionName
	b.Result.SessionTokenUtilization, b.Result.SourceIdentity = packed, c.SourceIdentity
	return b, nil
}

func (s *Server) check(c *Call, role *Role) *Fault {
	longest := role.MaxSession
	if longest == 0 {
		longest = time.Hour
	}
	switch {
	case !nameRule.MatchString(c.SessionName):
		return invalid(fmt.Sprintf("Value '%s' at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]*, 2 to 64", c.SessionName))
	case c.SourceIdentity != "" && (!nameRule.MatchString(c.SourceIdentity) || strings.HasPrefix(c.SourceIdentity, "aws:")):
		return invalid(fmt.Sprintf("Value '%s' at 'sourceIdentity' failed to satisfy constraint: [\\w+=,.@-]*, 2 to 64", c.SourceIdentity))
	case c.Duration < minDuration || c.Duration > maxDuration:
		return invalid("Value at 'durationSeconds' failed to satisfy constraint: 900 to 43200")
	case c.Duration > longest:
		return invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case utf8.RuneCountInString(c.Policy) > maxPolicy:
		return invalid("Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048")
	case len(c.PolicyARNs) > maxARNs || slices.ContainsFunc(c.PolicyARNs, func(arn string) bool { return !policyARN.MatchString(arn) }):
		return invalid("Value at 'policyArns' failed to satisfy constraint")
	}
	if c.Policy != "" {
		if refused := checkPolicy(c.Policy); refused != nil {
			return refused
		}
	}
	return checkTags(c)
}

func checkPolicy(text string) *Fault {
	malformed := &Fault{Code: "MalformedPolicyDocument", Message: "This policy contains invalid Json"}
	if !policyRule.MatchString(text) {
		return malformed
	}
	var doc struct {
		Version   string
		Statement []struct {
			Sid, Effect         string
			Action, NotAction   any
			Resource            any
			Condition           map[string]map[string]any
			Principal, NotAllow any
		}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(&doc) != nil || doc.Version != "2012-10-17" || len(doc.Statement) == 0 {
		return malformed
	}
	for _, st := range doc.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" || (st.Action == nil) == (st.NotAction == nil) || st.Resource == nil || st.Principal != nil || st.NotAllow != nil {
			return &Fault{Code: "MalformedPolicyDocument", Message: "Syntax errors in policy."}
		}
	}
	return nil
}

func checkTags(c *Call) *Fault {
	if len(c.Tags) > maxTags {
		return invalid("Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50")
	}
	folded := map[string]bool{}
	for k, v := range c.Tags {
		lower := strings.ToLower(k)
		if !tagKeyRule.MatchString(k) || utf8.RuneCountInString(k) > 128 || strings.HasPrefix(lower, "aws:") || folded[lower] {
			return invalid(fmt.Sprintf("Value '%s' at 'tags.key' failed to satisfy constraint", k))
		}
		if !tagRule.MatchString(v) || utf8.RuneCountInString(v) > 256 {
			return invalid(fmt.Sprintf("Value '%s' at 'tags.value' failed to satisfy constraint", v))
		}
		folded[lower] = true
	}
	for _, k := range c.TransitiveTags {
		if _, ok := c.Tags[k]; !ok {
			return invalid("Transitive tag key is not among the tags: " + k)
		}
	}
	return nil
}

// packed stands in for AWS's own way to pack policies and tags, which it does not tell: here a
// character is a byte of the room.
func (s *Server) packed(c *Call) (int, *Fault) {
	size := len(c.Policy)
	for _, arn := range c.PolicyARNs {
		size += len(arn)
	}
	for k, v := range c.Tags {
		size += len(k) + len(v)
	}
	percent := (size*100 + s.opt.PackedLimit - 1) / s.opt.PackedLimit
	if percent > 100 {
		return percent, &Fault{Code: "PackedPolicyTooLarge", Message: fmt.Sprintf("Packed size of session tags consumes %d%% of allotted space.", percent)}
	}
	return percent, nil
}
