/*
 * shim_epoll.c - epoll sets that hold kernel descriptors and offloaded sockets together.
 *
 * The kernel's epoll instance is the blocking point. It holds what the kernel can tell about, and
 * one eventfd of ours. Every TCP socket in the set has an *item* here, bound by the socket's role:
 *
 *   undecided, kernel   the kernel's set, under the program's own data
 *   connection          an event queue of its region
 *   listener            both; in the kernel's set under a cookie, so that its two halves are
 *                       reported as one event
 *
 * toed pushes slots whose readiness may have changed into the event queue; their items come to the
 * ready list and are judged when they are handed out, as in Linux: a level-triggered item stays in
 * the list while it is ready, an edge-triggered one leaves it at once.
 *
 * Under load no system call is made but one look at the kernel's set every KERNEL_LOOK_NS, so that
 * neither side starves the other.
 *
 * Locks: topology, then a set's. An event queue has one consumer, the holder of the set's lock.
 */
#include "shim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>

/* How long offloaded sockets may be served before the kernel's set is looked at. */
#define KERNEL_LOOK_NS 50000u
/* Without an event queue (all taken) a waiting thread looks at its sockets this often. */
#define NO_QUEUE_NS 1000000u

#define SET_QUEUES 16 /* regions whose sockets one set can hold */
#define PAGE_ITEMS 512
#define SET_PAGES (SHIM_FD_MAX / PAGE_ITEMS)

/* Low half of the cookies under which we register in the kernel's set. */
#define COOKIE_EVENT 0u
#define COOKIE_TOED 1u
#define COOKIE_LISTENER 16u /* plus the descriptor */

#define ALWAYS (EPOLLERR | EPOLLHUP)

struct link {
	struct link *next, *prev;
};

struct set;

struct shim_item {
	struct link ready; /* in set->ready; next NULL when not */
	struct shim_sock *sock;
	struct set *set;
	struct shim_item *next, **prev; /* items of the same socket; under topology */
	struct shim_item *same;		/* items of the same set and slot */
	int fd;
	uint32_t events; /* as the program gave them */
	epoll_data_t data;
	uint32_t turn; /* the harvest that last reported it */
	uint32_t slot; /* bound to toed: the slot, and which of set->queue */
	int queue;     /* -1: not bound to toed */
	bool in_kernel;
	bool disarmed; /* one-shot, has fired */
	void *slab_link;
};

struct queue {
	struct shim_region *region;
	int eq;			  /* -1: none could be had */
	bool lost;		  /* the region's end has been reported */
	struct shim_item **items; /* by slot: first item, others by same */
};

struct set {
	struct shim_obj obj;
	struct shim_mutex lock;
	struct set *next; /* all sets; under topology */
	struct link ready;
	uint32_t nready;
	struct shim_item ***page; /* page[fd / PAGE_ITEMS][fd % PAGE_ITEMS] */
	struct queue queue[SET_QUEUES];
	int nqueues;
	int event_fd;
	uint32_t session;  /* whose control connection is registered */
	uint32_t sleepers; /* threads blocked in the kernel */
	uint32_t turn;
	bool watched; /* somebody polls the epoll descriptor */
	bool stale;   /* inherited by fork, not yet made our own */
	bool short_of_queues;
	uint64_t kernel_looked;
	void *slab_link;
};

static struct shim_mutex topology;
static struct set *sets;
static struct shim_slab set_slab = {.size = sizeof(struct set)};
static struct shim_slab item_slab = {.size = sizeof(struct shim_item)};
static uint64_t cookie_base;

