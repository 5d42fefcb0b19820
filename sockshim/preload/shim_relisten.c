/*
 * shim_relisten.c - listeners of a program that outlives toed.
 *
 * When toed ends, a listener goes on with the kernel's half. When another toed serves the path, it
 * is offered to that one, without the program doing anything but what it does all the time: wait
 * for connections. While such a listener is without toed, no wait of the process lasts longer than
 * NAP_MAX_NS; then toed is called, which costs a few system calls a second.
 *
 * Nothing announces toed to a process that only waits. A watch (inotify) on the socket's directory
 * would need one of the few instances that a user may have in every process of a server, and ends
 * with the directory; a thread would be one that an unmodified program does not expect, in fork and
 * unshare, and would take its signals.
 *
 * Processes that share a listener ask toed first whether it has the socket already: the first
 * brings it, the others join.
 */
#include "shim.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>

/* How long a wait may last while toed is away: an eighth of the time that it has been away, within
 * these bounds. A toed that is only restarted is met again soon after. */
#define NAP_MIN_NS 50000000ull
#define NAP_MAX_NS 1000000000ull
/* How often we look whether another process has brought the listener, while it is about to, and how
 * long the pauses are. */
#define JOIN_TRIES 200
#define JOIN_PAUSE_MS 1

/* The region of listeners that toed does not have. It is never in use; its one slot has the lock by
 * which processes take turns at the kernel's queue. */
static struct shim_region nowhere = {.dead = 1, .nslots = 1};
static struct toe_shm_slot alone;

struct shim_region *shim_no_region(void)
{
	struct toe_shm_slot *none = NULL, *shared;

	if (likely(load_acquire(&nowhere.slot)))
		return &nowhere;
	/* Children inherit it as shared memory, for the lock's sake. */
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		shared = &alone;
	if (!__atomic_compare_exchange_n(&nowhere.slot, &none, shared, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED) &&
	    shared != &alone)
		munmap(shared, sizeof *shared);
	return &nowhere;
}

/* now_asked is what asked is when the present toed has been asked. */
static uint32_t now_asked(void)
{
	return load_acquire(&shim_session.losses) + 1;
}

/* note_homeless has the next wait look after listeners, and those that have begun when they wake.
 * What is noted during a look is not lost. */
static void note_homeless(void)
{
	if (__atomic_add_fetch(&shim_session.homeless, 1, __ATOMIC_SEQ_CST) == 0)
		__atomic_add_fetch(&shim_session.homeless, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&shim_session.alarms, 1, __ATOMIC_SEQ_CST);
}

void shim_listen_alone(struct shim_sock *s, bool asked)
{
	shim_place(s, shim_no_region(), 0);
	s->asked = asked ? now_asked() : 0;
	store_release(&s->role, SHIM_LISTENER);
	if (!asked) {
		note_homeless();
		shim_fd_wake();
	}
}

static bool wants_toed(struct shim_sock *s)
{
	return shim_role(s) == SHIM_LISTENER && !s->opt.kernel_only &&
	       load_relaxed(&s->asked) != now_asked() && !shim_region_ok(load_acquire(&s->region));
}

static void find_homeless(int fd, struct shim_obj *o, void *arg)
{
	(void)fd;
	if (o->kind == SHIM_SOCK && wants_toed((struct shim_sock *)o))
		*(bool *)arg = true;
}

static bool any_homeless(void)
{
	bool found = false;

	shim_fds_each(find_homeless, &found);
	return found;
}

void shim_listeners_lost(void)
{
	/* Not at once: a toed that is ending still takes connections, to drop them. */
	store_relaxed(&shim_session.look_at, shim_now() + NAP_MIN_NS);
	if (any_homeless())
		note_homeless();
	/* The control connection's end wakes who sleeps, unless another toed's has its number
	 * already when he looks. */
	shim_fd_wake();
}

