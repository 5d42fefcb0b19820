/* interrupts: signals during every call that waits, masks of ppoll, pselect and epoll_pwait, and the signals
 * that sockets send themselves. */
#include "sets.h"

#include <sys/syscall.h>

static volatile sig_atomic_t caught;
static int pair[2], set;

static void on_signal(int sig)
{
	caught = sig;
}

static void on(int sig, int flags)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = flags};

	MUST(sigaction(sig, &a, NULL));
}

static int interrupted, error;

/* interrupt makes a call in a thread, and sends it signals until it returns. */
static void interrupt(const char *what, void (*call)(void *), int flags)
{
	struct sleeper s;

	on(SIGUSR1, flags);
	interrupted = error = 0;
	in_thread(&s, call, NULL);
	do {
		pthread_kill(s.thread, SIGUSR1);
		usleep(1000);
	} while (!__atomic_load_n(&interrupted, __ATOMIC_ACQUIRE));
	join(&s);
	say("%s: %s", what, error ? strerrorname_np(error) : "no error");
}

static void ended(long rc)
{
	error = rc < 0 ? errno : 0;
	__atomic_store_n(&interrupted, 1, __ATOMIC_RELEASE);
}

static void call_read(void *arg)
{
	char c;

	(void)arg;
	ended(read(pair[0], &c, 1));
}

static void call_recvmsg(void *arg)
{
	char c;

	(void)arg;
	ended(recvmsg(pair[0], &(struct msghdr){.msg_iov = &(struct iovec){&c, 1}, .msg_iovlen = 1}, 0));
}

static void call_write(void *arg)
{
	static char block[1 << 20];
	ssize_t n;

	(void)arg;
	do
		n = write(pair[0], block, sizeof block);
	while (n >= 0);
	ended(n);
}

static void call_accept(void *arg)
{
	(void)arg;
	ended(accept(set, NULL, NULL));
}

static void call_poll(void *arg)
{
	struct pollfd p = {.fd = pair[0], .events = POLLIN};

	(void)arg;
	ended(poll(&p, 1, -1));
}

static void call_poll_both(void *arg)
{
	struct pollfd p[2] = {{.fd = pair[0], .events = POLLIN}, {.fd = 0, .events = 0}};

	(void)arg;
	ended(poll(p, 2, 60000));
}

static void call_select(void *arg)
{
	fd_set r;

	(void)arg;
	FD_ZERO(&r);
	FD_SET(pair[0], &r);
	ended(select(pair[0] + 1, &r, NULL, NULL, NULL));
}

static void call_epoll(void *arg)
{
	struct epoll_event e;

	(void)arg;
	ended(epoll_wait(set, &e, 1, -1));
}

CASE(read_and_write)
{
	struct timeval v = {.tv_sec = 60};

	make_pair(pair);
	fixed_buffers(pair);
	interrupt("read", call_read, 0);
	interrupt("recvmsg", call_recvmsg, 0);
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
	interrupt("read with a timeout, SA_RESTART", call_read, SA_RESTART);
	fill_up(pair[0]);
	interrupt("write", call_write, 0);
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &v, sizeof v));
	interrupt("write with a timeout, SA_RESTART", call_write, SA_RESTART);
}

CASE(accept_is_interrupted)
{
	set = listener(0);
	interrupt("accept", call_accept, 0);
}

/* These go on after no handler. */
CASE(poll_and_select)
{
	make_pair(pair);
	interrupt("poll", call_poll, 0);
	interrupt("poll, SA_RESTART", call_poll, SA_RESTART);
	interrupt("poll of both kinds, SA_RESTART", call_poll_both, SA_RESTART);
	interrupt("select", call_select, 0);
	interrupt("select, SA_RESTART", call_select, SA_RESTART);
}

CASE(epoll_is_interrupted)
{
	make_pair(pair);
	set = MUST(epoll_create1(0));
	add(set, pair[0], EPOLLIN, 1);
	interrupt("epoll_wait", call_epoll, 0);
	interrupt("epoll_wait, SA_RESTART", call_epoll, SA_RESTART);
}

