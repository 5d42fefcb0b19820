/*
 * shim_poll.c - poll and select over kernel descriptors and offloaded sockets together.
 *
 * A thread that has to wait has one eventfd, and one event queue in each region that it waits on.
 * It sets the queue's bit in the slots, looks at everything once more, and blocks in the kernel's
 * ppoll with its eventfd beside the other descriptors. The control connection is there too, so that
 * toed's end wakes whoever waits.
 */
#include "shim.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define POLLER_REGIONS 8
/* Without an event queue (all taken) a waiting thread looks again this often. */
#define NO_QUEUE_NS 1000000ull
#define ON_STACK 256

struct poller_queue {
	struct shim_region *region; /* held */
	uint32_t eq;
};

struct poller {
	int event_fd;
	uint32_t nqueues;
	uint32_t session; /* the queues are of this one */
	struct poller_queue queue[POLLER_REGIONS];
	struct poller *next;
	void *slab_link;
};

static __thread struct poller *mine __attribute__((tls_model("initial-exec")));
static struct shim_slab pollers = {.size = sizeof(struct poller)};
static struct shim_mutex list_lock;
static struct poller *list;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

/* leave gives up the last of the poller's queues, which toed has if the session is the same. */
static void leave(struct poller *p)
{
	struct shim_region *r = p->queue[--p->nqueues].region;

	if (p->session == shim_session.number)
		shim_eq_free(r, p->queue[p->nqueues].eq);
	shim_region_drop(r);
}

static void release(struct poller *p)
{
	struct poller **at;

	while (p->nqueues > 0)
		leave(p);
	shim_mutex_lock(&list_lock);
	for (at = &list; *at && *at != p; at = &(*at)->next)
		;
	if (*at)
		*at = p->next;
	shim_mutex_unlock(&list_lock);
	shim_fd_unhide(&p->event_fd);
	shim_slab_give(&pollers, p);
}

static void thread_end(void *p)
{
	mine = NULL;
	release(p);
}

static void make_key(void)
{
	pthread_key_create(&key, thread_end);
}

static struct poller *poller(void)
{
	int fd;

	if (mine)
		return mine;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	mine = shim_slab_take(&pollers);
	if (!mine) {
		shim_real()->close(fd);
		return NULL;
	}
	memset(mine, 0, sizeof *mine);
	shim_fd_hide_waker(fd, &mine->event_fd);
	mine->session = shim_session.number;
	shim_mutex_lock(&list_lock);
	mine->next = list;
	list = mine;
	shim_mutex_unlock(&list_lock);
	pthread_once(&key_once, make_key);
	pthread_setspecific(key, mine);
	return mine;
}

/* One call's view: the caller's array, and what it becomes for the kernel. */
struct waiting {
	struct pollfd *fds;	 /* the caller's */
	struct pollfd *kernel;	 /* what is for the kernel, and two: eventfd, toed's hang-up */
	struct shim_sock **sock; /* NULL: not offloaded; with a reference */
	int *at;		 /* which entry of kernel; -1 none */
	nfds_t n;
	nfds_t offloaded;
	nfds_t in_kernel;  /* entries of kernel, but for the two */
	nfds_t most;	   /* the kernel takes no more at once */
	nfds_t sets;	   /* so many are epoll sets */
	bool queues_short; /* a queue could not be had */
	uint32_t alarms;   /* before listeners were looked after */
};

static bool waits_on(const struct waiting *w, const struct shim_region *r)
{
	for (nfds_t i = 0; i < w->n; i++)
		if (w->sock[i] && load_relaxed(&w->sock[i]->region) == r)
			return true;
	return false;
}

/* make_room gives up a queue of a region that w, if any, does not wait on. */
static void make_room(struct poller *p, const struct waiting *w)
{
	for (uint32_t i = 0; w && i < p->nqueues; i++) {
		if (waits_on(w, p->queue[i].region))
			continue;
		struct poller_queue last = p->queue[p->nqueues - 1];

		p->queue[p->nqueues - 1] = p->queue[i];
		p->queue[i] = last;
		leave(p);
		return;
	}
}

