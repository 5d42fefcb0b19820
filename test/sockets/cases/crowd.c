/* crowd: more threads waiting in poll than there are event queues, and many connections at once. */
#include "cases.h"

#define THREADS 90
#define CONNECTIONS 600

static int pair[THREADS][2], other[2];

static void *wait_one(void *arg)
{
	int i = (int)(intptr_t)arg;
	struct pollfd v[2] = {{.fd = other[0], .events = POLLIN},
			      {.fd = pair[i][1], .events = POLLIN}};
	char c;

	if (poll(v, 2, 50000) != 1 || !v[1].revents || read(pair[i][1], &c, 1) != 1)
		say("thread %d woke for nothing", i);
	return NULL;
}

CASE(waiting)
{
	pthread_t thread[THREADS];
	struct timespec pause = {.tv_nsec = 50000000};

	MUST(pipe(other));
	for (int i = 0; i < THREADS; i++)
		make_pair(pair[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, wait_one, (void *)(intptr_t)i);
	nanosleep(&pause, NULL); /* most of them sleep by now */
	for (int i = THREADS - 1; i >= 0; i--)
		write_all(pair[i][0], "x", 1);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		MUST(close(pair[i][0]));
		MUST(close(pair[i][1]));
	}
	say("%d threads woke", THREADS);
}

CASE(many)
{
	static int fd[CONNECTIONS], peer[CONNECTIONS];
	int l = listener(0), sum = 0;
	unsigned char c;

	for (int i = 0; i < CONNECTIONS; i++) {
		fd[i] = connect_to(l);
		peer[i] = MUST(accept(l, NULL, NULL));
		c = (unsigned char)i;
		write_all(fd[i], &c, 1);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		read_all(peer[i], &c, 1);
		sum += c == (unsigned char)i;
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		MUST(close(fd[i]));
		sum += read(peer[i], &c, 1) == 0;
		MUST(close(peer[i]));
	}
	say("%d as it should be", sum);
}
