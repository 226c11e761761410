package broker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts"
)

// An STS that repeats the proof in its answer does not bring it into the log.
func TestAnEchoedProofStaysOutOfTheLog(t *testing.T) {
	var out bytes.Buffer
	a := brokertest.NewAWS(awssts.WebIdentity)
	opt := a.Options(t)
	c := &cloud{newWorld(t, opt), a}
	const jwt = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL3dyaXQuZXhhbXBsZSIsImF1ZCI6InN0cy5hbWF6b25hd3MuY29tIn0.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2ln"
	a.STS.Fail(ststest.Fault{Code: "InvalidIdentityToken", Message: "cannot verify " + jwt})
	err := c.noSession(broker.ErrAWS, c.workload("analyst"))
	slog.New(slog.NewTextHandler(&out, nil)).Warn("x", "cause", unwrapOnce(err))
	if strings.Contains(out.String(), jwt) {
		t.Errorf("log: %s", out.String())
	}
}

func unwrapOnce(err error) error { return err.(interface{ Unwrap() error }).Unwrap() }
