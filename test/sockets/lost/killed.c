/*
 * killed: programs that are killed at any moment, and some that must not notice. The environment variables say
 * where the latter listen (PORT, and SERVER if that is not the case's address) and at which port the former do
 * (CALLED).
 */
#include "../cases/cases.h"

static pthread_t start(void *(*f)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, f, arg) != 0)
		abort();
	return thread;
}

enum { ROUND = 300000, RESTING = 40, WAITING = 20 };

/* transfer sends a round through a connection of its own and verifies each octet. */
static void *write_round(void *arg)
{
	static _Thread_local uint8_t buf[7001];

	for (uint64_t at = 0; at < ROUND;) {
		size_t n = sizeof buf < ROUND - at ? sizeof buf : ROUND - at;

		fill_pattern(buf, at, n);
		write_all(*(int *)arg, buf, n);
		at += n;
	}
	return NULL;
}

static void transfer(void)
{
	static uint8_t buf[ROUND];
	int p[2];
	pthread_t writer;

	make_pair(p);
	writer = start(write_round, &p[0]);
	read_all(p[1], buf, ROUND);
	verify(buf, 0, ROUND);
	pthread_join(writer, NULL);
	MUST(close(p[0]));
	if (read(p[1], buf, 1) != 0)
		say("no end");
	MUST(close(p[1]));
}

/* echo serves one connection, whatever becomes of its client. */
static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (send(fd, buf, (size_t)n, MSG_NOSIGNAL) < 0)
			break;
	MUST(close(fd));
	return NULL;
}

static void *serve(void *arg)
{
	for (;;)
		pthread_detach(start(echo, (void *)(intptr_t)MUST(accept(*(int *)arg, NULL, NULL))));
	return NULL;
}

static volatile sig_atomic_t over;

static void *until_told(void *arg)
{
	char c;

	(void)arg;
	(void)!read(0, &c, 1);
	over = 1;
	return NULL;
}

/* The bystander: transfers of its own, and a server for those who are killed. */
CASE(bystander)
{
	int l = listener(0);
	unsigned rounds = 0;

	alarm(0); /* whoever has started it ends it */
	say("%d", port_of(l));
	start(serve, &l);
	start(until_told, NULL);
	while (!over || rounds == 0) {
		transfer();
		rounds++;
	}
	say("rounds %u", rounds);
	exit(0);
}

/* A server for those who are killed, without transfers of its own. */
CASE(server)
{
	int l = listener(0);

	alarm(0);
	say("%d", port_of(l));
	start(serve, &l);
	until_told(NULL);
	exit(0);
}

static struct sockaddr_storage server;

/* round_trip sends some octets to an echo and reads them back; false when the connection has ended. */
static bool round_trip(int fd)
{
	static char buf[1 << 14];
	size_t n = 0;

	if (send(fd, buf, sizeof buf, MSG_NOSIGNAL) != sizeof buf)
		return false;
	while (n < sizeof buf) {
		ssize_t r = read(fd, buf, sizeof buf);

		if (r <= 0)
			return false;
		n += (size_t)r;
	}
	return true;
}

/* A client of those who are killed, which has to hear of it at once. */
CASE(caller)
{
	enum { TRIPS = 50 };
	unsigned served = 0, cut = 0;

	alarm(0);
	server = make_address(atoi(getenv("CALLED")));
	start(until_told, NULL);
	while (!over) {
		int fd = stream_socket(0), i = 0;

		if (connect_at(fd, server) == 0) {
			while (i < TRIPS && round_trip(fd))
				i++;
			served += i == TRIPS;
			cut += i < TRIPS;
		}
		MUST(close(fd));
	}
	say("served %u cut %u", served, cut);
	exit(0);
}

/* briefly makes connections to the bystander, one after the other. */
static void *briefly(void *arg)
{
	static const char hello[] = "hello";

	(void)arg;
	for (;;) {
		int fd = stream_socket(0);
		char buf[sizeof hello];

		MUST(connect_at(fd, server));
		write_all(fd, hello, sizeof hello);
		read_all(fd, buf, sizeof buf);
		MUST(close(fd));
	}
	return NULL;
}

static void *transfers(void *arg)
{
	(void)arg;
	for (;;)
		transfer();
	return NULL;
}

/* pour fills a connection to the bystander and takes nothing of what comes back. */
static void *pour(void *arg)
{
	static char buf[1 << 16];
	int fd = stream_socket(0);

	(void)arg;
	MUST(connect_at(fd, server));
	for (;;)
		write_all(fd, buf, sizeof buf);
	return NULL;
}

/* rest has connections that nothing moves on, in a set, and some that nobody has accepted. */
static void *rest(void *arg)
{
	int ep = MUST(epoll_create1(0)), l = listener(0);
	struct epoll_event e = {.events = EPOLLIN};

	(void)arg;
	for (int i = 0; i < RESTING; i++) {
		int p[2];

		make_pair(p);
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	}
	for (int i = 0; i < WAITING; i++)
		connect_to(l);
	MUST(epoll_wait(ep, &e, 1, -1));
	return NULL;
}

/* The victim: everything at once, in two processes that share what they have. */
CASE(victim)
{
	void *(*const ways[])(void *) = {briefly, transfers, pour, rest};
	int p[2];
	char c;

	server = make_address(atoi(getenv("PORT")));
	make_pair(p);
	MUST(fork());
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		start(ways[i], NULL);
	for (;;) {
		write_all(p[0], "x", 1);
		read_all(p[1], &c, 1);
	}
}

/* called serves callers at a port that it shares with other victims. */
static void *called(void *arg)
{
	int l = stream_socket(0);

	(void)arg;
	MUST(set_int(l, SOL_SOCKET, SO_REUSEPORT, 1));
	MUST(bind_to(l, make_address(atoi(getenv("CALLED")))));
	MUST(listen(l, 64));
	return serve(&l);
}

/* idle has connections to the server that nothing moves on, in a set. */
static void *idle(void *arg)
{
	int ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN};

	(void)arg;
	for (int i = 0; i < RESTING; i++) {
		int fd = stream_socket(0);

		MUST(connect_at(fd, server));
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	}
	MUST(epoll_wait(ep, &e, 1, -1));
	return NULL;
}

/* The victim whose peers are all at another host: everything at once, in two processes that share a connection. */
CASE(victim_of_two_hosts)
{
	void *(*const ways[])(void *) = {briefly, pour, idle, called};
	int fd = stream_socket(0);
	char c;

	server = address_at(getenv("SERVER"), atoi(getenv("PORT")));
	MUST(connect_at(fd, server));
	MUST(fork());
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		start(ways[i], NULL);
	for (;;) {
		write_all(fd, "x", 1);
		read_all(fd, &c, 1);
	}
}
