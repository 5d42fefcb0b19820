/* options: what can be set and read of a socket in every state, and what a connection has from its
 * listener. */
#include "cases.h"

#include <linux/sockios.h>

#ifndef TCP_IS_MPTCP
#define TCP_IS_MPTCP 43
#endif

struct integer {
	const char *name;
	int level, option, value;
};

#define SOL(name, value)                       \
	{                                      \
#name, SOL_SOCKET, name, value \
	}
#define TCP(name, value)                        \
	{                                       \
#name, IPPROTO_TCP, name, value \
	}
#define IP4(name, value)                       \
	{                                      \
#name, IPPROTO_IP, name, value \
	}
#define IP6(name, value)                         \
	{                                        \
#name, IPPROTO_IPV6, name, value \
	}
#define N(array) (sizeof(array) / sizeof *(array))

static void tell_value(const char *name, int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof v;

	if (getsockopt(fd, level, option, &v, &len) < 0)
		tell(name, -1);
	else
		say("%s is %d, %u octets", name, v, len);
}

/* walk sets and reads options of one socket. */
static void walk(int fd, const struct integer *o, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		tell(o[i].name, set_int(fd, o[i].level, o[i].option, o[i].value));
		tell_value(o[i].name, fd, o[i].level, o[i].option);
	}
}

static const struct integer socket_options[] = {
	SOL(SO_REUSEADDR, 1),
	SOL(SO_TYPE, 1),
	SOL(SO_ERROR, 1),
	SOL(SO_BROADCAST, 1),
	SOL(SO_SNDBUF, 30000),
	SOL(SO_RCVBUF, 30000),
	SOL(SO_KEEPALIVE, 1),
	SOL(SO_OOBINLINE, 1),
	SOL(SO_NO_CHECK, 1),
	SOL(SO_REUSEPORT, 1),
	SOL(SO_RCVLOWAT, 100),
	SOL(SO_SNDLOWAT, 100),
	SOL(SO_ACCEPTCONN, 1),
	SOL(SO_PROTOCOL, 1),
	SOL(SO_DOMAIN, 1),
	SOL(SO_RXQ_OVFL, 1),
	SOL(SO_INCOMING_CPU, 0),
	SOL(SO_CNX_ADVICE, 1),
	SOL(SO_PREFER_BUSY_POLL, 0),
	SOL(SO_TXREHASH, 0),
	SOL(SO_BPF_EXTENSIONS, 1),
	SOL(SO_INCOMING_NAPI_ID, 1),
	SOL(SO_SELECT_ERR_QUEUE, 1),
};

static const struct integer tcp_options[] = {
	TCP(TCP_NODELAY, 1),
	TCP(TCP_CORK, 0),
	TCP(TCP_KEEPIDLE, 100),
	TCP(TCP_KEEPINTVL, 20),
	TCP(TCP_KEEPCNT, 3),
	TCP(TCP_SYNCNT, 4),
	TCP(TCP_LINGER2, 20),
	TCP(TCP_LINGER2, -1),
	TCP(TCP_DEFER_ACCEPT, 0),
	TCP(TCP_WINDOW_CLAMP, 60000),
	TCP(TCP_QUICKACK, 1),
	TCP(TCP_THIN_DUPACK, 1),
	TCP(TCP_USER_TIMEOUT, 5000),
	TCP(TCP_NOTSENT_LOWAT, 10000),
	TCP(TCP_INQ, 1),
	TCP(TCP_SAVED_SYN, 1),
	TCP(TCP_IS_MPTCP, 1),
	TCP(TCP_REPAIR_WINDOW, 1),
	TCP(TCP_REPAIR_QUEUE, 1),
};

CASE(socket_options_of_a_fresh_socket)
{
	walk(stream_socket(0), socket_options, N(socket_options));
}

CASE(socket_options_of_a_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], socket_options, N(socket_options));
	walk(p[1], socket_options, N(socket_options));
}

CASE(socket_options_of_a_listener)
{
	walk(listener(0), socket_options, N(socket_options));
}

CASE(tcp_options_of_a_fresh_socket)
{
	walk(stream_socket(0), tcp_options, N(tcp_options));
}

CASE(tcp_options_of_a_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], tcp_options, N(tcp_options));
	walk(p[1], tcp_options, N(tcp_options));
}

