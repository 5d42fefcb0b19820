/* shim_process.c - exec and exit: a process leaves its memory, its descriptors may stay. */
#include "shim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

struct heirs {
	bool moved; /* descriptors are put elsewhere on the way, and are inherited whatever they
		       were */
	bool any;   /* the next program gets sockets of the TOE */
};

/* A socket that survives exec is used by an image that does not know it yet: as long as that is so
 * only the kernel knows who holds it. */
static void survive(int fd, struct shim_obj *o, void *arg)
{
	struct heirs *h = arg;
	int flags;

	if (o->kind != SHIM_SOCK)
		return;
	flags = shim_real()->fcntl64(fd, F_GETFD);
	if (!h->moved && (flags < 0 || (flags & FD_CLOEXEC)))
		return;
	shim_sock_share((struct shim_sock *)o);
	if (((struct shim_sock *)o)->region)
		h->any = true;
}

/* A child of vfork puts sockets in the place of its standard descriptors unbeknown to the table. */
static bool standard(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		int protocol = 0;
		socklen_t len = sizeof protocol;

		if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
		    protocol == IPPROTO_TCP)
			return true;
	}
	return false;
}

/* before_exec reports whether the next program gets sockets of the TOE. */
static bool before_exec(bool moved)
{
	struct heirs h = {.moved = moved};
	int saved = errno;

	shim_fds_each(survive, &h);
	h.any = h.any || standard();
	errno = saved;
	return h.any;
}

/* CARRYING makes of envp, if a program that gets sockets lacks something in it, one that does not:
 * on the stack, because a child of vfork has its parent's heap. */
#define CARRYING(envp, list, moved)                                     \
	size_t room = before_exec(moved) ? shim_environ_room(envp) : 0; \
	char *space[room / sizeof(char *) + 1];                         \
	char *const *list = room ? shim_environ_fill(envp, space) : envp

SHIM_API int execve(const char *path, char *const argv[], char *const envp[])
{
	CARRYING(envp, list, false);
	return shim_real()->execve(path, argv, list);
}

SHIM_API int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

SHIM_API int execvpe(const char *file, char *const argv[], char *const envp[])
{
	CARRYING(envp, list, false);
	return shim_real()->execvpe(file, argv, list);
}

SHIM_API int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

SHIM_API int fexecve(int fd, char *const argv[], char *const envp[])
{
	CARRYING(envp, list, false);
	return shim_real()->fexecve(fd, argv, list);
}

/* The list forms: an array is made of the arguments, on the stack as libc does. */
#define COLLECT(argv, first, list)          \
	size_t count = 1;                   \
	va_start(list, first);              \
	while (va_arg(list, char *))        \
		count++;                    \
	va_end(list);                       \
	char *argv[count + 1];              \
	argv[0] = (char *)first;            \
	va_start(list, first);              \
	for (size_t i = 1; i <= count; i++) \
	argv[i] = va_arg(list, char *)

SHIM_API int execl(const char *path, const char *first, ...)
{
	va_list list;
	COLLECT(argv, first, list);
	va_end(list);
	return execv(path, argv);
}

SHIM_API int execlp(const char *file, const char *first, ...)
{
	va_list list;
	COLLECT(argv, first, list);
	va_end(list);
	return execvp(file, argv);
}

SHIM_API int execle(const char *path, const char *first, ...)
{
	va_list list;
	COLLECT(argv, first, list);
	char *const *envp = va_arg(list, char *const *);
	va_end(list);
	return execve(path, argv, envp);
}

SHIM_API int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	CARRYING(envp, list, false);
	return shim_real()->execveat(dir, path, argv, list, flags);
}

SHIM_API int posix_spawn(pid_t *restrict pid, const char *restrict path,
			 const posix_spawn_file_actions_t *actions,
			 const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			 char *const envp[restrict])
{
	CARRYING(envp, list, actions != NULL);
	return shim_real()->posix_spawn(pid, path, actions, attr, argv, list);
}

SHIM_API int posix_spawnp(pid_t *restrict pid, const char *restrict file,
			  const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			  char *const envp[restrict])
{
	CARRYING(envp, list, actions != NULL);
	return shim_real()->posix_spawnp(pid, file, actions, attr, argv, list);
}

/* libc makes these children by itself. */

SHIM_API int system(const char *command)
{
	before_exec(false);
	return shim_real()->system(command);
}

SHIM_API FILE *popen(const char *command, const char *mode)
{
	before_exec(false);
	return shim_real()->popen(command, mode);
}

/* ---- processes that are made without fork's handlers ---------------------------------------- */

SHIM_API pid_t _Fork(void)
{
	pid_t pid;

	shim_before_fork();
	pid = shim_real()->_Fork();
	shim_after_fork(pid == 0);
	return pid;
}

struct start {
	int (*fn)(void *);
	void *arg;
};

static int start_child(void *p)
{
	struct start *s = p;

	shim_after_fork(true);
	return s->fn(s->arg);
}

/* A child with memory of its own is like one of fork; one that shares ours is a thread, or like one
 * of vfork. */
__attribute__((no_sanitize("address"))) /* not all of the arguments need be there */
SHIM_API int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct start s = {fn, arg};
	pid_t *parent, *child;
	va_list list;
	void *tls;
	int pid;

	va_start(list, arg);
	parent = va_arg(list, pid_t *);
	tls = va_arg(list, void *);
	child = va_arg(list, pid_t *);
	va_end(list);
	if (flags & CLONE_VM)
		return shim_real()->clone(fn, stack, flags, arg, parent, tls, child);
	shim_before_fork();
	pid = shim_real()->clone(start_child, stack, flags, &s, parent, tls, child);
	shim_after_fork(false);
	return pid;
}

/* The process ends in order: the kernel will close its placeholders, and toed should take that for
 * a close. Sockets stay usable until then: other destructors may still write. */
static void ends_in_order(int fd, struct shim_obj *o, void *arg)
{
	struct shim_sock *s = (struct shim_sock *)o;

	(void)fd;
	(void)arg;
	if (o->kind == SHIM_SOCK && s->held)
		shim_post(s->region, s->slot->worker, TOE_OP_CLOSE_SHARED, 0, s->slot_no, 0);
}

static void goodbye(void)
{
	if (!shim_attached() || shim_foreign())
		return;
	shim_fds_each(ends_in_order, NULL);
	shim_bye();
}

__attribute__((destructor)) static void finish(void)
{
	if (!shim_foreign())
		shim_stdio_end();
	goodbye();
}

SHIM_API void _exit(int status)
{
	goodbye();
	shim_real()->_exit(status);
	__builtin_unreachable();
}

SHIM_API void _Exit(int status)
{
	_exit(status);
}