/* backlog_of returns the length of the kernel's queue. */
static int backlog_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;

	shim_real()->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	return (int)info.tcpi_sacked; /* of a listener */
}

/* join finds the listener where another process has brought it. -ENOENT: toed does not have it;
 * -EAGAIN: not yet. */
static int join(struct shim_sock *s, int fd)
{
	struct shim_region *r;
	uint32_t n, gen;
	int rc = shim_probe_fd(fd, &r, &n, &gen);

	if (rc < 0)
		return rc;
	if (load_acquire(&r->slot[n].state) != TOE_SLOT_LISTEN) {
		shim_region_drop(r);
		return -EAGAIN;
	}
	s->gen = gen;
	s->held = true;
	s->shared = 1;
	s->rx_step = shim_rx_step(s->opt.rcvbuf);
	s->rx_told = load_relaxed(&r->slot[n].rx_cons);
	shim_place(s, r, n);
	shim_region_drop(r);
	return 0;
}

/* go_home has toed take a listener, or the process join those that have it there. It returns
 * whether toed has decided. */
static bool go_home(struct shim_sock *s, int fd)
{
	uint32_t state;
	uint8_t reason;
	int taken = 0; /* how often the address was in use, but not by this socket */

	for (int i = 0; i < JOIN_TRIES; i++) {
		int rc = join(s, fd);

		if (rc == 0 || rc == -EACCES)
			return true;
		if (rc != -ENOENT && rc != -EAGAIN)
			return false;
		if (rc == -ENOENT) {
			state = shim_listen_ask(s, fd, backlog_of(fd), &reason);
			if (state == TOE_SLOT_LISTEN)
				return true;
			if (state != TOE_SLOT_DECLINED)
				return false;
			if (reason != TOE_REASON_IN_USE || ++taken > 1) {
				shim_log(1, "fd %d: listening on the kernel only, reason %u", fd,
					 reason);
				return true;
			}
		}
		shim_real()->poll(NULL, 0, JOIN_PAUSE_MS);
	}
	return false;
}

/* offer brings one listener to toed. */
static void offer(int fd, struct shim_obj *o, void *arg)
{
	struct shim_sock *s;

	(void)arg;
	if (o->kind != SHIM_SOCK || !wants_toed((struct shim_sock *)o))
		return;
	s = shim_sock_get(fd);
	if (!s)
		return;
	shim_mutex_lock(&s->lock);
	if (wants_toed(s)) {
		uint32_t asked = now_asked();

		if (go_home(s, fd))
			s->asked = asked;
		if (shim_region_ok(s->region))
			shim_log(1, "fd %d: listening on toed again, slot %u", fd, s->slot_no);
		shim_epoll_home(s);
	}
	shim_mutex_unlock(&s->lock);
	shim_obj_put(&s->obj);
}

/* next_look returns when to call toed again. */
static uint64_t next_look(uint64_t now)
{
	struct shim_session *c = &shim_session;
	uint64_t nap;

	if (c->away == 0)
		c->away = now;
	nap = (now - c->away) / 8;
	nap = nap < NAP_MIN_NS ? NAP_MIN_NS : nap > NAP_MAX_NS ? NAP_MAX_NS : nap;
	store_relaxed(&c->look_at, now + nap);
	return now + nap;
}

uint64_t shim_relisten_slow(void)
{
	struct shim_session *c = &shim_session;
	uint64_t now = shim_now(), look_at = load_relaxed(&c->look_at);
	uint32_t noted = __atomic_load_n(&c->homeless, __ATOMIC_SEQ_CST);
	int saved = errno;

	if (shim_foreign())
		return SHIM_FOREVER;
	if (now < look_at)
		return look_at;
	if (any_homeless() && shim_attach_live() == 0)
		shim_fds_each(offer, NULL);
	errno = saved;
	if (any_homeless())
		return next_look(now);
	__atomic_compare_exchange_n(&c->homeless, &noted, 0, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_RELAXED);
	return SHIM_FOREVER;
}
