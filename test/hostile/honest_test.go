package hostile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"opentoe/sockshim/client"
)

// An honest program transfers random streams between its own sockets, both ways, and has each checked by its
// SHA-256. In all of them is the secret.

const (
	block     = 4 << 10 // octets, each with the secret at its start
	maxBlocks = 128
	streams   = 2
)

// beHonest runs until its standard input ends.
func beHonest() int {
	c, err := client.Dial(client.Config{Socket: os.Getenv(envSocket), Program: "honest"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	results := make(chan error, streams)
	for i := range streams {
		go func() { results <- stream(c, uint64(i), ended) }()
	}
	code := 0
	for range streams {
		if err := <-results; err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// stream makes one transfer after the other.
func stream(c *client.Client, n uint64, ended <-chan struct{}) error {
	l, err := c.Listen("tcp4", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	defer l.Close()
	if n == 0 {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		fmt.Println("port", port)
	}
	draw := rand.New(rand.NewPCG(uint64(os.Getpid()), n))
	jobs := make(chan *job, 1)
	go accept(l, jobs)
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		size, err := transfer(c, l, draw, jobs)
		if err != nil {
			return err
		}
		fmt.Println("transfer", size)
	}
}

// job is a transfer as the accepting side sees it.
type job struct {
	there, back []byte
	done        chan error
}

// friendly is how a connection begins that an honest program has made.
const friendly = "friendly"

// transfer sends a stream from a new connection to the listener and another one back.
func transfer(c *client.Client, l net.Listener, draw *rand.Rand, jobs chan *job) (int, error) {
	j := &job{text(draw), text(draw), make(chan error, 1)}
	jobs <- j
	ctx, cancel := context.WithTimeout(context.Background(), standstill)
	defer cancel()
	conn, err := dial(ctx, c, l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(standstill))
	if err := exchange(conn, append([]byte(friendly), j.there...), j.back); err != nil {
		return 0, err
	}
	return len(j.there) + len(j.back), <-j.done
}

// exchange sends a stream and expects another.
func exchange(conn net.Conn, out, in []byte) error {
	got := make(chan error, 1)
	go func() { got <- expect(conn, in) }()
	if _, err := conn.Write(out); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := conn.(*client.Conn).CloseWrite(); err != nil {
		return fmt.Errorf("close write: %w", err)
	}
	return <-got
}

// dial connects; an attacker may have filled the listener's queue, as any peer could.
func dial(ctx context.Context, c *client.Client, to string) (net.Conn, error) {
	for {
		conn, err := c.DialContext(ctx, "tcp4", to)
		if _, ok := conn.(*client.Conn); err == nil && !ok {
			conn.Close()
			return nil, fmt.Errorf("a connection was not offloaded")
		}
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(time.Millisecond)
	}
}

// accept answers the connections that are ours. The others, of attackers, it closes once they have spoken.
func accept(l net.Listener, jobs chan *job) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(standstill))
			hello := make([]byte, len(friendly))
			if _, err := io.ReadFull(conn, hello); err == nil && string(hello) == friendly {
				j := <-jobs
				j.done <- exchange(conn, j.back, j.there)
			}
		}()
	}
}

// expect reads the whole stream and compares.
func expect(conn net.Conn, want []byte) error {
	h := sha256.New()
	n, err := io.Copy(h, conn)
	if err != nil {
		return fmt.Errorf("read after %d of %d octets: %w", n, len(want), err)
	}
	if sum := sha256.Sum256(want); !bytes.Equal(h.Sum(nil), sum[:]) {
		return fmt.Errorf("%d octets arrived of %d, and they are others", n, len(want))
	}
	return nil
}

// text returns a random stream.
func text(draw *rand.Rand) []byte {
	b := make([]byte, (1+draw.IntN(maxBlocks))*block)
	key := [32]byte{}
	for i := range key {
		key[i] = byte(draw.Uint32())
	}
	_, _ = rand.NewChaCha8(key).Read(b)
	for i := 0; i < len(b); i += block {
		copy(b[i:], os.Getenv(envSecret))
	}
	return b[:len(b)-draw.IntN(block)]
}
