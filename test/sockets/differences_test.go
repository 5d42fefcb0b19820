package sockets

// differences are the cases whose output on the TOE is another than the kernel's, and why. docs/SOCKETS.md
// lists them. A case that differs no more fails until it is taken out.
var differences = map[string]string{}