static uint64_t cookie(uint32_t which)
{
	if (unlikely(!load_relaxed(&cookie_base))) {
		uint64_t none = 0, random = 0;

		if (getrandom(&random, sizeof random, 0) != sizeof random)
			random = shim_now() * 0x9e3779b97f4a7c15u;
		/* The upper half is no user-space pointer, no small number, and not zero. */
		random = (random | 1ull << 63 | 1ull << 32) & ~0xffffffffull;
		__atomic_compare_exchange_n(&cookie_base, &none, random, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	}
	return load_relaxed(&cookie_base) | which;
}

static bool is_cookie(uint64_t data)
{
	return (data & ~0xffffffffull) == (cookie(0) & ~0xffffffffull);
}

/* ---- sets ----------------------------------------------------------------------------------- */

static struct set *set_new(int epfd)
{
	struct set *set = shim_slab_take(&set_slab);

	if (!set)
		return NULL;
	memset((char *)set + sizeof set->obj.refs, 0, sizeof *set - sizeof set->obj.refs);
	set->obj.kind = SHIM_EPOLL;
	set->ready.next = set->ready.prev = &set->ready;
	set->event_fd = -1;
	store_release(&set->obj.refs, 1);
	shim_mutex_lock(&topology);
	set->next = sets;
	sets = set;
	shim_mutex_unlock(&topology);
	shim_fd_bind(epfd, &set->obj);
	return set;
}

/* set_get returns the set behind epfd with a reference; with make, one is made for an epoll
 * descriptor that the process did not create itself. */
static struct set *set_get(int epfd, bool make)
{
	struct shim_obj *o = shim_obj_get(epfd);

	if (o && o->kind == SHIM_EPOLL)
		return (struct set *)o;
	if (o) {
		shim_obj_put(o);
		return NULL;
	}
	return make && !shim_foreign() ? set_new(epfd) : NULL;
}

static struct shim_item **cell(struct set *set, int fd, bool make)
{
	struct shim_item ***page;

	if (fd < 0 || fd >= SHIM_FD_MAX)
		return NULL;
	if (!set->page) {
		if (!make)
			return NULL;
		set->page = shim_pages(SET_PAGES * sizeof *set->page);
		if (!set->page)
			return NULL;
	}
	page = &set->page[fd / PAGE_ITEMS];
	if (!*page && make)
		*page = shim_pages(PAGE_ITEMS * sizeof **page);
	return *page ? &(*page)[fd % PAGE_ITEMS] : NULL;
}

static void kick(struct set *set)
{
	uint64_t one = 1;

	if (set->event_fd >= 0 && (set->sleepers || set->watched))
		(void)!shim_real()->write(set->event_fd, &one, sizeof one);
}

static void ready_add(struct set *set, struct shim_item *it)
{
	if (it->ready.next)
		return;
	it->ready.prev = set->ready.prev;
	it->ready.next = &set->ready;
	set->ready.prev->next = &it->ready;
	set->ready.prev = &it->ready;
	set->nready++;
}

static void ready_remove(struct set *set, struct shim_item *it)
{
	if (!it->ready.next)
		return;
	it->ready.prev->next = it->ready.next;
	it->ready.next->prev = it->ready.prev;
	it->ready.next = NULL;
	set->nready--;
}

static uint32_t item_mask(struct shim_item *it)
{
	uint32_t want = it->events | ALWAYS;

	return it->disarmed ? 0 : shim_ready(it->sock, want) & want;
}

/* item_judge puts an item that is ready where epoll_wait finds it. */
static void item_judge(struct shim_item *it)
{
	if (it->queue >= 0 && item_mask(it)) {
		ready_add(it->set, it);
		kick(it->set);
	}
}

/* ---- binding -------------------------------------------------------------------------------- */

static int register_own(int epfd, int fd, uint32_t events, uint32_t which)
{
	struct epoll_event e = {.events = events, .data.u64 = cookie(which)};

	return shim_real()->epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* set_equip gives the set its eventfd, and the control connection of the present session. */
static int set_equip(struct set *set, int epfd)
{
	int fd;

	if (set->event_fd < 0) {
		fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fd < 0)
			return -errno;
		shim_fd_hide(fd, &set->event_fd);
		/* Edge-triggered: a wake-up needs no read. */
		if (register_own(epfd, set->event_fd, EPOLLIN | EPOLLET, COOKIE_EVENT) < 0)
			return -ENOSPC;
	}
	if (set->session != shim_session.number && shim_attach() == 0) {
		register_own(epfd, shim_session.control, EPOLLRDHUP | EPOLLET, COOKIE_TOED);
		set->session = shim_session.number;
	}
	return 0;
}

static void queue_sleeps(struct queue *q, uint32_t value)
{
	__atomic_store_n(&q->region->eq[q->eq].sleeping, value, __ATOMIC_SEQ_CST);
}

/* queue_for returns the index of the set's queue in region r, making it when it is new; -errno. */
static int queue_for(struct set *set, int epfd, struct shim_region *r)
{
	struct queue *q;
	int rc;

	for (int i = 0; i < set->nqueues; i++)
		if (set->queue[i].region == r)
			return i;
	rc = set_equip(set, epfd);
	if (rc < 0)
		return rc;
	if (set->nqueues == SET_QUEUES)
		return -ENOSPC;
	q = &set->queue[set->nqueues];
	q->items = shim_pages(r->nslots * sizeof *q->items);
	if (!q->items)
		return -ENOMEM;
	q->region = r;
	q->lost = false;
	q->eq = shim_region_ok(r) ? shim_eq_alloc(r, set->event_fd) : -1;
	if (q->eq < 0)
		set->short_of_queues |= shim_region_ok(r);
	else if (set->sleepers || set->watched)
		queue_sleeps(q, 1); /* who sleeps already wants to hear of this queue too */
	return set->nqueues++;
}

static int toed_bind(struct set *set, int epfd, struct shim_item *it)
{
	struct shim_sock *s = it->sock;
	int i = queue_for(set, epfd, s->region);
	struct queue *q;

	if (i < 0)
		return i;
	q = &set->queue[i];
	it->queue = i;
	it->slot = s->slot_no;
	it->same = q->items[it->slot];
	q->items[it->slot] = it;
	if (q->eq >= 0)
		__atomic_fetch_or(&s->slot->eq_mask, 1ull << q->eq, __ATOMIC_SEQ_CST);
	fence_seq();
	item_judge(it);
	return 0;
}

static void toed_unbind(struct shim_item *it)
{
	struct queue *q = &it->set->queue[it->queue];
	struct shim_item **at;

	for (at = &q->items[it->slot]; *at && *at != it; at = &(*at)->same)
		;
	if (*at)
		*at = it->same;
	it->same = NULL;
	if (!q->items[it->slot] && q->eq >= 0)
		__atomic_fetch_and(&q->region->slot[it->slot].eq_mask, ~(1ull << q->eq),
				   __ATOMIC_SEQ_CST);
	it->queue = -1;
	ready_remove(it->set, it);
}

static int kernel_ctl(int epfd, int op, struct shim_item *it)
{
	struct epoll_event e = {.events = it->events, .data = it->data};

	if (shim_role(it->sock) == SHIM_LISTENER)
		e.data.u64 = cookie(COOKIE_LISTENER + (uint32_t)it->fd);
	return shim_real()->epoll_ctl(epfd, op, it->fd, &e) < 0 ? -errno : 0;
}

struct search {
	struct shim_obj *o;
	int fd;
};

static void search_fd(int fd, struct shim_obj *o, void *arg)
{
	struct search *s = arg;

	if (o == s->o)
		s->fd = fd;
}

/* epfd_of finds a descriptor of the set: not always the one under which it was made. */
static int epfd_of(struct set *set)
{
	struct search s = {.o = &set->obj, .fd = -1};

	shim_fds_each(search_fd, &s);
	return s.fd;
}

static int item_bind(struct set *set, int epfd, struct shim_item *it)
{
	uint8_t role = shim_role(it->sock);
	int rc = 0;

	if (role != SHIM_CONN) {
		rc = kernel_ctl(epfd, EPOLL_CTL_ADD, it);
		if (rc < 0)
			return rc;
		it->in_kernel = true;
	}
	if (role == SHIM_CONN || role == SHIM_LISTENER)
		rc = toed_bind(set, epfd, it);
	return rc;
}

static void item_unbind(struct shim_item *it, int epfd)
{
	if (it->in_kernel && epfd >= 0)
		shim_real()->epoll_ctl(epfd, EPOLL_CTL_DEL, it->fd, NULL);
	it->in_kernel = false;
	if (it->queue >= 0)
		toed_unbind(it);
}

static void item_free(struct shim_item *it)
{
	struct shim_item **c = cell(it->set, it->fd, false);

	if (c && *c == it)
		*c = NULL;
	*it->prev = it->next;
	if (it->next)
		it->next->prev = it->prev;
	shim_slab_give(&item_slab, it);
}

static struct shim_item *item_new(struct set *set, struct shim_sock *s, int fd,
				  const struct epoll_event *e)
{
	struct shim_item **c = cell(set, fd, true), *it = c ? shim_slab_take(&item_slab) : NULL;

	if (!it)
		return NULL;
	memset(it, 0, sizeof *it);
	it->sock = s;
	it->set = set;
	it->fd = fd;
	it->events = e->events;
	it->data = e->data;
	it->queue = -1;
	it->next = s->items;
	it->prev = &s->items;
	if (it->next)
		it->next->prev = &it->next;
	s->items = it;
	*c = it;
	return it;
}

void shim_epoll_rebind(struct shim_sock *s)
{
	int saved = errno;

	if (!load_relaxed(&s->items))
		return;
	shim_mutex_lock(&topology);
	for (struct shim_item *it = s->items; it; it = it->next) {
		int epfd = epfd_of(it->set);

		shim_mutex_lock(&it->set->lock);
		item_unbind(it, epfd);
		it->disarmed = false;
		if (epfd >= 0)
			item_bind(it->set, epfd, it);
		shim_mutex_unlock(&it->set->lock);
	}
	shim_mutex_unlock(&topology);
	errno = saved;
}

void shim_epoll_forget(struct shim_sock *s)
{
	int saved = errno;

	if (!load_relaxed(&s->items))
		return;
	shim_mutex_lock(&topology);
	while (s->items) {
		struct shim_item *it = s->items;
		struct set *set = it->set;
		int epfd = shim_role(s) == SHIM_LISTENER && !set->stale ? epfd_of(set) : -1;

		shim_mutex_lock(&set->lock);
		item_unbind(it, epfd);
		item_free(it);
		shim_mutex_unlock(&set->lock);
	}
	shim_mutex_unlock(&topology);
	errno = saved;
}

/* set_strip frees everything of a set but the set. */
static void set_strip(struct set *set)
{
	for (int p = 0; set->page && p < SET_PAGES; p++) {
		for (int i = 0; set->page[p] && i < PAGE_ITEMS; i++) {
			struct shim_item *it = set->page[p][i];

			if (it) {
				item_unbind(it, -1);
				item_free(it);
			}
		}
		if (set->page[p])
			munmap(set->page[p], PAGE_ITEMS * sizeof **set->page);
	}
	if (set->page)
		munmap(set->page, SET_PAGES * sizeof *set->page);
	for (int i = 0; i < set->nqueues; i++) {
		struct queue *q = &set->queue[i];

		if (q->eq >= 0)
			shim_eq_free(q->region, (uint32_t)q->eq);
		munmap(q->items, q->region->nslots * sizeof *q->items);
	}
	shim_fd_unhide(&set->event_fd);
}

void shim_epoll_destroy(struct shim_obj *o)
{
	struct set *set = (struct set *)o, **at;
	int saved = errno;

	shim_mutex_lock(&topology);
	for (at = &sets; *at && *at != set; at = &(*at)->next)
		;
	if (*at)
		*at = set->next;
	set_strip(set);
	shim_mutex_unlock(&topology);
	shim_slab_give(&set_slab, set);
	errno = saved;
}

/* ---- fork ----------------------------------------------------------------------------------- */

void shim_epoll_before_fork(void)
{
	shim_mutex_lock(&topology);
	for (struct set *set = sets; set; set = set->next)
		shim_mutex_lock(&set->lock);
}

/* A child inherits the kernel's set but not the event queues, which belong to the parent. Each set
 * becomes its own when the child first uses it; until then nothing of it is touched. */
void shim_epoll_after_fork(bool child)
{
	if (child)
		set_slab.lock = item_slab.lock = (struct shim_mutex){0};
	for (struct set *set = sets; set; set = set->next) {
		shim_mutex_unlock(&set->lock);
		if (!child)
			continue;
		set->stale = true;
		set->sleepers = 0;
		set->watched = false;
		for (int i = 0; i < set->nqueues; i++)
			set->queue[i].eq = -1;
	}
	shim_mutex_unlock(&topology);
}

/* copy_registration takes over one line of /proc/self/fdinfo of the old epoll descriptor. */
static void copy_registration(int to, const char *line)
{
	struct epoll_event e;
	unsigned long long data;
	unsigned events;
	int fd;

	if (sscanf(line, "tfd: %d events: %x data: %llx", &fd, &events, &data) != 3)
		return;
	e.events = events & ~(EPOLLERR | EPOLLHUP);
	e.data.u64 = data;
	if (!is_cookie(data))
		shim_real()->epoll_ctl(to, EPOLL_CTL_ADD, fd, &e);
}

/* copy_registrations fills a new epoll descriptor with what the kernel has in the old one. */
static void copy_registrations(int from, int to)
{
	char path[40], buffer[4096];
	size_t have = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", from);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 &&
	       (n = shim_real()->read(fd, buffer + have, sizeof buffer - 1 - have)) > 0) {
		char *line = buffer, *end;

		have += (size_t)n;
		buffer[have] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			copy_registration(to, line);
			line = end + 1;
		}
		have -= (size_t)(line - buffer);
		memmove(buffer, line, have);
	}
	if (fd >= 0)
		shim_real()->close(fd);
}

