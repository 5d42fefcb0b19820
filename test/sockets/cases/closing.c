/* closing: how connections end, as both ends see it. */
#include "cases.h"

static void linger(int fd, int on, int seconds)
{
	struct linger l = {.l_onoff = on, .l_linger = seconds};

	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
}

/* drain reads to the end and tells how much there was and what the end was. */
static void drain(const char *what, int fd)
{
	static uint8_t buf[65536];
	uint64_t at = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		verify(buf, at, (size_t)n);
		at += (uint64_t)n;
	}
	say("%s: %llu, then %s", what, (unsigned long long)at,
	    n < 0 ? strerrorname_np(errno) : "end");
}

/* fill writes the pattern until no more fits; how much. */
static uint64_t fill(int fd)
{
	static uint8_t buf[65536];
	uint64_t at = 0;
	ssize_t n;

	for (;;) {
		fill_pattern(buf, at, sizeof buf);
		n = send(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return at;
		at += (uint64_t)n;
	}
}

static void *drain_later(void *arg)
{
	static uint8_t buf[65536];
	uint64_t at = 0;
	ssize_t n;

	while ((n = MUST(read(*(int *)arg, buf, sizeof buf))) > 0) {
		verify(buf, at, (size_t)n);
		at += (uint64_t)n;
	}
	return (void *)(uintptr_t)at;
}

/* What was written before a close arrives, however much it is. */
static void close_full(int on, int seconds)
{
	pthread_t reader;
	void *got;
	uint64_t put;
	int p[2];

	make_pair(p);
	put = fill(p[0]);
	if (on >= 0)
		linger(p[0], on, seconds);
	pthread_create(&reader, NULL, drain_later, &p[1]);
	tell("close", close(p[0]));
	pthread_join(reader, &got);
	say("all arrived: %d", put > 0 && put == (uintptr_t)got);
}

CASE(close_full)
{
	close_full(-1, 0);
}

CASE(close_full_linger_off)
{
	close_full(0, 10);
}

CASE(close_full_linger)
{
	close_full(1, 20);
}

CASE(linger_zero_discards)
{
	int p[2];
	char c;

	make_pair(p);
	write_all(p[0], "here", 4);
	await(p[1], POLLIN);
	fill(p[0]);
	linger(p[0], 1, 0);
	MUST(close(p[0]));
	await(p[1], POLLERR);
	tell("read", read(p[1], &c, 1));
	tell("then", read(p[1], &c, 1));
}

CASE(linger_zero_after_shutdown)
{
	int p[2];
	char c;

	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	linger(p[0], 1, 0);
	MUST(close(p[0]));
	await(p[1], POLLERR);
	tell("read", read(p[1], &c, 1));
	tell("write", send(p[1], "x", 1, MSG_NOSIGNAL));
	tell("write again", send(p[1], "x", 1, MSG_NOSIGNAL));
}

CASE(linger_with_copies)
{
	int p[2], copy;
	char c;

	make_pair(p);
	copy = MUST(dup(p[0]));
	linger(p[0], 1, 0);
	MUST(close(p[0]));
	write_all(copy, "x", 1);
	tell("still open", read(p[1], &c, 1));
	MUST(close(copy));
	await(p[1], POLLERR);
	tell("reset by the last", read(p[1], &c, 1));
}

CASE(unread_resets)
{
	int p[2];
	char buf[16];

	make_pair(p);
	write_all(p[0], "unread", 6);
	write_all(p[1], "kept", 4);
	await(p[1], POLLIN);
	await(p[0], POLLIN);
	MUST(close(p[1]));
	await(p[0], POLLERR);
	tell("what had arrived is readable", read(p[0], buf, sizeof buf));
	tell("then", read(p[0], buf, sizeof buf));
	tell("then", read(p[0], buf, sizeof buf));
}

CASE(peeked_is_unread)
{
	int p[2];
	char buf[16];

	make_pair(p);
	write_all(p[0], "peeked", 6);
	await(p[1], POLLIN);
	tell("peek", recv(p[1], buf, sizeof buf, MSG_PEEK));
	MUST(close(p[1]));
	await(p[0], POLLERR);
	tell("read", read(p[0], buf, sizeof buf));
}

CASE(shut_read_then_close)
{
	int p[2];
	char buf[16];

	make_pair(p);
	MUST(shutdown(p[1], SHUT_RD));
	write_all(p[0], "into the void", 13);
	await(p[1], POLLIN);
	MUST(shutdown(p[1], SHUT_WR));
	await(p[0], POLLRDHUP);
	tell("end", read(p[0], buf, sizeof buf));
}

CASE(octets_after_shut_read)
{
	int p[2], n = 0;
	char buf[16];

	make_pair(p);
	MUST(shutdown(p[1], SHUT_RD));
	tell("before", read(p[1], buf, sizeof buf));
	write_all(p[0], "late", 4);
	while (n < 4)
		MUST(ioctl(p[1], FIONREAD, &n));
	tell("after", read(p[1], buf, sizeof buf));
	tell("then", read(p[1], buf, sizeof buf));
}

CASE(both_close_at_once)
{
	int p[2];

	for (int i = 0; i < 50; i++) {
		make_pair(p);
		MUST(shutdown(p[i & 1], SHUT_WR));
		MUST(shutdown(p[~i & 1], SHUT_WR));
		await(p[0], POLLHUP);
		await(p[1], POLLHUP);
		MUST(close(p[0]));
		MUST(close(p[1]));
	}
	say("50 times");
}

CASE(half_closed_for_long)
{
	static uint8_t buf[100000];
	int p[2];
	pid_t child;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		while (read(p[1], buf, sizeof buf) > 0)
			;
		fill_pattern(buf, 0, sizeof buf);
		write_all(p[1], buf, sizeof buf); /* after the end of the other half */
		_exit(0);
	}
	MUST(close(p[1]));
	write_all(p[0], "request", 7);
	MUST(shutdown(p[0], SHUT_WR));
	drain("answer", p[0]);
	reap(child);
}

