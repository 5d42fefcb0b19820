package sockets

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/server"
)

// toerun builds the command, once.
var toerun = sync.OnceValues(func() (string, error) {
	bin, err := filepath.Abs("../../build/cases-toerun")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/toerun").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// unsupervised are the cases in which a supervised program sees something else than one on the kernel.
// docs/SOCKETS.md says so under "Static and Go programs". They are not run: some would wait for ever.
var unsupervised = []struct {
	cases  []string
	reason string
}{
	{[]string{"sending/urgent_octet", "sending/urgent_octets_of_several"},
		"Urgent octets are ordinary ones."},
	{[]string{"tuning/fast_open"},
		"There is no Fast Open: the handshake comes first."},
	{[]string{"connecting/refused", "connecting/refused_told_by_read", "connecting/refused_told_by_write",
		"connecting/refused_without_waiting_then_connected", "connecting/shutdown_in_every_state",
		"receiving/write_takes_the_error", "sending/sigpipe_after_reset",
		"sending/reading_after_writing_to_who_has_closed", "connecting/dissolve_leaves_an_error"},
		"What is over is a unix socket that is over: read gives ECONNRESET for any error, write EPIPE."},
	{[]string{"receiving/truncating_read", "receiving/truncating_peek", "receiving/bytes_to_come_by_message",
		"receiving/error_queue_is_empty", "receiving/read_low_water_mark", "sending/sendto_with_an_address",
		"sending/sendmsg_with_a_name", "sending/sendmsg_with_control_data"},
		"Data calls are a unix socket's: MSG_TRUNC and MSG_ERRQUEUE do nothing, an address is EISCONN, poll knows no SO_RCVLOWAT."},
	{[]string{"receiving/data_after_shutdown_of_reading", "receiving/reading_a_listener"},
		"After shutdown of reading nothing more can be read; reading a listener waits."},
	{[]string{"sending/full_buffer", "sending/send_timeout"},
		"What a connection holds is what the pair and the TOE hold, and moves from one to the other meanwhile."},
	{[]string{"epoll/decided_later"},
		"A socket that a set watches before it connects or listens is the kernel's."},
}

// supervisedTopics are those whose cases are about what a supervisor does: opening, accepting, waiting, moving octets.
var supervisedTopics = []string{"calls", "connecting", "crowd", "descriptors", "echo", "ends", "epoll", "files", "forks", "names",
	"nonblock", "passing", "receiving", "sending", "server", "shared", "signals", "threads", "tuning", "waits"}

func isUnsupervised(topic, name string) bool {
	for _, u := range unsupervised {
		if slices.Contains(u.cases, topic+"/"+name) {
			return true
		}
	}
	return false
}

// TestSupervised runs cases as toerun runs static programs: under a supervisor.
func TestSupervised(t *testing.T) {
	if sanitized() {
		t.Skip("the library is not in it")
	}
	command, err := toerun()
	require.NoError(t, err)
	free := make(chan *lane, lanes)
	for range lanes {
		free <- newLane(t)
	}
	for _, p := range programs(t) {
		if !slices.Contains(supervisedTopics, p.name) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range p.cases {
				if isUnsupervised(p.name, c.name) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					l := <-free
					defer func() { free <- l }()
					l.supervised(t, command, p, c)
				})
			}
		})
	}
}

func (l *lane) supervised(t *testing.T, command string, p *program, c socketCase) {
	s := side{"supervised, IPv4", toeAddr, "4", 1, false}
	if !strings.Contains(c.families, "4") {
		s = side{"supervised, IPv6", toeAddr6, "6", 1, false}
	}
	want := l.run(t, s.reference(), p, c)
	srv := l.toed[s.workers]
	got, err := run(t, nil, command, slices.Concat([]string{"--require", "--supervise", "--socket", srv.SocketPath(), "--"}, p.argv, []string{s.address, c.name})...)
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	if got != want {
		t.Errorf("%s differs:\n%s", s.name, diff(t, s, want, got))
	}
	for end := time.Now().Add(patience); srv.Usage() != (server.Usage{}); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			require.Equal(t, server.Usage{}, srv.Usage(), "%s: memory, sockets and places are given back", s.name)
		}
	}
}