/* queue_for returns the index in p->queue of the event queue in r, -1 if none can be had. */
static int queue_for(struct poller *p, struct shim_region *r, const struct waiting *w)
{
	int eq;

	for (uint32_t i = 0; i < p->nqueues; i++)
		if (p->queue[i].region == r)
			return (int)i;
	if (p->nqueues == POLLER_REGIONS)
		make_room(p, w);
	if (p->nqueues == POLLER_REGIONS)
		return -1;
	eq = shim_eq_alloc(r, p->event_fd);
	if (eq < 0)
		return -1;
	shim_region_hold(r);
	p->queue[p->nqueues].region = r;
	p->queue[p->nqueues].eq = (uint32_t)eq;
	return (int)p->nqueues++;
}

/* Of a child, the parent's threads and their queues are not there. */
void shim_poll_after_fork(void)
{
	struct poller *p;

	list_lock = pollers.lock = (struct shim_mutex){0};
	while ((p = list)) {
		list = p->next;
		while (p->nqueues > 0)
			shim_region_drop(p->queue[--p->nqueues].region);
		shim_fd_unhide(&p->event_fd);
		shim_slab_give(&pollers, p);
	}
	mine = NULL;
	pthread_once(&key_once, make_key);
	pthread_setspecific(key, NULL);
}

/* drain_queues empties the queues: every socket is looked at anyway. */
static void drain_queues(struct poller *p)
{
	for (uint32_t i = 0; i < p->nqueues; i++) {
		struct shim_region *r = p->queue[i].region;
		uint32_t eq = p->queue[i].eq;
		struct toe_shm_eq *q = &r->eq[eq];
		uint32_t cons = load_relaxed(&q->cons), slot;

		if (!shim_region_ok(r))
			continue;
		__atomic_store_n(&q->overflow, 0, __ATOMIC_SEQ_CST);
		while ((slot = load_acquire(&q->entry[cons % TOE_EQ_ENTRIES])) != 0) {
			store_relaxed(&q->entry[cons % TOE_EQ_ENTRIES], 0);
			store_release(&q->cons, ++cons);
			if (slot < r->nslots)
				shim_eq_took(&r->slot[slot], eq);
		}
	}
}

static void drain(struct poller *p)
{
	uint64_t count;

	(void)!shim_real()->read(p->event_fd, &count, sizeof count);
	drain_queues(p);
}

static void set_sleeping(struct poller *p, uint32_t value)
{
	for (uint32_t i = 0; i < p->nqueues; i++)
		__atomic_store_n(&p->queue[i].region->eq[p->queue[i].eq].sleeping, value,
				 __ATOMIC_SEQ_CST);
}

static void to_kernel(struct waiting *w, nfds_t i, int fd)
{
	w->at[i] = (int)w->in_kernel;
	w->kernel[w->in_kernel++] = (struct pollfd){.fd = fd, .events = w->fds[i].events};
}

static void collect(struct waiting *w)
{
	for (nfds_t i = 0; i < w->n; i++) {
		struct shim_obj *o = w->fds[i].fd >= 0 ? shim_obj_get(w->fds[i].fd) : NULL;
		uint8_t role;

		w->sock[i] = NULL;
		w->at[i] = -1;
		if (o && o->kind == SHIM_EPOLL) {
			shim_epoll_watch(o);
			w->sets++;
		}
		role = o && o->kind == SHIM_SOCK ? shim_role((struct shim_sock *)o) : SHIM_KERNEL;
		if (role == SHIM_CONN || role == SHIM_LISTENER) {
			w->sock[i] = (struct shim_sock *)o;
			w->offloaded++;
		} else if (o) {
			shim_obj_put(o);
		}
		/* The placeholder of a connection has nothing to say. */
		if (role != SHIM_CONN && w->fds[i].fd >= 0)
			to_kernel(w, i, w->fds[i].fd);
	}
}

static short ready_events(struct shim_sock *s, short events)
{
	uint32_t want = (uint32_t)(unsigned short)events | EPOLLERR | EPOLLHUP;

	return (short)(shim_ready(s, want) & want);
}

