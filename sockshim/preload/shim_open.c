/* shim_open.c - from socket() to close(): who carries a socket, and its names. */
#include "shim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

/* How long connect waits for a slot when the loan is empty; toed fills it each turn. */
#define SLOT_PATIENCE_NS 5000000ull
/* When that was in vain, nobody waits again for so long: a program that has used up its slots opens
 * its further sockets in the kernel at the kernel's speed. */
#define SLOT_RETRY_NS 100000000ull
/* An open is decided, and a listener stopped on all workers, within a few turns of toed's loops, but
 * those may lack a processor. Who waits notices at once that toed has ended; this is for a toed that
 * hangs. */
#define PATIENCE_NS 30000000000ull
/* How many ports that the device has in use are passed over before connect gives up: so many are
 * all in use only when nearly all of the kernel's range are. */
#define PORT_TRIES 256
/* A listener with connections from toed looks at the kernel's queue every so many accepts. */
#define KERNEL_TURN 16

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

/* A socket address as the slots have it. */
struct endpoint {
	uint8_t addr[16];   /* IPv4 mapped */
	uint16_t port;	    /* host order */
	sa_family_t family; /* in which it was given */
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool endpoint_get(struct endpoint *e, const struct sockaddr *sa, socklen_t len)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	*e = (struct endpoint){0};
	if (len > sizeof(struct sockaddr_storage))
		return false; /* the kernel says no */
	if (sa && len >= sizeof *v4 && sa->sa_family == AF_INET) {
		memcpy(e->addr, mapped, 12);
		memcpy(e->addr + 12, &v4->sin_addr, 4);
		e->port = ntohs(v4->sin_port);
		e->family = AF_INET;
		return true;
	}
	if (sa && len >= offsetof(struct sockaddr_in6, sin6_scope_id) &&
	    sa->sa_family == AF_INET6) {
		memcpy(e->addr, &v6->sin6_addr, 16);
		e->port = ntohs(v6->sin6_port);
		e->family = AF_INET6;
		return true;
	}
	return false;
}

/* endpoint_put writes the address in the socket's family, as the kernel would: what does not fit is
 * cut off, *len is the full length. */
static void endpoint_put(int domain, const uint8_t addr[16], uint16_t port, struct sockaddr *sa,
			 socklen_t *len)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	const void *from = &v6;
	socklen_t size = sizeof v6;

	if (domain == AF_INET) {
		memcpy(&v4.sin_addr, addr + 12, 4);
		from = &v4;
		size = sizeof v4;
	} else {
		memcpy(&v6.sin6_addr, addr, 16);
	}
	memcpy(sa, from, *len < size ? *len : size);
	*len = size;
}

static bool is_v4(const uint8_t addr[16])
{
	return memcmp(addr, mapped, 12) == 0;
}

static bool is_any(const uint8_t addr[16])
{
	static const uint8_t any[16];

	return memcmp(addr, any, 16) == 0 || (is_v4(addr) && memcmp(addr + 12, any, 4) == 0);
}

static bool is_loopback(const uint8_t addr[16])
{
	static const uint8_t one[16] = {[15] = 1};

	return is_v4(addr) ? addr[12] == 127 : memcmp(addr, one, 16) == 0;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof cookie;

	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return 0;
	return cookie;
}

static bool local_name(int fd, struct endpoint *e)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;

	return shim_real()->getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
	       endpoint_get(e, (struct sockaddr *)&ss, len);
}

/* ---- slots ---------------------------------------------------------------------------------- */

void shim_place(struct shim_sock *s, struct shim_region *r, uint32_t n)
{
	struct shim_region *last = s->region;

	if (last != r) {
		shim_region_hold(r);
		shim_region_drop(s->former);
		s->former = last;
		s->option.command = NULL; /* it was for the last one's toed */
	}
	s->slot_no = n;
	s->slot = &r->slot[n];
	store_release(&s->region, r);
}

/* slot_lent takes a slot out of the loan of worker w (of any worker if w is negative); 0: none. */
static uint32_t slot_lent(struct shim_region *r, int w)
{
	uint32_t first = w >= 0 ? (uint32_t)w : shim_tid() % r->nworkers, n = 0;

	for (uint32_t i = 0; n == 0 && i < (w >= 0 ? 1 : r->nworkers); i++)
		n = shim_loan_take(&r->slot_loan[(first + i) % r->nworkers]);
	return n;
}

/* slot_take gives s a borrowed slot of worker w (of any worker if w is negative). */
static bool slot_take(struct shim_sock *s, int w)
{
	struct shim_region *r = shim_session.own;
	static uint64_t patient_at;
	uint64_t until = 0;
	uint32_t n;

	while ((n = slot_lent(r, w)) == 0) {
		uint64_t now = shim_now();

		if (until == 0)
			until = now < load_relaxed(&patient_at) ? now : now + SLOT_PATIENCE_NS;
		if (now >= until || !shim_region_ok(r)) {
			store_relaxed(&patient_at, now + SLOT_RETRY_NS);
			return false;
		}
		shim_real()->poll(NULL, 0, 0);
	}
	if (n >= r->nslots)
		return false;
	shim_place(s, r, n);
	s->gen = s->slot->gen;
	s->held = true;
	store_relaxed(&s->slot->nonblock, s->nonblock);
	store_relaxed(&s->slot->shared, s->shared);
	s->rx_told = 0;
	s->spare = 0;
	s->shut = 0;
	s->option.command = NULL;
	s->rx_step = shim_rx_step(s->opt.rcvbuf);
	return true;
}

