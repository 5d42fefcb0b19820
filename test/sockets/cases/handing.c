/* handing: descriptors that travel in messages, are taken by pidfd, or are inherited by a program that
 * is executed. */
#include "cases.h"

#include <sys/pidfd.h>
#include <sys/syscall.h>

static int unix_pair(int via[2])
{
	return MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, via));
}

CASE(to_oneself)
{
	int via[2], p[2], again;
	char c;

	unix_pair(via);
	make_pair(p);
	send_fds(via[0], &p[1], 1);
	tell("descriptors", recv_fds(via[1], &again, 1, 0));
	say("another number: %d", again != p[1]);
	write_all(p[0], "ab", 2);
	tell("first number", read(p[1], &c, 1));
	tell("second number", read(again, &c, 1));
	MUST(fcntl(again, F_SETFL, O_NONBLOCK));
	tell("flags are shared", read(p[1], &c, 1));
	MUST(close(p[1]));
	quiet("one closed", p[0]);
	MUST(close(again));
	tell("both closed", read(p[0], &c, 1));
}

/* The only reference is in the message for a while. */
CASE(in_flight)
{
	int via[2], p[2], again;
	char buf[4];

	unix_pair(via);
	make_pair(p);
	write_all(p[0], "in", 2);
	send_fds(via[0], &p[1], 1);
	MUST(close(p[1]));
	quiet("in flight", p[0]);
	write_all(p[0], "fl", 2);
	recv_fds(via[1], &again, 1, 0);
	read_all(again, buf, 4);
	say("%.4s", buf);
	write_all(again, "back", 4);
	read_all(p[0], buf, 4);
	say("%.4s", buf);
	MUST(close(again));
	tell("end", read(p[0], buf, 1));
}

CASE(dropped_in_flight)
{
	int via[2], p[2];
	char c;

	unix_pair(via);
	make_pair(p);
	send_fds(via[0], &p[1], 1);
	MUST(close(p[1]));
	MUST(close(via[0]));
	MUST(close(via[1]));
	tell("nobody has it any more", read(p[0], &c, 1));
}

CASE(cut_off_in_flight)
{
	int via[2], p[2], q[2], fds[2], got[2] = {-1, -1};
	char c;

	unix_pair(via);
	make_pair(p);
	make_pair(q);
	fds[0] = p[1];
	fds[1] = q[1];
	send_fds(via[0], fds, 2);
	MUST(close(p[1]));
	MUST(close(q[1]));
	tell("room for one", recv_fds(via[1], got, 1, MSG_CMSG_CLOEXEC));
	say("close-on-exec: %d", fcntl(got[0], F_GETFD));
	tell("the other is closed", read(q[0], &c, 1));
	write_all(got[0], "1", 1);
	tell("the one works", read(p[0], &c, 1));
}

CASE(many_at_once)
{
	int via[2], l = listener(0), fds[FDS_MAX], peers[FDS_MAX], got[FDS_MAX], n = 0;
	char c;

	unix_pair(via);
	for (int i = 0; i < FDS_MAX; i++) {
		peers[i] = connect_to(l);
		fds[i] = MUST(accept(l, NULL, NULL));
	}
	send_fds(via[0], fds, FDS_MAX);
	for (int i = 0; i < FDS_MAX; i++)
		MUST(close(fds[i]));
	tell("descriptors", recv_fds(via[1], got, FDS_MAX, 0));
	for (int i = 0; i < FDS_MAX; i++) {
		c = (char)i;
		write_all(peers[i], &c, 1);
		read_all(got[i], &c, 1);
		n += c == i;
	}
	say("in order: %d", n);
}

static int child_with(int via[2], pid_t *child)
{
	unix_pair(via);
	*child = MUST(fork());
	if (*child != 0)
		MUST(close(via[1]));
	else
		MUST(close(via[0]));
	return *child == 0;
}