/* look returns how many of the caller's descriptors are ready, and fills in revents. */
static int look(struct waiting *w)
{
	int ready = 0;

	for (nfds_t i = 0; i < w->n; i++) {
		w->fds[i].revents = w->at[i] >= 0 ? w->kernel[w->at[i]].revents : 0;
		if (w->sock[i])
			w->fds[i].revents |= ready_events(w->sock[i], w->fds[i].events);
		/* Another thread may have closed it: what makes the kernel look again finds
		 * nothing. */
		if (w->sock[i] && w->at[i] < 0 && w->fds[i].revents &&
		    unlikely(!shim_fd_is(w->fds[i].fd, w->sock[i])))
			w->fds[i].revents = POLLNVAL;
		ready += w->fds[i].revents != 0;
	}
	return ready;
}

/* renew forgets queues that went with the control connection of another session. */
static void renew(struct poller *p)
{
	if (p->session != shim_session.number) {
		while (p->nqueues > 0)
			leave(p);
		p->session = shim_session.number;
	}
}

/* arm asks toed to tell our queues about the sockets; disarm takes that back. */
static void arm(struct waiting *w, struct poller *p)
{
	shim_attach();
	renew(p);
	for (nfds_t i = 0; i < w->n; i++) {
		struct shim_region *r = w->sock[i] ? load_acquire(&w->sock[i]->region) : NULL;
		int q;

		if (!r || !shim_region_ok(r))
			continue; /* nothing will be told */
		q = queue_for(p, r, w);
		if (q < 0)
			w->queues_short = true;
		else
			shim_eq_want(w->sock[i]->slot, p->queue[q].eq);
	}
}

static void disarm(struct waiting *w, struct poller *p)
{
	set_sleeping(p, 0);
	for (nfds_t i = 0; i < w->n; i++)
		for (uint32_t q = 0; w->sock[i] && q < p->nqueues; q++)
			if (p->queue[q].region == w->sock[i]->region)
				shim_eq_leave(w->sock[i]->slot, p->queue[q].eq);
	drain(p);
}

static struct timespec until(uint64_t deadline)
{
	uint64_t now = shim_now(), left = deadline > now ? deadline - now : 0;

	return (struct timespec){.tv_sec = (time_t)(left / 1000000000u),
				 .tv_nsec = (long)(left % 1000000000u)};
}

