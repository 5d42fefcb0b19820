/*
 * lost: what a program sees when toed ends under its connections, and when another toed comes.
 * It waits in every way at once, says "ready", and goes on when it reads a line.
 */
#include "../cases/cases.h"

static int p[4][2];

static void *in_read(void *arg)
{
	char c;

	(void)arg;
	tell("read", read(p[0][1], &c, 1));
	return NULL;
}

static void *in_poll(void *arg)
{
	struct pollfd v = {.fd = p[1][1], .events = POLLIN};

	(void)arg;
	tell("poll", poll(&v, 1, -1));
	tell_events("events", (unsigned short)v.revents);
	return NULL;
}

static void *in_epoll(void *arg)
{
	int ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP};

	(void)arg;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[2][1], &e));
	tell("epoll", epoll_wait(ep, &e, 1, -1));
	tell_events("events", e.events);
	return NULL;
}

static void *in_write(void *arg)
{
	static char big[1 << 20];

	(void)arg;
	while (send(p[3][1], big, sizeof big, MSG_NOSIGNAL) > 0)
		;
	tell("write", -1);
	return NULL;
}

CASE(lost)
{
	static void *(*const ways[])(void *) = {in_read, in_poll, in_epoll, in_write};
	pthread_t thread[4];
	char line[16], c;
	int any = MUST(socket(family, SOCK_STREAM, 0)), q[2];

	MUST(bind_to(any, any_address(0)));
	MUST(listen(any, 5));
	for (int i = 0; i < 4; i++)
		make_pair(p[i]);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, ways[i], NULL);
	say("ready");
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	tell("write afterwards", send(p[0][0], "x", 1, MSG_NOSIGNAL));
	tell("close", close(p[0][0]));

	/* The kernel's sockets go on: this listener is one too. */
	q[0] = MUST(socket(family, SOCK_STREAM, 0));
	MUST(connect_at(q[0], loopback_address(port_of(any))));
	q[1] = MUST(accept(any, NULL, NULL));
	write_all(q[0], "x", 1);
	tell("over the kernel", read(q[1], &c, 1));
	/* Asking in vain must not keep the library from asking again. */
	tell("bind without toed", bind_to(stream_socket(0), make_address(0)));
	/* The second time nobody is waiting when toed ends, so that it is noticed only now. */
	for (int i = 0; i < 2; i++) {
		say("waiting");
		if (!fgets(line, sizeof line, stdin))
			_exit(1);
		make_pair(q);
		write_all(q[0], "y", 1);
		tell("over the new toed", read(q[1], &c, 1));
	}
}
