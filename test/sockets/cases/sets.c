/* sets: epoll_ctl and what it says of wrong calls, level-triggered and one-shot members, one socket in
 * several sets and under several numbers, and members that go. */
#include "sets.h"

#include <sys/syscall.h>

CASE(errors)
{
	struct epoll_event e = {.events = EPOLLIN};
	int ep = MUST(epoll_create1(0)), p[2], q[2];
	char file[] = "/tmp/case-XXXXXX";

	make_pair(p);
	MUST(pipe(q));
	tell("MOD of what is not in", epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	tell("DEL of what is not in", epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	tell("ADD", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	tell("ADD again", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	tell("no such operation", epoll_ctl(ep, 9, p[0], &e));
	tell("no event", epoll_ctl(ep, EPOLL_CTL_ADD, p[1], NULL));
	tell("no set", epoll_ctl(q[0], EPOLL_CTL_ADD, p[1], &e));
	tell("a socket for a set", epoll_ctl(p[1], EPOLL_CTL_ADD, p[0], &e));
	tell("no such set", epoll_ctl(900, EPOLL_CTL_ADD, p[1], &e));
	tell("itself", epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
	int fd = MUST(mkstemp(file));

	unlink(file);
	tell("a file", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	tell("DEL", epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	tell("DEL again", epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	tell("ADD after that", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	tell("no room", epoll_wait(ep, &e, 0, 0));
	int less = getppid() < 0 ? 1 : -1; /* the compiler is not to see it */

	tell("room below nothing", epoll_wait(ep, &e, less, 0));
	tell("waiting on no set", epoll_wait(q[0], &e, 1, 0));
	tell("waiting on a socket", epoll_wait(p[0], &e, 1, 0));
	tell("no such set", epoll_wait(900, &e, 1, 0));
	tell("wrong flag", epoll_create1(77));
	tell("wrong size", epoll_create(0));
}

CASE(exclusive_errors)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT};
	int ep = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	tell("with EPOLLONESHOT", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	e.events = EPOLLIN | EPOLLRDHUP | EPOLLEXCLUSIVE;
	tell("with EPOLLRDHUP", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	e.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
	tell("with EPOLLET", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	tell("MOD", epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	e.events = EPOLLIN;
	tell("MOD to something else", epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	tell("DEL", epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	tell("ADD without", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	e.events = EPOLLIN | EPOLLEXCLUSIVE;
	tell("MOD to it", epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	tell("of a set", epoll_ctl(ep, EPOLL_CTL_ADD, inner, &e));
}

CASE(level)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN, 1);
	collect("nothing", ep, 0);
	write_all(p[0], "ab", 2);
	collect("readable", ep, -1);
	collect("still", ep, -1);
	read_all(p[1], &c, 1);
	collect("half of it", ep, 0);
	read_all(p[1], &c, 1);
	collect("all of it", ep, 0);
	MUST(close(p[0]));
	collect("end", ep, -1);
	collect("end again", ep, -1);
}

CASE(always_reported)
{
	struct linger now = {1, 0};
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], 0, 1);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	collect("nothing asked", ep, 0);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	MUST(close(p[0]));
	collect("reset", ep, -1);
	tell_error("error", p[1]);
	collect("the error is taken", ep, 0);
}

CASE(oneshot)
{
	int ep = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN | EPOLLONESHOT, 1);
	write_all(p[0], "a", 1);
	collect("once", ep, -1);
	collect("not twice", ep, 0);
	write_all(p[0], "b", 1);
	collect("nor for news", ep, 5);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLONESHOT, 2);
	collect("armed again", ep, -1);
	read_all(p[1], &c, 1);
	read_all(p[1], &c, 1);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLONESHOT, 3);
	collect("nothing there", ep, 0);
	MUST(close(p[0]));
	collect("end", ep, -1);
	collect("even the end is once", ep, 5);
}

CASE(oneshot_of_a_listener)
{
	int ep = MUST(epoll_create1(0)), l = listener(SOCK_NONBLOCK), a;

	add(ep, l, EPOLLIN | EPOLLONESHOT, 1);
	connect_to(l);
	collect("first", ep, -1);
	connect_to(l);
	collect("not armed", ep, 5);
	ctl(ep, EPOLL_CTL_MOD, l, EPOLLIN | EPOLLONESHOT, 2);
	collect("armed", ep, -1);
	a = MUST(accept(l, NULL, NULL));
	MUST(close(a));
	await(l, POLLIN);
	MUST(accept(l, NULL, NULL));
	ctl(ep, EPOLL_CTL_MOD, l, EPOLLIN | EPOLLONESHOT, 3);
	collect("empty", ep, 0);
}

CASE(two_sets)
{
	int a = MUST(epoll_create1(0)), b = MUST(epoll_create1(0)), p[2];
	char c;

	make_pair(p);
	add(a, p[1], EPOLLIN, 1);
	add(b, p[1], EPOLLIN | EPOLLET, 2);
	write_all(p[0], "x", 1);
	collect("a", a, -1);
	collect("b", b, -1);
	collect("a again", a, -1);
	collect("b again", b, 0);
	ctl(a, EPOLL_CTL_DEL, p[1], 0, 0);
	collect("a without it", a, 0);
	write_all(p[0], "y", 1);
	collect("b", b, -1);
	read_all(p[1], &c, 1);
	MUST(close(b));
	add(a, p[1], EPOLLIN, 3);
	collect("a with it again", a, -1);
}

CASE(two_numbers_in_one_set)
{
	int ep = MUST(epoll_create1(0)), p[2], copy;
	char c;

	make_pair(p);
	copy = MUST(dup(p[1]));
	add(ep, p[1], EPOLLIN, 1);
	add(ep, copy, EPOLLIN | EPOLLOUT, 2);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	hear_of(ep, 6);
	collect("both", ep, -1);
	ctl(ep, EPOLL_CTL_DEL, p[1], 0, 0);
	collect("the copy", ep, -1);
	read_all(p[1], &c, 1);
	collect("writable", ep, -1);
}

CASE(closed_member)
{
	int ep = MUST(epoll_create1(0)), p[2], q[2];

	make_pair(p);
	make_pair(q);
	add(ep, p[1], EPOLLIN, 1);
	add(ep, q[1], EPOLLIN, 2);
	write_all(p[0], "x", 1);
	write_all(q[0], "x", 1);
	hear_of(ep, 6);
	MUST(close(p[1]));
	collect("one is closed", ep, -1);
	MUST(close(q[1]));
	collect("both are", ep, 0);
}

/* A member stays while there is another descriptor, and its number alone does not find it. */
CASE(closed_number_open_copy)
{
	struct epoll_event e = {.events = EPOLLIN};
	int ep = MUST(epoll_create1(0)), p[2], copy;
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN, 1);
	copy = MUST(dup(p[1]));
	MUST(close(p[1]));
	write_all(p[0], "x", 1);
	collect("it is still a member", ep, -1);
	tell("by its number", epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	tell("by the copy's", epoll_ctl(ep, EPOLL_CTL_DEL, copy, &e));
	read_all(copy, &c, 1);
	collect("read by the copy", ep, 0);
	MUST(close(copy));
	collect("gone", ep, 0);
}

CASE(number_of_another_socket)
{
	int ep = MUST(epoll_create1(0)), p[2], q[2];

	make_pair(p);
	make_pair(q);
	add(ep, p[1], EPOLLIN, 1);
	MUST(close(p[1]));
	MUST(dup2(q[1], p[1]));
	add(ep, p[1], EPOLLIN, 2);
	write_all(q[0], "x", 1);
	collect("the new one", ep, -1);
}

CASE(member_becomes_a_connection)
{
	int ep = MUST(epoll_create1(0)), l = listener(0), s = stream_socket(SOCK_NONBLOCK), a;
	char c;

	add(ep, s, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 1);
	collect("unconnected", ep, -1);
	if (connect_at(s, name_of(l)) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	a = MUST(accept(l, NULL, NULL));
	await(s, POLLOUT);
	collect("connected", ep, -1);
	write_all(a, "x", 1);
	await(s, POLLIN);
	collect("readable", ep, -1);
	read_all(s, &c, 1);
	MUST(shutdown(a, SHUT_WR));
	await(s, POLLRDHUP);
	collect("half closed", ep, -1);
}

CASE(member_becomes_a_listener)
{
	int ep = MUST(epoll_create1(0)), s = stream_socket(SOCK_NONBLOCK);

	MUST(bind_to(s, make_address(0)));
	add(ep, s, EPOLLIN, 1);
	collect("bound", ep, -1);
	MUST(listen(s, 5));
	collect("listening", ep, 0);
	MUST(connect_to(s));
	collect("a connection waits", ep, -1);
	MUST(shutdown(s, SHUT_RD));
	await(s, POLLHUP);
	collect("it listens no more", ep, -1);
}

CASE(refused_member)
{
	int ep = MUST(epoll_create1(0)), l = listener(0), s = stream_socket(SOCK_NONBLOCK);
	struct sockaddr_storage a = name_of(l);

	MUST(close(l));
	add(ep, s, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1);
	collect("unconnected", ep, -1);
	if (connect_at(s, a) < 0 && errno != EINPROGRESS && errno != ECONNREFUSED)
		tell("connect", -1);
	await(s, POLLHUP);
	tell_error("error", s);
	tell_events("afterwards", poll_now(s));
}

CASE(changed)
{
	int ep = MUST(epoll_create1(0)), p[2];

	make_pair(p);
	add(ep, p[1], EPOLLIN, 1);
	collect("nothing", ep, 0);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLOUT, 2);
	collect("writable", ep, -1);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 3);
	write_all(p[0], "x", 1);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	collect("all", ep, -1);
	ctl(ep, EPOLL_CTL_MOD, p[1], 0, 4);
	collect("none", ep, 0);
	ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLRDHUP, 5);
	collect("the end only", ep, -1);
}

CASE(few_at_a_time)
{
	int ep = MUST(epoll_create1(0)), l = listener(0), fd, n = 0;
	struct epoll_event e;
	unsigned seen = 0;

	for (int i = 0; i < 10; i++) {
		fd = connect_to(l);
		add(ep, MUST(accept(l, NULL, NULL)), EPOLLIN, (uint64_t)i);
		write_all(fd, "x", 1);
	}
	hear_of(ep, 0x3ff);
	/* With room for one, all come in turn. */
	for (int i = 0; i < 10; i++) {
		n += MUST(epoll_wait(ep, &e, 1, -1));
		seen |= 1u << e.data.u32;
	}
	say("%d reports of %d members", n, __builtin_popcount(seen));
}

CASE(both_kinds_share)
{
	int ep = MUST(epoll_create1(0)), l = listener(0), q[2], kernel = 0, sockets = 0;
	struct epoll_event e;

	MUST(pipe(q));
	write_all(q[1], "x", 1);
	add(ep, q[0], EPOLLIN, 63);
	for (int i = 0; i < 4; i++) {
		int fd = connect_to(l);

		add(ep, MUST(accept(l, NULL, NULL)), EPOLLIN, (uint64_t)i);
		write_all(fd, "x", 1);
	}
	hear_of(ep, 1ull << 63 | 0xf);
	/* All are ready all the time: none starves, whatever the order. */
	for (int i = 0; i < 20000 && (kernel < 20 || sockets < 20); i++) {
		MUST(epoll_wait(ep, &e, 1, -1));
		if (e.data.u64 == 63)
			kernel++;
		else
			sockets++;
	}
	say("pipe: %d, sockets: %d", kernel >= 20, sockets >= 20);
}

CASE(large_set)
{
	enum { MEMBERS = 200 };
	static int peer[MEMBERS];
	int ep = MUST(epoll_create1(0)), l = listener(0), n = 0;
	struct epoll_event e[MEMBERS];

	for (int i = 0; i < MEMBERS; i++) {
		peer[i] = connect_to(l);
		struct epoll_event m = {.events = EPOLLIN | EPOLLET, .data.u32 = (uint32_t)i};

		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, MUST(accept(l, NULL, NULL)), &m));
	}
	tell("nothing", epoll_wait(ep, e, MEMBERS, 0));
	for (int i = 0; i < MEMBERS; i += 2)
		write_all(peer[i], "x", 1);
	while (n < MEMBERS / 2) {
		int got = MUST(epoll_wait(ep, e, MEMBERS, -1));

		for (int i = 0; i < got; i++)
			if (e[i].data.u32 % 2 || e[i].events != EPOLLIN)
				say("wrong: %u", e[i].data.u32);
		n += got;
	}
	say("%d", n);
	tell("each once", epoll_wait(ep, e, MEMBERS, 0));
}

CASE(closed_set)
{
	int ep = MUST(epoll_create1(0)), copy = MUST(dup(ep)), p[2];
	char c;

	make_pair(p);
	add(ep, p[1], EPOLLIN, 1);
	MUST(close(ep));
	write_all(p[0], "x", 1);
	collect("by the copy", copy, -1);
	MUST(close(copy));
	tell("closed", fcntl(copy, F_GETFD));
	tell("the member works", read(p[1], &c, 1));
}

/* As event libraries call it. */
CASE(by_system_call)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 4};
	int ep = (int)MUST(syscall(SYS_epoll_create1, 0)), p[2];

	make_pair(p);
	MUST(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p[1], &e));
	write_all(p[0], "x", 1);
	tell("epoll_pwait", syscall(SYS_epoll_pwait, ep, &e, 1, -1, NULL, 8));
	say("%u", e.data.u32);
	struct timespec t = {.tv_nsec = 1000};

	tell("epoll_pwait2", syscall(SYS_epoll_pwait2, ep, &e, 1, &t, NULL, 8));
	tell("close", syscall(SYS_close, ep));
}

CASE(set_inherited_by_fork)
{
	int ep = MUST(epoll_create1(0)), p[2], q[2];
	pid_t child;

	make_pair(p);
	MUST(pipe(q));
	add(ep, p[1], EPOLLIN, 1);
	add(ep, q[0], EPOLLIN, 2);
	child = MUST(fork());
	if (child == 0) {
		hear_of(ep, 6);
		say("the child hears of both");
		_exit(0);
	}
	write_all(p[0], "x", 1);
	write_all(q[1], "x", 1);
	reap(child);
	hear_of(ep, 6);
	say("and so do we");
}

/* Which process has it in a set of its own makes no difference. */
CASE(socket_in_sets_of_two_processes)
{
	int ep = MUST(epoll_create1(0)), l = listener(SOCK_NONBLOCK), go[2], theirs;
	char c;
	pid_t child;

	MUST(pipe(go));
	add(ep, l, EPOLLIN, 1);
	child = MUST(fork());
	if (child == 0) {
		theirs = MUST(epoll_create1(0));
		add(theirs, l, EPOLLIN, 2);
		write_all(go[1], "r", 1);
		collect("child", theirs, -1);
		write_all(go[1], "r", 1);
		_exit(0);
	}
	read_all(go[0], &c, 1);
	connect_to(l);
	read_all(go[0], &c, 1);
	collect("parent", ep, -1);
	reap(child);
	tell("one connection", accept(l, NULL, NULL) >= 0);
}
