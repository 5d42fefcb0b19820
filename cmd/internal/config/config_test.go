package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"opentoe/tcpoffload"
)

const configs = "../../../configs"

// TestReferenceListsEveryKey proves that reference.yaml is complete and states the real defaults.
func TestReferenceListsEveryKey(t *testing.T) {
	file := filepath.Join(configs, "reference.yaml")
	got, err := Load(file)
	require.NoError(t, err)

	port := DefaultPort()
	port.Name = "toe0"
	port.Device = "af_xdp:toe0"
	port.Addresses = []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24"), netip.MustParsePrefix("fd99::1/64")}
	port.Routes, port.Neighbours = []Route{}, []Neighbour{}
	want := Default()
	want.Ports = []Port{port}
	want.DPDK.ExtraArgs, want.Workers.CPUs, want.Policy = []string{}, []int{}, []PolicyRule{}
	require.Equal(t, &want, got, "reference.yaml states a value that is not the default")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var root yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &root))
	var missing []string
	missingKeys("", root.Content[0], reflect.TypeFor[Config](), &missing)
	require.Empty(t, missing, "keys that reference.yaml does not mention")
}

// missingKeys collects the keys of t that the document n lacks; lists that are empty by default
// have no keys to show.
func missingKeys(path string, n *yaml.Node, t reflect.Type, missing *[]string) {
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			missingKeys(path, c, t.Elem(), missing)
		}
	case n.Kind == yaml.MappingNode:
		have := map[string]*yaml.Node{}
		for i := 0; i < len(n.Content); i += 2 {
			have[n.Content[i].Value] = n.Content[i+1]
		}
		for key, f := range fieldsByKey(t) {
			if c, ok := have[key]; ok {
				missingKeys(join(path, key), c, f.Type, missing)
			} else {
				*missing = append(*missing, join(path, key))
			}
		}
	}
}

func TestQuickstartLoads(t *testing.T) {
	cfg, err := Load(filepath.Join(configs, "quickstart.yaml"))
	require.NoError(t, err)
	require.Equal(t, "/run/opentoe", cfg.RuntimeDir)
	require.Equal(t, 1500, cfg.Ports[0].MTU)
	require.Equal(t, "toemon0", cfg.Mirror.Interface)
}

// A port that the kernel sees needs no addresses of its own: the kernel has them.
func TestKernelPort(t *testing.T) {
	cfg, err := Parse("x.yaml", []byte("ports: [{name: toe0, device: '0000:01:00.0', kernel: tap}]"))
	require.NoError(t, err)
	require.Equal(t, "toe0", cfg.Ports[0].KernelInterface())
	require.Equal(t, Rate{Frames: 200_000}, cfg.Ports[0].KernelRate)
	cfg, err = Parse("x.yaml", []byte(good+"    kernel: tap\n    kernel_interface: tap0\n    kernel_rate: {frames: 0, octets: 100MiB}"))
	require.NoError(t, err)
	require.Equal(t, "tap0", cfg.Ports[0].KernelInterface())
	require.Equal(t, Rate{Octets: 100 * MiB}, cfg.Ports[0].KernelRate)
}

const good = `
ports:
  - name: toe0
    device: af_xdp:toe0
    addresses: [10.99.0.1/24]
`

// second is good with another port.
func second(name, device, address string) string {
	return good + fmt.Sprintf("  - {name: %s, device: '%s', addresses: [%s]}\n", name, device, address)
}

