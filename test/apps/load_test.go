//go:build apps

package apps

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// load is HTTP clients of the far kernel that ask for one page after the other.
type load struct {
	b        *bench
	requests atomic.Int64
	wrong    chan error // the first failure
	cancel   context.CancelFunc
	clients  sync.WaitGroup
}

// load starts clients that ask for url, half of them with a connection for each request.
func (b *bench) load(url string, clients int, want string) *load {
	ctx, cancel := context.WithCancel(b.ctx)
	l := &load{b: b, cancel: cancel, wrong: make(chan error, 1)}
	for i := range clients {
		c := httpClient(b.FarHost)
		c.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		l.clients.Go(func() {
			defer c.CloseIdleConnections()
			l.run(ctx, c, url, want)
		})
	}
	return l
}

func (l *load) run(ctx context.Context, c *http.Client, url, want string) {
	for ctx.Err() == nil {
		if err := get(c, url, want); err != nil {
			select {
			case l.wrong <- fmt.Errorf("after %d requests: %w", l.requests.Load(), err):
			default:
			}
			return
		}
		l.requests.Add(1)
	}
}

// passes waits until n more requests have been answered.
func (l *load) passes(n int64) {
	l.b.Helper()
	goal := l.requests.Load() + n
	l.b.until(func() error {
		select {
		case err := <-l.wrong:
			l.wrong <- err
			require.NoError(l.b, err)
		default:
		}
		if have := l.requests.Load(); have < goal {
			return fmt.Errorf("%d requests of %d", have, goal)
		}
		return nil
	})
}

// end stops the clients and demands that no request has failed.
func (l *load) end() {
	l.b.Helper()
	l.cancel()
	l.clients.Wait()
	select {
	case err := <-l.wrong:
		require.NoError(l.b, err)
	default:
	}
	l.b.Logf("%d requests, none failed", l.requests.Load())
}

// get asks for a page and compares it with want.
func get(c *http.Client, url, want string) error {
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || string(body) != want) {
		err = fmt.Errorf("%s: %d octets", r.Status, len(body))
	}
	return err
}

// httpClient is a client of a host's kernel. It trusts every certificate.
func httpClient(h lab.Host) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = h.Inside(func() (err error) {
				c, err = (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}}
}
