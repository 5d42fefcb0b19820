//go:build e2e

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/test/lab"
)

// Offsets in an untagged frame with IPv4 and TCP, both without options.
const (
	ipAt  = 14
	tcpAt = ipAt + 20
)

// TestMalformed puts broken frames on the wire: each is counted under its name, none does harm.
func TestMalformed(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	nginx(ctx, t, l, d, 80, megabyte)
	curl(ctx, t, l.FarHost, "-o", "/dev/null", "http://"+toeAddr+"/small") // neighbours know each other
	inject := injector(t, l)

	cases := []struct {
		drop string
		make func(f []byte) []byte
	}{
		{"short", func(f []byte) []byte { return f[:10+ipAt] }},
		{"bad-ip-version", func(f []byte) []byte { f[ipAt] = 0x75; return f }},
		{"bad-ip-header", func(f []byte) []byte { f[ipAt] = 0x44; return f }},
		{"bad-ip-length", func(f []byte) []byte { binary.BigEndian.PutUint16(f[ipAt+2:], 4000); return fixIP(f) }},
		{"bad-ip-checksum", func(f []byte) []byte { f[ipAt+10]++; return f }},
		{"fragment", func(f []byte) []byte { f[ipAt+6] = 0x20; return fixIP(f) }},
		{"bad-tcp-header", func(f []byte) []byte { f[tcpAt+12] = 0x40; return f }},
		{"bad-tcp-checksum", func(f []byte) []byte { f[tcpAt+16]++; return f }},
		{"bad-address", func(f []byte) []byte { copy(f[ipAt+12:], []byte{255, 255, 255, 255}); return fixIP(f) }},
		{"not-our-address", func(f []byte) []byte { f[ipAt+19] = 77; return fixIP(fixTCP(f)) }},
		{"bad-flags", func(f []byte) []byte { f[tcpAt+13] = 0x03; return fixTCP(f) }}, // SYN and FIN
	}
	for _, c := range cases {
		t.Run(c.drop, func(t *testing.T) {
			before, err := d.Stats(ctx)
			require.NoError(t, err)
			require.Contains(t, before.Drops, c.drop, "no such drop reason")
			const copies = 3
			for range copies {
				inject(c.make(synFrame(t, l, nil)))
			}
			eventually(ctx, t, func() error {
				after, err := d.Stats(ctx)
				if n := after.Drops[c.drop] - before.Drops[c.drop]; err == nil && n < copies {
					err = fmt.Errorf("%d of %d frames counted as %s", n, copies, c.drop)
				}
				return err
			})
		})
	}
	t.Run("bad options", func(t *testing.T) {
		before, err := d.Stats(ctx)
		require.NoError(t, err)
		inject(synFrame(t, l, []byte{2, 77, 0, 0})) // an MSS option that says it has 77 octets
		eventually(ctx, t, func() error {
			after, err := d.Stats(ctx)
			if err == nil && after.Device["BadOptions"] == before.Device["BadOptions"] {
				err = fmt.Errorf("bad options were not counted")
			}
			return err
		})
	})
	curl(ctx, t, l.FarHost, "-o", "/dev/null", "http://"+toeAddr+"/small")
}

// synFrame builds a sound SYN for nginx; gopacket knows nothing of our code.
func synFrame(t *testing.T, l *lab.Lab, options []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{
		SrcMAC: mac(t, l.FarHost, farIf), DstMAC: mac(t, l.NearHost, nearIf), EthernetType: layers.EthernetTypeIPv4,
	}
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.ParseIP("10.99.0.66"), DstIP: net.ParseIP(toeAddr),
	}
	tcp := &layers.TCP{SrcPort: 1234, DstPort: 80, Seq: 1, SYN: true, Window: 1000}
	require.NoError(t, tcp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	require.NoError(t, gopacket.SerializeLayers(buf, opts, eth, ip, tcp))
	f := buf.Bytes()[:tcpAt+20] // without Ethernet's padding
	if len(options) > 0 {
		f = append(f, options...)
		f[tcpAt+12] = byte((20+len(options))/4) << 4
		binary.BigEndian.PutUint16(f[ipAt+2:], uint16(40+len(options)))
		f = fixIP(fixTCP(f))
	}
	return f
}

// mac asks the kernel for an interface's Ethernet address.
func mac(t *testing.T, h lab.Host, iface string) net.HardwareAddr {
	t.Helper()
	out, err := h.Output(t.Context(), "cat", "/sys/class/net/"+iface+"/address")
	require.NoError(t, err)
	a, err := net.ParseMAC(out[:17])
	require.NoError(t, err)
	return a
}

func fixIP(f []byte) []byte {
	f[ipAt+10], f[ipAt+11] = 0, 0
	binary.BigEndian.PutUint16(f[ipAt+10:], ^sum(f[ipAt:ipAt+20], 0))
	return f
}

func fixTCP(f []byte) []byte {
	f[tcpAt+16], f[tcpAt+17] = 0, 0
	pseudo := uint32(sum(f[ipAt+12:ipAt+20], 0)) + 6 + uint32(len(f)-tcpAt)
	binary.BigEndian.PutUint16(f[tcpAt+16:], ^sum(f[tcpAt:], pseudo))
	return f
}

// sum is the one's-complement sum of an even number of octets.
func sum(b []byte, acc uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		acc += uint32(binary.BigEndian.Uint16(b))
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// injector returns a function that puts a frame on the wire from the far end. The socket belongs to
// the far namespace for good.
func injector(t *testing.T, l *lab.Lab) func(frame []byte) {
	t.Helper()
	var ifc *net.Interface
	var fd int
	inside(t, l.Far, func() (err error) {
		if ifc, err = net.InterfaceByName(farIf); err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		return err
	})
	t.Cleanup(func() { unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: ifc.Index}
	return func(frame []byte) { require.NoError(t, unix.Sendto(fd, frame, 0, to)) }
}
