/*
 * packetdrill's interface to a TCP stack in a shared library, as its option --so_filename expects it:
 * the library exports packetdrill_interface_init, which fills in this table. The order of the members
 * is the contract.
 */
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

struct packetdrill_interface {
	void *userdata; /* first argument of every function */
	void (*free)(void *);
	int (*socket)(void *, int domain, int type, int protocol);
	int (*bind)(void *, int fd, const struct sockaddr *addr, socklen_t len);
	int (*listen)(void *, int fd, int backlog);
	int (*accept)(void *, int fd, struct sockaddr *addr, socklen_t *len);
	int (*connect)(void *, int fd, const struct sockaddr *addr, socklen_t len);
	ssize_t (*read)(void *, int fd, void *buf, size_t len);
	ssize_t (*readv)(void *, int fd, const struct iovec *iov, int iovcnt);
	ssize_t (*recv)(void *, int fd, void *buf, size_t len, int flags);
	ssize_t (*recvfrom)(void *, int fd, void *buf, size_t len, int flags, struct sockaddr *src,
			    socklen_t *srclen);
	ssize_t (*recvmsg)(void *, int fd, struct msghdr *msg, int flags);
	ssize_t (*write)(void *, int fd, const void *buf, size_t len);
	ssize_t (*writev)(void *, int fd, const struct iovec *iov, int iovcnt);
	ssize_t (*send)(void *, int fd, const void *buf, size_t len, int flags);
	ssize_t (*sendto)(void *, int fd, const void *buf, size_t len, int flags,
			  const struct sockaddr *dst, socklen_t dstlen);
	ssize_t (*sendmsg)(void *, int fd, const struct msghdr *msg, int flags);
	int (*fcntl)(void *, int fd, int cmd, ...);
	int (*ioctl)(void *, int fd, unsigned long request, ...);
	int (*close)(void *, int fd);
	int (*shutdown)(void *, int fd, int how);
	int (*getsockopt)(void *, int fd, int level, int name, void *val, socklen_t *len);
	int (*setsockopt)(void *, int fd, int level, int name, const void *val, socklen_t len);
	int (*poll)(void *, struct pollfd *fds, nfds_t n, int timeout);
	/* One IP packet into the stack. */
	int (*netdev_send)(void *, const void *packet, size_t len);
	/* The next IP packet out of the stack, *len octets at most, with its time. */
	int (*netdev_receive)(void *, void *packet, size_t *len, long long *usecs);
	int (*usleep)(void *, useconds_t usecs);
	int (*gettimeofday)(void *, struct timeval *tv, struct timezone *tz);
	int (*epoll_create)(void *, int size);
	int (*epoll_ctl)(void *, int epfd, int op, int fd, struct epoll_event *event);
	int (*epoll_wait)(void *, int epfd, struct epoll_event *events, int max, int timeout);
	int (*pipe)(void *, int fds[2]);
	int (*splice)(void *, int in, loff_t *inoff, int out, loff_t *outoff, size_t len,
		      unsigned int flags);
};

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *ifc);

/*
 * What packetdrill asks of libc although it has a table: libpacketdrill_preload.so takes these
 * calls and hands over those that are for the stack. A result of TOE_NOT_OURS is libc's to give.
 */
#define TOE_NOT_OURS (-2)

struct toe_hooks {
	int (*getsockopt)(int fd, int level, int name, void *val, socklen_t *len);
	ssize_t (*sendfile)(int out, int in, off_t *off, size_t len);
	/* A shell command is about to run: it may be for the stack too. */
	void (*system)(const char *command);
};
