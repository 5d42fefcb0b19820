/* server: an edge-triggered epoll server against many clients at once, all in one process. */
#include "cases.h"

#define CLIENTS 64
#define ROUNDS 20
#define SIZE 3000

static int ep, l;

static void add(int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		add(fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP);
	if (errno != EAGAIN)
		tell("accept", -1);
}

/* echo_all sends back what it can read; sockets are drained before the next wait. */
static bool echo_all(int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		nonblocking(fd, false);
		write_all(fd, buf, (size_t)n);
		nonblocking(fd, true);
	}
	if (n < 0 && errno != EAGAIN)
		tell("read", n);
	return n == 0;
}

static void *serve(void *arg)
{
	struct epoll_event e[32];
	int ended = 0;

	(void)arg;
	while (ended < CLIENTS) {
		int n = MUST(epoll_wait(ep, e, 32, 50000));

		if (n == 0) {
			say("server waits in vain, %d ended", ended);
			return NULL;
		}
		for (int i = 0; i < n; i++) {
			if (e[i].data.fd == l) {
				accept_all();
			} else if (echo_all(e[i].data.fd)) {
				ended++;
				MUST(close(e[i].data.fd));
			}
		}
	}
	say("server saw %d clients end", ended);
	return NULL;
}

CASE(edge_triggered)
{
	static uint8_t buf[SIZE];
	int fd[CLIENTS];
	pthread_t thread;

	l = listener(SOCK_NONBLOCK);
	ep = MUST(epoll_create1(0));
	add(l, EPOLLIN);
	pthread_create(&thread, NULL, serve, NULL);
	for (int i = 0; i < CLIENTS; i++)
		fd[i] = connect_to(l);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CLIENTS; i++) {
			fill_pattern(buf, (uint64_t)(round * i), SIZE);
			write_all(fd[i], buf, SIZE);
		}
		for (int i = 0; i < CLIENTS; i++) {
			read_all(fd[i], buf, SIZE);
			verify(buf, (uint64_t)(round * i), SIZE);
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		MUST(close(fd[i]));
	pthread_join(thread, NULL);
}
