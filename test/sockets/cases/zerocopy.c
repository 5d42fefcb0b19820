/* zerocopy: MSG_ZEROCOPY, and the completions in the error queue. */
#include "cases.h"

#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <sys/epoll.h>

static void zerocopy_pair(int p[2])
{
	make_pair(p);
	tell("SO_ZEROCOPY", set_int(p[0], SOL_SOCKET, SO_ZEROCOPY, 1));
}

/* acknowledged waits until the peer has everything: what was written is complete then. */
static void acknowledged(int fd)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int left;

	while (MUST(ioctl(fd, SIOCOUTQ, &left)) == 0 && left > 0)
		nanosleep(&pause, NULL);
}

/* completion reads the error queue, with so much room for control data. */
static void completion(int fd, size_t room)
{
	union {
		char bytes[256];
		struct cmsghdr align;
	} u = {0};
	char octet[4];
	struct sockaddr_storage name;
	struct iovec iov = {octet, sizeof octet};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = &name,
			   .msg_namelen = sizeof name,
			   .msg_control = u.bytes,
			   .msg_controllen = room};
	struct sock_extended_err e;
	struct cmsghdr *c;
	ssize_t rc = recvmsg(fd, &m, MSG_ERRQUEUE);

	tell("error queue", rc);
	if (rc < 0)
		return;
	say("flags %#x, name %u, control %zu", m.msg_flags, m.msg_namelen, m.msg_controllen);
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_len < CMSG_LEN(sizeof e))
		return;
	memcpy(&e, CMSG_DATA(c), sizeof e);
	say("level %d, type %d, length %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
	say("errno %u, origin %u, type %u, code %u, %u to %u", e.ee_errno, e.ee_origin, e.ee_type,
	    e.ee_code, e.ee_info, e.ee_data);
	for (size_t i = CMSG_LEN(sizeof e); i < c->cmsg_len; i++)
		if (((char *)c)[i] != 0)
			say("offender: octet %zu", i);
}

static void write_zerocopy(int fd, const char *text)
{
	tell(text, send(fd, text, strlen(text), MSG_ZEROCOPY));
}

CASE(completions)
{
	char buf[16];
	int p[2];

	zerocopy_pair(p);
	tell_events("before", poll_now(p[0]));
	completion(p[0], 256);
	write_zerocopy(p[0], "one");
	write_zerocopy(p[0], "two");
	write_zerocopy(p[0], "three");
	read_all(p[1], buf, 11);
	say("%.11s", buf);
	await(p[0], POLLERR);
	acknowledged(p[0]);
	tell_events("complete", poll_now(p[0]));
	tell_error("no error", p[0]);
	tell("read", recv(p[0], buf, 1, MSG_DONTWAIT));
	completion(p[0], 256);
	tell_events("told", poll_now(p[0]));
	completion(p[0], 256);
	write_zerocopy(p[0], "four");
	read_all(p[1], buf, 4);
	await(p[0], POLLERR);
	completion(p[0], 256);
}

