/* echo: a child sends a stream of some megaoctets, the parent sends it back; both check it. */
#include "cases.h"

#define TOTAL (6u << 20)

static void *send_it(void *arg)
{
	static uint8_t buf[70001];
	int fd = *(int *)arg;

	for (uint64_t at = 0; at < TOTAL;) {
		size_t n = sizeof buf < TOTAL - at ? sizeof buf : TOTAL - at;

		fill_pattern(buf, at, n);
		write_all(fd, buf, n);
		at += n;
	}
	MUST(shutdown(fd, SHUT_WR));
	return NULL;
}

static void client(int l)
{
	static uint8_t buf[33333];
	int fd = connect_to(l);
	pthread_t thread;
	uint64_t at = 0;
	ssize_t n;

	pthread_create(&thread, NULL, send_it, &fd);
	while ((n = MUST(read(fd, buf, sizeof buf))) > 0) {
		verify(buf, at, (size_t)n);
		at += (uint64_t)n;
	}
	pthread_join(thread, NULL);
	say("client got %llu back", (unsigned long long)at);
	MUST(close(fd));
}

CASE(megaoctets)
{
	static uint8_t buf[50000];
	int l = listener(0), fd;
	pid_t child = MUST(fork());
	uint64_t at = 0;
	ssize_t n;

	if (child == 0) {
		client(l);
		_exit(0);
	}
	fd = MUST(accept(l, NULL, NULL));
	while ((n = MUST(read(fd, buf, sizeof buf))) > 0) {
		verify(buf, at, (size_t)n);
		at += (uint64_t)n;
		write_all(fd, buf, (size_t)n);
	}
	MUST(close(fd));
	reap(child);
	say("server saw %llu", (unsigned long long)at);
}
