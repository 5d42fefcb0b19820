/* listening: accept queues, what waits in them, and what accepted sockets have from their listener.
 */
#include "cases.h"

CASE(listen_again)
{
	int l = listener(0), c;

	tell("longer", listen(l, 100));
	tell("shorter", listen(l, 1));
	tell("negative", listen(l, -1));
	tell("none", listen(l, 0));
	c = connect_to(l);
	tell("accept", MUST(accept(l, NULL, NULL)) >= 0);
	tell("of a connection", listen(c, 5));
	tell("no descriptor", listen(9999, 5));
	tell("no socket", listen(MUST(eventfd(0, 0)), 5));
}

CASE(datagram)
{
	int fd = MUST(socket(family, SOCK_DGRAM, 0));

	tell("listen", listen(fd, 5));
	tell("accept", accept(fd, NULL, NULL));
}

CASE(accept_arguments)
{
	int l = listener(SOCK_NONBLOCK), fd = stream_socket(0), p[2];
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof a;

	tell("empty", accept(l, NULL, NULL));
	tell("empty, name", accept(l, (struct sockaddr *)&a, &len));
	tell("not listening", accept(fd, NULL, NULL));
	tell("no descriptor", accept(9999, NULL, NULL));
	MUST(pipe(p));
	tell("no socket", accept(p[0], NULL, NULL));
	tell("bad flags", accept4(l, NULL, NULL, ~0));
	connect_to(l);
	await(l, POLLIN);
	len = 4;
	fd = MUST(accept(l, (struct sockaddr *)&a, &len));
	say("cut name: %d, family %d", (int)len, a.ss_family == family);
	connect_to(l);
	await(l, POLLIN);
	len = 0;
	fd = MUST(accept(l, (struct sockaddr *)&a, &len));
	say("no room: %d", (int)len);
}

CASE(order)
{
	enum { N = 20 };
	int l = listener(0), c[N];

	for (int i = 0; i < N; i++)
		c[i] = connect_to(l); /* one after the other: they wait in this order */
	for (int i = 0; i < N; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;

		MUST(accept(l, (struct sockaddr *)&from, &len));
		if (!same_address(from, name_of(c[i])))
			say("%d out of order", i);
	}
	say("all");
}

/* What happens to a connection while it waits is what its reader finds. */
CASE(ended_in_queue)
{
	int l = listener(0), c = connect_to(l), a;
	char buf[8];

	write_all(c, "octets", 6);
	MUST(close(c));
	a = MUST(accept(l, NULL, NULL));
	await(a, POLLRDHUP);
	tell("read", read(a, buf, sizeof buf));
	tell("end", read(a, buf, sizeof buf));
	tell("write", write(a, "x", 1));
}

