/* shared: threads that share one epoll set. None may sleep through what is for it. */
#include "cases.h"

static int ep;
static pid_t sleeper[2];
static int took[2]; /* pipe: which event a thread got */

/* take_one reports one event and is not seen in epoll_wait again until all are done. */
static void *take_one(void *arg)
{
	struct epoll_event e;

	__atomic_store_n((pid_t *)arg, gettid(), __ATOMIC_RELEASE);
	if (epoll_wait(ep, &e, 1, -1) != 1)
		e.data.u32 = 99;
	write_all(took[1], &e.data.u32, sizeof e.data.u32);
	return NULL;
}

static uint32_t taken(void)
{
	uint32_t which;

	read_all(took[0], &which, sizeof which);
	return which;
}

static void add(int fd, uint32_t events, uint32_t which)
{
	struct epoll_event e = {.events = events, .data.u32 = which};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static void start(pthread_t thread[2], int n)
{
	for (int i = 0; i < n; i++) {
		sleeper[i] = 0;
		pthread_create(&thread[i], NULL, take_one, &sleeper[i]);
	}
	for (int i = 0; i < n; i++)
		asleep(&sleeper[i]);
}

static void finish(pthread_t thread[2], int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	MUST(close(ep));
}

/* The first connection comes into the set while a thread sleeps on it. */
CASE(first_while_asleep)
{
	pthread_t thread[2];
	int p[2];

	MUST(pipe(took));
	ep = MUST(epoll_create1(0));
	make_pair(p);
	start(thread, 1);
	add(p[1], EPOLLIN, 7);
	write_all(p[0], "x", 1);
	say("added: %u", taken());
	finish(thread, 1);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

/* Two threads sleep. The one that wakes first stays away: the other has to hear of what follows. */
static void one_after_another(uint32_t mode)
{
	pthread_t thread[2];
	int p[2][2];

	MUST(pipe(took));
	ep = MUST(epoll_create1(0));
	for (uint32_t i = 0; i < 2; i++) {
		make_pair(p[i]);
		add(p[i][1], EPOLLIN | mode, i);
	}
	start(thread, 2);
	for (int i = 0; i < 2; i++) {
		write_all(p[i][0], "x", 1);
		say("event of %u", taken());
	}
	finish(thread, 2);
	for (int i = 0; i < 2; i++) {
		MUST(close(p[i][0]));
		MUST(close(p[i][1]));
	}
}

CASE(one_after_another_edge)
{
	one_after_another(EPOLLET);
}

CASE(one_after_another_once)
{
	one_after_another(EPOLLONESHOT);
}
