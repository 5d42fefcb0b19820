/* sleeping: poll, ppoll, select and pselect over sockets and other descriptors, many of them, and how
 * long they wait. */
#include "sets.h"

#include <sys/resource.h>
#include <sys/timerfd.h>

static long since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000;
}

/* at_least tells whether a call waited as long as it had to; longer it may. */
/* tick returns the milliseconds of the kernel's tick, in which it counts a socket's timeouts: a tick that
 * has begun is one of them. */
static long tick(void)
{
	struct timespec t;

	clock_getres(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_nsec / 1000000;
}

#define AT_LEAST(what, ms, call)                                        \
	do {                                                            \
		struct timespec from;                                   \
		clock_gettime(CLOCK_MONOTONIC, &from);                  \
		long rc = (call);                                       \
		int early = since(&from) + tick() < (ms);               \
		tell(what, rc);                                         \
		if (early)                                              \
			say("%s returned early", what);                 \
	} while (0)

CASE(timeouts)
{
	struct timespec t = {.tv_nsec = 20000000};
	struct timeval v = {.tv_usec = 20000};
	struct epoll_event e;
	struct pollfd p[2];
	fd_set r;
	int c[2], q[2], ep = MUST(epoll_create1(0));

	make_pair(c);
	MUST(pipe(q));
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = q[0], .events = POLLIN};
	add(ep, c[0], EPOLLIN, 1);
	AT_LEAST("poll", 20, poll(p, 1, 20));
	AT_LEAST("poll of both", 20, poll(p, 2, 20));
	AT_LEAST("ppoll", 20, ppoll(p, 1, &t, NULL));
	AT_LEAST("epoll_wait", 20, epoll_wait(ep, &e, 1, 20));
	AT_LEAST("epoll_pwait2", 20, epoll_pwait2(ep, &e, 1, &t, NULL));
	FD_ZERO(&r);
	FD_SET(c[0], &r);
	AT_LEAST("select", 20, select(c[0] + 1, &r, NULL, NULL, &v));
	say("time left: %d", v.tv_sec != 0 || v.tv_usec != 0);
	say("nothing set: %d", !FD_ISSET(c[0], &r));
	FD_SET(c[0], &r);
	AT_LEAST("pselect", 20, pselect(c[0] + 1, &r, NULL, NULL, &t, NULL));
	AT_LEAST("nothing but time", 10, poll(NULL, 0, 10));
	AT_LEAST("select of nothing", 10, select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = 10000}));
}

CASE(wrong_timeouts)
{
	struct timespec wrong[3] = {{-1, 0}, {0, -1}, {0, 1000000000}};
	struct epoll_event e;
	struct pollfd p;
	fd_set r;
	int c[2], ep = MUST(epoll_create1(0));

	make_pair(c);
	add(ep, c[0], EPOLLIN, 1);
	for (int i = 0; i < 3; i++) {
		p = (struct pollfd){.fd = c[0], .events = POLLIN};
		FD_ZERO(&r);
		FD_SET(c[0], &r);
		tell("ppoll", ppoll(&p, 1, &wrong[i], NULL));
		tell("pselect", pselect(c[0] + 1, &r, NULL, NULL, &wrong[i], NULL));
		tell("epoll_pwait2", epoll_pwait2(ep, &e, 1, &wrong[i], NULL));
	}
	tell("select", select(c[0] + 1, &r, NULL, NULL, &(struct timeval){-1, 0}));
	tell("select of fewer than none", select(-1, &r, NULL, NULL, &(struct timeval){0}));
}

CASE(time_left_by_select)
{
	struct timeval v = {.tv_sec = 50};
	fd_set r;
	int c[2];

	make_pair(c);
	write_all(c[1], "x", 1);
	FD_ZERO(&r);
	FD_SET(c[0], &r);
	tell("select", select(c[0] + 1, &r, NULL, NULL, &v));
	say("most is left: %d", v.tv_sec >= 30);
}

CASE(one_entry_twice)
{
	struct pollfd p[3];
	int c[2];

	make_pair(c);
	write_all(c[1], "x", 1);
	await(c[0], POLLIN);
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = c[0], .events = POLLOUT};
	p[2] = (struct pollfd){.fd = c[0], .events = POLLPRI};
	tell("poll", poll(p, 3, -1));
	for (int i = 0; i < 3; i++)
		tell_events("entry", (unsigned)p[i].revents);
}

