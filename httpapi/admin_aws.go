package httpapi

import (
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint"
)

// What an answer says of the AWS sessions that a rule hits. AWS promises no bound: its changes
// are there in seconds as a rule, and in minutes at worst.
const (
	noteOff = "AWS is not told: this broker has no aws.revoker. These sessions work in AWS until they end; " +
		"deny them on the role by hand if that is too long."
	noteDry  = "With --apply, the inline policies of these roles deny the sessions. AWS takes seconds, at times minutes, to apply it."
	noteOn   = "Done means that IAM has the deny and has kept it. AWS takes seconds, at times minutes, from then on to refuse the sessions everywhere."
	noteRole = " Where a whole role is denied, sessions of others in it, made before the cutoff, are denied too."
	// A rule for a subject hits what that acts for itself alone; IAM knows who acts.
	noteIdentity = " A source identity is an agent's: what it does in the role for others, made before the cutoff, is denied too."
)

func (a *API) wireAWS(t *broker.TakenBack, applied bool) *wire.AWSReport {
	if t == nil {
		return nil
	}
	out := &wire.AWSReport{Off: t.Off, LiveUntil: t.LiveUntil.UTC(), Roles: []wire.AWSRole{}, Note: noteOn}
	switch {
	case t.Off:
		out.Note = noteOff
	case !applied:
		out.Note = noteDry
	}
	whole, identity := false, false
	for i := range t.Roles {
		role := &t.Roles[i]
		w := wire.AWSRole{Role: role.Role, Sessions: role.Sessions, State: string(role.State), Detail: role.Detail}
		if t.Off {
			out.Roles = append(out.Roles, w)
			continue
		}
		w.Identities, w.Until = role.Identities[:min(len(role.Identities), maxAgents)], new(role.Until.UTC())
		for _, kind := range role.Kinds {
			w.Denies = append(w.Denies, string(kind))
			whole, identity = whole || kind == mint.DenyRole, identity || kind == mint.DenyIdentity
		}
		if !role.Before.IsZero() {
			w.Before = new(role.Before.UTC())
		}
		out.Roles = append(out.Roles, w)
	}
	if whole {
		out.Note += noteRole
	}
	if identity {
		out.Note += noteIdentity
	}
	return out
}
