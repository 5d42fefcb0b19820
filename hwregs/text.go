package hwregs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Assign does what a line such as "TP_RXT_MIN=200ms", "TP_SHIFT_CNT.SynShiftMax=4" or
// "0x398=25000" says. An error means that nothing has changed.
func (b *Bank) Assign(line string) error {
	a, err := ParseAssignment(line)
	if err == nil && a.Name == "" {
		return b.Write(a.Addr, a.Raw)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		return b.reject(strings.TrimSpace(line), err)
	}
	e := b.names[a.Name]
	if e == nil {
		return b.reject(a.Name, ErrUnknown)
	}
	if len(e.fields) > 0 {
		raw, err := strconv.ParseUint(a.Value, 0, 32)
		if err != nil {
			return b.reject(a.Name, fmt.Errorf("%q: a register with fields takes a plain number: %w", a.Value, ErrSyntax))
		}
		return b.writeRaw(e, uint32(raw))
	}
	v, err := e.unit().parse(a.Value)
	if err != nil {
		return b.reject(a.Name, err)
	}
	return b.write(e, v)
}

// Assignment is a parsed line of [Bank.Assign].
type Assignment struct {
	Name  string // REG or REG.Field; "": by address
	Value string // as written, with its unit; valid only with a name
	Addr  uint32 // valid only without a name
	Raw   uint32 // valid only without a name
}

// ParseAssignment takes "NAME=VALUE" or "ADDRESS=NUMBER" apart.
func ParseAssignment(line string) (a Assignment, err error) {
	left, right, ok := strings.Cut(line, "=")
	left, right = strings.TrimSpace(left), strings.TrimSpace(right)
	if !ok || left == "" || right == "" {
		return a, fmt.Errorf("%q is not of the form NAME=VALUE: %w", line, ErrSyntax)
	}
	if left[0] < '0' || left[0] > '9' {
		return Assignment{Name: left, Value: right}, nil
	}
	addr, err1 := strconv.ParseUint(left, 0, 32)
	raw, err2 := strconv.ParseUint(right, 0, 32)
	if err1 != nil || err2 != nil {
		return a, fmt.Errorf("%q: an address takes a plain number of 32 bits: %w", line, ErrSyntax)
	}
	return Assignment{Addr: uint32(addr), Raw: uint32(raw)}, nil
}

// suffixes of octet values; longer ones first, so that none hides another.
var byteUnits = [...]struct {
	suffix string
	factor uint64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parse reads a value with its unit and returns it in natural units. Times need a unit ("200ms",
// "75s"); octets may have one ("64KiB"); numbers have none and may be hexadecimal.
func (u Unit) parse(s string) (uint64, error) {
	switch u {
	case Ticks, Nanos:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is no time such as 200ms or 75s: %w", s, ErrSyntax)
		}
		return uint64(d), nil
	case Bytes, KiB:
		return parseBytes(s)
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number: %w", s, ErrSyntax)
	}
	return v, nil
}

func parseBytes(s string) (uint64, error) {
	number, factor := s, uint64(1)
	for _, b := range byteUnits {
		if n, ok := strings.CutSuffix(s, b.suffix); ok {
			number, factor = strings.TrimSpace(n), b.factor
			break
		}
	}
	v, err := strconv.ParseUint(number, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size such as 65536, 64KiB or 4MiB: %w", s, ErrSyntax)
	}
	if v > 1<<63/factor {
		return 0, fmt.Errorf("%q: %w", s, ErrRange)
	}
	return v * factor, nil
}

// text writes a natural value as parse reads it.
func (e *entry) text(v uint64) string {
	switch e.unit() {
	case Ticks, Nanos:
		return time.Duration(v).String()
	case Bytes, KiB:
		for _, b := range byteUnits[:3] {
			if v >= b.factor && v%b.factor == 0 {
				return fmt.Sprintf("%d%s", v/b.factor, b.suffix)
			}
		}
	}
	return strconv.FormatUint(v, 10)
}

// Value is one register or field in a dump.
type Value struct {
	Name   string  `json:"name"`
	Addr   uint32  `json:"addr"`
	Access string  `json:"access"`
	Raw    uint64  `json:"raw"`  // as the register shows it; of a wide register all 64 bits
	Text   string  `json:"text"` // in natural units
	Doc    string  `json:"doc"`
	Fields []Value `json:"fields,omitempty"`
}

// Dump returns the registers that are present and whose names begin with prefix (a block's name,
// or "" for all), by address. Nothing is latched or cleared, and no index moves.
func (b *Bank) Dump(prefix string) []Value {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Value
	for _, e := range b.order {
		if e.reg.Access == IDX || !strings.HasPrefix(e.name, prefix) {
			continue
		}
		v, err := b.natural(e)
		if err != nil {
			continue
		}
		d := e.value(v)
		for _, f := range e.fields {
			if f.bound {
				d.Fields = append(d.Fields, f.value(f.bind.Get()))
			}
		}
		out = append(out, d)
	}
	return out
}

// Describe returns one register or field by name, as Dump does.
func (b *Bank) Describe(name string) (Value, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.names[name]
	if e == nil {
		return Value{}, fmt.Errorf("read %s: %w", name, ErrUnknown)
	}
	v, err := b.natural(e)
	if err != nil {
		return Value{}, err
	}
	d := e.value(v)
	for _, f := range e.fields {
		if f.bound {
			d.Fields = append(d.Fields, f.value(f.bind.Get()))
		}
	}
	return d, nil
}

func (e *entry) value(v uint64) Value {
	d := Value{Name: e.name, Addr: e.addr, Access: e.access().String(), Raw: v, Text: e.text(v), Doc: e.reg.Doc}
	if e.field != nil {
		d.Doc = e.field.Doc
	}
	switch {
	case len(e.fields) > 0:
		d.Text = fmt.Sprintf("0x%08x", v)
	case !e.reg.Wide:
		d.Raw = uint64(e.raw(v))
	}
	return d
}
