/*
 * shim_fdtable.c - what each descriptor of the process is.
 *
 * One word for each descriptor, read without a lock: a small constant or the address of an object.
 * Objects live in slabs, so a reader that loses a race with a close sees an object of the same
 * kind, notices that the word has changed, and takes its reference back.
 */
#include "shim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>

#define FD_UNKNOWN 0u /* probed when it is next used */
#define FD_PASS 1u    /* the kernel's */
#define FD_OWN 2u     /* the shim's own; the program cannot close it */
#define FD_OBJECTS 4u /* from here on: a struct shim_obj * */

#define PROBE_FDS 1024 /* so many are looked at where all are, */
#define PROBE_STEP 256 /* so many at a time */

static uintptr_t table[SHIM_FD_MAX]; /* untouched pages cost nothing */
static int highest = -1;	     /* no entry above is an object or our own */
static struct shim_slab socks = {.size = sizeof(struct shim_sock)};

/* Variables that hold descriptors of our own, so that they can be moved out of the way. */
#define OWN_MAX 1024
static struct shim_mutex own_lock;
static int *own_where[OWN_MAX];
static bool own_waker[OWN_MAX]; /* valid only if own_where is not NULL */

static bool in_table(int fd)
{
	return (unsigned)fd < SHIM_FD_MAX;
}

static void raise_highest(int fd)
{
	int h = load_relaxed(&highest);

	while (fd > h && !__atomic_compare_exchange_n(&highest, &h, fd, false, __ATOMIC_RELEASE,
						      __ATOMIC_RELAXED))
		;
}

int shim_fd_highest(void)
{
	return load_acquire(&highest);
}

bool shim_fd_is(int fd, struct shim_sock *s)
{
	return in_table(fd) && load_acquire(&table[fd]) == (uintptr_t)s;
}

int shim_fd_of(struct shim_sock *s, int fd)
{
	int hold = load_acquire(&s->hold);

	return hold >= 0 && !shim_fd_is(fd, s) ? hold : fd;
}

struct shim_sock *shim_sock_new(int domain, bool nonblock)
{
	struct shim_sock *s = shim_slab_take(&socks);

	if (!s)
		return NULL;
	/* Nobody takes a reference while refs is 0, so all but refs can be written. */
	memset((char *)s + sizeof s->obj.refs, 0, sizeof *s - sizeof s->obj.refs);
	s->obj.kind = SHIM_SOCK;
	s->domain = (uint8_t)domain;
	s->nonblock = nonblock;
	s->hold = -1;
	s->opt.linger = -1;
	s->opt.peek_off = -1;
	store_release(&s->obj.refs, 1);
	return s;
}

static void obj_free(struct shim_obj *o)
{
	if (o->kind == SHIM_EPOLL) {
		shim_epoll_destroy(o);
		return;
	}

	struct shim_sock *s = (struct shim_sock *)o;

	shim_epoll_forget(s);
	shim_sock_close(s);
	shim_region_drop(s->region);
	shim_region_drop(s->former);
	shim_fd_unhide(&s->hold);
	shim_slab_give(&socks, s);
}

void shim_obj_put(struct shim_obj *o)
{
	if (__atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) == 0)
		obj_free(o);
}

