/* static.c - a server that forks and a client, linked statically.
 *
 *   static echo PORT          echoes each connection in a child; "reset" resets it. Says how accept failed.
 *   static wait ADDRESS PORT  connects, says so, reads, and says how that ended
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int talk(int fd)
{
	static char b[65536];
	ssize_t n;

	while ((n = read(fd, b, sizeof b)) > 0) {
		if (n == 5 && memcmp(b, "reset", 5) == 0) {
			struct linger l = {.l_onoff = 1};

			setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
			return 0;
		}
		for (ssize_t at = 0, k; at < n; at += k)
			if ((k = write(fd, b + at, (size_t)(n - at))) < 0)
				return 1;
	}
	if (n == 0 && write(fd, "end", 3) != 3) /* the peer has closed its half only */
		return 1;
	return n < 0;
}

static int echo(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int l = socket(AF_INET, SOCK_STREAM, 0);

	signal(SIGCHLD, SIG_IGN);
	if (bind(l, (struct sockaddr *)&at, sizeof at) < 0 || listen(l, 64) < 0)
		return perror("listen"), 1;
	for (;;) {
		int fd = accept(l, NULL, NULL);

		if (fd < 0)
			return printf("accept: %s\n", strerror(errno)), 1;
		if (fork() == 0) {
			close(l);
			_exit(talk(fd));
		}
		close(fd);
	}
}

static int wait_end(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char b[1];
	ssize_t n;

	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
		return printf("connect: %s\n", strerror(errno)), 1;
	puts("connected");
	n = read(fd, b, 1);
	printf("read: %s\n", n < 0 ? strerror(errno) : n > 0 ? "octets" : "end");
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "echo") == 0)
		return echo(atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "wait") == 0)
		return wait_end(argv[2], atoi(argv[3]));
	return 2;
}
