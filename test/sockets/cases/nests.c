/* nests: sets in sets, and sets in poll and select. */
#include "sets.h"

CASE(set_in_a_set)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	collect("nothing", outer, 0);
	write_all(p[0], "x", 1);
	collect("outer", outer, -1);
	collect("outer again", outer, -1);
	collect("inner", inner, -1);
	collect("outer while it is unread", outer, -1);
	read_all(p[1], &c, 1);
	collect("inner, read", inner, 0);
	collect("outer, read", outer, 0);
	write_all(p[0], "y", 1);
	collect("outer", outer, -1);
}

/* Nobody asks the inner set. */
CASE(read_behind_its_back)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	write_all(p[0], "x", 1);
	collect("outer", outer, -1);
	read_all(p[1], &c, 1);
	collect("read", outer, 0);
	tell_events("poll of inner", poll_now(inner));
	write_all(p[0], "y", 1);
	collect("again", outer, -1);
}

CASE(set_in_a_set_in_a_set)
{
	int top = MUST(epoll_create1(0)), middle = MUST(epoll_create1(0)),
	    low = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(low, p[1], EPOLLIN, 1);
	add(middle, low, EPOLLIN, 2);
	add(top, middle, EPOLLIN, 3);
	collect("nothing", top, 0);
	write_all(p[0], "x", 1);
	collect("top", top, -1);
	collect("middle", middle, -1);
	collect("low", low, -1);
	read_all(p[1], &c, 1);
	collect("top, read", top, 0);
	collect("middle, read", middle, 0);
}

CASE(set_in_poll)
{
	int inner = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	tell_events("nothing", poll_now(inner));
	write_all(p[0], "x", 1);
	await(inner, POLLIN);
	tell_events("readable", poll_now(inner));
	collect("inner", inner, -1);
	tell_events("still", poll_now(inner));
	read_all(p[1], &c, 1);
	tell_events("read", poll_now(inner));
}

CASE(set_in_select)
{
	int inner = MUST(epoll_create1(0)), p[2];
	struct timeval t = {0};
	fd_set r;

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	FD_ZERO(&r);
	FD_SET(inner, &r);
	tell("nothing", select(inner + 1, &r, NULL, NULL, &t));
	write_all(p[0], "x", 1);
	FD_SET(inner, &r);
	tell("readable", select(inner + 1, &r, NULL, NULL, NULL));
	say("it: %d", FD_ISSET(inner, &r) != 0);
}

/* nest makes a set in a set, and in the inner one a connection to which an octet has come. */
static void nest(int *outer, unsigned of_set, int *inner, unsigned of_connection, int p[2])
{
	*outer = MUST(epoll_create1(0));
	*inner = MUST(epoll_create1(0));
	make_pair(p);
	add(*inner, p[1], of_connection, 1);
	add(*outer, *inner, of_set, 2);
	write_all(p[0], "x", 1);
}

CASE(edge_of_a_set)
{
	int outer, inner, p[2];

	nest(&outer, EPOLLIN | EPOLLET, &inner, EPOLLIN, p);
	collect("edge", outer, -1);
	collect("once", outer, 0);
	write_all(p[0], "y", 1);
	collect("another", outer, -1);
}

CASE(edge_member_of_a_set)
{
	int outer, inner, p[2];

	nest(&outer, EPOLLIN, &inner, EPOLLIN | EPOLLET, p);
	collect("outer", outer, -1);
	collect("outer again", outer, -1);
	collect("inner takes the edge", inner, -1);
	collect("outer", outer, 0);
	write_all(p[0], "y", 1);
	collect("outer", outer, -1);
}

CASE(what_the_inner_set_does_not_want)
{
	int outer, inner, p[2];

	nest(&outer, EPOLLIN, &inner, EPOLLPRI, p);
	await(p[1], POLLIN);
	collect("outer", outer, 5);
	ctl(inner, EPOLL_CTL_MOD, p[1], EPOLLIN, 3);
	collect("wanted", outer, -1);
	ctl(inner, EPOLL_CTL_DEL, p[1], 0, 0);
	collect("taken out", outer, 0);
}

CASE(both_kinds_in_the_inner_set)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2], q[2];
	char c;

	make_pair(p);
	MUST(pipe(q));
	add(inner, p[1], EPOLLIN, 1);
	add(inner, q[0], EPOLLIN, 2);
	add(outer, inner, EPOLLIN, 3);
	write_all(q[1], "x", 1);
	collect("by the pipe", outer, -1);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	read_all(q[0], &c, 1);
	collect("by the socket", outer, -1);
	read_all(p[1], &c, 1);
	collect("by none", outer, 0);
}

CASE(listener_in_the_inner_set)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)),
	    l = listener(SOCK_NONBLOCK);

	add(inner, l, EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	collect("nothing", outer, 0);
	connect_to(l);
	collect("outer", outer, -1);
	MUST(accept(l, NULL, NULL));
	collect("accepted", outer, 0);
}

CASE(added_to_a_watched_set)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(outer, inner, EPOLLIN, 1);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	add(inner, p[1], EPOLLIN, 2);
	collect("outer", outer, -1);
	MUST(close(p[1]));
	collect("the member is closed", outer, 0);
}

CASE(set_in_two_sets)
{
	int a = MUST(epoll_create1(0)), b = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)),
	    p[2];
	char c;

	make_pair(p);
	add(a, inner, EPOLLIN, 1);
	add(b, inner, EPOLLIN, 2);
	add(inner, p[1], EPOLLIN, 3);
	write_all(p[0], "x", 1);
	collect("a", a, -1);
	collect("b", b, -1);
	MUST(close(a));
	collect("b", b, -1);
	read_all(p[1], &c, 1);
	collect("read", b, 0);
}

CASE(inner_set_is_closed)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	write_all(p[0], "x", 1);
	collect("outer", outer, -1);
	MUST(close(inner));
	collect("closed", outer, 0);
}

CASE(loops)
{
	struct epoll_event e = {.events = EPOLLIN};
	int a = MUST(epoll_create1(0)), b = MUST(epoll_create1(0));

	tell("b in a", epoll_ctl(a, EPOLL_CTL_ADD, b, &e));
	tell("a in b", epoll_ctl(b, EPOLL_CTL_ADD, a, &e));
	tell("again", epoll_ctl(a, EPOLL_CTL_ADD, b, &e));
	tell("MOD", epoll_ctl(a, EPOLL_CTL_MOD, b, &e));
	tell("DEL", epoll_ctl(a, EPOLL_CTL_DEL, b, NULL));
	tell("DEL again", epoll_ctl(a, EPOLL_CTL_DEL, b, NULL));
	tell("a in b now", epoll_ctl(b, EPOLL_CTL_ADD, a, &e));
}

static void wait_outer(void *arg)
{
	collect("woken", *(int *)arg, -1);
}

CASE(sleeping_on_the_outer_set)
{
	int outer = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];
	struct sleeper s;

	make_pair(p);
	add(inner, p[1], EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	in_thread(&s, wait_outer, &outer);
	write_all(p[0], "x", 1);
	join(&s);
}
