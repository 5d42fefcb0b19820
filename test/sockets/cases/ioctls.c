/* ioctls: what sockets answer besides options. */
#include "cases.h"

#include <linux/sockios.h>

static int queued(int fd)
{
	int n = -1;

	MUST(ioctl(fd, SIOCOUTQ, &n));
	return n;
}

CASE(octets_to_read)
{
	int p[2], n = -1;

	make_pair(p);
	tell("none", ioctl(p[1], FIONREAD, &n));
	say("%d", n);
	write_all(p[0], "abcdef", 6);
	do
		MUST(ioctl(p[1], FIONREAD, &n));
	while (n < 6);
	read_all(p[1], (char[2]){0}, 2);
	MUST(ioctl(p[1], FIONREAD, &n));
	say("after two %d", n);
	MUST(recv(p[1], (char[2]){0}, 2, MSG_PEEK));
	MUST(ioctl(p[1], FIONREAD, &n));
	say("after a peek %d", n);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	MUST(ioctl(p[1], FIONREAD, &n));
	say("at the end %d", n);
}

CASE(octets_to_read_before_the_urgent_one)
{
	int p[2], n = -1;

	make_pair(p);
	write_all(p[0], "abc", 3);
	MUST(send(p[0], "U", 1, MSG_OOB));
	write_all(p[0], "de", 2);
	await(p[1], POLLPRI);
	MUST(ioctl(p[1], FIONREAD, &n));
	say("%d", n);
	read_all(p[1], (char[3]){0}, 3);
	MUST(ioctl(p[1], SIOCATMARK, &n));
	say("at the mark %d", n);
}

CASE(octets_on_their_way)
{
	int p[2], n;

	make_pair(p);
	say("none %d", queued(p[0]));
	write_all(p[0], "abcdef", 6);
	while (queued(p[0]) > 0)
		;
	say("acknowledged %d", queued(p[0]));
	MUST(ioctl(p[0], SIOCOUTQNSD, &n));
	say("not sent %d", n);
}

CASE(a_full_stream_counts_what_it_took)
{
	static char buf[65536];
	int p[2], there = 0;
	size_t sum = 0;
	ssize_t n;

	make_pair(p);
	while ((n = send(p[0], buf, sizeof buf, MSG_DONTWAIT)) > 0)
		sum += (size_t)n;
	for (int i = 0; i < 10000 && (size_t)(queued(p[0]) + there) != sum; i++) {
		MUST(ioctl(p[1], FIONREAD, &there));
		usleep(1000);
	}
	say("sum right %d", (size_t)(queued(p[0]) + there) == sum);
}

CASE(queues_of_what_is_no_connection)
{
	int l = listener(0), fd = stream_socket(0), n = -1;

	tell("fresh FIONREAD", ioctl(fd, FIONREAD, &n));
	say("%d", n);
	tell("fresh SIOCOUTQ", ioctl(fd, SIOCOUTQ, &n));
	say("%d", n);
	tell("fresh SIOCATMARK", ioctl(fd, SIOCATMARK, &n));
	tell("listener FIONREAD", ioctl(l, FIONREAD, &n));
	tell("listener SIOCOUTQNSD", ioctl(l, SIOCOUTQNSD, &n));
	tell("listener SIOCATMARK", ioctl(l, SIOCATMARK, &n));
}

CASE(not_waiting_by_ioctl)
{
	int p[2], on = 1;
	char c;

	make_pair(p);
	tell("FIONBIO", ioctl(p[0], FIONBIO, &on));
	say("O_NONBLOCK %d", (fcntl(p[0], F_GETFL) & O_NONBLOCK) != 0);
	tell("read", read(p[0], &c, 1));
	on = 0;
	tell("FIONBIO", ioctl(p[0], FIONBIO, &on));
	say("O_NONBLOCK %d", (fcntl(p[0], F_GETFL) & O_NONBLOCK) != 0);
	write_all(p[1], "x", 1);
	tell("read", read(p[0], &c, 1));
}

CASE(owner_by_ioctl)
{
	int p[2], id = getpid(), got = -1;

	make_pair(p);
	tell("none", ioctl(p[0], FIOGETOWN, &got));
	say("%d", got);
	tell("FIOSETOWN", ioctl(p[0], FIOSETOWN, &id));
	tell("FIOGETOWN", ioctl(p[0], FIOGETOWN, &got));
	say("%d %d", got == id, fcntl(p[0], F_GETOWN) == id);
	id = 0;
	tell("SIOCSPGRP", ioctl(p[0], SIOCSPGRP, &id));
	tell("SIOCGPGRP", ioctl(p[0], SIOCGPGRP, &got));
	say("%d", got);
}

CASE(close_on_exec_by_ioctl)
{
	int p[2];

	make_pair(p);
	tell("FIOCLEX", ioctl(p[0], FIOCLEX));
	say("%d", fcntl(p[0], F_GETFD));
	tell("FIONCLEX", ioctl(p[0], FIONCLEX));
	say("%d", fcntl(p[0], F_GETFD));
}

CASE(asynchronous_by_ioctl)
{
	int p[2], on = 1;

	make_pair(p);
	tell("FIOASYNC", ioctl(p[0], FIOASYNC, &on));
	say("O_ASYNC %d", (fcntl(p[0], F_GETFL) & O_ASYNC) != 0);
	on = 0;
	tell("FIOASYNC", ioctl(p[0], FIOASYNC, &on));
	say("O_ASYNC %d", (fcntl(p[0], F_GETFL) & O_ASYNC) != 0);
}

CASE(requests_that_sockets_have_not)
{
	char buf[256] = "";
	int *volatile none = NULL;
	int p[2];

	make_pair(p);
	tell("TCGETS", ioctl(p[0], TCGETS, buf));
	tell("odd", ioctl(p[0], 0x12345678, buf));
	tell("no descriptor", ioctl(-1, FIONREAD, buf));
	tell("bad pointer", ioctl(p[0], FIONREAD, none));
	tell("bad pointer", ioctl(p[0], SIOCOUTQ, none));
	tell("bad pointer", ioctl(p[0], FIONBIO, none));
	say("isatty %d", isatty(p[0]));
}

CASE(status_of_a_socket)
{
	struct stat st;
	int p[2];

	make_pair(p);
	tell("fstat", fstat(p[0], &st));
	say("socket %d, size %ld", S_ISSOCK(st.st_mode), (long)st.st_size);
	tell("fsync", fsync(p[0]));
	tell("ftruncate", ftruncate(p[0], 0));
	tell("fchmod", fchmod(p[0], 0700));
	tell("fallocate", fallocate(p[0], 0, 0, 10));
	tell("readahead", readahead(p[0], 0, 10));
	tell("mmap", mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, p[0], 0) == MAP_FAILED ? -1 : 0);
	tell("flags", fcntl(p[0], F_GETFL));
	tell("lock", fcntl(p[0], F_SETLK, &(struct flock){.l_type = F_WRLCK}));
}
