/* shim_sendfile.c - file to socket without a copy in between, and pipes. */
#include "shim.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>

/* The kernel moves at most this much in one call. */
#define MOST 0x7ffff000u
#define SPLICE_ALL (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

struct file_source {
	int fd;
	int64_t offset;
};

static ssize_t file_fill(void *arg, uint8_t *dst, size_t n)
{
	struct file_source *f = arg;
	ssize_t got = shim_real()->pread64(f->fd, dst, n, f->offset);

	if (got < 0)
		return errno == EISDIR ? -EINVAL : -errno;
	f->offset += got;
	return got;
}

/* The file's own position moves only by what was sent: read at it, move it afterwards. */
static ssize_t send_file(struct shim_sock *s, int fd, int in, int64_t *offset, size_t n)
{
	struct file_source f = {.fd = in, .offset = offset ? *offset : lseek(in, 0, SEEK_CUR)};
	ssize_t rc;

	if (f.offset < 0)
		return errno == ESPIPE ? -EINVAL : -errno; /* it could not be put back */
	rc = shim_send(s, fd, file_fill, &f, n < MOST ? n : MOST, 0);
	if (rc > 0 && offset)
		*offset += rc;
	else if (rc > 0)
		lseek(in, f.offset, SEEK_SET);
	return rc;
}

SHIM_API ssize_t sendfile64(int out, int in, int64_t *offset, size_t n)
{
	struct shim_sock *s = shim_conn_get(out);
	int saved = errno;
	ssize_t rc;

	if (!s)
		return shim_real()->sendfile64(out, in, offset, n);
	rc = offset && *offset < 0 ? -EINVAL : send_file(s, out, in, offset, n);
	shim_obj_put(&s->obj);
	errno = saved;
	return shim_result(rc);
}

SHIM_API ssize_t sendfile(int out, int in, off_t *offset, size_t n)
{
	return sendfile64(out, in, offset, n);
}

static bool readable_now(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return shim_real()->poll(&p, 1, 0) > 0;
}

/* pipe_wait waits until the pipe is ready for events, or says -EAGAIN if it must not wait. */
static int pipe_wait(int pipe, short events, unsigned flags)
{
	struct pollfd p = {.fd = pipe, .events = events};
	int modes = shim_real()->fcntl64(pipe, F_GETFL);
	bool block = !(flags & SPLICE_F_NONBLOCK) && !(modes & O_NONBLOCK);

	if (shim_real()->poll(&p, 1, block ? -1 : 0) < 0)
		return -errno;
	return p.revents ? 0 : -EAGAIN;
}

static ssize_t pipe_fill(void *arg, uint8_t *dst, size_t n)
{
	int pipe = *(int *)arg;
	ssize_t got;

	if (!readable_now(pipe))
		return 0; /* what was moved so far is the answer */
	got = shim_real()->read(pipe, dst, n);
	return got < 0 ? -errno : got;
}

static ssize_t pipe_drain(void *arg, const uint8_t *src, size_t n)
{
	ssize_t put = shim_real()->write(*(int *)arg, src, n);

	return put < 0 ? -errno : put;
}

/* pipe_room returns how many octets the pipe surely takes without blocking. Each write may leave
 * its last page partly used, so one page for each chunk is not counted on. */
static size_t pipe_room(int pipe)
{
	int size = shim_real()->fcntl64(pipe, F_GETPIPE_SZ), used = 0;

	if (size < 0 || shim_real()->ioctl(pipe, FIONREAD, &used) < 0)
		return 0;
	if (used == 0)
		return (size_t)size / 2;
	return size - used > 2 * PIPE_BUF ? (size_t)(size - used) / 4 : PIPE_BUF;
}

/* pipe_ok checks the other end of a splice: a pipe, open for the direction. */
static int pipe_ok(int pipe, bool writing, const int64_t *pipe_offset, const int64_t *sock_offset)
{
	int modes = shim_real()->fcntl64(pipe, F_GETFL);
	bool is_pipe = shim_real()->fcntl64(pipe, F_GETPIPE_SZ) >= 0;

	if (modes < 0)
		return -EBADF;
	if (is_pipe && pipe_offset)
		return -ESPIPE;
	if ((modes & O_ACCMODE) == (writing ? O_RDONLY : O_WRONLY))
		return -EBADF;
	return is_pipe && !sock_offset ? 0 : -EINVAL;
}

SHIM_API ssize_t splice(int in, int64_t *in_offset, int out, int64_t *out_offset, size_t n,
			unsigned flags)
{
	struct shim_sock *from = shim_conn_get(in), *to = from ? NULL : shim_conn_get(out);
	/* SPLICE_F_NONBLOCK is about the pipe; the socket goes by its own O_NONBLOCK. */
	int saved = errno, how = flags & SPLICE_F_MORE ? MSG_MORE : 0;
	ssize_t rc = 0;

	if (!from && !to)
		return shim_real()->splice(in, in_offset, out, out_offset, n, flags);
	if (n > 0 && (flags & ~SPLICE_ALL))
		rc = -EINVAL;
	else if (n > 0)
		rc = from ? pipe_ok(out, true, out_offset, in_offset)
			  : pipe_ok(in, false, in_offset, out_offset);
	if (rc < 0 || n == 0) {
		/* that is the answer */
	} else if (from) {
		size_t room;

		rc = pipe_wait(out, POLLOUT, flags);
		room = rc == 0 ? pipe_room(out) : 0;
		if (rc == 0)
			rc = shim_recv(from, in, pipe_drain, &out, n < room ? n : room, how);
	} else {
		rc = pipe_wait(in, POLLIN, flags);
		if (rc == 0)
			rc = shim_send(to, out, pipe_fill, &in, n < MOST ? n : MOST, how);
	}
	shim_obj_put(from ? &from->obj : &to->obj);
	errno = saved;
	return shim_result(rc);
}
