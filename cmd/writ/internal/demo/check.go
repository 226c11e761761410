package demo

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// that is an error if something is not so.
func that(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// equal is an error if what is not what it must be. A nil list equals an empty one.
func equal[T any](what string, got, want T) error {
	g, w := reflect.ValueOf(&got).Elem(), reflect.ValueOf(&want).Elem()
	if g.Kind() == reflect.Slice && g.Len() == 0 && w.Len() == 0 || reflect.DeepEqual(got, want) {
		return nil
	}
	return fmt.Errorf("%s is %v, not %v", what, got, want)
}

// is an error if the status is another, or a member is not what it must be. Pairs are a
// member's dotted name and its text.
func (r *reply) is(status int, pairs ...string) error {
	if r.status != status {
		return fmt.Errorf("%s answered %d %s, not %d", r.what, r.status, r.brief(), status)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		value, ok := r.member(pairs[i])
		if !ok {
			return fmt.Errorf("%s answered without %s", r.what, pairs[i])
		}
		if got := text(value); got != pairs[i+1] {
			return fmt.Errorf("%s answered %s %q, not %q", r.what, pairs[i], got, pairs[i+1])
		}
	}
	return nil
}

// brief is what an error says of an answer: its code and description, never a token.
func (r *reply) brief() string {
	var out []string
	for _, name := range []string{"error", "error_description"} {
		if value, ok := r.member(name); ok {
			out = append(out, text(value))
		}
	}
	return strings.Join(out, ": ")
}

// challenge is an error unless the answer carries exactly this challenge (RFC 6750, section
// 3; RFC 9728, section 5.1), the description apart, and no cache may keep it.
func (r *reply) challenge(want ...string) error {
	values := r.header.Values("WWW-Authenticate")
	if len(values) != 1 {
		return fmt.Errorf("%s answered with %d challenges, not one", r.what, len(values))
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	var got []string
	for attribute := range strings.SplitSeq(rest, ", ") {
		if attribute != "" && !strings.HasPrefix(attribute, "error_description=") {
			got = append(got, attribute)
		}
	}
	return firstOf(
		equal(r.what+": the challenge's scheme", scheme, "Bearer"),
		equal(r.what+": the challenge", strings.Join(got, ", "), strings.Join(want, ", ")),
		r.uncached(),
	)
}

// uncached is an error if a cache may keep the answer.
func (r *reply) uncached() error {
	return equal(r.what+": Cache-Control", r.header.Get("Cache-Control"), "no-store")
}

// firstOf is the first of some errors: the rest usually follows from it.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// insufficient is an error unless a resource server refused for want of a scope.
func (s *story) insufficient(r *reply, scope string) error {
	return firstOf(
		r.is(http.StatusForbidden, "error", "insufficient_scope"),
		r.challenge(`error="insufficient_scope"`, `scope="`+scope+`"`, s.metadata()),
	)
}

// dead is an error unless a resource server refused the token itself.
func (s *story) dead(r *reply) error {
	return firstOf(
		r.is(http.StatusUnauthorized, "error", "invalid_token"),
		r.challenge(`error="invalid_token"`, s.metadata()),
	)
}

func (s *story) metadata() string {
	return `resource_metadata="` + s.world.Resource() + `/.well-known/oauth-protected-resource"`
}
