//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// contained returns the words that run a program on the TOE as an ordinary user in network, mount and process
// namespaces of its own, where the control socket is at another place.
func contained(l *lab.Lab, d *lab.Toed, args ...string) []string {
	const inside = "/mnt/opentoe/toed.sock"
	script := fmt.Sprintf("mount -t tmpfs none /mnt && mkdir /mnt/opentoe && : >%[1]s && mount --bind %[2]s %[1]s && "+
		`exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`, inside, d.Socket())
	words := []string{"unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"}
	return append(append(words, l.Toerun(inside)...), args...)
}

// sender is a server that sends a file to everybody who connects.
const sender = `
import socket, sys
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind((sys.argv[1], int(sys.argv[2])))
l.listen()
body = open(sys.argv[3], "rb").read()
while True:
    c, _ = l.accept()
    c.recv(65536)
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
    c.close()
`

// TestContainer: a program in namespaces of its own, which has no network but the TOE. It has that only if the
// configuration lets other network namespaces in.
func TestContainer(t *testing.T) {
	t.Parallel()
	for _, namespaces := range []string{"own", "any"} {
		t.Run(namespaces, func(t *testing.T) {
			ctx, l, d := toed(t, "af_packet", "clients: {namespaces: "+namespaces+"}\n")
			docs := l.Path("docs")
			require.NoError(t, os.MkdirAll(docs, 0o755))
			sum, err := lab.WriteRandom(l.Path("docs", "big"), 8*megabyte, 1)
			require.NoError(t, err)
			words, err := lab.Nginx{Name: "far", Port: 80, Workers: 1, Docs: docs}.Words(l)
			require.NoError(t, err)
			far, err := l.Start(l.FarHost, words[0], words[1:]...)
			require.NoError(t, err)
			require.NoError(t, far.WaitFor(ctx, func() error { return l.FarHost.Listening(80) }))

			words = contained(l, d, "curl", "-sS", "--fail", "--noproxy", "*", "http://"+peerAddr+"/big")
			words = append([]string{"-c", `"$@" >` + l.Path("fetched"), "sh"}, words...)
			_, err = l.NearHost.Output(ctx, "sh", words...)
			if namespaces == "own" {
				require.Error(t, err, "it has no network")
				s, err := d.Status(ctx)
				require.NoError(t, err)
				require.NotZero(t, s.Refused["namespace"])
				require.Zero(t, s.Offloaded)
				return
			}
			require.NoError(t, err)
			require.NoError(t, lab.CheckSum(l.Path("fetched"), sum))

			words = contained(l, d, "/usr/bin/python3", "-B", "-c", sender, toeAddr, "8080", l.Path("docs", "big"))
			server, err := l.Start(l.NearHost, words[0], words[1:]...)
			require.NoError(t, err)
			defer func() { _ = server.Kill() }() // unshare does not pass SIGTERM on
			eventually(ctx, t, func() error {
				_, err := l.FarHost.Output(ctx, "curl", "-sS", "--fail", "--noproxy", "*", "-o", l.Path("served"), "http://"+toeAddr+":8080/")
				return err
			})
			require.NoError(t, lab.CheckSum(l.Path("served"), sum))
			require.GreaterOrEqual(t, offloaded(ctx, t, d), uint64(2))
			out, err := d.Toectl(ctx, "status")
			require.NoError(t, err)
			require.Regexp(t, `uid 65534: programs 1 of \d+, sockets`, out)
		})
	}
}
