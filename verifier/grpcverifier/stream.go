package grpcverifier

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/writbroker/writ/verifier"
)

// stream checks the token again at each message, and each request message
// against the rule.
type stream struct {
	grpc.ServerStream
	guard  *Guard
	rule   Rule
	claims *verifier.Claims
	named  atomic.Bool // a resource was named and allowed
}

// Context carries the claims.
func (s *stream) Context() context.Context {
	return verifier.NewContext(s.ServerStream.Context(), s.claims)
}

// RecvMsg receives a message that the token allows.
func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := s.stillGood(); err != nil {
		return err
	}
	if s.rule.Opened != nil {
		return nil
	}
	if err := s.rule.allow(s.ServerStream.Context(), s.claims, m); err != nil {
		s.named.Store(false)
		return err
	}
	s.named.Store(true)
	return nil
}

// SendMsg sends only behind a message that was allowed.
func (s *stream) SendMsg(m any) error {
	if !s.named.Load() {
		return status.Error(codes.PermissionDenied, "the stream has named no allowed resource")
	}
	if err := s.stillGood(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

func (s *stream) stillGood() error {
	_, err := s.guard.authenticate(s.ServerStream.Context())
	return err
}
