/* shim_calls.c - the read and write family of libc on offloaded connections. */
#include "shim.h"

#include <limits.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* What the kernel moves in one call at most, and an address above all that a program can have. */
#define MOST 0x7ffff000u
#define TOP (1ull << 56)

/* total returns how many octets the vectors name, cut to what one call moves. */
static ssize_t total(const struct iovec *iov, size_t count)
{
	size_t sum = 0;

	if (likely(count == 1 && shim_pointer_ok(iov) && iov->iov_len < MOST))
		return (ssize_t)iov->iov_len;
	if (count > 0 && !shim_pointer_ok(iov))
		return -EFAULT;
	for (size_t i = 0; i < count; i++) {
		if ((ssize_t)iov[i].iov_len < 0)
			return -EINVAL;
		if (iov[i].iov_len > TOP)
			return -EFAULT;
		sum += iov[i].iov_len < MOST ? iov[i].iov_len : MOST;
		sum = sum < MOST ? sum : MOST;
	}
	return (ssize_t)sum;
}

static ssize_t recv_iov(struct shim_sock *s, int fd, const struct iovec *iov, size_t count,
			int flags)
{
	struct shim_iter it = {.iov = iov, .count = count};
	ssize_t rc = total(iov, count);

	if (rc >= 0)
		rc = shim_recv(s, fd, shim_iter_drain, &it, (size_t)rc, flags);
	shim_obj_put(&s->obj);
	return shim_result(rc);
}

static ssize_t send_iov(struct shim_sock *s, int fd, const struct iovec *iov, size_t count,
			int flags)
{
	struct shim_iter it = {.iov = iov, .count = count};
	ssize_t rc = total(iov, count);

	if (rc >= 0)
		rc = shim_send(s, fd, shim_iter_fill, &it, (size_t)rc, flags);
	shim_obj_put(&s->obj);
	return shim_result(rc);
}

/* nothing answers the calls of files that name no octets, or too many vectors, which the kernel
 * does before it looks at the socket; 1: the socket has to be looked at. */
static ssize_t nothing(struct shim_sock *s, const struct iovec *iov, size_t count)
{
	ssize_t rc = count > IOV_MAX ? -EINVAL : total(iov, count);

	if (likely(rc > 0))
		return 1;
	shim_obj_put(&s->obj);
	return shim_result(rc);
}

SHIM_API ssize_t read(int fd, void *buf, size_t n)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct iovec iov = {.iov_base = buf, .iov_len = n};

	if (!s)
		return shim_real()->read(fd, buf, n);
	if (unlikely(n == 0))
		return nothing(s, &iov, 1);
	return recv_iov(s, fd, &iov, 1, 0);
}

SHIM_API ssize_t readv(int fd, const struct iovec *iov, int count)
{
	struct shim_sock *s = shim_conn_get(fd);
	ssize_t rc;

	if (!s)
		return shim_real()->readv(fd, iov, count);
	rc = nothing(s, iov, (size_t)count);
	return rc > 0 ? recv_iov(s, fd, iov, (size_t)count, 0) : rc;
}

SHIM_API ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct iovec iov = {.iov_base = buf, .iov_len = n};

	return s ? recv_iov(s, fd, &iov, 1, flags) : shim_real()->recv(fd, buf, n, flags);
}

SHIM_API ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *from,
			  socklen_t *len)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct iovec iov = {.iov_base = buf, .iov_len = n};

	if (!s)
		return shim_real()->recvfrom(fd, buf, n, flags, from, len);
	if (from && len)
		*len = 0; /* a connected stream has no sender to tell, as in Linux */
	return recv_iov(s, fd, &iov, 1, flags);
}

/* learn looks at received control data: descriptors that arrived may be anything. */
static void learn(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			shim_fd_forget(fd);
		}
	}
}

/* announce marks the sockets that a message carries away as shared with another process. */
static void announce(const struct msghdr *m)
{
	struct msghdr *h = (struct msghdr *)m;

	if (!m->msg_control || m->msg_controllen < sizeof(struct cmsghdr))
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
			struct shim_sock *s;
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			s = shim_sock_get(fd);
			if (s) {
				shim_sock_share(s);
				shim_obj_put(&s->obj);
			}
		}
	}
}

/* put_message makes the control data of m, which has room, one message. */
static void put_message(struct msghdr *m, size_t room, int level, int type, const void *data,
			size_t len)
{
	struct cmsghdr *c = m->msg_control;
	size_t whole = CMSG_LEN(len);

	if (!c || room < whole)
		m->msg_flags |= MSG_CTRUNC;
	if (!c || room < sizeof *c)
		return;
	*c = (struct cmsghdr){
		.cmsg_len = room < whole ? room : whole, .cmsg_level = level, .cmsg_type = type};
	memcpy(CMSG_DATA(c), data, c->cmsg_len - CMSG_LEN(0));
	m->msg_controllen = room < CMSG_SPACE(len) ? room : CMSG_SPACE(len);
}

