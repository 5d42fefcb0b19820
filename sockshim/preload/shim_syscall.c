/* shim_syscall.c - syscall(2) with the numbers of socket calls, as event libraries use it. */
#include "shim.h"

#include <sched.h>
#include <stdarg.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

int accept4(int, struct sockaddr *, socklen_t *, int);
int close_range(unsigned, unsigned, int);
int dup3(int, int, int);
int fcntl(int, int, ...);
int ioctl(int, unsigned long, ...);

#define P(i) ((void *)a[i])
#define I(i) ((int)a[i])

/* pselect6's mask comes with its size. */
static long select6(const long *a)
{
	const sigset_t *const *mask = P(5);

	return pselect(I(0), P(1), P(2), P(3), P(4), mask ? *mask : NULL);
}

/* fork_like makes a process past libc, whose handlers do not run. */
static long fork_like(unsigned long flags, bool stack, long number, const long *a)
{
	bool copies = !(flags & CLONE_VM) && !stack;
	long pid;

	if (copies)
		shim_before_fork();
	pid = shim_real()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (copies)
		shim_after_fork(pid == 0);
	return pid;
}

/* clang-format off */
static long dispatch(long number, const long *a)
{
	switch (number) {
	case SYS_socket: return socket(I(0), I(1), I(2));
	case SYS_bind: return bind(I(0), P(1), (socklen_t)a[2]);
	case SYS_connect: return connect(I(0), P(1), (socklen_t)a[2]);
	case SYS_listen: return listen(I(0), I(1));
	case SYS_accept: return accept(I(0), P(1), P(2));
	case SYS_accept4: return accept4(I(0), P(1), P(2), I(3));
	case SYS_shutdown: return shutdown(I(0), I(1));
	case SYS_getsockname: return getsockname(I(0), P(1), P(2));
	case SYS_getpeername: return getpeername(I(0), P(1), P(2));
	case SYS_getsockopt: return getsockopt(I(0), I(1), I(2), P(3), P(4));
	case SYS_setsockopt: return setsockopt(I(0), I(1), I(2), P(3), (socklen_t)a[4]);
	case SYS_read: return read(I(0), P(1), (size_t)a[2]);
	case SYS_readv: return readv(I(0), P(1), I(2));
	case SYS_preadv2: return preadv2(I(0), P(1), I(2), a[3], I(5));
	case SYS_recvfrom: return recvfrom(I(0), P(1), (size_t)a[2], I(3), P(4), P(5));
	case SYS_recvmsg: return recvmsg(I(0), P(1), I(2));
	case SYS_recvmmsg: return recvmmsg(I(0), P(1), (unsigned)a[2], I(3), P(4));
	case SYS_write: return write(I(0), P(1), (size_t)a[2]);
	case SYS_writev: return writev(I(0), P(1), I(2));
	case SYS_pwritev2: return pwritev2(I(0), P(1), I(2), a[3], I(5));
	case SYS_sendto: return sendto(I(0), P(1), (size_t)a[2], I(3), P(4), (socklen_t)a[5]);
	case SYS_sendmsg: return sendmsg(I(0), P(1), I(2));
	case SYS_sendmmsg: return sendmmsg(I(0), P(1), (unsigned)a[2], I(3));
	case SYS_sendfile: return sendfile(I(0), I(1), P(2), (size_t)a[3]);
	case SYS_close: return close(I(0));
	case SYS_close_range: return close_range((unsigned)a[0], (unsigned)a[1], I(2));
	case SYS_dup: return dup(I(0));
	case SYS_dup3: return dup3(I(0), I(1), I(2));
	case SYS_fcntl: return fcntl(I(0), I(1), P(2));
	case SYS_ioctl: return ioctl(I(0), (unsigned long)a[1], P(2));
	case SYS_ppoll: return ppoll(P(0), (nfds_t)a[1], P(2), P(3));
	case SYS_epoll_create1: return epoll_create1(I(0));
	case SYS_epoll_ctl: return epoll_ctl(I(0), I(1), I(2), P(3));
	case SYS_epoll_pwait: return epoll_pwait(I(0), P(1), I(2), I(3), P(4));
#ifdef SYS_poll /* what only older architectures have */
	case SYS_poll: return poll(P(0), (nfds_t)a[1], I(2));
	case SYS_select: return select(I(0), P(1), P(2), P(3), P(4));
	case SYS_dup2: return dup2(I(0), I(1));
	case SYS_epoll_create: return epoll_create(I(0));
	case SYS_epoll_wait: return epoll_wait(I(0), P(1), I(2), I(3));
	case SYS_fork: return fork_like(SIGCHLD, false, number, a);
	case SYS_setrlimit: return setrlimit((__rlimit_resource_t)a[0], P(1));
#endif
	case SYS_io_uring_setup:
	case SYS_io_uring_enter:
	case SYS_io_uring_register:
		if (!shim_uring_allowed)
			return shim_result(-ENOSYS);
		break;
	case SYS_pselect6: return select6(a);
	case SYS_epoll_pwait2: return epoll_pwait2(I(0), P(1), I(2), P(3), P(4));
	case SYS_pidfd_getfd: return pidfd_getfd(I(0), I(1), (unsigned)a[2]);
	case SYS_clone: return fork_like((unsigned long)a[0], a[1] != 0, number, a);
	case SYS_clone3: return fork_like(*(const uint64_t *)P(0), ((const uint64_t *)P(0))[5] != 0, number, a);
	case SYS_execve: return execve(P(0), P(1), P(2));
	case SYS_execveat: return execveat(I(0), P(1), P(2), P(3), I(4));
	case SYS_prctl: return prctl(I(0), a[1], a[2], a[3], a[4]);
	case SYS_seccomp: return shim_seccomp(a);
	case SYS_chroot: return chroot(P(0));
	case SYS_prlimit64: return prlimit64((pid_t)a[0], (__rlimit_resource_t)a[1], P(2), P(3));
	case SYS_exit_group: _exit(I(0));
	}
	return shim_real()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
/* clang-format on */

__attribute__((no_sanitize("address"))) SHIM_API long syscall(long number, ...)
{
	va_list list;
	long a[6];

	/* As many as any call has; what the caller did not pass is not looked at. */
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	return dispatch(number, a);
}
