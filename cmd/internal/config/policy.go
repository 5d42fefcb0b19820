package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"opentoe/toe"
)

// PolicyRule is one entry of the policy: what it matches, and what becomes of it. Empty means any, or
// unchanged.
type PolicyRule struct {
	Role        string       `mapstructure:"role"` // active or passive
	Local       netip.Prefix `mapstructure:"local"`
	Remote      netip.Prefix `mapstructure:"remote"`
	LocalPorts  PortRange    `mapstructure:"local_ports"`
	RemotePorts PortRange    `mapstructure:"remote_ports"`

	Offload           YesNo  `mapstructure:"offload"`
	CongestionControl string `mapstructure:"congestion_control"`
	ECN               string `mapstructure:"ecn"`
	NoDelay           YesNo  `mapstructure:"nodelay"`
	SACK              YesNo  `mapstructure:"sack"`
	Timestamps        YesNo  `mapstructure:"timestamps"`
	MSS               int    `mapstructure:"mss"` // octets
	Keepalive         YesNo  `mapstructure:"keepalive"`
	MaxPacingRate     Size   `mapstructure:"max_pacing_rate"` // octets per second
	FastOpen          YesNo  `mapstructure:"fast_open"`
}

// YesNo is yes, no, or not said.
type YesNo toe.Switch

// UnmarshalText reads "yes" or "no".
func (y *YesNo) UnmarshalText(text []byte) error {
	switch string(text) {
	case "yes":
		*y = YesNo(toe.Yes)
	case "no":
		*y = YesNo(toe.No)
	default:
		return errors.New("write yes or no")
	}
	return nil
}

// PortRange is one port or a range of them.
type PortRange toe.Ports

// UnmarshalText reads "80" or "8000-8099".
func (r *PortRange) UnmarshalText(text []byte) error {
	first, last, both := strings.Cut(string(text), "-")
	if !both {
		last = first
	}
	for _, end := range []struct {
		text string
		port *uint16
	}{{first, &r.First}, {last, &r.Last}} {
		n, err := strconv.ParseUint(strings.TrimSpace(end.text), 10, 16)
		if err != nil || n == 0 {
			return errors.New("write a port or a range: 80, 8000-8099")
		}
		*end.port = uint16(n)
	}
	return nil
}

// roles are the choices of role.
var roles = map[string]toe.Role{"": toe.RoleAny, "active": toe.RoleActive, "passive": toe.RolePassive}

// Rules returns the policy's rules; the values have passed the checks.
func (c *Config) Rules() []toe.Rule {
	rules := make([]toe.Rule, len(c.Policy))
	for i := range c.Policy {
		p := &c.Policy[i]
		r := toe.Rule{
			Role: roles[p.Role], Local: p.Local, Remote: p.Remote,
			LocalPorts: toe.Ports(p.LocalPorts), RemotePorts: toe.Ports(p.RemotePorts),
			Offload: toe.Switch(p.Offload), NoDelay: toe.Switch(p.NoDelay), SACK: toe.Switch(p.SACK),
			Timestamps: toe.Switch(p.Timestamps), Keepalive: toe.Switch(p.Keepalive),
			FastOpen: toe.Switch(p.FastOpen), MSS: uint16(p.MSS), MaxPacingRate: uint64(p.MaxPacingRate),
		}
		r.CC, _ = toe.ParseCC(p.CongestionControl)
		r.ECN, _ = toe.ParseECN(p.ECN)
		rules[i] = r
	}
	return rules
}

func (c checker) policy(cfg *Config) {
	for i := range cfg.Policy {
		p := &cfg.Policy[i]
		key := fmt.Sprintf("policy[%d]", i)
		if p.Role != "" {
			c.oneOf(key+".role", p.Role, "active", "passive")
		}
		if p.CongestionControl != "" {
			c.oneOf(key+".congestion_control", p.CongestionControl, toe.CCNames()...)
		}
		if p.ECN != "" {
			c.oneOf(key+".ecn", p.ECN, "off", "passive", "on")
		}
		if p.MSS != 0 {
			within(c, key+".mss", p.MSS, 88, MaxMTU)
		}
		if p.MaxPacingRate != 0 {
			within(c, key+".max_pacing_rate", p.MaxPacingRate, KiB, 1024*GiB)
		}
	}
	if len(c.problems) > 0 {
		return
	}
	wrong := (*toe.RuleError)(nil)
	if _, err := toe.NewPolicy(cfg.Rules()); errors.As(err, &wrong) {
		c.bad(fmt.Sprintf("policy[%d].%s", wrong.Index, wrong.Setting), "%s",
			"correct it, or make the rule one for role: active", wrong.Cause)
	}
}
