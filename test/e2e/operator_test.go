//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// TestRegisters reads and changes registers of a running toed.
func TestRegisters(t *testing.T) {
	ctx, _, d := toed(t, "af_xdp", "")
	out, err := d.Toectl(ctx, "reg", "TP_RXT_MIN=300ms")
	require.NoError(t, err)
	require.Contains(t, out, "300ms")
	out, err = d.Toectl(ctx, "reg", "TP_RXT_MIN")
	require.NoError(t, err)
	require.Contains(t, out, "300ms")

	_, err = d.Toectl(ctx, "reg", "TP_RXT_MIN=9h")
	require.Error(t, err)
	out, err = d.Toectl(ctx, "reg", "TP_RXT_MIN")
	require.NoError(t, err)
	require.Contains(t, out, "300ms", "a rejected write changed something")
	out, err = d.Toectl(ctx, "reg", "PL_ERR")
	require.NoError(t, err)
	require.Regexp(t, `PL_ERR\s+1\b`, out)

	_, err = d.Toectl(ctx, "reg", "TP_NO_SUCH")
	require.ErrorContains(t, err, "no such register")
	out, err = d.Toectl(ctx, "regdump")
	require.NoError(t, err)
	for _, name := range []string{"TP_RXT_MAX", "TP_MIB_", "PL_REV", "XGM0_STAT_RX_FRAMES", "XGM0_MAC"} {
		require.Contains(t, out, name)
	}
}

// TestSniffers lets tcpdump look at the mirror interface, and toectl capture write a file.
func TestSniffers(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "mirror: {interface: mon0, file: "+prefix()+".pcapng, snaplen: 96}\n")
	defer os.Remove(l.Root + "/test/e2e/" + prefix() + ".pcapng")
	nginx(ctx, t, l, d, 80, megabyte)
	dump, err := l.Start(l.NearHost, "tcpdump", "-n", "-l", "--immediate-mode", "-i", "mon0", "tcp")
	require.NoError(t, err)
	require.NoError(t, dump.WaitFor(ctx, func() error {
		if !dump.Said("listening on") {
			return errors.New("tcpdump does not listen")
		}
		return nil
	}))
	capture, err := l.Start(l.NearHost, l.Bin("toectl"), "--socket", d.RunDir+"/toectl.sock", "capture", "-w", l.Path("syn.pcapng"),
		"tcp[tcpflags] & tcp-syn != 0")
	require.NoError(t, err)
	require.NoError(t, capture.WaitFor(ctx, func() error { _, err := os.Stat(l.Path("syn.pcapng")); return err }))
	eventually(ctx, t, func() error { return readable(ctx, l, l.Path("syn.pcapng")) })

	curl(ctx, t, l.FarHost, "-o", os.DevNull, "http://"+toeAddr+"/small")
	require.NoError(t, dump.WaitFor(ctx, func() error { return handshake(dump.Text()) }))
	eventually(ctx, t, func() error {
		out, err := l.NearHost.Output(ctx, "tcpdump", "-n", "-r", l.Path("syn.pcapng"))
		if n := strings.Count(out, "\n"); err == nil && n != 2 {
			err = fmt.Errorf("%d frames in the capture, want SYN and SYN-ACK:\n%s", n, out)
		}
		return errors.Join(err, handshake(out))
	})
	_, err = d.Toectl(ctx, "capture", "-w", os.DevNull, "tcp and (")
	require.ErrorContains(t, err, "filter")
}

func readable(ctx context.Context, l *lab.Lab, file string) error {
	_, err := l.NearHost.Output(ctx, "tcpdump", "-n", "-r", file)
	return err
}

// handshake looks for the first two segments of a connection to nginx.
func handshake(dump string) error {
	if !strings.Contains(dump, "> "+toeAddr+".80: Flags [S],") {
		return errors.New("no SYN was seen")
	}
	if !strings.Contains(dump, "IP "+toeAddr+".80 > ") || !strings.Contains(dump, "Flags [S.],") {
		return errors.New("no SYN-ACK was seen")
	}
	return nil
}

