/* packetdrill's interface: every call becomes one struct toe_call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include "interface.h"
#include "plugin.h"
#include "_cgo_export.h"

static atomic_long entered;

long toe_entered(void)
{
	return atomic_load(&entered);
}

static long result(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

/*
 * A call that may block is counted before anything else: virtual time stands still until the thread
 * waits inside or has left.
 */
static long call(struct toe_call *c)
{
	atomic_fetch_add(&entered, 1);
	long r = toe_packetdrill_call(c);
	atomic_fetch_sub(&entered, 1);
	return result(r);
}

#define CALL(...) call(&(struct toe_call){__VA_ARGS__})

static void pd_free(void *u)
{
}

static int pd_socket(void *u, int domain, int type, int protocol)
{
	return CALL(.op = TOE_SOCKET, .a = domain, .b = type, .c = protocol);
}

static int pd_bind(void *u, int fd, const struct sockaddr *addr, socklen_t len)
{
	return CALL(.op = TOE_BIND, .fd = fd, .addr = (struct sockaddr *)addr, .addrlen = len);
}

static int pd_listen(void *u, int fd, int backlog)
{
	return CALL(.op = TOE_LISTEN, .fd = fd, .a = backlog);
}

static int pd_accept(void *u, int fd, struct sockaddr *addr, socklen_t *len)
{
	struct toe_call c = {.op = TOE_ACCEPT, .fd = fd, .addr = addr, .addrlen = len ? *len : 0};
	int r = call(&c);
	if (r >= 0 && len)
		*len = c.addrlen;
	return r;
}

static int pd_connect(void *u, int fd, const struct sockaddr *addr, socklen_t len)
{
	return CALL(.op = TOE_CONNECT, .fd = fd, .addr = (struct sockaddr *)addr, .addrlen = len);
}

static ssize_t pd_recv(void *u, int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = {buf, len};
	return CALL(.op = TOE_RECV, .fd = fd, .iov = &iov, .iovcnt = 1, .a = flags);
}

static ssize_t pd_read(void *u, int fd, void *buf, size_t len)
{
	return pd_recv(u, fd, buf, len, 0);
}

static ssize_t pd_readv(void *u, int fd, const struct iovec *iov, int iovcnt)
{
	return CALL(.op = TOE_RECV, .fd = fd, .iov = iov, .iovcnt = iovcnt);
}

static ssize_t pd_recvfrom(void *u, int fd, void *buf, size_t len, int flags, struct sockaddr *src,
			   socklen_t *srclen)
{
	if (srclen)
		*srclen = 0; /* as TCP does */
	return pd_recv(u, fd, buf, len, flags);
}

static ssize_t pd_recvmsg(void *u, int fd, struct msghdr *msg, int flags)
{
	struct toe_call c = {.op = TOE_RECV,
			     .fd = fd,
			     .iov = msg->msg_iov,
			     .iovcnt = msg->msg_iovlen,
			     .a = flags,
			     .control = msg->msg_control,
			     .controllen = msg->msg_controllen};
	ssize_t r = call(&c);
	if (r >= 0) {
		msg->msg_namelen = 0;
		msg->msg_controllen = c.controllen;
		msg->msg_flags = c.msgflags;
	}
	return r;
}

static ssize_t pd_sendto(void *u, int fd, const void *buf, size_t len, int flags,
			 const struct sockaddr *dst, socklen_t dstlen)
{
	struct iovec iov = {(void *)buf, len};
	return CALL(.op = TOE_SEND, .fd = fd, .iov = &iov, .iovcnt = 1, .a = flags,
		    .addr = (struct sockaddr *)dst, .addrlen = dstlen);
}

static ssize_t pd_send(void *u, int fd, const void *buf, size_t len, int flags)
{
	return pd_sendto(u, fd, buf, len, flags, NULL, 0);
}

static ssize_t pd_write(void *u, int fd, const void *buf, size_t len)
{
	return pd_sendto(u, fd, buf, len, 0, NULL, 0);
}

static ssize_t pd_writev(void *u, int fd, const struct iovec *iov, int iovcnt)
{
	return CALL(.op = TOE_SEND, .fd = fd, .iov = iov, .iovcnt = iovcnt);
}

static ssize_t pd_sendmsg(void *u, int fd, const struct msghdr *msg, int flags)
{
	return CALL(.op = TOE_SEND, .fd = fd, .iov = msg->msg_iov, .iovcnt = msg->msg_iovlen,
		    .a = flags, .addr = msg->msg_name, .addrlen = msg->msg_namelen,
		    .control = msg->msg_control, .controllen = msg->msg_controllen);
}

static int pd_fcntl(void *u, int fd, int cmd, ...)
{
	va_list ap;
	va_start(ap, cmd);
	int arg = va_arg(ap, int);
	va_end(ap);
	return CALL(.op = TOE_FCNTL, .fd = fd, .a = cmd, .b = arg);
}

static int pd_ioctl(void *u, int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	return CALL(.op = TOE_IOCTL, .fd = fd, .a = (uint32_t)request, .buf = arg,
		    .len = sizeof(int));
}

static int pd_close(void *u, int fd)
{
	return CALL(.op = TOE_CLOSE, .fd = fd);
}