CASE(tcp_options_of_a_listener)
{
	walk(listener(0), tcp_options, N(tcp_options));
}

static const struct integer ip_options[] = {
	IP4(IP_TOS, 0x10),
	IP4(IP_TOS, 0xff),
	IP4(IP_TOS, 0x103),
	IP4(IP_TTL, 33),
	IP4(IP_TTL, 0),
	IP4(IP_TTL, 256),
	IP4(IP_TTL, -1),
	IP4(IP_HDRINCL, 1),
	IP4(IP_PKTINFO, 1),
	IP4(IP_RECVTTL, 1),
	IP4(IP_RECVTOS, 1),
	IP4(IP_FREEBIND, 1),
	IP4(IP_MTU_DISCOVER, 2),
	IP4(IP_MTU_DISCOVER, 1),
	IP4(IP_MTU_DISCOVER, 9),
	IP4(IP_MULTICAST_LOOP, 1),
	IP4(IP_MULTICAST_ALL, 1),
	IP4(IP_BIND_ADDRESS_NO_PORT, 1),
	IP4(IP_NODEFRAG, 1),
	IP4(IP_RECVFRAGSIZE, 1),
	IP4(IP_CHECKSUM, 0),
	IP4(IP_RECVERR, 0),
	IP4(IP_TRANSPARENT, 0),
	IP4(IP_MINTTL, 0),
	IP4(777, 1),
};

static const struct integer ip6_options[] = {
	IP6(IPV6_UNICAST_HOPS, 40),  IP6(IPV6_UNICAST_HOPS, -1), IP6(IPV6_UNICAST_HOPS, 256),
	IP6(IPV6_TCLASS, 0x20),	     IP6(IPV6_TCLASS, -1),	 IP6(IPV6_TCLASS, 300),
	IP6(IPV6_RECVPKTINFO, 1),    IP6(IPV6_RECVHOPLIMIT, 1),	 IP6(IPV6_RECVTCLASS, 1),
	IP6(IPV6_MTU_DISCOVER, 1),   IP6(IPV6_DONTFRAG, 1),	 IP6(IPV6_RECVERR, 0),
	IP6(IPV6_MULTICAST_LOOP, 1), IP6(IPV6_CHECKSUM, 1),	 IP6(777, 1),
};

CASE4(ip_options_of_a_fresh_socket)
{
	walk(stream_socket(0), ip_options, N(ip_options));
}

CASE4(ip_options_of_a_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], ip_options, N(ip_options));
	walk(p[1], ip_options, N(ip_options));
}

CASE6(ipv6_options_of_a_fresh_socket)
{
	walk(stream_socket(0), ip6_options, N(ip6_options));
}

CASE6(ipv6_options_of_a_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], ip6_options, N(ip6_options));
	walk(p[1], ip6_options, N(ip6_options));
}

CASE6(ipv4_options_of_an_ipv6_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], ip_options, 4);
	tell_value("IPV6_TCLASS", p[0], IPPROTO_IPV6, IPV6_TCLASS);
}

CASE4(ipv6_options_of_an_ipv4_connection)
{
	int p[2];

	make_pair(p);
	walk(p[0], ip6_options, 4);
}

CASE(set_before_connect_stays)
{
	static const struct integer o[] = {
		SOL(SO_KEEPALIVE, 1),
		SOL(SO_SNDBUF, 20000),
		SOL(SO_RCVBUF, 20000),
		SOL(SO_OOBINLINE, 1),
		SOL(SO_RCVLOWAT, 3),
		TCP(TCP_NODELAY, 1),
		TCP(TCP_KEEPIDLE, 77),
		TCP(TCP_KEEPINTVL, 7),
		TCP(TCP_KEEPCNT, 7),
		TCP(TCP_USER_TIMEOUT, 777),
		TCP(TCP_NOTSENT_LOWAT, 7777),
		TCP(TCP_SYNCNT, 3),
		TCP(TCP_INQ, 1),
		IP4(IP_TOS, 0x08),
		IP4(IP_TTL, 44),
		TCP(TCP_LINGER2, 17),
		SOL(SO_MARK, 0),
		SOL(SO_PRIORITY, 0),
	};
	int l = listener(0), fd = stream_socket(0), a;

	for (size_t i = 0; i < N(o); i++)
		tell(o[i].name, set_int(fd, o[i].level, o[i].option, o[i].value));
	MUST(connect_at(fd, name_of(l)));
	a = MUST(accept(l, NULL, NULL));
	for (size_t i = 0; i < N(o); i++)
		tell_value(o[i].name, fd, o[i].level, o[i].option);
	write_all(fd, "works", 5);
	read_all(a, (char[5]){0}, 5);
}

