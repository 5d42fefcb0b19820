/* descriptors: dup in all forms, closing in all forms, and numbers that programs count on. */
#include "cases.h"

CASE(dup)
{
	char buf[8];
	int p[2], a, b;

	make_pair(p);
	a = MUST(dup(p[1]));
	b = MUST(fcntl(p[1], F_DUPFD_CLOEXEC, 50));
	say("dup above 50: %d", b >= 50);
	MUST(close(p[1]));
	write_all(p[0], "xyz", 3);
	tell("dup reads", read(a, buf, 1));
	tell("other dup reads", read(b, buf, 1));
	nonblocking(a, true);
	tell("last octet", read(b, buf, 1));
	tell("flags are shared", read(b, buf, 1));
	nonblocking(b, false);
	MUST(close(a));
	write_all(p[0], "1", 1);
	tell("still open", read(b, buf, 1));
	MUST(close(b));
	tell("end only now", read(p[0], buf, 1));
	MUST(close(p[0]));
}

/* dup2 closes its target. */
CASE(dup2_over_socket)
{
	char buf[8];
	int p[2], q[2];

	make_pair(p);
	make_pair(q);
	MUST(dup2(p[1], q[1]));
	tell("peer of the target", read(q[0], buf, 1));
	write_all(p[0], "n", 1);
	tell("target is the other now", read(q[1], buf, 1));
	tell("dup2 of nothing", dup2(900, q[1]));
	tell("dup2 onto itself", dup2(q[1], q[1]) == q[1]);
	write_all(q[1], "back", 4);
	tell("still works", read(p[0], buf, sizeof buf));
	tell("dup3 onto itself", dup3(q[1], q[1], 0));
	MUST(close(p[0]));
	MUST(close(p[1]));
	tell("one copy left", write(q[1], "x", 1));
}

CASE(lowest_number)
{
	int q[2], a;

	make_pair(q);
	MUST(close(q[0]));
	a = stream_socket(0);
	say("lowest free number: %d", a == q[0]);
}

/* Daemons close everything above some number; their own sockets below live on. */
CASE(close_everything_above)
{
	char buf[8];
	int p[2];

	make_pair(p);
	for (int fd = 100; fd < 4200; fd++)
		close(fd);
	MUST(close_range(200, ~0u, 0));
	write_all(p[0], "still", 5);
	tell("after closing all", read(p[1], buf, 5));
}

CASE(dup2_over_everything_above)
{
	char buf[8];
	int p[2], b, c;

	make_pair(p);
	for (int fd = 700; fd < 1100; fd += 1)
		if (dup2(0, fd) != fd)
			say("dup2 to %d failed", fd);
	for (int fd = 3900; fd < 4200; fd += 1)
		if (dup2(0, fd) != fd)
			say("dup2 to %d failed", fd);
	write_all(p[0], "again", 5);
	tell("after dup2 over all", read(p[1], buf, 5));
	c = connect_to((b = listener(0)));
	say("new connection: %d", c >= 0);
	closefrom(c);
	tell("closed", read(c, buf, 1));
	tell("close twice", close(c));
}
