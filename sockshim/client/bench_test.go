package client_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkBulk writes 64 KiB at a time through one connection of the loopback device: two copies
// by the clients, two by the device.
func BenchmarkBulk(b *testing.B) {
	_, cfg := serve(b, nil)
	c := dial(b, cfg)
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(b, err)
	x, y := pair(b, ln, c)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, y, make([]byte, 64<<10))
		done <- err
	}()
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, x.CloseWrite())
	require.NoError(b, <-done)
}

// BenchmarkEcho sends one octet there and back.
func BenchmarkEcho(b *testing.B) {
	_, cfg := serve(b, nil)
	c := dial(b, cfg)
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(b, err)
	x, y := pair(b, ln, c)
	go func() { _, _ = io.Copy(y, y) }()
	octet := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Write(octet); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(x, octet); err != nil {
			b.Fatal(err)
		}
	}
}
