/* shim_process.c - exec and exit: a process leaves its memory, its descriptors may stay. */
#include "shim.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

/* A socket that survives exec is used by an image that does not know it yet: as long as that is so
 * only the kernel knows who holds it. */
static void survive(int fd, struct shim_obj *o, void *arg)
{
	int flags;

	(void)arg;
	if (o->kind != SHIM_SOCK)
		return;
	flags = shim_real()->fcntl64(fd, F_GETFD);
	if (flags >= 0 && !(flags & FD_CLOEXEC))
		shim_sock_share((struct shim_sock *)o);
}

static void before_exec(void)
{
	int saved = errno;

	shim_fds_each(survive, NULL);
	errno = saved;
}

SHIM_API int execve(const char *path, char *const argv[], char *const envp[])
{
	before_exec();
	return shim_real()->execve(path, argv, envp);
}

SHIM_API int execv(const char *path, char *const argv[])
{
	before_exec();
	return shim_real()->execv(path, argv);
}

SHIM_API int execvp(const char *file, char *const argv[])
{
	before_exec();
	return shim_real()->execvp(file, argv);
}

SHIM_API int execvpe(const char *file, char *const argv[], char *const envp[])
{
	before_exec();
	return shim_real()->execvpe(file, argv, envp);
}

SHIM_API int fexecve(int fd, char *const argv[], char *const envp[])
{
	before_exec();
	return shim_real()->fexecve(fd, argv, envp);
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

SHIM_API int posix_spawn(pid_t *restrict pid, const char *restrict path,
			 const posix_spawn_file_actions_t *actions,
			 const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			 char *const envp[restrict])
{
	before_exec();
	return shim_real()->posix_spawn(pid, path, actions, attr, argv, envp);
}

SHIM_API int posix_spawnp(pid_t *restrict pid, const char *restrict file,
			  const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			  char *const envp[restrict])
{
	before_exec();
	return shim_real()->posix_spawnp(pid, file, actions, attr, argv, envp);
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
