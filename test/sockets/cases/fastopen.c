/* fastopen: sockets that connect with their first octets, as Linux' results tell of it. Without
 * cookies, so that it does not matter whom the kernel has met before. */
#include "cases.h"

static int set(int fd, int option, int v)
{
	return set_int(fd, IPPROTO_TCP, option, v);
}

/* fresh returns a socket that defers its SYN. */
static int fresh(int flags)
{
	int fd = MUST(socket(family, SOCK_STREAM | flags, 0));

	MUST(set(fd, TCP_FASTOPEN_CONNECT, 1));
	MUST(set(fd, TCP_FASTOPEN_NO_COOKIE, 1));
	return fd;
}

static void tell_peer(const char *what, int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;

	tell(what, getpeername(fd, (struct sockaddr *)&a, &len));
}

static void tell_state(const char *what, int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof info;

	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	say("%s: state %d", what, info.tcpi_state);
}

/* finish accepts what fd connects to, and lets both ends speak. */
static void finish(int l, int fd, const char *text)
{
	int a = MUST(accept(l, NULL, NULL));
	char buf[64];

	read_all(a, buf, strlen(text));
	say("arrived: %.*s", (int)strlen(text), buf);
	write_all(a, "answer", 6);
	nonblocking(fd, false);
	read_all(fd, buf, 6);
	tell_peer("peer", fd);
	MUST(close(a));
}

CASE(settings)
{
	int l = listener(0);
	int fd = MUST(socket(family, SOCK_STREAM, 0)), v;
	socklen_t len = sizeof v;

	tell("connect 2", set(fd, TCP_FASTOPEN_CONNECT, 2));
	tell("no cookie 2", set(fd, TCP_FASTOPEN_NO_COOKIE, 2));
	tell("SYNCNT 0", set(fd, TCP_SYNCNT, 0));
	tell("SYNCNT 128", set(fd, TCP_SYNCNT, 128));
	tell("SYNCNT", set(fd, TCP_SYNCNT, 3));
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &v, &len));
	say("is %d", v);
	tell("key", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, "0123456789abcdef", 15));
	tell("listener", set(l, TCP_FASTOPEN, 5));
	tell("listener, none", set(l, TCP_FASTOPEN, -1));
	tell("listener, no cookies", set(l, TCP_FASTOPEN_NO_COOKIE, 1));
	MUST(getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, &len));
	say("is %d", v);
	MUST(connect_at(fd, name_of(l)));
	tell("connected, queue", set(fd, TCP_FASTOPEN, 5));
	tell("connected, connect", set(fd, TCP_FASTOPEN_CONNECT, 1));
	tell("connected, no cookie", set(fd, TCP_FASTOPEN_NO_COOKIE, 1));
	tell("connected, SYNCNT", set(fd, TCP_SYNCNT, 4));
	MUST(close(MUST(accept(l, NULL, NULL))));
	MUST(close(fd));
}

static void deferred(int l, int flags)
{
	int fd = fresh(flags), set = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	char c;

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
	MUST(epoll_wait(set, &e, 1, 0));
	tell_events("before", poll_now(fd));
	tell("connect", connect_at(fd, name_of(l)));
	tell_events("waiting", poll_now(fd));
	tell_state("waiting", fd);
	tell_peer("waiting", fd);
	tell_error("waiting", fd);
	tell("read", recv(fd, &c, 1, MSG_DONTWAIT));
	if (flags)
		tell("connect again", connect_at(fd, name_of(l)));
	tell_events("still", poll_now(fd));
	tell("write", write(fd, "early", 5));
	await(fd, POLLOUT);
	tell("connect again", connect_at(fd, name_of(l)));
	finish(l, fd, "early");
	tell("connect once more", connect_at(fd, name_of(l)));
	MUST(close(set));
	MUST(close(fd));
}

/* The octets that do not go with the SYN follow. */
CASE(much)
{
	int l = listener(0);
	static uint8_t big[200000], got[200000];
	int fd = fresh(0), a;

	MUST(connect_at(fd, name_of(l)));
	fill_pattern(big, 0, sizeof big);
	tell("write", write(fd, big, sizeof big));
	a = MUST(accept(l, NULL, NULL));
	read_all(a, got, sizeof got);
	verify(got, 0, sizeof got);
	MUST(close(fd));
	MUST(close(a));
}

CASE(epolled)
{
	int l = listener(0);
	int fd = fresh(SOCK_NONBLOCK), set = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLOUT};

	MUST(connect_at(fd, name_of(l)));
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 50000)));
	tell_events("deferred", e.events);
	tell("send", send(fd, "e", 1, 0));
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 50000)));
	tell_events("connected", e.events);
	finish(l, fd, "e");
	MUST(close(set));
	MUST(close(fd));
}

