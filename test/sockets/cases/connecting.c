/* connecting: every way in which a connect can begin, fail and be told. */
#include "cases.h"

/* nobody returns an address at which nobody listens, nor comes to: the port stays bound. */
static struct sockaddr_storage nobody(void)
{
	int fd = stream_socket(0);

	MUST(bind_to(fd, make_address(0)));
	return name_of(fd);
}

CASE(refused)
{
	int fd = stream_socket(0);

	tell("connect", connect_at(fd, nobody()));
	tell_error("SO_ERROR", fd);
	tell_events("poll", poll_now(fd));
	tell("read", read(fd, (char[1]){0}, 1));
	MUST(close(fd));
}

CASE(refused_then_connected)
{
	int l = listener(0), fd = stream_socket(0), a;

	tell("nobody", connect_at(fd, nobody()));
	tell("somebody", connect_at(fd, name_of(l)));
	a = MUST(accept(l, NULL, NULL));
	write_all(fd, "x", 1);
	read_all(a, (char[1]){0}, 1);
	MUST(close(fd));
	MUST(close(a));
	MUST(close(l));
}

CASE(refused_without_waiting)
{
	int fd = stream_socket(SOCK_NONBLOCK), rc = connect_at(fd, nobody());

	if (rc == 0 || errno != EINPROGRESS)
		tell("connect", rc);
	await(fd, POLLHUP);
	tell_events("poll", poll_now(fd));
	tell_error("SO_ERROR", fd);
	tell_error("SO_ERROR", fd);
	tell_events("poll after", poll_now(fd));
	tell("read", read(fd, (char[1]){0}, 1));
	MUST(close(fd));
}

CASE(refused_told_by_connect)
{
	struct sockaddr_storage to = nobody();
	int fd = stream_socket(SOCK_NONBLOCK);

	(void)!connect_at(fd, to);
	await(fd, POLLHUP);
	tell("connect tells", connect_at(fd, to));
	tell_error("SO_ERROR", fd);
	MUST(close(fd));
}

CASE(refused_told_by_write)
{
	int fd = stream_socket(SOCK_NONBLOCK);

	signal(SIGPIPE, SIG_IGN);
	(void)!connect_at(fd, nobody());
	await(fd, POLLHUP);
	tell("write", write(fd, "x", 1));
	tell("write", write(fd, "x", 1));
	MUST(close(fd));
}

CASE(refused_told_by_read)
{
	int fd = stream_socket(SOCK_NONBLOCK);

	(void)!connect_at(fd, nobody());
	await(fd, POLLHUP);
	tell("read", read(fd, (char[1]){0}, 1));
	tell("read", read(fd, (char[1]){0}, 1));
	MUST(close(fd));
}

CASE(refused_told_by_shutdown)
{
	int fd = stream_socket(SOCK_NONBLOCK);

	(void)!connect_at(fd, nobody());
	await(fd, POLLHUP);
	tell("shutdown", shutdown(fd, SHUT_RDWR));
	tell_error("SO_ERROR", fd);
	MUST(close(fd));
}

CASE(refused_without_waiting_then_connected)
{
	int l = listener(0), fd = stream_socket(SOCK_NONBLOCK);

	(void)!connect_at(fd, nobody());
	await(fd, POLLHUP);
	tell_error("SO_ERROR", fd);
	if (connect_at(fd, name_of(l)) < 0 && errno != EINPROGRESS)
		tell("again", -1);
	await(fd, POLLOUT);
	tell_error("SO_ERROR", fd);
	tell_events("poll", poll_now(fd));
	MUST(close(fd));
	MUST(close(l));
}

