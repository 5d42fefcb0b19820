package tcpoffload

import (
	"testing"

	"opentoe/tcpoffload/wire"
)

// BenchmarkArriveSyn is a SYN from a new address and its SYN-ACK: with a cookie, and from the SYN cache, whose entries are
// given up at once.
func BenchmarkArriveSyn(b *testing.B) {
	for _, c := range []struct {
		name string
		mode SynCookieMode
	}{{"cookie", SynCookiesAlways}, {"cache", SynCookiesOff}} {
		b.Run(c.name, func(b *testing.B) {
			d := newDuo(b, func(cfg *Config) { cfg.Tunables.SynCookies = c.mode })
			e, out := d.e[0], d.out[0]
			syn := Segment{Flags: wire.SYN, Wnd: 1000, Opt: synOptions(allOptions), Flow: wire.Flow{
				Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 80,
			}}
			b.ReportAllocs()
			for i := uint32(0); b.Loop(); i++ {
				syn.Flow.Remote = wire.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
				syn.Flow.RemotePort = uint16(i*2654435761>>16) | 1
				e.Arrive(d.now, &syn, out)
				if len(out.Segs) != 1 {
					b.Fatal("no answer")
				}
				out.Reset()
				if k := e.lsts[1].oldest; k != 0 {
					e.halfOpenDrop(k)
				}
			}
		})
	}
}
