/* files: sendfile and splice, to and from sockets. */
#include "programs.h"

#define TOTAL 300000u

static int p[2];

static void *take(void *arg)
{
	uint8_t *buf = arg;

	read_all(p[1], buf, TOTAL);
	return NULL;
}

static void test(void)
{
	static uint8_t data[TOTAL], got[TOTAL];
	int file = MUST(memfd_create("data", 0)), q[2];
	pthread_t thread;
	off_t at = 0;
	size_t done = 0;
	ssize_t n;

	fill_pattern(data, 0, TOTAL);
	write_all(file, data, TOTAL);
	make_pair(p);
	pthread_create(&thread, NULL, take, got);
	while (done < TOTAL)
		done += (size_t)MUST(sendfile(p[0], file, &at, TOTAL + 5000));
	pthread_join(thread, NULL);
	verify(got, 0, TOTAL);
	say("sendfile with offset: %zu, offset %ld", done, (long)at);
	tell("at the end", sendfile(p[0], file, &at, 10));

	MUST(lseek(file, 1000, SEEK_SET));
	tell("from the position", sendfile(p[0], file, NULL, 500));
	say("position %ld", (long)lseek(file, 0, SEEK_CUR));
	read_all(p[1], got, 500);
	verify(got, 1000, 500);

	MUST(pipe(q));
	write_all(q[1], data, 5000);
	done = 0;
	while (done < 5000)
		done += (size_t)MUST(splice(q[0], NULL, p[0], NULL, 5000 - done, SPLICE_F_MOVE));
	read_all(p[1], got, 5000);
	verify(got, 0, 5000);
	say("pipe to socket: %zu", done);

	write_all(p[0], data, 4000);
	done = 0;
	while (done < 4000)
		done += (size_t)MUST(splice(p[1], NULL, q[1], NULL, 4000 - done, 0));
	read_all(q[0], got, 4000);
	verify(got, 0, 4000);
	say("socket to pipe: %zu", done);
	tell("empty pipe", splice(q[0], NULL, p[0], NULL, 10, SPLICE_F_NONBLOCK));
	nonblocking(p[1], true);
	tell("empty socket", splice(p[1], NULL, q[1], NULL, 10, SPLICE_F_NONBLOCK));
	at = 0;
	tell("offset of a socket", splice(p[1], &at, q[1], NULL, 10, 0));
	nonblocking(p[1], false);
	MUST(close(p[0]));
	n = splice(p[1], NULL, q[1], NULL, 10, 0);
	tell("ended socket", n);
}
