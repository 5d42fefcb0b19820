/*
 * shim_confine.c - processes that give up rights while they hold sockets of toed.
 *
 * A server that separates privileges (sshd, vsftpd) has a child change its root directory, lower
 * its limits and put a filter of system calls over itself, and then talk to the peer over a
 * connection that it inherited. What needs toed's control socket, new descriptors or other system
 * calls than the program's own has to be done before: the child makes itself known to toed, finds
 * out what its descriptors are, and has an event queue. From then on a connection needs memory, and
 * read, write, poll, futex and close.
 */
#include "shim.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

bool shim_confined;
bool shim_confined_restarts;

static void note_region(int fd, struct shim_obj *o, void *arg)
{
	struct shim_sock *s = (struct shim_sock *)o;

	(void)fd;
	if (o->kind == SHIM_SOCK && s->held && shim_region_ok(s->region))
		*(bool *)arg = true;
}

static void prepare_region(int fd, struct shim_obj *o, void *arg)
{
	struct shim_sock *s = (struct shim_sock *)o;

	(void)fd;
	(void)arg;
	if (o->kind == SHIM_SOCK && s->held && shim_region_ok(s->region))
		shim_poll_prepare(s->region);
}

void shim_settle(void)
{
	bool holds = false;
	int saved = errno;

	if (shim_foreign())
		return;
	shim_fds_probe();
	shim_fds_each(note_region, &holds);
	if (holds && shim_attach() == 0)
		shim_fds_each(prepare_region, NULL);
	errno = saved;
}

/* confine is called before a filter is put over the process, and with what became of that. */
static void confine(void)
{
	shim_settle();
	shim_confined_restarts = shim_restarts();
	shim_confined = true;
}

static int confined(int rc)
{
	if (rc < 0)
		shim_confined = false;
	return rc;
}

SHIM_API int chroot(const char *path)
{
	shim_settle();
	return shim_real()->chroot(path);
}

SHIM_API int unshare(int flags)
{
	if (flags & (CLONE_NEWNS | CLONE_NEWUSER))
		shim_settle();
	return shim_real()->unshare(flags);
}

SHIM_API int setns(int fd, int kind)
{
	shim_settle();
	return shim_real()->setns(fd, kind);
}

/* lowers reports whether a limit leaves fewer descriptors than there may be now. */
static bool lowers(__rlimit_resource_t what, const struct rlimit64 *to)
{
	struct rlimit64 now;

	return what == RLIMIT_NOFILE && to && getrlimit64(what, &now) == 0 &&
	       to->rlim_cur < now.rlim_cur;
}

/* The address sanitizer sets a limit before it is ready for instrumented code. */
#define EARLY __attribute__((no_sanitize("address", "undefined")))

EARLY SHIM_API int setrlimit64(__rlimit_resource_t what, const struct rlimit64 *to)
{
	int (*real)(__rlimit_resource_t, const struct rlimit64 *) = shim_libc_table.setrlimit64;

	if (what == RLIMIT_NOFILE && lowers(what, to))
		shim_settle();
	if (!real)
		real = (int (*)(__rlimit_resource_t, const struct rlimit64 *))dlsym(RTLD_NEXT,
										    "setrlimit64");
	return real(what, to);
}

EARLY SHIM_API int setrlimit(__rlimit_resource_t what, const struct rlimit *to)
{
	return setrlimit64(what, (const struct rlimit64 *)to);
}

SHIM_API int prlimit64(pid_t pid, __rlimit_resource_t what, const struct rlimit64 *to,
		       struct rlimit64 *old)
{
	if ((pid == 0 || pid == shim_pid) && lowers(what, to))
		shim_settle();
	return shim_real()->prlimit64(pid, what, to, old);
}

SHIM_API int prlimit(pid_t pid, __rlimit_resource_t what, const struct rlimit *to,
		     struct rlimit *old)
{
	return prlimit64(pid, what, (const struct rlimit64 *)to, (struct rlimit64 *)old);
}

__attribute__((no_sanitize("address"))) /* not all of the arguments need be there */
SHIM_API int prctl(int what, ...)
{
	unsigned long a[4];
	va_list list;

	va_start(list, what);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(list, unsigned long);
	va_end(list);
	if (what != PR_SET_SECCOMP)
		return shim_real()->prctl(what, a[0], a[1], a[2], a[3]);
	confine();
	return confined(shim_real()->prctl(what, a[0], a[1], a[2], a[3]));
}

long shim_seccomp(const long *a)
{
	/* Asking what there is does not put a filter over anybody. */
	bool sets = a[0] == 0 || a[0] == 1;

	if (!sets)
		return shim_real()->syscall(SYS_seccomp, a[0], a[1], a[2]);
	confine();
	return confined((int)shim_real()->syscall(SYS_seccomp, a[0], a[1], a[2]));
}
