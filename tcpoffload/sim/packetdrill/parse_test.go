package packetdrill

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// TestParseErrors demands that what is not understood is named with its place and what was expected.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"", "x.pkt:1:1: a script without events"},
		{"--speed=5\n0 close(3) = 0", "x.pkt:1:1: --speed: expected one of --tolerance_usecs"},
		{"--tolerance_usecs=many\n", "x.pkt:1:1: --tolerance_usecs=many: expected a number"},
		{"--ip_version=5\n", "expected ipv4 or ipv6"},
		{"--define=A\n", "expected NAME=VALUE"},
		{"close(3) = 0", "x.pkt:1:1: expected a time"},
		{"0 frobnicate(3) = 0", "x.pkt:1:3: no system call 'frobnicate' is known: expected one of accept"},
		{"0 close(3)\n0 close(4) = 0", "x.pkt:2:1: expected '=', found '0'"},
		{"0 close(3) = -1 EWHATEVER", "x.pkt:1:17: expected an error name"},
		{"0 socket(AF_UNIX, SOCK_STREAM, 0) = 3", "x.pkt:1:10: the name 'AF_UNIX' is not known"},
		{"0 < Q 0:0(0) win 1", "x.pkt:1:5: expected flags out of F S R P U E W, found 'Q'"},
		{"0 < S 0:5(4) win 1", "x.pkt:1:11: 0:5 does not span 4 octets"},
		{"0 < S 0:0(0)", "an inbound packet needs a window"},
		{"0 < S 0:0(0) win 99999", "win"},
		{"0 > S 0:0(0) <mss 99999>", "x.pkt:1:19: mss is 99999: must be 0 to 65535"},
		{"0 > S 0:0(0) <md5 1>", "x.pkt:1:15: expected an option: mss"},
		{"0 < S 0:0(0) win 1 <...>", "expected the options of an inbound packet"},
		{"0 < S 0:0(0) win 1 <TS val 1 ecr 1,TS val 1 ecr 1,TS val 1 ecr 1,TS val 1 ecr 1,nop>", "more than 40 octets"},
		{"0 < [ecn] S 0:0(0) win 1", "x.pkt:1:6: expected noecn"},
		{"0 < [ect01] S 0:0(0) win 1", "for outbound packets only"},
		{"* close(3) = 0", "ranges and * are for outbound packets only"},
		{"0~1 close(3) = 0", "ranges and * are for outbound packets only"},
		{"1~0 > . 1:1(0) ack 1", "runs backwards"},
		{"0 < icmp unreachable moon [1:1(0)]", "x.pkt:1:10: no ICMP error is called 'unreachable moon'"},
		{"0 > icmp unreachable port", "ICMP packets can only be inbound"},
		{"0 `rm -f x`", "x.pkt:1:4: command 'rm'"},
		{"0 `sysctl -q\nnet.ipv4.tcp_nothing=1`", "command 'net.ipv4.tcp_nothing=1'"},
		{"0 `sysctl net.ipv4.tcp_nothing=1`", "x.pkt:1:11: setting 'net.ipv4.tcp_nothing=1'"},
		{"0 `sysctl net.ipv4.tcp_sack=7`", "x.pkt:1:11: net.ipv4.tcp_sack=7: expected 0 or 1"},
		{"0 `sysctl`", "sets nothing"},
		{"0 `sysctl", "x.pkt:1:3: ` is never closed"},
		{"0 %{ assert tcpi_rtt", "x.pkt:1:3: %{ is never closed"},
		{"0 %{ assert tcpi_moon }%", "x.pkt:1:13: expected a member of TCP_INFO"},
		{"0 %{ x = 1 }%", "x.pkt:1:6: expected assert or print"},
		{"0 %{ assert 1 assert 2 }%", "expected a new line"},
		{"0 %{ assert (1 }%", "expected ')'"},
		{"/* open", "x.pkt:1:1: /* is never closed"},
		{"0 write(3, \"abc, 1) = 1", "a string is never closed"},
		{"0 write(3, " + strings.Repeat("[", 40), "nested more than"},
	} {
		_, err := Parse("x.pkt", c.src)
		require.Error(t, err, c.src)
		require.ErrorContains(t, err, c.want, c.src)
		var e *Error
		require.True(t, errors.As(err, &e), c.src)
	}
}