CASE(every_kind)
{
	struct pollfd p[6];
	struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
	int c[2], q[2], u[2], l = listener(0), ep = MUST(epoll_create1(0));
	uint64_t v = 1;

	make_pair(c);
	MUST(pipe(q));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
	add(ep, c[1], EPOLLIN, 1);
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = q[0], .events = POLLIN};
	p[2] = (struct pollfd){.fd = u[0], .events = POLLIN};
	p[3] = (struct pollfd){.fd = l, .events = POLLIN};
	p[4] = (struct pollfd){.fd = MUST(timerfd_create(CLOCK_MONOTONIC, 0)), .events = POLLIN};
	p[5] = (struct pollfd){.fd = MUST(eventfd(0, 0)), .events = POLLIN};
	tell("nothing", poll(p, 6, 0));
	write_all(c[1], "x", 1);
	tell("socket", poll(p, 6, -1));
	MUST(write(q[1], "x", 1));
	await(q[0], POLLIN);
	tell("and pipe", poll(p, 6, -1));
	MUST(write(u[1], "x", 1));
	tell("and Unix socket", poll(p, 6, -1));
	connect_to(l);
	await(l, POLLIN);
	tell("and listener", poll(p, 6, -1));
	MUST(timerfd_settime(p[4].fd, 0, &soon, NULL));
	await(p[4].fd, POLLIN);
	tell("and timer", poll(p, 6, -1));
	MUST(write(p[5].fd, &v, sizeof v));
	tell("and eventfd", poll(p, 6, -1));
}

/* Who sleeps on all kinds is woken by each of them. */
static int woken_by(int which)
{
	struct pollfd p[4];
	int c[2], q[2], l = listener(0), ready = -1;
	pid_t child;

	make_pair(c);
	MUST(pipe(q));
	child = MUST(fork());
	if (child == 0) {
		usleep(2000);
		if (which == 0)
			write_all(c[1], "x", 1);
		else if (which == 1)
			write_all(q[1], "x", 1);
		else if (which == 2)
			MUST(shutdown(c[1], SHUT_WR));
		else
			connect_to(l);
		pause();
	}
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = q[0], .events = POLLIN};
	p[2] = (struct pollfd){.fd = c[0], .events = POLLRDHUP};
	p[3] = (struct pollfd){.fd = l, .events = POLLIN};
	MUST(poll(p, 4, -1));
	for (int i = 3; i >= 0; i--)
		if (p[i].revents)
			ready = i;
	MUST(kill(child, SIGKILL));
	MUST(waitpid(child, NULL, 0));
	return ready;
}

CASE(woken_by_octets)
{
	say("%d", woken_by(0));
}

CASE(woken_by_a_pipe)
{
	say("%d", woken_by(1));
}

CASE(woken_by_the_end)
{
	say("%d", woken_by(2));
}

CASE(woken_by_a_connection)
{
	say("%d", woken_by(3));
}

CASE4(many_descriptors)
{
	enum { MANY = 700 };
	static struct pollfd p[2 * MANY];
	static int peer[MANY];
	struct rlimit limit;
	int l = listener(0), q[2];

	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	MUST(pipe(q));
	for (int i = 0; i < MANY; i++) {
		peer[i] = connect_to(l);
		p[2 * i] = (struct pollfd){.fd = MUST(accept(l, NULL, NULL)), .events = POLLIN};
		p[2 * i + 1] = (struct pollfd){.fd = q[0], .events = POLLIN};
	}
	tell("nothing", poll(p, 2 * MANY, 0));
	write_all(peer[MANY - 1], "x", 1);
	tell("one", poll(p, 2 * MANY, -1));
	tell_events("the last", (unsigned)p[2 * MANY - 2].revents);
	write_all(q[1], "x", 1);
	tell("and all the pipe's", poll(p, 2 * MANY, -1));
	for (int i = 0; i < MANY; i++)
		write_all(peer[i], "x", 1);
	for (int i = 0; i < MANY; i++)
		await(p[2 * i].fd, POLLIN);
	tell("all", poll(p, 2 * MANY, -1));
}

CASE4(select_of_high_numbers)
{
	unsigned long bits[3000 / 64] = {0};
	struct timeval none = {0};
	int c[2], high = 2500;

	make_pair(c);
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_cur < 3000) {
		limit.rlim_cur = 3000;
		MUST(setrlimit(RLIMIT_NOFILE, &limit));
	}
	MUST(dup2(c[0], high));
	bits[high / 64] |= 1ul << (high % 64);
	tell("nothing", select(high + 1, (fd_set *)bits, NULL, NULL, &none));
	write_all(c[1], "x", 1);
	bits[high / 64] |= 1ul << (high % 64);
	tell("readable", select(high + 1, (fd_set *)bits, NULL, NULL, NULL));
	say("its bit: %d", (bits[high / 64] >> (high % 64) & 1) != 0);
}

