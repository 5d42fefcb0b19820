/* ready: what poll, epoll and select say of a socket in each state, all bits, the three together. */
#include "sets.h"

static void bits(const char *what, unsigned e)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {{EPOLLIN, "IN"},         {EPOLLPRI, "PRI"},       {EPOLLOUT, "OUT"},
		     {EPOLLRDNORM, "RDNORM"}, {EPOLLRDBAND, "RDBAND"}, {EPOLLWRNORM, "WRNORM"},
		     {EPOLLWRBAND, "WRBAND"}, {EPOLLMSG, "MSG"},       {EPOLLRDHUP, "RDHUP"},
		     {EPOLLERR, "ERR"},       {EPOLLHUP, "HUP"}};
	char text[200] = "";

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (e & names[i].bit) {
			strcat(text, " ");
			strcat(text, names[i].name);
		}
	say("%s:%s", what, text);
}

/* look says what there is by the three calls; a nonblocking select never waits. */
static void look(const char *state, int fd)
{
	const unsigned all = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDNORM | EPOLLRDBAND | EPOLLWRNORM |
			     EPOLLWRBAND | EPOLLMSG | EPOLLRDHUP;
	struct pollfd p = {.fd = fd, .events = (short)all};
	struct epoll_event e = {.events = all};
	struct timeval none = {0};
	fd_set r, w, x;
	int ep = MUST(epoll_create1(0)), n;

	say("-- %s", state);
	MUST(poll(&p, 1, 0));
	bits("poll", (unsigned short)p.revents);
	p.events = 0;
	MUST(poll(&p, 1, 0));
	bits("poll for nothing", (unsigned short)p.revents);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	n = MUST(epoll_wait(ep, &e, 1, 0));
	bits("epoll", n ? e.events : 0);
	MUST(close(ep));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	w = x = r;
	n = MUST(select(fd + 1, &r, &w, &x, &none));
	say("select: %d%s%s%s", n, FD_ISSET(fd, &r) ? " r" : "", FD_ISSET(fd, &w) ? " w" : "",
	    FD_ISSET(fd, &x) ? " x" : "");
}

CASE(unconnected)
{
	int s = stream_socket(0);

	look("new", s);
	MUST(bind_to(s, make_address(0)));
	look("bound", s);
}

CASE(listening)
{
	int l = listener(SOCK_NONBLOCK);

	look("listening", l);
	connect_to(l);
	await(l, POLLIN);
	look("one waits", l);
	MUST(accept(l, NULL, NULL));
	look("accepted", l);
	MUST(shutdown(l, SHUT_RD));
	look("shut", l);
}

CASE(established)
{
	int p[2];
	char c;

	make_pair(p);
	look("connected", p[0]);
	look("accepted", p[1]);
	write_all(p[0], "ab", 2);
	await(p[1], POLLIN);
	look("octets", p[1]);
	read_all(p[1], &c, 1);
	look("a part is read", p[1]);
	read_all(p[1], &c, 1);
	look("all is read", p[1]);
}

CASE(full)
{
	int p[2];
	size_t n;

	make_pair(p);
	fixed_buffers(p);
	n = fill_up(p[1]);
	look("full", p[1]);
	read_up(p[0], n);
	await(p[1], POLLOUT);
	look("drained", p[1]);
}

CASE(full_and_closed_by_the_peer)
{
	int p[2];

	make_pair(p);
	fixed_buffers(p);
	fill_up(p[1]);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	look("full, the peer has shut", p[1]);
	MUST(shutdown(p[1], SHUT_RD));
	look("and we read no more", p[1]);
}

CASE(half_closed)
{
	int p[2];
	char c;

	make_pair(p);
	write_all(p[0], "x", 1);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	look("octets and end", p[1]);
	look("its side", p[0]);
	read_all(p[1], &c, 1);
	look("end", p[1]);
	MUST(shutdown(p[1], SHUT_WR));
	look("both ended", p[1]);
	await(p[0], POLLHUP);
	look("the other side", p[0]);
}

CASE(shut_for_writing_first)
{
	int p[2];

	make_pair(p);
	MUST(shutdown(p[1], SHUT_WR));
	look("shut for writing", p[1]);
	await(p[0], POLLRDHUP);
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	look("and the peer has closed", p[1]);
}

CASE(shut_for_reading)
{
	int p[2];

	make_pair(p);
	MUST(shutdown(p[1], SHUT_RD));
	look("shut for reading", p[1]);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	quiet("octets come", p[0]);
	look("octets", p[1]);
	MUST(shutdown(p[1], SHUT_WR));
	look("shut for both", p[1]);
}

CASE(peer_closed)
{
	int p[2];

	make_pair(p);
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	look("closed", p[1]);
	signal(SIGPIPE, SIG_IGN);
	write_all(p[1], "x", 1); /* which the peer resets */
	await(p[1], POLLHUP);
	look("reset", p[1]);
	tell_error("error", p[1]);
	look("the error is taken", p[1]);
}

CASE(reset)
{
	struct linger now = {1, 0};
	int p[2];
	char c;

	make_pair(p);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	look("reset with octets", p[1]);
	tell("read", read(p[1], &c, 1));
	look("read", p[1]);
	tell("read", read(p[1], &c, 1));
	look("end", p[1]);
}

CASE(refused)
{
	int l = listener(0), s = stream_socket(SOCK_NONBLOCK);
	struct sockaddr_storage a = name_of(l);

	MUST(close(l));
	if (connect_at(s, a) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	await(s, POLLHUP);
	look("refused", s);
	tell_error("error", s);
	look("the error is taken", s);
}

CASE(urgent)
{
	int p[2];
	char c;

	make_pair(p);
	MUST(send(p[0], "!", 1, MSG_OOB));
	await(p[1], POLLPRI);
	look("urgent", p[1]);
	tell("read", recv(p[1], &c, 1, MSG_OOB));
	look("read", p[1]);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	look("an octet behind the mark", p[1]);
}

CASE(low_water_mark)
{
	int p[2];

	make_pair(p);
	MUST(set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 4));
	write_all(p[0], "abc", 3);
	quiet("too few", p[1]);
	look("too few", p[1]);
	write_all(p[0], "d", 1);
	await(p[1], POLLIN);
	look("enough", p[1]);
	MUST(set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 100));
	look("too few again", p[1]);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	look("too few, but that is all", p[1]);
}
