/* states: what every call gives on a socket in every state, and what it gives after another call.
 */
#include "cases.h"

#include <linux/sockios.h>
#include <sys/syscall.h>

/* end is a socket in some state, and the other side's if it has one. */
struct end {
	int fd, peer, listening;
};

static void drop(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	if (e->peer >= 0)
		close(e->peer);
	if (e->listening >= 0)
		close(e->listening);
}

static struct end no_peer(int fd)
{
	nonblocking(fd, true);
	return (struct end){fd, -1, -1};
}

static struct end fresh(void)
{
	return no_peer(stream_socket(0));
}

static struct end bound(void)
{
	int fd = stream_socket(0);

	MUST(bind_to(fd, make_address(0)));
	return no_peer(fd);
}

static struct end listening(void)
{
	return no_peer(listener(0));
}

static struct end listening_with_one(void)
{
	int l = listener(0), c = connect_to(l);

	await(l, POLLIN);
	nonblocking(l, true);
	return (struct end){l, c, -1};
}

/* established is the accepted side, asked is the one that connected. */
static struct end established(void)
{
	int p[2];

	make_pair(p);
	nonblocking(p[1], true);
	return (struct end){p[1], p[0], -1};
}

static struct end asked(void)
{
	int p[2];

	make_pair(p);
	nonblocking(p[0], true);
	return (struct end){p[0], p[1], -1};
}

static struct end with_octets(void)
{
	struct end e = established();

	write_all(e.peer, "octets", 6);
	await(e.fd, POLLIN);
	return e;
}

static struct end peer_shut(void)
{
	struct end e = established();

	MUST(shutdown(e.peer, SHUT_WR));
	await(e.fd, POLLRDHUP);
	return e;
}

static struct end peer_shut_with_octets(void)
{
	struct end e = established();

	write_all(e.peer, "octets", 6);
	MUST(shutdown(e.peer, SHUT_WR));
	await(e.fd, POLLIN | POLLRDHUP);
	return e;
}

static struct end peer_closed(void)
{
	struct end e = established();

	MUST(close(e.peer));
	e.peer = -1;
	await(e.fd, POLLRDHUP);
	return e;
}

/* Our octets met a peer that is gone: its reset comes after its end. */
static struct end peer_closed_and_reset(void)
{
	struct end e = peer_closed();

	write_all(e.fd, "x", 1);
	await(e.fd, POLLERR);
	return e;
}

static struct end shut_write(void)
{
	struct end e = established();

	MUST(shutdown(e.fd, SHUT_WR));
	await(e.peer, POLLRDHUP);
	return e;
}

static struct end shut_read(void)
{
	struct end e = established();

	MUST(shutdown(e.fd, SHUT_RD));
	return e;
}

static struct end shut_read_with_octets(void)
{
	struct end e = with_octets();

	MUST(shutdown(e.fd, SHUT_RD));
	return e;
}

static struct end shut_both(void)
{
	struct end e = established();

	MUST(shutdown(e.fd, SHUT_RDWR));
	await(e.peer, POLLRDHUP);
	return e;
}

/* Both have ended; ours was first. */
static struct end ended(void)
{
	struct end e = shut_write();

	MUST(close(e.peer));
	e.peer = -1;
	await(e.fd, POLLHUP);
	return e;
}

/* Both have ended; the peer's was first. */
static struct end ended_last(void)
{
	struct end e = peer_closed();

	MUST(shutdown(e.fd, SHUT_WR));
	await(e.fd, POLLHUP);
	return e;
}

static struct end reset_by_peer(struct end e)
{
	struct linger hard = {.l_onoff = 1};

