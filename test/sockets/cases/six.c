/* six: addresses of both families on IPv6 sockets, and what is no address. */
#include "cases.h"

static struct sockaddr_storage mapped_of(int port)
{
	char text[INET6_ADDRSTRLEN + 8];

	snprintf(text, sizeof text, "::ffff:%s", address);
	return address_at(text, port);
}

static int six_socket(int only)
{
	int fd = MUST(socket(AF_INET6, SOCK_STREAM, 0));

	if (only >= 0)
		MUST(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, only));
	return fd;
}

static void serve(int l, struct sockaddr_storage to, const char *what)
{
	int c = MUST(socket(to.ss_family, SOCK_STREAM, 0)), a;
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof from;
	char octet;

	if (connect_at(c, to) < 0) {
		tell(what, -1);
		MUST(close(c));
		return;
	}
	a = MUST(accept(l, (struct sockaddr *)&from, &len));
	say("%s: family %d, length %d, mapped %d", what, from.ss_family, (int)len,
	    from.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6(&from)->sin6_addr));
	say("local: family %d, the client's peer %d", name_of(a).ss_family, peer_of(c).ss_family);
	write_all(c, "x", 1);
	read_all(a, &octet, 1);
	MUST(close(c));
	MUST(close(a));
}

CASE4(mapped_listener)
{
	int l = six_socket(-1), port;

	MUST(bind_to(l, mapped_of(0)));
	MUST(listen(l, 5));
	port = port_of(l);
	serve(l, make_address(port), "IPv4 client");
	serve(l, mapped_of(port), "mapped client");
}

CASE4(mapped_and_only)
{
	int l = six_socket(1), c = six_socket(1), any = listener(0);

	tell("bind", bind_to(l, mapped_of(0)));
	tell("connect", connect_at(c, mapped_of(port_of(any))));
}

CASE4(either_family_for_four)
{
	int l = six_socket(0);

	MUST(bind_to(l, address_at("::", 0)));
	MUST(listen(l, 5));
	serve(l, make_address(port_of(l)), "IPv4 client");
	serve(l, mapped_of(port_of(l)), "mapped client");
}

CASE4(six_only_refuses_four)
{
	int l = six_socket(1);

	MUST(bind_to(l, address_at("::", private_port())));
	MUST(listen(l, 5));
	serve(l, make_address(port_of(l)), "IPv4 client");
}

CASE6(either_family_for_six)
{
	int l = six_socket(0);

	MUST(bind_to(l, address_at("::", 0)));
	MUST(listen(l, 5));
	serve(l, make_address(port_of(l)), "IPv6 client");
}

CASE6(only)
{
	int l = six_socket(1);

	MUST(bind_to(l, address_at("::", 0)));
	MUST(listen(l, 5));
	serve(l, make_address(port_of(l)), "IPv6 client");
	say("only %d", get_int(l, IPPROTO_IPV6, IPV6_V6ONLY));
	tell("too late", set_int(l, IPPROTO_IPV6, IPV6_V6ONLY, 0));
}

CASE6(wrong_sizes)
{
	int fd = six_socket(-1), l = listener(0);
	struct sockaddr_storage a = name_of(l);

	tell("bind, an IPv4 length", bind(fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in)));
	tell("connect, an IPv4 length",
	     connect(fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in)));
	tell("connect, RFC 2133's", connect(fd, (struct sockaddr *)&a, 24));
	say("peer: %d", same_address(peer_of(fd), a));
}

CASE6(scope)
{
	struct sockaddr_storage a = address_at("fe80::1", 80);

	tell("bind without a scope", bind_to(six_socket(-1), a));
	tell("connect without a scope", connect_at(six_socket(-1), a));
	in6(&a)->sin6_scope_id = 9999;
	tell("bind to a scope that is none", bind_to(six_socket(-1), a));
}

CASE6(flow_label)
{
	int fd = six_socket(-1), l = listener(0);
	struct sockaddr_storage a = name_of(l), p;

	in6(&a)->sin6_flowinfo = htonl(0x12345);
	tell("connect", connect_at(fd, a));
	p = peer_of(fd);
	say("label of the peer's name %#x", ntohl(in6(&p)->sin6_flowinfo));
}

CASE6(four_socket)
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));

	tell("connect", connect_at(fd, make_address(port_of(listener(0)))));
	tell("bind", bind_to(fd, make_address(0)));
}

CASE4(six_socket)
{
	int fd = six_socket(-1), l = listener(0);

	tell("connect", connect_at(fd, name_of(l)));
	tell("bind", bind_to(fd, make_address(0)));
}

CASE(to_any)
{
	int l = stream_socket(0), c = stream_socket(0);

	MUST(bind_to(l, any_address(0)));
	MUST(listen(l, 5));
	tell("connect to any address", connect_at(c, any_address(port_of(l))));
	say("peer is loopback: %d", same_address(peer_of(c), loopback_address(port_of(l))));
	MUST(accept(l, NULL, NULL));
}

CASE4(to_broadcast)
{
	tell("connect", connect_at(stream_socket(0), address_at("255.255.255.255", 80)));
}

CASE(to_multicast)
{
	tell("connect", connect_at(stream_socket(0),
				   address_at(family == AF_INET ? "224.0.0.5" : "ff02::5", 80)));
}

CASE4(options_of_four)
{
	int p[2];

	make_pair(p);
	tell("IP_TOS", set_int(p[0], IPPROTO_IP, IP_TOS, 0x10));
	say("%d", get_int(p[0], IPPROTO_IP, IP_TOS));
	tell("IP_TTL", set_int(p[0], IPPROTO_IP, IP_TTL, 33));
	say("%d", get_int(p[0], IPPROTO_IP, IP_TTL));
	tell("IPV6_TCLASS", set_int(p[0], IPPROTO_IPV6, IPV6_TCLASS, 0x10));
	tell("IPV6_V6ONLY", set_int(p[0], IPPROTO_IPV6, IPV6_V6ONLY, 1));
}

CASE6(options_of_six)
{
	int p[2];

	make_pair(p);
	tell("IPV6_TCLASS", set_int(p[0], IPPROTO_IPV6, IPV6_TCLASS, 0x10));
	say("%d", get_int(p[0], IPPROTO_IPV6, IPV6_TCLASS));
	tell("IPV6_UNICAST_HOPS", set_int(p[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33));
	say("%d", get_int(p[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS));
	tell("IP_TOS", set_int(p[0], IPPROTO_IP, IP_TOS, 0x10));
	tell("IPV6_V6ONLY", set_int(p[0], IPPROTO_IPV6, IPV6_V6ONLY, 1));
}
