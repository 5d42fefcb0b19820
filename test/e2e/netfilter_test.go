//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// filtered is a toed whose port has to do with the near host's packet filter.
type filtered struct {
	*testing.T
	ctx  context.Context
	lab  *lab.Lab
	toed *lab.Toed
}

// rules gives the near host the rules of two chains, instead of those that it had.
func (f *filtered) rules(in, out string) {
	f.Helper()
	text := fmt.Sprintf("add table inet host\ndelete table inet host\ntable inet host {\n"+
		"chain in { type filter hook input priority 0\n%s\n}\nchain out { type filter hook output priority 0\n%s\n}\n}\n", in, out)
	file := f.lab.Path("rules.nft")
	require.NoError(f, os.WriteFile(file, []byte(text), 0o644))
	require.NoError(f, f.lab.NearHost.Run("nft", "-f", file))
}

// hits waits until a rule with a counter has met a packet.
func (f *filtered) hits() {
	f.Helper()
	eventually(f.ctx, f.T, func() error {
		out, err := f.lab.NearHost.Output(f.ctx, "nft", "list", "table", "inet", "host")
		if err == nil && !strings.Contains(strings.ReplaceAll(out, "packets 0", ""), "packets") {
			err = fmt.Errorf("no rule has met a packet:\n%s", out)
		}
		return err
	})
}

// offloads demands that one more connection is the TOE's when do is done.
func (f *filtered) offloads(do func() error) {
	f.Helper()
	before := offloaded(f.ctx, f.T, f.toed)
	require.NoError(f, do())
	require.Equal(f, before+1, offloaded(f.ctx, f.T, f.toed))
}

// fails demands that do fails as want says, and makes no connection of the TOE's.
func (f *filtered) fails(want string, do func() error) {
	f.Helper()
	before := offloaded(f.ctx, f.T, f.toed)
	require.ErrorContains(f, do(), want)
	require.Equal(f, before, offloaded(f.ctx, f.T, f.toed))
}

func (f *filtered) fetch(addr string) func() error {
	return func() error { return fetch(f.ctx, f.lab.FarHost, addr) }
}

// curl runs one on the TOE as a user.
func (f *filtered) curl(user int, addr string) func() error {
	return func() error {
		words := f.lab.Toerun(f.toed.Socket(), "curl", "-s", "-m", "60", "-o", "/dev/null", "http://"+addr+"/small")
		words = append([]string{fmt.Sprintf("--reuid=%d", user), "--clear-groups"}, words...)
		return f.lab.NearHost.Run("setpriv", words...)
	}
}

// TestNetfilter has the host's rules judge what the TOE is to carry.
func TestNetfilter(t *testing.T) {
	const respect = "    netfilter: respect\n"
	t.Run("tap", func(t *testing.T) {
		t.Parallel()
		ctx, l, d := tapToed(t, "af_xdp", respect, nil)
		respects(&filtered{t, ctx, l, d})
	})
	t.Run("netdev", func(t *testing.T) {
		t.Parallel()
		respects(netdevFiltered(t, respect))
	})
	t.Run("bypass", func(t *testing.T) {
		t.Parallel()
		bypasses(netdevFiltered(t, ""))
	})
}

func netdevFiltered(t *testing.T, more string) *filtered {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := keptWire(t)
	file, runDir, err := l.WriteConfig(netdevConfig + more)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	return &filtered{t, ctx, l, d}
}

