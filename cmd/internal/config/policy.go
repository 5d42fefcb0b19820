package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/user"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"opentoe/toe"
)

// PolicyRule is one entry of the policy: what it matches, and what becomes of it. Empty means any, or
// unchanged.
type PolicyRule struct {
	Name        string       `mapstructure:"name"` // for people
	Role        string       `mapstructure:"role"` // active or passive
	Local       netip.Prefix `mapstructure:"local"`
	Remote      netip.Prefix `mapstructure:"remote"`
	LocalPorts  PortRange    `mapstructure:"local_ports"`
	RemotePorts PortRange    `mapstructure:"remote_ports"`
	Program     string       `mapstructure:"program"` // a path or a name, may have * ? [a-z]
	UID         Users        `mapstructure:"uid"`
	GID         Groups       `mapstructure:"gid"`
	Cgroup      string       `mapstructure:"cgroup"` // with the groups below it

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
	Mirror            YesNo  `mapstructure:"mirror"`
	Worker            int    `mapstructure:"worker"` // refused: RSS chooses
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

// Users are a user, by name or number, or a range of numbers.
type Users toe.IDs

// UnmarshalText reads "www-data", "33" or "1000-1999".
func (u *Users) UnmarshalText(text []byte) error {
	ids, err := parseIDs(string(text), func(name string) (string, error) {
		who, err := user.Lookup(name)
		if err != nil {
			return "", errors.New("no such user: write a name, a number or a range: www-data, 33, 1000-1999")
		}
		return who.Uid, nil
	})
	*u = Users(ids)
	return err
}

// Groups are a group, by name or number, or a range of numbers.
type Groups toe.IDs

// UnmarshalText reads "staff", "50" or "1000-1999".
func (g *Groups) UnmarshalText(text []byte) error {
	ids, err := parseIDs(string(text), func(name string) (string, error) {
		group, err := user.LookupGroup(name)
		if err != nil {
			return "", errors.New("no such group: write a name, a number or a range: staff, 50, 1000-1999")
		}
		return group.Gid, nil
	})
	*g = Groups(ids)
	return err
}

// accountName is what a user or group may be called.
var accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)

func parseIDs(text string, lookup func(name string) (string, error)) (toe.IDs, error) {
	if accountName.MatchString(text) {
		number, err := lookup(text)
		if err != nil {
			return toe.IDs{}, err
		}
		text = number
	}
	ids := toe.IDs{Said: true}
	first, last, both := strings.Cut(text, "-")
	if !both {
		last = first
	}
	for _, end := range []struct {
		text string
		id   *uint32
	}{{first, &ids.First}, {last, &ids.Last}} {
		n, err := strconv.ParseUint(strings.TrimSpace(end.text), 10, 32)
		if err != nil {
			return toe.IDs{}, errors.New("write a name, a number or a range: 1000-1999")
		}
		*end.id = uint32(n)
	}
	return ids, nil
}

// ParsePolicy reads the rules of a policy file: a list of rules, or a mapping with the key "policy", which a
// whole configuration is, too. The error is [Problems]; file is the text's name in it.
func ParsePolicy(file string, text []byte) ([]toe.Rule, error) {
	var root, more yaml.Node
	docs := yaml.NewDecoder(bytes.NewReader(text))
	// A text without anything is a generator that has failed, not the wish to have no rules.
	switch err := docs.Decode(&root); {
	case err == io.EOF, err == nil && root.Content[0].Tag == "!!null":
		return nil, Problems{{File: file, Cause: "is empty", Mend: "write [] to have no rules"}}
	case err != nil:
		return nil, Problems{syntax(file, err)}
	}
	switch err := docs.Decode(&more); {
	case err == nil:
		return nil, Problems{{File: file, Line: more.Line, Cause: "a second document", Mend: "put all rules into one list"}}
	case err != io.EOF:
		return nil, Problems{syntax(file, err)}
	}
	w := newWalker(file)
	if root.Content[0].Kind == yaml.SequenceNode {
		rules := root.Content[0]
		w.node("policy", rules, reflect.TypeFor[[]PolicyRule]())
		root.Content[0] = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "policy"}, rules}}
		var err error
		if text, err = yaml.Marshal(&root); err != nil {
			return nil, Problems{{File: file, Cause: err.Error()}}
		}
	} else {
		w.document(&root)
	}
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	cfg, err := decode(text, len(w.ports))
	if err != nil {
		return nil, Problems{{File: file, Cause: err.Error()}}
	}
	checker{walker: w}.policy(cfg)
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	return cfg.Rules(), nil
}

// roles are the choices of role.
var roles = map[string]toe.Role{"": toe.RoleAny, "active": toe.RoleActive, "passive": toe.RolePassive}

// Rules returns the policy's rules; the values have passed the checks.
func (c *Config) Rules() []toe.Rule {
	rules := make([]toe.Rule, len(c.Policy))
	for i := range c.Policy {
		p := &c.Policy[i]
		r := toe.Rule{
			Name: p.Name, Program: p.Program, UID: toe.IDs(p.UID), GID: toe.IDs(p.GID), Cgroup: p.Cgroup,
			Mirror: toe.Switch(p.Mirror),
			Role:   roles[p.Role], Local: p.Local, Remote: p.Remote,
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
		if _, said := c.lines[key+".worker"]; said {
			c.bad(key+".worker", "the port's hash of addresses and ports (RSS) chooses the worker of a connection",
				"leave it out: no rule can pin one")
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
			mendOf(wrong), wrong.Cause)
	}
}

// mendOf says what to do about a rule that cannot be.
func mendOf(wrong *toe.RuleError) string {
	switch wrong.Setting {
	case "program":
		return "write a name as nginx or python3*, or a path as /usr/sbin/nginx or /opt/*/bin/*"
	case "cgroup":
		return "write a path of the unified hierarchy without a slash at its end: /system.slice/nginx.service"
	case "local", "remote":
		return "write an IPv4 prefix as one: 10.0.0.0/8"
	case "uid", "gid", "local_ports", "remote_ports":
		return "write the smaller number first"
	}
	return "correct it, or make the rule one for role: active"
}
