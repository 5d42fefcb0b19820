/* forks: sockets that several processes hold, and listeners that several accept from. */
#include "cases.h"

#define WORKERS 3
#define REQUESTS 30

CASE(shared_connection)
{
	char buf[16];
	int p[2];
	pid_t child;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		write_all(p[1], "child", 5);
		read_all(p[1], buf, 2);
		say("child read %.2s", buf);
		_exit(0);
	}
	read_all(p[0], buf, 5);
	say("parent read %.5s", buf);
	write_all(p[0], "ok", 2);
	reap(child);
	/* The child's end closes nothing: we hold the socket too. */
	write_all(p[1], "parent", 6);
	read_all(p[0], buf, 6);
	say("parent read %.6s", buf);
	MUST(close(p[1]));
	tell("end", read(p[0], buf, 1));
	MUST(close(p[0]));
}

/* The parent leaves the connection to the child; its end comes with the child's. */
static void handed_down(bool killed)
{
	char buf[16];
	int p[2];
	pid_t child;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		read_all(p[1], buf, 2);
		write_all(p[1], "bye", 3);
		if (killed)
			raise(SIGKILL);
		exit(0);
	}
	MUST(close(p[1]));
	write_all(p[0], "go", 2);
	read_all(p[0], buf, 3);
	MUST(waitpid(child, NULL, 0));
	tell(killed ? "child killed" : "child gone", read(p[0], buf, 1));
	MUST(close(p[0]));
}

static void worker(int l)
{
	char c;
	int ep = MUST(epoll_create1(0)), fd;
	struct epoll_event e = {.events = EPOLLIN};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
	for (;;) {
		MUST(epoll_wait(ep, &e, 1, -1));
		fd = accept(l, NULL, NULL);
		if (fd < 0 && errno == EAGAIN)
			continue; /* another worker was faster */
		MUST(fd);
		nonblocking(fd, false);
		read_all(fd, &c, 1);
		if (c == 'q')
			_exit(0);
		c++;
		write_all(fd, &c, 1);
		MUST(close(fd));
	}
}

CASE(preforked)
{
	int l = listener(SOCK_NONBLOCK), fd, served = 0;
	pid_t child[WORKERS];
	char c;

	for (int i = 0; i < WORKERS; i++) {
		child[i] = MUST(fork());
		if (child[i] == 0)
			worker(l);
	}
	for (int i = 0; i < REQUESTS; i++) {
		fd = connect_to(l);
		write_all(fd, "a", 1);
		read_all(fd, &c, 1);
		served += c == 'b';
		tell("end", read(fd, &c, 1));
		MUST(close(fd));
	}
	say("served %d", served);
	for (int i = 0; i < WORKERS; i++) {
		fd = connect_to(l);
		write_all(fd, "q", 1);
		tell("last one", read(fd, &c, 1));
		MUST(close(fd));
	}
	for (int i = 0; i < WORKERS; i++)
		reap(child[i]);
	MUST(close(l));
}

/* An epoll set that a child goes on to use. */
CASE(inherited_set)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 1};
	int p[2], q[2], ep = MUST(epoll_create1(0));
	char buf[4];
	pid_t child;

	make_pair(p);
	MUST(pipe(q));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
	e.data.u32 = 2;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, q[0], &e));
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		for (int i = 0; i < 2; i++) {
			tell("child waits", epoll_wait(ep, &e, 1, 50000));
			say("data %u", e.data.u32);
			read_all(e.data.u32 == 1 ? p[1] : q[0], buf, 1);
			if (i == 0)
				write_all(p[1], "n", 1);
		}
		_exit(0);
	}
	write_all(p[0], "x", 1);
	read_all(p[0], buf, 1);
	write_all(q[1], "x", 1);
	reap(child);
	tell("parent's set is quiet", epoll_wait(ep, &e, 1, 0));
	write_all(p[0], "y", 1);
	tell("parent waits", epoll_wait(ep, &e, 1, 50000));
	say("data %u", e.data.u32);
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(ep));
}

/* A child made by vfork or posix_spawn changes descriptors before it runs another program. */
CASE(spawned)
{
	char buf[32];
	int p[2];
	pid_t child;

	make_pair(p);
	child = vfork();
	if (child == 0) {
		dup2(p[1], 1);
		close(p[0]);
		close(p[1]);
		execlp("true", "true", (char *)NULL);
		_exit(1);
	}
	reap(child);
	write_all(p[0], "vfork", 5);
	read_all(p[1], buf, 5);
	say("after vfork: %.5s", buf);
	fflush(stdout);
	if (system("true") != 0)
		say("system failed");
	write_all(p[1], "system", 6);
	read_all(p[0], buf, 6);
	say("after system: %.6s", buf);
	MUST(close(p[1]));
	tell("end", read(p[0], buf, 1));
	MUST(close(p[0]));
}

CASE(handed_down_to_exit)
{
	handed_down(false);
}

CASE(handed_down_to_killed)
{
	handed_down(true);
}
