/* receiving: reads of every kind, their flags, and what they leave behind. */
#include "cases.h"

#include <linux/errqueue.h>

/* filled makes a connection on whose side p[1] the text can be read. */
static void filled(int p[2], const char *text)
{
	int n = 0;

	make_pair(p);
	write_all(p[0], text, strlen(text));
	while (n < (int)strlen(text)) {
		await(p[1], POLLIN);
		MUST(ioctl(p[1], FIONREAD, &n));
	}
}

static void end(int p[2])
{
	MUST(close(p[0]));
	MUST(close(p[1]));
}

CASE(read_takes_what_is_there)
{
	char buf[64] = "";
	int p[2];

	filled(p, "hello");
	tell("read", read(p[1], buf, sizeof buf));
	say("%s", buf);
	end(p);
}

CASE(read_in_parts)
{
	char buf[8] = "";
	int p[2];

	filled(p, "abcdef");
	for (int i = 0; i < 3; i++) {
		tell("read", read(p[1], buf, 2));
		say("%.2s", buf);
	}
	nonblocking(p[1], true);
	tell("nothing left", read(p[1], buf, 2));
	end(p);
}

CASE(zero_length_reads)
{
	char buf[4];
	struct iovec v[2] = {{buf, 0}, {buf, 0}};
	int p[2];

	make_pair(p);
	tell("read of nothing, nothing there", read(p[1], buf, 0));
	tell("recv of nothing, nothing there", recv(p[1], buf, 0, MSG_DONTWAIT));
	tell("no vectors", readv(p[1], v, 0));
	tell("empty vectors", readv(p[1], v, 2));
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	tell("read of nothing, octet there", read(p[1], buf, 0));
	tell("recv of nothing, octet there", recv(p[1], buf, 0, 0));
	tell("empty vectors, octet there", readv(p[1], v, 2));
	tell("octet", read(p[1], buf, 4));
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	tell("at the end", read(p[1], buf, 0));
	end(p);
}

CASE(zero_length_read_after_reset)
{
	struct linger l = {.l_onoff = 1};
	char buf[4];
	int p[2];

	make_pair(p);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	tell("read of nothing", read(p[1], buf, 0));
	tell("recv of nothing", recv(p[1], buf, 0, 0));
	tell("read", read(p[1], buf, 1));
	tell("read again", read(p[1], buf, 1));
	MUST(close(p[1]));
}

CASE(peek_leaves_it)
{
	char buf[8] = "";
	int p[2];

	filled(p, "peeked");
	for (int i = 0; i < 3; i++) {
		memset(buf, 0, sizeof buf);
		tell("peek", recv(p[1], buf, 4 + i, MSG_PEEK));
		say("%s", buf);
	}
	tell("read", read(p[1], buf, sizeof buf));
	tell("peek of nothing", recv(p[1], buf, 1, MSG_PEEK | MSG_DONTWAIT));
	end(p);
}

