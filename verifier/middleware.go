package verifier

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/scopes"
)

// Require returns middleware that lets a request through only with a token
// that allows action on the resource that resource names for the request.
// resource builds it with scopes.Resource, from decoded path values; its error
// answers 400, after the token was checked, with no text of its own. Handlers
// find the token's claims with FromContext.
//
// The answers are those of RFC 6750: 401 without a token or with one that is
// not valid, 403 insufficient_scope with the scope that would do, 503 with
// Retry-After while the verifier is stale.
//
// A tool or action that is not a legal name, or a nil resource, is a mistake
// in the program: Require panics, so that it shows when the routes are built.
func (v *Verifier) Require(tool, action string, resource func(*http.Request) (string, error)) func(http.Handler) http.Handler {
	if !scopes.ValidName(tool) || !scopes.ValidName(action) || resource == nil {
		panic("verifier: Require needs the names of a tool and an action, and a resource function")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, refused := v.authenticate(r)
			if refused == nil {
				refused = v.authorize(r, claims, tool, action, resource)
			}
			if refused != nil {
				refused.write(w, v.metadataURL)
				return
			}
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), claims)))
		})
	}
}

// Authenticated is Require without a scope: for handlers that ask
// Claims.Allows themselves, once they know the resource.
func (v *Verifier) Authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, refused := v.authenticate(r)
		if refused != nil {
			refused.write(w, v.metadataURL)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), claims)))
	})
}

// Refuse answers 403 insufficient_scope, naming the scope that would do: for
// handlers behind Authenticated.
func (v *Verifier) Refuse(w http.ResponseWriter, tool, action, resource string) {
	insufficient(tool, action, resource).write(w, v.metadataURL)
}

func (v *Verifier) authenticate(r *http.Request) (*Claims, *refusal) {
	raw, bad := bearer(r)
	if bad != nil {
		return nil, bad
	}
	claims, err := v.VerifyPresented(r.Context(), raw, Presented{Certificate: peerCertificate(r)})
	if err != nil {
		v.log.DebugContext(r.Context(), "token refused", "error", err)
		refused := refusalOf(err)
		return nil, &refused
	}
	return claims, nil
}

func (v *Verifier) authorize(r *http.Request, claims *Claims, tool, action string, resource func(*http.Request) (string, error)) *refusal {
	name, err := resource(r)
	if err != nil {
		v.log.DebugContext(r.Context(), "request names no resource", "error", err)
		return badResource()
	}
	if claims.AllowsTool(tool, action, name) {
		return nil
	}
	if scopes.ParseResource(name) != nil {
		return badResource() // not canonical: no scope would allow it, so none is named
	}
	v.log.DebugContext(r.Context(), "scope missing", "jti", claims.ID, "tool", tool, "action", action)
	return insufficient(tool, action, name)
}

func badResource() *refusal {
	return &refusal{status: http.StatusBadRequest, code: wire.ErrCodeInvalidRequest, description: "the request names no valid resource"}
}

func insufficient(tool, action, resource string) *refusal {
	r := &refusal{status: http.StatusForbidden, code: wire.ErrCodeInsufficientScope, description: "the token does not allow this"}
	if s, err := scopes.Make(tool, action, resource); err == nil {
		r.scope = s.String()
	}
	return r
}

// peerCertificate is the leaf that the client proved to hold in the TLS handshake.
func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// ResourceMetadata serves the description of this resource server (RFC 9728
// section 3.2); mount it at MetadataPath. supported may be nil.
func (v *Verifier) ResourceMetadata(name string, supported ...string) http.Handler {
	body, err := json.Marshal(wire.ResourceMetadata{
		Resource: v.cfg.Resource, AuthorizationServers: []string{v.cfg.Issuer}, ScopesSupported: supported,
		BearerMethods: []string{"header"}, ResourceName: name,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err != nil || v.cfg.Resource == "" {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", wire.TypeJSON)
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Access-Control-Allow-Origin", "*") // public by nature; browsers' MCP clients read it
		_, _ = w.Write(body)
	})
}

// MetadataPath is the path at which to mount ResourceMetadata.
func (v *Verifier) MetadataPath() string {
	u, err := url.Parse(v.metadataURL)
	if err != nil || u.Path == "" {
		return wire.PathResourceMetadata
	}
	return u.Path
}