/* most_entries returns how many entries ppoll takes. */
static nfds_t most_entries(void)
{
	static nfds_t most = SHIM_FD_MAX;
	struct rlimit limit;

	if (!shim_confined && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		store_relaxed(&most, (nfds_t)limit.rlim_cur);
	return load_relaxed(&most);
}

/* unreadable takes out the sets that the kernel found readable though they are not, and returns how
 * many those are. */
static int unreadable(struct waiting *w)
{
	int n = 0;

	for (nfds_t i = 0; i < w->in_kernel; i++) {
		struct pollfd *p = &w->kernel[i];
		struct shim_obj *o = p->revents & POLLIN ? shim_obj_get(p->fd) : NULL;

		if (o && o->kind == SHIM_EPOLL && !shim_epoll_readable(o)) {
			p->revents = 0;
			n++;
		}
		if (o)
			shim_obj_put(o);
	}
	return n;
}

/* ask_kernel polls the caller's kernel descriptors and, with p, its eventfd and toed. Where the
 * kernel takes no more entries than the caller's, a connection has made room for the eventfd. */
static int ask_kernel(struct waiting *w, struct poller *p, uint64_t deadline, const sigset_t *mask)
{
	struct timespec t = until(deadline);
	nfds_t n = w->in_kernel;
	int rc;

	w->kernel[n] = w->kernel[n + 1] = (struct pollfd){.fd = -1};
	if (p && p->event_fd >= 0)
		w->kernel[n++] = (struct pollfd){.fd = p->event_fd, .events = POLLIN};
	/* One that has hung up would be ready all the time. */
	if (p && n < w->most && shim_attached())
		w->kernel[n++] = (struct pollfd){.fd = shim_session.control};
	rc = shim_real()->ppoll(w->kernel, n, deadline == SHIM_FOREVER ? NULL : &t, mask);
	return rc > 0 && w->sets > 0 ? rc - unreadable(w) : rc;
}

static int wait_armed(struct waiting *w, struct poller *p, uint64_t deadline, const sigset_t *mask)
{
	for (;;) {
		uint64_t next = deadline,
			 brief = w->queues_short ? shim_now() + NO_QUEUE_NS : deadline;
		int rc;

		set_sleeping(p, 1);
		/* An entry that came after the last wait had ended was not signalled, and as long
		 * as it stands there toed has no reason to signal again. */
		drain_queues(p);
		fence_seq();
		if ((rc = look(w)) > 0)
			return w->in_kernel && ask_kernel(w, NULL, 0, NULL) < 0 ? -1 : look(w);
		if (brief < next)
			next = brief;
		if (unlikely(shim_alarmed(w->alarms)))
			next = 0; /* what comes from here on wakes us */
		rc = ask_kernel(w, p, next, mask);
		if (rc < 0)
			return -1;
		if (rc > 0 && w->kernel[w->in_kernel + 1].revents)
			shim_toed_alive();
		if (rc > 0 && w->kernel[w->in_kernel].revents)
			drain(p);
		rc = look(w);
		if (rc > 0 || (deadline != SHIM_FOREVER && shim_now() >= deadline) ||
		    shim_alarmed(w->alarms))
			return rc;
	}
}

/* spin looks at the offloaded sockets for a moment before the costly way. Somebody else's
 * descriptors would not profit: with those in the set the kernel is asked first. */
static bool spin(struct waiting *w, uint64_t deadline)
{
	uint64_t end = shim_now() + shim_config.spin_ns;

	if (deadline < end)
		end = deadline;
	do {
		for (nfds_t i = 0; i < w->n; i++)
			if (w->sock[i] && ready_events(w->sock[i], w->fds[i].events))
				return true;
	} while (shim_now() < end);
	return false;
}

/* lone returns the one connection that the caller asks about, NULL if there is more than that. */
static struct shim_sock *lone(struct waiting *w)
{
	if (w->in_kernel > 0 || w->offloaded != 1)
		return NULL;
	for (nfds_t i = 0; i < w->n; i++)
		if (w->sock[i])
			return w->sock[i];
	return NULL;
}

/* wait_lone sleeps on the connection's futex, as a read would: it needs no event queue, of which
 * there are not as many as threads, and no descriptor. */
static int wait_lone(struct waiting *w, struct shim_sock *s, uint64_t deadline)
{
	for (;;) {
		uint32_t seq = load_acquire(&s->slot->event_seq);
		int rc = look(w);

		if (rc > 0 || shim_alarmed(w->alarms))
			return rc;
		rc = shim_wait_slot(s->region, s->slot, seq, deadline, SHIM_NO_RESTART);
		if (rc == -EINTR)
			return (int)shim_result(rc);
		if (rc == -ETIMEDOUT)
			return look(w);
	}
}

/* wait_without waits where there is no descriptor left for an eventfd. */
static int wait_without(struct waiting *w, uint64_t deadline, const sigset_t *mask)
{
	int rc;

	do {
		uint64_t brief = shim_now() + NO_QUEUE_NS;

		if (ask_kernel(w, NULL, brief < deadline ? brief : deadline, mask) < 0)
			return -1;
		rc = look(w);
	} while (rc == 0 && shim_now() < deadline && !shim_alarmed(w->alarms));
	return rc;
}

/* wait_mixed may end early when listeners have to be looked after. */
static int wait_mixed(struct waiting *w, uint64_t deadline, const sigset_t *mask)
{
	struct shim_sock *alone = mask ? NULL : lone(w);
	struct poller *p;
	int rc, saved;

	if (w->in_kernel && look(w) == 0 && deadline != 0) {
		rc = ask_kernel(w, NULL, 0, mask);
		if (rc != 0)
			return rc < 0 ? rc : look(w);
	}
	if (spin(w, deadline) || shim_now() >= deadline) {
		/* A signal that only mask lets in comes second to what is ready. */
		if (look(w) > 0)
			mask = NULL;
		if ((w->in_kernel || mask) && ask_kernel(w, NULL, 0, mask) < 0)
			return -1;
		return look(w);
	}
	if (alone)
		return wait_lone(w, alone, deadline);
	p = poller();
	w->most = most_entries();
	if (!p || w->in_kernel >= w->most)
		return wait_without(w, deadline, mask);
	arm(w, p);
	rc = wait_armed(w, p, deadline, mask);
	saved = errno;
	disarm(w, p);
	errno = saved;
	return rc;
}

/* poll_until is shim_poll, but may end early with nothing ready. */
static int poll_until(struct pollfd *fds, nfds_t n, uint64_t deadline, const sigset_t *mask,
		      uint32_t alarms)
{
	struct pollfd kernel[ON_STACK + 2];
	struct shim_sock *sock[ON_STACK];
	int at[ON_STACK];
	struct waiting w = {
		.fds = fds, .kernel = kernel, .sock = sock, .at = at, .n = n, .alarms = alarms};
	size_t bytes = (n + 2) * (sizeof *kernel + sizeof *sock + sizeof *at);
	struct timespec t = until(deadline);
	int rc, saved = errno;

	if (n > SHIM_FD_MAX || (n > ON_STACK && n > most_entries()))
		return shim_real()->ppoll(fds, n, deadline == SHIM_FOREVER ? NULL : &t, mask);
	if (n > ON_STACK) {
		w.sock = shim_pages(bytes);
		if (!w.sock)
			return (int)shim_result(-ENOMEM);
		w.kernel = (struct pollfd *)(w.sock + n + 2);
		w.at = (int *)(w.kernel + n + 2);
	}
	collect(&w);
	if (w.offloaded == 0 && w.sets == 0)
		rc = shim_real()->ppoll(fds, n, deadline == SHIM_FOREVER ? NULL : &t, mask);
	else
		rc = wait_mixed(&w, deadline, mask);
	if (rc < 0)
		saved = errno;
	for (nfds_t i = 0; w.offloaded && i < n; i++)
		if (w.sock[i])
			shim_obj_put(&w.sock[i]->obj);
	if (n > ON_STACK)
		munmap(w.sock, bytes);
	errno = saved;
	return rc;
}

int shim_poll(struct pollfd *fds, nfds_t n, uint64_t deadline, const sigset_t *mask)
{
	int rc;

	do {
		uint32_t alarms = load_acquire(&shim_session.alarms);
		uint64_t look = shim_relisten();

		rc = poll_until(fds, n, look < deadline ? look : deadline, mask, alarms);
	} while (unlikely(rc == 0 && deadline != 0 && shim_now() < deadline));
	return rc;
}

int shim_poll_one(struct shim_sock *s, int fd, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events}, kernel[3];
	int rc, at, saved = errno;

	do {
		uint64_t look = shim_relisten(), until = look < deadline ? look : deadline;
		struct waiting w = {
			.fds = &p, .kernel = kernel, .sock = &s, .at = &at, .n = 1, .offloaded = 1};

		at = -1;
		if (shim_role(s) != SHIM_CONN)
			to_kernel(&w, 0, fd);
		rc = wait_mixed(&w, until, NULL);
	} while (unlikely(rc == 0 && deadline != 0 && shim_now() < deadline));
	if (rc >= 0)
		errno = saved;
	return rc;
}

