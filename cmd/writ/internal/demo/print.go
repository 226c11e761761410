package demo

import (
	"fmt"
	"io"
	"strings"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// Printer writes the story as it goes, for people. A failure to write is ignored: whether the
// story held is said by the exit code, too.
type Printer struct {
	Out io.Writer

	places *strings.Replacer
}

// Started introduces the world.
func (p *Printer) Started(w *dev.World) {
	p.places = strings.NewReplacer(w.Issuer(), "broker", w.Admin(), "admin", w.Resource(), "warehouse")
	p.line("Writ, from a workload's identity to a revoked token. Nothing here is simulated.")
	p.line("")
	p.line("  identity provider  %s   a cluster's issuer and a login service, with keys of their own", w.IdentityProvider())
	p.line("  broker             %s   its issuer identifier is this URL", w.Issuer())
	p.line("  admin              %s", w.Admin())
	p.line("  warehouse          %s   the resource server, behind package verifier", w.Resource())
	p.line("  data               %s", w.DataDir())
	p.line("")
	p.line("Tokens are shown as <who and jti>; > is what was sent, < what came back.")
}

// Done prints one step.
func (p *Printer) Done(s Step) {
	p.line("")
	p.line("%d. %s", s.Number, s.Title)
	for _, x := range s.Exchanges {
		p.exchange(x)
	}
	switch {
	case s.Skipped:
		p.line("   skipped")
	case s.OK:
		p.line("   held: %s   %.1f ms", s.Name, s.MS)
	default:
		p.line("   DID NOT HOLD: %s: %s", s.Name, s.Fault)
	}
}

// End sums up.
func (p *Printer) End(r Report) {
	held := 0
	for _, s := range r.Steps {
		if s.OK {
			held++
		}
	}
	p.line("")
	p.line("%d of %d steps held, in %.1f s (%.1f s of it to start).", held, len(r.Steps), r.MS/1000, r.StartMS/1000)
}

func (p *Printer) exchange(x Exchange) {
	status := ""
	if x.Status > 0 {
		status = fmt.Sprintf("%d   %.1f ms", x.Status, x.MS)
	}
	p.line("   %-6s %-62s %s", x.Method, p.place(x.URL), status)
	p.fields(">", x.Sent)
	p.fields("<", x.Got)
}

func (p *Printer) place(text string) string {
	if p.places == nil {
		return text
	}
	return p.places.Replace(text)
}

func (p *Printer) fields(sign string, fields []Field) {
	for _, f := range fields {
		lines := strings.Split(strings.TrimRight(f.Value, "\n"), "\n")
		p.line("      %s %-18s %s", sign, f.Name, lines[0])
		for _, more := range lines[1:] {
			p.line("      %s %-18s %s", sign, "", more)
		}
	}
}

func (p *Printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.Out, format+"\n", args...) }
