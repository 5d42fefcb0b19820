package toe

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"strings"
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

// IDs is a range of user or group numbers, both ends included; the zero value is every number.
type IDs struct {
	First, Last uint32
	Said        bool
}

func (i IDs) has(id uint32) bool { return !i.Said || i.First <= id && id <= i.Last }

// Client is who opens a socket, as the kernel tells it. What is not known is empty and matches no rule
// that asks for it.
type Client struct {
	Program  string // path of the executable
	UID, GID uint32 // effective
	Cgroup   string // path in the unified hierarchy: "/system.slice/nginx.service"
}

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
	Name string // for people

	Role                    Role
	Local, Remote           netip.Prefix
	LocalPorts, RemotePorts Ports
	Program                 string // of the executable: a path, or a name without slash; may have * ? [a-z]
	UID, GID                IDs
	Cgroup                  string // a path: the group and those below it

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
	Mirror        Switch // No: sniffers do not see its frames
}

// fastOpenQueue is what a rule gives a listener that has not asked for Fast Open itself.
const fastOpenQueue = 256

// peers reports whether the rule depends on the peer.
func (r *Rule) peers() bool { return r.Remote.IsValid() || r.RemotePorts.Last != 0 }

// clients reports whether the rule depends on who opens the socket.
func (r *Rule) clients() bool { return r.Program != "" || r.Cgroup != "" || r.UID.Said || r.GID.Said }

// admits reports whether the rule is for sockets of c, nil if nothing is known of the client.
func (r *Rule) admits(c *Client) bool {
	if !r.clients() {
		return true
	}
	return c != nil && r.UID.has(c.UID) && r.GID.has(c.GID) && below(r.Cgroup, c.Cgroup) && r.runs(c.Program)
}

// runs reports whether the executable is the rule's program.
func (r *Rule) runs(program string) bool {
	switch {
	case r.Program == "":
		return true
	case program == "":
		return false
	case r.Program[0] != '/':
		program = program[strings.LastIndexByte(program, '/')+1:]
	}
	ok, err := path.Match(r.Program, program)
	return ok && err == nil
}

// below reports whether the control group is top or in it; an empty top has all.
func below(top, group string) bool {
	rest, ok := strings.CutPrefix(group, top)
	return ok && (rest == "" || top == "" || rest[0] == '/')
}

// checkClient is check for the conditions on who opens the socket.
func (r *Rule) checkClient() (setting, wrong string) {
	if _, err := path.Match(r.Program, ""); err != nil {
		return "program", "is no pattern"
	}
	switch {
	case strings.Contains(r.Program, "/") && r.Program[0] != '/':
		return "program", "is neither a name nor a path from the root"
	case r.UID.First > r.UID.Last:
		return "uid", "ends before it begins"
	case r.GID.First > r.GID.Last:
		return "gid", "ends before it begins"
	case r.Cgroup != "" && (r.Cgroup[0] != '/' || r.Cgroup != "/" && strings.HasSuffix(r.Cgroup, "/")):
		return "cgroup", "is not the path of a control group"
	}
	return "", ""
}

