/* One call from packetdrill, as it crosses into Go. Which members are valid depends on op. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <poll.h>
#include <sys/epoll.h>

enum toe_op {
	TOE_SOCKET = 1,
	TOE_BIND,
	TOE_LISTEN,
	TOE_ACCEPT,
	TOE_CONNECT,
	TOE_RECV,
	TOE_SEND,
	TOE_FCNTL,
	TOE_IOCTL,
	TOE_CLOSE,
	TOE_SHUTDOWN,
	TOE_GETSOCKOPT,
	TOE_SETSOCKOPT,
	TOE_POLL,
	TOE_EPOLL_CREATE,
	TOE_EPOLL_CTL,
	TOE_EPOLL_WAIT,
	TOE_PIPE,
	TOE_SPLICE,
	TOE_SENDFILE,
	TOE_NETDEV_SEND,
	TOE_NETDEV_RECEIVE,
	TOE_USLEEP,
	TOE_GETTIMEOFDAY,
};

struct toe_call {
	int32_t op;
	int32_t fd;
	int32_t fd2;
	int64_t a, b, c;	 /* integers in the order of the system call */
	void *buf;		 /* octets, values, polled descriptors, events */
	int64_t len;		 /* of buf: octets or elements; on return what is valid */
	struct sockaddr *addr;	 /* or null */
	int64_t addrlen;	 /* on return what is valid */
	const struct iovec *iov; /* or null */
	int64_t iovcnt;
	void *control; /* ancillary data, or null */
	int64_t controllen;
	int32_t msgflags; /* returned by TOE_RECV */
	int64_t usecs;	  /* returned by TOE_NETDEV_RECEIVE and TOE_GETTIMEOFDAY */
};

/* How many calls are on their way into Go, or in it. */
long toe_entered(void);
