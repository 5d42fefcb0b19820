/* makers: every way to make a process, and who holds a connection then. */
#include "cases.h"

#include <linux/sched.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;

/* held_by_child is the same for each way: the child writes after the parent has closed its copy,
 * and the peer sees the end when the child has ended. */
static void held_by_child(pid_t (*make)(void))
{
	char buf[8];
	int p[2], go[2];
	pid_t child;

	make_pair(p);
	MUST(pipe(go));
	child = MUST(make());
	if (child == 0) {
		MUST(close(p[0]));
		MUST(close(go[1]));
		MUST(read(go[0], buf, 1));
		write_all(p[1], "from child", 10);
		_exit(0);
	}
	MUST(close(p[1]));
	quiet("the parent has closed", p[0]);
	write_all(go[1], "g", 1);
	read_all(p[0], buf, 4);
	say("%.4s", buf);
	read_up(p[0], 6);
	tell("end", read(p[0], buf, 1));
	reap(child);
}

static pid_t by_fork(void)
{
	return fork();
}

static pid_t by_plain_fork(void)
{
	return _Fork();
}

static pid_t by_sys_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static pid_t by_sys_clone3(void)
{
	struct clone_args a = {.exit_signal = SIGCHLD};

	return (pid_t)syscall(SYS_clone3, &a, sizeof a);
}

CASE(fork_holds)
{
	held_by_child(by_fork);
}

CASE(plain_fork_holds)
{
	held_by_child(by_plain_fork);
}

CASE(sys_clone_holds)
{
	held_by_child(by_sys_fork);
}

CASE(sys_clone3_holds)
{
	held_by_child(by_sys_clone3);
}

static int clone_child(void *arg)
{
	int *fds = arg;
	char c;

	MUST(close(fds[0]));
	MUST(read(fds[2], &c, 1));
	write_all(fds[1], "clone", 5);
	return 7;
}

CASE(clone_holds)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	int fds[4], status;
	char buf[8];
	pid_t child;

	make_pair(fds);
	MUST(pipe(fds + 2));
	child = MUST(clone(clone_child, stack + sizeof stack, SIGCHLD, fds));
	MUST(close(fds[1]));
	quiet("the parent has closed", fds[0]);
	write_all(fds[3], "g", 1);
	read_all(fds[0], buf, 5);
	say("%.5s", buf);
	tell("end", read(fds[0], buf, 1));
	MUST(waitpid(child, &status, 0));
	say("status %d", WEXITSTATUS(status));
}

/* What a child of vfork does to its descriptors leaves the parent's alone. */
CASE(vfork_closes)
{
	int p[2], ep = MUST(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 5};
	char c;
	pid_t child;

	make_pair(p);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
	child = vfork();
	if (child == 0) {
		close(p[0]);
		close(p[1]);
		close_range(3, ~0u, 0);
		_exit(0);
	}
	reap(child);
	write_all(p[0], "v", 1);
	tell("epoll", epoll_wait(ep, &e, 1, -1));
	tell("read", read(p[1], &c, 1));
	MUST(close(p[0]));
	tell("end", read(p[1], &c, 1));
}

CASE(vfork_dup2)
{
	int p[2], q[2];
	char c;
	pid_t child;

	make_pair(p);
	make_pair(q);
	child = vfork();
	if (child == 0) {
		dup2(p[0], q[0]);
		dup2(p[1], 0);
		for (int fd = 3; fd < 4100; fd++)
			close(fd);
		_exit(0);
	}
	reap(child);
	write_all(p[0], "p", 1);
	write_all(q[0], "q", 1);
	MUST(read(p[1], &c, 1));
	say("%c", c);
	MUST(read(q[1], &c, 1));
	say("%c", c);
}

/* echo_on_zero is what the programs do that get a connection as standard input. */
static void echo_on_zero(void)
{
	char buf[8];
	int fd, other;

	if (!phase("echo", &fd, &other))
		return;
	read_all(0, buf, 4);
	write_all(0, buf, 4);
	read_all(0, buf, 1);
	exit(0);
}

static void talk_to_echo(int fd)
{
	char buf[8];

	write_all(fd, "talk", 4);
	read_all(fd, buf, 4);
	say("echo: %.4s", buf);
	quiet("and goes on", fd);
	write_all(fd, "!", 1);
	tell("end", read(fd, buf, 1));
}

/* As subprocess.Popen(stdin=socket) and inetd do. */
CASE(vfork_dup2_exec)
{
	char *argv[] = {"case", (char *)address, (char *)this_case, NULL};
	int p[2];
	pid_t child;

	echo_on_zero();
	make_pair(p);
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	setenv("CASE_PHASE", "echo 0 0", 1);
	child = vfork();
	if (child == 0) {
		dup2(p[1], 0);
		execve("/proc/self/exe", argv, environ);
		_exit(127);
	}
	MUST(close(p[1]));
	talk_to_echo(p[0]);
	reap(child);
}

CASE(spawn_with_dup2)
{
	char *argv[] = {"case", (char *)address, (char *)this_case, NULL};
	posix_spawn_file_actions_t actions;
	int p[2];
	pid_t child;

	echo_on_zero();
	make_pair(p);
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	setenv("CASE_PHASE", "echo 0 0", 1);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], 0);
	say("spawn: %d", posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ));
	posix_spawn_file_actions_destroy(&actions);
	MUST(close(p[1]));
	talk_to_echo(p[0]);
	reap(child);
}

