/*
 * shim_epoll_wait.c - handing out the events of a set: epoll_wait and its relatives.
 *
 * Under load no system call is made but one look at the kernel's set every KERNEL_LOOK_NS, so that
 * neither side starves the other.
 */
#include "shim_epoll.h"

#include <stdlib.h>
#include <string.h>

/* How long offloaded sockets may be served before the kernel's set is looked at. */
#define KERNEL_LOOK_NS 50000u
/* Without an event queue (all taken) a waiting thread looks at its sockets this often. */
#define NO_QUEUE_NS 1000000u

/* all_ready makes every item of queue q a candidate; the judgement comes when they are reported. */
static void all_ready(struct set *set, struct queue *q)
{
	for (uint32_t slot = 0; slot < q->region->nslots; slot++)
		for (struct shim_item *it = q->items[slot]; it; it = it->same)
			shim_ready_add(set, it);
}

/* candidates puts the items of a slot into the ready list and reports whether there is news in that
 * for who polls the set itself. */
static bool candidates(struct set *set, struct queue *q, uint32_t slot)
{
	bool news = false;

	for (struct shim_item *it = q->items[slot]; it; it = it->same) {
		shim_ready_add(set, it);
		news |= set->watched && shim_item_mask(it);
	}
	return news;
}

/* drain moves what toed pushed to the ready list, and reports whether that is news for who polls
 * the set itself. */
static bool drain(struct set *set)
{
	bool news = false;

	for (int i = 0; i < set->nqueues; i++) {
		struct queue *q = &set->queue[i];
		struct toe_shm_eq *eq;
		uint32_t cons, slot;

		if (unlikely(!shim_region_ok(q->region))) {
			if (!q->lost)
				all_ready(set, q);
			q->lost = true;
			continue;
		}
		if (unlikely(q->eq < 0)) {
			all_ready(set, q);
			continue;
		}
		eq = &q->region->eq[q->eq];
		if (unlikely(load_relaxed(&eq->overflow)) &&
		    __atomic_exchange_n(&eq->overflow, 0, __ATOMIC_SEQ_CST))
			all_ready(set, q);
		cons = load_relaxed(&eq->cons);
		while ((slot = load_acquire(&eq->entry[cons % TOE_EQ_ENTRIES])) != 0) {
			store_relaxed(&eq->entry[cons % TOE_EQ_ENTRIES], 0);
			store_release(&eq->cons, ++cons);
			if (slot >= q->region->nslots)
				continue;
			shim_eq_took(&q->region->slot[slot], (uint32_t)q->eq);
			news |= candidates(set, q, slot);
		}
	}
	return news;
}

/* pushed reports whether there is anything for drain. */
static bool pushed(struct set *set)
{
	for (int i = 0; i < set->nqueues; i++) {
		struct queue *q = &set->queue[i];
		struct toe_shm_eq *eq;

		if (!shim_region_ok(q->region)) {
			if (!q->lost)
				return true;
			continue;
		}
		if (q->eq < 0)
			continue;
		eq = &q->region->eq[q->eq];
		if (load_acquire(&eq->entry[load_relaxed(&eq->cons) % TOE_EQ_ENTRIES]) ||
		    load_relaxed(&eq->overflow))
			return true;
	}
	return false;
}

static void disarm(int epfd, struct shim_item *it)
{
	struct epoll_event none = {.events = EPOLLONESHOT,
				   .data.u64 =
					   shim_epoll_cookie(COOKIE_LISTENER + (uint32_t)it->fd)};

	it->disarmed = true;
	if (it->in_kernel)
		shim_real()->epoll_ctl(epfd, EPOLL_CTL_MOD, it->fd, &none);
}

