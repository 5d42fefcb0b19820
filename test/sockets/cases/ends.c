/* ends: half-close, reset, EPIPE and SIGPIPE, and the poll masks on the way. */
#include "cases.h"

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void count_pipes(void)
{
	struct sigaction a = {.sa_handler = on_pipe};

	MUST(sigaction(SIGPIPE, &a, NULL));
}

CASE(half_close)
{
	char buf[8];
	int p[2];

	count_pipes();
	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	tell_events("peer closed its half", poll_now(p[1]));
	tell_events("we closed ours", poll_now(p[0]));
	tell("write after SHUT_WR", write(p[0], "x", 1));
	say("signals %d", (int)pipes);
	tell("with MSG_NOSIGNAL", send(p[0], "x", 1, MSG_NOSIGNAL));
	say("signals %d", (int)pipes);
	write_all(p[1], "late", 4);
	tell("other half", read(p[0], buf, sizeof buf));
	tell("end", read(p[1], buf, sizeof buf));
	MUST(shutdown(p[1], SHUT_WR));
	await(p[0], POLLHUP);
	tell_events("both closed", poll_now(p[0]));
	await(p[1], POLLHUP);
	tell("end of the first", read(p[0], buf, sizeof buf));
	MUST(close(p[0]));
	MUST(close(p[1]));
}

static void reset(const char *how, bool unread)
{
	struct linger hard = {.l_onoff = 1};
	char buf[8];
	int p[2], e;
	socklen_t len = sizeof e;

	say("-- %s", how);
	make_pair(p);
	write_all(p[0], "data", 4);
	await(p[1], POLLIN);
	if (!unread) {
		tell("read", read(p[1], buf, sizeof buf));
		MUST(setsockopt(p[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	}
	MUST(close(p[1]));
	await(p[0], POLLERR);
	tell_events("reset", poll_now(p[0]));
	tell("read", read(p[0], buf, sizeof buf));
	tell_events("after the error was read", poll_now(p[0]));
	tell("read again", read(p[0], buf, sizeof buf));
	tell("write", write(p[0], "x", 1));
	say("signals %d", (int)pipes);
	MUST(getsockopt(p[0], SOL_SOCKET, SO_ERROR, &e, &len));
	say("SO_ERROR %d", e);
	tell("shutdown", shutdown(p[0], SHUT_RDWR));
	MUST(close(p[0]));
}

/* Nobody is let in by a listener that is closed: not even for a moment. */
CASE(stopped)
{
	int refused = 0;

	for (int i = 0; i < 50; i++) {
		int l = stream_socket(0), s = stream_socket(0), rc;
		struct sockaddr_storage to =
			make_address(private_port()); /* which s does not get itself */

		MUST(bind_to(l, to));
		MUST(listen(l, 5));
		MUST(close(l));
		rc = connect_at(s, to);
		if (rc < 0 && errno == ECONNREFUSED)
			refused++;
		else
			tell("connect", rc);
		MUST(close(s));
	}
	say("refused %d", refused);
}

CASE(shut_read)
{
	char buf[8];
	int p[2];

	count_pipes();
	make_pair(p);
	MUST(shutdown(p[0], SHUT_RD));
	tell_events("SHUT_RD", poll_now(p[0]));
	tell("read", read(p[0], buf, sizeof buf));
	tell("write", write(p[0], "x", 1));
	tell("peer reads", read(p[1], buf, sizeof buf));
	tell("bad shutdown", shutdown(p[0], 7));
	MUST(close(p[0]));
	tell("end", read(p[1], buf, sizeof buf));
	MUST(close(p[1]));
}

CASE(shutdown_unconnected)
{
	int fd = stream_socket(0);

	for (int how = SHUT_RD; how <= SHUT_RDWR; how++)
		tell("shutdown of nothing", shutdown(fd, how));
	MUST(close(fd));
}

CASE(reset_by_linger)
{
	count_pipes();
	reset("linger 0", false);
}

CASE(reset_by_unread)
{
	count_pipes();
	reset("unread data", true);
}
