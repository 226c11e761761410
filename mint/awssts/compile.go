package awssts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/mint/awssts/iam"
	"github.com/writbroker/writ/scopes"
)

// Limits of AWS, in what a session may be given.
const (
	MaxPolicySize  = 2048 // characters of an inline session policy
	MaxManagedARNs = 10
)

// Options of Compile.
type Options struct {
	// Role names the role, by its name in the catalog or its ARN; empty means each tool's only
	// or default one.
	Role string
	// Until, if not zero, is when the policy ends to allow anything: for a life shorter than
	// the 15 minutes that STS gives at least. It is rounded down to the second.
	Until time.Time
	// Plain is for MinIO, and what is like it. It knows no policy variables: a name that has a
	// '*', a '?' or a "${" in it, which need one, is refused. And its STS takes no NotAction:
	// the statement that closes the policy is left out. There what a session policy does not
	// allow is denied whatever else does, a resource's own policy among it (MinIO since
	// October 2025; before, a session could make itself keys without end).
	Plain bool
	// Limit is the greatest size of the inline policy; zero means MaxPolicySize.
	Limit int
}

// Policy is what a session is given, besides its role, so that it can do what the scopes say.
type Policy struct {
	Role       string // ARN
	JSON       string // the inline session policy
	Size       int    // of JSON, in characters, as AWS counts them
	ManagedARN []string
	Statements []Explained // of JSON, in its order
}

// Explained is why a statement is there.
type Explained struct {
	Statement iam.Statement
	Size      int
	Scopes    []scopes.Scope // that it is there for; nil: for all
	Why       string
}

// Digest names the policy, in hex, for records: equal digests, equal rights at one role.
func (p *Policy) Digest() string {
	sum := sha256.Sum256([]byte(p.JSON + "\n" + strings.Join(p.ManagedARN, "\n")))
	return hex.EncodeToString(sum[:])
}

// Compile makes the session policy of a set of scopes, whose actions are all named. What it
// allows is a subset of the scopes; it is all of them, or the error says why not and what to
// ask for: a *ScopeError (IAM cannot say it), a *SizeError (it is too long), a *RoleError, or
// ErrNothing. Equal sets give equal policies.
func (c *Catalog) Compile(set scopes.Set, opt Options) (*Policy, error) {
	role, err := c.Role(set, opt.Role)
	if err != nil {
		return nil, err
	}
	all, err := c.grants(set, role, opt)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(opt.Limit, MaxPolicySize)
	k := &compilation{set: set, all: all, until: opt.Until, plain: opt.Plain}
	written, err := k.statements(all, nil)
	if err != nil {
		return nil, err
	}
	p := k.policy(role, written, nil)
	if p.Size <= limit {
		return p, nil
	}
	if fit, err := c.withManaged(k, role, limit); fit != nil || err != nil {
		return fit, err
	}
	return nil, k.tooLarge(written, p.Size, limit)
}

// grant is one scope on one kind of resource.
type grant struct {
	scope    int // its number in the set
	target   *target
	path     pattern // where the resource depends on the scope
	resource string  // IAM pattern of the ARN
	deny     bool    // some deny must be looked for: it is no single resource
}

// grants resolves the scopes.
func (c *Catalog) grants(set scopes.Set, role string, opt Options) ([]grant, error) {
	all := make([]grant, 0, set.Len())
	number := 0
	for s := range set.All() {
		targets := c.tools[s.Tool()].targets[role][s.Action()]
		if len(targets) == 0 {
			return nil, &ScopeError{Scope: s, Problem: "the action is not in AWS", Ask: "ask for one of: " + strings.Join(sortedKeys(c.tools[s.Tool()].targets[role]), ", ")}
		}
		// What no resource of the scope stands in reaches all that the action does, whatever was granted.
		if s.Resource() != "**" && !slices.ContainsFunc(targets, func(t target) bool { return t.place != nil }) {
			return nil, &ScopeError{Scope: s, Problem: "the action is not about single resources in AWS", Ask: "ask for " + s.Tool() + ":" + s.Action() + ":**"}
		}
		for i := range targets {
			t := &targets[i]
			g := grant{scope: number, target: t, resource: t.resource}
			if t.place != nil {
				var err error
				if g.path, err = t.resolve(s); err != nil {
					return nil, err
				}
				text := t.place.glob(g.path)
				if opt.Plain && iam.HasVariable(text) {
					return nil, &ScopeError{Scope: s, Problem: "a name with '*', '?' or '${' in it can be told from a pattern by AWS alone", Ask: "ask for a resource without it"}
				}
				if t.prefix == "" {
					g.resource = text
					g.deny = !g.path.concrete()
				}
			}
			all = append(all, g)
		}
		number++
	}
	return all, nil
}

// members is a set of scopes, by number: a set has at most 64.
type members uint64

