package broker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// What replicas share of their ledgers, as counts that expire with the tokens. Time is cut
// into windows, twelve to the longest life of a token:
//
//	ledger/shape/<span>          what the tokens of a shape are: JSON, once a span of twelve windows
//	ledger/count/<window>        tokens that expire in the window, by shape
//	ledger/id/<window>/<shard>   tokens by jti, an ancestor's too, and by task, with their shape
//
// Memory in the store, at the most: a shape takes about 700 bytes in each of two or three
// spans and 120 in each of thirteen windows in which it was issued, so 20,000 shapes take up
// to 75 MB, and typical ones (900 byte tokens of 200 shapes) less than 1 MB. An id takes about
// 130 bytes; a replica writes at most IDRate a second, so that a replica that mints at full
// speed all the time keeps IDRate × longest life × 130 bytes: 234 MB at 500 and one hour.
const (
	ledgerShape = "ledger/shape/"
	ledgerCount = "ledger/count/"
	ledgerID    = "ledger/id/"

	windowsPerLife = 12
	idShards       = 4
	markDropped    = "!" // counts what was not noted
	defaultIDRate  = 500
	flushEvery     = time.Second
	textEvery      = 60 // flushes between two writings of a shape's text: a store that was wiped has it again
)

// shapeText is what a rule can select a token by, but for ids, the task and rev.
type shapeText struct {
	Subject   string   `json:"s"`
	Client    string   `json:"c"`
	Actors    []string `json:"a,omitempty"`
	Roles     []string `json:"r,omitempty"`
	Audience  []string `json:"u"`
	Scope     string   `json:"o"`
	Policy    string   `json:"p"`
	Key       string   `json:"k"`
	Ancestors []string `json:"n,omitempty"` // their keys
}

func shapeOf(c *token.Claims, kid string) shapeText {
	t := shapeText{
		Subject: c.Subject, Client: c.ClientID, Actors: c.Actor.Chain(), Roles: c.Roles, Audience: c.Audience,
		Scope: c.Scope.String(), Policy: c.Policy, Key: kid,
	}
	for _, a := range c.Ancestors {
		t.Ancestors = append(t.Ancestors, a.KeyID)
	}
	return t
}

func textOf(c *token.Claims, kid string) (string, error) {
	data, err := json.Marshal(shapeOf(c, kid))
	return string(data), err
}

// claims makes what a rule is tried on.
func (t *shapeText) claims() (*token.Claims, error) {
	set, err := scopes.ParseSet(t.Scope)
	if err != nil {
		return nil, err
	}
	c := &token.Claims{Subject: t.Subject, ClientID: t.Client, Roles: t.Roles, Audience: t.Audience, Scope: set, Policy: t.Policy}
	for _, id := range slices.Backward(t.Actors) {
		c.Actor = &token.Actor{Subject: id, Actor: c.Actor}
	}
	for _, kid := range t.Ancestors {
		c.Ancestors = append(c.Ancestors, token.Ancestor{KeyID: kid})
	}
	return c, nil
}

func shortHash(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:n])
}

// shapeName is the same on every replica; 128 bits, so that no two shapes share one.
func shapeName(text string) string { return shortHash(text, 16) }

// idName begins the names of the counts of a jti or a task.
func idName(kind revocation.Selector, id string) string {
	return string(kind[:2]) + shortHash(id, 12) + "."
}

func shardOf(name string) string { return strconv.Itoa(int(name[3]) % idShards) }

func (l *Ledger) windowOf(expires int64) int64 { return expires / int64(l.window/time.Second) }

func (l *Ledger) spanOf(window int64) int64 { return window / windowsPerLife }

func (l *Ledger) endOf(window int64) time.Time {
	return time.Unix((window+1)*int64(l.window/time.Second), 0)
}

// share adds a token to what is on its way to the shared counts. Guarded by l.mu.
func (l *Ledger) share(s *shape, c *token.Claims) {
	if l.out.tally == nil {
		return
	}
	w := l.windowOf(c.Expiry)
	at, end := strconv.FormatInt(w, 10), l.endOf(w)
	span := l.spanOf(w)
	if s.name == "" {
		text, err := textOf(c, s.kid)
		if err != nil {
			l.dropped++
			return
		}
		s.text, s.name = text, shapeName(text)
	}
	if told := [2]int64{span, l.round + 1}; s.told != told {
		spanEnd := l.endOf((span+1)*windowsPerLife - 1)
		if !l.out.add(ledgerShape+strconv.FormatInt(span, 10), spanEnd, s.text, 1) {
			l.dropped++
			return
		}
		s.told = told
	}
	if !l.out.add(ledgerCount+at, end, s.name, 1) {
		l.dropped++
	}
	if s.windows == nil || len(s.windows) > 4*windowsPerLife {
		fresh := map[int64]int64{}
		for old, n := range s.windows {
			if old+2*windowsPerLife > w {
				fresh[old] = n
			}
		}
		s.windows = fresh
	}
	s.windows[w]++
	note := func(name string) {
		bucket := ledgerID + at + "/" + shardOf(name)
		if l.idsLeft <= 0 {
			l.out.add(bucket, end, markDropped, 1)
			return
		}
		l.idsLeft--
		if !l.out.add(bucket, end, name+s.name, 1) {
			l.dropped++
		}
	}
	note(idName(revocation.SelectToken, c.ID))
	for _, a := range c.Ancestors {
		note(idName(revocation.SelectToken, a.ID))
	}
	if c.Task != "" {
		note(idName(revocation.SelectTask, c.Task))
	}
}