CASE(connected_without_waiting)
{
	int l = listener(0), fd = stream_socket(SOCK_NONBLOCK);
	struct sockaddr_storage to = name_of(l);

	if (connect_at(fd, to) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	await(fd, POLLOUT);
	tell_events("poll", poll_now(fd));
	tell("connect", connect_at(fd, to));
	tell("connect again", connect_at(fd, to));
	tell("elsewhere", connect_at(fd, nobody()));
	tell_error("SO_ERROR", fd);
	MUST(close(fd));
	MUST(close(l));
}

CASE(connected_twice)
{
	int l = listener(0), fd = stream_socket(0);

	tell("connect", connect_at(fd, name_of(l)));
	tell("again", connect_at(fd, name_of(l)));
	tell("again", connect_at(fd, name_of(l)));
	tell("bind", bind_to(fd, any_address(0)));
	tell("listen", listen(fd, 1));
	MUST(close(fd));
	MUST(close(l));
}

CASE4(connecting_to_bad_addresses)
{
	struct sockaddr_storage at = nobody();
	struct sockaddr_in a = *in4(&at);
	struct sockaddr_un u = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
	struct sockaddr_in *volatile null = NULL;
	int fd = stream_socket(0);

	tell("too short", connect(fd, (struct sockaddr *)&a, 4));
	tell("nothing", connect(fd, (struct sockaddr *)&a, 0));
	tell("negative", connect(fd, (struct sockaddr *)&a, (socklen_t)-1));
	tell("too long", connect(fd, (struct sockaddr *)&a, 1000));
	tell("other family", connect(fd, (struct sockaddr *)&u, sizeof u));
	tell("null", connect(fd, (struct sockaddr *)null, sizeof a));
	a.sin_family = 99;
	tell("unknown family", connect(fd, (struct sockaddr *)&a, sizeof a));
	tell("no descriptor", connect(-1, (struct sockaddr *)&a, sizeof a));
	tell("no socket", connect_at(MUST(eventfd(0, 0)), at));
	a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xffffffff)};
	a.sin_port = htons(9);
	tell("broadcast", connect(fd, (struct sockaddr *)&a, sizeof a));
	a.sin_addr.s_addr = htonl(0xe0000001);
	tell("multicast", connect(fd, (struct sockaddr *)&a, sizeof a));
	MUST(close(fd));
}

CASE(listener_does_not_connect)
{
	int l = listener(0), other = listener(0);

	tell("connect", connect_at(l, name_of(other)));
	MUST(close(l));
	MUST(close(other));
}

CASE(accepted_does_not_connect)
{
	int p[2], l = listener(0);

	make_pair(p);
	tell("connect", connect_at(p[1], name_of(l)));
	tell("listen", listen(p[1], 1));
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(l));
}

static int dissolve(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	return connect(fd, &none, sizeof none);
}

CASE(dissolve_what_is_nothing_yet)
{
	int fd = stream_socket(0), l = listener(0);

	tell("dissolve", dissolve(fd));
	tell("connect", connect_at(fd, name_of(l)));
	MUST(close(fd));
	MUST(close(l));
}

CASE(dissolve_a_connection)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char buf[4];
	int p[2], l = listener(0);

	make_pair(p);
	tell("dissolve", dissolve(p[0]));
	tell("peer's name", getpeername(p[0], (struct sockaddr *)&ss, &len));
	await(p[1], POLLHUP);
	tell("peer reads", read(p[1], buf, 1));
	MUST(getsockopt(p[0], SOL_SOCKET, SO_ERROR, buf, &(socklen_t){sizeof buf}));
	tell("write", send(p[0], buf, 1, MSG_NOSIGNAL));
	tell("connect elsewhere", connect_at(p[0], name_of(l)));
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(l));
}

CASE(dissolve_leaves_an_error)
{
	int p[2];

	make_pair(p);
	tell("dissolve", dissolve(p[0]));
	tell_events("poll", poll_now(p[0]));
	tell_error("SO_ERROR", p[0]);
	tell("read", read(p[0], (char[1]){0}, 1));
	MUST(close(p[0]));
	MUST(close(p[1]));
}

CASE(dissolve_a_listener)
{
	int l = listener(0), fd = stream_socket(0);
	struct sockaddr_storage to = name_of(l);

	tell("dissolve", dissolve(l));
	tell("connect to it", connect_at(fd, to));
	tell("accept", accept(l, NULL, NULL));
	MUST(close(fd));
	MUST(close(l));
}

