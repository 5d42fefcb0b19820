/* signals: blocking calls that a signal interrupts, with and without SA_RESTART. */
#include "cases.h"

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
#define RINGING(call)                                                      \
	({                                                                 \
		sig_atomic_t before_ = signals;                            \
		ring(10);                                                  \
		long rc_ = (call);                                         \
		int error_ = errno;                                        \
		ring(0);                                                   \
		say("%s", signals != before_ ? "signalled" : "no signal"); \
		errno = error_;                                            \
		rc_;                                                       \
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

static sigset_t alarms(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGALRM);
	return mask;
}

/* start starts a helper that does not take the signal. */
static pthread_t start(void *(*f)(void *), void *arg)
{
	sigset_t mask = alarms();
	pthread_t thread;

	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pthread_create(&thread, NULL, f, arg);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	return thread;
}

CASE(read_no_restart)
{
	char c;

	make_pair(p);
	install(0);
	tell("read", RINGING(read(p[1], &c, 1)));
}

CASE(accept_no_restart)
{
	int l = listener(0);

	install(0);
	tell("accept", RINGING(accept(l, NULL, NULL)));
}

static void interrupted_poll(int flags)
{
	struct pollfd v = {.events = POLLIN};

	make_pair(p);
	v.fd = p[1];
	install(flags);
	tell("poll", RINGING(poll(&v, 1, -1)));
}

CASE(poll_no_restart)
{
	interrupted_poll(0);
}

/* poll is never restarted. */
CASE(poll_restart)
{
	interrupted_poll(SA_RESTART);
}

CASE(read_restart)
{
	pthread_t thread;
	char c;

	make_pair(p);
	install(SA_RESTART);
	thread = start(write_later, NULL);
	tell("read", RINGING(read(p[1], &c, 1)));
	pthread_join(thread, NULL);
}

CASE(accept_restart)
{
	int l = listener(0), fd;
	pthread_t thread;

	install(SA_RESTART);
	thread = start(connect_later, &l);
	fd = RINGING(accept(l, NULL, NULL));
	say("accept: %s", fd >= 0 ? "a connection" : strerrorname_np(errno));
	pthread_join(thread, NULL);
}

CASE(timed_read_is_never_restarted)
{
	struct timeval limit = {.tv_sec = 20};
	char c;

	make_pair(p);
	install(SA_RESTART);
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	tell("read", RINGING(read(p[1], &c, 1)));
}
