/* shim_queue.c - commands to toed, loans from toed, and sleeping until toed has news. */
#include "shim.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

/* A sleeper looks at least this often whether toed is still there. */
#define LIVENESS_NS 500000000ull
/* How long a thread waits for a slot lock before it asks whether the holder lives. */
#define LOCK_PATIENCE_NS 20000000ull
/* Polls of a queue entry before the thread yields its processor. */
#define SPINS 256

#define TID_MASK 0x3fffffffu

static void relax(uint32_t round)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
	if (round % SPINS == SPINS - 1 && !shim_confined)
		sched_yield();
}

/* still_served is asked in round i of a loop that waits for toed. */
static bool still_served(struct shim_region *r, uint32_t i)
{
	if (i % SPINS != SPINS - 1)
		return true;
	return shim_region_ok(r) && (i % (SPINS * 4096) != SPINS * 4096 - 1 || shim_toed_alive());
}

/* wake writes worker w's eventfd if the worker has said that it sleeps. The fence orders what we
 * published before the look at the flag; toed's side sets the flag, fences and looks again. */
static void wake(uint32_t w)
{
	uint64_t one = 1;

	fence_seq();
	if (shim_session.status && load_relaxed(&shim_session.status->worker[w].sleeping) &&
	    shim_session.wake[w] >= 0)
		(void)!shim_real()->write(shim_session.wake[w], &one, sizeof one);
}

/* queue_of returns the command queue that this process uses for slots of r: its own one, so that
 * all it says about a slot stays in order; before a child has attached, the one that it inherited.
 */
static struct toe_shm_cmdq *queue_of(struct shim_region *r, uint32_t w)
{
	return shim_attached() ? &load_acquire(&shim_session.own)->cmdq[w] : &r->cmdq[w];
}

/* post appends a command; returns its entry, NULL if toed is gone. *p is its position. */
static struct toe_shm_cmd *post(struct shim_region *r, uint32_t w, uint32_t op, uint32_t flags,
				uint32_t slot, uint32_t arg, uint32_t *p)
{
	struct toe_shm_cmdq *q;
	struct toe_shm_cmd *c;

	if (w >= r->nworkers)
		return NULL;
	/* In this order: regions are dead before another toed has a queue for us, which knows
	 * nothing of them. */
	q = queue_of(r, w);
	if (!shim_region_ok(r))
		return NULL;
	*p = __atomic_fetch_add(&q->tail, 1, __ATOMIC_RELAXED);
	c = &q->entry[*p % TOE_CMD_ENTRIES];
	for (uint32_t i = 0; load_acquire(&c->stamp) != *p; i++) {
		/* The queue is full: toed is asleep, behind, or gone. */
		if (i % SPINS == 0)
			wake(w);
		if (!still_served(r, i))
			return NULL;
		relax(i);
	}
	c->op = (uint8_t)op;
	c->flags = (uint8_t)flags;
	c->region = (uint16_t)r->id;
	c->slot = slot;
	c->arg = arg;
	store_release(&c->stamp, *p + 1);
	wake(w);
	return c;
}

void shim_post(struct shim_region *r, uint32_t w, uint32_t op, uint32_t flags, uint32_t slot,
	       uint32_t arg)
{
	uint32_t p;

	post(r, w, op, flags, slot, arg, &p);
}

void shim_post_once(struct shim_region *r, uint32_t slot, uint32_t op)
{
	struct toe_shm_slot *s = &r->slot[slot];
	uint32_t bit = 1u << op;

	if (__atomic_fetch_or(&s->cmd_pending, bit, __ATOMIC_SEQ_CST) & bit)
		return;
	shim_post(r, s->worker, op, 0, slot, 0);
}

void shim_post_tracked(struct shim_region *r, uint32_t w, uint32_t op, uint32_t slot, uint32_t arg,
		       struct shim_posted *posted)
{
	posted->command = post(r, w, op, 0, slot, arg, &posted->position);
}

void shim_posted_wait(struct shim_region *r, struct shim_posted *posted)
{
	struct toe_shm_cmd *c = posted->command;

	/* The command is in a queue of the toed that r is of. */
	for (uint32_t i = 0; c && shim_region_ok(r) &&
			     load_acquire(&c->stamp) == posted->position + 1 && still_served(r, i);
	     i++)
		relax(i);
	posted->command = NULL;
}

bool shim_borders_wait(struct shim_sock *s)
{
	struct toe_shm_slot *slot = s->slot;

	for (uint32_t i = 0; slot->eor_prod - load_acquire(&slot->eor_cons) >= TOE_EORS; i++) {
		if (i % SPINS == 0)
			wake(slot->worker);
		if (shim_tx_ended(s) || !still_served(s->region, i))
			return false;
		relax(i);
	}
	return true;
}

