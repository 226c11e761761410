package broker_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/token"
)

func TestAnAgentForItself(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	issued, err := w.exchange(w.workload("analyst"), task("report-7"))
	if err != nil {
		t.Fatal(err)
	}
	c, kid := w.Claims(t, issued.Token)
	want := &token.Claims{
		Issuer: brokertest.Audience, Subject: "k8s:analyst", ClientID: "k8s:analyst", Audience: []string{warehouse},
		IssuedAt: w.Now().Unix(), Expiry: w.Now().Add(brokertest.DefaultTTL).Unix(), ID: c.ID, Scope: c.Scope,
		Roles: []string{"reader"}, Task: "report-7", Rev: w.Index.Position(), Policy: w.Policy.Current().Short(),
		Attributes: token.Attributes{"k8s:analyst": {}}, // it is known to have none that a condition reads
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("claims %+v\nwant   %+v", c, want)
	}
	if c.Scope.String() != readEU || issued.Scope != readEU {
		t.Errorf("scope %q, answer says %q", c.Scope, issued.Scope)
	}
	if issued.ExpiresIn != brokertest.DefaultTTL || issued.TokenType != broker.TokenTypeAccessToken || issued.Bound {
		t.Errorf("answer %+v", issued)
	}
	records := w.Records(t, audit.KindExchange)
	if len(records) != 1 || records[0].TokenID != c.ID || records[0].DecisionID != issued.DecisionID ||
		records[0].Outcome != audit.Allow || records[0].Detail["kid"] != kid || records[0].Trace == nil {
		t.Errorf("audit log holds %+v", records)
	}
}

func TestAnAgentForAUser(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	_, c := w.minted(w.person("alice"), actor(w.workload("analyst")))
	if c.Subject != "user:alice" || c.ClientID != "k8s:analyst" || !slices.Equal(c.Actor.Chain(), []string{"k8s:analyst"}) {
		t.Errorf("sub %s, client %s, act %v", c.Subject, c.ClientID, c.Actor.Chain())
	}
	if len(c.Ancestors) != 0 {
		t.Errorf("a foreign token is no ancestor: %v", c.Ancestors)
	}
}

func TestTheClientIsTheActor(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	for name, how := range map[string]struct {
		change change
		agent  string
	}{
		"by assertion":   {func(r *broker.ExchangeRequest) { r.ClientAssertion = w.workload("analyst") }, "k8s:analyst"},
		"by certificate": {w.certificate("agent"), "spiffe://prod.example/agent"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := w.minted(w.person("alice"), how.change)
			if c.Subject != "user:alice" || !slices.Equal(c.Actor.Chain(), []string{how.agent}) {
				t.Errorf("sub %s, act %v", c.Subject, c.Actor.Chain())
			}
		})
	}
	w.refused(broker.ErrActorToken, w.person("alice"), actor(w.workload("helper")), func(r *broker.ExchangeRequest) {
		r.ClientAssertion = w.workload("analyst")
	})
}

func TestASubAgent(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	parent, p := w.minted(w.person("alice"), actor(w.workload("analyst")), scope(readWide), task("t1"))
	_, kid := w.Claims(t, parent)
	w.Pass(t, 10*time.Minute)

	child, c := w.minted(parent, actor(w.workload("helper")))
	if c.Subject != "user:alice" || c.ClientID != "k8s:helper" ||
		!slices.Equal(c.Actor.Chain(), []string{"k8s:helper", "k8s:analyst"}) {
		t.Errorf("sub %s, client %s, act %v", c.Subject, c.ClientID, c.Actor.Chain())
	}
	if c.Expiry > p.Expiry {
		t.Errorf("the child outlives its parent by %d s", c.Expiry-p.Expiry)
	}
	if c.Task != "t1" {
		t.Errorf("the child has task %q", c.Task)
	}
	first := token.Ancestor{ID: p.ID, KeyID: kid}
	if !slices.Equal(c.Ancestors, []token.Ancestor{first}) {
		t.Errorf("anc %v", c.Ancestors)
	}
	_, grandchild := w.minted(child, actor(w.workload("helper2")))
	if want := []token.Ancestor{{ID: c.ID, KeyID: kid}, first}; !slices.Equal(grandchild.Ancestors, want) {
		t.Errorf("anc %v, want %v", grandchild.Ancestors, want)
	}
	if got := grandchild.Actor.Chain(); !slices.Equal(got, []string{"k8s:helper2", "k8s:helper", "k8s:analyst"}) {
		t.Errorf("act %v", got)
	}
}

