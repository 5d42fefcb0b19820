/* others: what one thread does to a socket in whose call another one blocks. */
#include "cases.h"

static int sock[2];
static char block[1 << 20];

static void reads(void *arg)
{
	char c;

	(void)arg;
	tell("read", read(sock[1], &c, 1));
}

static void reads_all(void *arg)
{
	char buf[8];

	(void)arg;
	tell("recv with MSG_WAITALL", recv(sock[1], buf, 8, MSG_WAITALL));
}

static void accepts(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);

	if (fd >= 0)
		say("accepted");
	else
		tell("accept", fd);
}

static void polls(void *arg)
{
	struct pollfd p = {.fd = sock[1], .events = POLLIN | POLLRDHUP};

	(void)arg;
	tell("poll", poll(&p, 1, -1));
	tell_events("it has", (unsigned short)p.revents);
}

static void waits(void *arg)
{
	struct epoll_event e = {0};

	tell("epoll_wait", epoll_wait(*(int *)arg, &e, 1, -1));
	tell_events("it has", e.events);
}

static void writes(void *arg)
{
	(void)arg;
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		ssize_t n = write(sock[1], block, sizeof block);

		if (n < 0) { /* a part may have been written before */
			tell("write", n);
			return;
		}
	}
}

CASE(close_under_read_then_octets)
{
	struct sleeper s;
	char c;

	make_pair(sock);
	in_thread(&s, reads, NULL);
	MUST(close(sock[1]));
	tell("closed", read(sock[1], &c, 1));
	quiet("the connection goes on", sock[0]);
	write_all(sock[0], "x", 1);
	join(&s);
	tell("now it ends", read(sock[0], &c, 1));
}

CASE(close_under_read_then_end)
{
	struct sleeper s;

	make_pair(sock);
	in_thread(&s, reads, NULL);
	MUST(close(sock[1]));
	MUST(shutdown(sock[0], SHUT_WR));
	join(&s);
}

CASE(number_reused_under_read)
{
	struct sleeper s;
	int q[2];
	char c;

	make_pair(sock);
	make_pair(q);
	in_thread(&s, reads, NULL);
	MUST(dup2(q[1], sock[1])); /* the number is another connection's */
	write_all(q[0], "no", 2);
	write_all(sock[0], "x", 1);
	join(&s);
	tell("of the other", read(sock[1], &c, 1));
}

CASE(close_under_accept)
{
	struct sleeper s;
	int l = listener(0);
	struct sockaddr_storage a = name_of(l);

	in_thread(&s, accepts, &l);
	MUST(close(l));
	tell("closed", accept(l, NULL, NULL));
	sock[0] = stream_socket(0);
	MUST(connect_at(sock[0], a)); /* it listens until accept returns */
	join(&s);
	sock[0] = stream_socket(0);
	tell("and not longer", connect_at(sock[0], a));
}

CASE(close_under_poll)
{
	struct sleeper s;

	make_pair(sock);
	in_thread(&s, polls, NULL);
	MUST(close(sock[1]));
	write_all(sock[0], "x", 1);
	join(&s);
}

CASE(close_under_epoll)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct sleeper s;
	int ep = MUST(epoll_create1(0)), q[2];
	char c;

	make_pair(sock);
	make_pair(q);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, sock[1], &e));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, q[1], &e));
	in_thread(&s, waits, &ep);
	MUST(close(sock[1]));
	tell("it is gone at once", read(sock[0], &c, 1));
	write_all(q[0], "x", 1);
	join(&s);
}

CASE(close_of_a_copy_under_read)
{
	struct sleeper s;
	int copy;

	make_pair(sock);
	copy = MUST(dup(sock[1]));
	in_thread(&s, reads, NULL);
	MUST(close(copy));
	write_all(sock[0], "x", 1);
	join(&s);
}

CASE(shutdown_under_accept)
{
	struct sleeper s;
	int l = listener(0);

	in_thread(&s, accepts, &l);
	MUST(shutdown(l, SHUT_RD));
	join(&s);
}

CASE(shutdown_under_poll)
{
	struct sleeper s;

	make_pair(sock);
	in_thread(&s, polls, NULL);
	MUST(shutdown(sock[1], SHUT_RD));
	join(&s);
}

CASE(shutdown_of_both_under_poll)
{
	struct sleeper s;

	make_pair(sock);
	in_thread(&s, polls, NULL);
	MUST(shutdown(sock[1], SHUT_RDWR));
	join(&s);
}

CASE(shutdown_under_epoll)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	struct sleeper s;
	int ep = MUST(epoll_create1(0));

	make_pair(sock);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, sock[1], &e));
	in_thread(&s, waits, &ep);
	MUST(shutdown(sock[1], SHUT_RDWR));
	join(&s);
}

CASE(shutdown_under_write)
{
	struct sleeper s;

	make_pair(sock);
	fill_up(sock[1]);
	in_thread(&s, writes, NULL);
	MUST(shutdown(sock[1], SHUT_WR));
	join(&s);
}

CASE(shutdown_under_waitall)
{
	struct sleeper s;

	make_pair(sock);
	write_all(sock[0], "abc", 3);
	await(sock[1], POLLIN);
	in_thread(&s, reads_all, NULL);
	MUST(shutdown(sock[1], SHUT_RD));
	join(&s);
}

CASE(peer_resets_under_poll)
{
	struct linger now = {1, 0};
	struct sleeper s;

	make_pair(sock);
	in_thread(&s, polls, NULL);
	MUST(setsockopt(sock[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	MUST(close(sock[0]));
	join(&s);
	tell_error("error", sock[1]);
}

CASE(added_under_epoll)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct sleeper s;
	int ep = MUST(epoll_create1(0));

	make_pair(sock);
	write_all(sock[0], "x", 1);
	await(sock[1], POLLIN);
	in_thread(&s, waits, &ep);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, sock[1], &e));
	join(&s);
}