// TestRunErrors demands that a departure from the script is found.
func TestRunErrors(t *testing.T) {
	const open = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
`
	require.NoError(t, runText(t, open))
	for _, c := range []struct{ src, want string }{
		{"+0 > . 1:1(0) ack 1", "no packet left by 0.104000"},
		{"+0 write(4, ..., 100) = 100", "after the last event: a packet left at 0.100000 that the script does not expect: > P. 1:101(100) ack 1"},
		{"+0 write(4, ..., 100) = 100\n+0 > . 1:101(100) ack 1", "x.pkt:9:1: other flags"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 1:102(101) ack 1", "another payload length"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 2:102(100) ack 1", "another sequence number"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 2", "another acknowledgment number"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1 win 1", "another window"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1 urg 1", "another urgent pointer"},
		{"+0 write(4, ..., 100) = 100\n+0 > [ect0] P. 1:101(100) ack 1", "another ECN codepoint"},
		{"+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1 <nop>", "other options"},
		{"+0 write(4, ..., 100) = 100\n+.1 > P. 1:101(100) ack 1", "too early"},
		{"+0 write(4, ..., 100) = 99", "x.pkt:8:1: write returned 100: expected 99"},
		{"+0 write(4, ..., 100) = -1 EAGAIN", "write returned 100 (no error): expected -1 (EAGAIN)"},
		{"+0 read(4, ..., 100) = 0", "read blocks"},
		{"+0...0.5 read(4, ..., 100) = 100", "read has not returned by 0.600000"},
		{"+0...0.5 read(4, ..., 100) = 1\n+0 < . 1:2(1) ack 1 win 257\n+0 > . 1:1(0) ack 2", "read returned at 0.100000: expected 0.600000"},
		{"0 close(4) = 0", "its time 0.000000 is over"},
		{"+0 %{ assert tcpi_state == TCP_CLOSE }%", "does not hold: assert tcpi_state == TCP_CLOSE"},
		{"+0 %{ assert 1 // (tcpi_state - 1) }%", "cannot be divided"},
		{"+0 ioctl(4, FIONREAD, [1]) = 0", "ioctl gave 0: expected 1"},
		{"+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0", "the option is 0: expected 1"},
		{"+0 poll([{fd=4, events=POLLOUT, revents=POLLIN}], 1, 0) = 1", "revents are 0x4: expected 0x1"},
		{"+0 close(4, 5) = 0", "close has 2 arguments"},
	} {
		err := runText(t, open+c.src)
		require.Error(t, err, c.src)
		require.ErrorContains(t, err, c.want, c.src)
	}
}

func runText(t *testing.T, src string) error {
	s, err := Parse("x.pkt", src)
	require.NoError(t, err)
	return s.Run(false, nil)
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]vtime.Duration{
		"0": 0, "1": vtime.Second, ".1": 100 * vtime.Millisecond, "0.000001": vtime.Microsecond, "12.5": 12500 * vtime.Millisecond,
	} {
		d, ok := duration(text)
		require.True(t, ok, text)
		require.Equal(t, want, d, text)
	}
	_, ok := duration("1.0000000001")
	require.False(t, ok)
}

func TestExpressions(t *testing.T) {
	info := socket.TCPInfo{SndCwnd: 10, RTT: 5000}
	for text, want := range map[string]int64{
		"1 + 2 * 3": 7, "(1 + 2) * 3": 9, "7 // 2": 3, "-7 // 2": -4, "-7 % 3": 2, "7 - 2 - 1": 4, "3 -1": 2,
		"1 << 4 | 1": 17, "6 & 3 ^ 1": 3, "~0": -1, "0x10": 16,
		"1 < 2 < 3": 1, "1 < 3 < 2": 0, "2 == 2 and not 0": 1, "0 or 5 >= 5": 1, "1 != 1": 0, "not not 1": 1,
		"abs(-3)": 3, "min(4, 2, 3)": 2, "max(4, 2)": 4, "True": 1,
		"tcpi_snd_cwnd": 10, "abs(tcpi_rtt - 4000) <= 1000": 1, "TCP_CA_Recovery": 3,
	} {
		list, err := parseCode(&lexer{file: "x"}, token{text: "assert " + text + ", 'no'", pos: Pos{1, 1}})
		require.NoError(t, err, text)
		v, err := list[0].exprs[0](info.Field)
		require.NoError(t, err, text)
		require.Equal(t, want, v, text)
	}
}

func TestDefines(t *testing.T) {
	require.NoError(t, runText(t, `--define=PORT=9000
--define=CC="reno"
--tolerance_usecs=1000
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_TCP, TCP_CONGESTION, CC, 4) = 0
+0 getsockopt(3, SOL_TCP, TCP_CONGESTION, "reno", [4]) = 0
+0 bind(3, {sa_family=AF_INET, sin_port=htons(PORT), sin_addr=inet_addr("192.168.0.1")}, ...) = 0
+0 listen(3, 1) = 0
+0 < 5000 > 9000 S 0:0(0) win 1000
+0 > 9000 > 5000 S. 0:0(0) ack 1 <...>
`))
}

// FuzzParse: no text makes the parser panic or takes long, and what parses runs to an end.
func FuzzParse(f *testing.F) {
	eachScript(f, func(_, file string) {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(src))
	})
	f.Fuzz(func(t *testing.T, src string) {
		if s, err := Parse("x", src); err == nil && len(src) < 2000 && short(s) {
			_ = s.Run(false, nil)
		}
	})
}

// short reports whether s takes little virtual time.
func short(s *Script) bool {
	var sum vtime.Duration
	for i := range s.events {
		e := &s.events[i]
		if e.kind == timeAny {
			return false
		}
		sum += e.at + e.until
		if e.call != nil {
			sum += e.call.end
			for _, a := range e.call.args {
				if a.kind == valInt && a.num > 1<<16 {
					return false
				}
			}
		}
	}
	return sum < 100*vtime.Second
}