/* slot_return gives back a slot whose open toed has declined, or has not answered in time: then it
 * may open it yet. */
static void slot_return(struct shim_sock *s)
{
	bool open = load_acquire(&s->slot->state) != TOE_SLOT_DECLINED;

	s->held = false;
	shim_post(s->region, s->slot->worker, open ? TOE_OP_ABORT_REQ : TOE_OP_SLOT_RETURN, 0,
		  s->slot_no, 0);
}

static void slot_cookie(struct shim_sock *s, uint64_t cookie)
{
	store_relaxed(&s->slot->cookie_lo, (uint32_t)cookie);
	store_relaxed(&s->slot->cookie_hi, (uint32_t)(cookie >> 32));
}

/* slot_ask posts an open and returns the state in which toed's decision leaves the slot. */
static uint32_t slot_ask(struct shim_sock *s, uint32_t op, uint32_t arg)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t until = shim_now() + PATIENCE_NS;
	uint32_t state;

	store_release(&slot->state, TOE_SLOT_OPENING);
	shim_post(s->region, slot->worker, op, 0, s->slot_no, arg);
	for (;;) {
		uint32_t seq = load_acquire(&slot->event_seq);

		state = load_acquire(&slot->state);
		if (state != TOE_SLOT_OPENING || !shim_region_ok(s->region) || shim_now() >= until)
			return state;
		shim_wait_slot(s->region, slot, seq, until,
			       SHIM_SPIN); /* a signal does not undo the ask */
	}
}

void shim_sock_share(struct shim_sock *s)
{
	s->shared = 1;
	if (s->held)
		__atomic_store_n(&s->slot->shared, 1, __ATOMIC_SEQ_CST);
}

/* linger_wait waits, as close of a blocking socket with SO_LINGER does, until everything is
 * acknowledged. */
static void linger_wait(struct shim_sock *s)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t until = shim_now() + (uint64_t)s->opt.linger * 1000000000u;
	uint32_t seq;

	for (;;) {
		seq = load_acquire(&slot->event_seq);
		if (load_acquire(&slot->tx_cons) == load_relaxed(&slot->tx_prod) ||
		    load_acquire(&slot->state) == TOE_SLOT_CLOSED)
			return;
		store_relaxed(&slot->tx_nospace, 1);
		if (shim_wait_slot(s->region, slot, seq, until, 0) < 0)
			return;
	}
}

/* stop_wait waits until toed has stopped a listener: whoever connects after close is refused. The
 * slot is free then, or already another socket's. */
static void stop_wait(struct shim_sock *s)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t until = shim_now() + PATIENCE_NS;

	for (;;) {
		uint32_t seq = load_acquire(&slot->event_seq);

		if (load_acquire(&slot->state) != TOE_SLOT_LISTEN ||
		    load_acquire(&slot->gen) != s->gen || !shim_region_ok(s->region))
			return;
		/* A signal does not let anybody in either. */
		if (shim_wait_slot(s->region, slot, seq, until, SHIM_SPIN) == -ETIMEDOUT)
			return;
	}
}

void shim_sock_close(struct shim_sock *s)
{
	uint32_t op = TOE_OP_CLOSE_CON_REQ;
	bool listening;

	if (!s->held || !shim_region_ok(s->region))
		return;
	listening = load_acquire(&s->slot->state) == TOE_SLOT_LISTEN; /* whatever it is becoming */
	s->held = false;
	if (s->shared || load_relaxed(&s->slot->shared)) {
		op = TOE_OP_CLOSE_SHARED;
	} else if (shim_role(s) == SHIM_CONN && s->opt.linger == 0) {
		op = TOE_OP_ABORT_REQ;
	} else if (shim_role(s) == SHIM_CONN && s->opt.linger > 0 &&
		   !load_relaxed(&s->slot->nonblock)) {
		shim_post(s->region, s->slot->worker, TOE_OP_SHUTDOWN, 0, s->slot_no, TOE_SHUT_WR);
		linger_wait(s);
	}
	shim_post(s->region, s->slot->worker, op, 0, s->slot_no, 0);
	if (listening && op == TOE_OP_CLOSE_CON_REQ)
		stop_wait(s);
}

/* ---- open ----------------------------------------------------------------------------------- */

SHIM_API int socket(int domain, int type, int protocol)
{
	int fd = shim_real()->socket(domain, type, protocol);
	struct shim_sock *s;

	if (fd < 0 || (domain != AF_INET && domain != AF_INET6) || shim_foreign()) {
		shim_fd_pass(fd);
		return fd;
	}
	if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM ||
	    (protocol != 0 && protocol != IPPROTO_TCP)) {
		shim_fd_pass(fd);
		return fd;
	}
	s = shim_sock_new(domain, type & SOCK_NONBLOCK);
	if (s) {
		shim_fd_bind(fd, &s->obj);
		shim_obj_put(&s->obj);
	}
	return fd;
}

