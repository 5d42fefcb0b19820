/* dials serve ADDRESS PORT first|last: answers each connection with an octet and, "first", closes; "last", closes when the
 * client has.
 * dials connect ADDRESS PORT COUNT first|last: makes COUNT connections one after the other, each from another socket;
 * "first" closes before the server. It prints how many it made. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_storage at;
static socklen_t len;

static void parse(const char *addr, const char *port)
{
	struct sockaddr_in *v4 = (void *)&at;
	struct sockaddr_in6 *v6 = (void *)&at;

	if (strchr(addr, ':')) {
		*v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
					    .sin6_port = htons((uint16_t)atoi(port))};
		len = sizeof *v6;
		if (inet_pton(AF_INET6, addr, &v6->sin6_addr) == 1)
			return;
	} else {
		*v4 = (struct sockaddr_in){.sin_family = AF_INET,
					   .sin_port = htons((uint16_t)atoi(port))};
		len = sizeof *v4;
		if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1)
			return;
	}
	exit(2);
}

static void fail(const char *what, long n)
{
	fprintf(stderr, "connection %ld: %s: %s\n", n, what, strerror(errno));
	exit(1);
}

/* ended waits for the other side's end. */
static void ended(int fd, long n)
{
	char c;

	if (read(fd, &c, 1) != 0)
		fail("end", n);
}

static void serve(bool first)
{
	int l = socket(at.ss_family, SOCK_STREAM, 0), one = 1, fd;

	if (setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(l, (struct sockaddr *)&at, len) < 0 || listen(l, 512) < 0)
		fail("listen", 0);
	for (long n = 1;; n++) {
		fd = accept(l, NULL, NULL);
		if (fd < 0)
			fail("accept", n);
		if (write(fd, "x", 1) != 1)
			fail("write", n);
		if (!first)
			ended(fd, n);
		close(fd);
	}
}

static void dial(long count, bool first)
{
	struct timespec from, to;
	char c;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long n = 1; n <= count; n++) {
		int fd = socket(at.ss_family, SOCK_STREAM, 0);

		if (fd < 0)
			fail("socket", n);
		if (connect(fd, (struct sockaddr *)&at, len) < 0)
			fail("connect", n);
		if (read(fd, &c, 1) != 1)
			fail("read", n);
		if (!first)
			ended(fd, n);
		close(fd);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%ld connections\n", count);
	fprintf(stderr, "%.0f connections a second\n",
		(double)count / ((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec)));
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	parse(argv[2], argv[3]);
	if (strcmp(argv[1], "serve") == 0)
		serve(strcmp(argv[4], "first") == 0);
	if (argc < 6)
		return 2;
	dial(atol(argv[4]), strcmp(argv[5], "first") == 0);
	return 0;
}
