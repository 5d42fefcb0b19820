/* files: sendfile and splice, to and from sockets. */
#include "cases.h"

#define TOTAL 300000u

static int p[2];

static void *take(void *arg)
{
	uint8_t *buf = arg;

	read_all(p[1], buf, TOTAL);
	return NULL;
}

static uint8_t data[TOTAL], got[TOTAL];

/* open_file returns a file with the pattern. */
static int open_file(void)
{
	int file = MUST(memfd_create("data", 0));

	fill_pattern(data, 0, TOTAL);
	write_all(file, data, TOTAL);
	return file;
}

CASE(sendfile_offset)
{
	int file = open_file();
	pthread_t thread;
	off_t at = 0;
	size_t done = 0;

	make_pair(p);
	pthread_create(&thread, NULL, take, got);
	while (done < TOTAL)
		done += (size_t)MUST(sendfile(p[0], file, &at, TOTAL + 5000));
	pthread_join(thread, NULL);
	verify(got, 0, TOTAL);
	say("sendfile with offset: %zu, offset %ld", done, (long)at);
	tell("at the end", sendfile(p[0], file, &at, 10));
}

CASE(sendfile_position)
{
	int file = open_file();

	make_pair(p);
	MUST(lseek(file, 1000, SEEK_SET));
	tell("from the position", sendfile(p[0], file, NULL, 500));
	say("position %ld", (long)lseek(file, 0, SEEK_CUR));
	read_all(p[1], got, 500);
	verify(got, 1000, 500);
}

CASE(splice_pipe_to_socket)
{
	size_t done = 0;
	int q[2];

	make_pair(p);
	MUST(pipe(q));
	fill_pattern(data, 0, 5000);
	write_all(q[1], data, 5000);
	while (done < 5000)
		done += (size_t)MUST(splice(q[0], NULL, p[0], NULL, 5000 - done, SPLICE_F_MOVE));
	read_all(p[1], got, 5000);
	verify(got, 0, 5000);
	say("pipe to socket: %zu", done);
	tell("empty pipe", splice(q[0], NULL, p[0], NULL, 10, SPLICE_F_NONBLOCK));
}

CASE(splice_socket_to_pipe)
{
	size_t done = 0;
	off_t at = 0;
	int q[2];

	make_pair(p);
	MUST(pipe(q));
	fill_pattern(data, 0, 4000);
	write_all(p[0], data, 4000);
	while (done < 4000)
		done += (size_t)MUST(splice(p[1], NULL, q[1], NULL, 4000 - done, 0));
	read_all(q[0], got, 4000);
	verify(got, 0, 4000);
	say("socket to pipe: %zu", done);
	nonblocking(p[1], true);
	tell("empty socket", splice(p[1], NULL, q[1], NULL, 10, SPLICE_F_NONBLOCK));
	tell("offset of a socket", splice(p[1], &at, q[1], NULL, 10, 0));
	nonblocking(p[1], false);
	MUST(close(p[0]));
	tell("ended socket", splice(p[1], NULL, q[1], NULL, 10, 0));
}