/* report takes up to max events off the ready list. */
static int report(struct set *set, int epfd, uint32_t turn, struct epoll_event *events, int max)
{
	int n = 0;

	for (uint32_t left = set->nready; left > 0 && n < max; left--) {
		struct shim_item *it = (struct shim_item *)set->ready.next;
		uint32_t mask;

		shim_ready_remove(set, it);
		mask = shim_item_mask(it);
		if (mask == 0)
			continue;
		if (it->turn != turn) {
			it->turn = turn;
			events[n].events = mask;
			events[n++].data = it->data;
		}
		if (it->events & EPOLLONESHOT)
			disarm(epfd, it);
		else if (!(it->events & EPOLLET))
			shim_ready_add(set, it);
	}
	return n;
}

/* rearm undoes a report of the kernel's that the program is not to see. */
static void rearm(int epfd, struct shim_item *it)
{
	struct epoll_event e = {.events = it->events,
				.data.u64 = shim_epoll_cookie(COOKIE_LISTENER + (uint32_t)it->fd)};

	shim_real()->epoll_ctl(epfd, EPOLL_CTL_MOD, it->fd, &e);
}

/* translate turns what the kernel reported into what the program may see: our own registrations are
 * taken out, a listener's cookie becomes its data. Returns how many events are left. */
static int translate(struct set *set, int epfd, uint32_t turn, struct epoll_event *events, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++) {
		uint32_t which = (uint32_t)events[i].data.u64;
		struct shim_item **c, *it;

		if (likely(!shim_epoll_is_cookie(events[i].data.u64))) {
			events[kept++] = events[i];
			continue;
		}
		if (which == COOKIE_TOED)
			shim_toed_alive();
		if (which < COOKIE_LISTENER)
			continue;
		c = shim_set_cell(set, (int)(which - COOKIE_LISTENER), false);
		it = c ? *c : NULL;
		if (!it || it->disarmed || it->turn == turn)
			continue;
		if (it->inner && !shim_epoll_readable(&it->inner->obj)) {
			if (it->events & EPOLLONESHOT)
				rearm(epfd, it);
			continue;
		}
		it->turn = turn;
		if (it->events & EPOLLONESHOT)
			it->disarmed = true;
		events[kept].events = events[i].events;
		events[kept++].data = it->data;
	}
	return kept;
}

static int ask_kernel(struct set *set, int epfd, uint32_t turn, struct epoll_event *events, int max)
{
	int n = shim_real()->epoll_pwait(epfd, events, max, 0, NULL);

	set->kernel_looked = shim_now();
	return n < 0 ? n : translate(set, epfd, turn, events, n);
}

/* harvest collects what is ready now, without blocking. The kernel's share comes first when it is
 * its turn, and leaves half of the room. With final set nobody looks again before the program is
 * told that nothing is ready. */
static int harvest(struct set *set, int epfd, struct epoll_event *events, int max, bool final)
{
	uint32_t turn = ++set->turn;
	int n = 0, got;
	uint64_t now = shim_now();
	bool due = now - set->kernel_looked >= KERNEL_LOOK_NS;

	drain(set);
	if (due && set->nready) {
		n = ask_kernel(set, epfd, turn, events, max > 1 ? max / 2 : 1);
		if (n < 0)
			return n;
	}
	if (n < max)
		n += report(set, epfd, turn, events + n, max - n);
	if ((final && n == 0) || (due && n < max && set->kernel_looked < now)) {
		got = ask_kernel(set, epfd, turn, events + n, max - n);
		if (got < 0)
			return n ? n : got;
		n += got;
	}
	return n;
}

static void set_sleeping(struct set *set, uint32_t value)
{
	for (int i = 0; i < set->nqueues; i++)
		if (set->queue[i].eq >= 0)
			shim_queue_sleeps(&set->queue[i], value);
}

/* any_ready judges the ready list without taking from it. */
static bool any_ready(struct set *set)
{
	for (struct link *l = set->ready.next; l != &set->ready; l = l->next)
		if (shim_item_mask((struct shim_item *)l))
			return true;
	return false;
}

/* listen_again asks to be woken for what comes from now on. What has come meanwhile wakes at once. */
static void listen_again(struct set *set)
{
	set_sleeping(set, 1);
	fence_seq();
	drain(set);
	if (any_ready(set))
		shim_set_kick(set);
}