CASE(peek_with_vectors)
{
	char a[3] = "", b[5] = "";
	struct iovec v[2] = {{a, 2}, {b, 4}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	int p[2];

	filled(p, "abcdef");
	tell("peek", recvmsg(p[1], &m, MSG_PEEK));
	say("%s %s flags %#x", a, b, m.msg_flags);
	tell("again", recvmsg(p[1], &m, 0));
	say("%s %s", a, b);
	end(p);
}

CASE(peek_waitall)
{
	char buf[8] = "";
	int p[2];

	filled(p, "12345678");
	tell("peek all", recv(p[1], buf, 8, MSG_PEEK | MSG_WAITALL));
	tell("all", recv(p[1], buf, 8, MSG_WAITALL));
	end(p);
}

CASE(peek_across_the_end)
{
	char buf[16] = "";
	int p[2];

	filled(p, "last");
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	tell("peek more than there is", recv(p[1], buf, 16, MSG_PEEK | MSG_WAITALL));
	tell("read", recv(p[1], buf, 16, MSG_WAITALL));
	tell("peek at the end", recv(p[1], buf, 16, MSG_PEEK));
	tell("end", recv(p[1], buf, 16, 0));
	end(p);
}

CASE(truncating_read)
{
	char buf[8] = "......";
	int p[2];

	filled(p, "abcdefgh");
	tell("discard", recv(p[1], buf, 3, MSG_TRUNC));
	say("untouched %.3s", buf);
	tell("without a buffer", recv(p[1], NULL, 2, MSG_TRUNC));
	tell("rest", recv(p[1], buf, sizeof buf, 0));
	say("%.3s", buf);
	end(p);
}

CASE(truncating_peek)
{
	char buf[8] = "......";
	int p[2];

	filled(p, "abcd");
	tell("peek and truncate", recv(p[1], buf, 3, MSG_TRUNC | MSG_PEEK));
	say("%.3s", buf);
	tell("read", recv(p[1], buf, 8, 0));
	end(p);
}

CASE(dontwait_on_blocking_socket)
{
	char buf[4];
	int p[2];

	make_pair(p);
	tell("empty", recv(p[1], buf, 1, MSG_DONTWAIT));
	tell("waitall beats not", recv(p[1], buf, 4, MSG_DONTWAIT | MSG_WAITALL));
	write_all(p[0], "xy", 2);
	await(p[1], POLLIN);
	tell("some", recv(p[1], buf, 4, MSG_DONTWAIT | MSG_WAITALL));
	end(p);
}

static void *late(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 5; i++) {
		usleep(2000);
		write_all(fd, "0123456789", 10);
	}
	return NULL;
}

CASE(waitall_gathers)
{
	char buf[51] = "";
	pthread_t t;
	int p[2];

	make_pair(p);
	pthread_create(&t, NULL, late, &p[0]);
	tell("all", recv(p[1], buf, 50, MSG_WAITALL));
	say("%s", buf);
	pthread_join(t, NULL);
	end(p);
}

CASE(waitall_with_vectors)
{
	char a[21] = "", b[31] = "";
	struct iovec v[3] = {{a, 20}, {NULL, 0}, {b, 30}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 3};
	pthread_t t;
	int p[2];

	make_pair(p);
	pthread_create(&t, NULL, late, &p[0]);
	tell("all", recvmsg(p[1], &m, MSG_WAITALL));
	say("%s %s", a, b);
	pthread_join(t, NULL);
	end(p);
}

CASE(waitall_ends_at_end)
{
	char buf[50];
	int p[2];

	filled(p, "short");
	MUST(close(p[0]));
	tell("what came", recv(p[1], buf, 50, MSG_WAITALL));
	tell("end", recv(p[1], buf, 50, MSG_WAITALL));
	MUST(close(p[1]));
}

CASE(waitall_with_timeout)
{
	struct timeval t = {.tv_usec = 20000};
	char buf[50];
	int p[2];

	filled(p, "short");
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	tell("what came", recv(p[1], buf, 50, MSG_WAITALL));
	tell("nothing", recv(p[1], buf, 50, MSG_WAITALL));
	end(p);
}

CASE(recvfrom_has_no_sender)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	char buf[8];
	int p[2];

	filled(p, "abc");
	memset(&from, 0x55, sizeof from);
	tell("recvfrom", recvfrom(p[1], buf, 1, 0, (struct sockaddr *)&from, &len));
	say("length %u, family %#x", len, from.ss_family);
	tell("no length", recvfrom(p[1], buf, 1, 0, NULL, NULL));
	tell("recvfrom the rest", recvfrom(p[1], buf, 8, 0, (struct sockaddr *)&from, &len));
	end(p);
}

/* A message with a field for everything. */
struct whole {
	struct sockaddr_storage from;
	char buf[8], control[64];
	struct iovec v;
	struct msghdr m;
};