/* tell_left adds the message of TCP_INQ: how many octets are left to read. At the end of the stream
 * it is one, as in Linux: the end can be read. */
static void tell_left(struct shim_sock *s, struct msghdr *m, size_t room)
{
	uint64_t unread = shim_unread(s);
	int left = unread > INT_MAX ? INT_MAX : (int)unread;

	if (left == 0 && shim_rx_ended(s))
		left = 1;
	put_message(m, room, IPPROTO_TCP, TCP_CM_INQ, &left, sizeof left);
}

/* recv_error reads the error queue, in which there is nothing but completions of MSG_ZEROCOPY. */
static ssize_t recv_error(struct shim_sock *s, struct msghdr *m, int flags)
{
	struct {
		struct sock_extended_err error;
		struct sockaddr_in6 offender; /* none */
	} e = {.error = {.ee_origin = SO_EE_ORIGIN_ZEROCOPY,
			 .ee_code = SO_EE_CODE_ZEROCOPY_COPIED}};
	bool six = s->domain == AF_INET6;
	size_t room = m->msg_controllen;

	if (!shim_completed(s->slot, &e.error.ee_info, &e.error.ee_data))
		return -EAGAIN;
	m->msg_namelen = 0;
	m->msg_controllen = 0;
	m->msg_flags = MSG_ERRQUEUE | (flags & MSG_CMSG_CLOEXEC);
	put_message(m, room, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVERR : IP_RECVERR, &e,
		    sizeof e.error +
			    (six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)));
	return 0;
}

SHIM_API ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct shim_iter it;
	size_t room;
	ssize_t n;

	if (!s) {
		n = shim_real()->recvmsg(fd, m, flags);
		if (n >= 0 && m->msg_control && m->msg_controllen >= sizeof(struct cmsghdr))
			learn(m);
		return n;
	}
	n = -EFAULT;
	if (!shim_pointer_ok(m))
		goto out;
	n = m->msg_iovlen > IOV_MAX ? -EMSGSIZE : total(m->msg_iov, m->msg_iovlen);
	if (n < 0)
		goto out;
	if (unlikely(flags & MSG_ERRQUEUE)) {
		n = recv_error(s, m, flags);
		goto out;
	}
	it = (struct shim_iter){.iov = m->msg_iov, .count = m->msg_iovlen};
	n = shim_recv(s, fd, shim_iter_drain, &it, (size_t)n, flags);
	if (n < 0)
		goto out;
	room = m->msg_controllen;
	m->msg_namelen = 0;
	m->msg_controllen = 0;
	m->msg_flags = flags & MSG_CMSG_CLOEXEC;
	if (unlikely(s->opt.inq))
		tell_left(s, m, room);
out:
	shim_obj_put(&s->obj);
	return shim_result(n);
}

SHIM_API int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *timeout)
{
	struct shim_sock *s = shim_conn_get(fd);
	uint64_t deadline;
	unsigned i;
	int got;

	if (!s) {
		got = shim_real()->recvmmsg(fd, v, n, flags, timeout);
		for (int k = 0; k < got; k++)
			if (v[k].msg_hdr.msg_control)
				learn(&v[k].msg_hdr);
		return got;
	}
	shim_obj_put(&s->obj);
	if (!shim_time_ok(timeout))
		return (int)shim_result(-EINVAL);
	deadline = shim_deadline(timeout);
	for (i = 0; i < n; i++) {
		ssize_t part = recvmsg(fd, &v[i].msg_hdr, flags & ~MSG_WAITFORONE);

		if (part < 0)
			break;
		v[i].msg_len = (unsigned)part;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (part == 0 || shim_now() >= deadline) {
			i++;
			break;
		}
	}
	return i > 0 || n == 0 ? (int)i : -1;
}

SHIM_API ssize_t write(int fd, const void *buf, size_t n)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = n};

	return s ? send_iov(s, fd, &iov, 1, 0) : shim_real()->write(fd, buf, n);
}

SHIM_API ssize_t writev(int fd, const struct iovec *iov, int count)
{
	struct shim_sock *s = shim_conn_get(fd);
	ssize_t rc;

	if (!s)
		return shim_real()->writev(fd, iov, count);
	rc = nothing(s, iov, (size_t)count);
	return rc > 0 ? send_iov(s, fd, iov, (size_t)count, 0) : rc;
}

SHIM_API ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	struct shim_sock *s = shim_conn_get(fd);
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = n};

	return s ? send_iov(s, fd, &iov, 1, flags) : shim_real()->send(fd, buf, n, flags);
}

/* fastopen is the connecting half of a send with MSG_FASTOPEN; -1: it has failed, errno says why.
 */