	MUST(setsockopt(e.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	MUST(close(e.peer));
	e.peer = -1;
	await(e.fd, POLLERR);
	return e;
}

static struct end reset(void)
{
	return reset_by_peer(established());
}

static struct end reset_with_octets(void)
{
	return reset_by_peer(with_octets());
}

static struct end reset_after_shut(void)
{
	return reset_by_peer(shut_write());
}

static struct end refused(void)
{
	int l = listener(0);
	struct end e = fresh();
	struct sockaddr_storage to = name_of(l);

	MUST(close(l));
	if (connect_at(e.fd, to) < 0 && errno == EINPROGRESS)
		await(e.fd, POLLERR);
	return e;
}

/* The calls. A result that is a descriptor is closed and told as 0. */
static char area[16];

static long take(long fd)
{
	return fd < 0 ? fd : close((int)fd);
}

static long in_ioctl(int fd, unsigned long what)
{
	int n = -1;

	return ioctl(fd, what, &n) < 0 ? -1 : n;
}

static long option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof v;

	return getsockopt(fd, level, name, &v, &len) < 0 ? -1 : v;
}

static long state(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof info;

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? -1 : info.tcpi_state;
}

static long peername(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;

	return getpeername(fd, (struct sockaddr *)&a, &len);
}

static long one_vector(int fd, bool out)
{
	struct iovec iov = {area, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	return out ? sendmsg(fd, &m, MSG_NOSIGNAL) : recvmsg(fd, &m, 0);
}

static long from_file(int fd)
{
	static int file = -1;

	if (file < 0) {
		file = MUST(memfd_create("one", 0));
		write_all(file, "f", 1);
	}
	return sendfile(fd, file, &(off_t){0}, 1);
}

static long from_pipe(int fd)
{
	int p[2];
	long rc;

	MUST(pipe(p));
	write_all(p[1], "p", 1);
	rc = splice(p[0], NULL, fd, NULL, 1, SPLICE_F_NONBLOCK);
	int error = errno;

	MUST(close(p[0]));
	MUST(close(p[1]));
	errno = error;
	return rc;
}

static long to_pipe(int fd)
{
	int p[2];
	long rc;

	MUST(pipe(p));
	rc = splice(fd, NULL, p[1], NULL, 1, SPLICE_F_NONBLOCK);
	int error = errno;

	MUST(close(p[0]));
	MUST(close(p[1]));
	errno = error;
	return rc;
}

static long elsewhere(int fd)
{
	int l = listener(0);
	long rc = connect_at(fd, name_of(l));
	int error = errno;

	if (rc < 0 && error == EINPROGRESS) {
		await(fd, POLLOUT);
		rc = 0;
	}
	MUST(close(l));
	errno = error;
	return rc;
}

static long in_epoll(int fd)
{
	int ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI};
	long n;

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	n = MUST(epoll_wait(ep, &e, 1, 0));
	MUST(close(ep));
	return n ? (long)e.events : 0;
}

static long in_select(int fd)
{
	fd_set r, w, x;
	struct timeval none = {0};

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	FD_SET(fd, &x);
	MUST(select(fd + 1, &r, &w, &x, &none));
	return FD_ISSET(fd, &r) * 4 + FD_ISSET(fd, &w) * 2 + FD_ISSET(fd, &x);
}

#define CALLS(X)                                                 \
	X(poll, poll_now(fd))                                    \
	X(epoll, in_epoll(fd))                                   \
	X(select, in_select(fd))                                 \
	X(read, read(fd, area, 3))                               \
	X(readv, readv(fd, &(struct iovec){area, 2}, 1))         \
	X(read_none, read(fd, area, 0))                          \
	X(peek, recv(fd, area, 3, MSG_PEEK))                     \
	X(waitall, recv(fd, area, 6, MSG_WAITALL))               \
	X(trunc, recv(fd, area, 2, MSG_TRUNC))                   \
	X(urgent, recv(fd, area, 1, MSG_OOB))                    \
	X(recvmsg, one_vector(fd, false))                        \
	X(errqueue, recv(fd, area, 1, MSG_ERRQUEUE))             \
	X(write, write(fd, "w", 1))                              \
	X(write_none, write(fd, "w", 0))                         \
	X(writev, writev(fd, &(struct iovec){area, 1}, 1))       \
	X(send, send(fd, "s", 1, MSG_NOSIGNAL))                  \
	X(send_more, send(fd, "m", 1, MSG_NOSIGNAL | MSG_MORE))  \
	X(send_urgent, send(fd, "u", 1, MSG_NOSIGNAL | MSG_OOB)) \
	X(sendmsg, one_vector(fd, true))                         \
	X(sendfile, from_file(fd))                               \
	X(splice_in, from_pipe(fd))                              \
	X(splice_out, to_pipe(fd))                               \
	X(so_error, option(fd, SOL_SOCKET, SO_ERROR))            \
	X(acceptconn, option(fd, SOL_SOCKET, SO_ACCEPTCONN))     \
	X(nodelay, set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1))     \
	X(cork, set_int(fd, IPPROTO_TCP, TCP_CORK, 1))           \
	X(keepalive, set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1))   \
	X(defer, set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1))  \
	X(state, state(fd))                                      \
	X(unread, in_ioctl(fd, FIONREAD))                        \
	X(unsent, in_ioctl(fd, SIOCOUTQNSD))                     \
	X(at_mark, in_ioctl(fd, SIOCATMARK))                     \
	X(peername, peername(fd))                                \
	X(shut_read, shutdown(fd, SHUT_RD))                      \
	X(shut_write, shutdown(fd, SHUT_WR))                     \
	X(shut_both, shutdown(fd, SHUT_RDWR))                    \
	X(bind, bind_to(fd, make_address(0)))                    \
	X(listen, listen(fd, 3))                                 \
	X(accept, take(accept(fd, NULL, NULL)))                  \
	X(accept4, take(accept4(fd, NULL, NULL, SOCK_NONBLOCK))) \
	X(connect, elsewhere(fd))