/* rest leaves a set so that its descriptor becomes readable when it should, if somebody polls it,
 * and that the next news wakes another thread that sleeps on it: whoever was woken has used the
 * queues' flag up, and may be away for long. */
static void rest(struct set *set)
{
	if (!set->watched && !set->sleepers)
		return;
	listen_again(set);
}

/* calm makes the kernel find a set not readable of which nothing is ready. Who has pushed meanwhile
 * may have signalled before, and would not again: the queues' flag is used up. */
static void calm(struct set *set)
{
	uint64_t count;

	if (set->event_fd < 0 ||
	    shim_real()->read(set->event_fd, &count, sizeof count) != sizeof count)
		return;
	listen_again(set);
}

/* look_in does for a set and those in it what toed does while somebody sleeps: what is new makes
 * the descriptor readable, once. What has been dealt with no longer does. */
static bool look_in(struct set *set)
{
	bool signalled = false, ready;

	shim_mutex_lock(&set->lock);
	for (struct shim_item *it = set->nested; it; it = it->same)
		look_in(it->inner);
	for (int i = 0; i < set->nqueues; i++) {
		struct queue *q = &set->queue[i];

		signalled |= q->armed && q->eq >= 0 && shim_region_ok(q->region) &&
			     !load_relaxed(&q->region->eq[q->eq].sleeping);
	}
	if (!set->watched) {
		set->watched = true;
		signalled = false;
		rest(set);
	} else {
		set_sleeping(set, 1);
		fence_seq();
		if (drain(set) && !signalled)
			shim_set_kick(set);
	}
	ready = any_ready(set);
	if (!ready)
		calm(set);
	shim_mutex_unlock(&set->lock);
	return ready;
}

void shim_epoll_watch(struct shim_obj *o)
{
	look_in((struct set *)o);
}

bool shim_epoll_readable(struct shim_obj *o)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};

	if (look_in((struct set *)o))
		return true;
	p.fd = shim_set_epfd((struct set *)o);
	return p.fd >= 0 && shim_real()->poll(&p, 1, 0) > 0;
}

static int milliseconds(uint64_t deadline)
{
	uint64_t now = shim_now(), left = deadline > now ? deadline - now : 0;

	if (deadline == SHIM_FOREVER)
		return -1;
	left = (left + 999999) / 1000000;
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

/* spin polls the queues for a moment: often the next event is only microseconds away. Called and
 * left with the lock held, which is free meanwhile. */
static bool spin(struct set *set, uint64_t deadline)
{
	uint64_t end = shim_now() + shim_config.spin_ns;
	bool found = false;

	if (deadline < end)
		end = deadline;
	shim_mutex_unlock(&set->lock);
	while (!found && shim_now() < end)
		found = pushed(set);
	shim_mutex_lock(&set->lock);
	return found;
}

/* interrupts reports whether a signal waits that mask lets in. */
static bool interrupts(const sigset_t *mask)
{
	sigset_t waiting;

	if (!mask || shim_confined || sigpending(&waiting) < 0)
		return false;
	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(&waiting, sig) == 1 && sigismember(mask, sig) == 0)
			return true;
	return false;
}

/* all_level makes every level-triggered item a candidate. */
static void all_level(struct set *set)
{
	for (int i = 0; i < set->nqueues; i++)
		for (uint32_t slot = 0; slot < set->queue[i].region->nslots; slot++)
			for (struct shim_item *it = set->queue[i].items[slot]; it; it = it->same)
				if (!(it->events & EPOLLET))
					shim_ready_add(set, it);
}

