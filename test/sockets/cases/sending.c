/* sending: writes of every kind, their flags, and the errors in their order. */
#include "cases.h"

static void end(int p[2])
{
	MUST(close(p[0]));
	MUST(close(p[1]));
}

static void got(int fd, size_t n)
{
	char buf[128] = "";

	read_all(fd, buf, n);
	say("got %s", buf);
}

CASE(write_of_nothing)
{
	struct iovec v[2] = {{"", 0}, {"", 0}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	int p[2];

	make_pair(p);
	tell("write", write(p[0], "", 0));
	tell("send", send(p[0], "", 0, 0));
	tell("writev", writev(p[0], v, 2));
	tell("writev without any", writev(p[0], v, 0));
	tell("sendmsg", sendmsg(p[0], &m, 0));
	m.msg_iovlen = 0;
	tell("sendmsg without any", sendmsg(p[0], &m, 0));
	tell_events("peer", poll_now(p[1]));
	end(p);
}

CASE(write_of_nothing_after_shutdown)
{
	struct iovec v = {"", 0};
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	tell("write", write(p[0], "", 0));
	tell("send", send(p[0], "", 0, 0));
	tell("writev", writev(p[0], &v, 1));
	end(p);
}

CASE(writev_gathers)
{
	struct iovec v[4] = {{"one ", 4}, {NULL, 0}, {"two ", 4}, {"three", 5}};
	int p[2];

	make_pair(p);
	tell("writev", writev(p[0], v, 4));
	got(p[1], 13);
	end(p);
}

CASE(send_flags_that_do_nothing)
{
	static const int flags[] = {MSG_DONTROUTE, MSG_CONFIRM, MSG_EOR,
				    MSG_NOSIGNAL,  0x8000000,	MSG_TRUNC,
				    MSG_PEEK,	   MSG_WAITALL, MSG_CMSG_CLOEXEC};
	int p[2];

	make_pair(p);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		tell("send", send(p[0], "x", 1, flags[i]));
		got(p[1], 1);
	}
	end(p);
}

CASE(sendto_with_an_address)
{
	struct sockaddr_storage to;
	socklen_t len = sizeof to;
	int p[2], l = listener(0);

	make_pair(p);
	MUST(getsockname(l, (struct sockaddr *)&to, &len));
	tell("other address", sendto(p[0], "abc", 3, 0, (struct sockaddr *)&to, len));
	tell("short address", sendto(p[0], "def", 3, 0, (struct sockaddr *)&to, 1));
	tell("no address, a length", sendto(p[0], "ghi", 3, 0, NULL, 100));
	got(p[1], 9);
	end(p);
	MUST(close(l));
}

CASE(sendmsg_with_a_name)
{
	struct sockaddr_storage to = {.ss_family = AF_UNIX};
	struct iovec v = {"abc", 3};
	struct msghdr m = {
		.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1};
	int p[2];

	make_pair(p);
	tell("sendmsg", sendmsg(p[0], &m, 0));
	got(p[1], 3);
	end(p);
}

CASE(sendmsg_limits)
{
	static struct iovec v[1025];
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 1024};
	int p[2];

	make_pair(p);
	for (int i = 0; i < 1025; i++)
		v[i] = (struct iovec){"x", 1};
	tell("1024", sendmsg(p[0], &m, 0));
	m.msg_iovlen = 1025;
	tell("1025", sendmsg(p[0], &m, 0));
	tell("writev", writev(p[0], v, 1025));
	v[3].iov_len = (size_t)-1;
	m.msg_iovlen = 4;
	tell("negative", sendmsg(p[0], &m, 0));
	end(p);
}

static ssize_t with_control(int fd, int level, int type, int value)
{
	char control[CMSG_SPACE(sizeof value)] = {0};
	struct iovec v = {"abc", 3};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(sizeof value);
	memcpy(CMSG_DATA(c), &value, sizeof value);
	return sendmsg(fd, &m, 0);
}

CASE(sendmsg_with_control_data)
{
	struct iovec v = {"abc", 3};
	char control[64] = {0};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
	int p[2];

	make_pair(p);
	tell("descriptors", with_control(p[0], SOL_SOCKET, SCM_RIGHTS, 0));
	tell("credentials", with_control(p[0], SOL_SOCKET, SCM_CREDENTIALS, 0));
	tell("IP_TTL", with_control(p[0], IPPROTO_IP, IP_TTL, 3));
	tell("odd type", with_control(p[0], SOL_SOCKET, 0x7777, 3));
	tell("odd level", with_control(p[0], 12345, 1, 3));
	m.msg_controllen = 5;
	tell("too short", sendmsg(p[0], &m, 0));
	m.msg_controllen = sizeof control;
	tell("no length within", sendmsg(p[0], &m, 0));
	end(p);
}

