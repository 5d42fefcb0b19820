/* calls: the read and write family, call by call, with its flags. */
#include "cases.h"

static int p[2];

static void tell_text(const char *what, const char *text, long n)
{
	tell(what, n);
	if (n > 0)
		say("text %.*s", (int)n, text);
}

CASE(peek_and_trunc)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	char buf[64];
	int n;

	make_pair(p);
	tell("write", write(p[0], "hello", 5));
	await(p[1], POLLIN);
	MUST(ioctl(p[1], FIONREAD, &n));
	say("FIONREAD %d", n);
	tell("peek", recv(p[1], buf, 3, MSG_PEEK));
	say("peeked %.3s", buf);
	tell("peek all", recv(p[1], buf, sizeof buf, MSG_PEEK));
	tell("trunc", recv(p[1], buf, 2, MSG_TRUNC));
	tell_text("recvfrom", buf,
		  recvfrom(p[1], buf, sizeof buf, 0, (struct sockaddr *)&from, &len));
	say("name of %u", len);
}

CASE(vectors)
{
	char a[8] = "", b[16] = "", buf[64];
	struct iovec out[3] = {{"one ", 4}, {"", 0}, {"two", 3}}, in[2] = {{a, 4}, {b, 8}};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 3};
	struct iovec *volatile vectors = out;
	volatile int many = 100000;

	make_pair(p);
	tell("writev", writev(p[0], out, 3));
	tell_text("waitall", buf, recv(p[1], buf, 7, MSG_WAITALL));
	tell("sendmsg", sendmsg(p[0], &m, MSG_NOSIGNAL));
	await(p[1], POLLIN);
	tell("readv", readv(p[1], in, 2));
	say("parts %.4s|%.3s", a, b);
	tell("many vectors", writev(p[0], vectors, many));
}

CASE(sendmmsg)
{
	struct iovec out[3] = {{"one ", 4}, {"", 0}, {"two", 3}};
	struct mmsghdr v[2];
	char buf[64];

	make_pair(p);
	memset(v, 0, sizeof v);
	for (int i = 0; i < 2; i++) {
		v[i].msg_hdr.msg_iov = &out[i * 2];
		v[i].msg_hdr.msg_iovlen = 1;
	}
	tell("sendmmsg", sendmmsg(p[0], v, 2, 0));
	say("lengths %u %u", v[0].msg_len, v[1].msg_len);
	tell_text("waitall", buf, recv(p[1], buf, 7, MSG_WAITALL));
}

CASE(more)
{
	struct sockaddr_storage from = {0};
	char a[8] = "", b[16] = "";
	struct iovec in[2] = {{a, 4}, {b, 8}};
	struct msghdr m = {.msg_iov = in, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = 16};
	int n = 0;

	make_pair(p);
	tell("sendto with address", sendto(p[0], "abc", 3, MSG_MORE, (struct sockaddr *)&from, 0));
	tell("send", send(p[0], "defg", 4, 0));
	while (n < 7)
		n += (int)MUST(recvmsg(p[1], &m, 0));
	say("recvmsg %d, name of %u, flags %d", n, m.msg_namelen, m.msg_flags);
}

CASE(timed_read)
{
	struct timeval t = {.tv_usec = 20000};
	char c;

	make_pair(p);
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	tell("timed read", read(p[1], &c, 1));
}

CASE(low_water_mark)
{
	char buf[64];

	make_pair(p);
	MUST(set_int(p[1], SOL_SOCKET, SO_RCVLOWAT, 6));
	write_all(p[0], "123", 3);
	write_all(p[0], "456", 3);
	tell_text("read", buf, read(p[1], buf, sizeof buf));
}

CASE(nothing_to_move)
{
	char buf[64];

	make_pair(p);
	tell("zero write", write(p[0], buf, 0));
	tell("zero read", read(p[1], buf, 0));
	tell("pread", pread(p[1], buf, 1, 0));
	tell("lseek", lseek(p[1], 0, SEEK_SET));
	tell("error queue", recv(p[1], buf, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
	MUST(close(p[0]));
	tell("end", read(p[1], buf, 1));
	tell("end again", read(p[1], buf, 1));
}
