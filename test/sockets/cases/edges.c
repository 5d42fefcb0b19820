/* edges: when an edge-triggered member is reported, and when not. */
#include "sets.h"

CASE(once_for_each_arrival)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLET, 1);
	collect("nothing", ep, 0);
	write_all(p[0], "ab", 2);
	collect("arrival", ep, -1);
	collect("once", ep, 0);
	read_all(p[1], &c, 1);
	collect("a part is read: no edge", ep, 5);
	write_all(p[0], "c", 1);
	collect("another arrival, though it was readable", ep, -1);
	read_all(p[1], &c, 1);
	read_all(p[1], &c, 1);
	write_all(p[0], "d", 1);
	collect("and after it was empty", ep, -1);
}

CASE(there_when_added)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	add(ep, p[1], EPOLLIN | EPOLLET, 1);
	collect("readable when added", ep, -1);
	collect("once", ep, 0);
}

CASE(change_rearms)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLET, 1);
	write_all(p[0], "x", 1);
	collect("arrival", ep, -1);
	collect("once", ep, 0);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLET, 2);
	collect("changed", ep, -1);
	collect("once", ep, 0);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN, 3);
	collect("level", ep, -1);
	collect("level", ep, -1);
}

CASE(read_before_it_was_reported)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLET, 1);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	read_all(p[1], &c, 1);
	collect("nothing to report", ep, 5);
	write_all(p[0], "y", 1);
	collect("next", ep, -1);
}

CASE(both_directions_in_one_report)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLOUT | EPOLLET, 1);
	collect("writable at first", ep, -1);
	collect("once", ep, 0);
	write_all(p[0], "x", 1);
	collect("arrival reports what there is", ep, -1);
}

CASE(end)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
	MUST(shutdown(p[0], SHUT_WR));
	collect("end", ep, -1);
	tell("read", read(p[1], &c, 1));
	collect("once", ep, 5);
}

CASE(octets_and_end)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	write_all(p[0], "x", 1);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	add(ep, p[1], EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
	collect("together", ep, -1);
	read_all(p[1], &c, 1);
	collect("no edge for what was there", ep, 5);
	tell("end", read(p[1], &c, 1));
}

CASE(space_after_full)
{
	int ep = MUST(epoll_create1(0)), p[2];
	size_t n;

	make_pair(p);
	fixed_buffers(p);
	n = fill_up(p[1]);
	add(ep, p[1], EPOLLOUT | EPOLLET, 1);
	collect("full", ep, 0);
	read_up(p[0], n);
	collect("drained", ep, -1);
	collect("once", ep, 5);
}

CASE(no_edge_for_space_that_nobody_lacked)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLOUT | EPOLLET, 1);
	collect("writable", ep, -1);
	write_all(p[1], "abc", 3);
	read_up(p[0], 3);
	quiet("acknowledged", p[1]);
	collect("no edge", ep, 5);
}

CASE(accept_queue)
{
	int ep = MUST(epoll_create1(0)), l = listener(SOCK_NONBLOCK);

	add(ep, l, EPOLLIN | EPOLLET, 1);
	connect_to(l);
	collect("first", ep, -1);
	collect("once", ep, 0);
	connect_to(l);
	collect("second, though one waits", ep, -1);
	MUST(accept(l, NULL, NULL));
	collect("no edge for the one left", ep, 5);
	MUST(accept(l, NULL, NULL));
	tell("empty", accept(l, NULL, NULL));
}

CASE(connecting)
{
	int ep = MUST(epoll_create1(0)), l = listener(0), s = stream_socket(SOCK_NONBLOCK);

	add(ep, s, EPOLLIN | EPOLLOUT | EPOLLET, 1);
	collect("unconnected", ep, -1);
	if (connect_at(s, name_of(l)) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	await(s, POLLOUT);
	collect("connected", ep, -1);
	collect("once", ep, 5);
}

CASE(reset)
{
	struct linger now = {1, 0};
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLET, 1);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	MUST(close(p[0]));
	collect("reset", ep, -1);
	collect("once", ep, 5);
	tell_error("error", p[1]);
	collect("no edge for that", ep, 5);
}

CASE(own_shutdown)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
	MUST(shutdown(p[1], SHUT_RD));
	collect("for reading", ep, -1);
	collect("once", ep, 5);
}

CASE(oneshot_edge)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLET | EPOLLONESHOT, 1);
	write_all(p[0], "x", 1);
	collect("arrival", ep, -1);
	write_all(p[0], "y", 1);
	read_all(p[1], &c, 1);
	read_all(p[1], &c, 1);
	collect("not armed", ep, 5);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLET | EPOLLONESHOT, 2);
	collect("armed, empty", ep, 0);
	write_all(p[0], "z", 1);
	collect("arrival", ep, -1);
}

CASE(each_set_has_its_own)
{
	int a = MUST(epoll_create1(0)), b = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(a, p[1], EPOLLIN | EPOLLET, 1);
	add(b, p[1], EPOLLIN | EPOLLET, 2);
	write_all(p[0], "x", 1);
	collect("a", a, -1);
	collect("a once", a, 0);
	collect("b", b, -1);
	collect("b once", b, 0);
}

/* Of several threads that sleep on a set one hears of an edge. */
static int heard, set;

static void hear(void *arg)
{
	struct epoll_event e;

	(void)arg;
	if (epoll_wait(set, &e, 1, -1) == 1 && e.data.u32 == 1)
		__atomic_fetch_add(&heard, 1, __ATOMIC_RELAXED);
}

CASE(one_of_several_threads)
{
	struct sleeper s[3];
	int p[2], q[2];

	set = MUST(epoll_create1(0));
	make_pair(p);
	MUST(pipe(q));
	add(set, p[1], EPOLLIN | EPOLLET, 1);
	add(set, q[0], EPOLLIN, 2);
	for (int i = 0; i < 3; i++)
		in_thread(&s[i], hear, NULL);
	write_all(p[0], "x", 1);
	while (__atomic_load_n(&heard, __ATOMIC_RELAXED) == 0)
		sched_yield();
	write_all(q[1], "x", 1); /* for the others */
	for (int i = 0; i < 3; i++)
		join(&s[i]);
	say("heard by %d", heard);
}

CASE(urgent)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLPRI | EPOLLET, 1);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	collect("ordinary octet", ep, 5);
	MUST(send(p[0], "!", 1, MSG_OOB));
	await(p[1], POLLPRI);
	collect("urgent octet", ep, -1);
	tell("read", recv(p[1], &c, 1, MSG_OOB));
	collect("read", ep, 0);
}
