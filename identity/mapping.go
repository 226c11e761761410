package identity

import (
	"errors"
	"fmt"

	"github.com/writbroker/writ/token"
)

// maxActors bounds the act chain of a foreign token.
const maxActors = 16

// describe holds verified claims against the rules and fills in id and attributes.
func (s *source) describe(p *Principal, claims map[string]any) error {
	vars := activate(claims)
	for _, r := range s.rules {
		// An error (a missing claim, most often) is no different from false: the rule does not hold.
		if met, err := evaluate(r.program, vars); err != nil || met != true {
			return r.failure
		}
	}
	var err error
	if p.ID, err = s.id(vars); err != nil {
		return err
	}
	p.Attributes = make(map[string]any, len(s.attributes))
	for _, m := range s.attributes {
		value, err := evaluate(m.program, vars)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: for attribute %s", ErrMissingClaim, m.name)
		}
		p.Attributes[m.name] = value
	}
	return nil
}

// id maps claims, or an actor's members, to the id of a principal of this source.
func (s *source) id(vars *activation) (string, error) {
	value, err := evaluate(s.subject, vars)
	if err != nil {
		return "", fmt.Errorf("%w: for the subject", ErrMissingClaim)
	}
	subject, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%w: the subject is not a string", ErrMalformed)
	}
	if subject == "" {
		return "", fmt.Errorf("%w: the subject is empty", ErrMissingClaim)
	}
	id := s.SubjectPrefix + subject
	if !isID(id) {
		return "", fmt.Errorf("%w: the subject is too long, or has white space, a control character or '*'", ErrMalformed)
	}
	return id, nil
}

// actor reads act (RFC 8693 §4.1). An actor that this source cannot name refuses the token: leaving it out would
// hide who acts.
func (s *source) actor(claims map[string]any) (*token.Actor, error) {
	var outermost *token.Actor
	link := &outermost
	for depth := 0; ; depth++ {
		member, present := claims["act"]
		if !present {
			return outermost, nil
		}
		act, ok := member.(map[string]any)
		if !ok || depth == maxActors {
			return nil, fmt.Errorf("%w: act is not an object, or nested too deep", ErrMalformed)
		}
		id, err := s.party(act)
		if err != nil {
			return nil, fmt.Errorf("act: %w", err)
		}
		*link = &token.Actor{Subject: id}
		link = &(*link).Actor
		claims = act
	}
}

// mayAct reads may_act (RFC 8693 §4.4). A party that this source cannot name becomes nobody: the
// claim restricts, so it must not be dropped, and the subject itself may still be who it is.
func (s *source) mayAct(claims map[string]any) (*token.Actor, error) {
	member, present := claims["may_act"]
	if !present {
		return nil, nil
	}
	party, ok := member.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: may_act is not an object", ErrMalformed)
	}
	id, err := s.party(party)
	if err != nil {
		return &token.Actor{}, nil //nolint:nilerr // nobody is the answer, as the doc says
	}
	return &token.Actor{Subject: id}, nil
}

// party maps the members that identify an actor with the source's own subject expression. A party
// of another issuer is not this source's to name.
func (s *source) party(members map[string]any) (string, error) {
	if iss, present := members["iss"]; present && iss != s.Issuer {
		return "", fmt.Errorf("%w: a party of another issuer", ErrMalformed)
	}
	return s.id(activate(members))
}
