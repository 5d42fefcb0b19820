/* urgent: MSG_OOB, the mark, SO_OOBINLINE and POLLPRI. */
#include "programs.h"

static void settle(int fd, int unread)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int n = -1;

	for (int i = 0; i < 5000 && n != unread; i++) {
		MUST(ioctl(fd, FIONREAD, &n));
		nanosleep(&pause, NULL);
	}
	say("unread %d", n);
}

static void tell_mark(int fd)
{
	say("at mark %d", MUST(sockatmark(fd)));
}

static void tell_text(const char *what, int fd, int flags)
{
	char buf[32] = "";
	ssize_t n = recv(fd, buf, sizeof buf - 1, flags | MSG_DONTWAIT);

	if (n < 0)
		say("%s: %s", what, strerrorname_np(errno));
	else
		say("%s: \"%.*s\"", what, (int)n, buf);
}

static void out_of_line(void)
{
	int p[2];

	say("-- out of line");
	make_pair(p);
	tell_text("none", p[1], MSG_OOB);
	tell_events("none", poll_now(p[1]));
	write_all(p[0], "abc", 3);
	tell("send", send(p[0], "deX", 3, MSG_OOB));
	await(p[1], POLLPRI);
	write_all(p[0], "fg", 2);
	settle(p[1], 5);
	tell_events("urgent", poll_now(p[1]));
	tell_mark(p[1]);
	tell_text("peek", p[1], MSG_OOB | MSG_PEEK);
	tell_text("to the mark", p[1], 0);
	tell_mark(p[1]);
	tell_events("at the mark", poll_now(p[1]));
	tell_text("the octet", p[1], MSG_OOB);
	tell_text("the octet again", p[1], MSG_OOB);
	tell_events("taken", poll_now(p[1]));
	tell_mark(p[1]);
	tell_text("behind", p[1], 0);
	tell_mark(p[1]);
	tell_text("behind, the octet", p[1], MSG_OOB);
	tell_text("nothing", p[1], 0);
	tell_events("nothing", poll_now(p[1]));
	MUST(close(p[0]));
	MUST(close(p[1]));
}

static void passed_over(void)
{
	int p[2];

	say("-- passed over");
	make_pair(p);
	tell("send", send(p[0], "U", 1, MSG_OOB));
	await(p[1], POLLPRI);
	tell_events("only the octet", poll_now(p[1]));
	tell_mark(p[1]);
	tell_text("read", p[1], 0);
	write_all(p[0], "text", 4);
	await(p[1], POLLIN);
	tell_text("read", p[1], 0);
	tell_text("the octet", p[1], MSG_OOB);
	tell_events("over", poll_now(p[1]));
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	tell_text("end", p[1], 0);
	MUST(close(p[1]));
}

static void in_line(void)
{
	int p[2], on = 1;

	say("-- in line");
	make_pair(p);
	MUST(setsockopt(p[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	tell("send", send(p[0], "abU", 3, MSG_OOB));
	await(p[1], POLLPRI);
	write_all(p[0], "cd", 2);
	settle(p[1], 5);
	tell_text("the octet", p[1], MSG_OOB);
	tell_text("to the mark", p[1], MSG_WAITALL);
	tell_mark(p[1]);
	tell_text("from the mark", p[1], 0);
	tell_mark(p[1]);
	tell_events("over", poll_now(p[1]));
	MUST(close(p[0]));
	MUST(close(p[1]));
}

/* A mark that is overtaken by another is forgotten: its octet is one of the stream. */
static void twice(void)
{
	int p[2];

	say("-- twice");
	make_pair(p);
	tell("send", send(p[0], "aU", 2, MSG_OOB));
	await(p[1], POLLPRI);
	tell("send", send(p[0], "bV", 2, MSG_OOB));
	settle(p[1], 3);
	tell_text("read", p[1], 0);
	tell_text("the octet", p[1], MSG_OOB);
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	tell_text("end", p[1], 0);
	MUST(close(p[1]));
}

static void selected(void)
{
	struct timeval soon = {.tv_sec = 5};
	struct epoll_event e = {.events = EPOLLPRI};
	fd_set except;
	int p[2], set = MUST(epoll_create1(0));

	say("-- select and epoll");
	make_pair(p);
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, p[1], &e));
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 0)));
	tell("send", send(p[0], "!", 1, MSG_OOB));
	FD_ZERO(&except);
	FD_SET(p[1], &except);
	say("select %d %d", MUST(select(p[1] + 1, NULL, NULL, &except, &soon)),
	    FD_ISSET(p[1], &except) != 0);
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 5000)));
	tell_events("epoll", e.events);
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(set));
}

static void test(void)
{
	out_of_line();
	passed_over();
	in_line();
	twice();
	selected();
}