/* block sleeps in the kernel until either side has news. Called and left with the lock held. */
static int block(struct set *set, int epfd, struct epoll_event *events, int max, uint64_t deadline,
		 const sigset_t *mask)
{
	int n, timeout = milliseconds(deadline);

	set_sleeping(set, 1);
	fence_seq();
	/* What is ready comes before a signal, even if toed is just about to push it. */
	if (unlikely(interrupts(mask)))
		all_level(set);
	if (pushed(set) || any_ready(set))
		return 0;
	if (set->short_of_queues && (timeout < 0 || timeout > (int)(NO_QUEUE_NS / 1000000u)))
		timeout = NO_QUEUE_NS / 1000000u;
	set->sleepers++;
	shim_mutex_unlock(&set->lock);
	n = shim_real()->epoll_pwait(epfd, events, max, timeout, mask);
	shim_mutex_lock(&set->lock);
	if (--set->sleepers == 0)
		set_sleeping(set, 0);
	set->kernel_looked = shim_now();
	return n;
}

/* wait_set may end early when listeners have to be looked after; alarms is from before they were.
 */
static int wait_set(struct set *set, int epfd, struct epoll_event *events, int max,
		    uint64_t deadline, const sigset_t *mask, uint32_t alarms)
{
	int n;

	for (;;) {
		uint32_t turn;

		for (struct shim_item *it = set->nested; it; it = it->same)
			look_in(it->inner);
		if (set->nqueues > 0) {
			n = harvest(set, epfd, events, max, deadline == 0);
			if (n != 0 || deadline == 0)
				return n;
			if (spin(set, deadline))
				continue;
		}
		/* What comes after this look wakes us. */
		n = block(set, epfd, events, max, unlikely(shim_alarmed(alarms)) ? 0 : deadline,
			  mask);
		if (n < 0)
			return n;
		turn = ++set->turn;
		n = translate(set, epfd, turn, events, n);
		drain(set);
		if (n < max)
			n += report(set, epfd, turn, events + n, max - n);
		if (n > 0)
			return n;
		if ((deadline != SHIM_FOREVER && shim_now() >= deadline) || shim_alarmed(alarms))
			return 0;
	}
}

/* wait_kernel waits on a set that is none of ours. It may be another process's: then its cookies
 * and what they stand for are not for us. */
static int wait_kernel(int epfd, struct epoll_event *events, int max, uint64_t deadline,
		       const sigset_t *mask)
{
	int n, kept;

	do {
		n = shim_real()->epoll_pwait(epfd, events, max, milliseconds(deadline), mask);
		kept = 0;
		for (int i = 0; i < n; i++)
			if (likely(!shim_epoll_is_cookie(events[i].data.u64)))
				events[kept++] = events[i];
	} while (unlikely(n > 0 && kept == 0 && deadline != 0 && shim_now() < deadline));
	return n < 0 ? n : kept;
}

static int wait_until(int epfd, struct epoll_event *events, int max, uint64_t deadline,
		      const sigset_t *mask)
{
	struct set *set = shim_set_get(epfd, false);
	int n, saved = errno;

	if (!set || max <= 0) {
		if (set)
			shim_obj_put(&set->obj);
		return wait_kernel(epfd, events, max, deadline, mask);
	}
	if (unlikely(set->stale))
		shim_set_renew(set, epfd);
	do {
		uint32_t alarms = load_acquire(&shim_session.alarms);
		uint64_t look = shim_relisten(), until = look < deadline ? look : deadline;

		shim_mutex_lock(&set->lock);
		n = wait_set(set, epfd, events, max, until, mask, alarms);
		rest(set);
		shim_mutex_unlock(&set->lock);
	} while (unlikely(n == 0 && deadline != 0 && shim_now() < deadline));
	shim_obj_put(&set->obj);
	if (n >= 0)
		errno = saved;
	return n;
}

static uint64_t deadline_of(int timeout)
{
	struct timespec t = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000l};

	return shim_deadline(timeout < 0 ? NULL : &t);
}

SHIM_API int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	return wait_until(epfd, events, max, deadline_of(timeout), NULL);
}

SHIM_API int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout,
			 const sigset_t *mask)
{
	return wait_until(epfd, events, max, deadline_of(timeout), mask);
}

SHIM_API int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *t,
			  const sigset_t *mask)
{
	if (!shim_time_ok(t))
		return (int)shim_result(-EINVAL);
	return wait_until(epfd, events, max, shim_deadline(t), mask);
}