static struct msghdr *whole_message(struct whole *w, int flags)
{
	w->v = (struct iovec){w->buf, sizeof w->buf};
	w->m = (struct msghdr){.msg_name = &w->from,
			       .msg_namelen = sizeof w->from,
			       .msg_iov = &w->v,
			       .msg_iovlen = 1,
			       .msg_control = w->control,
			       .msg_controllen = sizeof w->control,
			       .msg_flags = flags};
	return &w->m;
}

CASE(recvmsg_fills_its_fields)
{
	struct whole w;
	struct msghdr *m = whole_message(&w, -1);
	int p[2];

	filled(p, "abc");
	tell("recvmsg", recvmsg(p[1], m, 0));
	say("name %u, control %zu, flags %#x", m->msg_namelen, m->msg_controllen, m->msg_flags);
	end(p);
}

CASE(recvmsg_failing_leaves_its_fields)
{
	struct whole w;
	struct msghdr *m = whole_message(&w, 77);
	int p[2];

	make_pair(p);
	tell("recvmsg", recvmsg(p[1], m, MSG_DONTWAIT));
	say("name %u, control %zu, flags %d", m->msg_namelen, m->msg_controllen, m->msg_flags);
	end(p);
}

CASE(recvmsg_cmsg_cloexec)
{
	char buf[8];
	struct iovec v = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int p[2];

	filled(p, "abc");
	tell("recvmsg", recvmsg(p[1], &m, MSG_CMSG_CLOEXEC));
	say("flags %#x", m.msg_flags);
	end(p);
}

CASE(recvmsg_without_vectors)
{
	struct msghdr m = {0};
	int p[2];

	filled(p, "abc");
	tell("none", recvmsg(p[1], &m, 0));
	tell("none, not waiting", recvmsg(p[1], &m, MSG_DONTWAIT));
	m.msg_iovlen = 1025;
	tell("too many", recvmsg(p[1], &m, 0));
	end(p);
}

CASE(recvmmsg_takes_several)
{
	char buf[3][4] = {"", "", ""};
	struct iovec v[3];
	struct mmsghdr m[3];
	int p[2];

	filled(p, "aaabbb");
	memset(m, 0, sizeof m);
	for (int i = 0; i < 3; i++) {
		v[i] = (struct iovec){buf[i], 3};
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	tell("recvmmsg", recvmmsg(p[1], m, 3, MSG_WAITFORONE, NULL));
	say("%u %u %s %s", m[0].msg_len, m[1].msg_len, buf[0], buf[1]);
	tell("nothing", recvmmsg(p[1], m, 3, MSG_DONTWAIT, NULL));
	tell("none", recvmmsg(p[1], m, 0, 0, NULL));
	end(p);
}

CASE(recvmmsg_with_timeout)
{
	char buf[2][4];
	struct iovec v[2] = {{buf[0], 3}, {buf[1], 3}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}},
			       {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};
	struct timespec t = {.tv_sec = 5}, bad = {.tv_nsec = -1}, none = {0};
	int p[2];

	filled(p, "aaabbb");
	tell("bad time", recvmmsg(p[1], m, 2, 0, &bad));
	tell("no time", recvmmsg(p[1], m, 2, 0, &none));
	tell("some time", recvmmsg(p[1], m, 1, 0, &t));
	say("left %d", t.tv_sec <= 5 && t.tv_sec >= 0);
	end(p);
}

CASE(readv_scatters)
{
	char a[3] = "", b[4] = "", c[20] = "";
	struct iovec v[4] = {{a, 2}, {NULL, 0}, {b, 3}, {c, 10}};
	int p[2];

	filled(p, "aabbbccc");
	tell("readv", readv(p[1], v, 4));
	say("%s %s %s", a, b, c);
	end(p);
}