/* has_name reports whether fd is a connection of toed's, whose placeholder the kernel might let
 * have another name. */
static bool has_name(int fd)
{
	struct shim_sock *s = shim_conn_get(fd);
	bool alive = s && load_acquire(&s->slot->state) != TOE_SLOT_CLOSED;

	if (s)
		shim_obj_put(&s->obj);
	return alive;
}

SHIM_API int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int saved = errno, one = 1, rc;
	struct shim_sock *s;
	struct endpoint e;

	if (has_name(fd)) {
		errno = EINVAL;
		return -1;
	}
	rc = shim_real()->bind(fd, addr, len);
	if (rc == 0 || errno != EADDRNOTAVAIL || !endpoint_get(&e, addr, len))
		return rc;
	s = shim_sock_adopt(fd);
	if (!s)
		return rc;
	if (shim_role(s) != SHIM_LISTENER && shim_attach_live() == 0 && shim_ours(e.addr)) {
		/* An address that only toed knows: the kernel has to hold the port for it. */
		if (s->domain == AF_INET6)
			shim_real()->setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
		shim_real()->setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one);
		rc = shim_real()->bind(fd, addr, len);
		if (rc == 0)
			errno = saved;
	}
	shim_obj_put(&s->obj);
	return rc;
}

/* Addresses of this host itself: where toed has said so in this second, it need not be asked, and
 * the kernel chooses the port, which it can do with more in mind than we. Each entry is an address
 * and a second in one word. */
static uint64_t own_hosts[16];

static uint64_t *own_host(const uint8_t addr[16], uint64_t *mark)
{
	uint64_t word[2], x;

	memcpy(word, addr, 16);
	x = (word[0] ^ 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u ^ word[1];
	x = (x ^ x >> 31) * 0x94d049bb133111ebu;
	*mark = x ^ shim_now() / 1000000000u;
	return &own_hosts[x >> 60];
}

static bool is_own_host(const uint8_t addr[16])
{
	uint64_t mark, *at = own_host(addr, &mark);

	return load_relaxed(at) == mark;
}

static void note_own_host(const uint8_t addr[16])
{
	uint64_t mark, *at = own_host(addr, &mark);

	store_relaxed(at, mark);
}

static bool only_six(int fd)
{
	int only = 0;
	socklen_t len = sizeof only;

	return shim_real()->getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) == 0 && only;
}

/* offloadable says whether toed should be asked about a connection to e at all. What Linux refuses
 * is left to it. */
static bool offloadable(struct shim_sock *s, int fd, const struct endpoint *e)
{
	return !s->opt.kernel_only && e->port != 0 && !is_any(e->addr) && !is_loopback(e->addr) &&
	       !is_own_host(e->addr) && e->family == s->domain &&
	       !(s->domain == AF_INET6 && is_v4(e->addr) && only_six(fd));
}

/* bind_port has the kernel choose a port for a placeholder at addr, also when the program has left
 * that to connect (IP_BIND_ADDRESS_NO_PORT). */
static bool bind_port(struct shim_sock *s, int fd, const uint8_t addr[16])
{
	struct sockaddr_storage at = {.ss_family = s->domain};
	int later = 0, now = 0;
	socklen_t len = sizeof later;
	bool bound;

	shim_real()->getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &later, &len);
	if (later)
		shim_real()->setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &now, sizeof now);
	len = sizeof at;
	if (!is_any(addr))
		endpoint_put(s->domain, addr, 0, (struct sockaddr *)&at, &len);
	bound = shim_real()->bind(fd, (struct sockaddr *)&at, len) == 0;
	if (later)
		shim_real()->setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &later,
					sizeof later);
	return bound;
}

/* local_port makes the placeholder own a port, and returns where it is bound. */
static bool local_port(struct shim_sock *s, int fd, struct endpoint *local)
{
	if (!local_name(fd, local))
		return false;
	if (local->port != 0)
		return true;
	return bind_port(s, fd, local->addr) && local_name(fd, local) && local->port != 0;
}

/* port_range has the kernel choose a placeholder's port from first to last, both 0: from its own
 * range. Before Linux 6.3 it does not. */
static bool port_range(int fd, uint16_t first, uint16_t last)
{
	uint32_t range = (uint32_t)last << 16 | first;

	return shim_real()->setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) ==
	       0;
}

/* other_port gives a placeholder another port instead of one that the kernel chose. The kernel lets
 * go of such a port when the socket leaves LISTEN, and of no other. It chooses among the ports of
 * one parity while it knows one that is free, so the neighbour of its choice is tried, too: near.
 */
static bool other_port(struct shim_sock *s, int fd, struct endpoint *local, bool near)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	uint16_t port = local->port ^ 1;

	if (shim_real()->listen(fd, 0) < 0 || shim_real()->connect(fd, &none, sizeof none) < 0)
		return false;
	if (near && port_range(fd, port, port)) {
		bool bound = bind_port(s, fd, local->addr);

		port_range(fd, 0, 0);
		if (bound)
			return local_name(fd, local);
	}
	return bind_port(s, fd, local->addr) && local_name(fd, local);
}