// PreviewAll is Preview over every replica, and over what lives on from before a restart.
// Where the shared counts cannot be read it is Preview, and says so. LongestExpiry of
// other replicas' tokens is the end of its window: at most a twelfth of the longest life late.
func (l *Ledger) PreviewAll(ctx context.Context, r revocation.Rule) Preview {
	p := l.previewTokens(ctx, r)
	p.addSessions(l.Sessions(ctx, r))
	return p
}

func (l *Ledger) previewTokens(ctx context.Context, r revocation.Rule) Preview {
	own := l.Preview(r)
	if l.out.tally == nil {
		return own
	}
	err := l.out.flush(ctx)
	var all Preview
	if err == nil {
		all, err = l.sumAll(ctx, r)
	}
	if err != nil {
		own.Incomplete = "the shared counts cannot be read: these are the tokens that this replica issued since its start"
		return own
	}
	switch {
	case all.Incomplete != "":
	case all.dropped > 0:
		all.Incomplete = "more tokens were issued than ids are kept of"
	case r.Selector != revocation.SelectToken || l.behind() > 0: // descendants are counted, here
		all.Incomplete = own.Incomplete
	}
	if own.Tokens > all.Tokens {
		all.Tokens = own.Tokens
	}
	if all.LongestExpiry.Before(own.LongestExpiry) || all.onlyOwn {
		all.LongestExpiry = own.LongestExpiry
	}
	return all
}

func (l *Ledger) behind() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// found is what a rule hits: tokens by shape and window.
type found map[string]map[int64]int64

func (f found) note(shape string, window, n int64) {
	if n <= 0 {
		return
	}
	if f[shape] == nil {
		f[shape] = map[int64]int64{}
	}
	f[shape][window] += n
}

func (l *Ledger) sumAll(ctx context.Context, r revocation.Rule) (Preview, error) {
	now := l.cfg.Now().Unix()
	first, last := l.windowOf(now), l.windowOf(now+int64(l.cfg.MaxTTL/time.Second))+1
	hits := found{}
	p := Preview{BySubject: map[string]int64{}}
	known := r.Selector != revocation.SelectToken && r.Selector != revocation.SelectTask
	for w := first; w <= last; w++ {
		bucket, prefix := ledgerCount+strconv.FormatInt(w, 10), ""
		if !known {
			prefix = idName(r.Selector, r.Value)
			bucket = ledgerID + strconv.FormatInt(w, 10) + "/" + shardOf(prefix)
		}
		sums, err := l.out.tally.Sum(ctx, bucket)
		if err != nil {
			return p, fmt.Errorf("reading shared counts: %w", err)
		}
		for name, n := range sums {
			if name == markDropped {
				p.dropped += n
			} else if shape, ok := strings.CutPrefix(name, prefix); ok {
				hits.note(shape, w, n)
			}
		}
	}
	var spans []string
	for s := l.spanOf(first); s <= l.spanOf(last); s++ {
		spans = append(spans, ledgerShape+strconv.FormatInt(s, 10))
	}
	texts, err := l.out.tally.Sum(ctx, spans...)
	if err != nil {
		return p, fmt.Errorf("reading shared counts: %w", err)
	}
	l.gather(&p, hits, texts, r, !known)
	return p, nil
}

// gather fills a preview with the shapes that the rule hits; every is set where the counts
// were looked up by the rule's value already.
func (l *Ledger) gather(p *Preview, hits found, texts map[string]int64, r revocation.Rule, every bool) {
	agents, subjects, roles := map[string]bool{}, map[string]bool{}, map[string]bool{}
	alone := revocation.NewIndex(revocation.Options{})
	if err := alone.Apply(revocation.Event{Type: revocation.EventRule, Rule: &r}); err != nil {
		p.Incomplete = "the rule could not be tried on the live tokens"
		return
	}
	own := l.ownWindows()
	var last int64
	told := 0
	for text := range texts {
		name := shapeName(text)
		windows, ok := hits[name]
		if ok {
			told++
		}
		var t shapeText
		if !ok || json.Unmarshal([]byte(text), &t) != nil {
			continue
		}
		c, err := t.claims()
		if err != nil {
			continue
		}
		if _, hit := alone.Revoked(c, t.Key); !hit && !every {
			continue
		}
		for w, n := range windows {
			p.Tokens += n
			p.BySubject[t.Subject] += n
			if w < last {
				continue
			}
			p.onlyOwn = (w > last || p.onlyOwn) && own[name][w] >= n
			last = w
		}
		agents[t.Client], subjects[t.Subject] = true, true
		for _, role := range t.Roles {
			roles[role] = true
		}
	}
	if told < len(hits) {
		p.Incomplete = "the shared store lost what some tokens are; it is told again within a minute of their next issue"
	}
	p.Agents, p.Subjects, p.Roles = slices.Sorted(maps.Keys(agents)), slices.Sorted(maps.Keys(subjects)), slices.Sorted(maps.Keys(roles))
	if last > 0 {
		p.LongestExpiry = l.endOf(last)
	}
}

// ownWindows is how many tokens of each shape this replica has issued, by window: where
// they are all there are, their exact expiry is known.
func (l *Ledger) ownWindows() found {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := found{}
	for _, s := range l.shapes {
		for w, n := range s.windows {
			out.note(s.name, w, n)
		}
	}
	return out
}
