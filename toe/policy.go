package toe

import (
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"

	"opentoe/tcpoffload/wire"
)

// Role is a socket's part in an open.
type Role uint8

// The roles.
const (
	RoleAny Role = iota
	RoleActive
	RolePassive
)

// Ports is a range of ports, both ends included; the zero value is every port.
type Ports struct{ First, Last uint16 }

func (p Ports) has(port uint16) bool { return p.Last == 0 || p.First <= port && port <= p.Last }

// Switch is yes, no, or what is said elsewhere.
type Switch uint8

// The positions.
const (
	Unsaid Switch = iota
	Yes
	No
)

// Rule says which sockets it is for and what becomes of them. Zero fields of the first group match
// everything, zero settings change nothing.
type Rule struct {
	Role                    Role
	Local, Remote           netip.Prefix
	LocalPorts, RemotePorts Ports

	Offload       Switch // No: the kernel carries it
	CC            CC     // unless the program has chosen one
	ECN           ECN
	NoDelay       Switch // Yes: as if the program had asked for it; likewise Keepalive
	Keepalive     Switch
	SACK          Switch // No: without
	Timestamps    Switch
	FastOpen      Switch // Yes: as if the program had asked for it; No: without
	MSS           uint16 // upper bound, octets
	MaxPacingRate uint64 // upper bound, octets per second
}

// fastOpenQueue is what a rule gives a listener that has not asked for Fast Open itself.
const fastOpenQueue = 256

// peers reports whether the rule depends on the peer.
func (r *Rule) peers() bool { return r.Remote.IsValid() || r.RemotePorts.Last != 0 }

// check says what is wrong with the rule: the setting's name and why, "" if nothing is.
func (r *Rule) check() (setting, wrong string) {
	for _, p := range []struct {
		name string
		v    Ports
	}{{"local_ports", r.LocalPorts}, {"remote_ports", r.RemotePorts}} {
		if p.v.First > p.v.Last {
			return p.name, "ends before it begins"
		}
	}
	if r.MSS != 0 && r.MSS < minRuleMSS {
		return "mss", fmt.Sprintf("below %d", minRuleMSS)
	}
	if r.MaxPacingRate > math.MaxInt64 {
		return "max_pacing_rate", "too large"
	}
	// When the peer is known the handshake is over, and the kernel has not seen it.
	if r.Role != RolePassive || !r.peers() {
		return "", ""
	}
	for _, s := range []struct {
		name string
		said bool
	}{
		{"offload", r.Offload == No}, {"ecn", r.ECN != ECNDefault}, {"sack", r.SACK != Unsaid},
		{"timestamps", r.Timestamps != Unsaid}, {"mss", r.MSS != 0}, {"fast_open", r.FastOpen != Unsaid},
	} {
		if s.said {
			return s.name, "of a passive socket cannot depend on the peer"
		}
	}
	return "", ""
}

// minRuleMSS is the least MSS that a rule may ask for, octets.
const minRuleMSS = 88

// Policy is an ordered list of rules, the first that matches counts. It may be used from any goroutine; a
// nil Policy has no rules.
type Policy struct {
	rules []Rule
	hits  []atomic.Uint64
}

// RuleError tells which setting of which rule is wrong.
type RuleError struct {
	Index          int
	Setting, Cause string
}

// Error implements error.
func (e *RuleError) Error() string {
	return fmt.Sprintf("policy[%d].%s: %s", e.Index, e.Setting, e.Cause)
}

// NewPolicy returns a policy of the rules; the error is a [*RuleError].
func NewPolicy(rules []Rule) (*Policy, error) {
	p := &Policy{rules: make([]Rule, len(rules)), hits: make([]atomic.Uint64, len(rules))}
	for i, r := range rules {
		if setting, wrong := r.check(); setting != "" {
			return nil, &RuleError{i, setting, wrong}
		}
		r.Local, r.Remote = r.Local.Masked(), r.Remote.Masked()
		p.rules[i] = r
	}
	return p, nil
}

// Hits returns how often each rule was the first that matched.
func (p *Policy) Hits() []uint64 {
	if p == nil {
		return nil
	}
	list := make([]uint64, len(p.hits))
	for i := range p.hits {
		list[i] = p.hits[i].Load()
	}
	return list
}

