/* merged: a listener for any address has one queue, though its connections come to two addresses:
 * from loopback and to the address of the test, which may be another stack's. */
#include "cases.h"

enum { EACH = 40 };

static int dial(bool loopback, int port)
{
	int fd = stream_socket(0);

	MUST(connect_at(fd, loopback ? loopback_address(port) : make_address(port)));
	return fd;
}

static int anywhere(int flags, int backlog)
{
	int fd = stream_socket(flags);

	MUST(bind_to(fd, any_address(0)));
	MUST(listen(fd, backlog));
	return fd;
}

/* What waits on either side is accepted, all of it, and neither side waits for the other to be
 * empty. */
CASE(fair)
{
	int l = anywhere(0, 128), port = port_of(l), c[3 * EACH], first = -1, n = 0;

	for (int i = 0; i < 3 * EACH; i++)
		c[i] = dial(i % 3 == 2, port);
	for (int i = 0; i < 3 * EACH; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		int fd = MUST(accept(l, (struct sockaddr *)&from, &len));

		if (same_address(from, loopback_address(port_in(from)))) {
			n++;
			if (first < 0)
				first = i;
		}
		MUST(close(fd));
		MUST(close(c[i]));
	}
	say("loopback: %s of all, the first is %s", n >= EACH ? "its third" : "too few",
	    first < EACH ? "early" : "late");
	nonblocking(l, true);
	tell("no more", accept(l, NULL, NULL));
	MUST(close(l));
}

static void tell_flags(const char *what, int fd)
{
	say("%s:%s%s", what, MUST(fcntl(fd, F_GETFL)) & O_NONBLOCK ? " nonblock" : "",
	    MUST(fcntl(fd, F_GETFD)) & FD_CLOEXEC ? " cloexec" : "");
}

/* accept4's flags hold whoever had the connection. */
CASE(flags)
{
	static const int some[] = {0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC};
	int l = anywhere(SOCK_NONBLOCK, 16), port = port_of(l);

	for (size_t i = 0; i < sizeof some / sizeof *some; i++)
		for (int k = 0; k < 2; k++) {
			int c = dial(k, port), fd;

			await(l, POLLIN);
			fd = MUST(accept4(l, NULL, NULL, some[i]));
			tell_flags(k ? "from loopback" : "to the address", fd);
			MUST(close(fd));
			MUST(close(c));
		}
	tell("flags that are none", accept4(l, NULL, NULL, 1));
	MUST(close(l));
}

/* An exclusive registration hears of both sides; what one set takes the other does not find. */
CASE(exclusive)
{
	int l = anywhere(SOCK_NONBLOCK, 16), port = port_of(l), set[2];

	for (int i = 0; i < 2; i++) {
		struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = 5};

		set[i] = MUST(epoll_create1(0));
		MUST(epoll_ctl(set[i], EPOLL_CTL_ADD, l, &e));
	}
	for (int k = 0; k < 4; k++) {
		struct epoll_event e;
		int c = dial(k % 2, port), fd;

		say("woken: %d", MUST(epoll_wait(set[k / 2], &e, 1, 50000)));
		fd = MUST(accept(l, NULL, NULL));
		say("the other: %d", MUST(epoll_wait(set[1 - k / 2], &e, 1, 0)));
		MUST(close(fd));
		MUST(close(c));
	}
	for (int i = 0; i < 2; i++)
		MUST(close(set[i]));
	MUST(close(l));
}

/* Two processes that accept from one listener share what comes from either side. */
CASE(inherited)
{
	int l = anywhere(0, 128), port = port_of(l), sum = 0;
	pid_t child[2];

	for (int i = 0; i < 2; i++) {
		child[i] = MUST(fork());
		if (child[i] == 0)
			for (;;) {
				int fd = MUST(accept(l, NULL, NULL));

				write_all(fd, "x", 1);
				MUST(close(fd));
			}
	}
	for (int i = 0; i < EACH; i++) {
		int c = dial(i % 2, port);
		char octet;

		read_all(c, &octet, 1);
		sum++;
		MUST(close(c));
	}
	say("two processes: %d served", sum);
	for (int i = 0; i < 2; i++) {
		MUST(kill(child[i], SIGKILL));
		MUST(waitpid(child[i], NULL, 0));
	}
	MUST(close(l));
}
