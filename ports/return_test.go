package ports

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
)

func TestReturn(t *testing.T) {
	injected := make(chan string, 10)
	r, err := NewReturn(2, Rate{}, func(b []byte) error {
		injected <- string(b)
		if string(b) == "bad" {
			return errors.New("refused")
		}
		return nil
	})
	require.NoError(t, err)
	for i, text := range []string{"one", "bad", "two"} {
		end := r.End(i % 2)
		end.Up(0, &frame.Frame{Data: []byte(text)})
		select {
		case got := <-injected:
			require.Equal(t, text, got)
		case <-time.After(time.Minute):
			require.Fail(t, "the frame did not go up")
		}
		require.False(t, end.Waiting())
	}
	require.Eventually(t, func() bool {
		c := r.Counters()
		return c[KernelUp] == 2 && c[KernelUpOctets] == 6 && c[KernelUpRefused] == 1
	}, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	_, err = NewReturn(0, Rate{}, nil)
	require.ErrorIs(t, err, ErrInvalid)
}
