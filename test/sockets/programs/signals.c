/* signals: blocking calls that a signal interrupts, with and without SA_RESTART. */
#include "programs.h"

static volatile sig_atomic_t signals;
static int p[2];

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static void install(int flags)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = flags};

	MUST(sigaction(SIGALRM, &a, NULL));
}

static void ring(int ms)
{
	struct itimerval t = {.it_value = {.tv_usec = ms * 1000}};

	MUST(setitimer(ITIMER_REAL, &t, NULL));
}

static void *write_later(void *arg)
{
	struct timespec t = {.tv_nsec = 60000000};

	(void)arg;
	nanosleep(&t, NULL);
	write_all(p[0], "x", 1);
	return NULL;
}

static void *connect_later(void *arg)
{
	struct timespec t = {.tv_nsec = 60000000};

	nanosleep(&t, NULL);
	close(connect_to(*(int *)arg));
	return NULL;
}

static void test(void)
{
	struct timeval limit = {.tv_sec = 20};
	struct pollfd v;
	pthread_t thread;
	sigset_t mask;
	int l = listener(0), fd;
	char c;

	make_pair(p);
	sigemptyset(&mask);
	sigaddset(&mask, SIGALRM);

	install(0);
	ring(10);
	tell("read, no restart", read(p[1], &c, 1));
	ring(10);
	tell("accept, no restart", accept(l, NULL, NULL));
	ring(10);
	v = (struct pollfd){.fd = p[1], .events = POLLIN};
	tell("poll", poll(&v, 1, -1));
	say("signals %d", (int)signals);

	install(SA_RESTART);
	pthread_sigmask(SIG_BLOCK, &mask, NULL); /* the helpers must not take the signal */
	pthread_create(&thread, NULL, write_later, NULL);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	ring(10);
	tell("read, restarted", read(p[1], &c, 1));
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pthread_create(&thread, NULL, connect_later, &l);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	ring(10);
	fd = accept(l, NULL, NULL);
	say("accept, restarted: %s", fd >= 0 ? "a connection" : strerrorname_np(errno));
	pthread_join(thread, NULL);
	ring(10);
	tell("poll", poll(&v, 1, -1));
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	ring(10);
	tell("timed read is never restarted", read(p[1], &c, 1));
	say("signals %d", (int)signals);
}
