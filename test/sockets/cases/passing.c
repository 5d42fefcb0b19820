/* passing: sockets that reach another process by exec and by SCM_RIGHTS. */
#include "cases.h"

#include <spawn.h>

/* What the program does after exec: the descriptors' numbers are in the environment. */
static void continued(const char *numbers)
{
	char buf[16];
	int fd, l, a;

	if (sscanf(numbers, "%d %d", &fd, &l) != 2)
		_exit(3);
	read_all(fd, buf, 5);
	say("after exec: %.5s", buf);
	write_all(fd, "reply", 5);
	await(l, POLLIN);
	a = MUST(accept(l, NULL, NULL));
	read_all(a, buf, 3);
	say("accepted after exec: %.3s", buf);
	MUST(close(a));
	exit(0);
}

/* How the environment of the next program comes about. */
enum { INHERITED, CLEANED, OTHER };

static void by_exec(int environment)
{
	char numbers[64], other[] = "LD_PRELOAD=", buf[16];
	int p[2], l, fd;
	pid_t child;

	if (getenv("CONTINUED"))
		continued(getenv("CONTINUED"));
	l = listener(0);
	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		char *envp[] = {numbers, environment == OTHER ? other : NULL, NULL};

		MUST(close(p[0]));
		snprintf(numbers, sizeof numbers, "CONTINUED=%d %d", p[1], l);
		if (environment != INHERITED) {
			execle("/proc/self/exe", "passing", address, this_case, (char *)NULL, envp);
			_exit(2);
		}
		putenv(numbers);
		execl("/proc/self/exe", "passing", address, this_case, (char *)NULL);
		_exit(2);
	}
	MUST(close(p[1]));
	write_all(p[0], "hello", 5);
	read_all(p[0], buf, 5);
	say("parent got %.5s", buf);
	fd = connect_to(l);
	write_all(fd, "new", 3);
	tell("end of the new one", read(fd, buf, 1));
	reap(child);
	tell("end of the old one", read(p[0], buf, 1));
	MUST(close(fd));
	MUST(close(l));
	MUST(close(p[0]));
}

CASE(exec_environment_inherited)
{
	by_exec(INHERITED);
}

CASE(exec_environment_cleaned)
{
	by_exec(CLEANED);
}

CASE(exec_environment_other)
{
	by_exec(OTHER);
}

/* Who hands no socket over cleans the environment for good. */
CASE(exec_without_sockets)
{
	char *none[] = {NULL}, *const show[] = {"env", NULL};
	int p[2];
	pid_t child;

	make_pair(p);
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	child = MUST(fork());
	if (child == 0) {
		execve("/usr/bin/env", show, none);
		_exit(2);
	}
	reap(child);
	MUST(close(p[0]));
	MUST(close(p[1]));
}

/* A socket becomes the standard input of a program that is given an empty environment. */
CASE(spawn_with_a_socket)
{
	char *none[] = {NULL}, *const cat[] = {"cat", NULL};
	posix_spawn_file_actions_t actions;
	char buf[8];
	int p[2];
	pid_t child;

	make_pair(p);
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, p[1], STDOUT_FILENO);
	tell("posix_spawn", -posix_spawn(&child, "/bin/cat", &actions, NULL, cat, none));
	posix_spawn_file_actions_destroy(&actions);
	MUST(close(p[1]));
	write_all(p[0], "mirror", 6);
	MUST(shutdown(p[0], SHUT_WR));
	read_all(p[0], buf, 6);
	say("cat said %.6s", buf);
	tell("end", read(p[0], buf, 1));
	reap(child);
	MUST(close(p[0]));
}

CASE(by_message)
{
	char buf[16];
	int s[2], p[2], fd;
	pid_t child;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	child = MUST(fork());
	if (child == 0) {
		MUST(close(s[0]));
		MUST(recv_fds(s[1], &fd, 1, 0));
		read_all(fd, buf, 4);
		say("receiver read %.4s", buf);
		write_all(fd, "thanks", 6);
		MUST(close(fd));
		_exit(0);
	}
	make_pair(p);
	send_fds(s[0], &p[1], 1);
	MUST(close(p[1]));
	write_all(p[0], "data", 4);
	read_all(p[0], buf, 6);
	say("sender got %.6s", buf);
	tell("end", read(p[0], buf, 1));
	reap(child);
	MUST(close(p[0]));
}

/* Twenty-eight processes, one after the other, hand over a connection each. The receiver waits for
 * it by poll and by epoll; what it needed for that it does not keep for ever. */
CASE(of_many_processes)
{
	struct epoll_event e = {.events = EPOLLIN}, got;
	int right = 0, ep = MUST(epoll_create1(0));
	char c = 0;

	for (int i = 0; i < 28; i++) {
		struct pollfd wait[2] = {{.events = POLLIN}, {.events = POLLIN}};
		int s[2], p[2];
		pid_t child;

		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		child = MUST(fork());
		if (child == 0) {
			make_pair(p);
			send_fds(s[1], &p[1], 1);
			MUST(close(p[1]));
			write_all(p[0], "a", 1);
			read_all(p[0], &c, 1);
			write_all(p[0], &c, 1);
			_exit(read(p[0], &c, 1) != 0);
		}
		MUST(recv_fds(s[0], &wait[0].fd, 1, 0));
		wait[1].fd = s[0];
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, wait[0].fd, &e));
		right += MUST(poll(wait, 2, -1)) == 1;
		read_all(wait[0].fd, &c, 1);
		write_all(wait[0].fd, "b", 1);
		right += MUST(epoll_wait(ep, &got, 1, -1)) == 1;
		read_all(wait[0].fd, &c, 1);
		right += c == 'b';
		MUST(close(wait[0].fd));
		reap(child);
		MUST(close(s[0]));
		MUST(close(s[1]));
	}
	say("right: %d", right);
	MUST(close(ep));
}

/* A child that has changed its root directory, where toed's socket is not, has a child of its own.
 */
CASE(fork_in_another_root)
{
	char folder[] = "/tmp/rootXXXXXX", buf[8];
	int p[2];
	pid_t child;

	make_pair(p);
	if (!mkdtemp(folder))
		_exit(1);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		write_all(p[1], "first", 5);
		tell("chroot", chroot(folder));
		tell("chdir", chdir("/"));
		child = MUST(fork());
		if (child == 0) {
			read_all(p[1], buf, 4);
			say("grandchild read %.4s", buf);
			write_all(p[1], "third", 5);
			_exit(0);
		}
		reap(child);
		_exit(0);
	}
	MUST(close(p[1]));
	read_all(p[0], buf, 5);
	write_all(p[0], "next", 4);
	read_all(p[0], buf, 5);
	reap(child);
	say("parent read %.5s", buf);
	tell("end", read(p[0], buf, 1));
	MUST(close(p[0]));
	MUST(rmdir(folder));
}
