package xdp

// Verdict says why a received frame went where it went.
type Verdict uint8

// The verdicts, in the order of steer.c.
const (
	PassOther  Verdict = iota // no TCP for the interface's own addresses, or a later fragment: the kernel's
	PassPort                  // TCP to a port that is none of the TOE's: the kernel's
	PassSocket                // the kernel has the connection: the kernel's
	ToTOE                     // redirected
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{"pass-other", "pass-port", "pass-socket", "to-toe"}

// String returns the verdict's name.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// Verdicts returns how many frames had each verdict since Attach.
func (s *Steering) Verdicts() (n [NumVerdicts]uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return n, nil
	}
	for v := range n {
		var perCPU []uint64
		if err := s.objects.Verdicts.Lookup(uint32(v), &perCPU); err != nil {
			return n, explain("", err)
		}
		for _, c := range perCPU {
			n[v] += c
		}
	}
	return n, nil
}
