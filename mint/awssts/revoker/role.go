package revoker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/writbroker/writ/mint/awssts/denylist"
)

// pass is what one look at a role came to.
type pass struct {
	entries []denylist.Entry // what the policy says now, as far as can be told
	wrote   bool             // it said something else before
	widened string           // how it denies more than was asked
}

// apply reads a role's policy, and writes it if it does not say what it should. What it reads
// may be old: only a pass that wrote nothing, some time after the last that did, says that the
// policy is there.
func (r *Revoker) apply(ctx context.Context, role string) (pass, error) {
	name, err := r.roleName(ctx, role)
	if err != nil {
		return pass{}, err
	}
	current, there, err := r.read(ctx, name, denylist.PolicyName)
	if err != nil {
		return pass{}, err
	}
	if !there {
		current = ""
	}
	said, err := denylist.Parse(current)
	if err != nil {
		return pass{}, err
	}
	w := r.wanted(ctx, role)
	base, now := w.keep(said), r.cfg.Now()
	merged, err := denylist.Merge(base, w.stand, now, 0)
	if err == nil && slices.Equal(merged.Entries, said) {
		return pass{entries: said, widened: w.widened(said, merged.Widened)}, nil
	}
	others, err := r.others(ctx, name)
	if err != nil {
		return pass{}, err
	}
	if merged, err = denylist.Merge(base, w.stand, now, others); err != nil {
		return pass{}, err
	}
	if slices.Equal(merged.Entries, said) {
		return pass{entries: said, widened: w.widened(said, merged.Widened)}, nil
	}
	r.writes(role, merged.Entries)
	return pass{merged.Entries, true, merged.Widened}, r.write(ctx, name, merged.Document)
}

// keep is the policy that is there, without what lifted rules brought into it: their denies,
// and wider ones that stood for them. What still should stand is put back by the merge, as
// narrow as it was asked for.
func (w want) keep(said []denylist.Entry) string {
	return denylist.Encode(slices.DeleteFunc(slices.Clone(said), func(e denylist.Entry) bool {
		return !w.asks(e) && slices.ContainsFunc(w.lifted, e.Holds)
	}))
}

// widened says how a policy that is there denies more than was asked, as far as it shows.
func (w want) widened(said []denylist.Entry, known string) string {
	if known != "" {
		return known
	}
	var wide []string
	for _, e := range said {
		switch {
		case w.asks(e):
		case e.Kind == denylist.WholeRole:
			return fmt.Sprintf("every session of the role issued before %s is denied", e.Before.Format(time.RFC3339))
		case e.Kind == denylist.SourceIdentity && slices.ContainsFunc(w.stand, func(s denylist.Entry) bool { return s.Kind == denylist.SessionName && e.Holds(s) }):
			wide = append(wide, e.Value)
		}
	}
	if len(wide) == 0 {
		return ""
	}
	return fmt.Sprintf("every session of source identity %s is denied", strings.Join(wide, ", "))
}

// asks reports whether an entry of a policy is asked for as it is.
func (w want) asks(e denylist.Entry) bool {
	return slices.ContainsFunc(w.stand, func(s denylist.Entry) bool {
		s.Identity = ""
		return s == e
	})
}

// roleName is the name that IAM takes, of a role that is the one meant: in another account, a
// role of the same name is another.
func (r *Revoker) roleName(ctx context.Context, role string) (string, error) {
	name := role[strings.LastIndexByte(role, '/')+1:]
	r.mu.Lock()
	known := r.roles[role] != nil && r.roles[role].verified
	r.mu.Unlock()
	if known {
		return name, nil
	}
	out, err := call(ctx, r, func(ctx context.Context) (*iam.GetRoleOutput, error) {
		return r.client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
	})
	if err != nil {
		return "", err
	}
	if out.Role == nil || aws.ToString(out.Role.Arn) != role {
		return "", ErrAccount
	}
	r.mu.Lock()
	r.role(role).verified = true
	r.mu.Unlock()
	return name, nil
}

// read gives a policy's document, decoded; false if there is none.
func (r *Revoker) read(ctx context.Context, name, policy string) (string, bool, error) {
	out, err := call(ctx, r, func(ctx context.Context) (*iam.GetRolePolicyOutput, error) {
		return r.client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String(policy)})
	})
	if errors.Is(err, ErrNoEntity) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	// RFC 3986, as IAM says: a plus is a plus.
	document, err := url.PathUnescape(aws.ToString(out.PolicyDocument))
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", denylist.ErrForeign, err)
	}
	return document, true, nil
}

// maxPages bounds the list of a role's policies, which fit into 10,240 characters.
const maxPages = 20

// others is the size of the role's other inline policies, as IAM counts it.
func (r *Revoker) others(ctx context.Context, name string) (int, error) {
	size := 0
	var marker *string
	for range maxPages {
		out, err := call(ctx, r, func(ctx context.Context) (*iam.ListRolePoliciesOutput, error) {
			return r.client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: aws.String(name), Marker: marker})
		})
		if err != nil {
			return 0, err
		}
		for _, policy := range out.PolicyNames {
			if policy == denylist.PolicyName {
				continue
			}
			document, _, err := r.read(ctx, name, policy)
			if err != nil {
				return 0, err
			}
			size += Size(document)
		}
		if !out.IsTruncated || out.Marker == nil {
			return size, nil
		}
		marker = out.Marker
	}
	return 0, errors.New("IAM's list of the role's policies has no end")
}

// Size is that of a document as IAM counts it: in characters, white space aside.
func Size(document string) int {
	n := 0
	for _, c := range document {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}

// write puts the policy there, or takes it away where it would say nothing.
func (r *Revoker) write(ctx context.Context, name, document string) error {
	if document == "" {
		_, err := call(ctx, r, func(ctx context.Context) (*iam.DeleteRolePolicyOutput, error) {
			return r.client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String(denylist.PolicyName)})
		})
		if errors.Is(err, ErrNoEntity) {
			return nil // another replica was first
		}
		return err
	}
	_, err := call(ctx, r, func(ctx context.Context) (*iam.PutRolePolicyOutput, error) {
		return r.client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName: aws.String(name), PolicyName: aws.String(denylist.PolicyName), PolicyDocument: aws.String(document),
		})
	})
	return err
}

// call makes one call, within bounds: so many at once, so long, and none while IAM is away.
func call[T any](ctx context.Context, r *Revoker, do func(context.Context) (T, error)) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	select {
	case r.gate <- struct{}{}:
		defer func() { <-r.gate }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	entered, err := r.breaker.Enter()
	if err != nil {
		return none, err
	}
	out, err := do(ctx)
	named := nameFault(ctx, err)
	r.logChange(r.breaker.Leave(entered, outcomeOf(ctx, named), named))
	if named != nil {
		return none, named
	}
	return out, nil
}

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)
