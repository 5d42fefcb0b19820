package server

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// TestInfoLayout finds every field of the answer where struct tcp_info has it: unix.TCPInfo is that
// structure but for a hole where the kernel has two octets of bit fields.
func TestInfoLayout(t *testing.T) {
	info := toe.ConnInfo{
		State: "CLOSE-WAIT", CAState: 3, Backoff: 2, SndWscale: 7, RcvWscale: 9, SACK: true, Timestamps: true,
		SndMSS: 1448, RcvMSS: 1400, Unacked: 11, Sacked: 12, Lost: 13, Retrans: 14, Cwnd: 14480, Ssthresh: 28960,
		SRTT: 5_000_000, RTTVar: 6_000_000, RTO: 7_000_000, MinRTT: 1_000_000, TotalRetrans: 15,
		BytesSent: 1 << 40, BytesAcked: 1<<40 - 1, BytesReceived: 1<<40 - 2, BytesRetrans: 99,
		SegsIn: 21, SegsOut: 22, SndWnd: 1 << 20, RcvWnd: 1 << 21,
	}
	want := reflect.ValueOf(tcpInfo(&info))
	var m shm.Msg
	require.Zero(t, putInfo(&m, &info))
	require.EqualValues(t, want.Type().Size(), m.InfoLen)
	for i := range want.NumField() {
		f := want.Type().Field(i)
		b := m.U[f.Offset:]
		var got uint64
		switch f.Type.Size() {
		case 1:
			got = uint64(b[0])
		case 2:
			got = uint64(binary.NativeEndian.Uint16(b))
		case 4:
			got = uint64(binary.NativeEndian.Uint32(b))
		case 8:
			got = binary.NativeEndian.Uint64(b)
		}
		if f.Name != "_" {
			require.Equal(t, want.Field(i).Uint(), got, f.Name)
		}
	}
	require.EqualValues(t, 7|9<<4, m.U[6], "window scales")
	require.EqualValues(t, 1448, want.FieldByName("Snd_mss").Uint())
	require.EqualValues(t, 10, want.FieldByName("Snd_cwnd").Uint())
	require.EqualValues(t, 8, want.FieldByName("State").Uint(), "TCP_CLOSE_WAIT")
}