CASE(sendmmsg_sends_several)
{
	struct iovec v[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
	struct mmsghdr m[3];
	int p[2];

	memset(m, 0, sizeof m);
	for (int i = 0; i < 3; i++) {
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	make_pair(p);
	tell("none", sendmmsg(p[0], m, 0, 0));
	tell("three", sendmmsg(p[0], m, 3, 0));
	say("%u %u %u", m[0].msg_len, m[1].msg_len, m[2].msg_len);
	got(p[1], 13);
	m[1].msg_hdr.msg_iovlen = 5000;
	tell("the second is bad", sendmmsg(p[0], m, 3, 0));
	tell("the first is bad", sendmmsg(p[0], m + 1, 2, 0));
	end(p);
}

CASE(more_is_held_back)
{
	int p[2];

	make_pair(p);
	tell("first part", send(p[0], "head ", 5, MSG_MORE));
	tell("second part", send(p[0], "body", 4, 0));
	got(p[1], 9);
	end(p);
}

CASE(cork_and_uncork)
{
	int p[2], on = 1;

	make_pair(p);
	tell("cork", setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &on, sizeof on));
	write_all(p[0], "abc", 3);
	write_all(p[0], "def", 3);
	on = 0;
	tell("uncork", setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &on, sizeof on));
	got(p[1], 6);
	end(p);
}