CASE(changed_under_epoll)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct sleeper s;
	int ep = MUST(epoll_create1(0));

	make_pair(sock);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, sock[1], &e));
	in_thread(&s, waits, &ep);
	e.events = EPOLLOUT;
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, sock[1], &e));
	join(&s);
}

CASE(connected_under_epoll)
{
	struct epoll_event e = {.events = EPOLLOUT | EPOLLET};
	struct sleeper s;
	int ep = MUST(epoll_create1(0)), l = listener(0), fd = stream_socket(SOCK_NONBLOCK);

	e.events = EPOLLIN;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
	in_thread(&s, waits, &ep);
	if (connect_at(fd, name_of(l)) < 0 && errno != EINPROGRESS)
		tell("connect", -1);
	join(&s);
}

/* Each octet is read once, whoever reads it. */
static unsigned long sum, count;

static void *readers(void *arg)
{
	unsigned char buf[777];
	ssize_t n;

	(void)arg;
	while ((n = read(sock[1], buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++) {
			__atomic_fetch_add(&sum, buf[i], __ATOMIC_RELAXED);
			__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
		}
	return NULL;
}

static void *writers(void *arg)
{
	unsigned char buf[1000];

	memset(buf, 1 + *(int *)arg, sizeof buf);
	for (int i = 0; i < 100; i++)
		write_all(sock[0], buf, sizeof buf);
	return NULL;
}

CASE(readers_and_writers)
{
	pthread_t r[3], w[3];
	int id[3] = {0, 1, 2};

	make_pair(sock);
	for (int i = 0; i < 3; i++) {
		pthread_create(&r[i], NULL, readers, NULL);
		pthread_create(&w[i], NULL, writers, &id[i]);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(w[i], NULL);
	MUST(shutdown(sock[0], SHUT_WR));
	for (int i = 0; i < 3; i++)
		pthread_join(r[i], NULL);
	say("%lu octets, sum %lu", count, sum);
}

/* A write of one call stays together, in whatever order the calls come. */
CASE(writes_stay_together)
{
	pthread_t w[3];
	unsigned char buf[1000];
	int id[3] = {0, 1, 2}, broken = 0;

	make_pair(sock);
	for (int i = 0; i < 3; i++)
		pthread_create(&w[i], NULL, writers, &id[i]);
	for (int i = 0; i < 300; i++) {
		read_all(sock[1], buf, sizeof buf);
		for (size_t k = 1; k < sizeof buf; k++)
			broken += buf[k] != buf[0];
	}
	for (int i = 0; i < 3; i++)
		pthread_join(w[i], NULL);
	say("broken: %d", broken);
}

static int accepted;

static void *acceptors(void *arg)
{
	int fd;

	while ((fd = accept(*(int *)arg, NULL, NULL)) >= 0) {
		__atomic_fetch_add(&accepted, 1, __ATOMIC_RELAXED);
		write_all(fd, "a", 1);
		MUST(close(fd));
	}
	return NULL;
}

CASE(acceptors)
{
	pthread_t t[4];
	int l = listener(0);
	char c;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, acceptors, &l);
	for (int i = 0; i < 40; i++) {
		int fd = connect_to(l);

		read_all(fd, &c, 1);
		MUST(close(fd));
	}
	MUST(shutdown(l, SHUT_RDWR));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("accepted %d", accepted);
}

/* More threads sleep than there are event queues with a bit of their own. */
#define SLEEPERS 80

static int awake;

static void *sleeps(void *arg)
{
	int *fds = arg;
	struct pollfd p[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};

	if (poll(p, 2, -1) == 1 && p[0].revents == POLLIN)
		__atomic_fetch_add(&awake, 1, __ATOMIC_RELEASE);
	return NULL;
}

CASE4(crowd_of_pollers)
{
	static int fds[SLEEPERS][2], peer[SLEEPERS];
	pthread_t t[SLEEPERS];
	pthread_attr_t small;
	int l = listener(0), q[2];

	MUST(pipe(q));
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 1 << 18);
	for (int i = 0; i < SLEEPERS; i++) {
		peer[i] = connect_to(l);
		fds[i][0] = MUST(accept(l, NULL, NULL));
		fds[i][1] = q[0];
		if (pthread_create(&t[i], &small, sleeps, fds[i]) != 0)
			abort();
	}
	for (int i = SLEEPERS - 1; i >= 0; i--)
		write_all(peer[i], "x", 1);
	for (int i = 0; i < SLEEPERS; i++)
		pthread_join(t[i], NULL);
	say("%d were woken for their own", awake);
}

CASE4(crowd_of_sets)
{
	static int ep[SLEEPERS], fd[SLEEPERS], peer[SLEEPERS];
	struct epoll_event e = {.events = EPOLLIN};
	int l = listener(0), n = 0;

	for (int i = 0; i < SLEEPERS; i++) {
		peer[i] = connect_to(l);
		fd[i] = MUST(accept(l, NULL, NULL));
		ep[i] = MUST(epoll_create1(0));
		MUST(epoll_ctl(ep[i], EPOLL_CTL_ADD, fd[i], &e));
		if (i % 2) /* a socket in several sets */
			MUST(epoll_ctl(ep[i], EPOLL_CTL_ADD, fd[i - 1], &e));
	}
	for (int i = 0; i < SLEEPERS; i += 2)
		write_all(peer[i], "x", 1);
	for (int i = 0; i < SLEEPERS; i++)
		n += epoll_wait(ep[i], &e, 1, -1);
	say("%d sets have news", n);
}
