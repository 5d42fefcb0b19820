/* sharing: who may bind what beside whom, and listeners that share an address and port. */
#include "cases.h"

enum { REUSEADDR = 1, REUSEPORT = 2, V6ONLY = 4, FREEBIND = 8 };

/* bound returns a socket bound to addr and port, or -1 and why. */
static int bound(int flags, const char *addr, int port)
{
	struct sockaddr_storage a = address_at(addr, port);
	int fd = MUST(socket(a.ss_family, SOCK_STREAM, 0)), one = 1, saved;

	if (flags & REUSEADDR)
		MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	if (flags & REUSEPORT)
		MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
	if (flags & FREEBIND)
		MUST(setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one));
	if (flags & V6ONLY)
		MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one));
	if (bind_to(fd, a) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int listening(int flags, const char *addr, int port)
{
	int fd = bound(flags, addr, port);

	if (fd >= 0)
		MUST(listen(fd, 512));
	return fd;
}

/* attempt tells whether somebody may bind, and lets go again. */
static void attempt(const char *what, int flags, const char *addr, int port)
{
	int fd = bound(flags, addr, port);

	tell(what, fd < 0 ? -1 : 0);
	if (fd >= 0)
		MUST(close(fd));
}

CASE4(conflicts)
{
	int port = private_port(), l = MUST(listening(REUSEADDR, address, port)), c, c_port;
	pid_t child;

	attempt("a listener's address", 0, address, port);
	attempt("with SO_REUSEADDR", REUSEADDR, address, port);
	attempt("with SO_REUSEPORT", REUSEPORT, address, port);
	attempt("any address", 0, "0.0.0.0", port);
	attempt("any address with SO_REUSEADDR", REUSEADDR, "0.0.0.0", port);
	attempt("any address of either family", 0, "::", port);
	attempt("any address of IPv6", V6ONLY, "::", port);
	attempt("another address", 0, "127.1.2.3", port);
	child = MUST(fork());
	if (child == 0) {
		attempt("another process", REUSEADDR | REUSEPORT, address, port);
		_exit(0);
	}
	reap(child);
	c = connect_to(l);
	c_port = port_of(c);
	attempt("a connection's port", 0, address, c_port);
	attempt("a connection's port, any address", 0, "0.0.0.0", c_port);
	MUST(close(c));
	MUST(close(l));
	attempt("after the listener", REUSEADDR, address, port);

	l = MUST(listening(0, "::", port = private_port()));
	attempt("IPv4 beside either family", 0, "0.0.0.0", port);
	MUST(close(l));
	l = MUST(listening(V6ONLY, "::", port = private_port()));
	c = bound(0, "0.0.0.0", port);
	MUST(close(l));
	tell("IPv4 beside IPv6 alone", c < 0 ? -1 : 0);
	if (c >= 0)
		MUST(close(c));
}

/* Another user does not get in, whatever he sets; he may have no access to toed. */
CASE(users)
{
	int l = listening(REUSEPORT, address, 0), port = port_of(l);
	pid_t child = MUST(fork());

	if (child == 0) {
		if (setuid(65534) < 0) /* not root: then he is the same user */
			errno = EADDRINUSE, tell("another user", -1);
		else
			attempt("another user", REUSEPORT | REUSEADDR | FREEBIND, address, port);
		_exit(0);
	}
	reap(child);
	attempt("the same user", REUSEPORT, address, port);
	attempt("the same user without SO_REUSEPORT", REUSEADDR, address, port);
	MUST(close(l));
}

static int dial(int port)
{
	int fd = MUST(socket(family, SOCK_STREAM, 0));
	struct sockaddr_storage a = make_address(port);

	MUST(connect(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

enum { MEMBERS = 4, CLIENTS = 240 };

/* spread makes connections and tells on how many of the n listeners they arrive. */
static void spread(const char *what, const int *l, int n, int port)
{
	int got[MEMBERS] = {0}, sum = 0, served = 0;

	for (int i = 0; i < CLIENTS; i++) {
		struct pollfd p[MEMBERS];
		int c = dial(port);

		for (int k = 0; k < n; k++)
			p[k] = (struct pollfd){.fd = l[k], .events = POLLIN};
		MUST(poll(p, (nfds_t)n, 50000));
		for (int k = 0; k < n; k++) {
			if (!(p[k].revents & POLLIN))
				continue;
			MUST(close(MUST(accept(l[k], NULL, NULL))));
			got[k]++;
		}
		MUST(close(c));
	}
	for (int k = 0; k < n; k++) {
		sum += got[k];
		served += got[k] > 0;
	}
	say("%s: %d connections, %d of %d listeners have some", what, sum, served, n);
}

/* accept_all takes what waits on n listeners that do not block, and sends each an octet. */
static void accept_all(const int *l, int n)
{
	for (int k = 0; k < n; k++)
		for (int fd; (fd = accept(l[k], NULL, NULL)) >= 0;) {
			write_all(fd, "x", 1);
			MUST(close(fd));
		}
}

/* Several listeners on one address and port share what comes. What waits on one that closes is
 * reset, and the others have the rest. */
CASE(shared)
{
	int l[MEMBERS], c[CLIENTS], port = 0, reset = 0, fine = 0;

	for (int i = 0; i < MEMBERS; i++) {
		l[i] = MUST(listening(REUSEPORT, address, port));
		port = port_of(l[i]);
	}
	spread("four", l, MEMBERS, port);

	for (int i = 0; i < CLIENTS; i++)
		c[i] = dial(port);
	for (int i = 0; i < MEMBERS; i++) {
		await(l[i], POLLIN);
		nonblocking(l[i], true);
	}
	MUST(close(l[0]));
	while (reset + fine < CLIENTS) {
		accept_all(l + 1, MEMBERS - 1);
		for (int i = 0; i < CLIENTS; i++) {
			char octet;
			ssize_t n = c[i] < 0 ? 0 : recv(c[i], &octet, 1, MSG_DONTWAIT);

			if (c[i] < 0 || (n < 0 && errno == EAGAIN))
				continue;
			if (n < 0 && errno != ECONNRESET)
				tell("read", n);
			reset += n < 0;
			fine += n == 1;
			MUST(close(c[i]));
			c[i] = -1;
		}
	}
	say("one closes: %s reset, %s served by the others", reset > 0 ? "some" : "none",
	    fine > 0 ? "some" : "none");
	for (int i = 1; i < MEMBERS; i++)
		nonblocking(l[i], false);
	spread("three", l + 1, MEMBERS - 1, port);
	for (int i = 1; i < MEMBERS; i++)
		MUST(close(l[i]));
}

/* serve answers each connection with a letter until it is killed. */
static pid_t serve(int port, char letter, int ready)
{
	pid_t child = MUST(fork());

	if (child == 0) {
		int l = MUST(listening(REUSEPORT, address, port));

		write_all(ready, &letter, 1);
		for (;;) {
			int fd = MUST(accept(l, NULL, NULL));

			write_all(fd, &letter, 1);
			MUST(close(fd));
		}
	}
	return child;
}

/* who tells which letters connections get. */
static void who(const char *what, int port)
{
	char seen[3] = "--", letter;

	for (int i = 0; i < CLIENTS; i++) {
		int c = dial(port);

		read_all(c, &letter, 1);
		seen[letter - 'a'] = letter;
		MUST(close(c));
	}
	say("%s: %s", what, seen);
}

/* A server is replaced by another process without a gap, as haproxy does it. */
CASE(processes)
{
	int hold = bound(REUSEPORT, address, 0), port = port_of(hold), ready[2], status;
	pid_t a, b;
	char letter;

	MUST(pipe(ready));
	a = serve(port, 'a', ready[1]);
	read_all(ready[0], &letter, 1);
	who("one process", port);
	b = serve(port, 'b', ready[1]);
	read_all(ready[0], &letter, 1);
	who("two processes", port);
	MUST(kill(a, SIGKILL));
	MUST(waitpid(a, &status, 0));
	for (int served = 0; served < 50;) { /* until nobody finds the dead one any more */
		struct sockaddr_storage to = make_address(port);
		int c = MUST(socket(family, SOCK_STREAM, 0));

		if (connect(c, (struct sockaddr *)&to, sizeof to) == 0 && read(c, &letter, 1) == 1)
			served++;
		else
			served = 0;
		MUST(close(c));
	}
	who("the other alone", port);
	MUST(kill(b, SIGKILL));
	MUST(waitpid(b, &status, 0));
	MUST(close(hold));
}

/* The more exactly a listener is bound, the sooner it is chosen. */
CASE4(exact)
{
	static const char *const name[] = {"either family", "IPv4", "the address"};
	int l[3], port;

	l[0] = MUST(listening(REUSEPORT, "::", 0));
	port = port_of(l[0]);
	l[1] = MUST(listening(REUSEPORT, "0.0.0.0", port));
	l[2] = MUST(listening(REUSEPORT, address, port));
	for (int i = 2; i >= 0; i--) {
		int c = dial(port), fd;

		await(l[i], POLLIN);
		fd = MUST(accept(l[i], NULL, NULL));
		say("chosen: %s", name[i]);
		MUST(close(fd));
		MUST(close(c));
		MUST(close(l[i]));
	}
}
