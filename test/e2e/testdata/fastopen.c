/* fastopen listen|connect ADDRESS PORT: one end of three connections, which the client opens with
 * its first octets where it has a cookie. It prints what went with the SYN. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(call)                         \
	({                                 \
		int must_rc = (int)(call); \
		if (must_rc < 0) {         \
			perror(#call);     \
			exit(1);           \
		}                          \
		must_rc;                   \
	})

static void serve(struct sockaddr_in *at)
{
	int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), v = 1, fd;
	char buf[16];

	MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &v, sizeof v));
	MUST(bind(l, (struct sockaddr *)at, sizeof *at));
	v = 16;
	MUST(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof v));
	MUST(listen(l, 16));
	for (int i = 0; i < 3; i++) {
		fd = MUST(accept(l, NULL, NULL));
		MUST(recv(fd, buf, 5, MSG_WAITALL));
		MUST(write(fd, buf, 5));
		MUST(close(fd));
	}
}

static void open_one(struct sockaddr_in *to)
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0)), on = 1;
	struct tcp_info info = {0};
	socklen_t len = sizeof info;
	char buf[8] = "";

	MUST(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on));
	for (int i = 0; connect(fd, (struct sockaddr *)to, sizeof *to) < 0; i++) {
		if (i == 100)
			MUST(-1);
		usleep(50000); /* the server begins later */
	}
	MUST(write(fd, "hello", 5));
	MUST(recv(fd, buf, 5, MSG_WAITALL));
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	printf("%s, with the SYN: %d\n", buf, (info.tcpi_options & 32) != 0);
	MUST(close(fd));
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	if (argc != 4 || inet_pton(AF_INET, argv[2], &a.sin_addr) != 1)
		return 2;
	a.sin_port = htons((uint16_t)atoi(argv[3]));
	if (strcmp(argv[1], "listen") == 0)
		serve(&a);
	else
		for (int i = 0; i < 3; i++)
			open_one(&a);
	return 0;
}
