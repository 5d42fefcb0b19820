package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// busy never finishes by itself.
type busy struct {
	finishing chan time.Duration
	reloads   chan string
}

func (b *busy) Finish(ctx context.Context, grace time.Duration) {
	b.finishing <- grace
	<-ctx.Done()
}

func (b *busy) ReloadPolicy(file string) error {
	b.reloads <- file
	return errors.New("broken")
}

// The first SIGTERM lets connections finish, the second ends; without a grace the first does. SIGHUP loads.
func TestSignals(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour} {
		b := &busy{make(chan time.Duration, 1), make(chan string, 1)}
		ctx, end := context.WithCancel(t.Context())
		signals := make(chan os.Signal)
		done := make(chan struct{})
		go func() {
			attend(ctx, end, b, "x.yaml", grace, signals, slog.New(slog.DiscardHandler))
			close(done)
		}()
		signals <- syscall.SIGHUP
		require.Equal(t, "x.yaml", <-b.reloads)
		signals <- syscall.SIGTERM
		if grace > 0 {
			require.Equal(t, grace, <-b.finishing)
			signals <- syscall.SIGHUP
			<-b.reloads
			require.NoError(t, ctx.Err(), "it ends while connections may go on")
			signals <- os.Interrupt
		}
		<-done
		require.Error(t, ctx.Err())
	}
}