// TestBadInput demands file, line, key, cause and mend of every complaint.
func TestBadInput(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"unknown key", good + "worker: {count: 1}", `x.yaml:6: worker: unknown key: did you mean "workers"?`},
		{"unknown key in a port", strings.Replace(good, "addresses", "adresses", 1),
			`x.yaml:5: ports[0].adresses: unknown key: did you mean "addresses"?`},
		{"nothing like it", good + "zzz: 1", "x.yaml:6: zzz: unknown key: valid keys here: clients, dpdk, log, mirror, policy, ports, runtime_dir, shutdown_grace, tcp, workers"},
		{"key twice", good + "log: {level: info}\nlog: {level: info}", `x.yaml:7: log: given twice, first on line 6: keep one`},
		{"wrong type", good + "workers: {count: two}", `x.yaml:6: workers.count: "two": bad value: write a whole number`},
		{"list for a value", good + "workers: {count: [1]}", `x.yaml:6: workers.count: expects a single value`},
		{"value for a list", "ports: toe0", `x.yaml:1: ports: "toe0": expects a list`},
		{"value for keys", good + "tcp: fast", `x.yaml:6: tcp: "fast": expects keys and values`},
		{"out of range", good + "workers: {count: 17}", `x.yaml:6: workers.count: "17": out of range: choose 1 to 16`},
		{"no unit", good + "tcp: {rto_min: 200}", `x.yaml:6: tcp.rto_min: "200": bad value: write a duration with its unit`},
		{"bad size", good + "dpdk: {memory: 1MB}", `x.yaml:6: dpdk.memory: "1MB": bad value: write a size as 64KiB`},
		{"half-open", good + "tcp: {max_half_open: 3000000}", `x.yaml:6: tcp.max_half_open: "3000000": out of range: choose 0 to 2097152`},
		{"flights", good + "tcp: {max_flights: -1}", `x.yaml:6: tcp.max_flights: "-1": out of range: choose 0 to 268435456`},
		{"burst", good + "tcp: {burst_segments: 256}", `x.yaml:6: tcp.burst_segments: "256": out of range: choose 0 to 255`},
		{"no cookies", good + "tcp: {fast_open_without_cookies: all}", `x.yaml:6: tcp.fast_open_without_cookies: "all"`},
		{"bounds crossed", good + "tcp: {rto_min: 2s, rto_initial: 1s}", `x.yaml:6: tcp.rto_initial: "1s": out of range: choose 2s to 2m0s`},
		{"netdev without AF_XDP", strings.Replace(good, "af_xdp:toe0", "af_packet:toe0\n    kernel: netdev", 1),
			`x.yaml:5: ports[0].kernel: "netdev": af_packet:toe0 cannot leave to the kernel what is not the TOE's: use the device af_xdp:IFACE`},
		{"routes of the kernel", good + "    kernel: netdev\n    routes: [{to: 0.0.0.0/0, via: 10.99.0.2}]",
			`x.yaml:7: ports[0].routes: the kernel's routes are followed: leave it out, and use ip route`},
		{"neighbours of the kernel", good + "    kernel: netdev\n    neighbours: [{address: 10.99.0.2, mac: \"02:00:00:00:00:01\"}]",
			`x.yaml:7: ports[0].neighbours: the kernel's neighbours are followed: leave it out, and use ip neigh`},
		{"choice", good + "workers: {poll: often}", `x.yaml:6: workers.poll: "often": not a valid choice: choose adaptive, busy`},
		{"mode", good + "clients: {socket_mode: 600}", `x.yaml:6: clients.socket_mode: "600": bad value: write a file mode in octal`},
		{"cpus", good + "workers: {cpus: [0, 1]}", `x.yaml:6: workers.cpus: names 2 CPUs for 1 workers: name one each, or none`},
		{"no port", "log: {level: info}", `x.yaml: ports: no port: add one with name, device and addresses`},
		{"no address", "ports: [{name: a, device: 'af_xdp:a'}]", `x.yaml:1: ports[0].addresses: no address`},
		{"bad address", strings.Replace(good, "10.99.0.1/24", "10.99.0.1", 1), `x.yaml:5: ports[0].addresses[0]: "10.99.0.1": bad value`},
		{"multicast", strings.Replace(good, "10.99.0.1/24", "224.0.0.1/24", 1), `x.yaml:5: ports[0].addresses[0]: "224.0.0.1/24": not an address of a host`},
		{"device", strings.Replace(good, "af_xdp:toe0", "eth", 1), `x.yaml:4: ports[0].device: "eth": not a device: name one:`},
		{"interface", strings.Replace(good, "af_xdp:toe0", "af_xdp:an interface", 1), `x.yaml:4: ports[0].device: "af_xdp:an interface": not an interface name`},
		{"off link", good + "    routes: [{to: 0.0.0.0/0, via: 10.98.0.1}]", `x.yaml:6: ports[0].routes[0].via: "10.98.0.1": not on the link`},
		{"name twice", second("toe0", "af_packet:toe1", "10.98.0.1/24"), `x.yaml:6: ports[1].name: "toe0": ports[0] has it`},
		{"device twice", second("toe1", "af_packet:toe0", "10.98.0.1/24"), `x.yaml:6: ports[1].device: "af_packet:toe0": ports[0] drives it`},
		{"address twice", second("toe1", "af_xdp:toe1", "10.99.0.1/16"), `x.yaml:6: ports[1].addresses[0]: "10.99.0.1/16": ports[0] has it`},
		{"loopback beside", second("lo0", "loopback", "10.98.0.1/24"), `x.yaml:6: ports[1].device: "loopback": a loopback is no wire`},
		{"too many ports", good + strings.Repeat("  - {}\n", 4), `x.yaml:2: ports: 5 ports: at most 4 fit`},
		{"kernel", good + "    kernel: tape", `x.yaml:6: ports[0].kernel: "tape": not a valid choice: choose none, tap, netdev`},
		{"kernel interface", good + "    kernel: tap\n    kernel_interface: a/b", `x.yaml:7: ports[0].kernel_interface: "a/b": not an interface name`},
		{"no kernel interface", good + "    kernel_interface: tap0", `x.yaml:6: ports[0].kernel_interface: "tap0": toed makes no interface for the port: leave it out`},
		{"netfilter", good + "    kernel: tap\n    netfilter: maybe", `x.yaml:7: ports[0].netfilter: "maybe": not a valid choice: choose bypass, respect`},
		{"netfilter without a kernel", good + "    netfilter: respect", `x.yaml:6: ports[0].netfilter: "respect": the kernel does not see the port: choose bypass, or kernel: tap or netdev`},
		{"kernel rate", good + "    kernel_rate: {frames: 10}", `x.yaml:6: ports[0].kernel_rate.frames: "10": out of range: choose 100 to 100000000`},
		{"kernel octets", good + "    kernel_rate: {octets: 1KiB}", `x.yaml:6: ports[0].kernel_rate.octets: "1KiB": out of range: choose 1MiB to 32GiB`},
		{"kernel without a wire", strings.Replace(good, "af_xdp:toe0", "loopback\n    kernel: tap", 1), `x.yaml:5: ports[0].kernel: "tap": a loopback is no wire`},
		{"kernel's routes", good + "    kernel: tap\n    routes: [{to: 0.0.0.0/0, via: 10.99.0.2}]", `x.yaml:7: ports[0].routes: the kernel's routes are followed: leave it out, and use ip route`},
		{"kernel's neighbours", good + "    kernel: tap\n    neighbours: [{address: 10.99.0.2, mac: '02:00:00:00:00:01'}]", `x.yaml:7: ports[0].neighbours: the kernel's neighbours are followed: leave it out, and use ip neigh`},
		{"kernel interface twice", good + "    kernel: tap\n    kernel_interface: tap0\n  - {name: b, device: 'af_xdp:b', addresses: [10.98.0.1/24], kernel: tap, kernel_interface: tap0}", `x.yaml:8: ports[1].kernel_interface: "tap0": that of ports[0]: give every port its own`},
		{"not YAML", "ports: [", `x.yaml:1: not YAML: `},
		{"relative runtime_dir", good + "runtime_dir: run", `x.yaml:6: runtime_dir: "run": not an absolute path`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(c.text))
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), c.want), "got:  %s\nwant: %s", err, c.want)
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("x.yaml", []byte(good+"workers: {count: 99, poll: no}\nlog: {level: loud}"))
	require.Len(t, err, 3)
	require.Equal(t, 2, strings.Count(err.Error(), "\n"))
}

