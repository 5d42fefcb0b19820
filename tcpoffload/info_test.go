package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// Programs and people read these figures beside those of Linux.
func TestInfoOfReceiving(t *testing.T) {
	for _, c := range []struct {
		name     string
		set      wire.OptionSet
		opt      SocketOptions
		adv, rcv uint32
	}{
		{"timestamps", allOptions, SocketOptions{}, 1448, 14480},
		{"none", wire.OptMSS, SocketOptions{}, 1460, 14600},
		{"small buffer", wire.OptMSS, SocketOptions{RcvBuf: 9000}, 1460, 9000},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.passive(c.set, c.opt)
			require.Equal(t, c.adv, s.info().AdvMSS)
			require.Equal(t, c.rcv, s.info().RcvSpace)
		})
	}
}
