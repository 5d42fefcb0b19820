/* epoll: level, edge and one-shot; kernel and socket descriptors in one set; nested sets; changes
 * while a thread waits. */
#include "cases.h"

static int ep;

static void ctl(int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	MUST(epoll_ctl(ep, op, fd, &e));
}

/* wait_for prints what epoll_wait reports, ordered by data. */
static void wait_for(const char *what, int timeout)
{
	struct epoll_event e[16];
	int n = epoll_wait(ep, e, 16, timeout);

	say("%s: %d", what, n);
	for (uint64_t d = 0; d < 64; d++)
		for (int i = 0; i < n; i++)
			if (e[i].data.u64 == d) {
				printf("  %llu ", (unsigned long long)d);
				tell_events("has", e[i].events);
			}
}

CASE(level_and_edge)
{
	int p[2], q[2];
	char buf[16];

	make_pair(p);
	MUST(pipe(q));
	ep = MUST(epoll_create1(EPOLL_CLOEXEC));
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN, 1);
	ctl(EPOLL_CTL_ADD, q[0], EPOLLIN, 2);
	ctl(EPOLL_CTL_ADD, p[0], EPOLLOUT, 3);
	wait_for("writable only", -1);
	ctl(EPOLL_CTL_MOD, p[0], EPOLLIN, 3);
	wait_for("nothing", 0);
	wait_for("nothing for a while", 5);
	write_all(p[0], "abc", 3);
	await(p[1], POLLIN);
	wait_for("level", -1);
	wait_for("level again", -1);
	write_all(q[1], "x", 1);
	for (unsigned seen = 0; seen != 6;) { /* one kind may be reported before the other */
		struct epoll_event e;

		MUST(epoll_wait(ep, &e, 1, -1));
		seen |= 1u << e.data.u64;
	}
	say("both kinds");
	read_all(q[0], buf, 1);
	read_all(p[1], buf, 3);
	wait_for("drained", 0);

	ctl(EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLET | EPOLLRDHUP, 1);
	write_all(p[0], "abc", 3);
	await(p[1], POLLIN);
	wait_for("edge", -1);
	wait_for("no second edge", 0);
	read_all(p[1], buf, 1);
	wait_for("reading is no edge", 0);
	write_all(p[0], "def", 3);
	for (int n = 0; n < 5;)
		MUST(ioctl(p[1], FIONREAD, &n));
	wait_for("new octets are", -1);
	read_all(p[1], buf, 5);

	ctl(EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLONESHOT, 1);
	write_all(p[0], "g", 1);
	await(p[1], POLLIN);
	wait_for("one shot", -1);
	wait_for("spent", 0);
	ctl(EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLONESHOT, 4);
	wait_for("armed again", -1);
	read_all(p[1], buf, 1);
	ctl(EPOLL_CTL_MOD, p[1], EPOLLIN | EPOLLRDHUP, 1);
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	wait_for("closed by peer", -1);
	ctl(EPOLL_CTL_DEL, p[1], 0, 0);
	tell("delete twice", epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN, 5);
	tell("add twice", epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &(struct epoll_event){0}));
	wait_for("added when ready", -1);
	MUST(close(p[1]));
	wait_for("closing removes", 0);
	tell("modify what is gone", epoll_ctl(ep, EPOLL_CTL_MOD, q[1], &(struct epoll_event){0}));
	MUST(close(q[0]));
	MUST(close(q[1]));
	MUST(close(ep));
}

/* Sockets that are in the set before it is decided who carries them. */
CASE(decided_later)
{
	int l, c, a;
	struct sockaddr_storage to = make_address(0);

	ep = MUST(epoll_create(1));
	l = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	c = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ctl(EPOLL_CTL_ADD, c, EPOLLIN | EPOLLOUT, 2);
	wait_for("unconnected", 0);
	ctl(EPOLL_CTL_MOD, c, EPOLLIN, 2);
	MUST(bind(l, (struct sockaddr *)&to, sizeof to));
	ctl(EPOLL_CTL_ADD, l, EPOLLIN, 1);
	MUST(listen(l, 5));
	to = name_of(l);
	if (connect(c, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	await(l, POLLIN);
	await(c, POLLOUT);
	wait_for("listener", -1);
	a = MUST(accept(l, NULL, NULL));
	wait_for("accepted", 0);
	ctl(EPOLL_CTL_MOD, c, EPOLLIN | EPOLLOUT, 2);
	wait_for("connected", -1);
	write_all(a, "x", 1);
	await(c, POLLIN);
	wait_for("readable", -1);
	MUST(close(a));
	MUST(close(c));
	MUST(close(l));
	MUST(close(ep));
}

static void *wait_thread(void *arg)
{
	__atomic_store_n((pid_t *)arg, gettid(), __ATOMIC_RELEASE);
	wait_for("woken by an addition", 50000);
	return NULL;
}

CASE(changed_meanwhile)
{
	pthread_t thread;
	pid_t tid = 0;
	int p[2], q[2];

	make_pair(p);
	make_pair(q);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	ep = MUST(epoll_create1(0));
	ctl(EPOLL_CTL_ADD, q[1], EPOLLIN, 2);
	pthread_create(&thread, NULL, wait_thread, &tid);
	asleep(&tid);
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN, 1);
	pthread_join(thread, NULL);
	ctl(EPOLL_CTL_DEL, p[1], 0, 0);
	tid = 0;
	pthread_create(&thread, NULL, wait_thread, &tid);
	asleep(&tid);
	write_all(q[0], "x", 1);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++) {
		MUST(close(p[i]));
		MUST(close(q[i]));
	}
	MUST(close(ep));
}

CASE(nested)
{
	int p[2], inner = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0));
	struct pollfd v = {.fd = inner, .events = POLLIN};
	char c;

	make_pair(p);
	ep = inner;
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN, 1);
	ep = outer;
	ctl(EPOLL_CTL_ADD, inner, EPOLLIN, 7);
	wait_for("nested, nothing", 0);
	tell("poll of the set", poll(&v, 1, 0));
	write_all(p[0], "x", 1);
	wait_for("nested", -1);
	tell("poll of the set", poll(&v, 1, -1));
	ep = inner;
	wait_for("inner", -1);
	ep = outer;
	wait_for("still", -1);
	read_all(p[1], &c, 1);
	ep = inner;
	wait_for("inner, drained", 0);
	ep = outer;
	wait_for("nested, drained", 0);
	MUST(close(p[0]));
	wait_for("nested end", -1);
	MUST(close(p[1]));
	MUST(close(inner));
	MUST(close(outer));
}

/* One socket in two sets, and under two numbers in one. */
CASE(several)
{
	int p[2], one = MUST(epoll_create1(0)), two = MUST(epoll_create1(0)), copy;
	char c;

	make_pair(p);
	copy = MUST(dup(p[1]));
	ep = one;
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN, 1);
	ctl(EPOLL_CTL_ADD, copy, EPOLLIN, 2);
	ep = two;
	ctl(EPOLL_CTL_ADD, p[1], EPOLLIN | EPOLLET, 3);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	ep = one;
	wait_for("first set", -1);
	ep = two;
	wait_for("second set", -1);
	wait_for("second set again", 0);
	read_all(copy, &c, 1);
	ep = one;
	wait_for("read by the copy", 0);
	MUST(close(copy));
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(one));
	MUST(close(two));
}