struct replace {
	struct shim_obj *o;
	int with;
};

static void replace_fd(int fd, struct shim_obj *o, void *arg)
{
	struct replace *r = arg;
	int flags;

	if (o != r->o)
		return;
	flags = shim_real()->fcntl64(fd, F_GETFD);
	shim_real()->dup3(r->with, fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
}

/* set_renew makes an inherited set the child's own: a kernel set of its own under the same numbers,
 * and queues of its own. Linux would share one set; two processes cannot share a queue. */
static void set_renew(struct set *set, int epfd)
{
	struct replace r = {.o = &set->obj, .with = shim_real()->epoll_create1(EPOLL_CLOEXEC)};
	int saved = errno;

	if (r.with < 0)
		return;
	shim_mutex_lock(&topology);
	shim_mutex_lock(&set->lock);
	if (set->stale) {
		copy_registrations(epfd, r.with);
		shim_fds_each(replace_fd, &r);
		for (int p = 0; set->page && p < SET_PAGES; p++) {
			for (int i = 0; set->page[p] && i < PAGE_ITEMS; i++) {
				struct shim_item *it = set->page[p][i];

				if (it && it->queue >= 0)
					toed_unbind(it);
			}
		}
		for (int i = 0; i < set->nqueues; i++)
			munmap(set->queue[i].items,
			       set->queue[i].region->nslots * sizeof *set->queue[i].items);
		set->nqueues = 0;
		set->short_of_queues = false;
		set->session = 0;
		shim_fd_unhide(&set->event_fd);
		set->stale = false;
		for (int p = 0; set->page && p < SET_PAGES; p++) {
			for (int i = 0; set->page[p] && i < PAGE_ITEMS; i++) {
				struct shim_item *it = set->page[p][i];
				uint8_t role = it ? shim_role(it->sock) : SHIM_KERNEL;

				if (role == SHIM_LISTENER)
					it->in_kernel = false;
				if (role == SHIM_LISTENER || role == SHIM_CONN)
					item_bind(set, epfd, it);
			}
		}
	}
	shim_mutex_unlock(&set->lock);
	shim_mutex_unlock(&topology);
	shim_real()->close(r.with);
	errno = saved;
}

/* ---- epoll_ctl ------------------------------------------------------------------------------ */

SHIM_API int epoll_create1(int flags)
{
	int fd = shim_real()->epoll_create1(flags);
	struct set *set = fd >= 0 && !shim_foreign() ? set_new(fd) : NULL;

	if (set)
		shim_obj_put(&set->obj);
	return fd;
}

SHIM_API int epoll_create(int size)
{
	return size <= 0 ? (int)shim_result(-EINVAL) : epoll_create1(0);
}

static int item_add(struct set *set, int epfd, struct shim_sock *s, int fd,
		    const struct epoll_event *e)
{
	struct shim_item **c = cell(set, fd, false), *it;
	int rc;

	if (c && *c && (*c)->sock == s)
		return -EEXIST;
	if (c && *c) {
		/* The number means another socket now; the old one lives on under a duplicate. */
		it = *c;
		item_unbind(it, -1);
		item_free(it);
	}
	it = item_new(set, s, fd, e);
	if (!it)
		return -ENOMEM;
	rc = item_bind(set, epfd, it);
	if (rc < 0) {
		item_unbind(it, epfd);
		item_free(it);
	}
	return rc;
}

static int item_change(struct set *set, int epfd, struct shim_sock *s, int fd, int op,
		       const struct epoll_event *e)
{
	struct shim_item **c = cell(set, fd, false), *it = c ? *c : NULL;
	int rc = 0;

	if (!it || it->sock != s)
		return -ENOENT;
	if (op == EPOLL_CTL_DEL) {
		item_unbind(it, epfd);
		item_free(it);
		return 0;
	}
	it->events = e->events;
	it->data = e->data;
	it->disarmed = false;
	if (it->in_kernel)
		rc = kernel_ctl(epfd, EPOLL_CTL_MOD, it);
	item_judge(it);
	return rc;
}

SHIM_API int epoll_ctl(int epfd, int op, int fd, struct epoll_event *e)
{
	struct shim_obj *o = shim_obj_get(fd);
	struct set *set;
	int rc, saved = errno;

	if (o && o->kind == SHIM_EPOLL)
		shim_epoll_watch(o);
	if (!o || o->kind != SHIM_SOCK) {
		if (o)
			shim_obj_put(o);
		return shim_real()->epoll_ctl(epfd, op, fd, e);
	}
	set = set_get(epfd, true);
	if (!set || (!e && op != EPOLL_CTL_DEL)) {
		if (set)
			shim_obj_put(&set->obj);
		shim_obj_put(o);
		return shim_real()->epoll_ctl(epfd, op, fd, e);
	}
	if (unlikely(set->stale))
		set_renew(set, epfd);
	shim_mutex_lock(&topology);
	shim_mutex_lock(&set->lock);
	if (op == EPOLL_CTL_ADD)
		rc = item_add(set, epfd, (struct shim_sock *)o, fd, e);
	else if (op == EPOLL_CTL_MOD || op == EPOLL_CTL_DEL)
		rc = item_change(set, epfd, (struct shim_sock *)o, fd, op, e);
	else
		rc = -EINVAL;
	shim_mutex_unlock(&set->lock);
	shim_mutex_unlock(&topology);
	if (rc == -ENOENT)
		rc = shim_real()->epoll_ctl(epfd, op, fd, e) < 0 ? -errno : 0;
	shim_obj_put(&set->obj);
	shim_obj_put(o);
	errno = saved;
	return (int)shim_result(rc);
}

/* ---- epoll_wait ----------------------------------------------------------------------------- */

/* all_ready makes every item of queue q a candidate; the judgement comes when they are reported. */
static void all_ready(struct set *set, struct queue *q)
{
	for (uint32_t slot = 0; slot < q->region->nslots; slot++)
		for (struct shim_item *it = q->items[slot]; it; it = it->same)
			ready_add(set, it);
}

/* drain moves what toed pushed to the ready list. */
static void drain(struct set *set)
{
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
			__atomic_fetch_and(&q->region->slot[slot].eq_pending, ~(1ull << q->eq),
					   __ATOMIC_SEQ_CST);
			for (struct shim_item *it = q->items[slot]; it; it = it->same)
				ready_add(set, it);
		}
	}
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
				   .data.u64 = cookie(COOKIE_LISTENER + (uint32_t)it->fd)};

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

		ready_remove(set, it);
		mask = item_mask(it);
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
			ready_add(set, it);
	}
	return n;
}