CASE(spawn_that_closes)
{
	char *argv[] = {"cat", NULL};
	posix_spawn_file_actions_t actions;
	int p[2], in[2];
	char c;
	pid_t child;

	make_pair(p);
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	MUST(pipe2(in, O_CLOEXEC));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_addclose(&actions, p[1]);
	say("spawn: %d", posix_spawnp(&child, "cat", &actions, NULL, argv, environ));
	posix_spawn_file_actions_destroy(&actions);
	MUST(close(p[1]));
	tell("nobody else holds it", read(p[0], &c, 1));
	MUST(close(in[1]));
	reap(child);
}

CASE(popen_holds)
{
	int p[2];
	char c;
	FILE *f;

	make_pair(p);
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	f = popen("read line", "w");
	MUST(close(p[1]));
	quiet("the shell holds it", p[0]);
	fputs("line\n", f);
	say("pclose: %d", pclose(f));
	tell("end", read(p[0], &c, 1));
}

CASE(system_holds)
{
	int p[2], fifo[2];
	char c, command[64];

	make_pair(p);
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	MUST(pipe(fifo));
	MUST(fcntl(fifo[1], F_SETFD, FD_CLOEXEC));
	/* What runs in the background outlives system. */
	snprintf(command, sizeof command, "sh -c 'read line' <&%d & exit 3", fifo[0]);
	say("system: %d", WEXITSTATUS(system(command)));
	MUST(close(p[1]));
	quiet("the background holds it", p[0]);
	write_all(fifo[1], "line\n", 5);
	tell("end", read(p[0], &c, 1));
}

CASE(system_with_close_on_exec)
{
	int p[2];
	char c;

	make_pair(p);
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	say("system: %d", system("true"));
	write_all(p[1], "s", 1);
	tell("works", read(p[0], &c, 1));
	MUST(close(p[1]));
	tell("end", read(p[0], &c, 1));
}

/* outlived has a process far down hold a connection that its makers have closed or left with their
 * end. descend makes it, and returns there. */
static void outlived(void (*descend)(void))
{
	int p[2], go[2];
	char c;
	pid_t child;

	make_pair(p);
	MUST(pipe(go));
	child = MUST(fork());
	if (child == 0) {
		descend();
		MUST(close(p[0]));
		MUST(close(go[1]));
		MUST(read(go[0], &c, 1));
		write_all(p[1], "g", 1);
		_exit(0);
	}
	reap(child);
	MUST(close(p[1]));
	quiet("both have let go", p[0]);
	write_all(go[1], "g", 1);
	tell("read", read(p[0], &c, 1));
	tell("end", read(p[0], &c, 1));
}

static void to_grandchild(void)
{
	if (MUST(fork()) != 0)
		_exit(0);
}

static void to_daemon(void)
{
	MUST(daemon(1, 1));
}

CASE(grandchild_holds)
{
	outlived(to_grandchild);
}

CASE(daemon_holds)
{
	outlived(to_daemon);
}

static void fork_here(void *arg)
{
	int *p = arg;
	pid_t child = MUST(fork());

	if (child == 0) {
		write_all(p[0], "thread's child", 14);
		_exit(0);
	}
	reap(child);
}

CASE(fork_in_a_thread)
{
	int p[2];
	char buf[16];
	pthread_t t;

	make_pair(p);
	pthread_create(&t, NULL, (void *(*)(void *))(void *)fork_here, p);
	read_all(p[1], buf, 14);
	say("%.14s", buf);
	pthread_join(t, NULL);
	write_all(p[0], "x", 1);
	tell("works", read(p[1], buf, 1));
}

static void read_one(void *arg)
{
	char c;

	tell("read in the thread", read(*(int *)arg, &c, 1));
}

CASE(fork_under_a_read)
{
	struct sleeper s;
	int p[2];
	pid_t child;

	make_pair(p);
	in_thread(&s, read_one, &p[1]);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[1]));
		write_all(p[0], "c", 1);
		_exit(0);
	}
	join(&s);
	reap(child);
}

/* A child that was made while other threads opened and closed sockets works with sockets of its
 * own, and what it does and does not inherit changes nothing for its parent. */
static void *churn(void *arg)
{
	int *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		int p[2];

		make_pair(p);
		write_all(p[0], "x", 1);
		await(p[1], POLLIN);
		MUST(close(p[0]));
		MUST(close(p[1]));
	}
	return NULL;
}

CASE(fork_under_load)
{
	pthread_t t[2];
	int stop = 0, p[2];

	make_pair(p);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, churn, &stop);
	for (int i = 0; i < 8; i++) {
		pid_t child = MUST(fork());

		if (child == 0) {
			int own[2];
			char c;

			write_all(p[0], "x", 1);
			if (read(p[1], &c, 1) != 1)
				_exit(1);
			make_pair(own);
			write_all(own[0], "x", 1);
			_exit(read(own[1], &c, 1) == 1 ? 0 : 2);
		}
		reap(child);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	say("all children worked");
}
