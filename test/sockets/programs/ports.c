/* ports: a local port is free again for the kernel when its descriptor is closed, but the
 * connection may not be over. Another port has to do then; where the program insists it is told. */
#include "programs.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

#define FEW 16 /* ports to choose from; the kernel prefers one half of them */
#define LOW 28000u

/* tried connects from a port, or from any: the descriptor, or -1 when the port is somebody else's.
 */
static int tried(int l, int port)
{
	struct sockaddr_in to = name_of(l),
			   any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	uint32_t range = LOW | (LOW + FEW - 1) << 16;
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range); /* Linux 6.3 */
	if (port && bind(fd, (struct sockaddr *)&any, sizeof any) < 0) {
		MUST(close(fd));
		return -1;
	}
	tell("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
	return fd;
}

static void test(void)
{
	int l = listener(0), peer[FEW / 2 - 1], port[FEW / 2 - 1], fd = -1;
	char c;

	for (int i = 0; i < FEW / 2 - 1; i++) {
		fd = tried(l, 0);
		peer[i] = MUST(accept(l, NULL, NULL));
		port[i] = ntohs(name_of(fd).sin_port);
		write_all(fd, "x", 1);
		MUST(close(fd)); /* the peer does not: half of the connection stays */
	}
	say("once more from the port of one of them");
	fd = -1;
	for (int i = 0; fd < 0 && i < FEW / 2 - 1; i++)
		fd = tried(l, port[i]);
	for (int i = 0; i < FEW / 2 - 1; i++) {
		tell("read", read(peer[i], &c, 1));
		MUST(close(peer[i]));
	}
}