void shim_poll_prepare(struct shim_region *r)
{
	struct poller *p = poller();

	most_entries();
	if (!p)
		return;
	renew(p);
	queue_for(p, r, NULL);
}

/* ours reports whether any of fds could be something of ours; nearly free when none is. */
static bool ours(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct shim_obj *o = fds[i].fd >= 0 ? shim_obj_get(fds[i].fd) : NULL;

		if (o) {
			shim_obj_put(o);
			return true;
		}
	}
	return false;
}

SHIM_API int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec t = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000l};

	if (!ours(fds, n))
		return shim_real()->poll(fds, n, timeout);
	return shim_poll(fds, n, shim_deadline(timeout < 0 ? NULL : &t), NULL);
}

SHIM_API int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t, const sigset_t *mask)
{
	if (!shim_time_ok(t) || !ours(fds, n))
		return shim_real()->ppoll(fds, n, t, mask);
	return shim_poll(fds, n, shim_deadline(t), mask);
}

_Noreturn void __chk_fail(void);

SHIM_API int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof *fds < n)
		__chk_fail();
	return poll(fds, n, timeout);
}

SHIM_API int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *t,
			 const sigset_t *mask, size_t room)
{
	if (room / sizeof *fds < n)
		__chk_fail();
	return ppoll(fds, n, t, mask);
}

/* ---- select: the same by another shape. A set may be larger than fd_set, up to n bits. ------- */