/* What has a number: a write with the flag that has written something. */
CASE(numbers)
{
	char buf[16];
	struct iovec two[2] = {{"a", 1}, {"b", 1}};
	struct msghdr m = {.msg_iov = two, .msg_iovlen = 2};
	int p[2];

	zerocopy_pair(p);
	tell("plain", send(p[0], "x", 1, 0));
	tell("nothing", send(p[0], "", 0, MSG_ZEROCOPY));
	tell("two vectors", sendmsg(p[0], &m, MSG_ZEROCOPY));
	tell("write", write(p[0], "y", 1));
	read_all(p[1], buf, 4);
	acknowledged(p[0]);
	completion(p[0], 256);
	tell("off", set_int(p[0], SOL_SOCKET, SO_ZEROCOPY, 0));
	write_zerocopy(p[0], "z");
	read_all(p[1], buf, 1);
	acknowledged(p[0]);
	tell_events("none", poll_now(p[0]));
	tell("on", set_int(p[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	write_zerocopy(p[0], "z");
	read_all(p[1], buf, 1);
	acknowledged(p[0]);
	completion(p[0], 256);
	MUST(shutdown(p[0], SHUT_WR));
	tell("after the end", send(p[0], "z", 1, MSG_ZEROCOPY | MSG_NOSIGNAL));
	completion(p[0], 256);
}

/* A write that is more than the buffers hold is one all the same. */
CASE(large)
{
	static uint8_t buf[1 << 20];
	int p[2];
	pid_t child;

	zerocopy_pair(p);
	child = MUST(fork());
	if (child == 0) {
		read_all(p[1], buf, sizeof buf);
		verify(buf, 0, sizeof buf);
		_exit(0);
	}
	fill_pattern(buf, 0, sizeof buf);
	tell("large", send(p[0], buf, sizeof buf, MSG_ZEROCOPY));
	reap(child);
	await(p[0], POLLERR);
	acknowledged(p[0]);
	completion(p[0], 256);
}

/* Without the option the flag is passed over. */
CASE(without_the_option)
{
	char buf[4];
	int p[2];

	make_pair(p);
	write_zerocopy(p[0], "abc");
	read_all(p[1], buf, 3);
	acknowledged(p[0]);
	tell_events("none", poll_now(p[0]));
	completion(p[0], 256);
}

CASE(option)
{
	int l = listener(0), c, a;

	tell("two", set_int(l, SOL_SOCKET, SO_ZEROCOPY, 2));
	tell("minus one", set_int(l, SOL_SOCKET, SO_ZEROCOPY, -1));
	tell("one", set_int(l, SOL_SOCKET, SO_ZEROCOPY, 1));
	c = connect_to(l);
	a = MUST(accept(l, NULL, NULL));
	say("connected %d, accepted %d", get_int(c, SOL_SOCKET, SO_ZEROCOPY),
	    get_int(a, SOL_SOCKET, SO_ZEROCOPY));
	tell("minus one", set_int(a, SOL_SOCKET, SO_ZEROCOPY, -1));
	write_zerocopy(a, "a");
	write_zerocopy(c, "c");
	acknowledged(a);
	acknowledged(c);
	completion(a, 256);
	completion(c, 256);
}

/* Room for the message is short, or there is none. */
CASE(short_control)
{
	static const size_t rooms[] = {0,  8, sizeof(struct cmsghdr), CMSG_LEN(8), CMSG_LEN(16),
				       256};
	char c;
	int p[2];

	zerocopy_pair(p);
	for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
		write_zerocopy(p[0], "x");
		read_all(p[1], &c, 1);
		acknowledged(p[0]);
		await(p[0], POLLERR);
		completion(p[0], rooms[i]);
	}
	write_zerocopy(p[0], "x");
	acknowledged(p[0]);
	await(p[0], POLLERR);
	tell("recv", recv(p[0], &c, 1, MSG_ERRQUEUE));
	tell("recv", recv(p[0], &c, 1, MSG_ERRQUEUE));
}

static pid_t sleeper;

struct waiter {
	int ep;
	unsigned got;
};

static void *wait_in_set(void *arg)
{
	struct waiter *w = arg;
	struct epoll_event e;

	__atomic_store_n(&sleeper, gettid(), __ATOMIC_RELEASE);
	if (epoll_wait(w->ep, &e, 1, -1) == 1)
		w->got = e.events;
	return NULL;
}

/* A thread sleeps in epoll_wait when another writes. */
static void wakes(uint32_t mode)
{
	struct waiter w = {.ep = MUST(epoll_create1(0))};
	struct epoll_event e = {.events = EPOLLIN | mode};
	pthread_t thread;
	char c;
	int p[2];

	zerocopy_pair(p);
	MUST(epoll_ctl(w.ep, EPOLL_CTL_ADD, p[0], &e));
	pthread_create(&thread, NULL, wait_in_set, &w);
	asleep(&sleeper);
	write_zerocopy(p[0], "x");
	read_all(p[1], &c, 1);
	pthread_join(thread, NULL);
	tell_events("woken", w.got);
	acknowledged(p[0]);
	completion(p[0], 256);
	tell("nothing more", epoll_wait(w.ep, &e, 1, 0));
	MUST(close(w.ep));
}

CASE(wakes_level)
{
	wakes(0);
}

CASE(wakes_edge)
{
	wakes(EPOLLET);
}

CASE(in_select)
{
	fd_set in, out, odd;
	struct timeval now = {0};
	char c;
	int p[2];

	zerocopy_pair(p);
	write_zerocopy(p[0], "x");
	read_all(p[1], &c, 1);
	acknowledged(p[0]);
	await(p[0], POLLERR);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&odd);
	FD_SET(p[0], &in);
	FD_SET(p[0], &out);
	FD_SET(p[0], &odd);
	tell("select", select(p[0] + 1, &in, &out, &odd, &now));
	say("in %d, out %d, except %d", FD_ISSET(p[0], &in) != 0, FD_ISSET(p[0], &out) != 0,
	    FD_ISSET(p[0], &odd) != 0);
}

/* Processes that share the socket share its numbers and its queue. */
CASE(shared_by_processes)
{
	char buf[4];
	int p[2];
	pid_t child;

	zerocopy_pair(p);
	write_zerocopy(p[0], "a");
	child = MUST(fork());
	if (child == 0) {
		write_zerocopy(p[0], "b");
		read_all(p[1], buf, 2);
		acknowledged(p[0]);
		completion(p[0], 256);
		_exit(0);
	}
	reap(child);
	completion(p[0], 256);
	write_zerocopy(p[0], "c");
	read_all(p[1], buf, 1);
	acknowledged(p[0]);
	completion(p[0], 256);
}
