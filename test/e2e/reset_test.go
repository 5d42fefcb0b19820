//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// abort resets a connection of either end.
func abort(c stream) error {
	if k, ok := c.(*net.TCPConn); ok {
		return errors.Join(k.SetLinger(0), k.Close())
	}
	return c.(interface{ Abort() error }).Abort()
}

// TestResetInEveryState brings one end into each state that it can be in while the other lives, by closing and by
// making the wire deaf in one direction; then the other end resets, and the first must be gone at once. Both ends
// take both parts.
func TestResetInEveryState(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	deaf := lab.Impairment{Lose: 1_000_000}
	for _, toeIsVictim := range []bool{true, false} {
		// hush loses what the victim sends.
		hush := func() {
			if toeIsVictim {
				r.Impair(deaf, lab.Impairment{})
			} else {
				r.Impair(lab.Impairment{}, deaf)
			}
		}
		states := func() (string, error) {
			if toeIsVictim {
				list, err := d.Sockets(ctx)
				var s []string
				for _, c := range list {
					if c.State != "CLOSED" { // the program still holds the socket
						s = append(s, c.State)
					}
				}
				return strings.Join(s, " "), err
			}
			out, err := l.FarHost.Output(ctx, "ss", "-Htan", "state", "all", "exclude", "listening")
			var s []string
			for line := range strings.Lines(out) {
				s = append(s, strings.Fields(line)[0])
			}
			return strings.Join(s, " "), err
		}
		for _, c := range []struct {
			state string
			bring func(victim, other stream) error
		}{
			{"ESTAB", func(victim, other stream) error { return nil }},
			{"FIN-WAIT-1", func(victim, other stream) error { hush(); return victim.CloseWrite() }},
			{"FIN-WAIT-2", func(victim, other stream) error { return victim.CloseWrite() }},
			{"CLOSE-WAIT", func(victim, other stream) error { return other.CloseWrite() }},
			{"CLOSING", func(victim, other stream) error {
				hush()
				return errors.Join(victim.CloseWrite(), other.CloseWrite())
			}},
			{"LAST-ACK", func(victim, other stream) error {
				if err := other.CloseWrite(); err != nil {
					return err
				}
				_, _ = victim.Read(make([]byte, 1)) // the end of the stream
				hush()
				return victim.CloseWrite()
			}},
		} {
			t.Run(fmt.Sprintf("%s toe=%t", c.state, toeIsVictim), func(t *testing.T) {
				r.Impair(lab.Impairment{}, lab.Impairment{})
				a, b := connect(ctx, t, toe, kernel, 4)
				victim, other := a, b
				if !toeIsVictim {
					victim, other = b, a
				}
				require.NoError(t, errors.Join(write(a, 1), read(b, 1), write(b, 1), read(a, 1)))
				require.NoError(t, c.bring(victim, other))
				eventually(ctx, t, func() error {
					s, err := states()
					if err == nil && !strings.Contains(strings.ReplaceAll(s, "ESTABLISHED", "ESTAB"), c.state) {
						err = fmt.Errorf("states are %q, not %s", s, c.state)
					}
					return err
				})
				require.NoError(t, abort(other))
				soon := time.Now().Add(10 * time.Second)
				eventually(ctx, t, func() error {
					s, err := states()
					if err == nil && s != "" {
						err = fmt.Errorf("%s is left after the reset", s)
						require.Less(t, time.Now(), soon, err)
					}
					return err
				})
				r.Impair(lab.Impairment{}, lab.Impairment{})
				_ = victim.Close()
			})
		}
	}
}
