/*
 * home: servers that wait for connections for ever, each in a way of its own, and answer each with
 * the name of that way. toed may come and go meanwhile; they do nothing about it.
 */
#include "../cases/cases.h"

#include <sys/prctl.h>

static void answer(int l, const char *name)
{
	int fd = accept(l, NULL, NULL);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR)
			tell(name, -1);
		return;
	}
	(void)!send(fd, name, strlen(name), MSG_NOSIGNAL);
	MUST(close(fd));
}

static void in_accept(int l, const char *name)
{
	for (;;)
		answer(l, name);
}

static void in_poll(int l, const char *name)
{
	struct pollfd p = {.fd = l, .events = POLLIN};

	nonblocking(l, true);
	for (;;) {
		MUST(poll(&p, 1, -1));
		answer(l, name);
	}
}

static void in_select(int l, const char *name)
{
	fd_set r;

	nonblocking(l, true);
	for (;;) {
		FD_ZERO(&r);
		FD_SET(l, &r);
		MUST(select(l + 1, &r, NULL, NULL, NULL));
		answer(l, name);
	}
}

static int set_with(int l, unsigned events)
{
	int ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = events, .data.u64 = 7};

	nonblocking(l, true);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
	return ep;
}

static void in_epoll(int l, const char *name)
{
	int ep = set_with(l, EPOLLIN);
	struct epoll_event e;

	for (;;) {
		MUST(epoll_wait(ep, &e, 1, -1));
		if (e.data.u64 != 7)
			say("%s: data %llu", name, (unsigned long long)e.data.u64);
		answer(l, name);
	}
}

static void in_epoll_once(int l, const char *name)
{
	int ep = set_with(l, EPOLLIN | EPOLLONESHOT);
	struct epoll_event e;

	for (;;) {
		MUST(epoll_wait(ep, &e, 1, -1));
		answer(l, name);
		e.events = EPOLLIN | EPOLLONESHOT;
		MUST(epoll_ctl(ep, EPOLL_CTL_MOD, l, &e));
	}
}

static void in_poll_of_epoll(int l, const char *name)
{
	int ep = set_with(l, EPOLLIN | EPOLLET);
	struct pollfd p = {.fd = ep, .events = POLLIN};
	struct epoll_event e;

	for (;;) {
		MUST(poll(&p, 1, -1));
		for (int n = MUST(epoll_wait(ep, &e, 1, 0)); n > 0; n--)
			for (int i = 0; i < 4; i++)
				answer(l, name);
	}
}

static const struct way {
	const char *name;
	void (*run)(int l, const char *name);
	int processes;
} ways[] = {
	{"accept", in_accept, 1},
	{"poll", in_poll, 1},
	{"select", in_select, 1},
	{"epoll", in_epoll, 1},
	{"epoll once", in_epoll_once, 1},
	{"poll of epoll", in_poll_of_epoll, 1},
	{"accept in three processes", in_accept, 3},
	{"epoll in three processes", in_epoll, 3},
};

static int sockets[sizeof ways / sizeof *ways];

static void *run_thread(void *arg)
{
	const struct way *w = arg;

	w->run(sockets[w - ways], w->name);
	return NULL;
}

CASE(home)
{
	const size_t n = sizeof ways / sizeof *ways;
	pthread_t thread;
	char line[8];

	setpgid(0, 0);
	for (size_t i = 0; i < n; i++) {
		sockets[i] = MUST(socket(family, SOCK_STREAM, 0));
		MUST(bind_to(sockets[i], any_address(0)));
		MUST(listen(sockets[i], 64));
		say("%d %s", port_of(sockets[i]), ways[i].name);
	}
	for (size_t i = 0; i < n; i++)
		for (int k = 0; ways[i].processes > 1 && k < ways[i].processes; k++)
			if (MUST(fork()) == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				run_thread((void *)&ways[i]);
			}
	for (size_t i = 0; i < n; i++)
		if (ways[i].processes == 1)
			pthread_create(&thread, NULL, run_thread, (void *)&ways[i]);
	say("ready");
	(void)!fgets(line, sizeof line, stdin);
	kill(0, SIGKILL);
}
