package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"
)

// Figure is one thing that was measured.
type Figure struct {
	Part  string
	Name  string // in JSON; the unit is its ending, but for ratios and counts
	Value float64
	About string
	Goal  Goal
}

// Goal is what a figure should be. The zero value is none.
type Goal struct {
	sign  string // "≥" or "≤"
	bound float64
}

// AtLeast and AtMost make goals.
func AtLeast(v float64) Goal { return Goal{"≥", v} }
func AtMost(v float64) Goal  { return Goal{"≤", v} }

// Met reports whether a value is as good as the goal.
func (g Goal) Met(v float64) bool {
	switch g.sign {
	case "≥":
		return v >= g.bound
	case "≤":
		return v <= g.bound
	}
	return true
}

// String is "≥ 0.75", "≤ 50" or empty.
func (g Goal) String() string {
	if g.sign == "" {
		return ""
	}
	return g.sign + " " + number(g.bound)
}

// Fact is what was measured with, where that is not always the same.
type Fact struct{ Name, Text string }

// Report is what a run measured, in the order in which it did.
type Report struct {
	Figures []Figure
	Facts   []Fact
	CPUs    int
	Go      string
	parts   []partTime
}

type partTime struct {
	part string
	took time.Duration
}

func newReport() *Report {
	return &Report{CPUs: runtime.NumCPU(), Go: runtime.Version()}
}

func (r *Report) add(part, name string, value float64, goal Goal, about string) {
	r.Figures = append(r.Figures, Figure{Part: part, Name: name, Value: rounded(value), About: about, Goal: goal})
}

func (r *Report) tell(name, text string) { r.Facts = append(r.Facts, Fact{name, text}) }

func (r *Report) took(part string, d time.Duration) { r.parts = append(r.parts, partTime{part, d}) }

// rounded keeps four digits: there is no more in a measurement.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Figure gives a value by its name.
func (r *Report) Figure(name string) (float64, bool) {
	for i := range r.Figures {
		if r.Figures[i].Name == name {
			return r.Figures[i].Value, true
		}
	}
	return 0, false
}

// MarshalJSON writes one flat object: each figure under its name, in the order of the run,
// and what it ran on.
func (r *Report) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for _, f := range r.Figures {
		fmt.Fprintf(&out, "%q:%s,", f.Name, number(f.Value))
	}
	for _, p := range r.parts {
		fmt.Fprintf(&out, "%q:%s,", p.part+"_seconds", number(rounded(p.took.Seconds())))
	}
	fmt.Fprintf(&out, `"cpus":%d`, r.CPUs)
	for _, f := range append([]Fact{{"go", r.Go}}, r.Facts...) {
		text, err := json.Marshal(f.Text)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, ",%q:%s", f.Name, text)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// WriteText writes a table: each figure, its goal, and whether it is met.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	part := ""
	for _, f := range r.Figures {
		if f.Part != part {
			part = f.Part
			_, _ = fmt.Fprintf(t, "%s\n", part)
		}
		mark := ""
		if goal := f.Goal.String(); goal != "" {
			mark = "ok"
			if !f.Goal.Met(f.Value) {
				mark = "MISSED"
			}
		}
		_, _ = fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Goal, mark, f.About)
	}
	_, _ = fmt.Fprintf(t, "%d CPUs, %s", r.CPUs, r.Go)
	for _, f := range r.Facts {
		_, _ = fmt.Fprintf(t, ", %s %s", f.Name, f.Text)
	}
	for _, p := range r.parts {
		_, _ = fmt.Fprintf(t, ", %s in %s", p.part, p.took.Round(100*time.Millisecond))
	}
	_, _ = fmt.Fprintln(t)
	return t.Flush()
}
