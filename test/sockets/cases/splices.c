/* splices: octets between sockets, files and pipes without a buffer of the program's. */
#include "cases.h"

#define SIZE 200000u

static int file_of(size_t n)
{
	static uint8_t data[SIZE];
	int file = MUST(memfd_create("data", 0));

	fill_pattern(data, 0, n);
	write_all(file, data, n);
	MUST(lseek(file, 0, SEEK_SET));
	return file;
}

static void arrives(int fd, uint64_t from, size_t n)
{
	static uint8_t got[SIZE];

	read_all(fd, got, n);
	verify(got, from, n);
	say("arrived %zu", n);
}

CASE(sendfile_at_an_offset)
{
	int p[2], file = file_of(5000);
	off_t at = 100;

	make_pair(p);
	tell("sendfile", sendfile(p[0], file, &at, 400));
	say("offset %ld, position %ld", (long)at, (long)lseek(file, 0, SEEK_CUR));
	arrives(p[1], 100, 400);
	at = 4990;
	tell("over the end", sendfile(p[0], file, &at, 400));
	at = 5000;
	tell("at the end", sendfile(p[0], file, &at, 400));
	at = 6000;
	tell("behind the end", sendfile(p[0], file, &at, 400));
	at = -1;
	tell("before the beginning", sendfile(p[0], file, &at, 400));
	at = 0;
	tell("nothing", sendfile(p[0], file, &at, 0));
}

CASE(sendfile_from_the_position)
{
	int p[2], file = file_of(5000);

	make_pair(p);
	tell("sendfile", sendfile(p[0], file, NULL, 1000));
	tell("sendfile", sendfile(p[0], file, NULL, 1000));
	say("position %ld", (long)lseek(file, 0, SEEK_CUR));
	arrives(p[1], 0, 2000);
}

CASE(sendfile_that_cannot_be)
{
	int p[2], q[2], file = file_of(100), wo = MUST(open("/dev/null", O_WRONLY));
	off_t at = 0;

	make_pair(p);
	MUST(pipe(q));
	write_all(q[1], "abc", 3);
	write_all(p[1], "abc", 3);
	tell("from a socket", sendfile(p[0], p[0], NULL, 3));
	tell("from a pipe", sendfile(p[0], q[0], NULL, 3));
	tell("from a pipe at an offset", sendfile(p[0], q[0], &at, 3));
	tell("from what cannot be read", sendfile(p[0], wo, NULL, 3));
	tell("from nowhere", sendfile(p[0], -1, NULL, 3));
	tell("to nowhere", sendfile(-1, file, NULL, 3));
	tell("from a directory", sendfile(p[0], MUST(open("/", O_RDONLY)), NULL, 3));
	signal(SIGPIPE, SIG_IGN);
	MUST(shutdown(p[0], SHUT_WR));
	tell("to a shut socket", sendfile(p[0], file, NULL, 3));
	tell("to a fresh socket", sendfile(stream_socket(0), file, NULL, 3));
	say("position %ld", (long)lseek(file, 0, SEEK_CUR));
}

static int taker;

static void *take(void *arg)
{
	arrives(taker, 0, SIZE);
	return arg;
}

CASE(sendfile_waits_for_all)
{
	int p[2], file = file_of(SIZE);
	pthread_t t;
	ssize_t n;

	make_pair(p);
	taker = p[1];
	pthread_create(&t, NULL, take, NULL);
	n = sendfile(p[0], file, NULL, SIZE);
	pthread_join(t, NULL);
	tell("sendfile", n);
}

CASE(pipe_to_socket)
{
	static uint8_t data[5000];
	int p[2], q[2];

	make_pair(p);
	MUST(pipe(q));
	fill_pattern(data, 0, sizeof data);
	write_all(q[1], data, sizeof data);
	tell("splice", splice(q[0], NULL, p[0], NULL, 2000, 0));
	tell("splice", splice(q[0], NULL, p[0], NULL, 9000, SPLICE_F_MOVE | SPLICE_F_MORE));
	tell("flush", send(p[0], "", 0, 0));
	arrives(p[1], 0, 5000);
	MUST(close(q[1]));
	tell("end of the pipe", splice(q[0], NULL, p[0], NULL, 100, 0));
}