static int pd_shutdown(void *u, int fd, int how)
{
	return CALL(.op = TOE_SHUTDOWN, .fd = fd, .a = how);
}

static int pd_getsockopt(void *u, int fd, int level, int name, void *val, socklen_t *len)
{
	struct toe_call c = {
		.op = TOE_GETSOCKOPT, .fd = fd, .a = level, .b = name, .buf = val, .len = *len};
	int r = call(&c);
	if (r >= 0)
		*len = c.len;
	return r;
}

static int pd_setsockopt(void *u, int fd, int level, int name, const void *val, socklen_t len)
{
	return CALL(.op = TOE_SETSOCKOPT, .fd = fd, .a = level, .b = name, .buf = (void *)val,
		    .len = len);
}

static int pd_poll(void *u, struct pollfd *fds, nfds_t n, int timeout)
{
	return CALL(.op = TOE_POLL, .buf = fds, .len = n, .a = timeout);
}

static int pd_epoll_create(void *u, int size)
{
	return CALL(.op = TOE_EPOLL_CREATE, .a = size);
}

static int pd_epoll_ctl(void *u, int epfd, int op, int fd, struct epoll_event *event)
{
	return CALL(.op = TOE_EPOLL_CTL, .fd = epfd, .a = op, .fd2 = fd, .buf = event,
		    .len = event ? 1 : 0);
}

static int pd_epoll_wait(void *u, int epfd, struct epoll_event *events, int max, int timeout)
{
	return CALL(.op = TOE_EPOLL_WAIT, .fd = epfd, .buf = events, .len = max, .a = timeout);
}

static int pd_pipe(void *u, int fds[2])
{
	return CALL(.op = TOE_PIPE, .buf = fds, .len = 2);
}

/* Offsets are for files; a pipe and a socket have none. */
static int pd_splice(void *u, int in, loff_t *inoff, int out, loff_t *outoff, size_t len,
		     unsigned int flags)
{
	return CALL(.op = TOE_SPLICE, .fd = in, .fd2 = out, .len = len, .a = flags);
}

static int pd_netdev_send(void *u, const void *packet, size_t len)
{
	return CALL(.op = TOE_NETDEV_SEND, .buf = (void *)packet, .len = len);
}

/* The three that tell or move the time are not counted: they wait for those that are. */

static int pd_netdev_receive(void *u, void *packet, size_t *len, long long *usecs)
{
	struct toe_call c = {.op = TOE_NETDEV_RECEIVE, .buf = packet, .len = *len};
	long r = toe_packetdrill_call(&c);
	*len = c.len;
	*usecs = c.usecs;
	return result(r);
}

static int pd_usleep(void *u, useconds_t usecs)
{
	struct toe_call c = {.op = TOE_USLEEP, .a = usecs};
	return result(toe_packetdrill_call(&c));
}

static int pd_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
	struct toe_call c = {.op = TOE_GETTIMEOFDAY};
	long r = toe_packetdrill_call(&c);
	tv->tv_sec = c.usecs / 1000000;
	tv->tv_usec = c.usecs % 1000000;
	return result(r);
}

static int hook_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	if (!toe_packetdrill_owns(fd))
		return TOE_NOT_OURS;
	return pd_getsockopt(NULL, fd, level, name, val, len);
}

static ssize_t hook_sendfile(int out, int in, off_t *off, size_t len)
{
	if (!toe_packetdrill_owns(out))
		return TOE_NOT_OURS;
	ssize_t r = CALL(.op = TOE_SENDFILE, .fd = out, .fd2 = in, .a = off ? *off : -1, .len = len);
	if (r > 0 && off)
		*off += r;
	return r;
}

static void hook_system(const char *command)
{
	toe_packetdrill_command((char *)command);
}

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *ifc)
{
	struct toe_hooks *hooks = dlsym(RTLD_DEFAULT, "toe_packetdrill_hooks");

	toe_packetdrill_start((char *)flags);
	if (hooks)
		*hooks = (struct toe_hooks){hook_getsockopt, hook_sendfile, hook_system};
	*ifc = (struct packetdrill_interface){
		.free = pd_free,
		.socket = pd_socket,
		.bind = pd_bind,
		.listen = pd_listen,
		.accept = pd_accept,
		.connect = pd_connect,
		.read = pd_read,
		.readv = pd_readv,
		.recv = pd_recv,
		.recvfrom = pd_recvfrom,
		.recvmsg = pd_recvmsg,
		.write = pd_write,
		.writev = pd_writev,
		.send = pd_send,
		.sendto = pd_sendto,
		.sendmsg = pd_sendmsg,
		.fcntl = pd_fcntl,
		.ioctl = pd_ioctl,
		.close = pd_close,
		.shutdown = pd_shutdown,
		.getsockopt = pd_getsockopt,
		.setsockopt = pd_setsockopt,
		.poll = pd_poll,
		.netdev_send = pd_netdev_send,
		.netdev_receive = pd_netdev_receive,
		.usleep = pd_usleep,
		.gettimeofday = pd_gettimeofday,
		.epoll_create = pd_epoll_create,
		.epoll_ctl = pd_epoll_ctl,
		.epoll_wait = pd_epoll_wait,
		.pipe = pd_pipe,
		.splice = pd_splice,
	};
}