/* obj_try takes a reference unless the object is being freed. */
static bool obj_try(struct shim_obj *o)
{
	uint32_t n = load_relaxed(&o->refs);

	while (n != 0)
		if (__atomic_compare_exchange_n(&o->refs, &n, n + 1, true, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

/* tcp_state returns the kernel's state of a TCP socket, -1 if it is none (errno says why). */
static int tcp_state(int fd, int *domain)
{
	int protocol;
	struct tcp_info info;
	socklen_t len = sizeof protocol;

	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
		return -1;
	errno = ENOTSOCK;
	if (protocol != IPPROTO_TCP)
		return -1;
	len = sizeof *domain;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_DOMAIN, domain, &len) < 0 ||
	    (*domain != AF_INET && *domain != AF_INET6))
		return -1;
	len = sizeof info;
	if (shim_real()->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -1;
	return info.tcpi_state;
}

/* install puts o in fd's entry unless somebody else was first. */
static void install(int fd, uintptr_t expected, struct shim_obj *o)
{
	__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&o->nfds, 1, __ATOMIC_RELAXED);
	if (__atomic_compare_exchange_n(&table[fd], &expected, (uintptr_t)o, false,
					__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		raise_highest(fd);
		return;
	}
	__atomic_fetch_sub(&o->nfds, 1, __ATOMIC_RELAXED);
	((struct shim_sock *)o)->held = false; /* the winner closes it */
	__atomic_fetch_sub(&o->refs, 1, __ATOMIC_RELAXED);
}

/* probe finds out what a descriptor is that came by exec, SCM_RIGHTS or unknown ways. A placeholder
 * is a TCP socket that the kernel believes unused or listening; only such a one is worth a question
 * to toed. */
static void probe(int fd, uintptr_t entry)
{
	int domain, saved = errno, state = tcp_state(fd, &domain);
	struct shim_sock *s;
	struct shim_region *r;
	uint32_t slot, gen;
	int flags, found, rc;

	if (state < 0 && errno == EBADF)
		goto out;
	if (state != TCP_CLOSE && state != TCP_LISTEN) {
		__atomic_compare_exchange_n(&table[fd], &entry, FD_PASS, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
		goto out;
	}
	flags = shim_real()->fcntl64(fd, F_GETFL);
	s = shim_sock_new(domain, flags >= 0 && (flags & O_NONBLOCK));
	if (!s)
		goto out;
	shim_options_load(fd, &s->opt);
	s->shared = 1;
	found = rc = shim_probe_fd(fd, &r, &slot, &gen);
	if (rc == 0 && state == TCP_LISTEN && load_acquire(&r->slot[slot].state) != TOE_SLOT_LISTEN)
		rc = -EAGAIN; /* another process is just bringing it to toed */
	if (rc == -EACCES)
		shim_log(0, "fd %d: a socket that toed carries for another user; out of reach", fd);
	if (rc == 0) {
		shim_place(s, r, slot);
		s->gen = gen;
		s->held = true;
		s->rx_step = shim_rx_step(0);
		s->rx_told = load_relaxed(&s->slot->rx_cons);
		shim_sock_share(s);
		s->role = state == TCP_LISTEN ? SHIM_LISTENER : SHIM_CONN;
		s->asked = shim_session.losses + 1;
	} else if (state == TCP_LISTEN && rc == -EACCES) {
		s->role = SHIM_KERNEL;
	} else if (state == TCP_LISTEN) {
		shim_listen_alone(s, rc == -ENOENT);
	}
	if (found == 0)
		shim_region_drop(r);
	install(fd, entry, &s->obj);
	if (s->held)
		shim_signals(s, fd); /* the owner is of the process, whatever program it runs */
	shim_obj_put(&s->obj);
out:
	errno = saved;
}

struct shim_obj *shim_obj_get(int fd)
{
	uintptr_t v;
	struct shim_obj *o;

	if (unlikely(!in_table(fd)))
		return NULL;
	v = load_acquire(&table[fd]);
	if (v == FD_UNKNOWN) {
		if (shim_confined || shim_foreign())
			return NULL;
		probe(fd, v);
		v = load_acquire(&table[fd]);
	}
	for (; v >= FD_OBJECTS; v = load_acquire(&table[fd])) {
		o = (struct shim_obj *)v;
		if (unlikely(!obj_try(o)))
			continue;
		if (likely(load_acquire(&table[fd]) == v))
			return o;
		shim_obj_put(o);
	}
	return NULL;
}

struct shim_sock *shim_sock_get(int fd)
{
	struct shim_obj *o = shim_obj_get(fd);

	if (o && o->kind != SHIM_SOCK) {
		shim_obj_put(o);
		return NULL;
	}
	return (struct shim_sock *)o;
}

struct shim_sock *shim_conn_get(int fd)
{
	struct shim_sock *s = shim_sock_get(fd);

	if (!s)
		return NULL;
	if (likely(shim_role(s) == SHIM_CONN)) {
		/* A child has to make itself known before it uses what it inherited. */
		if (unlikely(!shim_attached()) && shim_region_ok(s->region))
			shim_attach();
		return s;
	}
	shim_obj_put(&s->obj);
	return NULL;
}

struct shim_sock *shim_sock_adopt(int fd)
{
	struct shim_sock *s = shim_sock_get(fd);

	if (s) {
		if (shim_role(s) == SHIM_KERNEL) {
			int domain, saved = errno;

			if (tcp_state(fd, &domain) == TCP_CLOSE)
				store_release(&s->role, SHIM_UNDECIDED);
			errno = saved;
		}
		return s;
	}
	if (!in_table(fd) || load_acquire(&table[fd]) != FD_PASS || shim_foreign())
		return NULL;
	probe(fd, FD_PASS);
	return shim_sock_get(fd);
}

void shim_fds_probe(void)
{
	struct pollfd open[PROBE_STEP];
	struct rlimit limit;
	int step = PROBE_STEP;

	/* One call tells which of so many numbers are descriptors; it takes no more than there may
	 * be. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < PROBE_STEP)
		step = (int)limit.rlim_cur;
	for (int base = 0; step > 0 && base < PROBE_FDS; base += step) {
		for (int i = 0; i < step; i++)
			open[i] = (struct pollfd){.fd = base + i};
		if (shim_real()->poll(open, (nfds_t)step, 0) < 0)
			return;
		for (int i = 0; i < step; i++) {
			struct shim_obj *o =
				open[i].revents & POLLNVAL ? NULL : shim_obj_get(base + i);

			if (o)
				shim_obj_put(o);
		}
	}
}

/* displace takes back the reference of an entry that was replaced. The descriptor was closed behind
 * our back, as libc can do: what it stood for is gone. */
static void displace(uintptr_t v)
{
	if (v < FD_OBJECTS)
		return;
	__atomic_sub_fetch(&((struct shim_obj *)v)->nfds, 1, __ATOMIC_ACQ_REL);
	shim_obj_put((struct shim_obj *)v);
}

void shim_fd_bind(int fd, struct shim_obj *o)
{
	if (!in_table(fd))
		return;
	__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&o->nfds, 1, __ATOMIC_RELAXED);
	displace(__atomic_exchange_n(&table[fd], (uintptr_t)o, __ATOMIC_ACQ_REL));
	raise_highest(fd);
}

void shim_fd_drop(int fd)
{
	uintptr_t v;

	if (!in_table(fd))
		return;
	v = load_acquire(&table[fd]);
	if (v == FD_UNKNOWN || v == FD_OWN)
		return;
	if (v >= FD_OBJECTS && shim_foreign())
		return;
	/* Who uses the number until the kernel has closed it meets the placeholder, and does not
	 * ask toed what it is. */
	v = __atomic_exchange_n(&table[fd], FD_PASS, __ATOMIC_ACQ_REL);
	if (v < FD_OBJECTS)
		return;

	struct shim_obj *o = (struct shim_obj *)v;

	if (__atomic_sub_fetch(&o->nfds, 1, __ATOMIC_ACQ_REL) == 0 && o->kind == SHIM_SOCK &&
	    load_acquire(&o->refs) > 1) {
		/* Another thread is inside a call. The kernel would keep the socket for it. */
		struct shim_sock *s = (struct shim_sock *)o;

		if (shim_role(s) != SHIM_UNDECIDED && s->hold < 0 && !shim_confined) {
			int copy = shim_real()->fcntl64(fd, F_DUPFD_CLOEXEC, 3);

			if (copy >= 0)
				shim_fd_hide(copy, &s->hold);
		}
	}
	shim_obj_put(o);
}

void shim_fd_pass(int fd)
{
	if (!in_table(fd) || shim_fd_own(fd))
		return;
	if (load_relaxed(&table[fd]) < FD_OBJECTS)
		store_release(&table[fd], FD_PASS);
	else if (!shim_foreign())
		displace(__atomic_exchange_n(&table[fd], FD_PASS, __ATOMIC_ACQ_REL));
}

void shim_fd_forget(int fd)
{
	uintptr_t pass = FD_PASS;

	if (in_table(fd))
		__atomic_compare_exchange_n(&table[fd], &pass, FD_UNKNOWN, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
}

void shim_fd_dup(int from, int to)
{
	struct shim_obj *o = NULL;

	if (in_table(from) && load_acquire(&table[from]) >= FD_OBJECTS) {
		o = shim_obj_get(from);
		if (o && shim_foreign()) {
			/* The table is the parent's. What a child like that copies it hands on by
			 * exec. */
			if (o->kind == SHIM_SOCK)
				shim_sock_share((struct shim_sock *)o);
			shim_obj_put(o);
			return;
		}
	}
	if (o) {
		shim_fd_bind(to, o);
		shim_obj_put(o);
	} else if (in_table(to) && load_relaxed(&table[to]) < FD_OWN) {
		store_release(&table[to], FD_UNKNOWN);
	}
}

bool shim_fd_own(int fd)
{
	return in_table(fd) && load_relaxed(&table[fd]) == FD_OWN;
}

/* hidden_base is where our own descriptors start: out of the way of a program that counts on low
 * numbers, but not so high that the kernel's table for the process becomes large. Of few, an eighth
 * is for us. */
static int hidden_base(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 32)
		return 3;
	if (limit.rlim_cur > 4096)
		return 3968;
	return limit.rlim_cur < 1024 ? (int)(limit.rlim_cur - limit.rlim_cur / 8)
				     : (int)limit.rlim_cur - 128;
}

static int hide(int fd, int *where, bool waker)
{
	int high = shim_real()->fcntl64(fd, F_DUPFD_CLOEXEC, hidden_base());

	if (high >= 0)
		shim_real()->close(fd);
	else
		high = fd;
	if (in_table(high)) {
		store_release(&table[high], FD_OWN);
		raise_highest(high);
	}
	*where = high;
	shim_mutex_lock(&own_lock);
	for (int i = 0; i < OWN_MAX; i++) {
		if (!own_where[i]) {
			own_where[i] = where;
			own_waker[i] = waker;
			break;
		}
	}
	shim_mutex_unlock(&own_lock);
	return high;
}

int shim_fd_hide(int fd, int *where)
{
	return hide(fd, where, false);
}

int shim_fd_hide_waker(int fd, int *where)
{
	return hide(fd, where, true);
}

void shim_fd_wake(void)
{
	uint64_t one = 1;

	shim_mutex_lock(&own_lock); /* none is closed meanwhile */
	for (int i = 0; i < OWN_MAX; i++)
		if (own_where[i] && own_waker[i])
			(void)!shim_real()->write(*own_where[i], &one, sizeof one);
	shim_mutex_unlock(&own_lock);
}

void shim_fd_unhide(int *where)
{
	int fd = *where;

	if (fd < 0)
		return;
	shim_mutex_lock(&own_lock);
	for (int i = 0; i < OWN_MAX; i++)
		if (own_where[i] == where)
			own_where[i] = NULL;
	*where = -1;
	if (in_table(fd))
		store_release(&table[fd], FD_UNKNOWN);
	shim_mutex_unlock(&own_lock);
	shim_real()->close(fd);
}

int shim_fd_rehome(int fd)
{
	int high, rc = -EBUSY;

	shim_mutex_lock(&own_lock);
	for (int i = 0; i < OWN_MAX; i++) {
		if (!own_where[i] || *own_where[i] != fd)
			continue;
		high = shim_real()->fcntl64(fd, F_DUPFD_CLOEXEC, hidden_base());
		if (high < 0) {
			rc = -errno;
			break;
		}
		if (in_table(high)) {
			store_release(&table[high], FD_OWN);
			raise_highest(high);
		}
		store_release(own_where[i], high);
		store_release(&table[fd], FD_UNKNOWN);
		rc = 0;
		break;
	}
	shim_mutex_unlock(&own_lock);
	return rc;
}

void shim_fds_each(void (*f)(int fd, struct shim_obj *o, void *arg), void *arg)
{
	for (int fd = 0; fd <= shim_fd_highest(); fd++) {
		uintptr_t v = load_acquire(&table[fd]);

		if (v >= FD_OBJECTS)
			f(fd, (struct shim_obj *)v, arg);
	}
}

/* doubt forgets what another thread opened while the process forked. The kernel copies descriptors
 * before memory: under this number the child may have what was there before, or nothing. All that
 * was open when fork began is shared. */
static void doubt(int fd, struct shim_obj *o, void *arg)
{
	(void)arg;
	if (o->kind == SHIM_SOCK && !((struct shim_sock *)o)->shared)
		store_release(&table[fd], FD_UNKNOWN);
}

/* After fork only the forking thread is left: references of calls that other threads were in the
 * middle of are gone with them. */
static void recount(int fd, struct shim_obj *o, void *arg)
{
	(void)fd;
	if (*(int *)arg != 0) {
		o->refs++;
		return;
	}
	o->refs = 0;
	if (o->kind == SHIM_SOCK)
		((struct shim_sock *)o)->lock = (struct shim_mutex){0};
}

void shim_fds_after_fork(void)
{
	shim_fds_each(doubt, NULL);
	for (int pass = 0; pass < 2; pass++)
		shim_fds_each(recount, &pass);
	own_lock = (struct shim_mutex){0};
	socks.lock = (struct shim_mutex){0};
}
