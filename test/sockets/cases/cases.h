/*
 * cases.h - what the socket cases share.
 *
 * A file holds cases: CASE(name) { ... }. Each runs in a process of its own, `PROGRAM ADDRESS
 * NAME`, and is given an address that it can listen on and connect to. It prints what it observes;
 * the same lines have to come from the kernel's sockets and from the TOE's. `PROGRAM --list` prints
 * the names of the cases and the families of addresses that they are for.
 *
 * A case waits for conditions, never for time, and assumes of a read's length only what Linux
 * promises.
 */
#ifndef CASES_H
#define CASES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                                             \
	({                                                                                     \
		__typeof__(call) must_rc = (call);                                             \
		if (must_rc < 0) {                                                             \
			printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(errno)); \
			fflush(stdout);                                                        \
			_exit(1);                                                              \
		}                                                                              \
		must_rc;                                                                       \
	})

/* test_case is what CASE registers; the constructors of a file build the list. */
struct test_case {
	const char *name;
	void (*run)(void);
	const char *families;
	struct test_case *next;
};

static struct test_case *test_cases;

#define CASE_FOR(name_, families_)                                                       \
	static void case_##name_(void);                                                  \
	static struct test_case entry_##name_ = {#name_, case_##name_, families_, NULL}; \
	__attribute__((constructor)) static void register_##name_(void)                  \
	{                                                                                \
		entry_##name_.next = test_cases;                                         \
		test_cases = &entry_##name_;                                             \
	}                                                                                \
	static void case_##name_(void)

#define CASE(name) CASE_FOR(name, "4 6") /* for addresses of either family */
#define CASE4(name) CASE_FOR(name, "4")
#define CASE6(name) CASE_FOR(name, "6")

static const char *address;   /* that the case may use */
static int family;	      /* of address */
static const char *this_case; /* name of the case that runs */

