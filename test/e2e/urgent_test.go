//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUrgentData sends urgent octets to and from the kernel. What the receiving program sees, step by step, has to be what it
// sees between two kernels.
func TestUrgentData(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	program := l.Path("urgent")
	out, err := exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, "testdata/urgent.c").CombinedOutput()
	require.NoError(t, err, string(out))
	const want = "urgent !\nagain -1\nread before, at the mark\nread after, not at the mark\n" +
		"events POLLPRI\nread more, at the mark\nread ?, not at the mark\nrest the end\nend 0\n"
	port := 7200
	for _, addr := range []struct{ toe, peer string }{{toeAddr, peerAddr}, {toeAddr6, peerAddr6}} {
		for _, toeSends := range []bool{false, true} {
			for _, toeListens := range []bool{false, true} {
				port++
				t.Run(fmt.Sprintf("%s toe sends=%t listens=%t", addr.toe, toeSends, toeListens), func(t *testing.T) {
					// words are the program's arguments at one end.
					words := func(listens, sends bool) []string {
						role, what, to := "connect", "recv", addr.peer // the address is the listener's
						if toeListens {
							to = addr.toe
						}
						if listens {
							role = "listen"
						}
						if sends {
							what = "send"
						}
						return []string{program, role, what, to, fmt.Sprint(port)}
					}
					toe := l.NearHost.Command(ctx, l.Toerun(d.Socket())[0], append(l.Toerun(d.Socket())[1:], words(toeListens, toeSends)...)...)
					kernel := l.FarHost.Command(ctx, program, words(!toeListens, !toeSends)[1:]...)
					receiver, sender := toe, kernel
					if toeSends {
						receiver, sender = kernel, toe
					}
					require.NoError(t, sender.Start())
					text, err := receiver.CombinedOutput()
					require.NoError(t, err, string(text))
					require.NoError(t, sender.Wait())
					require.Equal(t, want, string(text))
				})
			}
		}
	}
	offloadedOnly(ctx, t, d)
}