CASE(dissolve_after_refusal)
{
	int fd = stream_socket(0), l = listener(0);

	tell("connect", connect_at(fd, nobody()));
	tell("dissolve", dissolve(fd));
	tell("connect", connect_at(fd, name_of(l)));
	MUST(close(fd));
	MUST(close(l));
}

CASE(dissolve_after_the_end)
{
	int p[2];

	make_pair(p);
	MUST(shutdown(p[0], SHUT_RDWR));
	MUST(close(p[1]));
	await(p[0], POLLHUP);
	tell("dissolve", dissolve(p[0]));
	tell_events("poll", poll_now(p[0]));
	MUST(close(p[0]));
}

CASE(bound_then_connected)
{
	struct sockaddr_storage at;
	int l = listener(0), fd = stream_socket(0);

	tell("bind", bind_to(fd, make_address(0)));
	at = name_of(fd);
	tell("connect", connect_at(fd, name_of(l)));
	say("same name %d", same_address(at, name_of(fd)));
	tell("bind again", bind_to(fd, make_address(0)));
	MUST(close(fd));
	MUST(close(l));
}

CASE(names_in_every_state)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	int p[2], l = listener(0), fd = stream_socket(0);

	make_pair(p);
	tell("fresh", getpeername(fd, (struct sockaddr *)&ss, &len));
	tell("listener", getpeername(l, (struct sockaddr *)&ss, &len));
	len = sizeof ss;
	tell("connected", getpeername(p[0], (struct sockaddr *)&ss, &len));
	say("length %u", len);
	len = 2;
	tell("cut", getpeername(p[0], (struct sockaddr *)&ss, &len));
	say("length %u", len);
	len = 0;
	tell("no room", getsockname(p[0], (struct sockaddr *)&ss, &len));
	say("length %u", len);
	len = (socklen_t)-1;
	tell("negative", getsockname(p[0], (struct sockaddr *)&ss, &len));
	tell("negative", getpeername(p[0], (struct sockaddr *)&ss, &len));
	len = sizeof ss;
	MUST(shutdown(p[0], SHUT_WR));
	tell("half closed", getpeername(p[0], (struct sockaddr *)&ss, &len));
	MUST(close(p[1]));
	await(p[0], POLLHUP);
	len = sizeof ss;
	tell("ended", getsockname(p[0], (struct sockaddr *)&ss, &len));
	MUST(close(p[0]));
	MUST(close(fd));
	MUST(close(l));
}

CASE(shutdown_in_every_state)
{
	int p[2], l = listener(0), fd = stream_socket(0);

	tell("fresh", shutdown(fd, SHUT_RDWR));
	tell("fresh, odd", shutdown(fd, 7));
	make_pair(p);
	tell("odd", shutdown(p[0], 3));
	tell("odd", shutdown(p[0], -1));
	tell("writing", shutdown(p[0], SHUT_WR));
	tell("writing again", shutdown(p[0], SHUT_WR));
	tell("reading", shutdown(p[0], SHUT_RD));
	tell("both", shutdown(p[0], SHUT_RDWR));
	await(p[1], POLLRDHUP);
	tell("the other", shutdown(p[1], SHUT_WR));
	await(p[0], POLLHUP);
	await(p[1], POLLHUP);
	tell("listener", shutdown(l, SHUT_RD));
	tell("listener again", shutdown(l, SHUT_RD));
	tell("no descriptor", shutdown(-1, SHUT_RD));
	tell("no socket", shutdown(MUST(eventfd(0, 0)), SHUT_RD));
	MUST(close(p[0]));
	MUST(close(p[1]));
	MUST(close(l));
	MUST(close(fd));
}

CASE(connect_timeout_zero_means_none)
{
	struct timeval t = {0};
	int l = listener(0), fd = stream_socket(0);

	MUST(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
	tell("connect", connect_at(fd, name_of(l)));
	MUST(close(fd));
	MUST(close(l));
}
