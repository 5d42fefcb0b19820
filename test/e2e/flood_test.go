//go:build e2e

package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	tcp "opentoe/tcpoffload/wire"
	"opentoe/test/lab"
)

// flood sends rate SYNs a second to port, from addresses all over the world, until ctx ends.
func flood(ctx context.Context, r *lab.Relay, mac tcp.MAC, port uint16, rate int, sent *atomic.Uint64) error {
	rng := rand.New(rand.NewPCG(1, 2))
	h := tcp.Header{DstMAC: mac, SrcMAC: tcp.MAC{2, 0, 0, 0, 0, 9}, Flags: tcp.SYN, TTL: 60, Wnd: 65535}
	h.Flow.Remote, h.Flow.RemotePort = tcp.AddrFrom4([4]byte{10, 99, 0, 1}), port
	h.Opt = tcp.Options{Set: tcp.OptMSS | tcp.OptSACKPermitted | tcp.OptTimestamps | tcp.OptWindowScale, MSS: 1460, WScale: 7}
	b := make([]byte, h.Len())
	for start := time.Now(); ctx.Err() == nil; {
		if due := time.Duration(sent.Load()) * time.Second / time.Duration(rate); time.Since(start) < due {
			time.Sleep(time.Millisecond)
			continue
		}
		h.Flow.Local = tcp.AddrFrom4([4]byte{11 + byte(rng.IntN(100)), byte(rng.Uint32()), byte(rng.Uint32()), 1})
		h.Flow.LocalPort = uint16(1 + rng.IntN(65535))
		h.Seq, h.Opt.TSVal = seq.Num(rng.Uint32()), rng.Uint32()
		h.Put(b, 0, 0, tcp.ChecksumSoftware)
		if err := r.Inject(b); err == nil {
			sent.Add(1)
		}
	}
	return nil
}

// floodRate is a fifth of what one thread here can send: the flooder, the relay, both ends and toed share the CPUs, and what
// is to be seen is the TOE.
const floodRate = 100_000

// TestSynFlood floods a listener from spoofed addresses while streams run both ways. They arrive whole, new connections
// get in, and what the flood leaves behind is bounded and goes away.
func TestSynFlood(t *testing.T) {
	// As from the Internet: the spoofed sources are behind a router, so that no neighbour has to be found for each.
	ctx, l, r, d := relayedPort(t, 1500, ", routes: [{to: 0.0.0.0/0, via: "+peerAddr+"}]", "tcp: {max_connections: 4096, synack_retries: 1}\n")
	toe, kernel := ends(t, l, d)
	text, err := l.NearHost.Output(ctx, "cat", "/sys/class/net/"+nearIf+"/address")
	require.NoError(t, err)
	hw, err := net.ParseMAC(strings.TrimSpace(text))
	require.NoError(t, err)

	const port = 7001
	var ln net.Listener
	inside(t, toe.ns, func() (err error) { ln, err = toe.listen(ctx, net.JoinHostPort(toeAddr, "7001")); return err })
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = write(c, 10) // the other end tells
			_ = c.Close()
		}
	}()
	a, b := connect(ctx, t, toe, kernel, 4)
	const n = 128 * megabyte
	quietOut, quietIn := exchange(ctx, t, a, b, n)
	a, b = connect(ctx, t, toe, kernel, 4)

	attack, stop := context.WithCancel(ctx)
	defer stop()
	var sent atomic.Uint64
	done := make(chan error, 1)
	go func() { done <- flood(attack, r, tcp.MAC(hw), port, floodRate, &sent) }()
	start := time.Now()
	out, in := exchange(ctx, t, a, b, n)
	took := time.Since(start)
	rate := float64(sent.Load()) / took.Seconds()
	for range 20 {
		c := dial(ctx, t, kernel, net.JoinHostPort(toeAddr, "7001"))
		require.NoError(t, read(c, 10))
		require.NoError(t, c.Close())
	}
	stop()
	require.NoError(t, <-done)
	s, err := d.Stats(ctx)
	require.NoError(t, err)
	t.Logf("%.0f SYN/s; goodput out %.0f of %.0f Mb/s, in %.0f of %.0f Mb/s (flooder, both ends and toed share the CPUs); cookies sent %d", rate,
		mbits(n, out), mbits(n, quietOut), mbits(n, in), mbits(n, quietIn), s.TCP["SyncookiesSent"])
	require.NotZero(t, s.TCP["SyncookiesSent"])
	require.NoError(t, errors.Join(a.Close(), b.Close()))
	eventually(ctx, t, func() error {
		list, err := d.Sockets(ctx)
		for _, c := range list {
			if err == nil && c.State == "SYN-RECEIVED" {
				err = errors.New("half-open connections are left")
			}
		}
		return err
	})
}
