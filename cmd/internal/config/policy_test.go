package config

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/toe"
)

const policyBase = "ports: [{name: toe0, device: \"af_xdp:toe0\", addresses: [10.99.0.1/24]}]\n"

func TestPolicyRules(t *testing.T) {
	cfg, err := Parse("test.yaml", []byte(policyBase+`
policy:
  - {role: passive, local_ports: 80, congestion_control: bbr, fast_open: yes}
  - remote: 10.0.0.0/8
    remote_ports: 1000-2000
    offload: no
  - {remote: "fd00::/8", ecn: on, nodelay: yes, sack: no, timestamps: no, mss: 1200, keepalive: yes, max_pacing_rate: 10MiB}
`))
	require.NoError(t, err)
	require.Equal(t, []toe.Rule{
		{Role: toe.RolePassive, LocalPorts: toe.Ports{First: 80, Last: 80}, CC: toe.CCBBR, FastOpen: toe.Yes},
		{Remote: netip.MustParsePrefix("10.0.0.0/8"), RemotePorts: toe.Ports{First: 1000, Last: 2000}, Offload: toe.No},
		{Remote: netip.MustParsePrefix("fd00::/8"), ECN: toe.ECNOn, NoDelay: toe.Yes, SACK: toe.No, Timestamps: toe.No,
			MSS: 1200, Keepalive: toe.Yes, MaxPacingRate: 10 << 20},
	}, cfg.Rules())
}

func TestPolicyProblems(t *testing.T) {
	for text, want := range map[string]string{
		"[{role: both}]":                                  "policy[0].role",
		"[{offload: maybe}]":                              "write yes or no",
		"[{}, {local_ports: 9-1}]":                        "policy[1].local_ports",
		"[{local_ports: http}]":                           "write a port or a range",
		"[{remote: 10.0.0.1}]":                            "policy[0].remote",
		"[{congestion_control: vegas}]":                   "choose reno, cubic, dctcp, bbr",
		"[{ecn: maybe}]":                                  "policy[0].ecn",
		"[{mss: 20}]":                                     "policy[0].mss",
		"[{colour: red}]":                                 "unknown key",
		"[{role: passive, remote: 10.0.0.0/8, sack: no}]": "policy[0].sack",
	} {
		_, err := Parse("test.yaml", []byte(policyBase+"policy: "+text+"\n"))
		require.ErrorContains(t, err, want, text)
	}
}

func TestPolicyClients(t *testing.T) {
	rules, err := ParsePolicy("rules.yaml", []byte(`
- {name: web, program: /usr/sbin/nginx*, uid: root, gid: 0-9, cgroup: /system.slice/web.service, mirror: no}
- {uid: 1000}
`))
	require.NoError(t, err)
	require.Equal(t, []toe.Rule{
		{Name: "web", Program: "/usr/sbin/nginx*", UID: toe.IDs{Said: true}, GID: toe.IDs{Last: 9, Said: true},
			Cgroup: "/system.slice/web.service", Mirror: toe.No},
		{UID: toe.IDs{First: 1000, Last: 1000, Said: true}},
	}, rules)
}

// A policy file is a list, a mapping, or a whole configuration; what is wrong in it is said with its place.
func TestParsePolicy(t *testing.T) {
	for _, text := range []string{"[{offload: no}]", "policy:\n  - offload: no\n", policyBase + "policy: [{offload: no}]"} {
		rules, err := ParsePolicy("rules.yaml", []byte(text))
		require.NoError(t, err, text)
		require.Equal(t, []toe.Rule{{Offload: toe.No}}, rules, text)
	}
	for _, text := range []string{"[]", "policy: []", "policy:", "---\n[]\n...\n"} {
		rules, err := ParsePolicy("rules.yaml", []byte(text))
		require.NoError(t, err, text)
		require.Empty(t, rules, text)
	}
	for text, want := range map[string]string{
		"- {role: active, offload: perhaps}":               `rules.yaml:1:27: policy[0].offload: "perhaps": bad value: write yes or no`,
		"- {}\n- {rol: active}":                            `rules.yaml:2:4: policy[1].rol: unknown key: did you mean "role"?`,
		"- {program: \"[\"}":                               `rules.yaml:1:13: policy[0].program: "[": is no pattern`,
		"- {program: bin/x}":                               "is neither a name nor a path from the root",
		"- {cgroup: system.slice}":                         "is not the path of a control group",
		"- {uid: 9-1}":                                     `policy[0].uid: "9-1": ends before it begins: write the smaller number first`,
		"- {uid: nobody-has-this-name}":                    "no such user",
		"- {gid: nobody-has-this-name}":                    "no such group",
		"- {uid: -1}":                                      "policy[0].uid",
		"- {worker: 0}":                                    "rules.yaml:1:12: policy[0].worker: \"0\": the port's hash",
		"policy:\n  - [}":                                  "rules.yaml:1: not YAML: ",
		"- {role: passive, remote: 10.0.0.0/8, mss: 1000}": "of a passive socket cannot depend on the peer",
		"rules: [{offload: no}]":                           "rules.yaml:1: rules: unknown key",
		"":                                                 "rules.yaml: is empty: write [] to have no rules",
		"# offload: no\n":                                  "is empty",
		"---\n":                                            "is empty",
		"- {}\n---\n- {offload: no}":                       "rules.yaml:2: a second document: put all rules into one list",
		"- {}\n---\n- {offload: [}":                        "not YAML",
		"- {remote: \"::ffff:10.0.0.0/104\"}":              "policy[0].remote: \"::ffff:10.0.0.0/104\": is an IPv4 prefix in the form of IPv6: write",
	} {
		_, err := ParsePolicy("rules.yaml", []byte(text))
		require.ErrorContains(t, err, want, text)
		require.ErrorAs(t, err, new(Problems))
	}
}