CASE(vector_limits)
{
	static struct iovec v[1025];
	volatile int negative = -1; /* compilers warn of what they see */
	char buf[2];
	int p[2];

	make_pair(p);
	for (int i = 0; i < 1025; i++)
		v[i] = (struct iovec){buf, 1};
	nonblocking(p[1], true);
	tell("1024", readv(p[1], v, 1024));
	tell("1025", readv(p[1], v, 1025));
	tell("negative", readv(p[1], v, negative));
	v[0].iov_len = (size_t)-1;
	tell("negative length", readv(p[1], v, 1));
	tell("negative length of a write", writev(p[1], v, 1));
	v[0].iov_len = (size_t)PTRDIFF_MAX;
	v[1].iov_len = (size_t)PTRDIFF_MAX;
	tell("sum too large", readv(p[1], v, 2));
	end(p);
}

CASE(huge_length)
{
	char *buf = mmap(NULL, 1ul << 33, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec v[2] = {{buf, 1ul << 32}, {buf, 1ul << 32}};
	int p[2];

	filled(p, "huge");
	tell("read", read(p[1], buf, 1ul << 33));
	write_all(p[0], "vector", 6);
	await(p[1], POLLIN);
	tell("readv", readv(p[1], v, 2));
	end(p);
	munmap(buf, 1ul << 33);
}

CASE(positioned_reads)
{
	char buf[8];
	struct iovec v = {buf, sizeof buf};
	int p[2];

	filled(p, "abc");
	tell("pread", pread(p[1], buf, 1, 0));
	tell("preadv", preadv(p[1], &v, 1, 0));
	tell("preadv2", preadv2(p[1], &v, 1, 5, 0));
	tell("preadv2 at the position", preadv2(p[1], &v, 1, -1, 0));
	tell("pwrite", pwrite(p[0], buf, 1, 0));
	tell("pwritev", pwritev(p[0], &v, 1, 0));
	tell("pwritev2", pwritev2(p[0], &v, 1, 0, 0));
	v.iov_len = 3;
	tell("pwritev2 at the position", pwritev2(p[0], &v, 1, -1, 0));
	await(p[1], POLLIN);
	tell("preadv2 not waiting", preadv2(p[1], &v, 1, -1, RWF_NOWAIT));
	tell("preadv2 not waiting", preadv2(p[1], &v, 1, -1, RWF_NOWAIT));
	tell("preadv2 of odd flags", preadv2(p[1], &v, 1, -1, 1 << 30));
	tell("lseek", lseek(p[1], 0, SEEK_CUR));
	end(p);
}

CASE(error_queue_is_empty)
{
	char buf[64], control[64];
	struct iovec v = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof control};
	int p[2];

	filled(p, "abc");
	tell("recvmsg", recvmsg(p[1], &m, MSG_ERRQUEUE));
	tell("recv", recv(p[1], buf, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
	tell("stream", recv(p[1], buf, 8, 0));
	end(p);
}

CASE(read_low_water_mark)
{
	char buf[16];
	int p[2], low = 4, n;

	make_pair(p);
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	write_all(p[0], "abc", 3);
	do
		MUST(ioctl(p[1], FIONREAD, &n));
	while (n < 3);
	tell_events("below", poll_now(p[1]));
	tell("not waiting", recv(p[1], buf, 16, MSG_DONTWAIT));
	write_all(p[0], "defg", 4);
	await(p[1], POLLIN);
	tell_events("above", poll_now(p[1]));
	tell("read", read(p[1], buf, 16));
	write_all(p[0], "h", 1);
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	tell_events("end below", poll_now(p[1]));
	tell("read", read(p[1], buf, 16));
	end(p);
}

CASE(read_after_shutdown)
{
	char buf[16];
	int p[2];

	filled(p, "before");
	MUST(shutdown(p[1], SHUT_RD));
	tell("what was there", read(p[1], buf, 3));
	tell("the rest", read(p[1], buf, 16));
	tell("then the end", read(p[1], buf, 16));
	tell("then the end", recv(p[1], buf, 16, MSG_DONTWAIT));
	tell_events("poll", poll_now(p[1]));
	tell("writing goes on", write(p[1], "x", 1));
	end(p);
}

CASE(data_after_shutdown_of_reading)
{
	char buf[16];
	int p[2];

	make_pair(p);
	MUST(shutdown(p[1], SHUT_RD));
	tell("nothing", recv(p[1], buf, 16, MSG_DONTWAIT));
	write_all(p[0], "after", 5);
	for (int n = 0; n < 5;)
		MUST(ioctl(p[1], FIONREAD, &n));
	tell("it still comes", recv(p[1], buf, 16, MSG_DONTWAIT));
	end(p);
}

CASE(data_then_reset)
{
	struct linger l = {.l_onoff = 1};
	char buf[16];
	int p[2], e;
	socklen_t len = sizeof e;

	filled(p, "data");
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	tell_events("poll", poll_now(p[1]));
	tell("peek", recv(p[1], buf, 2, MSG_PEEK));
	tell("read", read(p[1], buf, 2));
	tell("read", read(p[1], buf, 16));
	tell("read", read(p[1], buf, 16));
	tell("read", read(p[1], buf, 16));
	MUST(getsockopt(p[1], SOL_SOCKET, SO_ERROR, &e, &len));
	say("SO_ERROR %d", e);
	MUST(close(p[1]));
}

CASE(error_is_told_once)
{
	struct linger l = {.l_onoff = 1};
	char buf[4];
	int p[2], e;
	socklen_t len = sizeof e;

	make_pair(p);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	MUST(getsockopt(p[1], SOL_SOCKET, SO_ERROR, &e, &len));
	say("SO_ERROR %s", strerrorname_np(e));
	MUST(getsockopt(p[1], SOL_SOCKET, SO_ERROR, &e, &len));
	say("SO_ERROR %d", e);
	tell_events("poll", poll_now(p[1]));
	tell("read", read(p[1], buf, 1));
	signal(SIGPIPE, SIG_IGN);
	tell("write", write(p[1], "x", 1));
	MUST(close(p[1]));
}

CASE(write_takes_the_error)
{
	struct linger l = {.l_onoff = 1};
	char buf[4];
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	tell("write", write(p[1], "x", 1));
	tell("write", write(p[1], "x", 1));
	tell("read", read(p[1], buf, 1));
	tell("shutdown", shutdown(p[1], SHUT_RDWR));
	MUST(close(p[1]));
}

CASE(peek_offset)
{
	char buf[8] = "";
	int p[2], at = 2, v = 0;
	socklen_t len = sizeof v;

	filled(p, "abcdefgh");
	MUST(getsockopt(p[1], SOL_SOCKET, SO_PEEK_OFF, &v, &len));
	say("at first %d", v);
	tell("set", setsockopt(p[1], SOL_SOCKET, SO_PEEK_OFF, &at, sizeof at));
	for (int i = 0; i < 2; i++) {
		memset(buf, 0, sizeof buf);
		tell("peek", recv(p[1], buf, 2, MSG_PEEK));
		say("%s", buf);
	}
	MUST(getsockopt(p[1], SOL_SOCKET, SO_PEEK_OFF, &v, &len));
	say("now %d", v);
	tell("read", recv(p[1], buf, 3, 0));
	MUST(getsockopt(p[1], SOL_SOCKET, SO_PEEK_OFF, &v, &len));
	say("after the read %d", v);
	memset(buf, 0, sizeof buf);
	tell("peek", recv(p[1], buf, 2, MSG_PEEK));
	say("%s", buf);
	tell("peek past", recv(p[1], buf, 8, MSG_PEEK | MSG_DONTWAIT));
	tell("peek at the end", recv(p[1], buf, 8, MSG_PEEK | MSG_DONTWAIT));
	at = -1;
	tell("off", setsockopt(p[1], SOL_SOCKET, SO_PEEK_OFF, &at, sizeof at));
	tell("read", recv(p[1], buf, 8, 0));
	end(p);
}

CASE(bytes_to_come_by_message)
{
	char buf[4], control[64];
	struct iovec v = {buf, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int p[2], on = 1;

	filled(p, "abcdefgh");
	tell("TCP_INQ", setsockopt(p[1], IPPROTO_TCP, TCP_INQ, &on, sizeof on));
	for (int i = 0; i < 3; i++) {
		struct cmsghdr *c;

		m.msg_control = control;
		m.msg_controllen = i == 1 ? 4 : sizeof control;
		tell("recvmsg", recvmsg(p[1], &m, 0));
		c = CMSG_FIRSTHDR(&m);
		say("control %zu flags %#x", m.msg_controllen, m.msg_flags);
		if (c)
			say("level %d type %d left %d", c->cmsg_level, c->cmsg_type,
			    *(int *)CMSG_DATA(c));
	}
	MUST(shutdown(p[0], SHUT_WR));
	await(p[1], POLLRDHUP);
	m.msg_control = control;
	m.msg_controllen = sizeof control;
	tell("end", recvmsg(p[1], &m, 0));
	say("control %zu", m.msg_controllen);
	if (m.msg_controllen)
		say("left %d", *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)));
	on = 2;
	tell("odd value", setsockopt(p[1], IPPROTO_TCP, TCP_INQ, &on, sizeof on));
	end(p);
}

CASE(reading_a_socket_that_is_nothing_yet)
{
	char buf[4];
	int fd = stream_socket(0);

	tell("read", read(fd, buf, 1));
	tell("read of nothing", read(fd, buf, 0));
	tell("recv, not waiting", recv(fd, buf, 1, MSG_DONTWAIT));
	tell("peek", recv(fd, buf, 1, MSG_PEEK));
	tell("urgent", recv(fd, buf, 1, MSG_OOB));
	MUST(close(fd));
	tell("closed", read(fd, buf, 1));
}

CASE(reading_a_listener)
{
	char buf[4];
	int l = listener(0), n = -1;

	tell("read", read(l, buf, 1));
	tell("write", send(l, buf, 1, MSG_NOSIGNAL));
	tell("urgent", recv(l, buf, 1, MSG_OOB));
	tell("FIONREAD", ioctl(l, FIONREAD, &n));
	tell("SIOCOUTQ", ioctl(l, TIOCOUTQ, &n));
	MUST(close(l));
}

/* The fortified calls, as a program built with _FORTIFY_SOURCE makes them. */
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);

