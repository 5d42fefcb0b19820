package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"opentoe/cmd/internal/ctl"
)

// stateNames are ss's names of RFC 9293's states.
var stateNames = map[string]string{
	"ESTABLISHED": "ESTAB", "SYN-SENT": "SYN-SENT", "SYN-RECEIVED": "SYN-RECV", "FIN-WAIT-1": "FIN-WAIT-1",
	"FIN-WAIT-2": "FIN-WAIT-2", "TIME-WAIT": "TIME-WAIT", "CLOSED": "UNCONN", "CLOSE-WAIT": "CLOSE-WAIT",
	"LAST-ACK": "LAST-ACK", "LISTEN": "LISTEN", "CLOSING": "CLOSING",
}

// stateFilters are the names of states in ss's filters, and of groups of them, with the states.
var stateFilters = func() map[string][]string {
	m := map[string][]string{
		"established": {"ESTABLISHED"}, "estab": {"ESTABLISHED"}, "syn-sent": {"SYN-SENT"}, "syn-recv": {"SYN-RECEIVED"},
		"fin-wait-1": {"FIN-WAIT-1"}, "fin-wait-2": {"FIN-WAIT-2"}, "time-wait": {"TIME-WAIT"}, "closed": {"CLOSED"},
		"close-wait": {"CLOSE-WAIT"}, "last-ack": {"LAST-ACK"}, "listening": {"LISTEN"}, "listen": {"LISTEN"},
		"closing": {"CLOSING"}, "bucket": {"SYN-RECEIVED", "TIME-WAIT"},
	}
	for state := range stateNames {
		m["all"] = append(m["all"], state)
		if state != "LISTEN" && state != "CLOSED" {
			m["connected"] = append(m["connected"], state)
			if state != "SYN-SENT" {
				m["synchronized"] = append(m["synchronized"], state)
			}
		}
		if !slices.Contains(m["bucket"], state) {
			m["big"] = append(m["big"], state)
		}
	}
	return m
}()

// filter returns which sockets the flags and the words of the command line choose. States that are named
// are instead of those that the flags choose.
func (v *view) filter(words []string) (keep func(*ctl.Socket) bool, err error) {
	states := stateFilters["connected"]
	switch {
	case v.all:
		states = stateFilters["all"]
	case v.listening:
		states = stateFilters["listening"]
	}
	states, named := slices.Clone(states), false
	for ; len(words) > 0; words = words[2:] {
		if words[0] != "state" && words[0] != "exclude" {
			return nil, fmt.Errorf("%q: write state NAME or exclude NAME", strings.Join(words, " "))
		}
		if len(words) < 2 {
			return nil, fmt.Errorf("%s: which state?", words[0])
		}
		group, ok := stateFilters[strings.ToLower(words[1])]
		if !ok {
			return nil, fmt.Errorf("%s: no such state: toectl ss --help names them", words[1])
		}
		if words[0] == "exclude" {
			states = slices.DeleteFunc(states, func(s string) bool { return slices.Contains(group, s) })
			continue
		}
		if !named {
			states, named = nil, true
		}
		states = append(states, group...)
	}
	return func(s *ctl.Socket) bool { return slices.Contains(states, s.State) && v.family(s) }, nil
}

// family reports whether the socket is of a family that -4 and -6 choose.
func (v *view) family(s *ctl.Socket) bool {
	if v.v4 == v.v6 {
		return true
	}
	local, err := netip.ParseAddrPort(s.Local)
	return err == nil && local.Addr().Is4() == v.v4
}
