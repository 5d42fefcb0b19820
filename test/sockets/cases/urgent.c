/* urgent: MSG_OOB, the mark, SO_OOBINLINE and POLLPRI. */
#include "cases.h"

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

CASE(out_of_line)
{
	int p[2];

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
	await(p[1], POLLIN); /* what is behind the mark was not counted as unread */
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

CASE(passed_over)
{
	int p[2];

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

CASE(in_line)
{
	int p[2], on = 1;

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
CASE(twice)
{
	int p[2];

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

CASE(selected)
{
	struct timeval soon = {.tv_sec = 50};
	struct epoll_event e = {.events = EPOLLPRI};
	fd_set except;
	int p[2], set = MUST(epoll_create1(0));

	make_pair(p);
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, p[1], &e));
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 0)));
	tell("send", send(p[0], "!", 1, MSG_OOB));
	FD_ZERO(&except);
	FD_SET(p[1], &except);
	say("select %d %d", MUST(select(p[1] + 1, NULL, NULL, &except, &soon)),
	    FD_ISSET(p[1], &except) != 0);
	say("epoll %d", MUST(epoll_wait(set, &e, 1, 50000)));
	tell_events("epoll", e.events);
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(set));
}

static volatile sig_atomic_t urgs, ios;

static void on_signal(int sig)
{
	if (sig == SIGURG)
		urgs++;
	else
		ios++;
}

static bool arrives(volatile sig_atomic_t *count, int than)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; i < 50000 && *count <= than; i++)
		nanosleep(&pause, NULL);
	return *count > than;
}

static void settled(void)
{
	struct timespec pause = {.tv_nsec = 50000000};

	nanosleep(&pause, NULL);
}

/* The owner of a socket hears of an urgent octet, and with O_ASYNC of everything. */
CASE(signalled)
{
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct f_owner_ex self = {.type = F_OWNER_PID, .pid = getpid()};
	int p[2], l, fd, on = 1, owner = getpid(), before;
	pid_t pid;
	char c;

	MUST(sigaction(SIGURG, &act, NULL));
	MUST(sigaction(SIGIO, &act, NULL));
	make_pair(p);
	tell("send", send(p[0], "a", 1, MSG_OOB));
	await(p[1], POLLPRI);
	settled();
	say("without an owner: %d", (int)urgs);
	tell("own", fcntl(p[1], F_SETOWN, getpid()));
	say("owner is this process: %d", MUST(fcntl(p[1], F_GETOWN)) == getpid());
	tell("send", send(p[0], "b", 1, MSG_OOB));
	say("SIGURG %d", arrives(&urgs, 0));
	write_all(p[0], "x", 1);
	settled();
	say("SIGIO %d", (int)ios);
	tell("async", fcntl(p[1], F_SETFL, O_ASYNC));
	write_all(p[0], "x", 1);
	say("SIGIO %d", arrives(&ios, 0));
	on = 0;
	tell("not async", ioctl(p[1], FIOASYNC, &on));
	settled();
	before = ios;
	write_all(p[0], "x", 1);
	settled();
	say("no more SIGIO: %d", ios - before);
	tell("no owner", fcntl(p[1], F_SETOWN, 0));
	settled();
	before = urgs;
	tell("send", send(p[0], "c", 1, MSG_OOB));
	settled();
	say("no more SIGURG: %d", urgs - before);

	/* A child that has the socket from its parent, as a server's does. */
	pid = MUST(fork());
	if (pid == 0) {
		urgs = 0;
		MUST(fcntl(p[1], F_SETOWN_EX,
			   &(struct f_owner_ex){.type = F_OWNER_PID, .pid = getpid()}));
		tell("send", send(p[0], "d", 1, MSG_OOB));
		say("child's SIGURG %d", arrives(&urgs, 0));
		_exit(0);
	}
	reap(pid);
	say("not the parent's: %d", urgs - before);
	MUST(close(p[0]));
	MUST(close(p[1]));

	/* Before it listens, and before it connects. */
	l = MUST(socket(family, SOCK_STREAM, 0));
	struct sockaddr_storage at = make_address(0);
	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(ioctl(l, FIOSETOWN, &owner));
	on = 1;
	MUST(ioctl(l, FIOASYNC, &on));
	MUST(listen(l, 8));
	settled();
	before = ios;
	fd = MUST(socket(family, SOCK_STREAM, 0));
	MUST(fcntl(fd, F_SETOWN_EX, &self));
	at = name_of(l);
	MUST(connect(fd, (struct sockaddr *)&at, sizeof at));
	say("listener's SIGIO %d", arrives(&ios, before));
	p[0] = MUST(accept(l, NULL, NULL));
	before = urgs;
	tell("send", send(p[0], "e", 1, MSG_OOB));
	say("SIGURG %d", arrives(&urgs, before));
	tell("read", recv(fd, &c, 1, MSG_OOB));
	MUST(close(p[0]));
	MUST(close(fd));
	MUST(close(l));
}