#define FUNCTION(name_, ...)             \
	static long call_##name_(int fd) \
	{                                \
		return (__VA_ARGS__);    \
	}
CALLS(FUNCTION)

static const struct a_call {
	const char *name;
	long (*f)(int fd);
} calls[] = {
#define ENTRY(name_, ...) {#name_, call_##name_},
	CALLS(ENTRY)};

enum { CALL_COUNT = sizeof calls / sizeof *calls };

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void count_pipes(void)
{
	struct sigaction a = {.sa_handler = on_pipe};

	MUST(sigaction(SIGPIPE, &a, NULL));
}

static const char *result(long rc, char *buf, size_t size)
{
	if (rc < 0)
		return strerrorname_np(errno);
	snprintf(buf, size, "%ld", rc);
	return buf;
}

/* settle waits until nothing is under way that Linux, over loopback, has done when a call returns:
 * octets that the other side has not acknowledged, an end that it has not. */
static void settle(int fd)
{
	const unsigned moving = 1u << TCP_FIN_WAIT1 | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING;
	struct timespec pause = {.tv_nsec = 500000};
	int unsent = 0;

	for (int i = 0; i < 4000; i++) {
		long now = state(fd);

		if (now == TCP_CLOSE || ((1u << now & moving) == 0 &&
					 (ioctl(fd, SIOCOUTQ, &unsent) < 0 || unsent == 0)))
			return;
		nanosleep(&pause, NULL);
	}
	say("state %ld, %d unsent for ever", state(fd), unsent);
}

/* every makes every call on a socket of its own in the state. */
static void every(struct end (*make)(void))
{
	char buf[32];

	count_pipes();
	for (int i = 0; i < CALL_COUNT; i++) {
		struct end e = make();
		sig_atomic_t before = pipes;
		long rc;

		settle(e.fd);
		rc = calls[i].f(e.fd);
		say("%s: %s%s", calls[i].name, result(rc, buf, sizeof buf),
		    pipes != before ? ", SIGPIPE" : "");
		drop(&e);
	}
}

/* after makes every call after each of the first calls, all on sockets of their own. A poll says
 * what the first has changed. */
static void after(struct end (*make)(void), const char *const *first, int n)
{
	char buf[32];

	signal(SIGPIPE, SIG_IGN);
	for (int k = 0; k < n; k++) {
		int f = 0;

		while (strcmp(calls[f].name, first[k]) != 0)
			f++;
		for (int i = 0; i < CALL_COUNT; i++) {
			struct end e = make();
			long rc;

			settle(e.fd);
			calls[f].f(e.fd);
			settle(e.fd);
			rc = calls[i].f(e.fd);
			say("%s, %s: %s", first[k], calls[i].name, result(rc, buf, sizeof buf));
			drop(&e);
		}
	}
}

#define STATE(name_)                                                                         \
	CASE(name_)                                                                          \
	{                                                                                    \
		every(name_);                                                                \
	}                                                                                    \
	CASE(name_##_after_io)                                                               \
	{                                                                                    \
		static const char *const first[] = {"read", "write", "peek", "so_error"};    \
                                                                                             \
		after(name_, first, 4);                                                      \
	}                                                                                    \
	CASE(name_##_after_shutdown)                                                         \
	{                                                                                    \
		static const char *const first[] = {"shut_read", "shut_write", "shut_both"}; \
                                                                                             \
		after(name_, first, 3);                                                      \
	}

STATE(fresh)
STATE(bound)
STATE(listening)
STATE(listening_with_one)
STATE(established)
STATE(asked)
STATE(with_octets)
STATE(peer_shut)
STATE(peer_shut_with_octets)
STATE(peer_closed)
STATE(peer_closed_and_reset)
STATE(shut_write)
STATE(shut_read)
STATE(shut_read_with_octets)
STATE(shut_both)
STATE(ended)
STATE(ended_last)
STATE(reset)
STATE(reset_with_octets)
STATE(reset_after_shut)
STATE(refused)