CASE(reset_in_queue)
{
	struct linger hard = {.l_onoff = 1};
	int l = listener(0), c = connect_to(l), a, marker;
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	char buf[8];

	await(l, POLLIN);
	MUST(setsockopt(c, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	MUST(close(c));
	marker = connect_to(l);
	a = accept(l, (struct sockaddr *)&from, &len);
	say("accepted: %s", a >= 0 ? "yes" : strerrorname_np(errno));
	if (a >= 0) {
		await(a, POLLERR);
		tell_events("reset", poll_now(a));
		tell("read", read(a, buf, sizeof buf));
		tell("read again", read(a, buf, sizeof buf));
	}
	a = MUST(accept(l, NULL, NULL));
	write_all(marker, "next", 4);
	read_all(a, buf, 4);
	say("%.4s", buf);
}

CASE(closed_with_queue)
{
	enum { N = 10 };
	int l = listener(0), c[N], reset = 0;
	char buf;

	for (int i = 0; i < N; i++)
		c[i] = connect_to(l);
	MUST(close(l));
	for (int i = 0; i < N; i++) {
		await(c[i], POLLHUP);
		reset += read(c[i], &buf, 1) < 0 && errno == ECONNRESET;
	}
	say("reset %d", reset);
}

/* A listener that is shut down is a socket like a fresh one, but for its port. */
CASE(shut_down)
{
	int l = listener(SOCK_NONBLOCK), port = port_of(l), waiting = connect_to(l), c;

	await(l, POLLIN);
	tell("SHUT_WR", shutdown(l, SHUT_WR));
	tell_events("listens on", poll_now(l));
	tell("SHUT_RD", shutdown(l, SHUT_RD));
	tell_events("shut", poll_now(l));
	await(waiting, POLLHUP);
	tell_events("who waited", poll_now(waiting));
	tell("accept", accept(l, NULL, NULL));
	c = stream_socket(0);
	tell("connect", connect_at(c, make_address(port)));
	tell("listen", listen(l, 5));
	c = connect_to(l);
	await(l, POLLIN);
	tell("accept", MUST(accept(l, NULL, NULL)) >= 0);
	MUST(close(c));
}

static void *shut_it(void *arg)
{
	int l = ((int *)arg)[0];

	asleep((pid_t *)arg + 1);
	tell("shutdown", shutdown(l, SHUT_RD));
	return NULL;
}

CASE(shut_down_under_accept)
{
	int arg[2] = {listener(0), 0};
	pthread_t thread;
	ssize_t rc;

	__atomic_store_n(&arg[1], gettid(), __ATOMIC_RELEASE);
	pthread_create(&thread, NULL, shut_it, arg);
	rc = accept(arg[0], NULL, NULL);
	int error = errno;

	pthread_join(thread, NULL);
	errno = error;
	tell("accept", rc);
}

CASE(flags_of_accepted)
{
	int l = listener(SOCK_NONBLOCK | SOCK_CLOEXEC), a;
	static const int some[] = {0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC};

	for (int i = 0; i < 4; i++) {
		connect_to(l);
		await(l, POLLIN);
		a = MUST(accept4(l, NULL, NULL, some[i]));
		say("nonblocking %d, closed on exec %d",
		    (MUST(fcntl(a, F_GETFL)) & O_NONBLOCK) != 0,
		    (MUST(fcntl(a, F_GETFD)) & FD_CLOEXEC) != 0);
	}
}

CASE(readiness)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};
	int l = listener(SOCK_NONBLOCK), ep = MUST(epoll_create1(0)), n = 0;

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
	tell_events("empty", poll_now(l));
	say("epoll %d", MUST(epoll_wait(ep, &e, 1, 0)));
	connect_to(l);
	await(l, POLLIN);
	tell_events("one", poll_now(l));
	say("epoll %d", MUST(epoll_wait(ep, &e, 1, -1)));
	say("epoll %d", MUST(epoll_wait(ep, &e, 1, 0)));
	connect_to(l);
	say("a second is an edge: %d", MUST(epoll_wait(ep, &e, 1, -1)));
	while (accept(l, NULL, NULL) >= 0)
		n++;
	say("accepted %d", n);
	tell_events("empty again", poll_now(l));
}

static void *accept_one(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);

	if (fd < 0 || write(fd, "x", 1) != 1)
		say("accept failed");
	return NULL;
}

CASE(many_acceptors)
{
	enum { N = 12 };
	int l = listener(0), c[N];
	pthread_t thread[N];
	char octet;

	for (int i = 0; i < N; i++)
		pthread_create(&thread[i], NULL, accept_one, &l);
	for (int i = 0; i < N; i++)
		c[i] = connect_to(l);
	for (int i = 0; i < N; i++) {
		pthread_join(thread[i], NULL);
		read_all(c[i], &octet, 1);
	}
	say("all accepted");
}

CASE(names)
{
	int l = listener(0), c = connect_to(l), a = MUST(accept(l, NULL, NULL));
	struct sockaddr_storage from;
	socklen_t len = sizeof from;

	tell("peer of a listener", getpeername(l, (struct sockaddr *)&from, &len));
	say("accepted is named as its listener: %d", same_address(name_of(a), name_of(l)));
	say("its peer is the client: %d", same_address(peer_of(a), name_of(c)));
	MUST(close(c));
	await(a, POLLRDHUP);
	say("still: %d", same_address(name_of(a), name_of(l)));
	tell("peer after its end", getpeername(a, (struct sockaddr *)&from, &len));
}