CASE(fortified_calls)
{
	char buf[16];
	struct pollfd f;
	struct timespec t = {.tv_sec = 5};
	int p[2];

	filled(p, "abcdef");
	f = (struct pollfd){.fd = p[1], .events = POLLIN};
	tell("poll", __poll_chk(&f, 1, 1000, sizeof f));
	tell("ppoll", __ppoll_chk(&f, 1, &t, NULL, sizeof f));
	tell("read", __read_chk(p[1], buf, 2, sizeof buf));
	tell("recv", __recv_chk(p[1], buf, 2, sizeof buf, 0));
	tell("recvfrom", __recvfrom_chk(p[1], buf, 2, sizeof buf, 0, NULL, NULL));
	end(p);
}

CASE(bad_buffers)
{
	char *volatile none = NULL;
	char *volatile high = (char *)0xffff800000000000ul;
	struct iovec v[2] = {{(char[2]){0}, 2}, {NULL, 5}};
	struct iovec *volatile vectors = NULL;
	struct msghdr *volatile message = NULL;
	char buf[8];
	int p[2];

	filled(p, "abcdef");
	tell("read", read(p[1], none, 3));
	tell("read, high", read(p[1], high, 3));
	tell("write", write(p[0], none, 3));
	tell("write, high", write(p[0], high, 3));
	tell("send", send(p[0], none, 3, 0));
	tell("readv", readv(p[1], vectors, 1));
	tell("recvmsg", recvmsg(p[1], message, 0));
	tell("sendmsg", sendmsg(p[0], message, 0));
	tell("partly", writev(p[0], v, 2));
	tell("nothing was lost", recv(p[1], buf, 6, MSG_WAITALL));
	end(p);
}
