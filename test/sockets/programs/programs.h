/*
 * programs.h - what the socket test programs share.
 *
 * A program is given an IPv4 address that it can listen on and connect to. It prints what it
 * observes; the same lines have to come from the kernel's sockets and from the TOE's.
 */
#ifndef PROGRAMS_H
#define PROGRAMS_H

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

static const char *address;

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

__attribute__((unused)) static struct sockaddr_in make_address(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
		abort();
	return a;
}

__attribute__((unused)) static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;

	MUST(getsockname(fd, (struct sockaddr *)&a, &len));
	return a;
}

/* listener returns a socket that listens on a port that the kernel chose. */
__attribute__((unused)) static int listener(int flags)
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM | flags, 0)), one = 1;
	struct sockaddr_in a = make_address(0);

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	MUST(bind(fd, (struct sockaddr *)&a, sizeof a));
	MUST(listen(fd, 64));
	return fd;
}

__attribute__((unused)) static int connect_to(int listening)
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = name_of(listening);

	MUST(connect(fd, (struct sockaddr *)&a, sizeof a));
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

static void test(void);

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	address = argv[1];
	alarm(60);
	test();
	say("done");
	return 0;
}

#endif