CASE(connection_to_a_child)
{
	int via[2], p[2], fd;
	char buf[8];
	pid_t child;

	if (child_with(via, &child)) {
		recv_fds(via[1], &fd, 1, 0);
		read_all(fd, buf, 5);
		write_all(fd, buf, 5);
		tell("child reads the end", read(fd, buf, 1));
		_exit(0);
	}
	make_pair(p);
	write_all(p[0], "unr", 3); /* unread when it travels */
	await(p[1], POLLIN);
	send_fds(via[0], &p[1], 1);
	MUST(close(p[1]));
	write_all(p[0], "ead", 2);
	read_all(p[0], buf, 5);
	say("%.5s", buf);
	MUST(shutdown(p[0], SHUT_WR));
	reap(child);
	tell("end", read(p[0], buf, 1));
}

CASE(listener_to_a_child)
{
	int via[2], l, fd, c[2];
	char octet;
	pid_t child;

	if (child_with(via, &child)) {
		recv_fds(via[1], &l, 1, 0);
		for (int i = 0; i < 2; i++) {
			fd = MUST(accept(l, NULL, NULL));
			write_all(fd, "c", 1);
			MUST(close(fd));
		}
		_exit(0);
	}
	l = listener(0);
	c[0] = connect_to(l); /* waits in the queue when the listener travels */
	send_fds(via[0], &l, 1);
	tell("accepted by the child", read(c[0], &octet, 1));
	c[1] = connect_to(l);
	MUST(close(l));
	tell("and when we have let go", read(c[1], &octet, 1));
	reap(child);
}

CASE(undecided_to_a_child)
{
	int via[2], l = listener(0), s = stream_socket(0), a;
	char octet;
	pid_t child;

	if (child_with(via, &child)) {
		recv_fds(via[1], &s, 1, 0);
		MUST(connect_at(s, name_of(l)));
		write_all(s, "u", 1);
		_exit(0);
	}
	send_fds(via[0], &s, 1);
	a = MUST(accept(l, NULL, NULL));
	tell("the child has connected", read(a, &octet, 1));
	reap(child);
	quiet("we still have it", a);
	MUST(close(s));
	tell("end", read(a, &octet, 1));
}

CASE(from_a_child)
{
	int via[2], l = listener(0), fd, a;
	char buf[8];
	pid_t child;

	if (child_with(via, &child)) {
		fd = connect_to(l);
		write_all(fd, "mine", 4);
		send_fds(via[1], &fd, 1);
		_exit(0);
	}
	a = MUST(accept(l, NULL, NULL));
	recv_fds(via[0], &fd, 1, 0);
	reap(child);
	read_all(a, buf, 4);
	say("%.4s", buf);
	quiet("its maker has ended", a);
	write_all(fd, "ours", 4);
	read_all(a, buf, 4);
	say("%.4s", buf);
	MUST(close(fd));
	tell("end", read(a, buf, 1));
}

CASE(back_and_forth)
{
	int via[2], p[2], fd;
	char c;
	pid_t child;

	if (child_with(via, &child)) {
		for (int i = 0; i < 10; i++) {
			recv_fds(via[1], &fd, 1, 0);
			read_all(fd, &c, 1);
			c++;
			write_all(fd, &c, 1);
			send_fds(via[1], &fd, 1);
			MUST(close(fd));
		}
		_exit(0);
	}
	make_pair(p);
	fd = p[1];
	c = 'a';
	for (int i = 0; i < 10; i++) {
		send_fds(via[0], &fd, 1);
		MUST(close(fd));
		write_all(p[0], &c, 1);
		read_all(p[0], &c, 1);
		recv_fds(via[0], &fd, 1, 0);
	}
	say("%c", c);
	reap(child);
	MUST(close(fd));
	tell("end", read(p[0], &c, 1));
}

CASE(by_pidfd)
{
	int via[2], l = listener(0), fd, a, pidfd, number;
	char buf[8];
	pid_t child;

	if (child_with(via, &child)) {
		fd = connect_to(l);
		write_all(via[1], (char *)&fd, sizeof fd);
		read_all(via[1], buf, 1);
		MUST(close(fd)); /* it does not know that there is another */
		write_all(via[1], "c", 1);
		read_all(via[1], buf, 1);
		_exit(0);
	}
	a = MUST(accept(l, NULL, NULL));
	read_all(via[0], (char *)&number, sizeof number);
	pidfd = MUST(pidfd_open(child, 0));
	fd = MUST(pidfd_getfd(pidfd, number, 0));
	say("close-on-exec: %d", fcntl(fd, F_GETFD));
	tell("no such number", pidfd_getfd(pidfd, 900, 0));
	tell("wrong flag", pidfd_getfd(pidfd, number, 1));
	write_all(via[0], "g", 1);
	read_all(via[0], buf, 1);
	quiet("the child has closed", a);
	write_all(fd, "taken", 5);
	read_all(a, buf, 5);
	say("%.5s", buf);
	write_all(via[0], "g", 1);
	reap(child);
	quiet("the child has ended", a);
	MUST(close(fd));
	tell("end", read(a, buf, 1));
}

