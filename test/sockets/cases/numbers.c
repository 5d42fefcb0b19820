/* numbers: which number a descriptor gets, what each call says of a closed one, limits, and what /proc
 * shows. */
#include "cases.h"

#include <sys/resource.h>

CASE(dup_errors)
{
	struct rlimit limit;
	int p[2];

	make_pair(p);
	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	tell("dup of nothing", dup(900));
	tell("dup of -1", dup(-1));
	tell("dup2 to -1", dup2(p[0], -1));
	tell("dup2 beyond the limit", dup2(p[0], (int)limit.rlim_cur));
	tell("dup2 of nothing onto a socket", dup2(900, p[0]));
	tell("dup3 with a wrong flag", dup3(p[0], p[1], O_NONBLOCK));
	tell("dup3 onto itself", dup3(p[0], p[0], O_CLOEXEC));
	tell("F_DUPFD from -1", fcntl(p[0], F_DUPFD, -1));
	tell("F_DUPFD beyond the limit", fcntl(p[0], F_DUPFD, (int)limit.rlim_cur));
	tell("F_DUPFD of nothing", fcntl(900, F_DUPFD, 0));
	write_all(p[0], "x", 1);
	read_up(p[1], 1);
	say("the sockets are as before");
}

CASE(numbers_are_lowest)
{
	int p[2], a, b, l;

	make_pair(p);
	a = MUST(dup(p[0]));
	b = MUST(dup(p[0]));
	say("in a row: %d", b - a);
	MUST(close(a));
	l = listener(0);
	say("the gap is filled: %d", l == a);
	MUST(close(p[0]));
	a = connect_to(l);
	say("by connect's socket: %d", a == p[0]);
	MUST(close(p[1]));
	say("by accept: %d", MUST(accept(l, NULL, NULL)) == p[1]);
	say("F_DUPFD is at least: %d", MUST(fcntl(a, F_DUPFD, b + 7)) == b + 7);
	say("and above what is taken: %d", MUST(fcntl(a, F_DUPFD, b + 7)) == b + 8);
}

static void cloexec(const char *what, int fd)
{
	say("%s: %s", what, MUST(fcntl(fd, F_GETFD)) & FD_CLOEXEC ? "close-on-exec" : "stays");
}

CASE(close_on_exec_is_of_the_number)
{
	int l = listener(SOCK_CLOEXEC), p[2], a, to;

	cloexec("socket with SOCK_CLOEXEC", l);
	p[0] = connect_to(l);
	cloexec("socket", p[0]);
	p[1] = MUST(accept(l, NULL, NULL));
	cloexec("accept of a listener with it", p[1]);
	MUST(close(connect_to(l)));
	a = MUST(accept4(l, NULL, NULL, SOCK_CLOEXEC));
	cloexec("accept4 with it", a);
	to = MUST(dup(a));
	cloexec("dup of that", to);
	MUST(dup2(a, to));
	cloexec("dup2 of that", to);
	MUST(dup3(p[1], to, O_CLOEXEC));
	cloexec("dup3 with it", to);
	cloexec("its source", p[1]);
	cloexec("F_DUPFD", MUST(fcntl(to, F_DUPFD, 0)));
	cloexec("F_DUPFD_CLOEXEC", MUST(fcntl(p[1], F_DUPFD_CLOEXEC, 0)));
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	cloexec("F_SETFD", p[1]);
	MUST(ioctl(p[1], FIONCLEX));
	cloexec("FIONCLEX", p[1]);
	MUST(ioctl(p[1], FIOCLEX));
	cloexec("FIOCLEX", p[1]);
}

static void nonblock(const char *what, int fd)
{
	char c;

	say("%s: %s", what, MUST(fcntl(fd, F_GETFL)) & O_NONBLOCK ? "nonblocking" : "blocking");
	if (MUST(fcntl(fd, F_GETFL)) & O_NONBLOCK)
		tell(what, read(fd, &c, 1));
}