func only(scope int) members { return 1 << scope }

func (m members) one() bool { return bits.OnesCount64(uint64(m)) == 1 }

// compilation is one run of Compile.
type compilation struct {
	set   scopes.Set
	all   []grant // of the whole set: no deny may cut one of them
	until time.Time
	plain bool
}

// statement is a statement with what it is there for.
type statement struct {
	iam.Statement
	scopes members
	why    string
	shares []share
}

// share is what one element of a statement takes, and for whom.
type share struct {
	scopes members
	size   int
}

// statements says what the inline policy says where managed policies allow the rest of the
// set. Their ARNs are only looked at for whether there are any.
func (k *compilation) statements(inline []grant, arns []string) ([]statement, error) {
	written := k.allows(inline)
	lists, err := k.lists(inline)
	if err != nil {
		return nil, err
	}
	written = append(written, lists...)
	if !k.until.IsZero() {
		for i := range written {
			written[i].Conditions = ordered(append(slices.Clone(written[i].Conditions), iam.Condition{
				Operator: "DateLessThan", Key: "aws:CurrentTime", Values: []string{instant(k.until)},
			}))
		}
	}
	denies, err := k.denies(inline)
	if err != nil {
		return nil, err
	}
	written = append(written, denies...)
	if !k.until.IsZero() && len(arns) > 0 {
		written = append(written, statement{Statement: iam.Statement{
			Effect: iam.Deny, Actions: []string{"*"}, Resources: []string{"*"},
			Conditions: []iam.Condition{{Operator: "DateGreaterThanEquals", Key: "aws:CurrentTime", Values: []string{instant(k.until)}}},
		}, why: "the managed policies know no time"})
	}
	if k.plain {
		return written, nil
	}
	return append(written, statement{Statement: iam.Statement{
		Effect: iam.Deny, NotActions: k.actions(), Resources: []string{"*"},
	}, why: "nothing else, whatever a resource's own policy says"}), nil
}

// actions are all that the set grants, sorted.
func (k *compilation) actions() []string {
	var all []string
	for i := range k.all {
		all = append(all, k.all[i].target.actions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func instant(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

func ordered(conditions []iam.Condition) []iam.Condition {
	slices.SortStableFunc(conditions, func(a, b iam.Condition) int {
		return cmp.Or(strings.Compare(a.Operator, b.Operator), strings.Compare(a.Key, b.Key))
	})
	return conditions
}

func (k *compilation) policy(role string, written []statement, arns []string) *Policy {
	p := &Policy{Role: role, ManagedARN: arns}
	var d iam.Document
	for i := range written {
		w := &written[i]
		d.Statements = append(d.Statements, w.Statement)
		p.Statements = append(p.Statements, Explained{Statement: w.Statement, Size: w.Size(), Scopes: k.named(w.scopes), Why: w.why})
	}
	p.JSON = d.Encode()
	p.Size = iam.Size(p.JSON)
	return p
}

func (k *compilation) named(m members) []scopes.Scope {
	var all []scopes.Scope
	for ; m != 0; m &= m - 1 {
		all = append(all, k.set.At(bits.TrailingZeros64(uint64(m))))
	}
	return all
}

// tooLarge says what each scope costs: what is in the policy for it alone.
func (k *compilation) tooLarge(written []statement, size, limit int) error {
	costs := make([]Cost, k.set.Len())
	for i := range costs {
		costs[i].Scope = k.set.At(i)
	}
	shared := size
	charge := func(m members, n int) {
		if m.one() {
			costs[bits.TrailingZeros64(uint64(m))].Size += n
			shared -= n
		}
	}
	for i := range written {
		if w := &written[i]; w.scopes.one() {
			charge(w.scopes, w.Size())
			continue
		}
		for _, s := range written[i].shares {
			charge(s.scopes, s.size)
		}
	}
	slices.SortStableFunc(costs, func(a, b Cost) int { return cmp.Compare(b.Size, a.Size) })
	return &SizeError{Size: size, Limit: limit, Shared: shared, Costs: costs}
}

// conflict is the error for a scope that cannot be cut to its depth beside others.
func (k *compilation) conflict(scope int, with members) error {
	return &ScopeError{
		Scope: k.set.At(scope), With: k.named(with),
		Problem: "IAM's '*' reaches below it, and what would be denied there is granted by others",
		Ask:     fmt.Sprintf("ask for them apart, or for %s", widened(k.set.At(scope))),
	}
}

// widened is the scope that holds s and can stand beside others below it.
func widened(s scopes.Scope) string {
	before, _, _ := strings.Cut(s.Resource(), "*")
	cut := strings.LastIndexByte(before, '/') + 1
	return s.Tool() + ":" + s.Action() + ":" + before[:cut] + "** if that much may be granted"
}
