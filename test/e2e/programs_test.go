//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIperf3 runs the kernel's iperf3 against one on the TOE: to the end, without a stall.
func TestIperf3(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	serve(ctx, t, l, d, 5201, "iperf3", "-s")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"1 stream in", nil},
		{"8 streams in", []string{"-P", "8"}},
		{"1 stream out", []string{"-R"}},
		{"8 streams out", []string{"-P", "8", "-R"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-c", toeAddr, "-t", "3", "-i", "0.5", "--json"}, c.args...)
			var result iperf
			var out string
			// Between two tests the server closes its listener, and resets who waits there, and opens another.
			eventually(ctx, t, func() (err error) {
				out, err = l.FarHost.Output(ctx, "iperf3", args...)
				if result = (iperf{}); err == nil {
					err = json.Unmarshal([]byte(out), &result)
				}
				if err == nil && result.Error != "" && len(result.Intervals) == 0 {
					err = errors.New(result.Error)
				}
				return err
			})
			require.NotEmpty(t, result.Intervals, out)
			for i, in := range result.Intervals {
				if in.Sum.Seconds > 0.2 { // the last one may be a sliver
					require.NotZero(t, in.Sum.Bytes, "nothing moved in interval %d", i)
				}
			}
			t.Logf("%.2f Gb/s", result.End.Received.BitsPerSecond/1e9)
		})
	}
	offloadedOnly(ctx, t, d)
}

// iperf is the part of iperf3's report that we look at.
type iperf struct {
	Error     string
	Intervals []struct {
		Sum struct {
			Bytes   int64
			Seconds float64
		}
	}
	End struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	}
}

// TestRedis runs the kernel's redis-benchmark against a redis-server on the TOE: all its tests.
func TestRedis(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	serve(ctx, t, l, d, 6379, "redis-server", "--save", "", "--protected-mode", "no", "--dir", l.Dir, "--bind", "0.0.0.0")
	out, err := l.FarHost.Output(ctx, "redis-benchmark", "-h", toeAddr, "-n", "100000", "-c", "50", "-q")
	require.NoError(t, err, out)
	tests := []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET",
		"SPOP", "ZADD", "ZPOPMIN", "LRANGE_100", "LRANGE_300", "LRANGE_500", "LRANGE_600", "MSET"}
	for _, name := range tests {
		line := lineOf(out, name)
		require.Contains(t, line, "requests per second", "%s did not complete:\n%s", name, out)
	}
	t.Log(lineOf(out, "GET"))
	offloadedOnly(ctx, t, d)
}

// lineOf returns the last state of the line that begins with name: the program overwrites it.
func lineOf(out, name string) string {
	for line := range strings.Lines(out) {
		states := strings.Split(strings.TrimSpace(line), "\r")
		if last := strings.TrimSpace(states[len(states)-1]); strings.HasPrefix(last, name) {
			return last
		}
	}
	return ""
}
