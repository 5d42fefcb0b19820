package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"opentoe/hwregs"
)

// Daemon is what toed answers from. Its methods may be called from any goroutine.
type Daemon interface {
	Status() (Status, error)
	// Sockets lists connections and listeners; users: with who holds them.
	Sockets(users bool) ([]Socket, error)
	// Declines lists sockets that were left to the kernel, the earliest first.
	Declines() ([]Decline, error)
	Policy() (Policy, error)
	LoadPolicy(PolicyFile) (Policy, error)
	TestPolicy(PolicyQuestion) (PolicyAnswer, error)
	Remaining() (Drain, error)
	// Drain stops (on) or resumes offloading.
	Drain(on bool) (Drain, error)
	Stats() (Stats, error)
	Neighbours() ([]Neighbour, error)
	Routes() ([]Route, error)
	// Registers returns the named register, or all without a name.
	Registers(name string) ([]hwregs.Value, error)
	// Assign carries out "NAME=VALUE" and returns the register as it is then.
	Assign(assignment string) ([]hwregs.Value, error)
	// Capture writes a pcapng stream of the frames that filter matches until ctx ends. It has
	// checked filter when it first calls start; what it returns before that is the client's fault.
	Capture(ctx context.Context, filter string, snapLen int, start func() io.Writer) error
}

// ErrRequest is wrapped by errors of a [Daemon] that are the request's fault.
var ErrRequest = errors.New("bad request")

// maxAssignment bounds the body of an assignment, octets; maxBody that of others.
const (
	maxAssignment = 1024
	maxBody       = 4 << 20
)

// Server answers on a Unix socket.
type Server struct {
	http http.Server
	l    net.Listener
}

// Listen makes the socket, which only this user may open, and starts to answer. It replaces a
// socket that nobody answers on; the caller has made sure that it is the directory's only owner.
func Listen(socket string, d Daemon) (*Server, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{l: l, http: http.Server{Handler: handler(d), ReadHeaderTimeout: 5 * time.Second}}
	go s.http.Serve(l) // returns when Close is called
	return s, nil
}

// Close hangs up on everybody, captures included, and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	// The HTTP server closes the listener only if it has begun to use it.
	if e := s.l.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func handler(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", answer(func(*http.Request) (any, error) { return d.Status() }))
	mux.HandleFunc("GET /sockets", answer(func(r *http.Request) (any, error) {
		return d.Sockets(r.FormValue("users") == "true")
	}))
	mux.HandleFunc("GET /declines", answer(func(*http.Request) (any, error) { return d.Declines() }))
	mux.HandleFunc("GET /policy", answer(func(*http.Request) (any, error) { return d.Policy() }))
	mux.HandleFunc("POST /policy", answer(posted(d.LoadPolicy)))
	mux.HandleFunc("POST /policy/test", answer(posted(d.TestPolicy)))
	mux.HandleFunc("GET /drain", answer(func(*http.Request) (any, error) { return d.Remaining() }))
	mux.HandleFunc("POST /drain", answer(posted(d.Drain)))
	mux.HandleFunc("GET /stats", answer(func(*http.Request) (any, error) { return d.Stats() }))
	mux.HandleFunc("GET /neighbours", answer(func(*http.Request) (any, error) { return d.Neighbours() }))
	mux.HandleFunc("GET /routes", answer(func(*http.Request) (any, error) { return d.Routes() }))
	mux.HandleFunc("GET /registers", answer(func(r *http.Request) (any, error) {
		return d.Registers(r.FormValue("name"))
	}))
	mux.HandleFunc("POST /registers", answer(func(r *http.Request) (any, error) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAssignment))
		if err != nil {
			return nil, err
		}
		return d.Assign(string(body))
	}))
	mux.HandleFunc("GET /capture", func(w http.ResponseWriter, r *http.Request) { capture(d, w, r) })
	return mux
}

func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v) // fails only if the client has hung up
	}
}

// posted reads f's argument from the body.
func posted[In, Out any](f func(In) (Out, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var in In
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&in); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrRequest)
		}
		return f(in)
	}
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, ErrRequest) {
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(Error{err.Error()})
}

func capture(d Daemon, w http.ResponseWriter, r *http.Request) {
	snapLen := 0
	if s := r.FormValue("snaplen"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			fail(w, fmt.Errorf("snaplen %q: not a number of octets: %w", s, ErrRequest))
			return
		}
		snapLen = n
	}
	started := false
	err := d.Capture(r.Context(), r.FormValue("filter"), snapLen, func() io.Writer {
		started = true
		w.Header().Set("Content-Type", "application/x-pcapng")
		return flushWriter{w, http.NewResponseController(w)}
	})
	if err != nil && !started {
		fail(w, err)
	}
}

// flushWriter passes on every write at once: a capture is watched live.
type flushWriter struct {
	w io.Writer
	c *http.ResponseController
}

func (f flushWriter) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, f.c.Flush()
}