CASE(exec_with_unread_octets)
{
	int p[2], fd, other;
	char buf[8];
	pid_t child;

	if (phase("reads", &fd, &other)) {
		tell("error", read(other, buf, 1));
		read_all(fd, buf, 6);
		say("%.6s", buf);
		tell("end", read(fd, buf, 1));
		exit(0);
	}
	make_pair(p);
	write_all(p[0], "before", 6);
	await(p[1], POLLIN);
	MUST(shutdown(p[0], SHUT_WR));
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	child = MUST(fork());
	if (child == 0)
		exec_again("reads", p[1], p[0]);
	reap(child);
	tell_events("the peer", poll_now(p[0]) & POLLRDHUP);
}

CASE(exec_keeps_settings)
{
	struct timeval t = {.tv_usec = 5000};
	int p[2], fd, other;
	char c;
	pid_t child;

	if (phase("settings", &fd, &other)) {
		say("TCP_NODELAY %d", get_int(fd, IPPROTO_TCP, TCP_NODELAY));
		say("SO_KEEPALIVE %d", get_int(fd, SOL_SOCKET, SO_KEEPALIVE));
		tell("nonblocking", read(fd, &c, 1));
		nonblocking(fd, false);
		tell("SO_RCVTIMEO", read(fd, &c, 1));
		say("peer: %d", port_in(peer_of(fd)) == other);
		exit(0);
	}
	make_pair(p);
	MUST(set_int(p[1], IPPROTO_TCP, TCP_NODELAY, 1));
	MUST(set_int(p[1], SOL_SOCKET, SO_KEEPALIVE, 1));
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	nonblocking(p[1], true);
	child = MUST(fork());
	if (child == 0)
		exec_again("settings", p[1], port_of(p[0]));
	reap(child);
	say("blocking here, too: %d", !(fcntl(p[1], F_GETFL) & O_NONBLOCK));
}