uint32_t shim_loan_take(struct toe_shm_loan *loan)
{
	uint32_t cons = load_relaxed(&loan->cons);

	for (;;) {
		if (cons == load_acquire(&loan->prod))
			return 0;
		uint32_t number = load_relaxed(&loan->entry[cons % TOE_LOAN_ENTRIES]);

		if (__atomic_compare_exchange_n(&loan->cons, &cons, cons + 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return number;
	}
}

int shim_futex_wait(uint32_t *word, uint32_t value, uint64_t relative_ns, bool shared)
{
	int saved = errno, rc = 0;
	struct timespec t = {.tv_sec = (time_t)(relative_ns / 1000000000u),
			     .tv_nsec = (long)(relative_ns % 1000000000u)};

	if (shim_real()->syscall(SYS_futex, word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, value,
				 relative_ns == SHIM_FOREVER ? NULL : &t, NULL, 0) < 0)
		rc = -errno;
	errno = saved;
	return rc == -EAGAIN ? 0 : rc;
}

void shim_futex_wake(uint32_t *word, int count, bool shared)
{
	int saved = errno;

	shim_real()->syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, count, NULL,
			     NULL, 0);
	errno = saved;
}

/* restartable_wait is a timed futex wait that a signal whose handler has SA_RESTART does not end.
 * FUTEX_WAIT with a timeout always ends; futex_waitv (Linux 5.16) does what read(2) does. */
static int restartable_wait(uint32_t *word, uint32_t value, uint64_t relative_ns)
{
	struct futex_waitv v = {.val = value, .uaddr = (uintptr_t)word, .flags = FUTEX_32};
	uint64_t until = shim_now() + relative_ns;
	struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
			     .tv_nsec = (long)(until % 1000000000u)};
	int saved = errno, rc = 0;

	if (shim_confined) {
		rc = shim_futex_wait(word, value, relative_ns, true);
		return rc == -EINTR && shim_confined_restarts ? 0 : rc;
	}
	if (shim_real()->syscall(SYS_futex_waitv, &v, 1, 0, &t, CLOCK_MONOTONIC) < 0)
		rc = -errno;
	errno = saved;
	if (rc == -ENOSYS)
		rc = shim_futex_wait(word, value, relative_ns, true);
	return rc == -EAGAIN ? 0 : rc;
}

int shim_wait_slot(struct shim_region *r, struct toe_shm_slot *slot, uint32_t seq,
		   uint64_t deadline, unsigned how)
{
	uint64_t now = shim_now(), spin_until = now + (how & SHIM_SPIN ? shim_config.spin_ns : 0),
		 nap = LIVENESS_NS;
	int rc;

	if (now >= deadline)
		return -ETIMEDOUT;
	for (uint32_t i = 0; now < spin_until; i++, now = shim_now()) {
		if (load_acquire(&slot->event_seq) != seq)
			return 0;
		relax(i);
	}
	if (deadline - now < nap)
		nap = deadline > now ? deadline - now : 0;

	__atomic_fetch_add(&slot->waiters, 1, __ATOMIC_SEQ_CST);
	fence_seq();
	if (load_acquire(&slot->event_seq) != seq || !shim_region_ok(r))
		rc = 0;
	else if (deadline == SHIM_FOREVER && !(how & SHIM_NO_RESTART))
		rc = restartable_wait(&slot->event_seq, seq, nap);
	else
		rc = shim_futex_wait(&slot->event_seq, seq, nap, true);
	__atomic_fetch_sub(&slot->waiters, 1, __ATOMIC_SEQ_CST);

	if (rc == -ETIMEDOUT) {
		shim_toed_alive();
		rc = shim_now() >= deadline ? -ETIMEDOUT : 0;
	}
	return rc == -EINTR || rc == -ETIMEDOUT ? rc : 0;
}

/* holder_gone reports whether no thread with that id exists. An id of another pid namespace cannot
 * be told from a dead one; processes that share a socket share the namespace. */
static bool holder_gone(uint32_t tid)
{
	int saved = errno;
	bool gone = !shim_confined && shim_real()->syscall(SYS_tkill, tid, 0) < 0 && errno == ESRCH;

	errno = saved;
	return gone;
}

static int slot_lock_slow(uint32_t *word, uint32_t tid)
{
	for (uint32_t i = 0; i < SPINS; i++) {
		uint32_t v = load_relaxed(word);

		if (v == 0 && __atomic_compare_exchange_n(word, &v, tid, false, __ATOMIC_ACQUIRE,
							  __ATOMIC_RELAXED))
			return 0;
		if ((v & TID_MASK) == tid)
			return -EDEADLK;
		relax(i);
	}
	for (;;) {
		uint32_t v = load_relaxed(word);

		/* Who had to wait leaves the mark: others may be waiting still. */
		if (v == 0) {
			if (__atomic_compare_exchange_n(word, &v, tid | TOE_LOCK_CONTENDED, false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return 0;
			continue;
		}
		if (!(v & TOE_LOCK_CONTENDED) &&
		    !__atomic_compare_exchange_n(word, &v, v | TOE_LOCK_CONTENDED, false,
						 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		v |= TOE_LOCK_CONTENDED;
		if (shim_futex_wait(word, v, LOCK_PATIENCE_NS, true) == -ETIMEDOUT &&
		    holder_gone(v & TID_MASK) &&
		    __atomic_compare_exchange_n(word, &v, tid | TOE_LOCK_CONTENDED, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return 0;
	}
}

int shim_slot_lock(uint32_t *word)
{
	uint32_t free = 0, tid = shim_tid();

	if (likely(__atomic_compare_exchange_n(word, &free, tid, false, __ATOMIC_ACQUIRE,
					       __ATOMIC_RELAXED)))
		return 0;
	return slot_lock_slow(word, tid);
}

void shim_slot_unlock(uint32_t *word)
{
	if (unlikely(__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) & TOE_LOCK_CONTENDED))
		shim_futex_wake(word, 1, true);
}
