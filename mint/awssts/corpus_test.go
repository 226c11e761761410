package awssts_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts"
)

// The compiler fits what a hand can fit, and is hardly longer. The hand's policies are held
// to the same reference: one that is shorter because it allows more, or less, shows nothing.
func TestCorpus(t *testing.T) {
	data, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	c := loadWorld(t)
	blocks := strings.Split(strings.TrimSpace(string(data)), "\n\n")[1:]
	if len(blocks) < 60 {
		t.Fatalf("%d cases", len(blocks))
	}
	worst, longest, sum := 0.0, 0, 0.0
	for _, block := range blocks {
		text, hand, _ := strings.Cut(block, "\n")
		t.Run(text, func(t *testing.T) {
			set := parseSet(t, text)
			p, err := c.Compile(set, awssts.Options{})
			if err != nil {
				t.Fatal(err)
			}
			limit := len([]rune(hand))
			ratio := float64(p.Size) / float64(limit)
			sum += ratio
			if worst, longest = max(worst, ratio), max(longest, p.Size); ratio > 1.2 || limit > awssts.MaxPolicySize {
				t.Errorf("%d characters, by hand %d:\n%s\n%s", p.Size, limit, p.JSON, hand)
			}
			for _, policy := range []string{p.JSON, hand} {
				r, err := parseRules(policy)
				if err != nil {
					t.Fatal(err)
				}
				against(t, newDice(7), set, time.Time{}, r, text+"\n"+policy, 2500, &tally{})
			}
		})
	}
	t.Logf("%d cases; of the hand's length: %.3f on average, %.3f at worst; the longest has %d characters", len(blocks), sum/float64(len(blocks)), worst, longest)
}