CASE(status_flags_are_of_the_socket)
{
	int p[2], a, on = 1, off = 0;

	make_pair(p);
	a = MUST(dup(p[1]));
	MUST(fcntl(a, F_SETFL, O_NONBLOCK));
	nonblock("F_SETFL of a copy", p[1]);
	MUST(ioctl(p[1], FIONBIO, &off));
	nonblock("FIONBIO of the first", a);
	MUST(ioctl(a, FIONBIO, &on));
	MUST(close(a));
	nonblock("after the copy is closed", p[1]);
	say("access mode: %d", MUST(fcntl(p[1], F_GETFL)) & O_ACCMODE);
	MUST(fcntl(p[1], F_SETFL, 0));
	nonblock("F_SETFL to nothing", p[1]);
}

CASE(nonblock_from_socket_and_accept4)
{
	int l = listener(SOCK_NONBLOCK), a;

	say("listener: %s", fcntl(l, F_GETFL) & O_NONBLOCK ? "nonblocking" : "blocking");
	tell("nobody there", accept(l, NULL, NULL));
	MUST(connect_to(l));
	await(l, POLLIN);
	a = MUST(accept(l, NULL, NULL));
	nonblock("accepted", a);
	MUST(connect_to(l));
	await(l, POLLIN);
	a = MUST(accept4(l, NULL, NULL, SOCK_NONBLOCK));
	nonblock("accepted with SOCK_NONBLOCK", a);
	tell("wrong flag", accept4(l, NULL, NULL, O_APPEND));
}

