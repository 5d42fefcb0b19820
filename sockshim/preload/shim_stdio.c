/* shim_stdio.c - stdio on sockets.
 *
 * libc's streams read and write past us: a FILE calls the system, not read and write. A stream on a
 * TCP socket is therefore made of fopencookie, whose functions are ours, and is given the
 * descriptor's number, so that fileno, and all that libc asks of the number, are right.
 *
 * Standard input, output and error exist before us. When one of their descriptors is a TCP socket,
 * as under inetd, or becomes one by dup2, the variable (stdin, ...) is given such a stream too. It
 * serves whatever descriptor stands there later.
 *
 * libc writes what streams still hold when all destructors have run. For ours that would be too
 * late: toed has then been told that the process has ended.
 */
#include "shim.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

static int fd_of(void *cookie)
{
	return (int)(intptr_t)cookie;
}

static ssize_t cookie_read(void *cookie, char *buf, size_t n)
{
	return read(fd_of(cookie), buf, n);
}

/* A stream's write answers 0, not -1, for an error. */
static ssize_t cookie_write(void *cookie, const char *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = write(fd_of(cookie), buf + done, n - done);

		if (put < 0)
			break;
		done += (size_t)put;
	}
	return (ssize_t)done;
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	off64_t at = lseek(fd_of(cookie), *offset, whence);

	if (at < 0)
		return -1;
	*offset = at;
	return 0;
}

/* The streams that we have made, for the end; those beyond are written by libc, if in time. */
#define STREAMS_MAX 256
static struct {
	FILE *f; /* NULL: free */
	int fd;
} streams[STREAMS_MAX];
static struct shim_mutex streams_lock;

static void streams_add(FILE *f, int fd)
{
	shim_mutex_lock(&streams_lock);
	for (int i = 0; i < STREAMS_MAX; i++) {
		if (!streams[i].f) {
			streams[i].f = f;
			streams[i].fd = fd;
			break;
		}
	}
	shim_mutex_unlock(&streams_lock);
}

/* streams_remove forgets every stream on fd: which of several it is that ends the cookie does not
 * tell. */
static void streams_remove(int fd)
{
	shim_mutex_lock(&streams_lock);
	for (int i = 0; i < STREAMS_MAX; i++)
		if (streams[i].f && streams[i].fd == fd)
			streams[i].f = NULL;
	shim_mutex_unlock(&streams_lock);
}

void shim_stdio_after_fork(void)
{
	streams_lock = (struct shim_mutex){0};
}

void shim_stdio_end(void)
{
	for (int i = 0; i < STREAMS_MAX; i++) {
		FILE *f = load_acquire(&streams[i].f);

		/* A thread that is inside may be there for ever. */
		if (f && ftrylockfile(f) == 0) {
			fflush_unlocked(f);
			funlockfile(f);
		}
	}
}

static int cookie_close(void *cookie)
{
	streams_remove(fd_of(cookie));
	return close(fd_of(cookie));
}

/* stream_on makes a stream on a descriptor; NULL with errno. */
static FILE *stream_on(int fd, const char *mode)
{
	static const cookie_io_functions_t calls = {.read = cookie_read,
						    .write = cookie_write,
						    .seek = cookie_seek,
						    .close = cookie_close};
	FILE *f = fopencookie((void *)(intptr_t)fd, mode, calls);

	if (f) {
		f->_fileno = fd;
		f->_mode = -1; /* of octets: libc has no wide characters for such streams */
		f->_wide_data = NULL;
		streams_add(f, fd);
	}
	return f;
}

/* is_socket reports whether a stream on fd has to be ours: toed carries the socket, or may yet. */
static bool is_socket(int fd)
{
	struct shim_sock *s = shim_sock_get(fd);
	bool yes = s && shim_role(s) != SHIM_KERNEL;

	if (s)
		shim_obj_put(&s->obj);
	return yes;
}

SHIM_API FILE *fdopen(int fd, const char *mode)
{
	if (!is_socket(fd) || !strchr("rwa", mode[0]))
		return shim_real()->fdopen(fd, mode);
	if (strchr(mode, 'e'))
		shim_real()->fcntl64(fd, F_SETFD, FD_CLOEXEC);
	return stream_on(fd, mode);
}

/* The standard streams that are ours already. */
static uint8_t ours[3];

void shim_stdio_check(int fd)
{
	FILE **where[3] = {&stdin, &stdout, &stderr}, *f;
	int saved = errno;

	if ((unsigned)fd > 2 || shim_foreign() || load_relaxed(&ours[fd]) || !is_socket(fd))
		return;
	f = stream_on(fd, fd == 0 ? "r" : "w");
	if (f) {
		if (fd != 0)
			fflush(*where[fd]); /* what it holds was written before */
		setvbuf(f, NULL, fd == 2 ? _IONBF : _IOFBF, BUFSIZ);
		*where[fd] = f;
		store_relaxed(&ours[fd], 1);
	}
	errno = saved;
}

/* ---- printing to a descriptor --------------------------------------------------------------- */

/* print_to is vdprintf. */
static int print_to(int fd, const char *format, va_list args)
{
	char small[1024], *text = small;
	size_t done = 0, room = 0;
	va_list again;
	int n;

	va_copy(again, args);
	n = vsnprintf(small, sizeof small, format, args);
	if (n >= (int)sizeof small) {
		room = (size_t)n + 1;
		text = shim_pages(room);
		n = text ? vsnprintf(text, room, format, again) : -1;
	}
	va_end(again);
	while (n > 0 && done < (size_t)n) {
		ssize_t put = write(fd, text + done, (size_t)n - done);

		if (put < 0) {
			n = -1;
			break;
		}
		done += (size_t)put;
	}
	if (text && text != small)
		munmap(text, room);
	return n;
}

SHIM_API int vdprintf(int fd, const char *restrict format, va_list args)
{
	return is_socket(fd) ? print_to(fd, format, args) : shim_real()->vdprintf(fd, format, args);
}

SHIM_API int dprintf(int fd, const char *restrict format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = vdprintf(fd, format, args);
	va_end(args);
	return rc;
}

/* The fortified forms; the format is checked for %n by libc's own vsnprintf only when it is theirs.
 */
SHIM_API int __vdprintf_chk(int fd, int flag, const char *restrict format, va_list args)
{
	return is_socket(fd) ? print_to(fd, format, args)
			     : shim_real()->__vdprintf_chk(fd, flag, format, args);
}

SHIM_API int __dprintf_chk(int fd, int flag, const char *restrict format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = __vdprintf_chk(fd, flag, format, args);
	va_end(args);
	return rc;
}
