/* threads: one socket used by several threads at once, and ended under a blocked one. */
#include "cases.h"

#define WRITERS 4
#define EACH 2000

static int p[2];

static void *writer(void *arg)
{
	uint32_t record[4] = {(uint32_t)(uintptr_t)arg};

	for (uint32_t i = 0; i < EACH; i++) {
		record[1] = i;
		/* A write this small is not torn apart by another. */
		if (MUST(write(p[0], record, sizeof record)) != sizeof record)
			say("short write");
	}
	return NULL;
}

/* call is what a thread blocks in. */
struct call {
	int fd;
	pid_t tid;
	pthread_t thread;
};

/* block starts a thread and returns when it sleeps. */
static void block(struct call *c, int fd, void *(*f)(void *))
{
	c->fd = fd;
	c->tid = 0;
	pthread_create(&c->thread, NULL, f, c);
	asleep(&c->tid);
}

static void *blocked(void *arg)
{
	struct call *call = arg;
	char c;
	ssize_t n;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_RELEASE);
	n = read(call->fd, &c, 1);

	say("blocked read: %s", n < 0 ? strerrorname_np(errno) : n == 0 ? "end" : "data");
	return NULL;
}

static void *blocked_writer(void *arg)
{
	struct call *call = arg;
	static char big[1 << 16];
	ssize_t n;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_RELEASE);
	while ((n = send(call->fd, big, sizeof big, MSG_NOSIGNAL)) == sizeof big)
		;
	say("blocked write ended: %d", n < (ssize_t)sizeof big);
	return NULL;
}

CASE(writers)
{
	pthread_t thread[WRITERS];
	uint32_t record[4], next[WRITERS] = {0};

	make_pair(p);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	for (int i = 0; i < WRITERS * EACH; i++) {
		read_all(p[1], record, sizeof record);
		if (record[0] >= WRITERS || record[1] != next[record[0]]++) {
			say("record out of order");
			return;
		}
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	say("%d records in order", WRITERS * EACH);
}

CASE(shutdown_under_read)
{
	struct call call;

	make_pair(p);
	block(&call, p[1], blocked);
	MUST(shutdown(p[1], SHUT_RD));
	pthread_join(call.thread, NULL);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

static void reset(int fd)
{
	struct linger hard = {.l_onoff = 1};

	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	MUST(close(fd));
}

CASE(reset_under_read)
{
	struct call call;

	make_pair(p);
	block(&call, p[1], blocked);
	reset(p[0]);
	pthread_join(call.thread, NULL);
	MUST(close(p[1]));
}

/* A call that is under way keeps the socket though its descriptor is closed. */
CASE(close_under_read)
{
	struct call call;
	char c;

	make_pair(p);
	block(&call, p[1], blocked);
	MUST(close(p[1]));
	write_all(p[0], "x", 1);
	pthread_join(call.thread, NULL);
	tell("peer", read(p[0], &c, 1));
	MUST(close(p[0]));
}

CASE(reset_under_write)
{
	struct call call;

	make_pair(p);
	block(&call, p[0], blocked_writer);
	reset(p[1]);
	pthread_join(call.thread, NULL);
	MUST(close(p[0]));
}