// ends are what a rule looks at.
type ends struct {
	role        Role
	local       wire.Addr // unspecified: not known, matches only a rule without a local prefix
	localPort   uint16
	remote      wire.Addr
	remotePort  uint16
	remoteKnown bool
}

func within(p netip.Prefix, a wire.Addr) bool {
	return !p.IsValid() || !a.IsUnspecified() && p.Contains(a.Netip())
}

// find returns the first rule for e and counts it, or nil. Rules that depend on a peer who is not known
// are passed over.
func (p *Policy) find(e *ends) *Rule {
	if p == nil {
		return nil
	}
	for i := range p.rules {
		r := &p.rules[i]
		switch {
		case r.Role != RoleAny && r.Role != e.role, !r.LocalPorts.has(e.localPort), !within(r.Local, e.local):
		case r.peers() && (!e.remoteKnown || !r.RemotePorts.has(e.remotePort) || !within(r.Remote, e.remote)):
		default:
			p.hits[i].Add(1)
			return r
		}
	}
	return nil
}

// Connect decides about an active open and changes its settings. It does not block or allocate.
func (p *Policy) Connect(req *ConnectRequest) Reason {
	f := &req.Flow
	r := p.find(&ends{RoleActive, f.Local, f.LocalPort, f.Remote, f.RemotePort, true})
	if r == nil {
		return Offloaded
	}
	if r.Offload == No {
		return ReasonPolicy
	}
	r.apply(&req.Opt)
	switch r.FastOpen {
	case Yes:
		req.Opt.FastOpenConn = true
	case No:
		req.Opt.FastOpenConn = false
	}
	return Offloaded
}

// Listen decides about a passive open by the rules that do not depend on the peer, and changes what its
// connections start with.
func (p *Policy) Listen(l *Listener) Reason {
	r := p.find(&ends{role: RolePassive, local: l.Addr, localPort: l.Port})
	if r == nil {
		return Offloaded
	}
	if r.Offload == No {
		return ReasonPolicy
	}
	r.apply(&l.Opt)
	switch {
	case r.FastOpen == Yes && l.Opt.FastOpen == 0:
		l.Opt.FastOpen = fastOpenQueue
	case r.FastOpen == No:
		l.Opt.FastOpen = 0
	}
	return Offloaded
}

// Accept calls set for the settings of the first rule that matches a connection of a listener, if that
// rule depends on the peer. What is negotiated in the handshake is settled by then.
func (p *Policy) Accept(f *wire.Flow, set func(o Option, value int64)) {
	if p == nil || len(p.rules) == 0 {
		return
	}
	r := p.find(&ends{RolePassive, f.Local, f.LocalPort, f.Remote, f.RemotePort, true})
	if r == nil || !r.peers() {
		return
	}
	if r.CC != CCDefault {
		set(OptionCC, int64(r.CC))
	}
	if r.NoDelay == Yes {
		set(OptionNoDelay, 1)
	}
	if r.Keepalive == Yes {
		set(OptionKeepalive, 1)
	}
	if r.MaxPacingRate != 0 {
		set(OptionMaxPacingRate, int64(r.MaxPacingRate))
	}
}

// apply changes the settings that both roles have.
func (r *Rule) apply(o *SocketOptions) {
	if o.CC == CCDefault {
		o.CC = r.CC
	}
	if r.ECN != ECNDefault {
		o.ECN = r.ECN
	}
	o.NoDelay = o.NoDelay || r.NoDelay == Yes
	o.Keepalive = o.Keepalive || r.Keepalive == Yes
	o.NoSACK = o.NoSACK || r.SACK == No
	o.NoTimestamps = o.NoTimestamps || r.Timestamps == No
	if r.MSS != 0 && (o.MSS == 0 || o.MSS > r.MSS) {
		o.MSS = r.MSS
	}
	if r.MaxPacingRate != 0 && (o.MaxPacingRate == 0 || o.MaxPacingRate > r.MaxPacingRate) {
		o.MaxPacingRate = r.MaxPacingRate
	}
}