// check says what is wrong with the rule: the setting's name and why, "" if nothing is.
func (r *Rule) check() (setting, wrong string) {
	if setting, wrong = r.checkClient(); setting != "" {
		return setting, wrong
	}
	for _, p := range []struct {
		name string
		v    Ports
	}{{"local_ports", r.LocalPorts}, {"remote_ports", r.RemotePorts}} {
		if p.v.First > p.v.Last {
			return p.name, "ends before it begins"
		}
	}
	for _, p := range []struct {
		name string
		v    netip.Prefix
	}{{"local", r.Local}, {"remote", r.Remote}} {
		if p.v.Addr().Is4In6() {
			return p.name, "is an IPv4 prefix in the form of IPv6"
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
// nil Policy has no rules. [Policy.Load] puts other rules into the place of all at once; sockets that are
// open keep what they have.
type Policy struct {
	set   atomic.Pointer[ruleSet]
	loads atomic.Uint64
	past  atomic.Uint64 // hits of rules that are not loaded any more
}

// ruleSet is what one load brought. The rules do not change.
type ruleSet struct {
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
	p := &Policy{}
	return p, p.Load(rules)
}

// Load replaces the rules; their counters begin at zero. The error is a [*RuleError], and then nothing has
// changed.
func (p *Policy) Load(rules []Rule) error {
	s := &ruleSet{rules: make([]Rule, len(rules)), hits: make([]atomic.Uint64, len(rules))}
	for i, r := range rules {
		if setting, wrong := r.check(); setting != "" {
			return &RuleError{i, setting, wrong}
		}
		r.Local, r.Remote = r.Local.Masked(), r.Remote.Masked()
		s.rules[i] = r
	}
	if old := p.set.Swap(s); old != nil {
		for i := range old.hits {
			p.past.Add(old.hits[i].Load()) // less those that a worker is about to count
		}
	}
	p.loads.Add(1)
	return nil
}

// RuleHits is a rule, and how often it was the first that matched since it was loaded.
type RuleHits struct {
	Rule
	Hits uint64
}

// Rules returns the rules in their order.
func (p *Policy) Rules() []RuleHits {
	if p == nil {
		return nil
	}
	s := p.set.Load()
	list := make([]RuleHits, len(s.rules))
	for i := range s.rules {
		list[i] = RuleHits{s.rules[i], s.hits[i].Load()}
	}
	return list
}

// Loads returns how often rules were loaded, and how often those matched that are not loaded any more.
func (p *Policy) Loads() (loads, pastHits uint64) {
	if p == nil {
		return 0, 0
	}
	return p.loads.Load(), p.past.Load()
}

// Opening is what rules look at.
type Opening struct {
	Client      *Client // nil: not known
	Role        Role
	Local       wire.Addr // unspecified: not known, matches only a rule without a local prefix
	LocalPort   uint16
	Remote      wire.Addr
	RemotePort  uint16
	RemoteKnown bool
}

func within(p netip.Prefix, a wire.Addr) bool {
	return !p.IsValid() || !a.IsUnspecified() && p.Contains(a.Netip())
}

// Match returns the place of the first rule for o, or -1, and counts nothing. Rules that depend on a peer
// who is not known are passed over.
func (p *Policy) Match(o *Opening) int {
	if p == nil {
		return -1
	}
	return p.set.Load().match(o)
}

func (s *ruleSet) match(o *Opening) int {
	for i := range s.rules {
		r := &s.rules[i]
		switch {
		case r.Role != RoleAny && r.Role != o.Role, !r.LocalPorts.has(o.LocalPort), !within(r.Local, o.Local):
		case r.peers() && (!o.RemoteKnown || !r.RemotePorts.has(o.RemotePort) || !within(r.Remote, o.Remote)):
		case !r.admits(o.Client):
		default:
			return i
		}
	}
	return -1
}

// find returns the first rule for o and counts it, or nil.
func (p *Policy) find(o *Opening) *Rule {
	if p == nil {
		return nil
	}
	s := p.set.Load()
	i := s.match(o)
	if i < 0 {
		return nil
	}
	s.hits[i].Add(1)
	return &s.rules[i]
}

// Connect decides about an active open and changes its settings. It does not block or allocate.
func (p *Policy) Connect(req *ConnectRequest) Reason {
	f := &req.Flow
	req.PacingBound = 0
	r := p.find(&Opening{req.Client, RoleActive, f.Local, f.LocalPort, f.Remote, f.RemotePort, true})
	if r == nil {
		return Offloaded
	}
	if r.Offload == No {
		return ReasonPolicy
	}
	r.connect(&req.Opt)
	req.PacingBound = r.MaxPacingRate
	return Offloaded
}

// Listen decides about a passive open by the rules that do not depend on the peer, and changes what its
// connections start with.
func (p *Policy) Listen(l *Listener) Reason {
	r := p.find(&Opening{Client: l.Client, Role: RolePassive, Local: l.Addr, LocalPort: l.Port})
	if r == nil {
		return Offloaded
	}
	if r.Offload == No {
		return ReasonPolicy
	}
	r.listen(&l.Opt)
	return Offloaded
}

// Reconsider returns what connections of listener l, which is open, start with under the present rules. It
// counts nothing. That l is offloaded was decided when it opened.
func (p *Policy) Reconsider(l *Listener) SocketOptions {
	o := l.Asked
	if p == nil {
		return o
	}
	s := p.set.Load()
	if i := s.match(&Opening{Client: l.Client, Role: RolePassive, Local: l.Addr, LocalPort: l.Port}); i >= 0 {
		s.rules[i].listen(&o)
	}
	return o
}

// Chosen is what a program has asked for its listener itself; zero fields: nothing.
type Chosen struct {
	CC            CC
	MaxPacingRate uint64 // octets per second
}

// Accept calls set for the settings of the first rule that matches a connection of a client's listener, if
// that rule depends on the peer. What is negotiated in the handshake is settled by then. It returns the
// upper bound of the connection's pacing rate, octets per second, 0 for none.
func (p *Policy) Accept(c *Client, f *wire.Flow, chosen Chosen, set func(o Option, value int64)) (bound uint64) {
	if p == nil || len(p.set.Load().rules) == 0 {
		return 0
	}
	r := p.find(&Opening{c, RolePassive, f.Local, f.LocalPort, f.Remote, f.RemotePort, true})
	if r == nil {
		return 0
	}
	bound = r.MaxPacingRate
	if !r.peers() {
		return bound
	}
	if r.CC != CCDefault && chosen.CC == CCDefault {
		set(OptionCC, int64(r.CC))
	}
	if r.NoDelay == Yes {
		set(OptionNoDelay, 1)
	}
	if r.Keepalive == Yes {
		set(OptionKeepalive, 1)
	}
	if bound != 0 && (chosen.MaxPacingRate == 0 || chosen.MaxPacingRate > bound) {
		set(OptionMaxPacingRate, int64(bound))
	}
	if r.Mirror != Unsaid {
		set(OptionNoMirror, int64(r.Mirror-Yes))
	}
	return bound
}

// connect changes the settings of an active open.
func (r *Rule) connect(o *SocketOptions) {
	r.apply(o)
	switch r.FastOpen {
	case Yes:
		o.FastOpenConn = true
	case No:
		o.FastOpenConn = false
	}
}

// listen changes what a listener's connections start with.
func (r *Rule) listen(o *SocketOptions) {
	r.apply(o)
	switch {
	case r.FastOpen == Yes && o.FastOpen == 0:
		o.FastOpen = fastOpenQueue
	case r.FastOpen == No:
		o.FastOpen = 0
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
	o.NoMirror = o.NoMirror || r.Mirror == No
	if r.MSS != 0 && (o.MSS == 0 || o.MSS > r.MSS) {
		o.MSS = r.MSS
	}
	if r.MaxPacingRate != 0 && (o.MaxPacingRate == 0 || o.MaxPacingRate > r.MaxPacingRate) {
		o.MaxPacingRate = r.MaxPacingRate
	}
}