func TestMissingFile(t *testing.T) {
	_, err := Load("/nowhere/x.yaml")
	require.EqualError(t, err, "/nowhere/x.yaml: cannot read the configuration: no such file or directory")
}

func TestValuesPrintAsWritten(t *testing.T) {
	for _, s := range []string{"64KiB", "256MiB", "1GiB", "1000"} {
		var v Size
		require.NoError(t, v.UnmarshalText([]byte(s)))
		require.Equal(t, s, fmt.Sprint(v))
	}
	var m Mode
	require.NoError(t, m.UnmarshalText([]byte("0640")))
	require.Equal(t, "0640", m.String())
}

func TestDefaultsAreTheEngines(t *testing.T) {
	tcp := Default().TCP
	require.Equal(t, tcpoffload.DefaultTunables(), tcp.Tunables())
	_, err := tcpoffload.New(tcpoffload.Config{Memory: tcpoffload.NewMemory(16, 1), Tunables: tcp.Tunables()})
	require.NoError(t, err)
}

// Every mode of Fast Open has its words in a file, and the default of any engine finds them.
func TestFastOpenModes(t *testing.T) {
	for sides, name := range fastOpenModes {
		for bare, bareName := range fastOpenModes {
			c := TCP{FastOpen: name, FastOpenBare: bareName, BurstSegments: 3}
			got := c.Tunables()
			require.Equal(t, tcpoffload.FastOpenMode(sides|bare<<2), got.FastOpen)
			require.EqualValues(t, 3, got.BurstSegs)
			require.NoError(t, validTunables(got.FastOpen), "%s, %s", name, bareName)
		}
	}
}

// validTunables reports whether an engine takes the mode.
func validTunables(mode tcpoffload.FastOpenMode) error {
	t := tcpoffload.DefaultTunables()
	t.FastOpen = mode
	_, err := tcpoffload.New(tcpoffload.Config{Memory: tcpoffload.NewMemory(16, 1), Tunables: t})
	return err
}

func TestKernelInterface(t *testing.T) {
	for _, c := range []struct{ kernel, name, want string }{
		{KernelNone, "", ""}, {KernelTAP, "", "toe0"}, {KernelTAP, "tap0", "tap0"}, {KernelNetdev, "", "eth1"},
	} {
		p := Port{Name: "toe0", Device: "af_xdp:eth1", Kernel: c.kernel, KernelIf: c.name}
		require.Equal(t, c.want, p.KernelInterface())
	}
	cfg, err := Parse("x.yaml", []byte("ports: [{name: toe0, device: af_xdp:eth1, kernel: netdev}]"))
	require.NoError(t, err, "the interface has addresses")
	require.Empty(t, cfg.Ports[0].Addresses)
}