CASE(select_three_sets)
{
	struct timeval none = {0};
	fd_set r, w, x;
	int c[2], q[2], top;

	make_pair(c);
	MUST(pipe(q));
	write_all(c[1], "x", 1);
	await(c[0], POLLIN);
	MUST(send(c[1], "!", 1, MSG_OOB));
	await(c[0], POLLPRI);
	FD_ZERO(&r);
	FD_SET(c[0], &r);
	FD_SET(q[0], &r);
	FD_SET(q[1], &r);
	w = x = r;
	top = (c[0] > q[1] ? c[0] : q[1]) + 1;
	tell("bits", select(top, &r, &w, &x, &none));
	say("socket: %d %d %d", FD_ISSET(c[0], &r) != 0, FD_ISSET(c[0], &w) != 0, FD_ISSET(c[0], &x) != 0);
	say("pipe: %d %d", FD_ISSET(q[0], &r) != 0, FD_ISSET(q[1], &w) != 0);
}

CASE(poll_does_not_starve)
{
	struct pollfd p[2];
	int c[2], q[2], sockets = 0, pipes = 0;

	make_pair(c);
	MUST(pipe(q));
	write_all(c[1], "x", 1);
	write_all(q[1], "x", 1);
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = q[0], .events = POLLIN};
	await(c[0], POLLIN);
	for (int i = 0; i < 1000; i++) {
		MUST(poll(p, 2, -1));
		sockets += p[0].revents == POLLIN;
		pipes += p[1].revents == POLLIN;
	}
	say("%d %d", sockets, pipes);
}

/* A listener's two halves, and two listeners, are served in turn. */
CASE(accept_does_not_starve)
{
	struct pollfd p[2];
	int l[2] = {listener(0), listener(0)}, got[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 10; k++)
			connect_to(l[i]);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct pollfd){.fd = l[i], .events = POLLIN};
		await(l[i], POLLIN);
	}
	while (got[0] + got[1] < 20) {
		MUST(poll(p, 2, -1));
		for (int i = 0; i < 2; i++)
			if (p[i].revents) {
				MUST(accept(l[i], NULL, NULL));
				got[i]++;
			}
	}
	say("%d %d", got[0], got[1]);
}

CASE(receive_timeout)
{
	struct timeval v = {.tv_usec = 20000}, got;
	socklen_t len = sizeof got;
	int c[2], l = listener(0);
	char buf[4];

	make_pair(c);
	MUST(setsockopt(c[0], SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
	AT_LEAST("read", 20, read(c[0], buf, 1));
	AT_LEAST("recvmsg", 20, recvmsg(c[0], &(struct msghdr){.msg_iov = &(struct iovec){buf, 1}, .msg_iovlen = 1}, 0));
	write_all(c[1], "ab", 2);
	await(c[0], POLLIN);
	AT_LEAST("a part of what MSG_WAITALL asks for", 20, recv(c[0], buf, 4, MSG_WAITALL));
	MUST(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
	AT_LEAST("accept", 20, accept(l, NULL, NULL));
	connect_to(l);
	await(l, POLLIN); /* longer than accept would wait, perhaps */
	int a = MUST(accept(l, NULL, NULL));

	MUST(getsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &got, &len));
	say("inherited: %ld", (long)got.tv_usec);
	v = (struct timeval){.tv_sec = 50};
	MUST(setsockopt(c[0], SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
	MUST(shutdown(c[1], SHUT_WR));
	tell("end before the time is over", read(c[0], buf, 1));
}

CASE(send_timeout)
{
	static char block[1 << 20];
	struct timeval v = {.tv_usec = 100000};
	int c[2];

	make_pair(c);
	fixed_buffers(c);
	fill_up(c[0]);
	MUST(setsockopt(c[0], SOL_SOCKET, SO_SNDTIMEO, &v, sizeof v));
	while (write(c[0], block, sizeof block) > 0)
		; /* what there was room for */
	AT_LEAST("write", 100, write(c[0], block, sizeof block));
	read_up(c[1], 1 << 15);
	say("nothing is lost");
}

CASE(cleared_timeout)
{
	struct timeval v = {.tv_usec = 10000}, none = {0};
	int c[2];
	char buf[1];
	pid_t child;

	make_pair(c);
	MUST(setsockopt(c[0], SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
	tell("with", read(c[0], buf, 1));
	MUST(setsockopt(c[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
	child = MUST(fork());
	if (child == 0) {
		usleep(30000);
		write_all(c[1], "x", 1);
		_exit(0);
	}
	tell("without", read(c[0], buf, 1));
	reap(child);
}