static void inherit(bool late)
{
	static const struct integer o[] = {
		SOL(SO_REUSEADDR, 1),	      SOL(SO_KEEPALIVE, 1),	  SOL(SO_SNDBUF, 20000),
		SOL(SO_RCVBUF, 20000),	      SOL(SO_OOBINLINE, 1),	  SOL(SO_RCVLOWAT, 3),
		TCP(TCP_NODELAY, 1),	      TCP(TCP_KEEPIDLE, 77),	  TCP(TCP_KEEPINTVL, 7),
		TCP(TCP_KEEPCNT, 7),	      TCP(TCP_USER_TIMEOUT, 777), TCP(TCP_INQ, 1),
		TCP(TCP_NOTSENT_LOWAT, 7777), TCP(TCP_CORK, 1),		  IP4(IP_TTL, 44),
		SOL(SO_PEEK_OFF, 0),
	};
	struct linger linger = {.l_onoff = 1, .l_linger = 3};
	struct timeval t = {.tv_sec = 7};
	int l = stream_socket(0), fd, a;
	socklen_t len = sizeof t;

	MUST(bind_to(l, make_address(0)));
	for (int pass = 0; pass < 2; pass++) {
		if (pass == late) {
			for (size_t i = 0; i < N(o); i++)
				tell(o[i].name, set_int(l, o[i].level, o[i].option, o[i].value));
			MUST(setsockopt(l, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
			MUST(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
			MUST(setsockopt(l, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
			nonblocking(l, false);
		} else {
			MUST(listen(l, 8));
		}
	}
	fd = stream_socket(0);
	MUST(connect_at(fd, name_of(l)));
	a = MUST(accept(l, NULL, NULL));
	for (size_t i = 0; i < N(o); i++)
		tell_value(o[i].name, a, o[i].level, o[i].option);
	linger = (struct linger){0};
	MUST(getsockopt(a, SOL_SOCKET, SO_LINGER, &linger, &(socklen_t){sizeof linger}));
	say("linger %d %d", linger.l_onoff, linger.l_linger);
	t.tv_sec = 0;
	MUST(getsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, &len));
	say("receive timeout %ld", (long)t.tv_sec);
	t.tv_sec = 0;
	MUST(getsockopt(a, SOL_SOCKET, SO_SNDTIMEO, &t, &len));
	say("send timeout %ld", (long)t.tv_sec);
	say("O_NONBLOCK %d", (fcntl(a, F_GETFL) & O_NONBLOCK) != 0);
}

CASE(inherited_when_set_before_listen)
{
	inherit(false);
}

CASE(inherited_when_set_after_listen)
{
	inherit(true);
}

CASE(nonblocking_is_not_inherited)
{
	int l = listener(SOCK_NONBLOCK), fd = stream_socket(0), a;

	MUST(connect_at(fd, name_of(l)));
	await(l, POLLIN);
	a = MUST(accept(l, NULL, NULL));
	say("O_NONBLOCK %d, FD_CLOEXEC %d", (fcntl(a, F_GETFL) & O_NONBLOCK) != 0,
	    fcntl(a, F_GETFD));
}

CASE(timeouts_of_a_listener_are_the_connections)
{
	struct timeval t = {.tv_usec = 20000};
	int l = listener(0), fd, a;

	MUST(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	tell("accept", accept(l, NULL, NULL));
	fd = connect_to(l);
	await(l, POLLIN); /* longer than accept would wait, perhaps */
	a = MUST(accept(l, NULL, NULL));
	tell("read", read(a, (char[1]){0}, 1));
	MUST(close(fd));
}

CASE(default_values_read)
{
	static const struct integer o[] = {
		SOL(SO_REUSEADDR, 0),
		SOL(SO_TYPE, 0),
		SOL(SO_ERROR, 0),
		SOL(SO_DONTROUTE, 0),
		SOL(SO_KEEPALIVE, 0),
		SOL(SO_OOBINLINE, 0),
		SOL(SO_PRIORITY, 0),
		SOL(SO_REUSEPORT, 0),
		SOL(SO_RCVLOWAT, 0),
		SOL(SO_SNDLOWAT, 0),
		SOL(SO_TIMESTAMP, 0),
		SOL(SO_TIMESTAMPNS, 0),
		SOL(SO_MARK, 0),
		SOL(SO_PROTOCOL, 0),
		SOL(SO_DOMAIN, 0),
		SOL(SO_PEEK_OFF, 0),
		SOL(SO_LOCK_FILTER, 0),
		SOL(SO_BUSY_POLL, 0),
		SOL(SO_ZEROCOPY, 0),
		SOL(SO_BINDTOIFINDEX, 0),
		SOL(SO_ACCEPTCONN, 0),
		SOL(SO_PEERSEC, 0),
		SOL(SO_PASSCRED, 0),
		SOL(SO_ATTACH_BPF, 0),
		TCP(TCP_NODELAY, 0),
		TCP(TCP_CORK, 0),
		TCP(TCP_KEEPIDLE, 0),
		TCP(TCP_KEEPINTVL, 0),
		TCP(TCP_KEEPCNT, 0),
		TCP(TCP_SYNCNT, 0),
		TCP(TCP_LINGER2, 0),
		TCP(TCP_DEFER_ACCEPT, 0),
		TCP(TCP_USER_TIMEOUT, 0),
		TCP(TCP_REPAIR, 0),
		TCP(TCP_THIN_LINEAR_TIMEOUTS, 0),
		TCP(TCP_THIN_DUPACK, 0),
		TCP(TCP_SAVE_SYN, 0),
		TCP(TCP_FASTOPEN_CONNECT, 0),
		TCP(TCP_FASTOPEN_NO_COOKIE, 0),
		TCP(TCP_INQ, 0),
		TCP(TCP_TX_DELAY, 0),
	};
	int p[2];

	make_pair(p);
	for (size_t i = 0; i < N(o); i++) {
		tell_value(o[i].name, p[0], o[i].level, o[i].option);
		tell_value(o[i].name, p[1], o[i].level, o[i].option);
	}
}

CASE(what_is_off_can_be_set_off)
{
	static const struct integer o[] = {
		SOL(SO_PRIORITY, 0),	  SOL(SO_TIMESTAMP, 0),
		SOL(SO_MARK, 0),	  SOL(SO_ZEROCOPY, 0),
		SOL(SO_DONTROUTE, 0),	  SOL(SO_LOCK_FILTER, 0),
		SOL(SO_BINDTOIFINDEX, 0), TCP(TCP_THIN_LINEAR_TIMEOUTS, 0),
		TCP(TCP_SAVE_SYN, 0),	  TCP(TCP_TX_DELAY, 0),
	};
	int p[2];

	make_pair(p);
	walk(p[0], o, N(o));
}

CASE(values_out_of_range)
{
	static const struct integer o[] = {
		TCP(TCP_KEEPIDLE, 0),
		TCP(TCP_KEEPIDLE, 32768),
		TCP(TCP_KEEPINTVL, 0),
		TCP(TCP_KEEPCNT, 128),
		TCP(TCP_SYNCNT, 128),
		TCP(TCP_USER_TIMEOUT, -1),
		TCP(TCP_WINDOW_CLAMP, 1),
		TCP(TCP_INQ, 2),
		TCP(TCP_INQ, -1),
		TCP(TCP_FASTOPEN_CONNECT, 3),
		TCP(TCP_NOTSENT_LOWAT, -1),
		SOL(SO_SNDBUF, 1),
		SOL(SO_RCVBUF, 1),
		SOL(SO_SNDBUF, -1),
		SOL(SO_RCVLOWAT, -5),
		SOL(SO_RCVLOWAT, 0),
		SOL(SO_BUSY_POLL, -1),
		{"level 99", 99, 1, 1},
		{"TCP 200", IPPROTO_TCP, 200, 1},
		{"SOL_SOCKET 500", SOL_SOCKET, 500, 1},
		{"UDP 1", IPPROTO_UDP, 1, 1},
		{"level -1", -1, 1, 1},
		{"TCP -1", IPPROTO_TCP, -1, 1},
	};

	for (size_t i = 0; i < N(o); i++) {
		int p[2];

		make_pair(p);
		walk(p[0], &o[i], 1);
		MUST(close(p[0]));
		MUST(close(p[1]));
	}
}

CASE(segment_size_out_of_range)
{
	int p[2];

	make_pair(p);
	tell("too small", set_int(p[0], IPPROTO_TCP, TCP_MAXSEG, 1));
	tell("too large", set_int(p[0], IPPROTO_TCP, TCP_MAXSEG, 100000));
	tell("right", set_int(p[0], IPPROTO_TCP, TCP_MAXSEG, 600));
	tell("none", set_int(p[0], IPPROTO_TCP, TCP_MAXSEG, 0));
}

CASE(congestion_info_of_reno)
{
	char info[64];
	socklen_t len = sizeof info;
	int p[2];

	make_pair(p);
	MUST(setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	tell("TCP_CC_INFO", getsockopt(p[0], IPPROTO_TCP, TCP_CC_INFO, info, &len));
	say("%u", len);
}

CASE(lengths_of_values)
{
	char buf[64];
	int p[2], v = 1;

	make_pair(p);
	for (socklen_t n = 0; n <= 8; n++) {
		socklen_t len = n;

		tell("set TCP_NODELAY", setsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, buf, n));
		tell("set SO_KEEPALIVE", setsockopt(p[0], SOL_SOCKET, SO_KEEPALIVE, buf, n));
		tell("SO_ERROR", getsockopt(p[0], SOL_SOCKET, SO_ERROR, buf, &len));
		say("%u", len);
		len = n;
		tell("TCP_NODELAY", getsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, buf, &len));
		say("%u", len);
		len = n;
		tell("TCP_MAXSEG", getsockopt(p[0], IPPROTO_TCP, TCP_MAXSEG, buf, &len));
		say("%u", len);
		len = n;
		tell("SO_PEEK_OFF", getsockopt(p[0], SOL_SOCKET, SO_PEEK_OFF, buf, &len));
		say("%u", len);
	}
	for (int i = 0; i < 3; i++) {
		static const socklen_t odd[] = {(socklen_t)-1, 1000, 0x80000000u};
		socklen_t len = odd[i];

		tell("negative or long", setsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, &v, 4));
		tell("SO_ERROR", getsockopt(p[0], SOL_SOCKET, SO_ERROR, buf, &len));
		len = odd[i];
		tell("TCP_INFO", getsockopt(p[0], IPPROTO_TCP, TCP_MAXSEG, buf, &len));
	}
}

CASE(bad_pointers)
{
	void *volatile none = NULL;
	socklen_t len = 4, *volatile nothing = NULL;
	int p[2], v = 0;

	make_pair(p);
	tell("set", setsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, none, 4));
	tell("set a name", setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, none, 4));
	tell("set kernel's", setsockopt(p[0], SOL_SOCKET, SO_LINGER, none, 8));
	tell("get", getsockopt(p[0], SOL_SOCKET, SO_ERROR, none, &len));
	tell("get without length", getsockopt(p[0], SOL_SOCKET, SO_ERROR, &v, nothing));
	tell("get TCP_INFO", getsockopt(p[0], IPPROTO_TCP, TCP_INFO, none, &len));
	tell("get other", getsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, none, &len));
}