CASE(closed_number)
{
	struct sockaddr_storage a;
	struct epoll_event e = {.events = EPOLLIN};
	struct iovec iov;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct pollfd poll_fd;
	socklen_t len = sizeof a;
	char c = 0;
	int p[2], v = 1, ep = MUST(epoll_create1(0));
	fd_set set;

	make_pair(p);
	a = name_of(p[0]);
	iov = (struct iovec){&c, 1};
	MUST(close(p[0]));
	tell("close", close(p[0]));
	tell("read", read(p[0], &c, 1));
	tell("write", write(p[0], &c, 1));
	tell("readv", readv(p[0], &iov, 1));
	tell("writev", writev(p[0], &iov, 1));
	tell("recv", recv(p[0], &c, 1, 0));
	tell("send", send(p[0], &c, 1, 0));
	tell("recvmsg", recvmsg(p[0], &m, 0));
	tell("sendmsg", sendmsg(p[0], &m, 0));
	tell("connect", connect_at(p[0], a));
	tell("bind", bind_to(p[0], a));
	tell("listen", listen(p[0], 1));
	tell("accept", accept(p[0], NULL, NULL));
	tell("shutdown", shutdown(p[0], SHUT_WR));
	tell("getsockname", getsockname(p[0], (struct sockaddr *)&a, &len));
	tell("getpeername", getpeername(p[0], (struct sockaddr *)&a, &len));
	len = sizeof v;
	tell("getsockopt", getsockopt(p[0], SOL_SOCKET, SO_ERROR, &v, &len));
	tell("setsockopt", set_int(p[0], IPPROTO_TCP, TCP_NODELAY, 1));
	tell("ioctl", ioctl(p[0], FIONREAD, &v));
	tell("fcntl", fcntl(p[0], F_GETFL));
	tell("dup", dup(p[0]));
	tell("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	tell("sendfile", sendfile(p[0], 0, NULL, 1));
	poll_fd = (struct pollfd){.fd = p[0], .events = POLLIN};
	tell("poll", poll(&poll_fd, 1, 0));
	say("POLLNVAL: %d", poll_fd.revents == POLLNVAL);
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	tell("select", select(p[0] + 1, &set, NULL, NULL, &(struct timeval){0}));
}

CASE(poll_with_a_closed_number_beside)
{
	struct pollfd p[3];
	int c[2];

	make_pair(c);
	write_all(c[1], "x", 1);
	await(c[0], POLLIN);
	p[0] = (struct pollfd){.fd = c[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = 900, .events = POLLIN};
	p[2] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 77};
	tell("poll", poll(p, 3, -1));
	tell_events("socket", (unsigned)p[0].revents);
	say("closed: %d, negative: %d", p[1].revents == POLLNVAL, p[2].revents);
}

CASE(close_range_of_some)
{
	int l = listener(0), fds[6], n = 0;
	char c;

	for (int i = 0; i < 3; i++) {
		fds[i] = connect_to(l);
		fds[i + 3] = MUST(accept(l, NULL, NULL));
	}
	for (int i = 0; i < 3; i++) /* in a row */
		fds[i] = MUST(dup2(fds[i], 500 + i));
	tell("wrong order", close_range(501, 500, 0));
	tell("wrong flag", close_range(500, 501, 64));
	tell("close-on-exec only", close_range(500, 501, 4));
	cloexec("first", 500);
	cloexec("third", 502);
	tell("closed", close_range(500, 501, 0));
	for (int i = 0; i < 3; i++)
		n += fcntl(500 + i, F_GETFD) >= 0;
	say("%d left", n);
	write_all(502, "y", 1);
	tell("the third works", read(fds[5], &c, 1));
	tell("nothing there", close_range(500, 501, 0));
}

CASE(close_everything_and_go_on)
{
	int l, p[2];
	char c;

	make_pair(p);
	tell("close_range", close_range(3, ~0u, 0));
	l = listener(0);
	p[0] = connect_to(l);
	p[1] = MUST(accept(l, NULL, NULL));
	write_all(p[0], "a", 1);
	tell("works", read(p[1], &c, 1));
	closefrom(3);
	tell("closed", write(p[0], "a", 1));
	make_pair(p);
	write_all(p[0], "b", 1);
	tell("works again", read(p[1], &c, 1));
}

/* What daemons did before closefrom. */
CASE(close_each_number)
{
	int p[2], closed = 0;
	char c;

	make_pair(p);
	for (int fd = 3; fd < 5000; fd++)
		closed += close(fd) == 0;
	say("closed: %d", closed);
	make_pair(p);
	write_all(p[0], "b", 1);
	tell("works again", read(p[1], &c, 1));
}

CASE(close_gives_end_to_the_peer)
{
	int p[2], a;
	char c;

	make_pair(p);
	a = MUST(dup(p[0]));
	MUST(close(p[0]));
	quiet("one copy left", p[1]);
	MUST(dup2(2, a));
	await(p[1], POLLRDHUP);
	tell("no copy left", read(p[1], &c, 1));
}

static struct rlimit few(int n)
{
	struct rlimit old, limit;
	int next = MUST(dup(0));

	MUST(close(next));
	MUST(getrlimit(RLIMIT_NOFILE, &old));
	limit = old;
	limit.rlim_cur = (rlim_t)(next + n);
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	return old;
}

CASE(no_number_left)
{
	struct rlimit old;
	int l = listener(0), c = connect_to(l), a, b, d;
	char octet;

	old = few(1);
	a = stream_socket(0);
	tell("socket", socket(family, SOCK_STREAM, 0));
	tell("dup", dup(l));
	tell("accept", accept(l, NULL, NULL));
	tell("epoll_create", epoll_create1(0));
	MUST(close(a));
	b = MUST(accept(l, NULL, NULL));
	say("the connection was kept: %d", a == b);
	write_all(c, "z", 1);
	tell("and works", read(b, &octet, 1));
	MUST(setrlimit(RLIMIT_NOFILE, &old));
	d = stream_socket(0);
	tell("connect", connect_at(d, name_of(l)));
}

CASE(no_number_left_and_nobody_to_accept)
{
	int l = listener(SOCK_NONBLOCK), c = connect_to(l);

	struct rlimit old;

	await(l, POLLIN);
	MUST(close(accept(l, NULL, NULL)));
	old = few(0);
	tell("accept", accept(l, NULL, NULL));
	MUST(close(c));
	tell("accept", accept(l, NULL, NULL));
	MUST(setrlimit(RLIMIT_NOFILE, &old));
}

/* Waiting needs no numbers. */
CASE(waiting_with_no_number_left)
{
	struct rlimit old;
	struct pollfd p[2];
	int l = listener(0), c[2], pipes[2], ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 1};

	c[0] = connect_to(l);
	c[1] = MUST(accept(l, NULL, NULL));
	MUST(pipe(pipes));
	old = few(0);
	tell("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, c[1], &e));
	tell("nothing", epoll_wait(ep, &e, 1, 5));
	p[0] = (struct pollfd){.fd = c[1], .events = POLLIN};
	p[1] = (struct pollfd){.fd = pipes[0], .events = POLLIN};
	tell("nothing", poll(p, 2, 5));
	if (fork() == 0) {
		write_all(c[0], "x", 1);
		_exit(0);
	}
	tell("poll", poll(p, 2, -1));
	tell_events("socket", (unsigned)p[0].revents);
	tell("epoll_wait", epoll_wait(ep, &e, 1, -1));
	wait(NULL);
	MUST(setrlimit(RLIMIT_NOFILE, &old)); /* for a sanitizer's last look */
}

CASE(poll_of_as_many_as_there_may_be)
{
	static struct pollfd p[64];
	struct rlimit limit = {48, 48};
	int c[2], n = 0;

	make_pair(c);
	for (int i = 0; i < 48; i++)
		p[i] = (struct pollfd){.fd = i == 40 ? c[1] : i % 2 ? 0 : -1};
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	p[40].events = POLLIN;
	tell("as many, nothing", poll(p, 48, 5));
	if (fork() == 0) {
		write_all(c[0], "x", 1);
		_exit(0);
	}
	tell("as many", poll(p, 48, -1));
	for (int i = 0; i < 48; i++)
		n += p[i].revents != 0;
	say("ready: %d, ours: %d", n, p[40].revents == POLLIN);
	wait(NULL);
}

CASE(numbers_in_proc)
{
	struct stat a, b, d;
	char path[64], link[64] = {0};
	int p[2], copy;

	make_pair(p);
	copy = MUST(dup(p[0]));
	MUST(fstat(p[0], &a));
	MUST(fstat(copy, &b));
	MUST(fstat(p[1], &d));
	say("a socket: %d, the copy is the same: %d, the peer is not: %d", S_ISSOCK(a.st_mode), a.st_ino == b.st_ino,
	    a.st_ino != d.st_ino);
	snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
	MUST(readlink(path, link, sizeof link - 1));
	say("%.7s", link);
	tell("open in /proc", open(path, O_RDWR));
	snprintf(path, sizeof path, "/dev/fd/%d", p[0]);
	tell("open in /dev/fd", open(path, O_RDWR));
	tell("stat", stat(path, &b));
	say("the same: %d", a.st_ino == b.st_ino);
}

CASE(reused_number_is_another_socket)
{
	int l = listener(0), a, b;
	char c;

	for (int i = 0; i < 50; i++) {
		a = connect_to(l);
		b = MUST(accept(l, NULL, NULL));
		write_all(a, &i, 1);
		MUST(read(b, &c, 1));
		if (c != i)
			say("octet of another: %d", c);
		if (i % 2)
			MUST(close(a));
		else
			MUST(dup2(l, a)); /* the number is the listener's now */
		tell("end", read(b, &c, 1));
		MUST(close(b));
		if (i % 2 == 0)
			MUST(close(a));
	}
}

CASE(high_numbers)
{
	struct rlimit limit;
	int p[2], high;
	char c;

	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	high = limit.rlim_cur > 60000 ? 60000 : (int)limit.rlim_cur - 1;
	make_pair(p);
	MUST(dup2(p[0], high));
	MUST(close(p[0]));
	write_all(high, "h", 1);
	tell("read", read(p[1], &c, 1));
	tell_events("high number", poll_now(high));
	MUST(close(high));
	tell("end", read(p[1], &c, 1));
}
