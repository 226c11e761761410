package mint_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/token"
)

// What rules are tried on is what a token of the same grant would say.
func TestASessionOrderSaysWhatATokenWould(t *testing.T) {
	m, g := newMinter(t, mint.Config{Issuer: "https://writ.example"}), grant(t, "warehouse:read:sales/eu/*")
	signer, _ := newSigner(t)
	in := input(signer)
	in.ID, in.Confirmation, in.Attributes = mint.NewID(noon), nil, nil
	_, want, err := m.JWT(t.Context(), g, in)
	if err != nil {
		t.Fatal(err)
	}
	in.Signer = nil // nothing is signed here
	order, err := m.SessionOrder(g, in)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(order.Claims(), want) || order.DecisionID() != g.DecisionID() {
		t.Errorf("got %+v of %q, want %+v", order.Claims(), order.DecisionID(), want)
	}
}

func TestSessionOrdersThatAreRefused(t *testing.T) {
	m := newMinter(t, mint.Config{Issuer: "https://writ.example"})
	signer, _ := newSigner(t)
	for name, row := range map[string]struct {
		grant  *policy.Grant
		change func(*mint.Input)
	}{
		"no grant":                {nil, func(*mint.Input) {}},
		"a grant of nothing":      {&policy.Grant{}, func(*mint.Input) {}},
		"bound to a key":          {grant(t, "warehouse:read:sales/eu/*"), func(in *mint.Input) { in.Confirmation = &token.Confirmation{X5tS256: "x"} }},
		"an id that is no UUIDv7": {grant(t, "warehouse:read:sales/eu/*"), func(in *mint.Input) { in.ID = "1" }},
		"nobody who asks":         {grant(t, "warehouse:read:sales/eu/*"), func(in *mint.Input) { in.ClientID = "" }},
	} {
		in := input(signer)
		in.Confirmation = nil
		row.change(&in)
		if _, err := m.SessionOrder(row.grant, in); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever prints a session, its secrets stay out.
func TestCredentialsRedact(t *testing.T) {
	s := mint.Session{Credentials: mint.NewCredentials("ASIAEXAMPLE", "hush-secret", "hush-token")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "session", s, "credentials", s.Credentials)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%+v": fmt.Sprintf("%+v", s), "%#v": fmt.Sprintf("%#v", s), "%s": fmt.Sprintf("made %s", s.Credentials),
		"JSON": string(encoded), "a log": log.String(), "an error": fmt.Errorf("with %v", s.Credentials).Error(),
	} {
		if strings.Contains(text, "hush") || !strings.Contains(text, "ASIAEXAMPLE") {
			t.Errorf("%s shows %s", name, text)
		}
	}
	if id, secret, session := s.Credentials.Reveal(); id != "ASIAEXAMPLE" || secret != "hush-secret" || session != "hush-token" {
		t.Error("Reveal does not")
	}
}

func TestASessionErrorNamesItsReason(t *testing.T) {
	cause := errors.New("connection refused")
	err := error(&mint.SessionError{Fault: mint.FaultUnavailable, Reason: "sts_unavailable", Detail: "try again", Cause: cause})
	if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "sts_unavailable: ") {
		t.Errorf("%v", err)
	}
}
