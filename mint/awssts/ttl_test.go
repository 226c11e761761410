package awssts_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts"
)

// What STS gives never lives longer than what was granted, however long STS took to answer.
func TestASlowSTSGivesNoMore(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	granted := s.now.Add(20 * time.Minute)
	asked := 0
	other := ststest.New(t, ststest.Options{
		Roles:      []ststest.Role{{ARN: role}},
		Principals: []ststest.Principal{{AccessKeyID: brokerKey}},
		Now:        func() time.Time { asked++; return s.now.Add(4 * time.Second) }, // it answers 4 s later, within Timeout
	})
	s.cfg.Endpoint = other.URL
	if _, _, err := s.sessions().Session(t.Context(), s.order(workload{ttl: 20 * time.Minute})); err != nil {
		t.Fatal(err)
	}
	calls := other.Calls("")
	end := s.now.Add(4 * time.Second).Add(calls[len(calls)-1].Duration)
	if end.After(granted) {
		t.Errorf("works at AWS until %s after the grant's end", end.Sub(granted))
	}
}
