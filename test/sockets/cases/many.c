/* many: threads and connections by the dozen, opened and closed all at once. */
#include "cases.h"

enum { THREADS = 8, ROUNDS = 25 };

static int shared_listener;

static void *serve(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		int fd = MUST(accept(shared_listener, NULL, NULL));
		uint32_t n;

		read_all(fd, &n, sizeof n);
		n = ~n;
		write_all(fd, &n, sizeof n);
		MUST(close(fd));
	}
	return NULL;
}

static void *ask(void *arg)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t sent = i << 8 | (uint32_t)(uintptr_t)arg, got;
		int fd = connect_to(shared_listener);

		write_all(fd, &sent, sizeof sent);
		read_all(fd, &got, sizeof got);
		if (got != ~sent)
			say("wrong answer");
		if (read(fd, &got, 1) != 0)
			say("no end");
		MUST(close(fd));
	}
	return NULL;
}

/* Numbers are used again by other threads as soon as they are free: nobody gets another's octets.
 */
CASE(churn)
{
	pthread_t server[THREADS], client[THREADS];

	shared_listener = listener(0);
	for (uintptr_t i = 0; i < THREADS; i++) {
		pthread_create(&server[i], NULL, serve, NULL);
		pthread_create(&client[i], NULL, ask, (void *)i);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(server[i], NULL);
		pthread_join(client[i], NULL);
	}
	say("%d connections", THREADS * ROUNDS);
}

static void *ping(void *arg)
{
	int *p = arg;
	char c;

	for (int i = 0; i < 200; i++) {
		write_all(p[0], "p", 1);
		read_all(p[0], &c, 1);
	}
	return NULL;
}

static void *pong(void *arg)
{
	int *p = arg;
	char c;

	for (int i = 0; i < 200; i++) {
		read_all(p[1], &c, 1);
		write_all(p[1], &c, 1);
	}
	return NULL;
}

CASE(ping_pong)
{
	pthread_t a[THREADS], b[THREADS];
	int p[THREADS][2];

	for (int i = 0; i < THREADS; i++) {
		make_pair(p[i]);
		pthread_create(&a[i], NULL, ping, p[i]);
		pthread_create(&b[i], NULL, pong, p[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(a[i], NULL);
		pthread_join(b[i], NULL);
	}
	say("%d times %d", THREADS, 200);
}

static void *read_some(void *arg)
{
	int fd = *(int *)arg;
	uintptr_t n = 0;
	uint64_t record;

	while (recv(fd, &record, sizeof record, MSG_WAITALL) == sizeof record)
		n += record == 0x0123456789abcdefu;
	return (void *)n;
}

/* Several threads read one connection: each octet goes to one of them. */
CASE(readers)
{
	pthread_t thread[4];
	uint64_t record = 0x0123456789abcdefu;
	uintptr_t sum = 0;
	int p[2];

	make_pair(p);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, read_some, &p[1]);
	for (int i = 0; i < 1000; i++)
		write_all(p[0], &record, sizeof record);
	MUST(shutdown(p[0], SHUT_WR));
	for (int i = 0; i < 4; i++) {
		void *n;

		pthread_join(thread[i], &n);
		sum += (uintptr_t)n;
	}
	say("%d records", (int)sum);
}

/* As many processes as threads: each makes connections to all others' listener. */
CASE(processes)
{
	pid_t child[THREADS];
	char c;

	shared_listener = listener(0);
	for (int i = 0; i < THREADS; i++) {
		child[i] = MUST(fork());
		if (child[i] == 0) {
			for (int k = 0; k < ROUNDS; k++) {
				int fd = connect_to(shared_listener);

				read_all(fd, &c, 1);
				MUST(close(fd));
			}
			_exit(0);
		}
	}
	for (int i = 0; i < THREADS * ROUNDS; i++) {
		int fd = MUST(accept(shared_listener, NULL, NULL));

		write_all(fd, "x", 1);
		MUST(close(fd));
	}
	for (int i = 0; i < THREADS; i++)
		reap(child[i]);
	say("%d connections", THREADS * ROUNDS);
}

/* One process holds many connections, of which some move. */
CASE(held)
{
	enum { HELD = 250 };
	static int p[HELD][2];
	int ep = MUST(epoll_create1(0)), moved = 0;
	char c;

	for (int i = 0; i < HELD; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		make_pair(p[i]);
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[i][1], &e));
	}
	for (int i = 0; i < HELD; i += 7)
		write_all(p[i][0], "m", 1);
	while (moved < (HELD + 6) / 7) {
		struct epoll_event e[32];
		int n = MUST(epoll_wait(ep, e, 32, -1));

		for (int k = 0; k < n; k++) {
			if (e[k].data.u32 % 7 != 0)
				say("woken for %u", e[k].data.u32);
			read_all(p[e[k].data.u32][1], &c, 1);
			moved++;
		}
	}
	say("%d moved", moved);
}