/* Nothing is sent for a socket that is given up before its first octet. */
CASE(given_up)
{
	int l = listener(0);
	struct pollfd p = {.fd = l, .events = POLLIN};
	int fd = fresh(0);

	MUST(connect_at(fd, name_of(l)));
	MUST(close(fd));
	fd = fresh(0);
	MUST(connect_at(fd, name_of(l)));
	tell("shutdown", shutdown(fd, SHUT_WR));
	tell_state("shut down", fd);
	tell_peer("shut down", fd);
	tell("shut down twice", shutdown(fd, SHUT_WR));
	MUST(close(fd));
	say("accept %d", MUST(poll(&p, 1, 100)));
	fd = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	MUST(set(fd, TCP_FASTOPEN_CONNECT, 1));
	MUST(set(fd, TCP_FASTOPEN_NO_COOKIE, 1));
	MUST(connect_at(fd, name_of(l)));
	tell("nothing written", send(fd, "", 0, 0));
	await(fd, POLLOUT);
	MUST(close(MUST(accept(l, NULL, NULL))));
	MUST(close(fd));
}

/* A deferred socket that is inherited is deferred there too. */
CASE(inherited)
{
	int l = listener(0);
	int fd = fresh(0);
	pid_t pid;

	MUST(connect_at(fd, name_of(l)));
	pid = MUST(fork());
	if (pid == 0) {
		tell_events("child", poll_now(fd));
		tell("child writes", write(fd, "child", 5));
		_exit(0);
	}
	reap(pid);
	tell_events("parent", poll_now(fd));
	finish(l, fd, "child");
	MUST(close(fd));
}

CASE(refused)
{
	int bound = stream_socket(0), fd = fresh(0),
	    l; /* nobody else can listen where one is bound */
	struct sockaddr_storage nobody;

	MUST(bind_to(bound, make_address(0)));
	nobody = name_of(bound);
	tell("connect", connect_at(fd, nobody));
	tell("write", write(fd, "x", 1));
	l = listener(0);
	tell("connect elsewhere", connect_at(fd, name_of(l)));
	tell("write", write(fd, "y", 1));
	finish(l, fd, "y");
	MUST(close(fd));
	fd = fresh(SOCK_NONBLOCK);
	MUST(connect_at(fd, nobody));
	tell("write, not blocking", write(fd, "x", 1));
	await(fd, POLLERR);
	tell_error("outcome", fd);
	MUST(close(fd));
	MUST(close(l));
}

static long fast(int fd, const char *text, struct sockaddr_storage to, int flags)
{
	return sendto(fd, text, strlen(text), MSG_FASTOPEN | flags, (struct sockaddr *)&to,
		      sizeof to);
}

static void message(int l, int flags)
{
	struct sockaddr_storage to = name_of(l);
	int fd = MUST(socket(family, SOCK_STREAM | flags, 0));

	MUST(set(fd, TCP_FASTOPEN_NO_COOKIE, 1));
	tell("send", fast(fd, "hello", to, 0));
	await(fd, POLLOUT);
	tell("connect", connect_at(fd, to));
	finish(l, fd, "hello");
	tell("send again", fast(fd, "x", to, 0));
	MUST(shutdown(fd, SHUT_WR));
	tell("send after shutdown", fast(fd, "x", to, 0));
	tell("plain send after shutdown", send(fd, "x", 1, MSG_NOSIGNAL));
	MUST(close(fd));
	fd = fresh(flags);
	MUST(connect_at(fd, to));
	tell("deferred, then by message", fast(fd, "both", to, 0));
	await(fd, POLLOUT);
	finish(l, fd, "both");
	MUST(close(fd));
}

/* With a connect under way a message waits for it, or is told to. */
CASE(message_late)
{
	int l = listener(0);
	int fd = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	struct sockaddr_storage to = name_of(l);

	bool fresh = connect_at(fd, to) < 0; /* or it was so fast that connect has told already */

	if (fresh && errno != EINPROGRESS)
		tell("connect", -1);
	await(fd, POLLOUT);
	tell("send", fresh ? fast(fd, "late", to, 0) : send(fd, "late", 4, 0));
	finish(l, fd, "late");
	MUST(close(fd));
}

CASE(borders)
{
	int l = listener(0);
	int fd = connect_to(l), a = MUST(accept(l, NULL, NULL));
	char line[16], got[16];

	for (int i = 0; i < 1000; i++) {
		size_t n = (size_t)snprintf(line, sizeof line, "message %d.", i);

		if (send(fd, line, n, MSG_EOR | (i % 3 ? 0 : MSG_MORE)) != (ssize_t)n)
			tell("send", -1);
	}
	for (int i = 0; i < 1000; i++) {
		size_t n = (size_t)snprintf(line, sizeof line, "message %d.", i);

		read_all(a, got, n);
		if (memcmp(line, got, n) != 0)
			say("%d: %.*s", i, (int)n, got);
	}
	MUST(close(fd));
	MUST(close(a));
}

CASE(deferred_blocking)
{
	deferred(listener(0), 0);
}

CASE(deferred_nonblocking)
{
	deferred(listener(0), SOCK_NONBLOCK);
}

CASE(message_blocking)
{
	message(listener(0), 0);
}

CASE(message_nonblocking)
{
	message(listener(0), SOCK_NONBLOCK);
}