/* ask_connect asks one worker after the other to carry the connection: 0 if one does,
 * -EADDRNOTAVAIL if the device has such a connection already, -ENOBUFS if the user may have no
 * more, -EAGAIN if it is for the kernel. */
static int ask_connect(struct shim_sock *s, int fd, const struct endpoint *local,
		       const struct endpoint *remote, uint8_t fastopen)
{
	int worker = -1;
	bool asked = false;

	for (int tries = 0; tries < 5; tries++) {
		struct toe_shm_slot *slot;
		uint32_t state;
		uint8_t reason;

		if (shim_show(fd, asked) < 0)
			return -EADDRNOTAVAIL;
		if (!slot_take(s, worker)) {
			shim_no_slot(fd, remote->addr, remote->port);
			return -EAGAIN;
		}
		slot = s->slot;

		memcpy(slot->req_remote_addr, remote->addr, 16);
		slot->req_remote_port = remote->port;
		memset(slot->req_local_addr, 0, 16);
		if (!is_any(local->addr))
			memcpy(slot->req_local_addr, local->addr, 16);
		slot->req_local_port = local->port;
		slot->req_family = is_v4(remote->addr) ? 4 : 6;
		shim_options_request(s);
		slot_cookie(s, cookie_of(fd));
		store_relaxed(&slot->tx_nospace, 1); /* being connected is being writable */
		slot->req_fastopen |= fastopen;
		state = slot_ask(s, TOE_OP_ACT_OPEN_REQ, 0);
		if (state != TOE_SLOT_DECLINED && state != TOE_SLOT_OPENING &&
		    shim_region_ok(s->region))
			return 0;
		reason = slot->reason;
		worker = slot->steer;
		slot_return(s);
		if (state != TOE_SLOT_DECLINED)
			return -EAGAIN;
		if (reason == TOE_REASON_IN_USE)
			return -EADDRNOTAVAIL;
		if (reason == TOE_REASON_NO_BUFS)
			return -ENOBUFS;
		asked = reason == TOE_REASON_SHOW;
		if (asked) {
			worker = -1;
			continue;
		}
		if (reason == TOE_REASON_LOOPBACK)
			note_own_host(remote->addr);
		if (reason != TOE_REASON_STEER || (uint32_t)worker >= shim_session.nworkers) {
			shim_log(1, "fd %d: left to the kernel, reason %u", fd, reason);
			return -EAGAIN;
		}
	}
	return -EAGAIN;
}

/* offer_connect offers toed the connection. 0: s is in role SHIM_CONN; -EAGAIN: it is for the
 * kernel; -EADDRNOTAVAIL as in Linux; -ENOBUFS. The kernel does not know which ports the device
 * still has in use towards remote, and may well choose one of those: then another is tried. */
static int offer_connect(struct shim_sock *s, int fd, const struct endpoint *remote,
			 uint8_t fastopen)
{
	struct endpoint local, chosen;
	int rc = -EAGAIN, saved = errno;
	bool ours;

	if (!offloadable(s, fd, remote) || shim_attach_live() < 0 || !local_name(fd, &chosen) ||
	    !local_port(s, fd, &local) || is_loopback(local.addr))
		goto out;
	ours = chosen.port == 0;
	rc = ask_connect(s, fd, &local, remote, fastopen);
	for (int i = 0; i < PORT_TRIES && rc == -EADDRNOTAVAIL && ours; i++) {
		if (!other_port(s, fd, &local, i % 2 == 0))
			break;
		rc = ask_connect(s, fd, &local, remote, fastopen);
	}
	if (rc == 0) {
		shim_log(1, "fd %d: offloaded to slot %u", fd, s->slot_no);
		s->connecting = 1;
		store_release(&s->role, SHIM_CONN);
		shim_epoll_rebind(s);
		shim_options_send(s);
	}
out:
	errno = saved;
	return rc;
}

/* connect_result says how an offloaded connect stands: 0 established, -EALREADY, or its error. */
static int connect_result(struct shim_sock *s)
{
	uint32_t state = load_acquire(&s->slot->state);
	int e;

	if (!shim_region_ok(s->region))
		return -ECONNRESET;
	if (state == TOE_SLOT_SYN_SENT || state == TOE_SLOT_OPENING)
		return -EALREADY;
	if (state == TOE_SLOT_ESTABLISHED)
		return 0;
	e = shim_take_error(s);
	return e ? -e : -ECONNABORTED;
}

void shim_connect_failed(struct shim_sock *s)
{
	shim_mutex_lock(&s->lock);
	s->connecting = 0;
	store_release(&s->role, SHIM_UNDECIDED);
	shim_sock_close(s);
	shim_epoll_rebind(s);
	shim_mutex_unlock(&s->lock);
}

/* give_up gives the socket's slot back and makes it one that the kernel knows as unused. */
static void give_up(struct shim_sock *s, int role)
{
	store_release(&s->role, role);
	shim_epoll_rebind(s);
	shim_sock_close(s);
}

