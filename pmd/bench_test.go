package pmd_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/pmd"
	"opentoe/pmd/frame"
)

// BenchmarkLoop moves full bursts of 60-octet frames through a ring: allocate, fill in, transmit,
// receive, free. One operation is one frame.
func BenchmarkLoop(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(b, pmd.RegisterThread())
	defer pmd.UnregisterThread()
	q := loop(b, "net_ring0")
	var tx, rx frame.Burst
	b.ReportAllocs()
	for b.Loop() {
		q.Alloc(&tx, frame.MaxBurst)
		for i := range tx.Frames() {
			f := tx.At(i)
			f.Data = f.Data[:60]
			f.Data[0] = byte(i)
		}
		q.Transmit(&tx)
		q.Receive(&rx)
		q.Free(&rx)
	}
	b.ReportMetric(float64(b.N)*frame.MaxBurst/b.Elapsed().Seconds()/1e6, "Mframes/s")
}

// BenchmarkIdleReceive is what one poll of an empty queue costs.
func BenchmarkIdleReceive(b *testing.B) {
	q := loop(b, "net_ring0")
	var rx frame.Burst
	for b.Loop() {
		q.Receive(&rx)
	}
}

// BenchmarkVethTransmit sends full-sized frames to the kernel's end of a veth pair, which drops
// them as another host's. The kernel's share of the work happens in this thread.
func BenchmarkVethTransmit(b *testing.B) {
	for _, dev := range drivers {
		for _, burst := range []int{8, 32, 64} {
			b.Run(fmt.Sprintf("%s/%d", strings.SplitN(dev, ",", 2)[0], burst), func(b *testing.B) {
				w := newWire(b)
				q := open(b, pmd.PortConfig{Device: fmt.Sprintf(dev, w.dut)}).Queue(0)
				var tx frame.Burst
				n, sent := 0, 0
				for b.Loop() {
					q.Alloc(&tx, burst)
					for i := range tx.Frames() {
						f := tx.At(i)
						f.Data = f.Data[:1514]
						copy(f.Data, "\x02\x99\x99\x99\x99\x99\x02\x00\x00\x00\x00\x01\x08\x00")
					}
					n += tx.Len()
					sent += q.Transmit(&tx)
				}
				b.ReportMetric(float64(sent)/b.Elapsed().Seconds()/1e6, "Mframes/s")
				b.ReportMetric(float64(n-sent), "refused")
				require.GreaterOrEqual(b, w.peerReceived(b), sent)
			})
		}
	}
}

// BenchmarkVethReceive receives full-sized datagrams that the kernel at the other end sends from
// this thread. Only the driver's part is in ns/frame; the kernel's, from the sending system call
// to the queue, is in kernel-ns/frame.
func BenchmarkVethReceive(b *testing.B) {
	for _, dev := range drivers {
		b.Run(strings.SplitN(dev, ",", 2)[0], func(b *testing.B) {
			w := newWire(b)
			p := open(b, pmd.PortConfig{Device: fmt.Sprintf(dev, w.dut)})
			q := p.Queue(0)
			conn := w.peerSocket(b)
			_, err := conn.Write([]byte("knock"))
			require.NoError(b, err)
			answerARP(b, q, p.MAC())
			payload := make([]byte, 1472)
			var rx frame.Burst
			var kernel, driver time.Duration
			got, polls := 0, 0
			for b.Loop() {
				t0 := time.Now()
				for range 32 {
					_, _ = conn.Write(payload)
				}
				t1 := time.Now()
				for n := 0; n < 32; polls++ {
					n += q.Receive(&rx)
					got += rx.Len()
					q.Free(&rx)
					if time.Since(t1) > time.Second {
						b.Fatalf("%d of 32 frames arrived", n)
					}
				}
				kernel += t1.Sub(t0)
				driver += time.Since(t1)
			}
			b.ReportMetric(float64(driver)/float64(got), "ns/frame")
			b.ReportMetric(float64(kernel)/float64(got), "kernel-ns/frame")
			b.ReportMetric(float64(polls)/float64(b.N), "polls/op")
		})
	}
}
