package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"opentoe/test/lab"
)

// row is a line of the result.
type row struct {
	what    string
	octets  int64
	seconds float64
}

// curl runs an unmodified curl on host h, preceded by the words of before, and returns the octets
// that it moved and the seconds it took, as it says itself.
func (d *demo) curl(ctx context.Context, h lab.Host, before []string, args ...string) (octets int64, seconds float64, err error) {
	words := append(before, "curl", "--silent", "--show-error", "--fail", "--noproxy", "*",
		"--write-out", "%{size_download} %{size_upload} %{time_total}\n")
	words = append(words, args...)
	out, err := h.Output(ctx, words[0], words[1:]...)
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			return 0, 0, fmt.Errorf("curl says %q", line)
		}
		down, _ := strconv.ParseInt(f[0], 10, 64) // curl's own format
		up, _ := strconv.ParseInt(f[1], 10, 64)
		s, _ := strconv.ParseFloat(f[2], 64)
		octets, seconds = octets+down+up, max(seconds, s)
	}
	return octets, seconds, nil
}

func (d *demo) note(what string, octets int64, seconds float64) {
	d.rows = append(d.rows, row{what, octets, seconds})
	fmt.Printf("   %d octets in %.2f s, %.2f Gb/s, SHA-256 right\n", octets, seconds, gbps(octets, seconds))
}

func gbps(octets int64, seconds float64) float64 { return float64(octets) * 8 / seconds / 1e9 }

func (d *demo) download(ctx context.Context) error {
	file := d.lab.Path("down", "big")
	defer os.Remove(file)
	n, s, err := d.curl(ctx, d.lab.FarHost, nil, "-o", file, fmt.Sprintf("http://%s:%d/big", toeAddr, d.port))
	if err != nil {
		return err
	}
	if err := lab.CheckSum(file, d.sums["big"]); err != nil {
		return err
	}
	d.note("nginx on the TOE sends", n, s)
	return nil
}

func (d *demo) upload(ctx context.Context) error {
	file := d.lab.Path("nginx-toe", "up", "big")
	defer os.Remove(file)
	n, s, err := d.curl(ctx, d.lab.FarHost, nil, "-o", os.DevNull, "-T", d.lab.Path("docs", "big"),
		fmt.Sprintf("http://%s:%d/up/big", toeAddr, d.port))
	if err != nil {
		return err
	}
	if err := lab.CheckSum(file, d.sums["big"]); err != nil {
		return err
	}
	d.note("nginx on the TOE receives", n, s)
	return nil
}

func (d *demo) small(ctx context.Context) error {
	start := time.Now()
	n, _, err := d.curl(ctx, d.lab.FarHost, nil, "--parallel", "--parallel-immediate", "--parallel-max", strconv.Itoa(parallel),
		"-o", d.lab.Path("down", "small#1"), fmt.Sprintf("http://%s:%d/small[1-%d]", toeAddr, d.port, smallFiles))
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	for i := range smallFiles {
		name := fmt.Sprintf("small%d", i+1)
		if err := lab.CheckSum(d.lab.Path("down", name), d.sums[name]); err != nil {
			return err
		}
	}
	d.note(fmt.Sprintf("%d small requests, %d parallel", smallFiles, parallel), n, seconds)
	return nil
}

func (d *demo) active(ctx context.Context) error {
	words, err := lab.Nginx{Name: "nginx-kernel", Port: peerPort, Workers: 1, Docs: d.lab.Path("docs")}.Words(d.lab)
	if err != nil {
		return err
	}
	server, err := d.lab.Start(d.lab.FarHost, words[0], words[1:]...)
	if err != nil {
		return err
	}
	if err := server.WaitFor(ctx, func() error { return d.lab.FarHost.Listening(peerPort) }); err != nil {
		return err
	}
	file := d.lab.Path("down", "big")
	defer os.Remove(file)
	n, s, err := d.curl(ctx, d.lab.NearHost, d.lab.Toerun(d.toed.Socket()), "-o", file,
		fmt.Sprintf("http://%s:%d/big", peerAddr, peerPort))
	if err != nil {
		return err
	}
	if err := lab.CheckSum(file, d.sums["big"]); err != nil {
		return err
	}
	d.note("curl on the TOE receives", n, s)
	return nil
}