/* say prints a line at once, so that forked processes do not print a copy of it. */
__attribute__((unused, format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	flockfile(stdout); /* threads print whole lines */
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
	funlockfile(stdout);
	va_end(args);
}

/* tell prints how a call went: its result, or the name of its error. */
__attribute__((unused)) static void tell(const char *what, long rc)
{
	if (rc < 0)
		say("%s: %s", what, strerrorname_np(errno));
	else
		say("%s: %ld", what, rc);
}

/* address_at is addr with a port. A socket address is always given in the largest size, which Linux
 * takes for either family. */
__attribute__((unused)) static struct sockaddr_storage address_at(const char *addr, int port)
{
	union {
		struct sockaddr_storage any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = {0};

	if (strchr(addr, ':')) {
		a.v6.sin6_family = AF_INET6;
		a.v6.sin6_port = htons((uint16_t)port);
		if (inet_pton(AF_INET6, addr, &a.v6.sin6_addr) != 1)
			abort();
	} else {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons((uint16_t)port);
		if (inet_pton(AF_INET, addr, &a.v4.sin_addr) != 1)
			abort();
	}
	return a.any;
}

__attribute__((unused)) static struct sockaddr_storage make_address(int port)
{
	return address_at(address, port);
}

/* any_address and loopback_address are those of the case's family. */
__attribute__((unused)) static struct sockaddr_storage any_address(int port)
{
	return address_at(family == AF_INET6 ? "::" : "0.0.0.0", port);
}

__attribute__((unused)) static struct sockaddr_storage loopback_address(int port)
{
	return address_at(family == AF_INET6 ? "::1" : "127.0.0.1", port);
}

/* in4 and in6 are views of an address whose family is known. */
__attribute__((unused)) static struct sockaddr_in *in4(struct sockaddr_storage *a)
{
	return (struct sockaddr_in *)a;
}

__attribute__((unused)) static struct sockaddr_in6 *in6(struct sockaddr_storage *a)
{
	return (struct sockaddr_in6 *)a;
}

__attribute__((unused)) static int port_in(struct sockaddr_storage a)
{
	return ntohs(a.ss_family == AF_INET6 ? in6(&a)->sin6_port : in4(&a)->sin_port);
}

__attribute__((unused)) static bool same_address(struct sockaddr_storage a,
						 struct sockaddr_storage b)
{
	if (a.ss_family != b.ss_family || port_in(a) != port_in(b))
		return false;
	if (a.ss_family == AF_INET6)
		return memcmp(&in6(&a)->sin6_addr, &in6(&b)->sin6_addr, 16) == 0;
	return in4(&a)->sin_addr.s_addr == in4(&b)->sin_addr.s_addr;
}

__attribute__((unused)) static struct sockaddr_storage name_of(int fd)
{
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof a;

	MUST(getsockname(fd, (struct sockaddr *)&a, &len));
	return a;
}

__attribute__((unused)) static struct sockaddr_storage peer_of(int fd)
{
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof a;

	MUST(getpeername(fd, (struct sockaddr *)&a, &len));
	return a;
}

__attribute__((unused)) static int port_of(int fd)
{
	return port_in(name_of(fd));
}

/* bind_to and connect_at are bind and connect with an address of ours. */
__attribute__((unused)) static int bind_to(int fd, struct sockaddr_storage a)
{
	return bind(fd, (struct sockaddr *)&a, sizeof a);
}

__attribute__((unused)) static int connect_at(int fd, struct sockaddr_storage a)
{
	return connect(fd, (struct sockaddr *)&a, sizeof a);
}

/* stream_socket returns a new socket of the case's family. */
__attribute__((unused)) static int stream_socket(int flags)
{
	return MUST(socket(family, SOCK_STREAM | flags, 0));
}

/* private_port returns a port that is free for every address, outside those that the kernel
 * chooses, and that no case which asks so has: UDP's port of that number says whose it is, as long
 * as the process lives. */
__attribute__((unused)) static int private_port(void)
{
	unsigned seed = (unsigned)getpid() * 2654435761u ^ (unsigned)time(NULL);

	for (;;) {
		int port = 10000 + rand_r(&seed) % 20000;
		int owner = MUST(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		int probe = MUST(socket(AF_INET6, SOCK_STREAM, 0));
		bool mine = bind_to(owner, address_at("::", port)) == 0 &&
			    bind_to(probe, address_at("::", port)) == 0;

		MUST(close(probe));
		probe = MUST(socket(AF_INET, SOCK_STREAM, 0));
		mine = mine && bind_to(probe, address_at("0.0.0.0", port)) == 0;
		MUST(close(probe));
		if (mine) {
			MUST(fcntl(owner, F_DUPFD_CLOEXEC,
				   800)); /* not a number that cases count on */
			MUST(close(owner));
			return port;
		}
		MUST(close(owner));
	}
}

/* get_int and set_int are options that are integers. */
__attribute__((unused)) static int get_int(int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof v;

	MUST(getsockopt(fd, level, option, &v, &len));
	return v;
}

__attribute__((unused)) static int set_int(int fd, int level, int option, int v)
{
	return setsockopt(fd, level, option, &v, sizeof v);
}

/* tell_error prints and clears SO_ERROR. */
__attribute__((unused)) static void tell_error(const char *what, int fd)
{
	int e;
	socklen_t len = sizeof e;

	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	say("%s: %s", what, e ? strerrorname_np(e) : "no error");
}

/* listener returns a socket that listens on a port that the kernel chose. */
__attribute__((unused)) static int listener(int flags)
{
	int fd = stream_socket(flags);

	MUST(set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind_to(fd, make_address(0)));
	MUST(listen(fd, 64));
	return fd;
}

__attribute__((unused)) static int connect_to(int listening)
{
	int fd = stream_socket(0);

	MUST(connect_at(fd, name_of(listening)));
	return fd;
}

/* pair makes a connection; pair[0] is the side that connected. */
__attribute__((unused)) static void make_pair(int pair[2])
{
	int l = listener(0);

	pair[0] = connect_to(l);
	pair[1] = MUST(accept(l, NULL, NULL));
	MUST(close(l));
}

__attribute__((unused)) static void nonblocking(int fd, bool on)
{
	int flags = MUST(fcntl(fd, F_GETFL));

	MUST(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

/* events prints a poll or epoll mask by name. */
__attribute__((unused)) static void tell_events(const char *what, unsigned e)
{
	say("%s:%s%s%s%s%s%s%s", what, e & POLLIN ? " IN" : "", e & POLLOUT ? " OUT" : "",
	    e & POLLPRI ? " PRI" : "", e & POLLRDHUP ? " RDHUP" : "", e & POLLHUP ? " HUP" : "",
	    e & POLLERR ? " ERR" : "", e == 0 ? " nothing" : "");
}

/* await waits until fd has all of the given poll events. */
__attribute__((unused)) static void await(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; i < 10000; i++) {
		if (poll(&p, 1, 1000) > 0 && (p.revents & events) == events)
			return;
		nanosleep(&pause, NULL); /* one of the events is there, another not yet */
	}
	say("await %#x: never came, have %#x", events, p.revents);
	_exit(1);
}

__attribute__((unused)) static unsigned poll_now(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};

	MUST(poll(&p, 1, 0));
	return (unsigned short)p.revents;
}

__attribute__((unused)) static void write_all(int fd, const void *buf, size_t n)
{
	for (size_t done = 0; done < n;)
		done += (size_t)MUST(write(fd, (const char *)buf + done, n - done));
}

__attribute__((unused)) static void read_all(int fd, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = MUST(read(fd, (char *)buf + done, n - done));

		if (got == 0) {
			say("end of stream after %zu of %zu", done, n);
			_exit(1);
		}
		done += (size_t)got;
	}
}

/* pattern is octet i of every test stream; verify reports the first octet that differs. */
__attribute__((unused)) static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 2654435761u >> 13 ^ i);
}

