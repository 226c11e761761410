package brokertest

import (
	"cmp"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/revoker"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

// Roles of the tool lake of AWSBundle. AuditRole does not trust the broker.
const (
	LakeRole  = "arn:aws:iam::123456789012:role/writ-lake"
	AuditRole = "arn:aws:iam::123456789012:role/writ-audit"
)

// AWSBundle is Bundle and a tool in AWS, lake. Its profile is the helper's.
const AWSBundle = Bundle + `
---
kind: catalog
tools:
  - name: lake
    audience: https://lake.example
    actions: [read, write, delete, list]
    aws: {service: s3, roles: {default: "` + LakeRole + `", audit: "` + AuditRole + `"}, with: {bucket: acme-lake}}
---
kind: roles
roles:
  - {name: lake, grants: [{scopes: ["lake:*:**"]}]}
---
kind: bindings
bindings:
  - {name: lake, principals: ["k8s:*", "user:*", "staff:*", "spiffe://prod.example/**"], roles: [lake]}
  - {name: lake-by-default, principals: ["k8s:helper"], roles: [lake], profile: lake}
---
kind: profiles
profiles:
  - {name: lake, scopes: ["lake:read:sales/**"]}
---
kind: delegations
delegations:
  - {name: lake, agents: ["k8s:analyst", "k8s:helper"], subjects: ["user:*", "staff:*", "k8s:analyst"], max_depth: 8, ceiling: ["lake:*:**"]}
`

// AWS is the broker's way to AWS, and the STS at its end.
type AWS struct {
	STS      *ststest.Server
	Sessions *awssts.Sessions
	// Change is the last word on the minter's parts.
	Change func(*awssts.Config)
	// IAM, if it is set, takes sessions back, through Revoker, which whoever has the World runs.
	IAM     *iamtest.Server
	Revoker *revoker.Revoker
	// Every is how often the revoker looks at what it was not told of; 0 = 100 ms.
	Every time.Duration
	// Entries are how many sessions are kept; see awssts.SessionsConfig.
	Entries int

	mode awssts.Mode
}

// NewAWS prepares one for the Options of a World.
func NewAWS(mode awssts.Mode) *AWS { return &AWS{mode: mode} }

// Options are those of a World with AWS.
func (a *AWS) Options(tb testing.TB) Options {
	tb.Helper()
	return Options{Bundle: AWSBundle, Config: func(c *broker.Config) { a.Join(tb, c) }}
}

// Join starts an STS that trusts the broker, and makes it the broker's.
func (a *AWS) Join(tb testing.TB, c *broker.Config) {
	tb.Helper()
	a.STS = ststest.New(tb, ststest.Options{
		Roles:      []ststest.Role{{ARN: LakeRole, Federated: true}, {ARN: AuditRole, Trusts: []string{"AKIASOMEBODY"}}},
		Principals: []ststest.Principal{{AccessKeyID: "AKIABROKER", ARN: "arn:aws:iam::" + ststest.Account + ":user/writ"}},
		Issuer:     Audience, Audience: awssts.DefaultAudience,
		Keys: func() *token.KeySet { return c.Keys.Ring().Public() }, Now: c.Now,
	})
	cfg := awssts.Config{
		Mode: a.mode, Region: ststest.Region, Endpoint: a.STS.URL, Now: c.Now, Issuer: Audience, Timeout: 5 * time.Second,
		HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	if a.mode == awssts.AssumeRole {
		cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIABROKER", "secret", "")
	}
	tb.Cleanup(cfg.HTTP.CloseIdleConnections)
	if a.Change != nil {
		a.Change(&cfg)
	}
	minter, err := awssts.New(cfg)
	must(tb, err)
	a.Sessions, err = awssts.NewSessions(awssts.SessionsConfig{Minter: minter, Entries: a.Entries})
	must(tb, err)
	c.AWS = a.Sessions
	if a.IAM != nil {
		a.deny(tb, c)
	}
}

// deny makes the revoker. Its time goes on, from where the World's stands: it waits for what it
// wrote to stay.
func (a *AWS) deny(tb testing.TB, c *broker.Config) {
	tb.Helper()
	sealer, err := store.NewSealer(make([]byte, 32))
	must(tb, err)
	db, err := bolt.Open(tb.Context(), bolt.Config{Path: filepath.Join(tb.TempDir(), "denies.db"), Sealer: sealer, Now: c.Now})
	must(tb, err)
	tb.Cleanup(func() { _ = db.Close() })
	begun := time.Now()
	a.Revoker, err = revoker.New(revoker.Config{
		Region: ststest.Region, Endpoint: "http://iam.test", HTTP: &http.Client{Transport: a.IAM}, Cell: db.Cells(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAREVOKER", "secret", ""),
		Now:         func() time.Time { return c.Now().Add(time.Since(begun)) },
		Settle:      50 * time.Millisecond, Every: cmp.Or(a.Every, 100*time.Millisecond),
	})
	must(tb, err)
	c.Revoker = a.Revoker
}