func TestNarrowingItself(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	for name, start := range map[string]func() string{
		"its own":   func() string { return w.token(w.workload("analyst"), scope(readWide)) },
		"delegated": func() string { return w.token(w.person("alice"), actor(w.workload("analyst")), scope(readWide)) },
	} {
		t.Run(name, func(t *testing.T) {
			parent := start()
			p, _ := w.Claims(t, parent)
			_, c := w.minted(parent, scope("warehouse:read:sales/eu/q1"))
			if c.Subject != p.Subject || c.ClientID != p.ClientID || !slices.Equal(c.Actor.Chain(), p.Actor.Chain()) {
				t.Errorf("from %+v to %+v", p, c)
			}
			if c.Scope.String() != "warehouse:read:sales/eu/q1" || c.Expiry > p.Expiry || len(c.Ancestors) != 1 {
				t.Errorf("scope %s, expiry %d, anc %v", c.Scope, c.Expiry, c.Ancestors)
			}
			// The agent says once more who it is: no new link in the chain.
			_, again := w.minted(parent, scope("warehouse:read:sales/eu/q1"), actor(w.workload("analyst")))
			if !slices.Equal(again.Actor.Chain(), p.Actor.Chain()) {
				t.Errorf("act %v", again.Actor.Chain())
			}
		})
	}
}

func TestTargets(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	audience := func(names ...string) change { return func(r *broker.ExchangeRequest) { r.Audiences = names } }
	resource := func(uris ...string) change { return func(r *broker.ExchangeRequest) { r.Resources = uris } }
	both := "tickets:read:open/1 " + readEU
	for name, row := range map[string]struct {
		changes []change
		want    []string // nil = refused
	}{
		"derived from the scopes":           {[]change{scope(both)}, []string{tickets, warehouse}},
		"by audience":                       {[]change{audience(warehouse)}, []string{warehouse}},
		"by resource":                       {[]change{resource(warehouse)}, []string{warehouse}},
		"one of each":                       {[]change{scope(both), audience(warehouse), resource(tickets)}, []string{tickets, warehouse}},
		"a scope of another target":         {[]change{scope(both), audience(warehouse)}, nil},
		"an unknown audience":               {[]change{audience("https://unknown.example")}, nil},
		"an unknown resource":               {[]change{resource("https://unknown.example")}, nil},
		"a resource that is no URI":         {[]change{resource("warehouse")}, nil},
		"a resource with a fragment":        {[]change{resource(warehouse + "#a")}, nil},
		"a resource with an empty fragment": {[]change{resource(warehouse + "#")}, nil},

		"AWS's audience":                  {[]change{audience("sts.amazonaws.com")}, nil},
		"AWS's audience in capitals":      {[]change{audience("STS.amazonaws.com")}, nil},
		"AWS's audience as URI":           {[]change{resource("https://sts.amazonaws.com/")}, nil},
		"AWS's audience of a region":      {[]change{resource("https://sts.eu-west-1.amazonaws.com")}, nil},
		"AWS's audience in China":         {[]change{audience("sts.cn-north-1.amazonaws.com.cn")}, nil},
		"Google's audience of a pool":     {[]change{audience("//iam.googleapis.com/projects/1/locations/global/x")}, nil},
		"Google's audience as URI":        {[]change{resource("https://iam.googleapis.com/projects/1")}, nil},
		"Azure's audience":                {[]change{audience("api://AzureADTokenExchange")}, nil},
		"a tool with a reserved audience": {[]change{scope("cloud:read:a")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if row.want == nil {
				w.refused(broker.ErrTarget, w.workload("analyst"), row.changes...)
				return
			}
			if _, c := w.minted(w.workload("analyst"), row.changes...); !slices.Equal(c.Audience, row.want) {
				t.Errorf("aud %v", c.Audience)
			}
		})
	}
}

