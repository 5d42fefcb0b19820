package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"opentoe/hwregs"
)

// Client asks a toed.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the toed whose operator socket this is. Nothing is opened yet.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	return c
}

// Status asks for the summary.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, "/status", nil, &s)
	return s, err
}

// Sockets asks for connections and listeners; users: also for who holds them.
func (c *Client) Sockets(ctx context.Context, users bool) (s []Socket, err error) {
	err = c.get(ctx, "/sockets", url.Values{"users": {strconv.FormatBool(users)}}, &s)
	return s, err
}

// Declines asks for sockets that were left to the kernel.
func (c *Client) Declines(ctx context.Context) (d []Decline, err error) {
	err = c.get(ctx, "/declines", nil, &d)
	return d, err
}

// Policy asks for the policy in force.
func (c *Client) Policy(ctx context.Context) (p Policy, err error) {
	err = c.get(ctx, "/policy", nil, &p)
	return p, err
}

// LoadPolicy puts a policy in force, or tries it.
func (c *Client) LoadPolicy(ctx context.Context, f PolicyFile) (p Policy, err error) {
	err = c.post(ctx, "/policy", f, &p)
	return p, err
}

// TestPolicy asks what becomes of a socket.
func (c *Client) TestPolicy(ctx context.Context, q PolicyQuestion) (a PolicyAnswer, err error) {
	err = c.post(ctx, "/policy/test", q, &a)
	return a, err
}

// Remaining asks what remains on the TOE.
func (c *Client) Remaining(ctx context.Context) (d Drain, err error) {
	err = c.get(ctx, "/drain", nil, &d)
	return d, err
}

// Drain stops (on) or resumes offloading.
func (c *Client) Drain(ctx context.Context, on bool) (d Drain, err error) {
	err = c.post(ctx, "/drain", on, &d)
	return d, err
}

// post sends v and takes the answer.
func (c *Client) post(ctx context.Context, path string, v, into any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	body, err := c.do(ctx, http.MethodPost, path, nil, bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(into)
}

// Stats asks for the counters.
func (c *Client) Stats(ctx context.Context) (s Stats, err error) {
	err = c.get(ctx, "/stats", nil, &s)
	return s, err
}

// Registers asks for a register, or for all with an empty name.
func (c *Client) Registers(ctx context.Context, name string) (r []hwregs.Value, err error) {
	err = c.get(ctx, "/registers", url.Values{"name": {name}}, &r)
	return r, err
}

// Assign changes a register: "NAME=VALUE".
func (c *Client) Assign(ctx context.Context, assignment string) (r []hwregs.Value, err error) {
	body, err := c.do(ctx, http.MethodPost, "/registers", nil, strings.NewReader(assignment))
	if err != nil {
		return r, err
	}
	defer body.Close()
	err = json.NewDecoder(body).Decode(&r)
	return r, err
}

// Capture starts a capture; the stream ends when it is closed. snapLen 0 is toed's setting.
func (c *Client) Capture(ctx context.Context, filter string, snapLen int) (io.ReadCloser, error) {
	q := url.Values{"filter": {filter}, "snaplen": {strconv.Itoa(snapLen)}}
	return c.do(ctx, http.MethodGet, "/capture", q, nil)
}

func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	body, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(into)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "toed", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Message == "" {
		return nil, fmt.Errorf("toed answers %s", resp.Status)
	}
	return nil, errors.New(strings.TrimSuffix(e.Message, ": "+ErrRequest.Error()))
}

// explain says what it means that the socket cannot be reached.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("toed does not run (no %s): start it with toed --config FILE", c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("toed does not answer on %s: it has died, start it again", c.socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no permission for %s: ask as the user that runs toed", c.socket)
	}
	return err
}
