package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// page is a request to list a bucket.
type page struct{ prefix, delimiter string }

// shape is a pattern of a scope with what lies inside, and beside, above and below it, told by
// hand. All of it is in the lake's bucket; the same names in another bucket are all outside.
type shape struct {
	tool, pattern string
	inside        []string
	// outside are names by where they lie.
	outside map[string][]string
	// lists are the pages inside, none where a list of this shape is refused by the compiler.
	lists     []page
	listsElse map[string][]page
}

func shapes() []shape {
	level := []page{{"sales/", "/"}, {"sales/q", "/"}, {"sales/q1", "/"}}
	return []shape{
		{tool: "lake", pattern: "sales/eu/q1", inside: []string{"sales/eu/q1"},
			outside: map[string][]string{"beside": {"sales/eu/q2", "sales/eu/q10", "sales/eu/Q1"}, "above": {"sales/eu", "sales"}, "below": {"sales/eu/q1/a"}}},
		{tool: "lake", pattern: "sales/*", inside: []string{"sales/q1", "sales/q10"}, lists: level,
			outside: map[string][]string{"beside": {"salesx/q1", "hr/q1"}, "above": {"sales", "top"}, "below": {"sales/eu/q1", "sales/eu/x/y"}},
			listsElse: map[string][]page{"beside": {{"salesx/", "/"}, {"hr/", "/"}}, "above": {{"", "/"}, {"sales", "/"}, {"", ""}},
				"below": {{"sales/eu/", "/"}, {"sales/", ""}, {"sales/eu/", ""}}}},
		{tool: "lake", pattern: "sales/q*", inside: []string{"sales/q1", "sales/q10", "sales/q"}, lists: level[1:],
			outside:   map[string][]string{"beside": {"sales/p1", "sales/Q1", "hr/q1"}, "above": {"sales", "q1"}, "below": {"sales/q1x/y", "sales/q2/a"}},
			listsElse: map[string][]page{"beside": {{"sales/p", "/"}, {"hr/q", "/"}}, "above": {{"sales/", "/"}, {"", "/"}}, "below": {{"sales/q2/", "/"}, {"sales/q", ""}}}},
		{tool: "lake", pattern: "sales/**", inside: []string{"sales/q1", "sales/eu/q1", "sales/eu/x/y"},
			lists:     []page{{"sales/", ""}, {"sales/", "/"}, {"sales/eu/", ""}, {"sales/eu/x", "/"}},
			outside:   map[string][]string{"beside": {"salesx/q1", "hr/q1"}, "above": {"sales", "top"}},
			listsElse: map[string][]page{"beside": {{"salesx/", ""}, {"hr/", "/"}}, "above": {{"", ""}, {"", "/"}, {"sales", ""}, {"sa", "/"}}}},
		{tool: "lake", pattern: "sales/q*/**", inside: []string{"sales/q2/a", "sales/q2/a/b"},
			outside: map[string][]string{"beside": {"sales/p2/a", "hr/q2/a"}, "above": {"sales/q2", "sales/q1", "sales"}}},
		{tool: "lake", pattern: "sales/*/q1", inside: []string{"sales/eu/q1", "sales/us/q1"},
			outside: map[string][]string{"beside": {"sales/eu/q2", "hr/eu/q1"}, "above": {"sales/q1", "sales/eu"}, "below": {"sales/eu/x/q1", "sales/eu/q1/a"}}},
		{tool: "lake", pattern: "*", inside: []string{"top", "sales"}, lists: []page{{"", "/"}, {"to", "/"}},
			outside:   map[string][]string{"below": {"sales/q1", "sales/eu/q1"}},
			listsElse: map[string][]page{"below": {{"sales/", "/"}, {"", ""}, {"sales/", ""}}}},
		{tool: "lake", pattern: "**", inside: []string{"top", "sales/q1", "sales/eu/x/y", "hr/q1"}, lists: []page{{"", ""}, {"", "/"}, {"hr/", ""}}},
		{tool: "team", pattern: "x/*", inside: []string{"teams/a/x/1", "teams/a/x/2"}, lists: []page{{"teams/a/x/", "/"}},
			outside:   map[string][]string{"beside": {"teams/a/y/1", "teams/b/x/1", "x/1"}, "above": {"teams/a/x", "teams/a", "top"}, "below": {"teams/a/x/1/z"}},
			listsElse: map[string][]page{"beside": {{"teams/b/x/", "/"}, {"x/", "/"}}, "above": {{"teams/a/", "/"}, {"teams/", "/"}, {"", ""}}, "below": {{"teams/a/x/", ""}, {"teams/a/x/1/", "/"}}}},
		{tool: "team", pattern: "**", inside: []string{"teams/a/x/1", "teams/a/z"}, lists: []page{{"teams/a/", ""}, {"teams/a/x/", "/"}},
			outside:   map[string][]string{"beside": {"teams/b/x/1", "teams/ab/1", "hr/q1"}, "above": {"teams/a", "teams", "top"}},
			listsElse: map[string][]page{"beside": {{"teams/b/", ""}, {"teams/ab/", "/"}}, "above": {{"teams/a", ""}, {"teams/", "/"}, {"", ""}}}},
	}
}

// keys are all names of all shapes: whatever is asked for exists, so that only policy refuses.
// A name that is also a folder of others is another object to MinIO's disks: those are left to be
// refused, or made anew for the call that is to succeed.
func (s *shape) keys() []string {
	all := slices.Clone(s.inside)
	for _, names := range s.outside {
		all = append(all, names...)
	}
	return all
}

