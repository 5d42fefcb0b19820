package server

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestWarnings: there are so many a second, and what was left out is counted.
func TestWarnings(t *testing.T) {
	var w warnings
	now := time.Unix(1, 0)
	for range warningsAtOnce {
		unsaid, ok := w.allow(now)
		require.True(t, ok)
		require.Zero(t, unsaid)
	}
	for range 7 {
		_, ok := w.allow(now.Add(time.Second - 1))
		require.False(t, ok)
	}
	unsaid, ok := w.allow(now.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, 7, unsaid)
	unsaid, ok = w.allow(now.Add(time.Second))
	require.True(t, ok)
	require.Zero(t, unsaid)
}

// logged is where a log goes that several goroutines write.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestGoneInMidAnswer: a client that dies before it is answered is no news; one that says nonsense is.
func TestGoneInMidAnswer(t *testing.T) {
	var log logged
	r := newRig(t, 1, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	r.serve()
	r.srv.mu.Lock() // so that no HELLO is answered
	for range 3 {
		b, err := helloMsg.Append(nil)
		require.NoError(t, err)
		conn := r.control()
		_, err = conn.Write(b)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	r.srv.mu.Unlock()
	nonsense := r.control()
	_, err := nonsense.Write([]byte("nonsense"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "client dropped") }, waitFor, tick)
	require.Eventually(t, func() bool { return r.srv.Usage().Clients == 1 }, waitFor, tick, "that of the rig")
	require.Equal(t, 1, strings.Count(log.String(), "client dropped"), log.String())
	require.True(t, hungUp(unix.EPIPE))
}
