package verifier

import (
	"context"

	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// Claims are the claims of a verified token. They are shared with the cache of
// verified tokens: read them, never change them.
type Claims struct {
	*token.Claims

	tool string
	fold map[string]bool
}

// Allows reports whether the token allows action on resource, a concrete
// canonical resource of the verifier's configured tool (build it with
// scopes.Resource). It is false where Config.Tool is empty.
func (c *Claims) Allows(action, resource string) bool {
	return c != nil && c.AllowsTool(c.tool, action, resource)
}

// AllowsTool reports whether the token allows action on resource of tool. A
// resource that is not canonical, or has a wildcard, is not allowed.
func (c *Claims) AllowsTool(tool, action, resource string) bool {
	if c == nil || c.Claims == nil || tool == "" {
		return false
	}
	if c.fold[tool] {
		folded, err := scopes.FoldResource(resource)
		if err != nil {
			return false
		}
		resource = folded
	}
	return c.Scope.Allows(tool, action, resource)
}

type claimsKey struct{}

// NewContext returns ctx with c, as the middleware hands it to handlers.
func NewContext(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, claimsKey{}, c)
}

// FromContext returns the claims of the request that the middleware let
// through; false where it did not run.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(*Claims)
	return c, ok
}