CASE(peer_name_by_option)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss, whole;
	int p[2];

	make_pair(p);
	whole = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	tell("too much room", getsockopt(p[0], SOL_SOCKET, SO_PEERNAME, &ss, &len));
	len = whole;
	tell("right", getsockopt(p[0], SOL_SOCKET, SO_PEERNAME, &ss, &len));
	say("right name %d", same_address(ss, peer_of(p[0])));
	len = 2;
	tell("cut", getsockopt(p[0], SOL_SOCKET, SO_PEERNAME, &ss, &len));
	say("%u", len);
}

CASE(peer_credentials)
{
	struct ucred c;
	socklen_t len = sizeof c;
	gid_t groups[4];
	char text[64];
	int p[2];

	make_pair(p);
	tell("SO_PEERCRED", getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &c, &len));
	say("%d %d %d", c.pid, (int)c.uid, (int)c.gid);
	len = sizeof groups;
	tell("SO_PEERGROUPS", getsockopt(p[0], SOL_SOCKET, SO_PEERGROUPS, groups, &len));
	len = sizeof text;
	tell("SO_PEERSEC", getsockopt(p[0], SOL_SOCKET, SO_PEERSEC, text, &len));
	tell("SO_PASSCRED", set_int(p[0], SOL_SOCKET, SO_PASSCRED, 1));
	tell("SO_PASSSEC", set_int(p[0], SOL_SOCKET, SO_PASSSEC, 1));
}

