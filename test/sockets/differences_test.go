package sockets

// differences are the cases whose output on the TOE is another than the kernel's, and why. docs/SOCKETS.md
// lists them. A case that differs no more fails until it is taken out.
var differences = map[string]string{
	"connecting/dissolve_leaves_an_error": "a connection that connect to AF_UNSPEC ends leaves no ECONNRESET behind for the next call",
}