static void restarted(const char *what, void (*call)(void *), void (*finish)(void))
{
	struct sleeper s;

	on(SIGUSR1, SA_RESTART);
	interrupted = error = 0;
	in_thread(&s, call, NULL);
	for (int i = 0; i < 5; i++) {
		pthread_kill(s.thread, SIGUSR1);
		usleep(1000);
	}
	say("%s returned: %d", what, __atomic_load_n(&interrupted, __ATOMIC_ACQUIRE));
	finish();
	join(&s);
	say("%s: %s", what, error ? strerrorname_np(error) : "no error");
}

static void give_octet(void)
{
	write_all(pair[1], "x", 1);
}

static void give_connection(void)
{
	connect_to(set);
}

CASE(read_goes_on)
{
	make_pair(pair);
	restarted("read", call_read, give_octet);
}

CASE(accept_goes_on)
{
	set = listener(0);
	restarted("accept", call_accept, give_connection);
}

/* A stop and a continuation without handlers interrupt nothing. */
CASE(stopped_and_continued)
{
	pid_t child;
	int status;
	char c;

	make_pair(pair);
	child = MUST(fork());
	if (child == 0) {
		struct pollfd p = {.fd = pair[0], .events = POLLIN};

		tell("poll", poll(&p, 1, -1));
		tell("read", read(pair[0], &c, 1));
		tell("read", read(pair[0], &c, 1));
		_exit(0);
	}
	for (int i = 0; i < 3; i++) {
		MUST(kill(child, SIGSTOP));
		MUST(waitpid(child, &status, WUNTRACED));
		MUST(kill(child, SIGCONT));
		usleep(2000);
	}
	write_all(pair[1], "x", 1);
	for (int i = 0; i < 3; i++) {
		MUST(kill(child, SIGSTOP));
		MUST(waitpid(child, &status, WUNTRACED));
		MUST(kill(child, SIGCONT));
		usleep(2000);
	}
	write_all(pair[1], "y", 1);
	reap(child);
}

