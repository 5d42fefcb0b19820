/* rawcalls: the socket calls by number, through syscall(2). */
#include "cases.h"

#include <sys/syscall.h>

CASE(by_number)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 9};
	struct sockaddr_storage to;
	char buf[8];
	int l = listener(0), ep = (int)MUST(syscall(SYS_epoll_create1, 0)), c, a;

	to = name_of(l);
	c = (int)MUST(syscall(SYS_socket, family, SOCK_STREAM, 0));
	MUST(syscall(SYS_connect, c, &to, sizeof to));
	a = (int)MUST(syscall(SYS_accept4, l, NULL, NULL, SOCK_NONBLOCK));
	tell("read", syscall(SYS_read, a, buf, sizeof buf));
	MUST(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, a, &e));
	tell("write", syscall(SYS_write, c, "hello", 5L));
	e.data.u32 = 0;
	tell("wait", syscall(SYS_epoll_pwait, ep, &e, 1, -1, NULL, 8L));
	say("data %u", e.data.u32);
	tell("read", syscall(SYS_read, a, buf, sizeof buf));
	tell("close", syscall(SYS_close, c));
	await(a, POLLRDHUP);
	tell("end", syscall(SYS_recvfrom, a, buf, sizeof buf, 0L, NULL, NULL));
	MUST(close(a));
	MUST(close(l));
	MUST(close(ep));
}