func respects(f *filtered) {
	v4, v6 := toeAddr, "["+toeAddr6+"]"
	nginx(f.ctx, f.T, f.lab, f.toed, 80, megabyte)
	far, err := lab.Nginx{Name: "far", Port: 80, Workers: 1, Docs: f.lab.Path("docs")}.Words(f.lab)
	require.NoError(f, err)
	_, err = f.lab.Start(f.lab.FarHost, far[0], far[1:]...)
	require.NoError(f, err)
	eventually(f.ctx, f.T, f.fetch(peerAddr))
	out, err := f.toed.Toectl(f.ctx, "status")
	require.NoError(f, err)
	require.Contains(f, out, "netfilter respected")

	// Without rules, and with rules that let it through.
	f.offloads(f.fetch(v4))
	f.offloads(f.fetch(v6))
	f.offloads(f.curl(0, peerAddr))
	f.offloads(f.curl(0, "["+peerAddr6+"]"))
	f.rules("ct state established,related accept\ntcp dport 80 accept\nicmpv6 type {nd-neighbor-solicit, nd-neighbor-advert} accept\ndrop",
		"tcp dport 80 ct state new accept\nicmpv6 type {nd-neighbor-solicit, nd-neighbor-advert} accept\ndrop")
	f.offloads(f.fetch(v4))
	f.offloads(f.fetch(v6))
	f.offloads(f.curl(0, peerAddr))
	f.offloads(f.curl(0, "["+peerAddr6+"]"))

	// What is open stays so; what is rejected is not opened. With flushing the rules of the TOE stay.
	open, err := dialKernel(f.T, f.lab.FarHost, "tcp", net.JoinHostPort(toeAddr, "80"))
	require.NoError(f, err)
	require.NoError(f, f.lab.NearHost.Run("nft", "flush", "ruleset"))
	f.rules("ip saddr "+peerAddr+" tcp dport 80 reject with tcp reset\nip6 saddr "+peerAddr6+" tcp dport 80 reject", "")
	f.fails("exit status 7", f.fetch(v4))
	f.fails("exit status 7", f.fetch(v6))
	getSmall(f.T, open)
	require.NoError(f, open.Close())

	// What is dropped waits until it is not.
	f.rules("tcp dport 80 tcp flags syn counter drop", "")
	before := offloaded(f.ctx, f.T, f.toed)
	done := make(chan error, 1)
	go func() { done <- fetch(f.ctx, f.lab.FarHost, v4) }()
	f.hits()
	require.Equal(f, before, offloaded(f.ctx, f.T, f.toed))
	f.rules("", "")
	require.NoError(f, <-done)
	require.Equal(f, before+1, offloaded(f.ctx, f.T, f.toed))

	// A rule that sends connections to another port: the kernel's.
	require.NoError(f, f.lab.NearHost.Run("nft", "table ip nat { chain pre { type nat hook prerouting priority -100; tcp dport 81 redirect to :80; }; }"))
	before = offloaded(f.ctx, f.T, f.toed)
	require.NoError(f, fetch(f.ctx, f.lab.FarHost, v4+":81"))
	require.Equal(f, before, offloaded(f.ctx, f.T, f.toed))
	f.offloads(f.fetch(v4))

	// Connections out: refused, by user, and from another address.
	f.rules("", "meta skuid 65534 tcp dport 80 reject with tcp reset")
	f.fails("exit status 7", f.curl(65534, peerAddr))
	f.offloads(f.curl(0, peerAddr))
	s, err := f.toed.Status(f.ctx)
	require.NoError(f, err)
	require.EqualValues(f, 1, s.Refused["netfilter"])
	require.NoError(f, f.lab.NearHost.Run("nft", "table ip nat { chain post { type nat hook postrouting priority 100; tcp dport 80 masquerade to :20000-20010; }; }"))
	before = offloaded(f.ctx, f.T, f.toed)
	require.NoError(f, f.curl(0, peerAddr)())
	require.Equal(f, before, offloaded(f.ctx, f.T, f.toed))
	stats, err := f.toed.Stats(f.ctx)
	require.NoError(f, err)
	for _, name := range []string{"netfilter-in", "netfilter-out", "netfilter-out-refused"} {
		require.NotZero(f, stats.Ports["toe0"][name], name)
	}
	for _, name := range []string{"netfilter-in-lost", "netfilter-in-overruns", "netfilter-rests"} {
		require.Zero(f, stats.Ports["toe0"][name], name)
	}
	// The filter's owner is gone, and so is its table.
	require.Error(f, f.toed.Kill(), "killed")
	out, err = f.lab.NearHost.Output(f.ctx, "nft", "list", "tables")
	require.NoError(f, err)
	require.NotContains(f, out, "opentoe")
}

func bypasses(f *filtered) {
	nginx(f.ctx, f.T, f.lab, f.toed, 80, megabyte)
	out, err := f.toed.Toectl(f.ctx, "status")
	require.NoError(f, err)
	require.Contains(f, out, "netfilter bypassed")
	f.rules("tcp dport 80 counter drop", "tcp dport 80 counter drop")
	f.offloads(f.fetch(toeAddr))
	out, err = f.lab.NearHost.Output(f.ctx, "nft", "list", "tables")
	require.NoError(f, err)
	require.NotContains(f, out, "opentoe")
}
