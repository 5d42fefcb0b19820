/* shim_fd.c - calls on descriptors as such: close, dup, fcntl, ioctl. */
#include "shim.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

SHIM_API int close(int fd)
{
	int rc;

	if (unlikely(shim_fd_own(fd)))
		return (int)shim_result(-EBADF);
	shim_fd_drop(fd);
	rc = shim_real()->close(fd);
	shim_fd_forget(fd);
	return rc;
}

/* stdio closes its descriptor without passing here. */
SHIM_API int fclose(FILE *f)
{
	int fd = fileno(f), saved = errno, rc;

	if (fd >= 0) {
		fflush(f);
		shim_fd_drop(fd);
	}
	errno = saved;
	rc = shim_real()->fclose(f);
	shim_fd_forget(fd);
	return rc;
}

/* spared closes (or marks close-on-exec) first to last but for our own descriptors among them. */
static int spared(unsigned first, unsigned last, int flags)
{
	unsigned from = first;
	int rc = 0;

	for (unsigned fd = first; fd <= last && (int)fd <= shim_fd_highest(); fd++) {
		if (shim_fd_own((int)fd)) {
			if (from < fd && shim_real()->close_range(from, fd - 1, flags) < 0)
				rc = -1;
			from = fd + 1;
		} else if (!(flags & CLOSE_RANGE_CLOEXEC)) {
			shim_fd_drop((int)fd);
		}
	}
	if (from <= last && from >= first && shim_real()->close_range(from, last, flags) < 0)
		rc = -1;
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		for (unsigned fd = first; fd <= last && (int)fd <= shim_fd_highest(); fd++)
			shim_fd_forget((int)fd);
	return rc;
}

SHIM_API int close_range(unsigned first, unsigned last, int flags)
{
	return first > last ? (int)shim_result(-EINVAL) : spared(first, last, flags);
}

SHIM_API void closefrom(int first)
{
	spared(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

SHIM_API int dup(int fd)
{
	int copy = shim_real()->dup(fd);

	if (copy >= 0) {
		shim_fd_dup(fd, copy);
		if (unlikely(copy <= 2))
			shim_stdio_check(copy);
	}
	return copy;
}

/* clear_target makes way for a descriptor that dup2 puts at to. */
static int clear_target(int from, int to)
{
	if (shim_real()->fcntl64(from, F_GETFD) < 0)
		return -errno;
	if (to < 0)
		return -EBADF;
	if (shim_fd_own(to) && !shim_foreign()) {
		int rc = shim_fd_rehome(to);

		if (rc < 0)
			return rc;
	}
	shim_fd_drop(to);
	return 0;
}

/* put_over notes how dup2 or dup3 went. */
static int put_over(int from, int to, int rc)
{
	if (rc >= 0) {
		shim_fd_dup(from, to);
		if (unlikely(to <= 2))
			shim_stdio_check(to);
	} else {
		shim_fd_forget(to);
	}
	return rc;
}

SHIM_API int dup2(int from, int to)
{
	int rc;

	if (from == to)
		return shim_real()->dup2(from, to);
	rc = clear_target(from, to);
	if (rc < 0)
		return (int)shim_result(rc);
	return put_over(from, to, shim_real()->dup2(from, to));
}

SHIM_API int dup3(int from, int to, int flags)
{
	int rc;

	if (from == to || (flags & ~O_CLOEXEC))
		return shim_real()->dup3(from, to, flags);
	rc = clear_target(from, to);
	if (rc < 0)
		return (int)shim_result(rc);
	return put_over(from, to, shim_real()->dup3(from, to, flags));
}

static void signals_changed(int fd)
{
	struct shim_sock *s = shim_sock_get(fd);

	if (s) {
		shim_signals(s, fd);
		shim_obj_put(&s->obj);
	}
}

static int control(int fd, int command, void *arg)
{
	int rc = shim_real()->fcntl64(fd, command, arg);
	struct shim_sock *s;

	if (rc < 0)
		return rc;
	switch (command) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		shim_fd_dup(fd, rc);
		if (unlikely(rc <= 2))
			shim_stdio_check(rc);
		break;
	case F_SETFL:
		s = shim_sock_get(fd);
		if (s) {
			shim_set_nonblock(s, (int)(intptr_t)arg & O_NONBLOCK);
			if (((int)(intptr_t)arg & O_ASYNC) || s->signals)
				shim_signals(s, fd);
			shim_obj_put(&s->obj);
		}
		break;
	case F_SETOWN:
	case F_SETOWN_EX:
	case F_SETSIG:
		signals_changed(fd);
		break;
	}
	return rc;
}

#define CONTROL_ARG(arg, last)            \
	va_list list;                     \
	va_start(list, last);             \
	void *arg = va_arg(list, void *); \
	va_end(list)

SHIM_API int fcntl(int fd, int command, ...)
{
	CONTROL_ARG(arg, command);
	return control(fd, command, arg);
}

SHIM_API int fcntl64(int fd, int command, ...)
{
	CONTROL_ARG(arg, command);
	return control(fd, command, arg);
}

/* conn_ioctl answers what toed knows; -ENOTTY: ask the kernel. */
static int conn_ioctl(struct shim_sock *s, unsigned long request, int *value)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t unread = load_acquire(&slot->rx_prod) - load_relaxed(&slot->rx_cons);
	uint64_t unsent = load_relaxed(&slot->tx_prod) - load_acquire(&slot->tx_cons);
	uint64_t urgent = shim_urgent(slot);
	struct toe_shm_msg m;

	switch (request) {
	case FIONREAD:
		if (!s->opt.oobinline && urgent - load_relaxed(&slot->rx_cons) < unread)
			unread = urgent - load_relaxed(&slot->rx_cons);
		*value = unread > INT32_MAX ? INT32_MAX : (int)unread;
		return 0;
	case SIOCOUTQ:
		*value = unsent > INT32_MAX ? INT32_MAX : (int)unsent;
		return 0;
	case SIOCATMARK:
		*value = urgent == load_relaxed(&slot->rx_cons);
		return 0;
	case SIOCOUTQNSD:
		if (shim_info(s->region, s->slot_no, s->gen, &m) < 0)
			m.more.unsent = 0;
		*value = m.more.unsent > INT32_MAX ? INT32_MAX : (int)m.more.unsent;
		return 0;
	}
	return -ENOTTY;
}