CASE(exec_closes_what_it_should)
{
	int p[2], fd, other;
	char c;
	pid_t child;

	if (phase("waits", &fd, &other)) {
		read_all(fd, &c, 1);
		tell("closed", write(other, "x", 1));
		exit(0);
	}
	int go[2];

	make_pair(p);
	MUST(pipe(go));
	MUST(fcntl(p[0], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(p[1], F_SETFD, FD_CLOEXEC));
	MUST(fcntl(go[1], F_SETFD, FD_CLOEXEC));
	child = MUST(fork());
	if (child == 0)
		exec_again("waits", go[0], p[1]);
	MUST(close(p[1]));
	tell("end, though it runs", read(p[0], &c, 1));
	write_all(go[1], "g", 1);
	reap(child);
}

CASE(exec_three_times)
{
	int p[2], fd, other;
	char c;
	pid_t child;

	if (phase("one", &fd, &other)) {
		write_all(fd, "1", 1);
		exec_again("two", fd, other);
	}
	if (phase("two", &fd, &other))
		exec_again("three", MUST(dup(fd)), fd);
	if (phase("three", &fd, &other)) {
		MUST(close(other));
		write_all(fd, "3", 1);
		exit(0);
	}
	make_pair(p);
	child = MUST(fork());
	if (child == 0) {
		MUST(close(p[0]));
		exec_again("one", p[1], -1);
	}
	MUST(close(p[1]));
	read_all(p[0], &c, 1);
	read_all(p[0], &c, 1);
	say("%c", c);
	tell("end", read(p[0], &c, 1));
	reap(child);
}

/* A server replaces its program while it has a listener and connections, and loses nobody: the new
 * program is told the descriptors' numbers, as nginx tells them by the environment. */
CASE(upgrade)
{
	int l, conn, fd, a, go[2], c[20];
	char octet;
	pid_t child;

	if (phase("new", &l, &conn)) {
		write_all(conn, "n", 1);
		for (int i = 0; i < 20; i++) {
			await(l, POLLIN);
			a = MUST(accept(l, NULL, NULL));
			write_all(a, "n", 1);
			MUST(close(a));
		}
		exit(0);
	}
	l = listener(0);
	fd = connect_to(l);
	conn = MUST(accept(l, NULL, NULL));
	MUST(pipe(go));
	for (int i = 0; i < 5; i++)
		c[i] = connect_to(l);
	child = MUST(fork());
	if (child == 0) {
		MUST(close_range(go[0], go[1], 4)); /* close-on-exec */
		for (int i = 0; i < 5; i++)
			MUST(close(c[i]));
		MUST(close(fd));
		exec_again("new", l, conn);
	}
	tell("old connection", read(fd, &octet, 1));
	for (int i = 5; i < 20; i++) {
		c[i] = connect_to(l);
		if (i == 10)
			MUST(close(conn));
	}
	for (int i = 0; i < 20; i++) {
		read_all(c[i], &octet, 1);
		if (read(c[i], &octet, 1) != 0)
			say("no end");
	}
	MUST(close(l));
	reap(child);
	tell("end of the old connection", read(fd, &octet, 1));
}

CASE(old_program_leaves)
{
	int l, other, a, c;
	char octet;
	pid_t child;

	if (phase("stays", &l, &other)) {
		nonblocking(l, true);
		for (int i = 0; i < 3; i++) {
			await(l, POLLIN);
			a = MUST(accept(l, NULL, NULL));
			write_all(a, "s", 1);
			MUST(close(a));
		}
		exit(0);
	}
	l = listener(0);
	child = MUST(fork());
	if (child == 0)
		exec_again("stays", l, -1);
	c = connect_to(l);
	tell("while both have it", read(c, &octet, 1));
	struct sockaddr_storage name = name_of(l);

	MUST(close(l));
	for (int i = 0; i < 2; i++) {
		c = stream_socket(0);
		MUST(connect_at(c, name));
		tell("when we have left", read(c, &octet, 1));
	}
	reap(child);
	do { /* toed hears of it by the kernel, a moment later */
		c = stream_socket(0);
	} while ((connect_at(c, name) == 0 || errno == ECONNRESET) && close(c) == 0);
	tell("when nobody has it", -1);
}

CASE(message_arrays_carry_descriptors)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u[2] = {0};
	struct iovec iov = {"m", 1};
	struct mmsghdr m[2] = {0};
	char octet[2];
	int via[2], p[2], got[2] = {-1, -1};

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, via));
	make_pair(p);
	for (int i = 0; i < 2; i++) {
		m[i].msg_hdr = (struct msghdr){.msg_iov = &iov,
					       .msg_iovlen = 1,
					       .msg_control = u[i].bytes,
					       .msg_controllen = sizeof u[i].bytes};
		struct cmsghdr *c = CMSG_FIRSTHDR(&m[i].msg_hdr);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &p[i], sizeof(int));
	}
	tell("sendmmsg", sendmmsg(via[0], m, 2, 0));
	MUST(close(p[0]));
	MUST(close(p[1]));
	iov = (struct iovec){octet, 1};
	for (int i = 0; i < 2; i++)
		m[i].msg_hdr.msg_controllen = sizeof u[i].bytes;
	tell("recvmmsg", recvmmsg(via[1], m, 2, MSG_WAITFORONE, NULL));
	for (int i = 0; i < 2; i++)
		memcpy(&got[i], CMSG_DATA(CMSG_FIRSTHDR(&m[i].msg_hdr)), sizeof(int));
	write_all(got[0], "k", 1);
	tell("read", read(got[1], octet, 1));
}

CASE(epoll_set_in_a_message)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 9};
	int via[2], p[2], q[2], ep = MUST(epoll_create1(0)), got;

	unix_pair(via);
	make_pair(p);
	MUST(pipe(q));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
	send_fds(via[0], &ep, 1);
	recv_fds(via[1], &got, 1, 0);
	tell("nothing", epoll_wait(got, &e, 1, 0));
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	tell("in the same process", epoll_wait(got, &e, 1, 1000));
	say("data %u", e.data.u32);
}