/* Who writes to a peer that is gone hears of it, not by the first write. */
CASE(write_to_the_gone)
{
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(close(p[1]));
	await(p[0], POLLRDHUP);
	tell("first", write(p[0], "x", 1));
	await(p[0], POLLERR);
	tell_error("SO_ERROR", p[0]);
	tell("second", write(p[0], "x", 1));
	tell_events("now", poll_now(p[0]));
}

CASE(error_is_told_once)
{
	int p[2];
	char c;

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	linger(p[1], 1, 0);
	MUST(close(p[1]));
	await(p[0], POLLERR);
	tell_error("SO_ERROR", p[0]);
	tell_error("again", p[0]);
	tell_events("now", poll_now(p[0]));
	tell("read", read(p[0], &c, 1));
	tell("write", write(p[0], "x", 1));
}

CASE(error_by_write)
{
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	linger(p[1], 1, 0);
	MUST(close(p[1]));
	await(p[0], POLLERR);
	tell("write", write(p[0], "x", 1));
	tell_error("SO_ERROR", p[0]);
	tell("write", write(p[0], "x", 1));
}

/* A blocked reader and a blocked writer learn of a reset, one by its error, the other as after it.
 */
CASE(reset_wakes_poller)
{
	int p[2], ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = 0};

	make_pair(p);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	linger(p[1], 1, 0);
	MUST(close(p[1]));
	say("epoll %d", MUST(epoll_wait(ep, &e, 1, -1)));
	tell_events("though nothing was wanted", e.events);
}

CASE(killed_peer)
{
	int p[2], status;
	pid_t child;
	char c;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		write_all(p[1], "x", 1);
		pause();
	}
	MUST(close(p[1]));
	read_all(p[0], &c, 1);
	MUST(kill(child, SIGKILL));
	MUST(waitpid(child, &status, 0));
	tell("end", read(p[0], &c, 1));
}

CASE(killed_peer_with_unread)
{
	int p[2], status;
	pid_t child;
	char c;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		await(p[1], POLLIN);
		write_all(p[1], "x", 1);
		pause();
	}
	MUST(close(p[1]));
	write_all(p[0], "unread", 6);
	read_all(p[0], &c, 1);
	MUST(kill(child, SIGKILL));
	MUST(waitpid(child, &status, 0));
	await(p[0], POLLERR);
	tell("reset", read(p[0], &c, 1));
}

CASE(shutdown_arguments)
{
	int p[2];

	make_pair(p);
	tell("3", shutdown(p[0], 3));
	tell("-1", shutdown(p[0], -1));
	tell("no descriptor", shutdown(9999, SHUT_WR));
	tell("no socket", shutdown(MUST(eventfd(0, 0)), SHUT_WR));
	tell("twice", shutdown(p[0], SHUT_WR));
	tell("twice", shutdown(p[0], SHUT_WR));
	tell("and read", shutdown(p[0], SHUT_RD));
}

/* A connection that is closed while it is being opened leaves nothing. */
CASE(closed_while_connecting)
{
	int l = listener(0);

	for (int i = 0; i < 30; i++) {
		int c = stream_socket(SOCK_NONBLOCK), a;
		char octet;

		if (connect_at(c, name_of(l)) < 0 && errno != EINPROGRESS)
			tell("connect", -1);
		MUST(close(c));
		nonblocking(l, true);
		a = accept(l, NULL, NULL); /* it may have been fast enough */
		nonblocking(l, false);
		if (a >= 0 && read(a, &octet, 1) > 0)
			say("an octet of nobody");
		if (a >= 0)
			MUST(close(a));
	}
	say("30 times");
}
