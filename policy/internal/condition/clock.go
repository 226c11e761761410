package condition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// clock is all that a condition asks of request.time. Between two instants that next gives, the
// answers are the same.
type clock struct {
	instants []time.Time // compared with
	calendar []field
}

// field is one number of a calendar, in one zone.
type field struct {
	unit time.Duration // it changes only where a minute, an hour or a day of the zone ends
	zone *time.Location
}

// calendarUnits are the accessors that a condition may use. Seconds are left out on purpose: a
// credential cannot be cut that finely.
var calendarUnits = map[string]time.Duration{
	"getFullYear": 24 * time.Hour, "getMonth": 24 * time.Hour, "getDate": 24 * time.Hour,
	"getDayOfMonth": 24 * time.Hour, "getDayOfWeek": 24 * time.Hour, "getDayOfYear": 24 * time.Hour,
	"getHours": time.Hour, "getMinutes": time.Minute,
}

var comparisons = []string{
	operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
	operators.Equals, operators.NotEquals,
}

// next is the first instant after t at which an answer may differ.
func (c *clock) next(t time.Time) (time.Time, bool) {
	var first time.Time
	consider := func(at time.Time) {
		if at.After(t) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for _, at := range c.instants {
		consider(at)
		consider(at.Add(1)) // where <= and == end
	}
	for _, f := range c.calendar {
		local := t.In(f.zone)
		consider(f.endOfUnit(local))
		if _, end := local.ZoneBounds(); !end.IsZero() {
			consider(end)
		}
	}
	return first, !first.IsZero()
}

// endOfUnit is where the unit that holds local ends by the offset in force at local.
func (f field) endOfUnit(local time.Time) time.Time {
	sinceMidnight := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute +
		time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	return local.Add(f.unit - sinceMidnight%f.unit)
}

// readTime records one use of request.time, or says why it cannot be allowed.
func (c *clock) readTime(use ast.NavigableExpr) error {
	parent, ok := use.Parent()
	if !ok || parent.Kind() != ast.CallKind {
		return timeError()
	}
	call := parent.AsCall()
	if unit, ok := calendarUnits[call.FunctionName()]; ok && call.IsMemberFunction() && call.Target().ID() == use.ID() {
		zone := time.UTC
		if len(call.Args()) == 1 {
			var err error
			if zone, err = constantZone(call.Args()[0]); err != nil {
				return err
			}
		}
		c.calendar = append(c.calendar, field{unit, zone})
		return nil
	}
	if !slices.Contains(comparisons, call.FunctionName()) || len(call.Args()) != 2 {
		return timeError()
	}
	other := call.Args()[0]
	if other.ID() == use.ID() {
		other = call.Args()[1]
	}
	instant, ok := constantTime(other)
	if !ok {
		return timeError()
	}
	c.instants = append(c.instants, instant)
	return nil
}

func timeError() error {
	return &Error{
		"request.time is used in a way whose end cannot be computed",
		`compare it with a constant, as in request.time < timestamp("2027-01-01T00:00:00Z"), or use getHours("Europe/Berlin"), getMinutes, getDayOfWeek, getDate, getMonth, getFullYear`,
	}
}

// constantTime reads timestamp("…") and timestamp(seconds).
func constantTime(e ast.Expr) (time.Time, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "timestamp" || len(e.AsCall().Args()) != 1 {
		return time.Time{}, false
	}
	arg := e.AsCall().Args()[0]
	if arg.Kind() != ast.LiteralKind {
		return time.Time{}, false
	}
	stamp, ok := arg.AsLiteral().ConvertToType(types.TimestampType).(types.Timestamp)
	return stamp.Time, ok
}

// constantZone reads the zone of a calendar accessor. It must be a constant, since a name is looked
// up among files, and must not be the host's.
func constantZone(e ast.Expr) (*time.Location, error) {
	if e.Kind() == ast.LiteralKind {
		if name, ok := e.AsLiteral().(types.String); ok {
			if zone, err := loadZone(string(name)); err == nil {
				return zone, nil
			}
		}
	}
	return nil, &Error{"the time zone is not a constant that is known", `write it as "UTC", as "Europe/Berlin" or as "+02:00"`}
}

// loadZone reads a zone as CEL does, but for the host's own, which would differ between replicas.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("zone %q depends on the host", name)
	}
	hours, minutes, isOffset := strings.Cut(name, ":")
	if !isOffset {
		return time.LoadLocation(name)
	}
	h, errH := strconv.Atoi(hours)
	m, errM := strconv.Atoi(minutes)
	if errH != nil || errM != nil || h < -14 || h > 14 || m < 0 || m > 59 || minutes[0] == '+' {
		return nil, fmt.Errorf("zone %q is no offset", name)
	}
	if strings.HasPrefix(hours, "-") {
		m = -m
	}
	return time.FixedZone(name, h*3600+m*60), nil
}

// zoned is a calendar accessor whose zone was looked up when it was compiled: CEL itself would
// read a file at each evaluation.
type zoned struct {
	interpreter.InterpretableCall
	time interpreter.InterpretableV2
	zone *time.Location
	get  func(time.Time) int
}

var calendarGetters = map[string]func(time.Time) int{
	"getFullYear":   time.Time.Year,
	"getMonth":      func(t time.Time) int { return int(t.Month()) - 1 },
	"getDate":       time.Time.Day,
	"getDayOfMonth": func(t time.Time) int { return t.Day() - 1 },
	"getDayOfWeek":  func(t time.Time) int { return int(t.Weekday()) },
	"getDayOfYear":  func(t time.Time) int { return t.YearDay() - 1 },
	"getHours":      time.Time.Hour,
	"getMinutes":    time.Time.Minute,
}

// fixZones replaces calendar accessors that name a zone.
func fixZones(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 2 || !strings.HasPrefix(call.OverloadID(), "timestamp_to_") {
		return i, nil
	}
	get, ok := calendarGetters[call.Function()]
	name, isConst := call.Args()[1].(interpreter.InterpretableConst)
	if !ok || !isConst {
		return i, nil
	}
	text, ok := name.Value().(types.String)
	if !ok {
		return i, nil
	}
	zone, err := loadZone(string(text))
	if err != nil {
		return nil, err
	}
	return &zoned{call, call.Args()[0], zone, get}, nil
}

// Exec implements interpreter.InterpretableV2.
func (z *zoned) Exec(frame *interpreter.ExecutionFrame) ref.Val { return z.read(z.time.Exec(frame)) }

// Eval implements interpreter.Interpretable.
func (z *zoned) Eval(vars cel.Activation) ref.Val { return z.read(z.time.Eval(vars)) }

func (z *zoned) read(v ref.Val) ref.Val {
	if stamp, ok := v.(types.Timestamp); ok {
		return types.Int(z.get(stamp.In(z.zone)))
	}
	if types.IsUnknownOrError(v) {
		return v
	}
	return types.MaybeNoSuchOverloadErr(v)
}