void shim_listen_kernel(struct shim_sock *s)
{
	shim_mutex_lock(&s->lock);
	give_up(s, SHIM_KERNEL);
	shim_mutex_unlock(&s->lock);
}

/* dissolve is connect to AF_UNSPEC: the connection is reset, a listener stops. The placeholder is
 * then the kernel's to dissolve. */
static void dissolve(struct shim_sock *s)
{
	if (shim_role(s) == SHIM_CONN) {
		if (s->held && !load_relaxed(&s->slot->shared)) {
			s->held = false;
			shim_post(s->region, s->slot->worker, TOE_OP_ABORT_REQ, 0, s->slot_no, 0);
		}
		s->connecting = 0;
		give_up(s, SHIM_UNDECIDED);
	} else if (shim_role(s) == SHIM_LISTENER) {
		give_up(s, SHIM_UNDECIDED);
	}
}

/* connect_wait ends a connect that is under way, by the rules of Linux' inet_stream_connect; flags
 * may have MSG_DONTWAIT. A failed socket can be connected again: it is undecided. */
static int connect_wait(struct shim_sock *s, int fd, int pending, int flags)
{
	uint64_t deadline = 0;
	int rc;

	if (!s->connecting)
		return -EISCONN;
	for (;;) {
		uint32_t seq = load_acquire(&s->slot->event_seq);

		rc = connect_result(s);
		if (rc != -EALREADY)
			break;
		if ((flags & MSG_DONTWAIT) || shim_nonblock(s, fd))
			return pending;
		if (deadline == 0)
			deadline = s->opt.sndtimeo ? shim_now() + s->opt.sndtimeo : SHIM_FOREVER;
		rc = shim_wait_slot(s->region, s->slot, seq, deadline, SHIM_SPIN);
		if (rc < 0)
			return rc == -ETIMEDOUT ? -EINPROGRESS : rc;
	}
	if (rc < 0)
		shim_connect_failed(s);
	s->connecting = 0;
	return rc;
}

SHIM_API int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct shim_sock *s = shim_sock_adopt(fd);
	struct endpoint remote;
	int rc = -EAGAIN, pending = -EALREADY;

	if (!s)
		return shim_real()->connect(fd, addr, len);
	shim_mutex_lock(&s->lock);
	if (shim_pointer_ok(addr) && len >= sizeof addr->sa_family && addr->sa_family == AF_UNSPEC)
		dissolve(s);
	if (shim_role(s) == SHIM_UNDECIDED && endpoint_get(&remote, addr, len)) {
		rc = offer_connect(s, fd, &remote, 0);
		pending = -EINPROGRESS;
	}
	if (shim_role(s) == SHIM_CONN) {
		bool deferred = shim_deferred(s->slot);

		shim_mutex_unlock(&s->lock);
		if (deferred && pending == -EINPROGRESS)
			rc = 0; /* the SYN goes with the first octets */
		else if (pending == -EINPROGRESS && shim_nonblock(s, fd))
			rc = pending; /* even if it is decided already */
		else
			rc = connect_wait(s, fd, deferred ? -EISCONN : pending, 0);
	} else {
		if (rc == -EAGAIN && shim_role(s) == SHIM_UNDECIDED) {
			/* what is unused again is taken back when it is next to be opened */
			store_release(&s->role, SHIM_KERNEL);
			shim_epoll_rebind(s);
		}
		shim_mutex_unlock(&s->lock);
		if (rc == -EAGAIN)
			rc = shim_real()->connect(fd, addr, len) < 0 ? -errno : 0;
	}
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}

int shim_fastopen(struct shim_sock *s, int fd, const struct sockaddr *to, socklen_t len, int flags)
{
	struct endpoint remote;
	int rc = -EAGAIN, pending = -EALREADY;

	shim_mutex_lock(&s->lock);
	if (shim_role(s) == SHIM_UNDECIDED && endpoint_get(&remote, to, len)) {
		rc = offer_connect(s, fd, &remote, TOE_FASTOPEN_USE | TOE_FASTOPEN_HOLD);
		pending = -EINPROGRESS;
		if (rc == -EAGAIN) {
			store_release(&s->role, SHIM_KERNEL);
			shim_epoll_rebind(s);
		}
	}
	shim_mutex_unlock(&s->lock);
	if (shim_role(s) != SHIM_CONN)
		return rc == -EAGAIN ? 0 : rc;
	if (shim_deferred(s->slot))
		return 1;
	rc = connect_wait(s, fd, pending, flags);
	return rc < 0 ? rc : 1;
}

/* settle places a listener where toed has taken it on trial. */
static void settle(struct shim_sock *s, const struct shim_sock *trial)
{
	s->gen = trial->gen;
	s->rx_told = trial->rx_told;
	s->rx_step = trial->rx_step;
	s->held = true;
	shim_place(s, trial->region, trial->slot_no);
	fence_seq(); /* what was set meanwhile counts */
	store_relaxed(&s->slot->nonblock, s->nonblock);
	if (load_relaxed(&s->shared))
		shim_sock_share(s);
}