CASE(linger_values)
{
	struct linger l = {.l_onoff = 1, .l_linger = 5}, got = {0};
	socklen_t len = sizeof got;
	int p[2];

	make_pair(p);
	tell("set", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(getsockopt(p[0], SOL_SOCKET, SO_LINGER, &got, &len));
	say("%d %d %u", got.l_onoff, got.l_linger, len);
	l.l_linger = -1;
	tell("negative", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	tell("short", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, 4));
	l = (struct linger){.l_onoff = 0, .l_linger = 9};
	tell("off", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(getsockopt(p[0], SOL_SOCKET, SO_LINGER, &got, &len));
	say("%d %d", got.l_onoff, got.l_linger);
	MUST(close(p[0]));
	tell("the end", read(p[1], (char[1]){0}, 1));
}

CASE(timeout_values)
{
	static const struct timeval t[] = {{0, 0},	 {1, 500000}, {0, 1},
					   {0, 1000000}, {0, -1},     {-1, 0}};
	int p[2];

	make_pair(p);
	for (size_t i = 0; i < N(t); i++) {
		struct timeval got;
		socklen_t len = sizeof got;

		tell("set", setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &t[i], sizeof t[i]));
		MUST(getsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len));
		say("%ld.%06ld", (long)got.tv_sec, (long)got.tv_usec);
	}
	tell("short", setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &t[0], 4));
}

