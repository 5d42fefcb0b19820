/* self: a socket that connects to itself, and two that connect to each other: both ends open
 * actively. */
#include "cases.h"

CASE(to_itself)
{
	int fd = stream_socket(0), port = private_port();
	char buf[8];

	MUST(bind_to(fd, loopback_address(port)));
	tell("connect", connect_at(fd, loopback_address(port)));
	say("peer is itself: %d", same_address(name_of(fd), peer_of(fd)));
	tell("write", write(fd, "echo", 4));
	read_all(fd, buf, 4);
	say("%.4s", buf);
	tell("shutdown", shutdown(fd, SHUT_WR));
	await(fd, POLLHUP);
	tell("end", read(fd, buf, 1));
}

CASE(to_itself_nonblocking)
{
	int fd = stream_socket(SOCK_NONBLOCK), port = private_port();
	char buf[8];

	MUST(bind_to(fd, loopback_address(port)));
	tell("connect", connect_at(fd, loopback_address(port)));
	await(fd, POLLOUT);
	tell_error("error", fd);
	tell("write", write(fd, "echo", 4));
	await(fd, POLLIN);
	tell("read", read(fd, buf, sizeof buf));
}

CASE(to_itself_reset)
{
	struct linger hard = {.l_onoff = 1};
	int fd = stream_socket(0), port = private_port();

	MUST(bind_to(fd, loopback_address(port)));
	MUST(connect_at(fd, loopback_address(port)));
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	tell("close", close(fd));
}

/* A client that is refused at first becomes its own peer if the kernel gives it that very port: it
 * may not. */
CASE(refused_never_itself)
{
	int port = private_port(), refused = 0;

	for (int i = 0; i < 200; i++) {
		int fd = stream_socket(0);

		refused += connect_at(fd, loopback_address(port)) < 0 && errno == ECONNREFUSED;
		MUST(close(fd));
	}
	say("refused %d", refused);
}
