package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Binary units, in octets.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// Size is a number of octets, written with a unit: "256MiB".
type Size int64

// UnmarshalText reads digits followed by nothing or "B", "KiB", "MiB", "GiB".
func (s *Size) UnmarshalText(text []byte) error {
	str := string(text)
	digits := strings.TrimRight(str, "KMGiB ")
	unit := Size(1)
	switch strings.TrimSpace(str[len(digits):]) {
	case "", "B":
	case "KiB":
		unit = KiB
	case "MiB":
		unit = MiB
	case "GiB":
		unit = GiB
	default:
		return errors.New("write a size as 64KiB, 256MiB or 1GiB")
	}
	n, err := strconv.ParseInt(digits, 10, 32+1)
	if err != nil {
		return errors.New("write a size as 64KiB, 256MiB or 1GiB")
	}
	*s = Size(n) * unit
	return nil
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	switch {
	case s != 0 && s%GiB == 0:
		return fmt.Sprintf("%dGiB", s/GiB)
	case s != 0 && s%MiB == 0:
		return fmt.Sprintf("%dMiB", s/MiB)
	case s != 0 && s%KiB == 0:
		return fmt.Sprintf("%dKiB", s/KiB)
	}
	return strconv.FormatInt(int64(s), 10)
}

// Duration is a time span, written with a unit: "200ms".
type Duration time.Duration

// UnmarshalText reads what [time.ParseDuration] reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New("write a duration with its unit: 50us, 200ms or 30s")
	}
	*d = Duration(v)
	return nil
}

// String writes the duration as [time.Duration] does.
func (d Duration) String() string { return time.Duration(d).String() }

// Mode is a file mode, written in octal with a leading zero: 0660.
type Mode uint32

// UnmarshalText reads an octal number of at most 0777.
func (m *Mode) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil || text[0] != '0' || v > 0o777 {
		return errors.New("write a file mode in octal: 0660")
	}
	*m = Mode(v)
	return nil
}

// String writes the mode in octal.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MAC is an Ethernet address.
type MAC [6]byte

// UnmarshalText reads six octets in hexadecimal with colons.
func (m *MAC) UnmarshalText(text []byte) error {
	hw, err := net.ParseMAC(string(text))
	if err != nil || len(hw) != len(m) {
		return errors.New("write an Ethernet address as 02:00:00:00:00:01")
	}
	*m = MAC(hw)
	return nil
}

// String writes the address with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