/* listen_once is shim_listen_ask for one answer of toed's. */
static uint32_t listen_once(struct shim_sock *s, int fd, int backlog, const struct endpoint *local,
			    uint8_t *reason)
{
	/* Until toed has taken it, others who wait for it must not find it in a place of toed's. */
	struct shim_sock trial = *s;
	uint32_t state;
	int v6only = 0, reuseport = 0;
	socklen_t len = sizeof v6only;

	trial.region = trial.former = NULL;
	if (!slot_take(&trial, -1)) {
		shim_no_slot(fd, NULL, 0);
		return TOE_SLOT_DECLINED;
	}
	if (s->domain == AF_INET6)
		shim_real()->getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len);
	shim_real()->getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, &len);
	memset(trial.slot->req_local_addr, 0, 16);
	if (!is_any(local->addr))
		memcpy(trial.slot->req_local_addr, local->addr, 16);
	trial.slot->req_local_port = local->port;
	trial.slot->req_family = s->domain == AF_INET ? 4 : 6;
	trial.slot->req_v6only = v6only != 0;
	trial.slot->req_reuseport = reuseport != 0;
	shim_options_request(&trial);
	slot_cookie(&trial, cookie_of(fd));
	state = slot_ask(&trial, TOE_OP_PASS_OPEN_REQ, backlog < 0 ? INT32_MAX : (uint32_t)backlog);
	if (state == TOE_SLOT_LISTEN) {
		settle(s, &trial);
		shim_signals(s, fd);
	} else {
		if (state == TOE_SLOT_DECLINED)
			*reason = trial.slot->reason;
		slot_return(&trial);
	}
	shim_region_drop(trial.region);
	return state;
}

uint32_t shim_listen_ask(struct shim_sock *s, int fd, int backlog, uint8_t *reason)
{
	struct endpoint local;
	uint32_t state = TOE_SLOT_OPENING;

	*reason = 0;
	if (!local_name(fd, &local))
		return TOE_SLOT_OPENING;
	for (int tries = 0; tries < 3; tries++) {
		if (shim_show(fd, *reason == TOE_REASON_SHOW) < 0) {
			*reason = TOE_REASON_IN_USE;
			return TOE_SLOT_DECLINED;
		}
		*reason = 0;
		state = listen_once(s, fd, backlog, &local, reason);
		if (state != TOE_SLOT_DECLINED || *reason != TOE_REASON_SHOW)
			break;
	}
	return state;
}

/* unlisten undoes the kernel's listen. */
static void unlisten(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	shim_real()->connect(fd, &none, sizeof none);
}

/* decide_listen makes s a listener, toed's too if toed takes it. -ENOBUFS: the user may have no
 * more, and the operator wants the program to hear of it. */
static int decide_listen(struct shim_sock *s, int fd, int backlog)
{
	struct endpoint local;
	int saved = errno, rc = 0;
	uint8_t reason;

	if (s->opt.kernel_only || !local_name(fd, &local) || is_loopback(local.addr)) {
		store_release(&s->role, SHIM_KERNEL);
	} else if (shim_attach_live() < 0) {
		shim_listen_alone(s, false);
	} else {
		shim_listen_alone(s, true);
		if (shim_listen_ask(s, fd, backlog, &reason) == TOE_SLOT_LISTEN)
			shim_log(1, "fd %d: listening on toed too, slot %u", fd, s->slot_no);
		else if (reason == TOE_REASON_NO_BUFS)
			rc = -ENOBUFS;
		else
			shim_log(1, "fd %d: listening on the kernel only, reason %u", fd, reason);
	}
	if (rc < 0) {
		unlisten(fd);
		store_release(&s->role, SHIM_UNDECIDED);
	}
	shim_epoll_rebind(s);
	errno = saved;
	return rc;
}

SHIM_API int listen(int fd, int backlog)
{
	struct shim_sock *s = shim_sock_adopt(fd);
	int rc;

	if (!s)
		return shim_real()->listen(fd, backlog);
	if (shim_role(s) == SHIM_CONN) {
		shim_obj_put(&s->obj);
		return (int)shim_result(-EINVAL);
	}
	rc = shim_real()->listen(fd, backlog);
	if (rc == 0) {
		shim_mutex_lock(&s->lock);
		if (shim_role(s) == SHIM_UNDECIDED)
			rc = decide_listen(s, fd, backlog);
		shim_mutex_unlock(&s->lock);
		if (rc < 0) {
			shim_obj_put(&s->obj);
			return (int)shim_result(rc);
		}
		shim_relisten();
	}
	shim_obj_put(&s->obj);
	return rc;
}

/* ---- accept --------------------------------------------------------------------------------- */

/* A connection that toed has accepted, and whose it was. */
struct arrival {
	struct toe_shm_accept record;
	struct shim_region *region;
	uint32_t listener; /* its slot */
};

static bool waiting_on_toed(struct shim_sock *l)
{
	struct shim_region *r = load_acquire(&l->region);

	return shim_role(l) == SHIM_LISTENER && shim_region_ok(r) &&
	       load_acquire(&l->slot->rx_prod) - load_relaxed(&l->slot->rx_cons) >=
		       sizeof(struct toe_shm_accept);
}

