/* names: addresses and options. */
#include "cases.h"

static void options(int fd)
{
	struct tcp_info info;
	struct timeval t = {.tv_sec = 3};
	struct linger l = {.l_onoff = 1, .l_linger = 2};
	socklen_t len = sizeof info;

	MUST(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1));
	MUST(set_int(fd, IPPROTO_TCP, TCP_CORK, 1));
	MUST(set_int(fd, IPPROTO_TCP, TCP_CORK, 0));
	MUST(set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	MUST(set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77));
	MUST(set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 11));
	MUST(set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 4));
	MUST(set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000));
	MUST(set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 1));
	MUST(set_int(fd, SOL_SOCKET, SO_RCVBUF, 100000));
	MUST(set_int(fd, SOL_SOCKET, SO_SNDBUF, 100000));
	say("nodelay %d keepalive %d idle %d intvl %d cnt %d timeout %d",
	    get_int(fd, IPPROTO_TCP, TCP_NODELAY), get_int(fd, SOL_SOCKET, SO_KEEPALIVE),
	    get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL),
	    get_int(fd, IPPROTO_TCP, TCP_KEEPCNT), get_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
	say("rcvbuf %d sndbuf %d", get_int(fd, SOL_SOCKET, SO_RCVBUF),
	    get_int(fd, SOL_SOCKET, SO_SNDBUF));
	say("type %d domain %d protocol %d accepting %d error %d", get_int(fd, SOL_SOCKET, SO_TYPE),
	    get_int(fd, SOL_SOCKET, SO_DOMAIN), get_int(fd, SOL_SOCKET, SO_PROTOCOL),
	    get_int(fd, SOL_SOCKET, SO_ACCEPTCONN), get_int(fd, SOL_SOCKET, SO_ERROR));
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	say("state %d, mss %d", info.tcpi_state, info.tcpi_snd_mss > 0);
	say("maxseg %d", get_int(fd, IPPROTO_TCP, TCP_MAXSEG) > 0);
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	tell("bad option", setsockopt(fd, IPPROTO_TCP, 9999, &t, sizeof(int)));
	tell("bad value", setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){100000}, sizeof(int)));
	tell("short value", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &t, 1));
}

/* connected makes a connection and tells how it is named. */
static void connected(int p[2])
{
	int l = listener(0), c = stream_socket(0), a;
	struct sockaddr_storage to = name_of(l), from, peer, bound;
	socklen_t len = sizeof peer;

	say("listener accepts: %d, has an address: %d", get_int(l, SOL_SOCKET, SO_ACCEPTCONN),
	    same_address(to, make_address(port_in(to))));
	tell("peer of nobody", getpeername(c, (struct sockaddr *)&peer, &len));
	MUST(bind_to(c, make_address(0)));
	bound = name_of(c);
	MUST(connect_at(c, to));
	say("bound name kept: %d", same_address(bound, name_of(c)));
	len = sizeof from;
	a = MUST(accept(l, (struct sockaddr *)&from, &len));
	say("accepted from the client: %d, length %u", same_address(from, name_of(c)), len);
	say("names match: %d", same_address(name_of(a), to));
	len = 2;
	MUST(getpeername(c, (struct sockaddr *)&peer, &len));
	say("cut name: family %d, length %u", peer.ss_family, len);
	say("peer is the listener: %d", same_address(peer_of(c), to));
	MUST(close(l));
	p[0] = c;
	p[1] = a;
}

CASE(names)
{
	int p[2];

	connected(p);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

CASE(options_of_connecting)
{
	int p[2];

	connected(p);
	options(p[0]);
}

CASE(options_of_accepted)
{
	int p[2];

	connected(p);
	options(p[1]);
}

/* An IPv6 socket that accepts IPv4. */
CASE4(either_family)
{
	int l = MUST(socket(AF_INET6, SOCK_STREAM, 0)), c, a;
	struct sockaddr_storage from, mapped = {0};
	socklen_t len = sizeof from;
	char buf[4];

	MUST(bind_to(l, address_at("::", 0)));
	MUST(listen(l, 5));
	c = stream_socket(0);
	MUST(connect_at(c, make_address(port_of(l))));
	a = MUST(accept(l, (struct sockaddr *)&from, &len));
	say("mapped: %d, length %u", IN6_IS_ADDR_V4MAPPED(&in6(&from)->sin6_addr) != 0, len);
	write_all(c, "x", 1);
	read_all(a, buf, 1);
	MUST(close(c));
	MUST(close(a));
	c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	snprintf((char *)&from, sizeof from, "::ffff:%s", address);
	mapped = address_at((char *)&from, port_of(l));
	MUST(connect_at(c, mapped));
	a = MUST(accept(l, NULL, NULL));
	say("peer of a mapped connection: %d", same_address(peer_of(c), mapped));
	write_all(a, "y", 1);
	tell("read", read(c, buf, 1));
	MUST(close(c));
	MUST(close(a));

	/* Same listener, from loopback: the kernel's half. */
	c = stream_socket(0);
	MUST(connect_at(c, loopback_address(port_of(l))));
	a = MUST(accept(l, NULL, NULL));
	write_all(a, "z", 1);
	tell("over loopback", read(c, buf, 1));
}
