package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultSocket is where toed's control socket is when nobody says otherwise.
const DefaultSocket = "/run/opentoe/toed.sock"

// Config is what a Client is made from. The zero Config is good.
type Config struct {
	Socket  string // control socket; "" means DefaultSocket
	Program string // name that toed shows; "" means the executable's
}

// Errors that operations return, wrapped.
var (
	ErrGone    = errors.New("toed is gone")
	ErrRefused = errors.New("toed refused")
)

// How long a client waits before it looks for a toed that has gone: an eighth of the time that it has been
// away, within these bounds.
const (
	napMin = 50 * time.Millisecond
	napMax = time.Second
)

// Client gives sockets over toed, and over another one when that has ended and another is there.
type Client struct {
	cfg  Config
	cur  atomic.Pointer[session] // the last one; its toed may be gone
	done sync.WaitGroup

	mu        sync.Mutex
	past      []*session // those before, whose sockets may still be in use
	listeners map[*Listener]struct{}
	closed    chan struct{}
}

// Dial connects to toed.
func Dial(cfg Config) (*Client, error) {
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if cfg.Program == "" {
		cfg.Program = filepath.Base(os.Args[0])
	}
	s, err := attach(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, listeners: map[*Listener]struct{}{}, closed: make(chan struct{})}
	c.cur.Store(s)
	c.done.Go(c.keep)
	return c, nil
}

// keep finds another toed when one has gone, and brings the listeners to it.
func (c *Client) keep() {
	for {
		s := c.cur.Load()
		select {
		case <-s.gone:
		case <-c.closed:
			return
		}
		_ = s.events.Close() // nobody signals it any more: its poller ends
		next := c.find(time.Now())
		if next == nil {
			return
		}
		c.mu.Lock()
		c.past = append(c.past, s)
		c.cur.Store(next)
		list := make([]*Listener, 0, len(c.listeners))
		for l := range c.listeners {
			list = append(list, l)
		}
		c.mu.Unlock()
		for _, l := range list {
			l.bring(next)
		}
	}
}

// find tries to attach until it succeeds or the client is closed; toed has been away since left.
func (c *Client) find(left time.Time) *session {
	for {
		nap := time.NewTimer(min(max(time.Since(left)/8, napMin), napMax))
		select {
		case <-nap.C:
		case <-c.closed:
			nap.Stop()
			return nil
		}
		if s, err := attach(c.cfg); err == nil {
			return s
		}
	}
}

// Addrs returns those addresses of the TOE that the kernel does not have, with their on-link prefixes.
func (c *Client) Addrs() []netip.Prefix { return c.cur.Load().addrs }

// DialContext connects to addr ("host:port") over the TOE, or, when the TOE does not take the
// connection, over the kernel. network is tcp, tcp4 or tcp6.
func (c *Client) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.cur.Load().dial(ctx, network, addr)
}

// Close ends the client. Its connections are closed in order, its listeners stop.
func (c *Client) Close() error {
	c.mu.Lock()
	select {
	case <-c.closed:
		c.mu.Unlock()
		return net.ErrClosed
	default:
	}
	close(c.closed)
	list := make([]*Listener, 0, len(c.listeners))
	for l := range c.listeners {
		list = append(list, l)
	}
	c.mu.Unlock()
	for _, l := range list {
		_ = l.Close()
	}
	c.done.Wait()
	for _, s := range c.past {
		_ = s.end()
	}
	return c.cur.Load().end()
}