CASE(socket_to_pipe)
{
	int p[2], q[2], n;
	uint8_t data[4000];

	make_pair(p);
	MUST(pipe(q));
	fill_pattern(data, 0, sizeof data);
	write_all(p[0], data, sizeof data);
	do
		MUST(ioctl(p[1], FIONREAD, &n));
	while (n < 4000);
	tell("splice", splice(p[1], NULL, q[1], NULL, 4000, 0));
	arrives(q[0], 0, 4000);
	MUST(close(p[0]));
	tell("end of the stream", splice(p[1], NULL, q[1], NULL, 100, 0));
}

CASE(splices_that_do_not_wait)
{
	int p[2], q[2];

	make_pair(p);
	MUST(pipe(q));
	tell("empty pipe", splice(q[0], NULL, p[0], NULL, 10, SPLICE_F_NONBLOCK));
	nonblocking(p[1], true);
	tell("empty socket", splice(p[1], NULL, q[1], NULL, 10, 0));
	MUST(fcntl(q[0], F_SETFL, O_NONBLOCK));
	tell("empty pipe that does not wait", splice(q[0], NULL, p[0], NULL, 10, 0));
}

CASE(splices_that_cannot_be)
{
	int p[2], o[2], q[2], file = file_of(100);
	loff_t at = 0;

	make_pair(p);
	make_pair(o);
	MUST(pipe(q));
	write_all(p[0], "abc", 3);
	write_all(q[1], "abc", 3);
	await(p[1], POLLIN);
	tell("socket to socket", splice(p[1], NULL, o[0], NULL, 3, 0));
	tell("socket to file", splice(p[1], NULL, file, NULL, 3, 0));
	tell("file to socket", splice(file, NULL, p[1], NULL, 3, 0));
	tell("offset of the socket", splice(p[1], &at, q[1], NULL, 3, 0));
	tell("offset of the pipe", splice(p[1], NULL, q[1], &at, 3, 0));
	tell("offset of the socket", splice(q[0], NULL, p[1], &at, 3, 0));
	tell("offset of the pipe", splice(q[0], &at, p[1], NULL, 3, 0));
	tell("wrong end", splice(p[1], NULL, q[0], NULL, 3, 0));
	tell("wrong end", splice(q[1], NULL, p[1], NULL, 3, 0));
	tell("odd flags", splice(q[0], NULL, p[1], NULL, 3, 0x100));
	tell("nothing", splice(q[0], NULL, p[1], NULL, 0, 0));
	tell("nothing", splice(p[1], NULL, q[1], NULL, 0, 0));
	tell("to nowhere", splice(p[1], NULL, -1, NULL, 3, 0));
	tell("tee", tee(q[0], p[0], 3, 0));
	tell("tee", tee(p[1], q[1], 3, 0));
	tell("vmsplice", vmsplice(p[0], &(struct iovec){"x", 1}, 1, 0));
	tell("copy", copy_file_range(file, NULL, p[0], NULL, 3, 0));
	tell("copy", copy_file_range(p[1], NULL, file, NULL, 3, 0));
	tell("all is there", read(p[1], (char[8]){0}, 8));
}

CASE(splice_from_who_is_gone)
{
	struct linger l = {.l_onoff = 1};
	int p[2], q[2];

	make_pair(p);
	MUST(pipe(q));
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	tell("splice", splice(p[1], NULL, q[1], NULL, 3, 0));
	tell("splice", splice(p[1], NULL, q[1], NULL, 3, 0));
}

CASE(splice_to_who_is_gone)
{
	int p[2], q[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(pipe(q));
	write_all(q[1], "abc", 3);
	MUST(shutdown(p[0], SHUT_WR));
	tell("splice", splice(q[0], NULL, p[0], NULL, 3, 0));
}

/* What a proxy does: all octets of one connection to another, through a pipe. */
CASE(proxy_by_splice)
{
	static uint8_t data[SIZE];
	int p[2], o[2], q[2];
	pthread_t t;
	pid_t pid;

	make_pair(p);
	make_pair(o);
	MUST(pipe(q));
	taker = o[1];
	pthread_create(&t, NULL, take, NULL);
	pid = MUST(fork());
	if (pid == 0) {
		fill_pattern(data, 0, SIZE);
		write_all(p[0], data, SIZE);
		_exit(0);
	}
	MUST(close(p[0]));
	for (;;) {
		ssize_t n = MUST(splice(p[1], NULL, q[1], NULL, 65536, SPLICE_F_MOVE));

		if (n == 0)
			break;
		while (n > 0)
			n -= MUST(splice(q[0], NULL, o[0], NULL, (size_t)n, SPLICE_F_MOVE));
	}
	pthread_join(t, NULL);
	reap(pid);
}