/* fill writes until the stream takes no more, and returns how much that was. */
static size_t fill(int fd)
{
	static char buf[65536];
	size_t sum = 0;
	ssize_t n;

	/* What is under way may yet make room: full is what stays so. */
	for (int tries = 0; tries < 100; tries++) {
		while ((n = send(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
			sum += (size_t)n;
			tries = 0;
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	n = send(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_NOSIGNAL);
	tell("full", n);
	return sum;
}

static void drain(int fd, size_t n)
{
	static char buf[65536];

	while (n > 0)
		n -= (size_t)MUST(read(fd, buf, n < sizeof buf ? n : sizeof buf));
}

CASE(full_buffer)
{
	int p[2];
	size_t n;

	make_pair(p);
	n = fill(p[0]);
	say("something %d", n > 0);
	tell_events("full", poll_now(p[0]));
	nonblocking(p[0], true);
	tell("one octet more", write(p[0], "x", 1));
	drain(p[1], n);
	await(p[0], POLLOUT);
	tell("afterwards", write(p[0], "x", 1));
	got(p[1], 1);
	end(p);
}

CASE(send_timeout)
{
	struct timeval t = {.tv_usec = 20000};
	int p[2];
	static char buf[1 << 20];
	size_t sum = 0;
	ssize_t n;

	make_pair(p);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
	while ((n = write(p[0], buf, sizeof buf)) > 0)
		sum += (size_t)n;
	tell("times out", n);
	drain(p[1], sum);
	end(p);
}

static int big_end;
static size_t big_total;

static void *take(void *arg)
{
	drain(big_end, big_total);
	return arg;
}

CASE(blocking_write_is_whole)
{
	static char buf[8 << 20];
	pthread_t t;
	int p[2];

	make_pair(p);
	big_end = p[1];
	big_total = sizeof buf;
	pthread_create(&t, NULL, take, NULL);
	tell("write", write(p[0], buf, sizeof buf));
	pthread_join(t, NULL);
	end(p);
}

static volatile sig_atomic_t signals;

static void on_signal(int s)
{
	(void)s;
	signals++;
}

static void catch (int sig, int flags)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = flags};

	signals = 0;
	MUST(sigaction(sig, &a, NULL));
}

CASE(sigpipe_or_not)
{
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int p[2];

	catch (SIGPIPE, 0);
	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	tell("write", write(p[0], "x", 1));
	say("signals %d", signals);
	tell("writev", writev(p[0], &v, 1));
	say("signals %d", signals);
	tell("send", send(p[0], "x", 1, 0));
	say("signals %d", signals);
	tell("sendmsg", sendmsg(p[0], &m, 0));
	say("signals %d", signals);
	tell("send, no signal", send(p[0], "x", 1, MSG_NOSIGNAL));
	tell("sendmsg, no signal", sendmsg(p[0], &m, MSG_NOSIGNAL));
	tell("nothing", send(p[0], "x", 0, 0));
	say("signals %d", signals);
	end(p);
}

CASE(sigpipe_after_reset)
{
	struct linger l = {.l_onoff = 1};
	int p[2];

	catch (SIGPIPE, 0);
	make_pair(p);
	MUST(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	MUST(close(p[0]));
	await(p[1], POLLHUP);
	tell("write", write(p[1], "x", 1));
	say("signals %d", signals);
	tell("write", write(p[1], "x", 1));
	say("signals %d", signals);
	MUST(close(p[1]));
}

CASE(writing_to_who_has_closed)
{
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(close(p[1]));
	await(p[0], POLLRDHUP);
	tell("first write", write(p[0], "x", 1));
	await(p[0], POLLHUP);
	tell("second write", write(p[0], "x", 1));
	tell("third write", write(p[0], "x", 1));
	MUST(close(p[0]));
}

CASE(reading_after_writing_to_who_has_closed)
{
	char buf[4];
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	write_all(p[1], "ab", 2);
	MUST(shutdown(p[1], SHUT_WR));
	await(p[0], POLLRDHUP);
	MUST(close(p[1]));
	tell("write", write(p[0], "x", 1));
	await(p[0], POLLHUP);
	tell_events("poll", poll_now(p[0]));
	tell("read", read(p[0], buf, 4));
	tell("read", read(p[0], buf, 4));
	tell("read", read(p[0], buf, 4));
	MUST(close(p[0]));
}

CASE(sending_on_what_is_nothing_yet)
{
	int fd = stream_socket(0);

	catch (SIGPIPE, 0);
	tell("write", write(fd, "x", 1));
	tell("send of nothing", send(fd, "x", 0, 0));
	tell("write of nothing", write(fd, "x", 0));
	tell("urgent", send(fd, "x", 1, MSG_OOB));
	say("signals %d", signals);
	MUST(close(fd));
	tell("closed", write(fd, "x", 1));
	tell("no such", write(-1, "x", 1));
	tell("no socket", send(0, "x", 1, 0) < 0 ? -1 : 0);
}

CASE(urgent_octet)
{
	char buf[8] = "";
	int p[2], at;

	make_pair(p);
	write_all(p[0], "ab", 2);
	tell("urgent", send(p[0], "U", 1, MSG_OOB));
	write_all(p[0], "cd", 2);
	await(p[1], POLLPRI);
	tell("before it", read(p[1], buf, 8));
	at = sockatmark(p[1]);
	say("at the mark %d", at);
	tell("it", recv(p[1], buf, 1, MSG_OOB));
	say("%c", buf[0]);
	tell("once", recv(p[1], buf, 1, MSG_OOB));
	read_all(p[1], buf, 2);
	say("after it %.2s", buf);
	end(p);
}

CASE(urgent_octets_of_several)
{
	char buf[8] = "";
	int p[2];

	make_pair(p);
	tell("three octets, the last is urgent", send(p[0], "abU", 3, MSG_OOB));
	await(p[1], POLLPRI);
	tell("urgent", recv(p[1], buf, 8, MSG_OOB));
	say("%c", buf[0]);
	read_all(p[1], buf, 2);
	say("%.2s", buf);
	tell("urgent of none", recv(p[1], buf, 1, MSG_OOB));
	tell("nothing is urgent", send(p[0], "", 0, MSG_OOB));
	end(p);
}

CASE(zero_copy_flag_without_option)
{
	int p[2];
	char c;

	make_pair(p);
	tell("send", send(p[0], "abc", 3, 0x4000000));
	got(p[1], 3);
	tell("error queue", recv(p[0], &c, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
	tell_events("poll", poll_now(p[0]));
	end(p);
}

CASE(two_writers_keep_their_messages)
{
	char buf[64];
	int p[2], n = 0;

	make_pair(p);
	for (int i = 0; i < 2; i++) {
		pid_t pid = MUST(fork());

		if (pid == 0) {
			write_all(p[0], i ? "aaaaaaaa" : "bbbbbbbb", 8);
			_exit(0);
		}
		reap(pid);
	}
	read_all(p[1], buf, 16);
	for (int i = 1; i < 16; i++)
		n += buf[i] != buf[i - 1];
	say("changes %d", n);
	end(p);
}

CASE(errors_before_the_socket_is_looked_at)
{
	struct msghdr m = {.msg_iovlen = 2000};
	int p[2];

	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	tell("too many", sendmsg(p[0], &m, MSG_NOSIGNAL));
	tell("no descriptor", sendmsg(-1, &m, MSG_NOSIGNAL));
	MUST(shutdown(p[1], SHUT_WR));
	await(p[0], POLLHUP);
	tell("too many to receive", recvmsg(p[0], &m, 0));
	end(p);
}
