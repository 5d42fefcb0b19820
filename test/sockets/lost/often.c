/*
 * often: a program that outlives many toeds. It has a listener, a thread that accepts from it, and
 * an epoll set, all from the first to the last. For each line that it reads it makes a connection,
 * waits for it in several ways, sets an option of the listener, and says how many memory files it
 * has.
 */
#include "../cases/cases.h"

#include <sys/epoll.h>

static void *echo(void *arg)
{
	int l = *(int *)arg, fd;
	char c;

	for (;;) {
		fd = MUST(accept(l, NULL, NULL));
		while (read(fd, &c, 1) == 1)
			(void)!send(fd, &c, 1, MSG_NOSIGNAL);
		close(fd);
	}
}

/* The listener comes to a new toed in its own time. */
static int connect_home(int l)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (;;) {
		int fd = stream_socket(0);

		if (connect_at(fd, name_of(l)) == 0)
			return fd;
		MUST(close(fd));
		nanosleep(&pause, NULL);
	}
}

CASE(often)
{
	int l = listener(0), ep = MUST(epoll_create1(0)), other[2], fd;
	struct epoll_event e = {.events = EPOLLIN};
	struct pollfd p[2];
	pthread_t thread;
	char line[16], c;

	MUST(pipe(other));
	pthread_create(&thread, NULL, echo, &l);
	for (int i = 0; fgets(line, sizeof line, stdin); i++) {
		MUST(set_int(l, SOL_SOCKET, SO_RCVBUF, 100000 + i));
		fd = connect_home(l);
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
		write_all(fd, "x", 1);
		MUST(epoll_wait(ep, &e, 1, -1));
		p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		p[1] = (struct pollfd){.fd = other[0], .events = POLLIN};
		MUST(poll(p, 2, -1));
		read_all(fd, &c, 1);
		/* toed may end before it has taken this. */
		MUST(set_int(l, SOL_SOCKET, SO_RCVBUF, 200000 + i));
		MUST(close(fd));
		say("%d", mapped_files());
	}
	_exit(0);
}
