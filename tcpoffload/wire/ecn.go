package wire

// ECN is the two-bit field of the IP header that carries explicit congestion notification
// (RFC 3168 §5).
type ECN uint8

// The codepoints.
const (
	NotECT ECN = 0 // the sender does not know ECN
	ECT1   ECN = 1
	ECT0   ECN = 2
	CE     ECN = 3 // congestion experienced
)