/* take_record takes the oldest connection off the listener's stream, unless another was faster. The
 * listener's slot stays the same meanwhile: its lock is held. */
static int take_record(struct shim_sock *l, struct arrival *a)
{
	struct iovec iov = {.iov_base = &a->record, .iov_len = sizeof a->record};
	struct shim_iter it = {.iov = &iov, .count = 1};
	ssize_t rc = shim_slot_lock(&l->slot->rx_lock);

	if (rc < 0)
		return (int)rc;
	rc = -EAGAIN;
	a->region = l->region;
	a->listener = l->slot_no;
	if (waiting_on_toed(l)) {
		uint64_t pos = l->slot->rx_cons;

		rc = shim_rx_copy(l, pos, sizeof a->record, shim_iter_drain, &it);
		if (rc == sizeof a->record) {
			store_release(&l->slot->rx_cons, pos + sizeof a->record);
			if (pos + sizeof a->record - l->rx_told >= l->rx_step) {
				l->rx_told = pos + sizeof a->record;
				shim_post_once(l->region, l->slot_no, TOE_OP_RX_DATA_ACK);
			}
		}
	}
	shim_slot_unlock(&l->slot->rx_lock);
	return rc < 0 ? (int)rc : 0;
}

/* take_slot makes the connection in a that of s, whose placeholder has the cookie. */
static int take_slot(struct shim_sock *s, const struct arrival *a, uint64_t cookie)
{
	if (a->record.slot == 0 || a->record.slot >= a->region->nslots)
		return -ECONNABORTED;
	shim_place(s, a->region, a->record.slot);
	s->gen = a->record.gen;
	s->held = true;
	store_relaxed(&s->slot->nonblock, s->nonblock);
	slot_cookie(s, cookie);
	shim_post(s->region, s->slot->worker, TOE_OP_PASS_ACCEPT_RPL, 0, s->slot_no, a->listener);
	return 0;
}

/* accept_toed accepts a connection from toed; -EAGAIN if there is none. The placeholder is made
 * first: when no descriptor is left, the connection has to stay in the queue. */
static int accept_toed(struct shim_sock *l, int flags, struct sockaddr *addr, socklen_t *len)
{
	struct arrival a = {0};
	struct shim_sock *s;
	uint64_t cookie;
	int fd, rc = -ENOBUFS;

	if (!waiting_on_toed(l))
		return -EAGAIN;
	fd = shim_real()->socket(l->domain, SOCK_STREAM | flags, 0);
	if (fd < 0)
		return -errno;
	s = shim_sock_new(l->domain, flags & SOCK_NONBLOCK);
	if (s) {
		cookie = cookie_of(fd);
		/* toed has to hear of it before another thread shuts the listener down: what toed
		 * takes for not accepted is reset then, and its slot another's. */
		shim_mutex_lock(&l->lock);
		rc = take_record(l, &a);
		if (rc == 0)
			rc = take_slot(s, &a, cookie);
		shim_mutex_unlock(&l->lock);
	}
	if (rc < 0) {
		if (s)
			shim_obj_put(&s->obj);
		shim_real()->close(fd);
		return rc;
	}
	s->opt = l->opt;
	s->rx_step = shim_rx_step(s->opt.rcvbuf);
	s->opt.fastopen = s->opt.defer_accept = 0; /* the listener's alone */
	shim_options_apply(fd, &s->opt);
	store_release(&s->role, SHIM_CONN);
	if (addr && len)
		endpoint_put(s->domain, s->slot->remote_addr, s->slot->remote_port, addr, len);
	shim_options_send(s);
	shim_fd_bind(fd, &s->obj);
	shim_obj_put(&s->obj);
	return fd;
}

/* take_turn keeps two callers from racing for one connection of the kernel's, which would leave the
 * loser blocked there. The lock is the unused tx_lock of the listener's slot; and, as those who
 * share a listener come to that slot one after the other when toed comes back, that of no slot's,
 * which parents and children have in common. */
static int take_turn(uint32_t *lock[2])
{
	int rc = shim_slot_lock(lock[0]);

	if (rc == 0 && lock[1] != lock[0]) {
		rc = shim_slot_lock(lock[1]);
		if (rc < 0)
			shim_slot_unlock(lock[0]);
	}
	return rc;
}

static void end_turn(uint32_t *lock[2])
{
	if (lock[1] != lock[0])
		shim_slot_unlock(lock[1]);
	shim_slot_unlock(lock[0]);
}

/* accept_kernel accepts a connection that the kernel holds; -EAGAIN if there is none. */
static int accept_kernel(struct shim_sock *l, int lfd, int flags, struct sockaddr *addr,
			 socklen_t *len)
{
	struct pollfd p = {.fd = lfd, .events = POLLIN};
	/* The slot may become another's meanwhile. */
	uint32_t *lock[2] = {&shim_no_region()->slot->tx_lock, &l->slot->tx_lock};
	int fd, rc = take_turn(lock);

	if (rc < 0)
		return rc;
	fd = shim_real()->poll(&p, 1, 0) > 0 ? shim_real()->accept4(lfd, addr, len, flags)
					     : (errno = EAGAIN, -1);
	rc = fd < 0 ? -errno : fd;
	end_turn(lock);
	if (fd >= 0)
		shim_fd_pass(fd);
	return rc;
}