__attribute__((unused)) static void fill_pattern(uint8_t *p, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(from + i);
}

__attribute__((unused)) static void verify(const uint8_t *p, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != pattern(from + i)) {
			say("octet %llu is wrong", (unsigned long long)(from + i));
			_exit(1);
		}
	}
}

__attribute__((unused)) static void reap(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0));
	if (status != 0)
		say("child ended with status %#x", status);
}

/* mapped_files returns how many anonymous files the process has mapped. */
__attribute__((unused)) static int mapped_files(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (f && fgets(line, sizeof line, f))
		n += strstr(line, "/memfd:") != NULL;
	if (f)
		fclose(f);
	return n;
}

/* asleep waits until the thread whose number *tid will hold sleeps in the kernel, where a spinning
 * one does not. */
__attribute__((unused)) static void asleep(pid_t *tid)
{
	char path[64], state = 0;

	while (state != 'S') {
		pid_t t = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
		FILE *f;

		sched_yield();
		if (t == 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", t);
		f = fopen(path, "re");
		if (!f)
			return; /* it has ended already */
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			say("no such thread");
		fclose(f);
	}
}

/* send_fds sends descriptors over a Unix socket, with one octet; recv_fds takes up to n and returns how
 * many came. */
#define FDS_MAX 16

__attribute__((unused)) static void send_fds(int via, const int *fds, int n)
{
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} u = {0};
	struct iovec iov = {"f", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.bytes,
			   .msg_controllen = CMSG_SPACE((size_t)n * sizeof *fds)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN((size_t)n * sizeof *fds);
	memcpy(CMSG_DATA(c), fds, (size_t)n * sizeof *fds);
	MUST(sendmsg(via, &m, 0));
}

__attribute__((unused)) static int recv_fds(int via, int *fds, int n, int flags)
{
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} u = {0};
	char octet;
	struct iovec iov = {&octet, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.bytes,
			   .msg_controllen = CMSG_LEN((size_t)n * sizeof *fds)};
	struct cmsghdr *c;
	int got = 0;

	if (MUST(recvmsg(via, &m, flags)) == 0)
		return 0;
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		got = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof *fds);
		memcpy(fds, CMSG_DATA(c), (size_t)got * sizeof *fds);
	}
	return got;
}

