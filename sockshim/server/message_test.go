package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// FuzzMessage has a client send whatever it likes over its control connection, with and without descriptors,
// and the kernel's messages about sockets be whatever they like. Each message is answered, and a
// descriptor is kept for an event queue or closed.
func FuzzMessage(f *testing.F) {
	for typ := range byte(shm.MsgInfo + 3) {
		f.Add([]byte{typ, 0, 0, 0, 0, 0, 0, 0}, typ)
		f.Add([]byte{typ, 1, 1, 0, 4, 1, 0, 1, 8, 0, 0, 2}, byte(1))
	}
	f.Add([]byte{72, 0, 0, 0, 20, 0, 0, 0}, byte(0))
	r := newRig(f, 1, smallest)
	region := byte(r.reg.id)
	f.Fuzz(func(t *testing.T, in []byte, fds byte) {
		r.t = t
		before := openDescriptors(t)
		defer func() { r.t = f }()
		r.srv.destroyed(in)
		receivedFDs(in)
		var m shm.Msg
		if m.Decode(in) == nil {
			require.Len(t, in, shm.SizeofMsg)
		}
		conn := r.hung
		for len(in) > 0 {
			// A message: its type, the region in most, and a few octets anywhere.
			typ := in[0]
			in = in[1:]
			m = shm.Msg{Type: uint32(typ % 16), RegionId: uint32(region)}
			if typ&16 != 0 {
				m.Token = r.reg.token
			}
			b, err := m.Append(nil)
			require.NoError(t, err)
			for len(in) >= 3 && in[0]&1 == 0 {
				b[(int(in[0])<<7|int(in[1]))%len(b)] = in[2]
				in = in[3:]
			}
			require.NoError(t, m.Decode(b))
			var sent []int
			for range fds % 3 {
				sent = append(sent, eventFD(t))
			}
			require.NoError(t, r.c.answer(&m, sent))
			for _, fd := range sent {
				if fd >= 0 { // not kept
					require.NoError(t, unix.Close(fd))
				}
			}
			if m.Type == shm.MsgBye {
				r.c.bye.Store(false)
				continue
			}
			_, err = r.answer(conn)
			require.NoError(t, err)
		}
		r.srv.mu.Lock()
		r.reg.freeEQs(r.c, func(int) bool { return true })
		r.srv.mu.Unlock()
		require.Equal(t, before, openDescriptors(t))
	})
}