/* A fault of the program itself interrupts no wait. */
static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL ||
	       sig == SIGTRAP || sig == SIGABRT;
}

bool shim_restarts(void)
{
	struct sigaction a;

	if (shim_confined)
		return shim_confined_restarts;
	for (int i = 1; i < NSIG; i++) {
		if (is_fault(i) || sigaction(i, NULL, &a) < 0 || a.sa_handler == SIG_DFL ||
		    a.sa_handler == SIG_IGN)
			continue;
		if (!(a.sa_flags & SA_RESTART))
			return false;
	}
	return true;
}

static int accept_any(struct shim_sock *l, int lfd, struct sockaddr *addr, socklen_t *len,
		      int flags)
{
	uint64_t deadline = l->opt.rcvtimeo ? shim_now() + l->opt.rcvtimeo : SHIM_FOREVER;
	int rc;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	for (;;) {
		int fd = shim_fd_of(l, lfd); /* another thread may close it meanwhile */

		rc = ++l->turn % KERNEL_TURN ? accept_toed(l, flags, addr, len) : -EAGAIN;
		if (rc == -EAGAIN)
			rc = accept_kernel(l, fd, flags, addr, len);
		if (rc == -EAGAIN)
			rc = accept_toed(l, flags, addr, len);
		if (rc != -EAGAIN || shim_nonblock(l, fd))
			return rc;
		if (shim_role(l) != SHIM_LISTENER)
			return -EINVAL; /* shut down meanwhile */
		rc = shim_poll_one(l, fd, POLLIN, deadline);
		if (rc == 0)
			return -EAGAIN;
		if (rc < 0 && errno == EINTR && (deadline != SHIM_FOREVER || !shim_restarts()))
			return -EINTR;
	}
}

SHIM_API int accept4(int lfd, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct shim_sock *l = shim_sock_get(lfd);
	int saved = errno, fd;

	if (l && shim_role(l) == SHIM_LISTENER) {
		if (unlikely(!shim_attached()) && shim_region_ok(l->region))
			shim_attach();
		shim_relisten();
		fd = accept_any(l, lfd, addr, len, flags);
		shim_obj_put(&l->obj);
		errno = saved;
		return (int)shim_result(fd);
	}
	if (l)
		shim_obj_put(&l->obj);
	fd = shim_real()->accept4(lfd, addr, len, flags);
	if (fd >= 0)
		shim_fd_pass(fd);
	return fd;
}

SHIM_API int accept(int lfd, struct sockaddr *addr, socklen_t *len)
{
	return accept4(lfd, addr, len, 0);
}

/* ---- names and shutdown --------------------------------------------------------------------- */

/* room_ok checks where a name is to be put. */
static int room_ok(struct sockaddr *addr, socklen_t *len)
{
	if (!shim_pointer_ok(len) || (*len > 0 && !shim_pointer_ok(addr)))
		return -EFAULT;
	return (int)*len < 0 ? -EINVAL : 0;
}

SHIM_API int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct shim_sock *s = shim_conn_get(fd);
	int rc = room_ok(addr, len);

	if (!s)
		return shim_real()->getsockname(fd, addr, len);
	if (rc == 0)
		endpoint_put(s->domain, s->slot->local_addr, s->slot->local_port, addr, len);
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}

SHIM_API int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct shim_sock *s = shim_conn_get(fd);
	int rc = -ENOTCONN;

	if (!s)
		return shim_real()->getpeername(fd, addr, len);
	if (load_acquire(&s->slot->state) == TOE_SLOT_ESTABLISHED)
		rc = room_ok(addr, len);
	if (rc == 0)
		endpoint_put(s->domain, s->slot->remote_addr, s->slot->remote_port, addr, len);
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}

SHIM_API int shutdown(int fd, int how)
{
	struct shim_sock *s = shim_sock_get(fd);
	uint32_t bits = how == SHUT_RD	 ? TOE_SHUT_RD
			: how == SHUT_WR ? TOE_SHUT_WR
					 : TOE_SHUT_RD | TOE_SHUT_WR;
	int rc = 0;

	if (!s)
		return shim_real()->shutdown(fd, how);
	if (shim_role(s) != SHIM_CONN) {
		if (shim_role(s) == SHIM_LISTENER && (bits & TOE_SHUT_RD))
			shim_listen_kernel(s); /* the kernel stops listening; so does toed */
		shim_obj_put(&s->obj);
		return shim_real()->shutdown(fd, how);
	}
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) {
		rc = -EINVAL;
	} else if (load_acquire(&s->slot->state) == TOE_SLOT_SYN_SENT) {
		shim_connect_failed(s);
	} else if (load_acquire(&s->slot->state) != TOE_SLOT_ESTABLISHED) {
		rc = -ENOTCONN;
	} else {
		__atomic_fetch_or(&s->shut, (uint8_t)bits, __ATOMIC_SEQ_CST);
		shim_post(s->region, s->slot->worker, TOE_OP_SHUTDOWN, 0, s->slot_no, bits);
	}
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}