/* exec_again executes the program anew for the same case, which finds the phase and the descriptors
 * by phase() and phase_fd(). */
__attribute__((unused, noreturn)) static void exec_again(const char *phase, int fd, int other)
{
	char text[64];

	snprintf(text, sizeof text, "%s %d %d", phase, fd, other);
	setenv("CASE_PHASE", text, 1);
	execl("/proc/self/exe", "case", address, this_case, (char *)NULL);
	_exit(127);
}

__attribute__((unused)) static bool phase(const char *name, int *fd, int *other)
{
	const char *text = getenv("CASE_PHASE");
	char is[32];

	return text && sscanf(text, "%31s %d %d", is, fd, other) == 3 && strcmp(is, name) == 0;
}

/* quiet tells what comes from fd in a moment in which nothing should. */
__attribute__((unused)) static void quiet(const char *what, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};

	MUST(poll(&p, 1, 20));
	tell_events(what, (unsigned short)p.revents);
}

/* in_thread runs f in a thread that sleeps in the kernel when the call returns. */
struct sleeper {
	pthread_t thread;
	pid_t tid;
	void (*f)(void *);
	void *arg;
};

__attribute__((unused)) static void *sleeper_run(void *p)
{
	struct sleeper *s = p;

	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	s->f(s->arg);
	return NULL;
}

__attribute__((unused)) static void in_thread(struct sleeper *s, void (*f)(void *), void *arg)
{
	*s = (struct sleeper){.f = f, .arg = arg};
	if (pthread_create(&s->thread, NULL, sleeper_run, s) != 0)
		abort();
	asleep(&s->tid);
}

__attribute__((unused)) static void join(struct sleeper *s)
{
	pthread_join(s->thread, NULL);
}

/* fixed_buffers keeps the buffers of a connection from growing. */
__attribute__((unused)) static void fixed_buffers(int pair[2])
{
	for (int i = 0; i < 2; i++) {
		MUST(set_int(pair[i], SOL_SOCKET, SO_SNDBUF, 1 << 16));
		MUST(set_int(pair[i], SOL_SOCKET, SO_RCVBUF, 1 << 16));
	}
}

/* fill_up writes until fd takes no more, and returns how many octets that were; the peer must not
 * read meanwhile. */
__attribute__((unused)) static size_t fill_up(int fd)
{
	static char block[1 << 16];
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	size_t all = 0;

	for (;;) {
		ssize_t n = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			all += (size_t)n;
		else if (poll(&p, 1, 50) == 0)
			return all; /* what is on its way to the peer has arrived */
	}
}

/* read_up reads n octets and forgets them. */
__attribute__((unused)) static void read_up(int fd, size_t n)
{
	static char block[1 << 16];

	while (n > 0)
		n -= (size_t)MUST(read(fd, block, n < sizeof block ? n : sizeof block));
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (const struct test_case *c = test_cases; c; c = c->next)
			printf("%s %s\n", c->name, c->families);
		return 0;
	}
	if (argc != 3) {
		fprintf(stderr, "usage: %s ADDRESS CASE, or --list\n", argv[0]);
		return 2;
	}
	address = argv[1];
	family = strchr(address, ':') ? AF_INET6 : AF_INET;
	this_case = argv[2];
	for (const struct test_case *c = test_cases; c; c = c->next)
		if (strcmp(c->name, this_case) == 0) {
			alarm(60);
			c->run();
			say("done");
			return 0;
		}
	fprintf(stderr, "no case %s\n", this_case);
	return 2;
}

#endif
