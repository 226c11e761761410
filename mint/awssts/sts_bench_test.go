package awssts_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
)

// What a session costs over the bare call of the SDK to the same STS, and what one costs that
// is kept. The bare call sends the same policy, names and tags.
func BenchmarkSession(b *testing.B) {
	s := newStudio(b, awssts.AssumeRole)
	o := s.order(workload{task: "report", ttl: time.Hour})
	b.Run("bare", func(b *testing.B) {
		client := sts.New(sts.Options{Region: s.cfg.Region, Credentials: s.cfg.Credentials, BaseEndpoint: aws.String(s.sts.URL), HTTPClient: s.cfg.HTTP})
		in := bareInput(b, s, o)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.AssumeRole(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, alive := range map[string]bool{"minted": false, "kept": true} {
		o.Alive = func(*mint.Session) bool { return alive }
		o := *o
		b.Run(name, func(b *testing.B) {
			all := s.sessions()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := all.Session(b.Context(), &o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func bareInput(b *testing.B, s *studio, o *mint.SessionOrder) *sts.AssumeRoleInput {
	b.Helper()
	p := compiled(b, s.bundle, awssts.Options{})
	c := o.Claims()
	name, _ := awssts.SessionName(o.DecisionID())
	source, _ := awssts.SourceIdentity(c.ClientID)
	in := &sts.AssumeRoleInput{
		RoleArn: aws.String(p.Role), RoleSessionName: aws.String(name), SourceIdentity: aws.String(source),
		Policy: aws.String(p.JSON), DurationSeconds: aws.Int32(3600),
	}
	for _, t := range awssts.SessionTags(awssts.Session{Agent: c.ClientID, Subject: c.Subject, Task: c.Task, Policy: c.Policy, Decision: o.DecisionID()}) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		in.TransitiveTagKeys = append(in.TransitiveTagKeys, t.Key)
	}
	return in
}

// Many callers for many kinds of sessions, all kept.
func BenchmarkKeptSessionsInParallel(b *testing.B) {
	s := newStudio(b, awssts.AssumeRole)
	all := s.sessions()
	var orders []*mint.SessionOrder
	for i := range 100 {
		o := s.order(workload{task: fmt.Sprint(i), ttl: time.Hour})
		if _, _, err := all.Session(b.Context(), o); err != nil {
			b.Fatal(err)
		}
		orders = append(orders, o)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, fresh, err := all.Session(b.Context(), orders[i%len(orders)]); err != nil || fresh {
				b.Errorf("fresh %v, %v", fresh, err)
				return
			}
		}
	})
}