SHIM_API int ioctl(int fd, unsigned long request, ...)
{
	CONTROL_ARG(arg, request);
	struct shim_sock *s;
	int rc = -ENOTTY;

	switch (request) {
	case FIONREAD:
	case SIOCOUTQ:
	case SIOCOUTQNSD:
	case SIOCATMARK:
		s = shim_pointer_ok(arg) ? shim_conn_get(fd) : NULL;
		if (s) {
			rc = conn_ioctl(s, request, arg);
			shim_obj_put(&s->obj);
		}
		return rc == 0 ? 0 : shim_real()->ioctl(fd, request, arg);
	case FIOSETOWN:
	case SIOCSPGRP:
	case FIOASYNC:
		rc = shim_real()->ioctl(fd, request, arg);
		if (rc == 0)
			signals_changed(fd);
		return rc;
	case FIONBIO:
		rc = shim_real()->ioctl(fd, request, arg);
		s = rc == 0 ? shim_sock_get(fd) : NULL;
		if (s) {
			shim_set_nonblock(s, *(int *)arg != 0);
			shim_obj_put(&s->obj);
		}
		return rc;
	}
	return shim_real()->ioctl(fd, request, arg);
}

/* The process from which the descriptor comes does not know of it: as long as we have not asked
 * toed what it is, that one would close a socket for both. */
SHIM_API int pidfd_getfd(int pidfd, int from, unsigned flags)
{
	int fd = shim_real()->pidfd_getfd
			 ? shim_real()->pidfd_getfd(pidfd, from, flags)
			 : (int)shim_real()->syscall(SYS_pidfd_getfd, pidfd, from, flags);
	struct shim_obj *o;

	if (fd >= 0) {
		shim_fd_forget(fd);
		o = shim_obj_get(fd);
		if (o)
			shim_obj_put(o);
	}
	return fd;
}

/* libc's own asks the kernel without us. */
SHIM_API int sockatmark(int fd)
{
	int at;

	return ioctl(fd, SIOCATMARK, &at) < 0 ? -1 : at;
}
