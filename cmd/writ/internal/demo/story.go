package demo

import (
	"context"
	"net/http"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// part is one step of the story: its name, which does not change, and what it does.
type part struct {
	name, title string
	run         func(ctx context.Context, s *story) error
}

// parts is the story in order. Each part leaves in the story what later ones need.
func parts() []part {
	return []part{
		{"read", "An agent exchanges its workload token for a narrow one, and reads with it", read},
		{"write", "It is refused a write, asks for just that, and writes", write},
		{"restricted", "It asks for a pattern with restricted tables in it; the refusal's decision can be opened", restricted},
		{"delegation", "It acts for a person, and only within what that person may do", delegation},
		{"sub-agent", "A second agent gets a narrower token from it, which does not outlive it", subAgent},
		{"revoke-parent", "Security ops revokes the parent token, and the child dies with it", revokeParent},
		{"revoke-role", "One rule revokes a role; tokens minted after it are untouched", revokeRole},
		{"rotate", "The signing key rotates, and tokens of the old one still verify", rotate},
		{"audit", "The audit log has all of it, and shows when somebody changes it", auditLog},
	}
}

// story is what happened so far.
type story struct {
	world     *dev.World
	http      *http.Client
	samples   map[string]dev.Sample
	exchanges []Exchange // of the part that runs
	keys      keySet     // as the broker published them last

	own    *granted // the agent's, for itself: reads
	writer *granted // the agent's, for itself: writes
	parent *granted // the agent's, for the person
	child  *granted // the sub-agent's, from parent

	issued  map[string]bool // the jti of every token that was handed out
	refused []string        // the decision of every refusal by policy
	rules   []string        // the id of every revocation rule
	oldKey  string          // kid that signed until the rotation
}

func (s *story) sample(name string) dev.Sample { return s.samples[name] }

// What the story is about, in the shipped bundle and in the resource server's data.
const (
	readEU     = "warehouse:read:sales/eu/*"
	readOrders = "warehouse:read:sales/eu/orders"
	readUS     = "warehouse:read:sales/us/orders"
	readAll    = "warehouse:read:sales/**"
	writeEU    = "warehouse:write:sales/eu/orders"

	pathOrders  = "/data/eu/orders"
	pathRefunds = "/data/eu/refunds"
	pathUS      = "/data/us/orders"

	roleReader = "sales-reader"
	roleWriter = "sales-writer"
	task       = "quarterly-report"
)