#define WORD_BITS (8 * sizeof(unsigned long))

static bool in_set(const fd_set *set, int fd)
{
	return set &&
	       ((const unsigned long *)set)[(size_t)fd / WORD_BITS] >> ((size_t)fd % WORD_BITS) & 1;
}

static void clear_set(fd_set *set, int n)
{
	if (set)
		memset(set, 0, ((size_t)n + WORD_BITS - 1) / WORD_BITS * sizeof(unsigned long));
}

static int add_set(fd_set *set, int fd, bool ready)
{
	if (!set || !ready)
		return 0;
	((unsigned long *)set)[(size_t)fd / WORD_BITS] |= 1ul << ((size_t)fd % WORD_BITS);
	return 1;
}

static short select_events(int fd, fd_set *r, fd_set *w, fd_set *x)
{
	return (short)((in_set(r, fd) ? POLLIN : 0) | (in_set(w, fd) ? POLLOUT : 0) |
		       (in_set(x, fd) ? POLLPRI : 0));
}

static bool select_ours(int n, fd_set *r, fd_set *w, fd_set *x)
{
	for (int fd = 0; fd < n; fd++) {
		struct shim_obj *o = select_events(fd, r, w, x) ? shim_obj_get(fd) : NULL;

		if (o) {
			shim_obj_put(o);
			return true;
		}
	}
	return false;
}

static int select_poll(int n, fd_set *r, fd_set *w, fd_set *x, uint64_t deadline,
		       const sigset_t *mask)
{
	size_t bytes = ((size_t)n + 1) * sizeof(struct pollfd);
	struct pollfd *fds = shim_pages(bytes);
	nfds_t count = 0;
	int rc, ready = 0;

	if (!fds)
		return (int)shim_result(-ENOMEM);
	for (int fd = 0; fd < n; fd++) {
		short events = select_events(fd, r, w, x);

		if (events)
			fds[count++] = (struct pollfd){.fd = fd, .events = events};
	}
	rc = shim_poll(fds, count, deadline, mask);
	for (nfds_t i = 0; rc > 0 && i < count; i++) {
		if (fds[i].revents & POLLNVAL) {
			errno = EBADF;
			rc = -1;
		}
	}
	if (rc >= 0) {
		clear_set(r, n);
		clear_set(w, n);
		clear_set(x, n);
		for (nfds_t i = 0; i < count; i++) {
			short e = fds[i].events, v = fds[i].revents;

			ready += add_set(r, fds[i].fd,
					 (e & POLLIN) && (v & (POLLIN | POLLHUP | POLLERR)));
			ready += add_set(w, fds[i].fd, (e & POLLOUT) && (v & (POLLOUT | POLLERR)));
			ready += add_set(x, fds[i].fd, (e & POLLPRI) && (v & POLLPRI));
		}
		rc = ready;
	}
	munmap(fds, bytes);
	return rc;
}

SHIM_API int select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t)
{
	struct timespec limit, left;
	uint64_t deadline = SHIM_FOREVER;
	int rc;

	if (n < 0 || n > SHIM_FD_MAX || (t && (t->tv_sec < 0 || t->tv_usec < 0)) ||
	    !select_ours(n, r, w, x))
		return shim_real()->select(n, r, w, x, t);
	if (t) {
		/* More than a second of microseconds is allowed here. */
		limit.tv_sec = t->tv_sec + t->tv_usec / 1000000;
		limit.tv_nsec = t->tv_usec % 1000000 * 1000;
		deadline = shim_deadline(&limit);
	}
	rc = select_poll(n, r, w, x, deadline, NULL);
	if (deadline != SHIM_FOREVER) {
		/* Linux leaves the time that was not used. */
		left = until(deadline);
		t->tv_sec = left.tv_sec;
		t->tv_usec = left.tv_nsec / 1000;
	}
	return rc;
}

SHIM_API int pselect(int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *t,
		     const sigset_t *mask)
{
	if (n < 0 || n > SHIM_FD_MAX || !shim_time_ok(t) || !select_ours(n, r, w, x))
		return shim_real()->pselect(n, r, w, x, t, mask);
	return select_poll(n, r, w, x, shim_deadline(t), mask);
}