CASE(timeouts_by_their_new_names)
{
	struct {
		int64_t s, us;
	} t = {0, 20000};
	int p[2];

	make_pair(p);
	tell("set", setsockopt(p[0], SOL_SOCKET, 66, &t, sizeof t));
	tell("read", read(p[0], (char[1]){0}, 1));
}

CASE(ulp)
{
	char name[16] = "x";
	socklen_t len = sizeof name;
	int p[2];

	make_pair(p);
	tell("none there", getsockopt(p[0], IPPROTO_TCP, TCP_ULP, name, &len));
	say("%u", len);
	tell("no such", setsockopt(p[0], IPPROTO_TCP, TCP_ULP, "nothing", 8));
	tell("empty", setsockopt(p[0], IPPROTO_TCP, TCP_ULP, "", 0));
}

CASE(filters)
{
	int p[2];

	make_pair(p);
	tell("detach", set_int(p[0], SOL_SOCKET, SO_DETACH_FILTER, 0));
	tell("detach from listeners", set_int(p[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
}

CASE(congestion_control)
{
	char name[16] = "";
	socklen_t len = 3;
	int p[2];

	make_pair(p);
	tell("set", setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	tell("cut", getsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, name, &len));
	say("%s %u", name, len);
	len = sizeof name;
	tell("whole", getsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, name, &len));
	say("%s %u", name, len);
	tell("with a zero", setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, "cubic\0x", 7));
	tell("unknown", setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, "nosuchthing", 11));
	tell("empty", setsockopt(p[0], IPPROTO_TCP, TCP_CONGESTION, "", 0));
}

CASE(saved_syn)
{
	char syn[256];
	socklen_t len = sizeof syn;
	int p[2];

	make_pair(p);
	tell("none", getsockopt(p[1], IPPROTO_TCP, TCP_SAVED_SYN, syn, &len));
	say("%u", len);
}

CASE(saved_syn_when_asked_for)
{
	char syn[256];
	socklen_t len = sizeof syn;
	int l = stream_socket(0), fd, a;

	MUST(bind_to(l, any_address(0)));
	tell("TCP_SAVE_SYN", set_int(l, IPPROTO_TCP, TCP_SAVE_SYN, 1));
	MUST(listen(l, 8));
	fd = stream_socket(0);
	MUST(connect_at(fd, loopback_address(port_of(l))));
	a = MUST(accept(l, NULL, NULL));
	tell("saved", getsockopt(a, IPPROTO_TCP, TCP_SAVED_SYN, syn, &len));
	say("something %d", len >= 40);
}

