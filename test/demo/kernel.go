package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"opentoe/test/lab"
)

// What the kernel does on the TOE's address, all the while: it answers ping, names asked of a DNS server,
// and TCP to a server that does not run on the TOE, on one session from before toed started and on new ones.

// pause is the time between two questions.
const pause = 50 * time.Millisecond

// patience is how long an answer may take on a busy machine.
const patience = 10 * time.Second

// kernelLife is that of the near kernel.
type kernelLife struct {
	tcp  net.Listener
	udp  net.PacketConn
	ping *lab.Process

	lines, opens, names struct{ asked, answered atomic.Uint64 }

	stop    context.CancelFunc
	running sync.WaitGroup
}

// startKernel gives the interface its addresses, as an administrator would, and begins.
func (d *demo) startKernel(ctx context.Context) (err error) {
	for _, words := range [][]string{{toeAddr + "/24"}, {toeAddr6 + "/64", "nodad"}} {
		if err := d.lab.NearHost.Run("ip", append([]string{"address", "add", "dev", nearIf}, words...)...); err != nil {
			return err
		}
	}
	k := &d.kernel
	if k.tcp, err = net.Listen("tcp", fmt.Sprintf("%s:%d", toeAddr, freePort(loginPort))); err != nil {
		return err
	}
	if k.udp, err = net.ListenPacket("udp", toeAddr+":0"); err != nil {
		return err
	}
	d.lab.Cleanup(d.endKernel)
	go serveLines(k.tcp)
	go serveNames(k.udp)
	session, err := d.dial(ctx, "tcp", k.tcp.Addr())
	if err != nil {
		return err
	}
	if k.ping, err = d.lab.Start(d.lab.FarHost, "ping", "-q", "-i", "0.05", toeAddr); err != nil {
		return err
	}
	ctx, k.stop = context.WithCancel(ctx)
	k.running.Go(func() { d.useSession(ctx, session) })
	k.running.Go(func() { d.openSessions(ctx) })
	k.running.Go(func() { d.askNames(ctx) })
	fmt.Printf("   ping, DNS on %v, TCP on %v with a session that is open now\n", k.udp.LocalAddr(), k.tcp.Addr())
	return nil
}

// endKernel ends it and closes the servers. It may be called more than once.
func (d *demo) endKernel() error {
	k := &d.kernel
	if k.stop != nil {
		k.stop()
	}
	k.running.Wait()
	if k.udp == nil {
		return nil
	}
	err := errors.Join(k.tcp.Close(), k.udp.Close())
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// kernelToo stops asking and judges what was answered.
func (d *demo) kernelToo(context.Context) error {
	k := &d.kernel
	k.stop()
	k.running.Wait()
	if err := syscall.Kill(k.ping.PID(), syscall.SIGINT); err != nil {
		return err
	}
	<-k.ping.Done()
	var sent, got uint64
	if m := pingResult.FindStringSubmatch(k.ping.Text()); m != nil {
		fmt.Sscan(m[1], &sent)
		fmt.Sscan(m[2], &got)
	}
	for _, r := range []struct {
		what            string
		asked, answered uint64
		lossy           bool // may lose a few, as the machine is busy
	}{
		{"ping", sent, got, true},
		{"DNS (UDP)", k.names.asked.Load(), k.names.answered.Load(), true},
		{"TCP: lines on the session that is older than toed", k.lines.asked.Load(), k.lines.answered.Load(), false},
		{"TCP: new sessions", k.opens.asked.Load(), k.opens.answered.Load(), false},
	} {
		d.beside = append(d.beside, fmt.Sprintf("%s\t%d of %d", r.what, r.answered, r.asked))
		fmt.Printf("   %s: %d of %d answered\n", r.what, r.answered, r.asked)
		if r.answered == 0 || !r.lossy && r.answered < r.asked {
			return fmt.Errorf("the kernel: %s: %d of %d were answered", r.what, r.answered, r.asked)
		}
	}
	return nil
}

var pingResult = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// dial connects the far host's kernel to addr.
func (d *demo) dial(ctx context.Context, network string, addr net.Addr) (c net.Conn, err error) {
	err = d.lab.FarHost.Inside(func() (err error) {
		dialer := net.Dialer{Timeout: patience}
		c, err = dialer.DialContext(ctx, network, addr.String())
		return err
	})
	return c, err
}

// useSession writes lines on c, and gives up the show when one does not come back.
func (d *demo) useSession(ctx context.Context, c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for each(ctx) {
		d.kernel.lines.asked.Add(1)
		if err := echo(c, in); err != nil {
			d.fail(fmt.Errorf("TCP session of the kernel: %w", err))
			return
		}
		d.kernel.lines.answered.Add(1)
	}
}

// openSessions makes one connection after the other.
func (d *demo) openSessions(ctx context.Context) {
	for each(ctx) {
		d.kernel.opens.asked.Add(1)
		c, err := d.dial(context.WithoutCancel(ctx), "tcp", d.kernel.tcp.Addr())
		if err == nil {
			err = errors.Join(echo(c, bufio.NewReader(c)), c.Close())
		}
		if err != nil {
			d.fail(fmt.Errorf("new TCP session of the kernel: %w", err))
			return
		}
		d.kernel.opens.answered.Add(1)
	}
}

// askNames asks the DNS server, whatever else it is.
func (d *demo) askNames(ctx context.Context) {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.dial(ctx, "udp", d.kernel.udp.LocalAddr())
	}}
	for each(ctx) {
		d.kernel.names.asked.Add(1)
		list, err := resolver.LookupNetIP(context.WithoutCancel(ctx), "ip4", "toe.test.")
		if err == nil && len(list) == 1 && list[0].Unmap().String() == toeAddr {
			d.kernel.names.answered.Add(1)
		}
	}
}

// each waits for the time of the next question. It returns false at the end.
func each(ctx context.Context) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// echo has a line come back.
func echo(c net.Conn, in *bufio.Reader) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	const line = "Is anybody there?\n"
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got, err := in.ReadString('\n')
	if err == nil && got != line {
		err = fmt.Errorf("%q came back", got)
	}
	return err
}

// serveLines sends back what comes, until l is closed.
func serveLines(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the other end sees what has failed
		}()
	}
}

// serveNames answers every DNS question with our address, until c is closed.
func serveNames(c net.PacketConn) {
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		question := &layers.DNS{}
		if question.DecodeFromBytes(b[:n], gopacket.NilDecodeFeedback) != nil || len(question.Questions) != 1 {
			continue
		}
		answer := &layers.DNS{
			ID: question.ID, QR: true, AA: true, RD: question.RD, Questions: question.Questions,
			Answers: []layers.DNSResourceRecord{{
				Name: question.Questions[0].Name, Type: layers.DNSTypeA, Class: layers.DNSClassIN, TTL: 1, IP: net.ParseIP(toeAddr).To4(),
			}},
		}
		out := gopacket.NewSerializeBuffer()
		if answer.SerializeTo(out, gopacket.SerializeOptions{FixLengths: true}) == nil {
			_, _ = c.WriteTo(out.Bytes(), from) // who asks asks again
		}
	}
}
