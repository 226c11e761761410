package awssts_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/scopes"
)

// Whatever set of scopes comes, what is compiled is never wider than the set, and refuses
// nothing of it.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		"lake:read:a/* lake:read:b/c/*", "lake:list:a/** lake:read:*/x", "raw:read:* lake:read:a/raw/x", "secrets:read:**",
		"logs:read:a/*/b logs:write:a/**", "functions:invoke:a*/b", "files:tag:a/* files:read:a/**", "lake:read:%24%7Ba%7D*",
	} {
		f.Add(text, uint64(1))
	}
	c := loadWorld(f)
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		set, err := scopes.ParseSet(text)
		if err != nil {
			return
		}
		p, err := c.Compile(set, awssts.Options{Limit: 1 << 20})
		if err != nil {
			var scope *awssts.ScopeError
			var role *awssts.RoleError
			if !errors.As(err, &scope) && !errors.As(err, &role) && !errors.Is(err, awssts.ErrNothing) {
				t.Fatal(err)
			}
			return
		}
		r, err := parseRules(p.JSON)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.JSON)
		}
		against(t, newDice(seed), set, time.Time{}, r, text+"\n"+p.JSON, 40, &tally{})
	})
}

func BenchmarkCompile(b *testing.B) {
	c := loadWorld(b)
	for name, text := range map[string]string{
		"one":     "lake:read:reports/2026/*",
		"typical": "lake:read:sales/eu/** lake:list:sales/eu/** lake:write:out/agent-7/* queues:send:jobs secrets:read:prod/db",
		"fifty":   many(50),
	} {
		set := parseSet(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Compile(set, awssts.Options{Limit: 1 << 16}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Equal sets give equal policies, whatever was written first.
func TestDeterministic(t *testing.T) {
	c := loadWorld(t)
	d := newDice(11)
	for range 300 {
		text := d.set()
		parts := strings.Fields(text)
		d.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		a, err1 := c.Compile(parseSet(t, text), awssts.Options{Limit: 1 << 16})
		b, err2 := c.Compile(parseSet(t, strings.Join(parts, " ")), awssts.Options{Limit: 1 << 16})
		if (err1 == nil) != (err2 == nil) || err1 == nil && (a.JSON != b.JSON || a.Digest() != b.Digest()) {
			t.Fatalf("%s:\n%v %v\n%v %v", text, a, err1, b, err2)
		}
	}
}

// The largest sets that a request can hold are compiled in bounded work: each step grows with
// the scopes and their segments, and none with all ways to match them.
func BenchmarkCompileLargest(b *testing.B) {
	c := loadWorld(b)
	var all []string
	for i := range 64 {
		all = append(all, "lake:read:"+strings.Repeat("*/", 2+i%20)+strings.Repeat("a*/", 8)+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	set := parseSet(b, strings.Join(all, " "))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compile(set, awssts.Options{}); err == nil {
			b.Fatal("it is not refused")
		}
	}
}
