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

/*
 * ring lets the alarm come every ms milliseconds, or stops it. One alone might come before the call
 * that it is to interrupt has begun to wait.
 */
static void ring(int ms)
{
	struct timeval every = {.tv_usec = ms * 1000};
	struct itimerval t = {.it_interval = every, .it_value = every};

	MUST(setitimer(ITIMER_REAL, &t, NULL));
}

/* RINGING makes a call while the alarm comes, and says whether it came. */
#define RINGING(call)                                                                          \
	({                                                                                     \
		sig_atomic_t before_ = signals;                                                \
		ring(10);                                                                      \
		long rc_ = (call);                                                             \
		int error_ = errno;                                                            \
		ring(0);                                                                       \
		say("%s", signals != before_ ? "signalled" : "no signal");                     \
		errno = error_;                                                                \
		rc_;                                                                           \
	})

/* await_signals returns when a few more have come: the call that they interrupt goes on waiting. */
static void await_signals(void)
{
	struct timespec t = {.tv_nsec = 5000000};

	for (sig_atomic_t n = signals; signals < n + 3;)
		nanosleep(&t, NULL);
}

static void *write_later(void *arg)
{
	(void)arg;
	await_signals();
	write_all(p[0], "x", 1);
	return NULL;
}

static void *connect_later(void *arg)
{
	await_signals();
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
	tell("read, no restart", RINGING(read(p[1], &c, 1)));
	tell("accept, no restart", RINGING(accept(l, NULL, NULL)));
	v = (struct pollfd){.fd = p[1], .events = POLLIN};
	tell("poll", RINGING(poll(&v, 1, -1)));

	install(SA_RESTART);
	pthread_sigmask(SIG_BLOCK, &mask, NULL); /* the helpers must not take the signal */
	pthread_create(&thread, NULL, write_later, NULL);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	tell("read, restarted", RINGING(read(p[1], &c, 1)));
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pthread_create(&thread, NULL, connect_later, &l);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	fd = RINGING(accept(l, NULL, NULL));
	say("accept, restarted: %s", fd >= 0 ? "a connection" : strerrorname_np(errno));
	pthread_join(thread, NULL);
	tell("poll", RINGING(poll(&v, 1, -1)));
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	tell("timed read is never restarted", RINGING(read(p[1], &c, 1)));
}
