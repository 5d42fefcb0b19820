/* urgent.c - sends or receives urgent octets over TCP and says what it saw.
 *
 * urgent listen|connect send|recv ADDRESS PORT
 *
 * The receiver knows nothing beforehand: it waits for POLLPRI, takes the urgent octet out of band, reads up to
 * the mark and beyond, and prints each step. Both roles of both ends must give the same text.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_end(int listening, const char *address, int port)
{
	union {
		struct sockaddr a;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} u;
	socklen_t len = sizeof u.v4;
	int one = 1, fd, conn;

	memset(&u, 0, sizeof u);
	if (inet_pton(AF_INET, address, &u.v4.sin_addr) == 1) {
		u.v4.sin_family = AF_INET;
		u.v4.sin_port = htons((uint16_t)port);
	} else if (inet_pton(AF_INET6, address, &u.v6.sin6_addr) == 1) {
		u.v6.sin6_family = AF_INET6;
		u.v6.sin6_port = htons((uint16_t)port);
		len = sizeof u.v6;
	} else {
		die("address");
	}
	fd = socket(u.a.sa_family, SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	if (!listening) {
		for (int tries = 0; connect(fd, &u.a, len) != 0; tries++) {
			if (tries == 100)
				die("connect");
			close(fd);
			usleep(50000); /* the other end may not listen yet */
			fd = socket(u.a.sa_family, SOCK_STREAM, 0);
		}
		return fd;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, &u.a, len) != 0 || listen(fd, 1) != 0)
		die("listen");
	conn = accept(fd, NULL, NULL);
	if (conn < 0)
		die("accept");
	close(fd);
	return conn;
}

static void put(int fd, const char *text, int flags)
{
	if (send(fd, text, strlen(text), flags) != (ssize_t)strlen(text))
		die("send");
}

/* wait_for says "go" so that the sender knows that what came before was seen. */
static void go(int fd)
{
	put(fd, "g", 0);
}

static void await_go(int fd)
{
	char c;

	if (recv(fd, &c, 1, MSG_WAITALL) != 1)
		die("go");
}

static void sender(int fd)
{
	put(fd, "before", 0);
	put(fd, "!", MSG_OOB);
	put(fd, "after", 0);
	await_go(fd);
	put(fd, "more?", MSG_OOB); /* the last octet is the urgent one */
	await_go(fd);
	put(fd, "the end", 0);
	shutdown(fd, SHUT_WR);
	await_go(fd);
}

/* step reads what is there at once, and says whether the mark was reached. */
static void step(int fd, size_t n)
{
	char b[64];
	ssize_t got;

	got = recv(fd, b, n, 0);
	if (got < 0)
		die("recv");
	printf("read %.*s, %s\n", (int)got, b, sockatmark(fd) ? "at the mark" : "not at the mark");
}

static void receiver(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLPRI};
	char c, rest[64];
	ssize_t n;
	int inl = 1;

	if (poll(&p, 1, 10000) != 1 || !(p.revents & POLLPRI))
		die("poll");
	if (recv(fd, &c, 1, MSG_OOB) != 1)
		die("recv MSG_OOB");
	printf("urgent %c\n", c);
	printf("again %zd\n", recv(fd, &c, 1, MSG_OOB));
	step(fd, sizeof rest); /* stops at the mark */
	step(fd, 5);
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inl, sizeof inl);
	go(fd);
	p.revents = 0;
	if (poll(&p, 1, 10000) != 1)
		die("poll");
	printf("events %s\n", p.revents & POLLPRI ? "POLLPRI" : "none");
	usleep(100000); /* all five octets are here, whatever segments they came in */
	step(fd, sizeof rest);
	step(fd, sizeof rest);
	go(fd);
	n = recv(fd, rest, 7, MSG_WAITALL);
	printf("rest %.*s\n", (int)n, rest);
	printf("end %zd\n", recv(fd, &c, 1, 0));
	go(fd);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 5) {
		fprintf(stderr, "usage: urgent listen|connect send|recv ADDRESS PORT\n");
		return 2;
	}
	fd = open_end(strcmp(argv[1], "listen") == 0, argv[3], atoi(argv[4]));
	if (strcmp(argv[2], "send") == 0)
		sender(fd);
	else
		receiver(fd);
	close(fd);
	return 0;
}