// tally counts calls and answers of one line of the table.
type tally struct{ granted, done, other, refused int }

func (c *tally) count(want, got bool) {
	if want {
		c.granted++
	} else {
		c.other++
	}
	if want && got {
		c.done++
	}
	if !want && !got {
		c.refused++
	}
}

func TestMinIOHoldsEachScope(t *testing.T) {
	for _, mode := range []string{"web_identity", "assume_role"} {
		t.Run(mode, func(t *testing.T) {
			l := startLake(t, mode)
			var table strings.Builder
			fmt.Fprintf(&table, "\n%-22s %-8s %18s %18s\n", mode, "granted", "inside: done", "else: refused")
			var sum tally
			for _, s := range shapes() {
				actions := [][]string{{"read"}, {"write"}, {"delete"}, {"read", "write", "delete"}}
				if s.lists != nil {
					actions = append(actions, []string{"list"}, []string{"read", "write", "delete", "list"})
				}
				for _, granted := range actions {
					c := l.grid(t, s, granted)
					fmt.Fprintf(&table, "%-22s %-8s %11d of %3d %11d of %3d\n", s.tool+":"+s.pattern, initials(granted), c.done, c.granted, c.refused, c.other)
					sum.granted, sum.done, sum.other, sum.refused = sum.granted+c.granted, sum.done+c.done, sum.other+c.other, sum.refused+c.refused
				}
			}
			fmt.Fprintf(&table, "%-22s %-8s %11d of %3d %11d of %3d\n", "all", "", sum.done, sum.granted, sum.refused, sum.other)
			t.Log(table.String())
			if sum.granted < 100 || sum.other < 1000 {
				t.Errorf("the grid has %d calls that are granted, and %d that are not", sum.granted, sum.other)
			}
		})
	}
}

func initials(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, w[:1])
	}
	return strings.Join(out, "")
}

// grid makes every call with credentials for these actions on the shape.
func (l *lake) grid(t *testing.T, s shape, granted []string) tally {
	t.Helper()
	var args []string
	for _, action := range granted {
		args = append(args, "--scope", s.tool+":"+action+":"+s.pattern)
	}
	c := l.s3(l.session(t, args...).provider())
	var sum tally
	check := func(place, action, what string, inside bool, call func(context.Context) error) {
		t.Helper()
		want := inside && slices.Contains(granted, action)
		got := answered(t, call(t.Context()))
		sum.count(want, got)
		if got != want {
			t.Errorf("%s:%v:%s: %s of %s, %s: done is %t", s.tool, granted, s.pattern, action, what, place, got)
		}
	}
	object := func(place, bucket, key string, inside bool) {
		l.put(t, bucket, key)
		check(place, "read", key, inside, func(ctx context.Context) error { return getObject(ctx, c, bucket, key) })
		check(place, "write", key, inside, func(ctx context.Context) error {
			_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader("new")})
			return err
		})
		check(place, "delete", key, inside, func(ctx context.Context) error {
			_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
			return err
		})
		_, err := l.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
		must(t, err)
	}
	list := func(place, bucket string, p page, inside bool) {
		check(place, "list", fmt.Sprintf("%+v", p), inside, func(ctx context.Context) error {
			in := &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(p.prefix)}
			if p.delimiter != "" {
				in.Delimiter = aws.String(p.delimiter)
			}
			out, err := c.ListObjectsV2(ctx, in)
			if err == nil {
				s.shown(t, bucket, p, out)
			}
			return err
		})
	}
	for _, key := range s.inside {
		object("inside", lakeBucket, key, true)
	}
	for place, keys := range s.outside {
		for _, key := range keys {
			object(place, lakeBucket, key, false)
		}
	}
	for _, key := range s.keys() {
		object("other bucket", otherBucket, key, false)
	}
	there := s.apart()
	for _, key := range there {
		l.put(t, lakeBucket, key)
		l.put(t, otherBucket, key)
	}
	for _, p := range s.lists {
		list("inside", lakeBucket, p, true)
		list("other bucket", otherBucket, p, false)
	}
	for place, pages := range s.listsElse {
		for _, p := range pages {
			list(place, lakeBucket, p, false)
		}
	}
	if s.lists == nil {
		list("no list", lakeBucket, page{"sales/", "/"}, false)
	}
	for _, key := range there {
		for _, bucket := range []string{lakeBucket, otherBucket} {
			_, err := l.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
			must(t, err)
		}
	}
	return sum
}

// apart are the names that can be there at once: none that is also a folder of others.
func (s *shape) apart() []string {
	all := s.keys()
	return slices.DeleteFunc(slices.Clone(all), func(key string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, key+"/") })
	})
}

// shown checks what a page shows: of all that is there, the names inside the shape, and no other.
func (s *shape) shown(t *testing.T, bucket string, p page, out *s3.ListObjectsV2Output) {
	t.Helper()
	var got, want []string
	for _, o := range out.Contents {
		got = append(got, aws.ToString(o.Key))
	}
	for _, key := range s.apart() {
		rest, ok := strings.CutPrefix(key, p.prefix)
		if ok && slices.Contains(s.inside, key) && (p.delimiter == "" || !strings.Contains(rest, p.delimiter)) {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	if bucket != lakeBucket || !slices.Equal(got, want) {
		t.Errorf("%s:%s: a list of %+v in %s shows %q, want %q", s.tool, s.pattern, p, bucket, got, want)
	}
}
