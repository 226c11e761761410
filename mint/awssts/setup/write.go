package setup

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// Output is all of a setup, as one JSON value.
type Output struct {
	Mode     Mode                       `json:"mode"`
	Provider *Provider                  `json:"oidc_provider,omitempty"`
	Trust    map[string]json.RawMessage `json:"trust_policies"` // by the role's ARN
	Broker   json.RawMessage            `json:"broker_policy,omitempty"`
	Revoker  json.RawMessage            `json:"revoker_policy,omitempty"`
}

// Output checks the plan and writes all of it.
func (p *Plan) Output() (*Output, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	out := &Output{Mode: p.Mode, Trust: map[string]json.RawMessage{}}
	if provider, ok := p.Provider(); ok {
		out.Provider = &provider
	}
	for _, r := range p.Roles {
		out.Trust[r] = raw(p.Trust(r))
	}
	out.Broker = raw(p.BrokerPolicy())
	if p.Revoke {
		out.Revoker = raw(p.RevokerPolicy())
	}
	return out, nil
}

func raw(d iam.Document) json.RawMessage {
	if len(d.Statements) == 0 {
		return nil
	}
	return json.RawMessage(d.Encode())
}

// Terraform checks the plan and writes all of it as Terraform's configuration. The roles'
// own permissions, which bound what any scope can give, stay the operator's.
func (p *Plan) Terraform() (string, error) {
	if err := p.Check(); err != nil {
		return "", err
	}
	var b strings.Builder
	if provider, ok := p.Provider(); ok {
		fmt.Fprintf(&b, "resource \"aws_iam_openid_connect_provider\" \"writ\" {\n  url            = %s\n  client_id_list = [%s]\n}\n\n",
			quote(provider.URL), quote(provider.Audiences[0]))
	}
	taken := map[string]bool{}
	for _, r := range p.Roles {
		path, name := "/", r[strings.IndexByte(r, '/')+1:]
		if cut := strings.LastIndexByte(name, '/'); cut >= 0 {
			path, name = "/"+name[:cut+1], name[cut+1:]
		}
		fmt.Fprintf(&b, "# %s\nresource \"aws_iam_role\" %q {\n  name = %s\n  path = %s\n\n  assume_role_policy = %s}\n\n",
			r, label(name, taken), quote(name), quote(path), heredoc(p.Trust(r)))
	}
	for _, policy := range []struct {
		name string
		d    iam.Document
		want bool
	}{{"writ-broker", p.BrokerPolicy(), true}, {"writ-revoker", p.RevokerPolicy(), p.Revoke}} {
		if policy.want && len(policy.d.Statements) > 0 {
			fmt.Fprintf(&b, "resource \"aws_iam_policy\" %q {\n  name   = %s\n  policy = %s}\n\n", policy.name, quote(policy.name), heredoc(policy.d))
		}
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// label is a name of a Terraform resource that no other role has.
func label(role string, taken map[string]bool) string {
	base := "writ_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, role)
	name := base
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	taken[name] = true
	return name
}

// literal keeps Terraform from reading "${" and "%{" as its own.
func literal(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text)
}

func quote(text string) string {
	return `"` + literal(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)) + `"`
}

func heredoc(d iam.Document) string {
	var b strings.Builder
	b.WriteString("<<-JSON\n")
	for line := range strings.Lines(literal(d.Indent())) {
		b.WriteString("    " + line)
	}
	return b.String() + "\n  JSON\n"
}