/* deferring listens with TCP_DEFER_ACCEPT. */
static int deferring(int seconds)
{
	int l = stream_socket(SOCK_NONBLOCK);

	tell("option", set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds));
	MUST(bind_to(l, make_address(0)));
	MUST(listen(l, 5));
	say("%d seconds", get_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT));
	return l;
}

/* accept_from says whether the next connection is that of c, and returns it. */
static int accept_from(int l, int c)
{
	int a;

	await(l, POLLIN);
	a = MUST(accept(l, NULL, NULL));
	say("the right one: %d", same_address(peer_of(a), name_of(c)));
	return a;
}

/* TCP_DEFER_ACCEPT: a connection shows when its first octets are there. */
CASE(deferred)
{
	int l = deferring(30), silent = connect_to(l), c = connect_to(l), a;
	char buf[4];

	write_all(c, "now", 3);
	a = accept_from(l, c);
	read_all(a, buf, 3);
	say("%.3s", buf);
	say("accepted: %d seconds", get_int(a, IPPROTO_TCP, TCP_DEFER_ACCEPT));
	tell("option of it", set_int(a, IPPROTO_TCP, TCP_DEFER_ACCEPT, 2));
	tell("accept", accept(l, NULL, NULL));
	write_all(silent, "too", 3);
	MUST(close(a));
	a = accept_from(l, silent);
	read_all(a, buf, 3);
	say("%.3s", buf);
}

/* An end shows it as well; one that is reset was never there. */
CASE(deferred_until_its_end)
{
	int l = deferring(3), reset = connect_to(l), c = connect_to(l), a;
	struct linger at_once = {.l_onoff = 1};
	char buf[4];

	MUST(setsockopt(reset, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
	MUST(close(reset));
	MUST(shutdown(c, SHUT_WR));
	a = accept_from(l, c);
	tell("read", read(a, buf, 1));
	tell("accept", accept(l, NULL, NULL));
}

/* The time is over. */
CASE(deferred_for_a_second)
{
	int l = deferring(1), c = connect_to(l), a = accept_from(l, c);
	char buf[4];

	tell("read", recv(a, buf, 1, MSG_DONTWAIT));
	write_all(c, "yes", 3);
	read_all(a, buf, 3);
}

/* It is set, and taken back, while the listener listens. */
CASE(deferred_from_now_on)
{
	int l = listener(SOCK_NONBLOCK), silent, c;

	tell("option", set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 30));
	silent = connect_to(l);
	c = connect_to(l);
	write_all(c, "x", 1);
	MUST(close(accept_from(l, c)));
	tell("accept", accept(l, NULL, NULL));
	tell("option", set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0));
	MUST(close(accept_from(l, connect_to(l))));
	MUST(close(silent));
}

/* More connect than the queue holds: nobody is refused, and one who waits gets in when there is
 * room. */
CASE(queue_is_full)
{
	struct pollfd c[40];
	int l = stream_socket(0), in = 0, late = 0;

	MUST(bind_to(l, make_address(0)));
	MUST(listen(l, 1));
	for (int i = 0; i < 40; i++) {
		c[i] = (struct pollfd){.fd = stream_socket(SOCK_NONBLOCK), .events = POLLOUT};
		if (connect_at(c[i].fd, name_of(l)) < 0 && errno != EINPROGRESS)
			tell("connect", -1);
	}
	await(l, POLLIN);
	MUST(poll(c, 40, -1));
	for (int i = 0; i < 40; i++) {
		in += (c[i].revents & POLLOUT) != 0;
		if (c[i].revents & ~POLLOUT)
			tell_events("connecting", (unsigned short)c[i].revents);
		if (c[i].revents)
			c[i].fd = -1; /* it has its connection */
	}
	say("some: %d, all: %d", in > 0, in == 40);
	while (late == 0) {
		MUST(close(accept(l, NULL, NULL)));
		MUST(poll(c, 40, -1));
		for (int i = 0; i < 40; i++)
			late += c[i].fd >= 0 && c[i].revents == POLLOUT;
	}
	say("late: %d", late > 0);
}