/* translate turns what the kernel reported into what the program may see: our own registrations are
 * taken out, a listener's cookie becomes its data. Returns how many events are left. */
static int translate(struct set *set, uint32_t turn, struct epoll_event *events, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++) {
		uint32_t which = (uint32_t)events[i].data.u64;
		struct shim_item **c, *it;

		if (likely(!is_cookie(events[i].data.u64))) {
			events[kept++] = events[i];
			continue;
		}
		if (which == COOKIE_TOED)
			shim_toed_alive();
		if (which < COOKIE_LISTENER)
			continue;
		c = cell(set, (int)(which - COOKIE_LISTENER), false);
		it = c ? *c : NULL;
		if (!it || it->disarmed || it->turn == turn)
			continue;
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
	return n < 0 ? n : translate(set, turn, events, n);
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
			queue_sleeps(&set->queue[i], value);
}

/* any_ready judges the ready list without taking from it. */
static bool any_ready(struct set *set)
{
	for (struct link *l = set->ready.next; l != &set->ready; l = l->next)
		if (item_mask((struct shim_item *)l))
			return true;
	return false;
}

/* rest leaves a set so that its descriptor becomes readable when it should, if somebody polls it,
 * and that the next news wakes another thread that sleeps on it: whoever was woken has used the
 * queues' flag up, and may be away for long. */
