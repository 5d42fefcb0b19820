package softdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// An urgent octet arrives as such, and settings of a live connection reach the engine.
func TestUrgentOctetAndSettings(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(0, 0)
	client.total, client.written = 9, 9
	p.dev[0].OutputUrgent(client.tid, 9)
	p.run(vtime.Second, func() bool { return server.read == 9 })
	require.Contains(t, server.events, toe.EventUrgent)
	require.Zero(t, server.wrong)

	d := p.dev[0]
	require.NoError(t, d.SetOption(client.tid, toe.OptionCC, int64(toe.CCBBR)))
	require.NoError(t, d.SetOption(client.tid, toe.OptionMaxPacingRate, 1<<20))
	require.NoError(t, d.SetOption(client.tid, toe.OptionPMTUDiscover, 0))
	require.ErrorIs(t, d.SetOption(client.tid, toe.OptionCC, 99), toe.ErrNotSupported)
	var info toe.ConnInfo
	require.True(t, d.ConnInfo(client.tid, &info))
	require.Equal(t, "bbr", info.CC)
	require.EqualValues(t, 1<<20, info.MaxPacingRate)
	require.EqualValues(t, 1500, info.PathMTU)
}

// A program that asks to be told of what is sent hears of it before the acknowledgement.
func TestSentIsTold(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, _ := p.open(0, 0)
	require.NoError(t, p.dev[0].SetOption(client.tid, toe.OptionNotSentLowat, 2000))
	client.total = 10_000 // less than the first window
	p.turn(0)
	p.turn(0)
	require.Contains(t, client.events, toe.EventSent, "%v", client.events)
}

// Settings of a listener are those of the connections to come.
func TestListenOption(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	set := func(id toe.ListenID, o toe.Option, v int64) (err error) {
		done := make(chan error, 1)
		go func() { done <- p.dev[1].ListenOption(id, o, v) }()
		for {
			select {
			case err = <-done:
				return err
			default:
				p.turn(1)
			}
		}
	}
	require.NoError(t, set(7, toe.OptionMaxSeg, 1000))
	require.NoError(t, set(7, toe.OptionFastOpen, 16))
	require.ErrorIs(t, set(7, toe.OptionMaxSeg, 1), toe.ErrInvalid)
	require.ErrorIs(t, set(7, 99, 1), toe.ErrNotSupported)
	require.ErrorIs(t, set(8, toe.OptionMaxSeg, 1000), toe.ErrNotFound)
	client, server := p.open(5000, 0)
	p.finish(vtime.Minute, client, server)
	var info toe.ConnInfo
	p.dev[0].EachConn(0, 0, func(_ toe.TID, i *toe.ConnInfo) { info = *i })
	require.LessOrEqual(t, info.SndMSS, uint32(1000))
}
