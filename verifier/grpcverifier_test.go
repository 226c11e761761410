package verifier_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/verifier"
	"github.com/writbroker/writ/verifier/grpcverifier"
)

// The gRPC guard is tested here because it needs the same broker as the rest.

type message = grpc_health_v1.HealthCheckRequest

// rows serves three methods over health messages, whose Service names a row.
var rows = grpc.ServiceDesc{
	ServiceName: "rows", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Get", Handler: get("/rows/Get")},
		{MethodName: "Unlisted", Handler: get("/rows/Unlisted")},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: talk},
		{StreamName: "Push", ServerStreams: true, ClientStreams: true, Handler: push},
		{StreamName: "Hasty", ServerStreams: true, ClientStreams: true, Handler: push},
	},
}

func get(method string) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(srv any, ctx context.Context, decode func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
		in := new(message)
		if err := decode(in); err != nil {
			return nil, err
		}
		return guard(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			c, ok := verifier.FromContext(ctx)
			if !ok {
				return nil, errors.New("no claims")
			}
			return &message{Service: c.Subject}, nil
		})
	}
}

// talk answers each message; push sends without being asked.
func talk(_ any, s grpc.ServerStream) error {
	for {
		in := new(message)
		if err := s.RecvMsg(in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if _, ok := verifier.FromContext(s.Context()); !ok {
			return errors.New("no claims")
		}
		if err := s.SendMsg(in); err != nil {
			return err
		}
	}
}

func push(_ any, s grpc.ServerStream) error { return s.SendMsg(&message{Service: "pushed"}) }

func byService(_ context.Context, req any) (string, error) {
	return scopes.Resource("sales", "eu", req.(*message).GetService())
}

func serveRows(t *testing.T, v *verifier.Verifier) *grpc.ClientConn {
	t.Helper()
	always := func(context.Context) (string, error) { return scopes.Resource("sales", "eu", "q1") }
	guard, err := grpcverifier.New(v, map[string]grpcverifier.Rule{
		"/rows/Get":   {Tool: "warehouse", Action: "read", Resource: byService},
		"/rows/Talk":  {Tool: "warehouse", Action: "read", Resource: byService},
		"/rows/Push":  {Tool: "warehouse", Action: "read", Opened: always},
		"/rows/Hasty": {Tool: "warehouse", Action: "read", Resource: byService},
	})
	must(t, err)
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	server.RegisterService(&rows, nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///rows", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); <-done })
	return conn
}

func withToken(ctx context.Context, values ...string) context.Context {
	for _, v := range values {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
	}
	return ctx
}

func TestGRPCUnary(t *testing.T) {
	b := newBroker(t)
	conn := serveRows(t, b.run())
	good := "Bearer " + b.mint()
	for _, tc := range []struct {
		name, method, row string
		auth              []string
		want              codes.Code
	}{
		{"a good token", "/rows/Get", "q1", []string{good}, codes.OK},
		{"no token", "/rows/Get", "q1", nil, codes.Unauthenticated},
		{"two tokens", "/rows/Get", "q1", []string{good, good}, codes.Unauthenticated},
		{"another scheme", "/rows/Get", "q1", []string{"Basic dTpw"}, codes.Unauthenticated},
		{"nonsense", "/rows/Get", "q1", []string{"Bearer x"}, codes.Unauthenticated},
		{"no such resource", "/rows/Get", "..", []string{good}, codes.InvalidArgument},
		{"a method without a rule", "/rows/Unlisted", "q1", []string{good}, codes.PermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := new(message)
			err := conn.Invoke(withToken(t.Context(), tc.auth...), tc.method, &message{Service: tc.row}, out)
			if status.Code(err) != tc.want {
				t.Errorf("got %v", err)
			}
			if err == nil && out.GetService() != "user:alice" {
				t.Errorf("the handler saw %q", out.GetService())
			}
		})
	}
}

func TestGRPCStaleIsUnavailable(t *testing.T) {
	b := newBroker(t)
	conn := serveRows(t, b.idle())
	err := conn.Invoke(withToken(t.Context(), "Bearer "+b.mint()), "/rows/Get", &message{Service: "q1"}, new(message))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func open(t *testing.T, conn *grpc.ClientConn, method, auth string) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(withToken(t.Context(), auth), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	must(t, err)
	return s
}

func exchange(s grpc.ClientStream, row string) error {
	if err := s.SendMsg(&message{Service: row}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.RecvMsg(new(message))
}

func TestGRPCStreamIsCheckedAtEachMessage(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	conn := serveRows(t, v)
	auth := "Bearer " + b.mint()
	s := open(t, conn, "/rows/Talk", auth)
	must(t, exchange(s, "q1"))
	must(t, exchange(s, "q2"))
	if err := exchange(s, ".."); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a bad row: %v", err)
	}
	s = open(t, conn, "/rows/Talk", auth)
	must(t, exchange(s, "q1"))
	b.revoke(revocation.SelectSubject, "user:alice")
	b.reached(v)
	if err := exchange(s, "q2"); status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "rule") {
		t.Errorf("an open stream of a revoked token: %v", err)
	}
}

func TestGRPCServerThatSpeaksFirst(t *testing.T) {
	b := newBroker(t)
	conn := serveRows(t, b.run())
	auth := "Bearer " + b.mint()
	if err := open(t, conn, "/rows/Hasty", auth).RecvMsg(new(message)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("sent before a resource was named: %v", err)
	}
	must(t, open(t, conn, "/rows/Push", auth).RecvMsg(new(message)))
	if err := open(t, conn, "/rows/Push", "Bearer x").RecvMsg(new(message)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
}

func TestGRPCRulesThatAreRefused(t *testing.T) {
	b := newBroker(t)
	v := b.idle()
	for name, rules := range map[string]map[string]grpcverifier.Rule{
		"no full method name":  {"Get": {Tool: "warehouse", Action: "read", Resource: byService}},
		"no resource function": {"/rows/Get": {Tool: "warehouse", Action: "read"}},
		"any action":           {"/rows/Get": {Tool: "warehouse", Action: "*", Resource: byService}},
		"no tool":              {"/rows/Get": {Action: "read", Resource: byService}},
	} {
		if _, err := grpcverifier.New(v, rules); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := grpcverifier.New(nil, nil); err == nil {
		t.Error("no verifier: accepted")
	}
}
