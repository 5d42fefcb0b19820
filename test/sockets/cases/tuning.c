/* tuning: settings of TCP before and after a connection is open, and what it tells of itself. */
#include "cases.h"

#include <linux/sock_diag.h>
#include <linux/sockios.h>

static void tell_congestion(const char *what, int fd)
{
	char name[16] = "";
	socklen_t len = sizeof name;

	MUST(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	say("%s: %s, %d octets", what, name, (int)len);
}

static int set_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}

CASE(congestion)
{
	int l = MUST(socket(family, SOCK_STREAM, 0)), fd = MUST(socket(family, SOCK_STREAM, 0)), a;
	struct sockaddr_storage at = make_address(0);

	tell("unknown", set_congestion(fd, "no-such-one"));
	tell("reno", set_congestion(fd, "reno"));
	tell_congestion("before connect", fd);
	tell("reno, listener", set_congestion(l, "reno"));
	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 8));
	at = name_of(l);
	MUST(connect(fd, (struct sockaddr *)&at, sizeof at));
	a = MUST(accept(l, NULL, NULL));
	tell_congestion("connected", fd);
	tell_congestion("accepted", a);
	tell("cubic", set_congestion(fd, "cubic"));
	tell_congestion("changed", fd);
	tell("unknown", set_congestion(fd, "no-such-one"));
	tell_congestion("unchanged", fd);
	MUST(close(fd));
	MUST(close(a));
	MUST(close(l));
}

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The writer waits for what it wrote to be sent, not only for room. */
CASE(lowat)
{
	int p[2], low = 4096, v;
	socklen_t len = sizeof v;
	static uint8_t buf[1 << 16];
	size_t put = 0, got = 0;

	make_pair(p);
	nonblocking(p[0], true);
	nonblocking(p[1], true);
	MUST(setsockopt(p[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof low));
	MUST(getsockopt(p[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &v, &len));
	say("TCP_NOTSENT_LOWAT %d", v);
	while (got < 4u << 20) {
		ssize_t n = 0;

		if (put < 4u << 20) {
			fill_pattern(buf, put, sizeof buf);
			n = write(p[0], buf, min((4u << 20) - put, sizeof buf));
			put += n > 0 ? (size_t)n : 0;
		}
		n = read(p[1], buf, sizeof buf);
		if (n > 0) {
			verify(buf, got, (size_t)n);
			got += (size_t)n;
		} else {
			struct pollfd w[2] = {{.fd = p[0], .events = put < 4u << 20 ? POLLOUT : 0},
					      {.fd = p[1], .events = POLLIN}};

			if (MUST(poll(w, 2, 50000)) == 0)
				say("stalled after %zu of %zu", got, put);
		}
	}
	say("moved %zu", got);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

CASE(integers)
{
	static const struct {
		const char *name;
		int level, option, value;
	} o[] = {
		{"TCP_WINDOW_CLAMP", IPPROTO_TCP, TCP_WINDOW_CLAMP, 65536},
		{"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, 1},
		{"TCP_CORK", IPPROTO_TCP, TCP_CORK, 0},
		{"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
		{"SO_MAX_PACING_RATE", SOL_SOCKET, SO_MAX_PACING_RATE, 100000000},
		{"IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT},
		{"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
		{"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 50000},
		{"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 50000},
	};
	int p[2], fresh = MUST(socket(family, SOCK_STREAM, 0)), v;
	uint64_t rate = 5000000000u;
	socklen_t len;

	make_pair(p);
	for (int k = 0; k < 2; k++) {
		int fd = k ? p[0] : fresh;

		for (size_t i = 0; i < sizeof o / sizeof *o; i++) {
			v = o[i].value;
			tell(o[i].name, setsockopt(fd, o[i].level, o[i].option, &v, sizeof v));
			v = -1;
			len = sizeof v;
			MUST(getsockopt(fd, o[i].level, o[i].option, &v, &len));
			say("is %d", v);
		}
		tell("64 bits", setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate));
		rate = 0;
		len = sizeof rate;
		MUST(getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &len));
		say("is %llu", (unsigned long long)rate);
	}
	v = 1;
	tell("fast open of a connection",
	     setsockopt(p[0], IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &v, sizeof v));
	write_all(p[0], "works", 5);
	read_all(p[1], (char[5]){0}, 5);
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(fresh));
}

CASE(facts)
{
	struct tcp_info info = {0};
	uint8_t whole[248]; /* the structure as of Linux 6.x, which is longer than libc's */
	uint64_t received;
	uint32_t mem[SK_MEMINFO_VARS];
	socklen_t len = sizeof info;
	int p[2], v = -1;
	char buf[1000] = "";

	make_pair(p);
	write_all(p[0], buf, sizeof buf);
	read_all(p[1], buf, sizeof buf);
	MUST(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, &info, &len));
	say("state %d, all of it %d, mss %d, window %d", info.tcpi_state, len == sizeof info,
	    info.tcpi_snd_mss >= 500, info.tcpi_snd_cwnd > 0);
	len = 8;
	MUST(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, &info, &len));
	say("cut to %d", (int)len);
	len = sizeof whole;
	MUST(getsockopt(p[1], IPPROTO_TCP, TCP_INFO, whole, &len));
	memcpy(&received, whole + 128, sizeof received);
	say("%d octets, received %llu", (int)len, (unsigned long long)received);
	len = sizeof mem;
	MUST(getsockopt(p[0], SOL_SOCKET, SO_MEMINFO, mem, &len));
	say("%d octets of SO_MEMINFO, room to send %d", (int)len, mem[SK_MEMINFO_SNDBUF] > 0);
	len = sizeof v;
	MUST(getsockopt(p[0], IPPROTO_IP, IP_MTU, &v, &len));
	say("IP_MTU %d", v >= 1280);
	do
		MUST(ioctl(p[0], SIOCOUTQ, &v));
	while (v != 0);
	MUST(ioctl(p[0], SIOCOUTQNSD, &v));
	say("unsent %d", v);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

/* Whether or not the octets go with the SYN, they arrive. */
CASE(fast_open)
{
	static uint8_t big[100000];
	int l = listener(0), v = 16, fd, a;
	struct sockaddr_storage to = name_of(l);
	struct iovec iov[2] = {{"a little", 8}, {big, sizeof big}};
	struct msghdr m = {
		.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = iov, .msg_iovlen = 2};
	char buf[8];

	tell("listener", setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof v));
	for (int i = 0; i < 2; i++) {
		fd = MUST(socket(family, SOCK_STREAM, 0));
		tell("sendto",
		     sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to));
		a = MUST(accept(l, NULL, NULL));
		read_all(a, buf, 5);
		say("%.5s", buf);
		write_all(a, "yes", 3);
		read_all(fd, buf, 3);
		tell("again", sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to));
		MUST(close(fd));
		MUST(close(a));
	}
	fd = MUST(socket(family, SOCK_STREAM, 0));
	fill_pattern(big, 0, sizeof big);
	tell("sendmsg", sendmsg(fd, &m, MSG_FASTOPEN));
	a = MUST(accept(l, NULL, NULL));
	read_all(a, buf, 8);
	say("%.8s", buf);
	memset(big, 0, sizeof big);
	read_all(a, big, sizeof big);
	verify(big, 0, sizeof big);
	MUST(close(fd));
	MUST(close(a));
	fd = MUST(socket(family, SOCK_STREAM, 0));
	v = 1;
	tell("connect option", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &v, sizeof v));
	MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
	write_all(fd, "later", 5);
	a = MUST(accept(l, NULL, NULL));
	read_all(a, buf, 5);
	say("%.5s", buf);
	MUST(close(fd));
	MUST(close(a));
	MUST(close(l));
}
