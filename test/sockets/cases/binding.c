/* binding: who may bind what beside whom. Each pair of flags, addresses and states of the first
 * socket is tried on a port of its own. */
#include "cases.h"

enum { REUSEADDR = 1, REUSEPORT = 2, V6ONLY = 4 };

/* place is an address to bind to, by a name that is the same on every stack. */
struct place {
	const char *name, *addr;
	int flags;
};

static struct place places[7];

static int find_places(void)
{
	static char mapped[INET6_ADDRSTRLEN + 8];
	int n = 0;

	places[n++] = (struct place){"the address", address, 0};
	places[n++] = (struct place){"any IPv4", "0.0.0.0", 0};
	places[n++] = (struct place){"any", "::", 0};
	places[n++] = (struct place){"any IPv6", "::", V6ONLY};
	places[n++] = (struct place){"other IPv4", "127.9.9.9", 0};
	if (family == AF_INET) {
		snprintf(mapped, sizeof mapped, "::ffff:%s", address);
		places[n++] = (struct place){"mapped", mapped, 0};
	}
	return n;
}

static int bound(const struct place *p, int flags, int port)
{
	struct sockaddr_storage a = address_at(p->addr, port);
	int fd = MUST(socket(a.ss_family, SOCK_STREAM, 0)), error;

	if (flags & REUSEADDR)
		MUST(set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	if (flags & REUSEPORT)
		MUST(set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1));
	if (p->flags & V6ONLY)
		MUST(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	if (bind_to(fd, a) == 0)
		return fd;
	error = errno;
	MUST(close(fd));
	errno = error;
	return -1;
}

static const char *flag_names[] = {"", " reuseaddr", " reuseport", " both"};

/* beside tells, for every first place, what happens to every second: its bind, and its listen. */
static void beside(int first_flags, int second_flags, bool listens)
{
	int n = find_places();

	for (int i = 0; i < n; i++) {
		int port = private_port();

		for (int k = 0; k < n; k++) {
			int a = MUST(bound(&places[i], first_flags, port)), b;
			const char *how = "ok";

			if (listens)
				MUST(listen(a, 5));
			b = bound(&places[k], second_flags, port);
			if (b < 0)
				how = strerrorname_np(errno);
			else if (listen(b, 5) < 0)
				how = errno == EADDRINUSE ? "bound, listen EADDRINUSE"
							  : "listen fails";
			say("%s%s %s, %s%s: %s", places[i].name, flag_names[first_flags],
			    listens ? "listens" : "is bound", places[k].name,
			    flag_names[second_flags], how);
			MUST(close(a));
			if (b >= 0)
				MUST(close(b));
		}
	}
}

#define BESIDE(name_, first_, second_)          \
	CASE(bound_##name_)                     \
	{                                       \
		beside(first_, second_, false); \
	}                                       \
	CASE(listening_##name_)                 \
	{                                       \
		beside(first_, second_, true);  \
	}

BESIDE(none_none, 0, 0)
BESIDE(none_addr, 0, REUSEADDR)
BESIDE(none_port, 0, REUSEPORT)
BESIDE(addr_none, REUSEADDR, 0)
BESIDE(addr_addr, REUSEADDR, REUSEADDR)
BESIDE(addr_port, REUSEADDR, REUSEPORT)
BESIDE(port_none, REUSEPORT, 0)
BESIDE(port_addr, REUSEPORT, REUSEADDR)
BESIDE(port_port, REUSEPORT, REUSEPORT)
BESIDE(both_both, REUSEADDR | REUSEPORT, REUSEADDR | REUSEPORT)

CASE(twice)
{
	int fd = stream_socket(0), port = private_port();

	tell("first", bind_to(fd, make_address(port)));
	tell("again, the same", bind_to(fd, make_address(port)));
	tell("again, another", bind_to(fd, make_address(0)));
	say("port kept: %d", port_of(fd) == port);
}

CASE(to_port_zero)
{
	int a = stream_socket(0), b = stream_socket(0);

	say("before: port %d", port_of(a));
	tell("bind", bind_to(a, make_address(0)));
	tell("bind", bind_to(b, make_address(0)));
	say("a port: %d, another: %d", port_of(a) != 0, port_of(a) != port_of(b));
	say("the address: %d", same_address(name_of(a), make_address(port_of(a))));
}

CASE(bad_arguments)
{
	struct sockaddr_storage a = make_address(private_port()), wrong = a;
	int fd = stream_socket(0), p[2];

	tell("too short", bind(fd, (struct sockaddr *)&a, 6));
	tell("nothing", bind(fd, (struct sockaddr *)&a, 0));
	tell("longer than any", bind(fd, (struct sockaddr *)&a, sizeof a + 1));
	tell("no memory", bind(fd, NULL, 16));
	wrong.ss_family = AF_UNIX;
	tell("another family", bind_to(fd, wrong));
	wrong.ss_family = AF_UNSPEC;
	tell("no family", bind_to(fd, wrong));
	tell("no descriptor", bind_to(9999, a));
	MUST(pipe(p));
	tell("no socket", bind_to(p[0], a));
	tell("an address of nobody",
	     bind_to(fd, address_at(family == AF_INET ? "192.0.2.77" : "2001:db8::77", 0)));
	tell("after all", bind_to(fd, a));
}

/* A port is free again as soon as nobody holds it, but not for those without SO_REUSEADDR when
 * connections of it remain. */
CASE(after_connections)
{
	int port = private_port(), l = stream_socket(0), c, a, again;

	MUST(set_int(l, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind_to(l, make_address(port)));
	MUST(listen(l, 5));
	c = connect_to(l);
	a = MUST(accept(l, NULL, NULL));
	MUST(close(l));
	again = stream_socket(0);
	MUST(set_int(again, SOL_SOCKET, SO_REUSEADDR, 1));
	tell("with SO_REUSEADDR", bind_to(again, make_address(port)));
	tell("and listen", listen(again, 5));
	MUST(close(MUST(connect_to(again))));
	write_all(a, "still", 5);
	read_all(c, (char[5]){0}, 5);
	MUST(close(c));
	MUST(close(a));
}

CASE(client_port)
{
	int l = listener(0), port = private_port(), c = stream_socket(0), d = stream_socket(0);
	struct sockaddr_storage from;
	socklen_t len = sizeof from;

	MUST(set_int(c, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind_to(c, make_address(port)));
	tell("connect", connect_at(c, name_of(l)));
	MUST(accept(l, (struct sockaddr *)&from, &len));
	say("from that port: %d", port_in(from) == port);
	MUST(set_int(d, SOL_SOCKET, SO_REUSEADDR, 1));
	tell("another bound to it", bind_to(d, make_address(port)));
	tell("connects to the same", connect_at(d, name_of(l)));
	tell("connects elsewhere", connect_at(d, name_of(listener(0))));
}

/* IP_BIND_ADDRESS_NO_PORT: the port is chosen when the socket connects. */
CASE(no_port)
{
	int l = listener(0), c = stream_socket(0);

	tell("option", set_int(c, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	tell("bind", bind_to(c, make_address(0)));
	say("port %d", port_of(c));
	tell("connect", connect_at(c, name_of(l)));
	say("has a port: %d", port_of(c) != 0);
	MUST(accept(l, NULL, NULL));
}

CASE(any_then_connect)
{
	int l = listener(0), c = stream_socket(0);

	MUST(bind_to(c, any_address(0)));
	MUST(connect_at(c, name_of(l)));
	say("an address: %d", same_address(name_of(c), make_address(port_of(c))));
	say("the port of the client: %d",
	    port_of(c) == port_in(peer_of(MUST(accept(l, NULL, NULL)))));
}

CASE(without_bind)
{
	int l = stream_socket(0), c = stream_socket(0);

	say("port %d", port_of(l));
	tell("listen", listen(l, 5));
	say("has a port: %d", port_of(l) != 0);
	say("any address: %d", same_address(name_of(l), any_address(port_of(l))));
	tell("connect", connect_at(c, make_address(port_of(l))));
	say("accepted at the address: %d",
	    same_address(name_of(MUST(accept(l, NULL, NULL))), make_address(port_of(l))));
}

/* Two connect from one port to two places, and to one place from two addresses. */
CASE(port_of_two_connections)
{
	int l1 = listener(0), l2 = listener(0), port = private_port(), c[2];

	for (int i = 0; i < 2; i++) {
		c[i] = stream_socket(0);
		MUST(set_int(c[i], SOL_SOCKET, SO_REUSEADDR, 1));
		MUST(set_int(c[i], SOL_SOCKET, SO_REUSEPORT, 1));
		tell("bind", bind_to(c[i], make_address(port)));
	}
	tell("first", connect_at(c[0], name_of(l1)));
	tell("second", connect_at(c[1], name_of(l2)));
	for (int i = 0; i < 2; i++) {
		write_all(c[i], i ? "b" : "a", 1);
		char got;
		read_all(MUST(accept(i ? l2 : l1, NULL, NULL)), &got, 1);
		say("octet %c", got);
	}
}
