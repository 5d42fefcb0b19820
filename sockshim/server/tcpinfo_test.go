package server

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// TestInfoLayout finds every field of the answer where struct tcp_info has it: unix.TCPInfo is that
// structure but for a hole where the kernel has two octets of bit fields.
func TestInfoLayout(t *testing.T) {
	ms := vtime.Millisecond
	info := toe.ConnInfo{
		State: "CLOSE-WAIT", CAState: 3, Backoff: 2, Probes: 4, SndWscale: 7, RcvWscale: 9, SACK: true,
		Timestamps: true, ECN: true, ECNSeen: true, SynData: true, AppLimited: true,
		SndMSS: 1448, RcvMSS: 1400, AdvMSS: 1460, Unacked: 11, Sacked: 12, Lost: 13, Retrans: 14, Cwnd: 14480, Ssthresh: 28960,
		SRTT: 5 * ms, RTTVar: 6 * ms, RTO: 7 * ms, MinRTT: ms, ATO: 40 * ms, RcvRTT: 8 * ms, TotalRetrans: 15,
		LastDataSent: 31 * ms, LastDataRecv: 32 * ms, LastAckRecv: 33 * ms,
		BytesSent: 1 << 40, BytesAcked: 1<<40 - 1, BytesReceived: 1<<40 - 2, BytesRetrans: 99,
		SegsIn: 21, SegsOut: 22, DataSegsIn: 23, DataSegsOut: 24, SndWnd: 1 << 20, RcvWnd: 1 << 21,
		PathMTU: 1500, RcvLimit: 1 << 22, RcvSpace: 1 << 19, Reordering: 3, ReordSeen: 25, DSACKDups: 26, RcvOOO: 27,
		PacingRate: 1 << 33, MaxPacingRate: 1 << 34, DeliveryRate: 1 << 32, Delivered: 28, DeliveredCE: 29,
		BusyTime: 41 * ms, RwndLimited: 42 * ms, SndbufLimited: 43 * ms,
		SndUna: 100, SndNxt: 150, SndBufUsed: 70, TotalRTO: 30,
	}
	want := map[string]uint64{
		"State": 8, "Ca_state": 3, "Retransmits": 2, "Probes": 4, "Backoff": 2,
		"Options": optTimestamps | optSACK | optWScale | optECN | optECNSeen | optSynData,
		"Rto":     7000, "Ato": 40_000, "Snd_mss": 1448, "Rcv_mss": 1400, "Unacked": 11, "Sacked": 12, "Lost": 13, "Retrans": 14,
		"Fackets": 0, "Last_data_sent": 31, "Last_ack_sent": 0, "Last_data_recv": 32, "Last_ack_recv": 33,
		"Pmtu": 1500, "Rcv_ssthresh": 1 << 22, "Rtt": 5000, "Rttvar": 6000, "Snd_ssthresh": 20, "Snd_cwnd": 10,
		"Advmss": 1460, "Reordering": 3, "Rcv_rtt": 8000, "Rcv_space": 1 << 19, "Total_retrans": 15,
		"Pacing_rate": 1 << 33, "Max_pacing_rate": 1 << 34, "Bytes_acked": 1<<40 - 1, "Bytes_received": 1<<40 - 2,
		"Segs_out": 22, "Segs_in": 21, "Notsent_bytes": 20, "Min_rtt": 1000, "Data_segs_in": 23, "Data_segs_out": 24,
		"Delivery_rate": 1 << 32, "Busy_time": 41_000, "Rwnd_limited": 42_000, "Sndbuf_limited": 43_000,
		"Delivered": 28, "Delivered_ce": 29, "Bytes_sent": 1<<40 + 99, "Bytes_retrans": 99, "Dsack_dups": 26,
		"Reord_seen": 25, "Rcv_ooopack": 27, "Snd_wnd": 1 << 20, "Rcv_wnd": 1 << 21, "Rehash": 0,
		"Total_rto": 30, "Total_rto_recoveries": 0, "Total_rto_time": 0,
		"Received_ce": 0, "Delivered_e1_bytes": 0, "Delivered_e0_bytes": 0, "Delivered_ce_bytes": 0,
		"Received_e1_bytes": 0, "Received_e0_bytes": 0, "Received_ce_bytes": 0,
	}
	var m shm.Msg
	require.Zero(t, putInfo(&m, &info))
	layout := reflect.TypeFor[unix.TCPInfo]()
	require.EqualValues(t, layout.Size(), m.InfoLen)
	for i := range layout.NumField() {
		f := layout.Field(i)
		if f.Name == "_" {
			continue
		}
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
		expected, known := want[f.Name]
		require.True(t, known, f.Name)
		require.Equal(t, expected, got, f.Name)
	}
	require.EqualValues(t, 7|9<<4, m.U[6], "window scales")
	require.EqualValues(t, 1, m.U[7], "limited by the program")
}

// What has no bound shows as Linux shows it.
func TestInfoOfWhatIsUnbounded(t *testing.T) {
	ti := tcpInfoOf(&toe.ConnInfo{State: "ESTABLISHED", SndMSS: 1, Ssthresh: 1<<32 - 1})
	require.EqualValues(t, uint64(noPacing), ti.MaxPacingRate)
	require.EqualValues(t, infiniteSsthresh, ti.SndSsthresh)
}

func TestMoreInfo(t *testing.T) {
	bbr := toe.ConnInfo{CC: "bbr", PathMTU: 1400, SndUna: 1, SndNxt: 11, SndBufUsed: 30,
		BBR: toe.BBRInfo{Bandwidth: 5 << 32, MinRTT: 3 * vtime.Millisecond, PacingGain: 739, CwndGain: 512}}
	var m shm.More
	more(&m, &bbr)
	require.EqualValues(t, 1400, m.PathMtu)
	require.EqualValues(t, 20, m.Unsent)
	require.EqualValues(t, 20, m.CcInfoLen)
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(m.CcInfo[4*i:]) }
	require.Equal(t, [5]uint32{0, 5, 3000, 739, 512}, [5]uint32{word(0), word(1), word(2), word(3), word(4)})
	require.Equal(t, [4]int8{'b', 'b', 'r', 0}, [4]int8(m.Cc[:4]))

	m = shm.More{}
	more(&m, &toe.ConnInfo{CC: "dctcp", CAState: 1, DCTCP: toe.DCTCPInfo{Alpha: 1024, MarkedOctets: 7, AckedOctets: 9}})
	require.EqualValues(t, 16, m.CcInfoLen, "struct tcp_dctcp_info")
	require.EqualValues(t, [3]uint32{1024, 7, 9}, [3]uint32{word(1), word(2), word(3)})

	m = shm.More{}
	more(&m, &toe.ConnInfo{CC: "cubic"})
	require.Zero(t, m.CcInfoLen)
}

// TestInfoAfterShutdown: a program finds a socket as its own calls have left it, also while the worker has not
// come to them.
func TestInfoAfterShutdown(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, _, _ := r.connect(0)
	for _, want := range []uint8{tcpStates["ESTABLISHED"], tcpStates["FIN-WAIT-1"]} {
		info := shm.Msg{Type: shm.MsgInfo, RegionId: r.reg.id, Slot: slot}
		require.Zero(t, r.c.connInfo(&info))
		require.Equal(t, want, info.U[0])
		r.post(0, shm.OpShutdown, slot, shm.ShutWR)
	}
}
