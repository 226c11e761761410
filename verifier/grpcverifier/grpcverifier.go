// Package grpcverifier guards gRPC servers with a verifier.Verifier: the
// interceptors that package verifier's middleware is for net/http. It is a
// package of its own so that net/http servers do not link gRPC.
//
// It fails closed: a method without a rule is refused, and so is a stream that
// sends before it named a resource. A stream is checked again at each message:
// a revocation ends it.
package grpcverifier

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/verifier"
)

// Rule says what a method needs.
type Rule struct {
	Tool, Action string
	// Resource names what a request message is about, built with
	// scopes.Resource. For a stream it is asked for each message received.
	Resource func(ctx context.Context, request any) (string, error)
	// Opened, where set, names the resource of a stream from its context alone;
	// then Resource is not asked, and the server may send first.
	Opened func(ctx context.Context) (string, error)
}

// Guard holds the rules of a server's methods. It is immutable.
type Guard struct {
	verifier *verifier.Verifier
	rules    map[string]Rule
}

// New checks the rules, by full method name ("/package.Service/Method").
func New(v *verifier.Verifier, rules map[string]Rule) (*Guard, error) {
	if v == nil {
		return nil, errors.New("grpcverifier: no verifier")
	}
	g := &Guard{verifier: v, rules: make(map[string]Rule, len(rules))}
	for method, r := range rules {
		if !strings.HasPrefix(method, "/") {
			return nil, fmt.Errorf("grpcverifier: %q is no full method name", method)
		}
		if !scopes.ValidName(r.Tool) || !scopes.ValidName(r.Action) || r.Resource == nil && r.Opened == nil {
			return nil, fmt.Errorf("grpcverifier: the rule of %s needs a tool, an action and a resource function", method)
		}
		g.rules[method] = r
	}
	return g, nil
}

// Unary is the interceptor for unary methods.
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	rule, err := g.rule(info.FullMethod)
	if err != nil {
		return nil, err
	}
	claims, err := g.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if err := rule.allow(ctx, claims, req); err != nil {
		return nil, err
	}
	return handler(verifier.NewContext(ctx, claims), req)
}

// Stream is the interceptor for streaming methods.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	rule, err := g.rule(info.FullMethod)
	if err != nil {
		return err
	}
	claims, err := g.authenticate(ss.Context())
	if err != nil {
		return err
	}
	s := &stream{ServerStream: ss, guard: g, rule: rule, claims: claims}
	if rule.Opened != nil {
		if err := rule.allow(ss.Context(), claims, nil); err != nil {
			return err
		}
		s.named.Store(true)
	}
	return handler(srv, s)
}

func (g *Guard) rule(method string) (Rule, error) {
	r, ok := g.rules[method]
	if !ok {
		return Rule{}, status.Error(codes.PermissionDenied, "no rule allows this method")
	}
	return r, nil
}

// authenticate verifies the one bearer token of the call's metadata.
func (g *Guard) authenticate(ctx context.Context) (*verifier.Claims, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return nil, status.Error(codes.Unauthenticated, "one bearer token is needed")
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if raw = strings.Trim(raw, " "); !strings.EqualFold(scheme, wire.Bearer) || raw == "" {
		return nil, status.Error(codes.Unauthenticated, "one bearer token is needed")
	}
	claims, err := g.verifier.VerifyPresented(ctx, raw, verifier.Presented{Certificate: peerCertificate(ctx)})
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, verifier.ErrStale):
		return nil, status.Error(codes.Unavailable, verifier.Reason(err))
	default:
		return nil, status.Error(codes.Unauthenticated, verifier.Reason(err))
	}
}

func (r Rule) allow(ctx context.Context, claims *verifier.Claims, req any) error {
	var resource string
	var err error
	if r.Opened != nil {
		resource, err = r.Opened(ctx)
	} else {
		resource, err = r.Resource(ctx, req)
	}
	if err != nil || scopes.ParseResource(resource) != nil {
		return status.Error(codes.InvalidArgument, "the request names no valid resource")
	}
	if !claims.AllowsTool(r.Tool, r.Action, resource) {
		return status.Errorf(codes.PermissionDenied, "%s: %s:%s:%s", wire.ErrCodeInsufficientScope, r.Tool, r.Action, resource)
	}
	return nil
}

func peerCertificate(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil
	}
	return info.State.PeerCertificates[0]
}
