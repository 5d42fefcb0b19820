// Package ctl is the conversation between toectl and toed: HTTP with JSON over a Unix socket that
// only toed's user may open.
//
//	GET  /status, /sockets, /stats      types of this package
//	GET  /neighbours, /routes           what the TOE's packets go by
//	GET  /registers?name=NAME           hwregs.Value each, all of them without a name
//	POST /registers                     an assignment in the body: TP_RXT_MIN=200ms
//	GET  /capture?filter=&snaplen=      a pcapng stream until the client hangs up
//
// An error is a status of 400 (the request is wrong) or 500 and an [Error].
package ctl
