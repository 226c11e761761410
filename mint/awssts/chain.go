package awssts

import (
	"context"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// chain remembers of which kind the broker's own credentials are.
type chain struct {
	mu      sync.Mutex
	id      string // access key id that the answer is of
	chained bool
}

// chained reports whether the broker's credentials are a role's, so that sessions made with
// them live an hour at most. Where nobody says, they count as a role's: a session that ends
// early is renewed, and one that is asked for too long is refused.
func (m *Minter) chained(ctx context.Context) bool {
	c, err := m.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return true // the call itself will say what is wrong
	}
	if c.SessionToken == "" {
		return false
	}
	m.chain.mu.Lock()
	known, chained := m.chain.id == c.AccessKeyID, m.chain.chained
	m.chain.mu.Unlock()
	if known {
		return chained
	}
	out, err := m.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return true
	}
	chained = !strings.Contains(aws.ToString(out.Arn), ":user/") && !strings.Contains(aws.ToString(out.Arn), ":federated-user/")
	m.chain.mu.Lock()
	m.chain.id, m.chain.chained = c.AccessKeyID, chained
	m.chain.mu.Unlock()
	return chained
}