static void rest(struct set *set)
{
	if (!set->watched && !set->sleepers)
		return;
	set_sleeping(set, 1);
	fence_seq();
	drain(set);
	if (any_ready(set))
		kick(set);
}

void shim_epoll_watch(struct shim_obj *o)
{
	struct set *set = (struct set *)o;

	shim_mutex_lock(&set->lock);
	set->watched = true;
	rest(set);
	shim_mutex_unlock(&set->lock);
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

/* block sleeps in the kernel until either side has news. Called and left with the lock held. */
static int block(struct set *set, int epfd, struct epoll_event *events, int max, uint64_t deadline,
		 const sigset_t *mask)
{
	int n, timeout = milliseconds(deadline);

	set_sleeping(set, 1);
	fence_seq();
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

static int wait_set(struct set *set, int epfd, struct epoll_event *events, int max,
		    uint64_t deadline, const sigset_t *mask)
{
	int n;

	for (;;) {
		uint32_t turn;

		if (set->nqueues > 0) {
			n = harvest(set, epfd, events, max, deadline == 0);
			if (n != 0 || deadline == 0)
				return n;
			if (spin(set, deadline))
				continue;
		}
		n = block(set, epfd, events, max, deadline, mask);
		if (n < 0)
			return n;
		turn = ++set->turn;
		n = translate(set, turn, events, n);
		drain(set);
		if (n < max)
			n += report(set, epfd, turn, events + n, max - n);
		if (n > 0)
			return n;
		if (deadline != SHIM_FOREVER && shim_now() >= deadline)
			return 0;
	}
}

static int wait_until(int epfd, struct epoll_event *events, int max, uint64_t deadline,
		      const sigset_t *mask)
{
	struct set *set = set_get(epfd, false);
	int n, saved = errno;

	if (!set || max <= 0) {
		if (set)
			shim_obj_put(&set->obj);
		return shim_real()->epoll_pwait(epfd, events, max, milliseconds(deadline), mask);
	}
	if (unlikely(set->stale))
		set_renew(set, epfd);
	shim_mutex_lock(&set->lock);
	n = wait_set(set, epfd, events, max, deadline, mask);
	rest(set);
	shim_mutex_unlock(&set->lock);
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
