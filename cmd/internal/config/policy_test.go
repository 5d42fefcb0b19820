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
