/* names: addresses and options. */
#include "programs.h"

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof v;

	MUST(getsockopt(fd, level, name, &v, &len));
	return v;
}

static void set(int fd, int level, int name, int v)
{
	MUST(setsockopt(fd, level, name, &v, sizeof v));
}

static void options(int fd)
{
	struct tcp_info info;
	struct timeval t = {.tv_sec = 3};
	struct linger l = {.l_onoff = 1, .l_linger = 2};
	socklen_t len = sizeof info;

	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, IPPROTO_TCP, TCP_CORK, 1);
	set(fd, IPPROTO_TCP, TCP_CORK, 0);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 11);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
	set(fd, SOL_SOCKET, SO_RCVBUF, 100000);
	set(fd, SOL_SOCKET, SO_SNDBUF, 100000);
	say("nodelay %d keepalive %d idle %d intvl %d cnt %d timeout %d",
	    get(fd, IPPROTO_TCP, TCP_NODELAY), get(fd, SOL_SOCKET, SO_KEEPALIVE),
	    get(fd, IPPROTO_TCP, TCP_KEEPIDLE), get(fd, IPPROTO_TCP, TCP_KEEPINTVL),
	    get(fd, IPPROTO_TCP, TCP_KEEPCNT), get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
	say("rcvbuf %d sndbuf %d", get(fd, SOL_SOCKET, SO_RCVBUF), get(fd, SOL_SOCKET, SO_SNDBUF));
	say("type %d domain %d protocol %d accepting %d error %d", get(fd, SOL_SOCKET, SO_TYPE),
	    get(fd, SOL_SOCKET, SO_DOMAIN), get(fd, SOL_SOCKET, SO_PROTOCOL),
	    get(fd, SOL_SOCKET, SO_ACCEPTCONN), get(fd, SOL_SOCKET, SO_ERROR));
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	say("state %d, mss %d", info.tcpi_state, info.tcpi_snd_mss > 0);
	say("maxseg %d", get(fd, IPPROTO_TCP, TCP_MAXSEG) > 0);
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	tell("bad option", setsockopt(fd, IPPROTO_TCP, 9999, &t, sizeof(int)));
	tell("bad value", setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){100000}, sizeof(int)));
	tell("short value", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &t, 1));
}

static bool same(struct sockaddr_in a, struct sockaddr_in b)
{
	return a.sin_family == b.sin_family && a.sin_port == b.sin_port &&
	       a.sin_addr.s_addr == b.sin_addr.s_addr;
}

static void test(void)
{
	int l = listener(0), c = MUST(socket(AF_INET, SOCK_STREAM, 0)), a;
	struct sockaddr_in to = name_of(l), from, peer, bound = make_address(0);
	struct sockaddr_in6 v6, any = {.sin6_family = AF_INET6};
	socklen_t len = sizeof peer;
	char buf[4];

	say("listener accepts: %d, has an address: %d", get(l, SOL_SOCKET, SO_ACCEPTCONN),
	    to.sin_addr.s_addr == make_address(0).sin_addr.s_addr);
	tell("peer of nobody", getpeername(c, (struct sockaddr *)&peer, &len));
	MUST(bind(c, (struct sockaddr *)&bound, sizeof bound));
	bound = name_of(c);
	MUST(connect(c, (struct sockaddr *)&to, sizeof to));
	say("bound name kept: %d", same(bound, name_of(c)));
	len = sizeof from;
	a = MUST(accept(l, (struct sockaddr *)&from, &len));
	say("accepted from the client: %d, length %u", same(from, name_of(c)), len);
	say("names match: %d", same(name_of(a), to));
	len = 2;
	MUST(getpeername(c, (struct sockaddr *)&peer, &len));
	say("cut name: family %d, length %u", peer.sin_family, len);
	len = sizeof peer;
	MUST(getpeername(c, (struct sockaddr *)&peer, &len));
	say("peer is the listener: %d", same(peer, to));
	options(c);
	options(a);
	MUST(close(c));
	MUST(close(a));
	MUST(close(l));

	/* An IPv6 socket that accepts IPv4. */
	l = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	MUST(bind(l, (struct sockaddr *)&any, sizeof any));
	MUST(listen(l, 5));
	len = sizeof v6;
	MUST(getsockname(l, (struct sockaddr *)&v6, &len));
	to = make_address(ntohs(v6.sin6_port));
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(c, (struct sockaddr *)&to, sizeof to));
	len = sizeof v6;
	a = MUST(accept(l, (struct sockaddr *)&v6, &len));
	say("mapped: %d, length %u", IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) != 0, len);
	write_all(c, "x", 1);
	read_all(a, buf, 1);
	MUST(close(c));
	MUST(close(a));
	c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	any.sin6_port = to.sin_port;
	any.sin6_addr.s6_addr[10] = any.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&any.sin6_addr.s6_addr[12], &to.sin_addr, 4);
	MUST(connect(c, (struct sockaddr *)&any, sizeof any));
	a = MUST(accept(l, NULL, NULL));
	len = sizeof v6;
	MUST(getpeername(c, (struct sockaddr *)&v6, &len));
	say("peer of a mapped connection: %d", memcmp(&v6.sin6_addr, &any.sin6_addr, 16) == 0);
	write_all(a, "y", 1);
	tell("read", read(c, buf, 1));
	MUST(close(c));
	MUST(close(a));

	/* Same listener, from loopback: the kernel's half. */
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(connect(c, (struct sockaddr *)&to, sizeof to));
	a = MUST(accept(l, NULL, NULL));
	write_all(a, "z", 1);
	tell("over loopback", read(c, buf, 1));
}
