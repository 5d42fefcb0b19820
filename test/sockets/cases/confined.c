/* confined: processes that give up rights while they have connections, as servers with separated privileges
 * do: another root directory, limits, a filter of system calls, another user. */
#include "cases.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define ALLOW(n)                                      \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, n, 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* What sshd leaves its network process: whatever else is called ends it. */
static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	ALLOW(SYS_brk),
	ALLOW(SYS_clock_gettime),
	ALLOW(SYS_close),
	ALLOW(SYS_exit),
	ALLOW(SYS_exit_group),
	ALLOW(SYS_futex),
	ALLOW(SYS_geteuid),
	ALLOW(SYS_getpgid),
	ALLOW(SYS_getpid),
	ALLOW(SYS_getrandom),
	ALLOW(SYS_gettid),
	ALLOW(SYS_gettimeofday),
	ALLOW(SYS_getuid),
	ALLOW(SYS_madvise),
	ALLOW(SYS_mmap),
	ALLOW(SYS_mprotect),
	ALLOW(SYS_mremap),
	ALLOW(SYS_munmap),
	ALLOW(SYS_nanosleep),
	ALLOW(SYS_clock_nanosleep),
	ALLOW(SYS_poll),
	ALLOW(SYS_ppoll),
	ALLOW(SYS_pselect6),
	ALLOW(SYS_read),
	ALLOW(SYS_rt_sigprocmask),
	ALLOW(SYS_rt_sigreturn),
	ALLOW(SYS_select),
	ALLOW(SYS_shutdown),
	ALLOW(SYS_time),
	ALLOW(SYS_write),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static const struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

static void by_prctl(void)
{
	struct rlimit one = {1, 1};

	/* The linker and stdio have done what they do first. */
	say("confined");
	if (getuid() == 0)
		MUST(chroot("/proc/self/fdinfo"));
	MUST(setrlimit(RLIMIT_NOFILE, &one));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void by_system_call(void)
{
	say("confined");
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* The process reads, writes and waits, in the ways that are left, until the peer has ended. */
static void converse(int fd)
{
	struct timespec some = {.tv_sec = 20};
	char buf[8];
	ssize_t n;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (ppoll(&p, 1, &some, NULL) != 1)
			_exit(2);
		n = read(fd, buf, sizeof buf);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			_exit(n < 0 ? 3 : 0);
		p.events = POLLOUT;
		if (poll(&p, 1, -1) != 1 || write(fd, buf, (size_t)n) != n)
			_exit(4);
	}
}

static void ask(int fd)
{
	char buf[8];

	for (int i = 0; i < 50; i++) {
		write_all(fd, "ask", 3);
		read_all(fd, buf, 3);
		if (i % 10 == 0)
			usleep(1000); /* it sleeps */
	}
	MUST(shutdown(fd, SHUT_WR));
	tell("end", read(fd, buf, 1));
}

static void with_child(void (*confine)(void), bool nonblock)
{
	int l = listener(0), fd, a;
	pid_t child;

	fd = connect_to(l);
	a = MUST(accept(l, NULL, NULL));
	nonblocking(a, nonblock);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(fd));
		confine();
		converse(a);
	}
	MUST(close(a));
	ask(fd);
	reap(child);
}

CASE(network_process)
{
	with_child(by_prctl, true);
}

CASE(network_process_that_blocks)
{
	with_child(by_prctl, false);
}

CASE(filter_by_system_call)
{
	with_child(by_system_call, true);
}

/* As sshd does: the daemon executes itself anew for each connection, which is its standard input, and that
 * process forks the confined one, while it goes on itself. */
CASE(executed_and_confined)
{
	int l, fd, other, status;
	pid_t child;

	if (phase("session", &fd, &other)) {
		int in = MUST(dup(0)), out = MUST(dup(0)), via[2];
		char c;

		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, via));
		nonblocking(in, true);
		child = MUST(fork());
		if (child == 0) {
			by_prctl();
			for (int i = 0; i < 3; i++) {
				struct pollfd p = {.fd = in, .events = POLLIN};

				if (poll(&p, 1, -1) != 1 || read(in, &c, 1) != 1 || write(out, &c, 1) != 1)
					_exit(2);
			}
			_exit(write(via[1], "d", 1) == 1 ? 0 : 3);
		}
		MUST(close(via[1]));
		read_all(via[0], &c, 1);
		MUST(waitpid(child, &status, 0));
		say("the confined one: %#x", status);
		/* The session goes on with the connection. */
		nonblocking(in, false);
		read_all(in, &c, 1);
		write_all(out, &c, 1);
		exit(0);
	}
	l = listener(SOCK_CLOEXEC);
	fd = connect_to(l);
	MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
	int a = MUST(accept(l, NULL, NULL));

	child = MUST(fork());
	if (child == 0) {
		MUST(dup2(a, 0));
		MUST(close(a));
		exec_again("session", -1, -1);
	}
	MUST(close(a));
	for (char c = 'a'; c < 'e'; c++) {
		char got;

		write_all(fd, &c, 1);
		read_all(fd, &got, 1);
		if (got != c)
			say("wrong: %c", got);
	}
	reap(child);
	tell("end", read(fd, &status, 1));
}

/* A filter forbids nothing to sockets that are made before and used after it. */
CASE(both_kinds_under_a_filter)
{
	int p[2], q[2];
	char c;
	pid_t child;

	make_pair(p);
	MUST(pipe(q));
	child = MUST(fork());
	if (child == 0) {
		struct pollfd f[2] = {{.fd = p[1], .events = POLLIN}, {.fd = q[0], .events = POLLIN}};
		int seen = 0;

		by_system_call();
		while (seen != 3) {
			if (poll(f, 2, -1) <= 0)
				_exit(2);
			if (f[0].revents && read(p[1], &c, 1) == 1)
				seen |= 1;
			if (f[1].revents && read(q[0], &c, 1) == 1)
				seen |= 2;
		}
		_exit(0);
	}
	usleep(3000);
	write_all(p[0], "x", 1);
	usleep(3000);
	write_all(q[1], "x", 1);
	reap(child);
	MUST(close(p[1]));
	tell("end", read(p[0], &c, 1));
}

static void another_root(void)
{
	if (getuid() == 0)
		MUST(chroot("/proc/self/fdinfo"));
}

static void another_user(void)
{
	another_root();
	if (getuid() == 0) {
		MUST(setgid(65534));
		MUST(setuid(65534));
	}
}

static void few_numbers(void)
{
	struct rlimit none = {0, 0};

	MUST(setrlimit(RLIMIT_NOFILE, &none));
}

CASE(another_root_directory)
{
	with_child(another_root, true);
}

CASE(user_with_few_rights)
{
	with_child(another_user, false);
}

CASE(no_numbers_at_all)
{
	int p[2];
	char c;
	pid_t child;

	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		few_numbers();
		_exit(read(p[1], &c, 1) == 1 && write(p[1], "y", 1) == 1 ? 0 : 2);
	}
	write_all(p[0], "x", 1);
	tell("read", read(p[0], &c, 1));
	reap(child);
}
