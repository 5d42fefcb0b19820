/* waits: poll and select over pipes and sockets together, with and without time limits. */
#include "cases.h"

static int p[2], q[2];

static void *later(void *arg)
{
	struct timespec t = {.tv_nsec = 20000000};

	nanosleep(&t, NULL);
	write_all(*(int *)arg, "x", 1);
	return NULL;
}

/* from_afar runs f while another thread writes to fd a little later. */
static void from_afar(int fd, void (*f)(void))
{
	pthread_t thread;

	pthread_create(&thread, NULL, later, &fd);
	f();
	pthread_join(thread, NULL);
}

static void poll_both(void)
{
	struct pollfd v[4] = {{.fd = q[0], .events = POLLIN},
			      {.fd = -1, .events = POLLIN},
			      {.fd = p[1], .events = POLLIN},
			      {.fd = p[0], .events = POLLIN}};
	char c;

	tell("poll", poll(v, 4, -1));
	say("pipe %d, socket %d", v[0].revents, v[2].revents);
	for (int i = 0; i < 4; i++)
		if (v[i].revents)
			tell("read", read(v[i].fd, &c, 1));
}

static void select_both(void)
{
	struct timeval t = {.tv_sec = 30};
	fd_set r, w;
	char c;

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(q[0], &r);
	FD_SET(p[1], &r);
	tell("select", select(64, &r, &w, NULL, &t));
	say("pipe %d, socket %d, time left %d", FD_ISSET(q[0], &r) != 0, FD_ISSET(p[1], &r) != 0,
	    t.tv_sec < 30 && t.tv_sec > 0);
	tell("read", read(FD_ISSET(q[0], &r) ? q[0] : p[1], &c, 1));
}

static void open_both(void)
{
	make_pair(p);
	MUST(pipe(q));
}

CASE(poll_wakes_for_pipe)
{
	open_both();
	from_afar(q[1], poll_both);
}

CASE(poll_wakes_for_socket)
{
	open_both();
	from_afar(p[0], poll_both);
}

CASE(select_wakes_for_pipe)
{
	open_both();
	from_afar(q[1], select_both);
}

CASE(select_wakes_for_socket)
{
	open_both();
	from_afar(p[0], select_both);
}

CASE(poll_limits)
{
	struct timespec brief = {.tv_nsec = 5000000};
	struct pollfd v = {.events = POLLIN};

	make_pair(p);
	v.fd = p[1];
	tell("poll, no time", poll(&v, 1, 0));
	tell("poll, some time", poll(&v, 1, 5));
	tell("ppoll", ppoll(&v, 1, &brief, NULL));
	v.events = POLLOUT;
	tell("writable", poll(&v, 1, -1));
	v.events = 0;
	tell("nothing wanted", poll(&v, 1, 0));
}

CASE(select_three)
{
	struct timespec none = {0};
	struct timeval now = {0};
	fd_set r, w, x;

	make_pair(p);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(p[1], &r);
	FD_SET(p[1], &w);
	FD_SET(p[1], &x);
	tell("select three", select(p[1] + 1, &r, &w, &x, &now));
	say("%d %d %d", FD_ISSET(p[1], &r) != 0, FD_ISSET(p[1], &w) != 0, FD_ISSET(p[1], &x) != 0);
	FD_SET(p[1], &r);
	tell("pselect", pselect(p[1] + 1, &r, NULL, NULL, &none, NULL));
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

/* A blocked signal that only ppoll lets in ends it. */
CASE(ppoll_mask)
{
	struct sigaction a = {.sa_handler = on_signal};
	struct pollfd v = {.events = POLLIN};
	sigset_t mask, empty;

	make_pair(p);
	v.fd = p[1];
	MUST(sigaction(SIGUSR1, &a, NULL));
	sigemptyset(&empty);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	raise(SIGUSR1);
	tell("ppoll with mask", ppoll(&v, 1, NULL, &empty));
	say("signals %d", (int)signals);
}

CASE(poll_closed)
{
	struct pollfd v = {.fd = 999, .events = POLLIN};

	make_pair(p);
	MUST(close(p[0]));
	await(p[1], POLLRDHUP);
	tell_events("closed", poll_now(p[1]));
	tell("bad descriptor", poll(&v, 1, 0));
	say("is POLLNVAL: %d", v.revents == POLLNVAL);
}
