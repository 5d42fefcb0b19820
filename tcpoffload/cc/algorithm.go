package cc

// The algorithms and their names.

// Algorithm names a congestion-control algorithm.
type Algorithm uint8

// The algorithms.
const (
	Reno  Algorithm = iota // RFC 5681, 6582
	Cubic                  // RFC 9438
	DCTCP                  // RFC 8257
	BBR                    // draft-ietf-ccwg-bbr, version 3

	NumAlgorithms = 4
)

var names = [NumAlgorithms]string{Reno: "reno", Cubic: "cubic", DCTCP: "dctcp", BBR: "bbr"}

// String returns the name that Linux' TCP_CONGESTION uses.
func (a Algorithm) String() string {
	if a >= NumAlgorithms {
		return "unknown"
	}
	return names[a]
}

// ParseAlgorithm returns the algorithm called name.
func ParseAlgorithm(name string) (a Algorithm, ok bool) {
	for i, n := range names {
		if n == name {
			return Algorithm(i), true
		}
	}
	return 0, false
}

// Names returns the names of all algorithms, in the order of their numbers.
func Names() []string { return append([]string(nil), names[:]...) }

// NeedsECN reports whether a works only with ECN and with exact feedback of every mark (RFC 8257).
func (a Algorithm) NeedsECN() bool { return a == DCTCP }

// Choice is an algorithm, or the zero value: whatever is the default.
type Choice uint8

// Choose returns the choice of a.
func Choose(a Algorithm) Choice { return Choice(a) + 1 }

// Or returns the algorithm chosen, or def.
func (c Choice) Or(def Algorithm) Algorithm {
	if c == 0 {
		return def
	}
	return Algorithm(c - 1)
}

// Valid reports whether c names an algorithm that there is, or none.
func (c Choice) Valid() bool { return c <= NumAlgorithms }