func TestLife(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	ttl := func(d time.Duration) change { return func(r *broker.ExchangeRequest) { r.RequestedTTL = d } }
	for name, row := range map[string]struct {
		changes []change
		want    time.Duration
	}{
		"not asked for":                {nil, brokertest.DefaultTTL},
		"asked for":                    {[]change{ttl(time.Minute)}, time.Minute},
		"one second":                   {[]change{ttl(time.Second)}, time.Second},
		"more than the broker gives":   {[]change{ttl(9 * time.Hour)}, brokertest.MaxTTL},
		"more than the grant gives":    {[]change{ttl(time.Hour), scope("warehouse:write:sales/eu/q1")}, 10 * time.Minute},
		"of the shorter of two scopes": {[]change{ttl(time.Hour), scope("warehouse:write:sales/eu/q1 " + readEU)}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			issued, err := w.exchange(w.workload("analyst"), row.changes...)
			if err != nil {
				t.Fatal(err)
			}
			c, _ := w.Claims(t, issued.Token)
			if got := time.Duration(c.Expiry-c.IssuedAt) * time.Second; got != row.want || issued.ExpiresIn != row.want {
				t.Errorf("lives %v, answer says %v, want %v", got, issued.ExpiresIn, row.want)
			}
		})
	}
}

func TestScopesThatWereNotAskedFor(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	if _, c := w.minted(w.workload("analyst"), scope("")); c.Scope.String() != readEU {
		t.Errorf("the profile gives %s", c.Scope)
	}
	w.refused(broker.ErrScope, w.workload("helper"), scope(""))
	parent := w.token(w.workload("helper"), scope("tickets:read:open/** "+readEU))
	if _, c := w.minted(parent, scope("")); c.Scope.String() != "tickets:read:open/** "+readEU {
		t.Errorf("without a profile the parent's scopes are meant, got %s", c.Scope)
	}
}

func TestClientCredentials(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	_, c := w.minted("", clientCredentials(w.workload("analyst")))
	if c.Subject != "k8s:analyst" || c.Actor != nil || c.Confirmation != nil {
		t.Errorf("by assertion: %+v", c)
	}
	chain := w.SVID(t, "agent")
	thumbprint := thumbprint(chain)
	issued, err := w.exchange("", clientCredentials(""), func(r *broker.ExchangeRequest) { r.Caller.Certificates = chain })
	if err != nil {
		t.Fatal(err)
	}
	c, _ = w.Claims(t, issued.Token)
	if c.Subject != "spiffe://prod.example/agent" || c.Confirmation == nil || c.Confirmation.X5tS256 != thumbprint || !issued.Bound {
		t.Errorf("by certificate: %+v", c)
	}
	w.refused(broker.ErrClient, "", clientCredentials(""))
	w.refused(broker.ErrClient, "", clientCredentials(w.workload("analyst")), w.certificate("agent"))
	w.refused(broker.ErrRequest, "", clientCredentials(w.workload("analyst")), func(r *broker.ExchangeRequest) {
		r.SubjectToken = w.workload("analyst")
	})
	w.refused(broker.ErrRequest, "", clientCredentials(w.workload("analyst")), actor(w.workload("analyst")))
}

// The facts that a decision read go along with the token, so that a child is decided on the same.
func TestAttributesGoAlong(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	data := map[string]any{"team": "data"}
	want := scope("warehouse:read:hr/people")
	raw := w.token(w.Corp.Token(t, "alice", data), actor(w.Cluster.Token(t, "analyst", data)), want)
	c, _ := w.Claims(t, raw)
	if got := c.Attributes["user:alice"]["team"]; got != "data" {
		t.Fatalf("attrs %v", c.Attributes)
	}
	if _, child := w.minted(raw, want); child.Attributes["user:alice"]["team"] != "data" {
		t.Errorf("attrs of the child %v", child.Attributes)
	}
	// The agent's newer proof says something else, and counts.
	w.refused(broker.ErrScope, w.token(w.Cluster.Token(t, "analyst", data), want),
		want, actor(w.Cluster.Token(t, "analyst", map[string]any{"team": "sales"})))
}