static int fastopen(int fd, const struct sockaddr *to, socklen_t len, int flags)
{
	struct shim_sock *s = shim_sock_adopt(fd);
	int rc;

	if (!s)
		return 0;
	rc = shim_fastopen(s, fd, to, len, flags);
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}

SHIM_API ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
			socklen_t len)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = n};
	struct shim_sock *s;

	if (unlikely(flags & MSG_FASTOPEN) && fastopen(fd, to, len, flags) < 0)
		return -1;
	s = shim_conn_get(fd);
	/* A destination given for a connected stream is ignored, as in Linux. */
	return s ? send_iov(s, fd, &iov, 1, flags)
		 : shim_real()->sendto(fd, buf, n, flags, to, len);
}

/* message_ok says whether a stream takes what a message has besides octets: of the socket's level
 * nothing but what TCP passes over. */
static int message_ok(const struct msghdr *m)
{
	struct msghdr *h = (struct msghdr *)m;

	if (m->msg_iovlen > IOV_MAX)
		return -EMSGSIZE;
	if (m->msg_controllen > 0 && !shim_pointer_ok(m->msg_control))
		return -EFAULT;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_len < sizeof *c ||
		    c->cmsg_len > m->msg_controllen - (size_t)((char *)c - (char *)m->msg_control))
			return -EINVAL;
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type != SCM_RIGHTS &&
		    c->cmsg_type != SCM_CREDENTIALS)
			return -EINVAL;
	}
	return 0;
}

SHIM_API ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct shim_sock *s;
	ssize_t rc;

	if (unlikely(!shim_pointer_ok(m)))
		return shim_real()->sendmsg(fd, m, flags);
	if (unlikely(flags & MSG_FASTOPEN) && fastopen(fd, m->msg_name, m->msg_namelen, flags) < 0)
		return -1;
	s = shim_conn_get(fd);
	if (s) {
		rc = message_ok(m);
		if (rc == 0)
			return send_iov(s, fd, m->msg_iov, m->msg_iovlen, flags);
		shim_obj_put(&s->obj);
		return shim_result(rc);
	}
	announce(m);
	return shim_real()->sendmsg(fd, m, flags);
}

SHIM_API int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
	struct shim_sock *s = shim_conn_get(fd);
	unsigned i;

	if (!s) {
		for (i = 0; i < n; i++)
			announce(&v[i].msg_hdr);
		return shim_real()->sendmmsg(fd, v, n, flags);
	}
	shim_obj_put(&s->obj);
	for (i = 0; i < n; i++) {
		ssize_t put = sendmsg(fd, &v[i].msg_hdr, flags);

		if (put < 0)
			break;
		v[i].msg_len = (unsigned)put;
	}
	return i > 0 || n == 0 ? (int)i : -1;
}

/* positioned is preadv2 or pwritev2 at offset -1, which stands for the position a stream has. */
static ssize_t positioned(struct shim_sock *s, int fd, const struct iovec *iov, int count, int how,
			  bool writing)
{
	const int known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND;
	int flags = how & RWF_NOWAIT ? MSG_DONTWAIT : 0;
	ssize_t rc = nothing(s, iov, (size_t)count);

	if (rc <= 0)
		return rc;
	if (how & ~known) {
		shim_obj_put(&s->obj);
		return shim_result(-EOPNOTSUPP);
	}
	return writing ? send_iov(s, fd, iov, (size_t)count, flags)
		       : recv_iov(s, fd, iov, (size_t)count, flags);
}

SHIM_API ssize_t preadv64v2(int fd, const struct iovec *iov, int count, int64_t offset, int flags)
{
	struct shim_sock *s = offset == -1 ? shim_conn_get(fd) : NULL;

	return s ? positioned(s, fd, iov, count, flags, false)
		 : shim_real()->preadv64v2(fd, iov, count, offset, flags);
}

SHIM_API ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, int64_t offset, int flags)
{
	struct shim_sock *s = offset == -1 ? shim_conn_get(fd) : NULL;

	return s ? positioned(s, fd, iov, count, flags, true)
		 : shim_real()->pwritev64v2(fd, iov, count, offset, flags);
}

SHIM_API ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return preadv64v2(fd, iov, count, offset, flags);
}

SHIM_API ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return pwritev64v2(fd, iov, count, offset, flags);
}

/* What _FORTIFY_SOURCE makes of the calls above; libc has checked the sizes that it can. */

_Noreturn void __chk_fail(void);

static void check(size_t n, size_t room)
{
	if (n > room)
		__chk_fail();
}

SHIM_API ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	check(n, room);
	return read(fd, buf, n);
}

SHIM_API ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	check(n, room);
	return recv(fd, buf, n, flags);
}

SHIM_API ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
				struct sockaddr *from, socklen_t *len)
{
	check(n, room);
	return recvfrom(fd, buf, n, flags, from, len);
}