CASE(cookies_are_unique)
{
	uint64_t a = 0, b = 0;
	socklen_t len = sizeof a;
	int p[2];

	make_pair(p);
	tell("SO_COOKIE", getsockopt(p[0], SOL_SOCKET, SO_COOKIE, &a, &len));
	MUST(getsockopt(p[1], SOL_SOCKET, SO_COOKIE, &b, &len));
	say("%d %u", a != b && a && b, len);
	len = 4;
	tell("short", getsockopt(p[0], SOL_SOCKET, SO_COOKIE, &a, &len));
}

CASE(low_water_mark_of_readiness)
{
	int p[2], n;

	make_pair(p);
	write_all(p[0], "abc", 3);
	await(p[1], POLLIN);
	do
		MUST(ioctl(p[1], FIONREAD, &n));
	while (n < 3);
	tell("raise", set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 5));
	tell_events("poll", poll_now(p[1]));
	tell("lower", set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 2));
	tell_events("poll", poll_now(p[1]));
}

CASE(low_water_mark_wakes_epoll)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};
	int p[2], ep = MUST(epoll_create1(0)), n;

	make_pair(p);
	MUST(set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 4));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
	write_all(p[0], "abc", 3);
	do
		MUST(ioctl(p[1], FIONREAD, &n));
	while (n < 3);
	tell("below", epoll_wait(ep, &e, 1, 0));
	write_all(p[0], "d", 1);
	tell("reached", epoll_wait(ep, &e, 1, -1));
}

CASE(buffer_sizes_are_doubled)
{
	int p[2];

	make_pair(p);
	tell("SO_SNDBUF", set_int(p[0], SOL_SOCKET, SO_SNDBUF, 50000));
	tell_value("SO_SNDBUF", p[0], SOL_SOCKET, SO_SNDBUF);
	tell("SO_RCVBUF", set_int(p[0], SOL_SOCKET, SO_RCVBUF, 50000));
	tell_value("SO_RCVBUF", p[0], SOL_SOCKET, SO_RCVBUF);
	tell("SO_SNDBUFFORCE", set_int(p[0], SOL_SOCKET, SO_SNDBUFFORCE, 60000));
	tell_value("SO_SNDBUF", p[0], SOL_SOCKET, SO_SNDBUF);
	tell("SO_RCVBUFFORCE", set_int(p[0], SOL_SOCKET, SO_RCVBUFFORCE, 60000));
	tell_value("SO_RCVBUF", p[0], SOL_SOCKET, SO_RCVBUF);
}

CASE(info_of_every_length)
{
	char buf[512];
	int p[2];

	make_pair(p);
	for (socklen_t n = 0; n <= 240; n += 8) {
		socklen_t len = n;

		memset(buf, 0x55, sizeof buf);
		MUST(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, buf, &len));
		say("%u, state %d, beyond untouched %d", len, n ? buf[0] : 0, buf[n] == 0x55);
	}
}

CASE(info_of_states)
{
	struct tcp_info i = {0};
	socklen_t len = sizeof i;
	int p[2], l = listener(0), fd = stream_socket(0);

	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
	say("fresh %d", i.tcpi_state);
	MUST(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &len));
	say("listener %d, backlog %u", i.tcpi_state, i.tcpi_sacked);
	make_pair(p);
	MUST(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, &i, &len));
	say("connected %d", i.tcpi_state);
}

CASE(info_counts_octets)
{
	uint8_t info[256] = {0};
	uint64_t acked, received;
	socklen_t len = sizeof info;
	int p[2], n;

	make_pair(p);
	write_all(p[0], "0123456789", 10);
	read_all(p[1], (char[10]){0}, 10);
	do
		MUST(ioctl(p[0], SIOCOUTQ, &n));
	while (n > 0);
	MUST(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, info, &len));
	memcpy(&acked, info + 120, 8);
	say("acknowledged %d", acked == 10 || acked == 11); /* the SYN is counted, or is not */
	len = sizeof info;
	MUST(getsockopt(p[1], IPPROTO_TCP, TCP_INFO, info, &len));
	memcpy(&received, info + 128, 8);
	say("received %d", (int)received);
}
