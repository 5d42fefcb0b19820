package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/ctl"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// origin is where the policy in force came from. It is guarded by Daemon.loading.
type origin struct {
	source string
	at     time.Time
}

// Policy tells which policy is in force. It implements [ctl.Daemon].
func (d *Daemon) Policy() (ctl.Policy, error) {
	d.loading.Lock()
	defer d.loading.Unlock()
	return d.describe(d.policy), nil
}

// describe returns what p is like. Precondition: loading is held.
func (d *Daemon) describe(p *toe.Policy) ctl.Policy {
	c := ctl.Policy{Source: d.origin.source, LoadedAt: d.origin.at, Rules: []ctl.PolicyRule{}}
	c.Loads, c.PastHits = p.Loads()
	for i, r := range p.Rules() {
		c.Rules = append(c.Rules, ruleOf(i, &r))
	}
	return c
}

// LoadPolicy puts a policy in force all at once, or only checks it. Connections stay as they are; listeners
// stay where they are, and give their next connections the new settings. It implements [ctl.Daemon].
func (d *Daemon) LoadPolicy(f ctl.PolicyFile) (ctl.Policy, error) {
	rules, err := config.ParsePolicy(f.Name, []byte(f.Text))
	if err != nil {
		return ctl.Policy{}, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	d.loading.Lock()
	defer d.loading.Unlock()
	if f.DryRun {
		trial, err := toe.NewPolicy(rules)
		if err != nil {
			return ctl.Policy{}, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
		}
		p := d.describe(trial)
		p.Source, p.LoadedAt, p.DryRun = f.Name, time.Time{}, true
		return p, nil
	}
	if err := d.policy.Load(rules); err != nil {
		return ctl.Policy{}, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	d.origin = origin{f.Name, time.Now()}
	changed := d.registry.Reconsider(d.policy)
	d.log.Info("policy loaded", "source", f.Name, "rules", len(rules), "listeners changed", changed)
	p := d.describe(d.policy)
	p.ListenersChanged = changed
	return p, nil
}

// ReloadPolicy loads the policy section of a configuration file. Nothing else of the file counts.
func (d *Daemon) ReloadPolicy(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	_, err = d.LoadPolicy(ctl.PolicyFile{Name: file, Text: string(text)})
	return err
}

// TestPolicy tells what becomes of a socket, and counts nothing. It implements [ctl.Daemon].
func (d *Daemon) TestPolicy(q ctl.PolicyQuestion) (ctl.PolicyAnswer, error) {
	o, err := openingOf(&q)
	if err != nil {
		return ctl.PolicyAnswer{}, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	policy := d.policy
	if q.Policy != nil {
		rules, err := config.ParsePolicy(q.Policy.Name, []byte(q.Policy.Text))
		if err == nil {
			policy, err = toe.NewPolicy(rules)
		}
		if err != nil {
			return ctl.PolicyAnswer{}, fmt.Errorf("%w: %w", err, ctl.ErrRequest)
		}
	}
	a, reason := ctl.PolicyAnswer{}, toe.Offloaded
	rules := policy.Rules()
	if i := policy.Match(o); i >= 0 && i < len(rules) {
		rule := ruleOf(i, &rules[i])
		a.Rule = &rule
		if rules[i].Offload == toe.No {
			reason = toe.ReasonPolicy
		}
	}
	if reason == toe.Offloaded {
		reason = d.wouldTake(o)
	}
	if a.Offload = reason == toe.Offloaded; !a.Offload {
		a.Reason, a.Meaning = reason.String(), reason.Meaning()
	}
	return a, nil
}

// wouldTake asks the device, as far as it can tell beforehand.
func (d *Daemon) wouldTake(o *toe.Opening) toe.Reason {
	switch {
	case o.Role == toe.RoleActive && o.Remote.Netip().IsLoopback(), o.Local.Netip().IsLoopback():
		return toe.ReasonLoopback
	case d.registry.Draining():
		return toe.ReasonDraining
	case o.Role == toe.RoleActive:
		return d.hw.device.CanOffload(&toe.ConnectRequest{Flow: wire.Flow{
			Local: o.Local, LocalPort: o.LocalPort, Remote: o.Remote, RemotePort: o.RemotePort,
		}})
	case o.Local.IsUnspecified():
		return toe.Offloaded
	}
	info := d.hw.device.Info()
	for _, p := range info.Prefixes() {
		if p.Addr().Unmap() == o.Local.Netip() {
			return toe.Offloaded
		}
	}
	return toe.ReasonLocalAddr
}

// openingOf translates a question.
func openingOf(q *ctl.PolicyQuestion) (*toe.Opening, error) {
	o := &toe.Opening{
		Client:      &toe.Client{Program: q.Program, UID: q.UID, GID: q.GID, Cgroup: q.Cgroup},
		RemoteKnown: q.Remote != "",
	}
	switch q.Role {
	case "active":
		o.Role = toe.RoleActive
	case "passive":
		o.Role = toe.RolePassive
	default:
		return nil, fmt.Errorf("role %q: choose active or passive", q.Role)
	}
	var err error
	if o.Local, o.LocalPort, err = endOf(q.Local); err != nil {
		return nil, err
	}
	if o.Remote, o.RemotePort, err = endOf(q.Remote); err != nil {
		return nil, err
	}
	switch {
	case o.Role == toe.RoleActive && (o.Remote.IsUnspecified() || o.RemotePort == 0):
		return nil, fmt.Errorf("%q: an active open needs the address and port of the peer: 192.0.2.1:443", q.Remote)
	case o.Role == toe.RolePassive && o.LocalPort == 0:
		return nil, fmt.Errorf("%q: a passive open needs a port: 80 or 10.99.0.1:80", q.Local)
	}
	return o, nil
}

// endOf reads "10.0.0.1:80", "[fd99::1]:80", ":80", "80" or nothing.
func endOf(text string) (a wire.Addr, port uint16, err error) {
	if text == "" {
		return a, 0, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return wire.AddrFrom(ap.Addr().Unmap()), ap.Port(), nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimPrefix(text, "*"), ":"), 10, 16)
	if err != nil {
		return a, 0, fmt.Errorf("%q: write an address and a port: 192.0.2.1:443, [2001:db8::1]:443", text)
	}
	return a, uint16(n), nil
}

// ruleOf writes a rule with the keys of the configuration.
func ruleOf(i int, r *toe.RuleHits) ctl.PolicyRule {
	c := ctl.PolicyRule{Index: i, Name: r.Name, Hits: r.Hits, Match: map[string]string{}, Set: map[string]string{}}
	put := func(m map[string]string, key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	prefix := func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return p.String()
	}
	put(c.Match, "role", [...]string{"", "active", "passive"}[r.Role])
	put(c.Match, "local", prefix(r.Local))
	put(c.Match, "remote", prefix(r.Remote))
	put(c.Match, "local_ports", span(r.LocalPorts.Last != 0, uint32(r.LocalPorts.First), uint32(r.LocalPorts.Last)))
	put(c.Match, "remote_ports", span(r.RemotePorts.Last != 0, uint32(r.RemotePorts.First), uint32(r.RemotePorts.Last)))
	put(c.Match, "program", r.Program)
	put(c.Match, "uid", span(r.UID.Said, r.UID.First, r.UID.Last))
	put(c.Match, "gid", span(r.GID.Said, r.GID.First, r.GID.Last))
	put(c.Match, "cgroup", r.Cgroup)

	for key, v := range map[string]toe.Switch{
		"offload": r.Offload, "nodelay": r.NoDelay, "keepalive": r.Keepalive, "sack": r.SACK,
		"timestamps": r.Timestamps, "fast_open": r.FastOpen, "mirror": r.Mirror,
	} {
		put(c.Set, key, [...]string{"", "yes", "no"}[v])
	}
	put(c.Set, "congestion_control", r.CC.String())
	put(c.Set, "ecn", r.ECN.String())
	if r.MSS != 0 {
		c.Set["mss"] = strconv.Itoa(int(r.MSS))
	}
	if r.MaxPacingRate != 0 {
		c.Set["max_pacing_rate"] = config.Size(r.MaxPacingRate).String()
	}
	return c
}

// span writes a range of numbers as the configuration has it, "" when nothing is said.
func span(said bool, first, last uint32) string {
	switch {
	case !said:
		return ""
	case first == last:
		return strconv.FormatUint(uint64(first), 10)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
