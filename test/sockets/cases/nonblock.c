/* nonblock: O_NONBLOCK connect, accept, read and write, and what poll says meanwhile. */
#include "cases.h"

CASE(refused)
{
	int l, fd = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0)), e = 0;
	int silent = MUST(socket(family, SOCK_STREAM, 0));
	struct sockaddr_storage a = make_address(0);
	socklen_t len = sizeof e;

	/* A port that is taken, and on which nobody listens. */
	MUST(bind(silent, (struct sockaddr *)&a, sizeof a));
	a = name_of(silent);
	errno = 0;
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno == EINPROGRESS) {
		await(fd, POLLERR);
		if (poll_now(fd) != (POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR))
			tell_events("refused", poll_now(fd));
		MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
		errno = e;
	}
	say("connect to nobody: %s", strerrorname_np(errno));
	MUST(close(fd));
	fd = MUST(socket(family, SOCK_STREAM, 0));
	tell("blocking connect to nobody", connect(fd, (struct sockaddr *)&a, sizeof a));
	/* The same socket can be tried again. */
	l = listener(0);
	a = name_of(l);
	tell("second try", connect(fd, (struct sockaddr *)&a, sizeof a));
	tell("third", connect(fd, (struct sockaddr *)&a, sizeof a));
	MUST(close(fd));
	MUST(close(l));
}

CASE(connected)
{
	int l = listener(SOCK_NONBLOCK), fd = MUST(socket(family, SOCK_STREAM, 0)), peer, e = -1;
	struct sockaddr_storage a = name_of(l);
	socklen_t len = sizeof e;
	static char buf[65536];
	size_t in_flight = 0, back = 0;
	ssize_t n;

	tell("accept from an empty queue", accept(l, NULL, NULL));
	tell("read before connect", read(fd, buf, 1));
	nonblocking(fd, true);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	await(fd, POLLOUT);
	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	say("SO_ERROR %d", e);
	connect(fd, (struct sockaddr *)&a, sizeof a); /* 0 if it was in progress, else EISCONN */
	tell("connect again", connect(fd, (struct sockaddr *)&a, sizeof a));
	await(l, POLLIN);
	peer = MUST(accept4(l, NULL, NULL, SOCK_NONBLOCK));
	say("accepted is nonblocking: %d", (fcntl(peer, F_GETFL) & O_NONBLOCK) != 0);
	tell_events("fresh", poll_now(fd));
	tell("read of nothing", read(fd, buf, sizeof buf));
	tell("MSG_DONTWAIT of nothing", recv(peer, buf, sizeof buf, MSG_DONTWAIT));

	while ((n = write(fd, buf, sizeof buf)) > 0)
		in_flight += (size_t)n;
	tell("write to a full socket", n);
	say("took something: %d", in_flight > 0);
	await(peer, POLLIN);
	while (back < in_flight) {
		n = read(peer, buf, sizeof buf);
		if (n > 0)
			back += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			await(peer, POLLIN);
		else
			MUST(n);
	}
	await(fd, POLLOUT);
	say("all came out: %d", back == in_flight);
	tell_events("drained", poll_now(fd));
	MUST(ioctl(fd, FIONBIO, &(int){0}));
	say("flag after FIONBIO: %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	write_all(peer, "x", 1);
	tell("blocking read", read(fd, buf, sizeof buf));
	MUST(close(fd));
	MUST(close(peer));
	MUST(close(l));
}
