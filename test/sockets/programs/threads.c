/* threads: one socket used by several threads at once, and ended under a blocked one. */
#include "programs.h"

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

static void *blocked(void *arg)
{
	char c;
	ssize_t n = read(*(int *)arg, &c, 1);

	say("blocked read: %s", n < 0 ? strerrorname_np(errno) : n == 0 ? "end" : "data");
	return NULL;
}

static void *blocked_writer(void *arg)
{
	static char big[1 << 16];
	ssize_t n;

	while ((n = send(*(int *)arg, big, sizeof big, MSG_NOSIGNAL)) == sizeof big)
		;
	say("blocked write ended: %d", n < (ssize_t)sizeof big);
	return NULL;
}

static void test(void)
{
	pthread_t thread[WRITERS];
	uint32_t record[4], next[WRITERS] = {0};
	struct timespec pause = {.tv_nsec = 30000000};
	struct linger hard = {.l_onoff = 1};

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

	pthread_create(&thread[0], NULL, blocked, &p[1]);
	nanosleep(&pause, NULL);
	MUST(shutdown(p[1], SHUT_RD));
	pthread_join(thread[0], NULL);
	MUST(close(p[0]));
	MUST(close(p[1]));

	make_pair(p);
	pthread_create(&thread[0], NULL, blocked, &p[1]);
	nanosleep(&pause, NULL);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	MUST(close(p[0]));
	pthread_join(thread[0], NULL);
	MUST(close(p[1]));

	/* A call that is under way keeps the socket though its descriptor is closed. */
	make_pair(p);
	pthread_create(&thread[0], NULL, blocked, &p[1]);
	nanosleep(&pause, NULL);
	MUST(close(p[1]));
	write_all(p[0], "x", 1);
	pthread_join(thread[0], NULL);
	tell("peer", read(p[0], record, 1));
	MUST(close(p[0]));

	make_pair(p);
	pthread_create(&thread[0], NULL, blocked_writer, &p[0]);
	nanosleep(&pause, NULL);
	MUST(setsockopt(p[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	MUST(close(p[1]));
	pthread_join(thread[0], NULL);
	MUST(close(p[0]));
}