/* A signal that is blocked but by the call's mask interrupts that call, and nothing before it. */
static void pending(sigset_t *open)
{
	sigset_t blocked;

	on(SIGUSR2, 0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	MUST(sigprocmask(SIG_BLOCK, &blocked, open));
	sigdelset(open, SIGUSR2);
	MUST(raise(SIGUSR2));
	caught = 0;
}

CASE(mask_of_ppoll)
{
	struct timespec none = {0}, some = {.tv_sec = 50};
	struct pollfd p;
	sigset_t open;

	make_pair(pair);
	p = (struct pollfd){.fd = pair[0], .events = POLLIN};
	pending(&open);
	tell("without a mask", ppoll(&p, 1, &none, NULL));
	say("caught: %d", caught != 0);
	tell("waiting", ppoll(&p, 1, &some, &open));
	say("caught: %d", caught != 0);
	pending(&open);
	tell("not waiting", ppoll(&p, 1, &none, &open));
	say("caught: %d", caught != 0);
	pending(&open);
	write_all(pair[1], "x", 1);
	await(pair[0], POLLIN);
	tell("readable", ppoll(&p, 1, &some, &open));
	say("caught: %d", caught != 0);
}

CASE(mask_of_pselect)
{
	struct timespec some = {.tv_sec = 50};
	sigset_t open;
	fd_set r;

	make_pair(pair);
	FD_ZERO(&r);
	FD_SET(pair[0], &r);
	pending(&open);
	tell("waiting", pselect(pair[0] + 1, &r, NULL, NULL, &some, &open));
	say("caught: %d, the set is as it was: %d", caught != 0, FD_ISSET(pair[0], &r) != 0);
}

CASE(mask_of_epoll_pwait)
{
	struct timespec some = {.tv_sec = 50};
	struct epoll_event e;
	sigset_t open;

	make_pair(pair);
	set = MUST(epoll_create1(0));
	add(set, pair[0], EPOLLIN, 1);
	pending(&open);
	tell("not waiting", epoll_pwait(set, &e, 1, 0, &open));
	say("caught: %d", caught != 0);
	tell("waiting", epoll_pwait(set, &e, 1, 50000, &open));
	say("caught: %d", caught != 0);
	pending(&open);
	tell("epoll_pwait2", epoll_pwait2(set, &e, 1, &some, &open));
	say("caught: %d", caught != 0);
	pending(&open);
	write_all(pair[1], "x", 1);
	await(pair[0], POLLIN);
	tell("readable", epoll_pwait(set, &e, 1, 50000, &open));
	say("caught: %d", caught != 0);
}

CASE(broken_pipe)
{
	on(SIGPIPE, 0);
	make_pair(pair);
	MUST(shutdown(pair[0], SHUT_WR));
	tell("write", write(pair[0], "x", 1));
	say("caught: %d", caught == SIGPIPE);
	caught = 0;
	tell("send", send(pair[0], "x", 1, 0));
	say("caught: %d", caught == SIGPIPE);
	caught = 0;
	tell("MSG_NOSIGNAL", send(pair[0], "x", 1, MSG_NOSIGNAL));
	say("caught: %d", caught == SIGPIPE);
	tell("sendmsg",
	     sendmsg(pair[0], &(struct msghdr){.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1}, 0));
	say("caught: %d", caught == SIGPIPE);
	caught = 0;
	tell("writev", writev(pair[0], &(struct iovec){"x", 1}, 1));
	say("caught: %d", caught == SIGPIPE);
}

CASE(broken_pipe_ends_the_process)
{
	pid_t child;
	int status;

	make_pair(pair);
	child = MUST(fork());
	if (child == 0) {
		MUST(shutdown(pair[0], SHUT_WR));
		write_all(pair[0], "x", 1);
		_exit(0);
	}
	MUST(waitpid(child, &status, 0));
	say("signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static __thread int mine;
static volatile int whose;

static void on_pipe(int sig)
{
	(void)sig;
	whose = mine;
}

static void write_here(void *arg)
{
	mine = 2;
	tell("write", write(*(int *)arg, "x", 1));
}

CASE(broken_pipe_is_the_threads)
{
	pthread_t t;

	mine = 1;
	signal(SIGPIPE, on_pipe);
	make_pair(pair);
	MUST(shutdown(pair[0], SHUT_WR));
	pthread_create(&t, NULL, (void *(*)(void *))(void *)write_here, &pair[0]);
	pthread_join(t, NULL);
	say("thread %d", whose);
}

CASE(io_signal)
{
	make_pair(pair);
	on(SIGIO, SA_RESTART);
	MUST(fcntl(pair[0], F_SETOWN, getpid()));
	MUST(fcntl(pair[0], F_SETFL, O_ASYNC));
	caught = 0;
	write_all(pair[1], "x", 1);
	for (int i = 0; i < 10000 && caught != SIGIO; i++)
		usleep(1000);
	say("octets: %d", caught == SIGIO);
	MUST(fcntl(pair[0], F_SETFL, 0));
	say("owner: %d", fcntl(pair[0], F_GETOWN) == getpid());
}

CASE(io_signal_of_a_listener)
{
	set = listener(SOCK_NONBLOCK);
	on(SIGIO, SA_RESTART);
	MUST(fcntl(set, F_SETOWN, getpid()));
	MUST(fcntl(set, F_SETFL, O_ASYNC | O_NONBLOCK));
	caught = 0;
	connect_to(set);
	for (int i = 0; i < 10000 && caught != SIGIO; i++)
		usleep(1000);
	say("a connection: %d", caught == SIGIO);
}

/* A handler may use other sockets than the one whose call it interrupts. */
static int other[2];

static void on_busy(int sig)
{
	char c;
	int saved = errno;

	(void)sig;
	if (write(other[0], "h", 1) == 1 && read(other[1], &c, 1) == 1)
		caught = 1;
	close(dup(other[0]));
	errno = saved;
}

CASE(sockets_in_a_handler)
{
	struct sigaction a = {.sa_handler = on_busy, .sa_flags = SA_RESTART};
	struct sleeper s;

	make_pair(pair);
	make_pair(other);
	MUST(sigaction(SIGUSR1, &a, NULL));
	interrupted = 0;
	in_thread(&s, call_read, NULL);
	for (int i = 0; i < 20; i++) {
		pthread_kill(s.thread, SIGUSR1);
		usleep(500);
	}
	write_all(pair[1], "x", 1);
	join(&s);
	say("handled: %d, read: %d", caught, interrupted);
}
