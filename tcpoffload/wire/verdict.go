package wire

// Verdict says what [Parse] made of a frame. Each is counted under its name.
type Verdict uint8

// The verdicts.
const (
	VerdictTCP          Verdict = iota // a sound TCP segment; the Packet is valid
	VerdictOther                       // not TCP over IP, or an IP feature that is left to the kernel
	VerdictFragment                    // a fragment of a TCP segment
	VerdictShort                       // too short for the headers it announces
	VerdictBadIPVersion                // the IP version is not that of the Ethernet type
	VerdictBadIPHeader                 // IPv4 header length below 20, or a broken IPv6 extension chain
	VerdictBadIPLength                 // the IP length says more than arrived, or less than the header
	VerdictBadIPChecksum
	VerdictBadAddress   // a source or destination that TCP must not answer (RFC 9293 MUST-57, MUST-63)
	VerdictBadTCPHeader // the data offset is below 20 or beyond the segment
	VerdictBadTCPChecksum
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{
	"tcp", "other", "fragment", "short", "bad-ip-version", "bad-ip-header", "bad-ip-length",
	"bad-ip-checksum", "bad-address", "bad-tcp-header", "bad-tcp-checksum",
}

// String returns the name under which the verdict is counted.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// Malformed reports whether the frame is wrong, as opposed to not for us.
func (v Verdict) Malformed() bool { return v >= VerdictShort }