// TestBadInput gives toed what it must refuse: one line that names the cause, and nothing left behind.
func TestBadInput(t *testing.T) {
	l := wire(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	huge := "dpdk: {huge_pages: require, memory: 1000GiB}\n"
	cases := []struct{ name, body, want string }{
		{"unknown key", config("af_xdp", "worker: 1\n"), `toed.yaml:6: worker: unknown key: did you mean "workers"?`},
		{"impossible value", config("af_xdp", "workers: {count: 0}\n"), `toed.yaml:6: workers.count: "0": out of range`},
		{"missing interface", strings.Replace(config("af_xdp", ""), ":"+nearIf, ":nowhere0", 1), "af_xdp:nowhere0: no such network interface"},
		{"no huge pages", config("af_xdp", huge), "huge pages are required"},
		{"mtu", strings.Replace(config("af_xdp", ""), "addresses", "mtu: 9000\n    addresses", 1), "ports[0].mtu: 9000: toe0 carries 1500"},
		{"unknown driver", strings.Replace(config("af_xdp", ""), "af_xdp:"+nearIf, "net_nonsense0", 1), "net_nonsense0"},
		{"missing PCI device", strings.Replace(config("af_xdp", ""), "af_xdp:"+nearIf, `"0000:ff:1f.7"`, 1), "0000:ff:1f.7"},
		{"mirror name", config("af_xdp", "mirror: {interface: lo}\n"), "mirror.interface"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file, runDir, err := l.WriteConfig(c.body)
			require.NoError(t, err)
			_, err = l.NearHost.Output(ctx, l.Bin("toed"), "--config", file)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.NotZero(t, exit.ExitCode())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "toed: ")
			require.NoDirExists(t, runDir)
		})
	}
}

// TestSecondToed starts a toed where one is running: it is refused, the first one is not disturbed.
func TestSecondToed(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	file, _, err := l.WriteConfig(config("af_packet", ""))
	require.NoError(t, err)
	_, err = l.NearHost.Output(ctx, l.Bin("toed"), "--config", file)
	require.ErrorContains(t, err, fmt.Sprintf("another toed (pid %d) serves %s", d.PID(), d.RunDir))
	_, err = d.Status(ctx)
	require.NoError(t, err)
	nginx(ctx, t, l, d, 80, megabyte)
	curl(ctx, t, l.FarHost, "-o", os.DevNull, "http://"+toeAddr+"/small")
}

// TestNoPermission runs toed as an ordinary user.
func TestNoPermission(t *testing.T) {
	l := wire(t)
	file, _, err := l.WriteConfig(config("af_xdp", ""))
	require.NoError(t, err)
	_, err = l.NearHost.Output(t.Context(), "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", l.Bin("toed"), "--config", file)
	require.ErrorContains(t, err, "permission denied")
	require.ErrorContains(t, err, "runtime_dir")
}

// TestToerunWithoutToed runs a program on the kernel when there is no TOE, unless that is refused.
func TestToerunWithoutToed(t *testing.T) {
	l := wire(t)
	ctx := t.Context()
	socket := l.Path("nobody.sock")
	cmd := l.NearHost.Command(ctx, l.Bin("toerun"), "--socket", socket, "sh", "-c", "echo ran; exit 7")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode(), "toerun is not transparent")
	require.Equal(t, "ran\n", string(out))
	require.Equal(t, 1, strings.Count(stderr.String(), "\n"), "more than one line: %s", stderr.String())
	require.Contains(t, stderr.String(), "toed does not run")

	_, err = l.NearHost.Output(ctx, l.Bin("toerun"), "--require", "--socket", socket, "sh", "-c", "echo ran")
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 125, exit.ExitCode())
}
