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
 * So has another set of ours that is in the set: the kernel hears of its eventfd, and before that
 * is reported we look whether there is anything in it that it wants.
 *
 * toed pushes slots whose readiness may have changed into the event queue; their items come to the
 * ready list and are judged when they are handed out, as in Linux: a level-triggered item stays in
 * the list while it is ready, an edge-triggered one leaves it at once.
 *
 * Here are the sets, the binding of items and epoll_ctl; shim_epoll_wait.c hands events out,
 * shim_epoll_fork.c makes sets survive fork.
 */
#include "shim_epoll.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

struct shim_mutex shim_topology;
struct set *shim_sets;
struct shim_slab shim_set_slab = {.size = sizeof(struct set)};
struct shim_slab shim_item_slab = {.size = sizeof(struct shim_item)};

/* ---- sets ----------------------------------------------------------------------------------- */

static struct set *set_new(int epfd)
{
	struct set *set = shim_slab_take(&shim_set_slab);

	if (!set)
		return NULL;
	memset((char *)set + sizeof set->obj.refs, 0, sizeof *set - sizeof set->obj.refs);
	set->obj.kind = SHIM_EPOLL;
	set->ready.next = set->ready.prev = &set->ready;
	set->event_fd = -1;
	store_release(&set->obj.refs, 1);
	shim_mutex_lock(&shim_topology);
	set->next = shim_sets;
	shim_sets = set;
	shim_mutex_unlock(&shim_topology);
	shim_fd_bind(epfd, &set->obj);
	return set;
}

/* is_epoll asks the kernel, which says so before it looks whether the other descriptor is in the
 * set. */
static bool is_epoll(int fd)
{
	int other = eventfd(0, EFD_CLOEXEC), saved = errno;
	bool is = other >= 0 && shim_real()->epoll_ctl(fd, EPOLL_CTL_DEL, other, NULL) < 0 &&
		  errno == ENOENT;

	if (other >= 0)
		shim_real()->close(other);
	errno = saved;
	return is;
}

/* set_get returns the set behind epfd with a reference; with make, one is made for an epoll
 * descriptor that the process did not create itself. */
struct set *shim_set_get(int epfd, bool make)
{
	struct shim_obj *o = shim_obj_get(epfd);

	if (o && o->kind == SHIM_EPOLL)
		return (struct set *)o;
	if (o) {
		shim_obj_put(o);
		return NULL;
	}
	return make && !shim_foreign() && is_epoll(epfd) ? set_new(epfd) : NULL;
}

struct shim_item **shim_set_cell(struct set *set, int fd, bool make)
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

void shim_set_kick(struct set *set)
{
	uint64_t one = 1;

	if (set->event_fd >= 0 && (set->sleepers || set->watched))
		(void)!shim_real()->write(set->event_fd, &one, sizeof one);
}

void shim_ready_add(struct set *set, struct shim_item *it)
{
	if (it->ready.next)
		return;
	it->ready.prev = set->ready.prev;
	it->ready.next = &set->ready;
	set->ready.prev->next = &it->ready;
	set->ready.prev = &it->ready;
	set->nready++;
}

void shim_ready_remove(struct set *set, struct shim_item *it)
{
	if (!it->ready.next)
		return;
	it->ready.prev->next = it->ready.next;
	it->ready.next->prev = it->ready.prev;
	it->ready.next = NULL;
	set->nready--;
}

uint32_t shim_item_mask(struct shim_item *it)
{
	uint32_t want = it->events | ALWAYS;

	return it->disarmed ? 0 : shim_ready(it->sock, want) & want;
}

/* item_judge puts an item that is ready where epoll_wait finds it. */
static void item_judge(struct shim_item *it)
{
	if (it->queue >= 0 && shim_item_mask(it)) {
		shim_ready_add(it->set, it);
		shim_set_kick(it->set);
	}
}

/* ---- binding -------------------------------------------------------------------------------- */

static int register_own(int epfd, int fd, uint32_t events, uint32_t which)
{
	struct epoll_event e = {.events = events, .data.u64 = shim_epoll_cookie(which)};

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
		shim_fd_hide_waker(fd, &set->event_fd);
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

void shim_queue_sleeps(struct queue *q, uint32_t value)
{
	q->armed = value != 0;
	__atomic_store_n(&q->region->eq[q->eq].sleeping, value, __ATOMIC_SEQ_CST);
}

/* shim_queue_leave gives up a queue that toed may still have. */
void shim_queue_leave(struct queue *q)
{
	if (q->eq >= 0)
		shim_eq_free(q->region, (uint32_t)q->eq);
	munmap(q->items, q->region->nslots * sizeof *q->items);
	shim_region_drop(q->region);
}

/* queue_empty finds a queue whose sockets are all closed, in a region of toed's or in one that is
 * toed's no longer; -1 if there is none. */
static int queue_empty(struct set *set, bool ok)
{
	for (int i = 0; i < set->nqueues; i++) {
		struct queue *q = &set->queue[i];
		bool empty = shim_region_ok(q->region) == ok;

		for (uint32_t slot = 0; empty && slot < q->region->nslots; slot++)
			empty = !q->items[slot];
		if (empty)
			return i;
	}
	return -1;
}

/* queue_for returns the index of the set's queue in region r, making it when it is new; -errno. */
static int queue_for(struct set *set, int epfd, struct shim_region *r)
{
	struct shim_item **items;
	struct queue *q;
	int at, rc;

	for (int i = 0; i < set->nqueues; i++)
		if (set->queue[i].region == r)
			return i;
	rc = set_equip(set, epfd);
	if (rc < 0 && rc != -EMFILE && rc != -ENFILE)
		return rc;
	at = queue_empty(set, false);
	if (at < 0)
		at = set->nqueues < SET_QUEUES ? set->nqueues : queue_empty(set, true);
	if (at < 0)
		return -ENOSPC;
	q = &set->queue[at];
	items = shim_pages(r->nslots * sizeof *items);
	if (!items)
		return -ENOMEM;
	if (at < set->nqueues)
		shim_queue_leave(q);
	shim_region_hold(r);
	q->items = items;
	q->region = r;
	q->lost = q->armed = false;
	q->eq = shim_region_ok(r) && rc == 0 ? shim_eq_alloc(r, set->event_fd) : -1;
	if (q->eq >= 0) /* toed would have us look at everything, but there is nothing yet */
		__atomic_store_n(&r->eq[q->eq].overflow, 0, __ATOMIC_SEQ_CST);
	if (q->eq < 0)
		set->short_of_queues |= shim_region_ok(r);
	else if (set->sleepers || set->watched)
		shim_queue_sleeps(q, 1); /* who sleeps already wants to hear of this queue too */
	if (at == set->nqueues)
		set->nqueues++;
	return at;
}

/* share_news has toed tell one of the sets that have the slot exclusively, if all our items are. */
static void share_news(struct queue *q, uint32_t slot)
{
	bool exclusive = q->items[slot] != NULL;

	for (struct shim_item *it = q->items[slot]; it; it = it->same)
		exclusive &= (it->events & EPOLLEXCLUSIVE) != 0;
	shim_eq_share(&q->region->slot[slot], (uint32_t)q->eq, exclusive);
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
	if (q->eq >= 0) {
		share_news(q, it->slot);
		shim_eq_want(s->slot, (uint32_t)q->eq);
	}
	fence_seq();
	item_judge(it);
	return 0;
}

void shim_toed_unbind(struct shim_item *it)
{
	struct queue *q = &it->set->queue[it->queue];
	struct shim_item **at;

	for (at = &q->items[it->slot]; *at && *at != it; at = &(*at)->same)
		;
	if (*at)
		*at = it->same;
	it->same = NULL;
	if (!q->items[it->slot] && q->eq >= 0)
		shim_eq_leave(&q->region->slot[it->slot], (uint32_t)q->eq);
	if (q->eq >= 0)
		share_news(q, it->slot);
	it->queue = -1;
	shim_ready_remove(it->set, it);
}

static int kernel_ctl(int epfd, int op, struct shim_item *it)
{
	struct epoll_event e = {.events = it->events, .data = it->data};

	if (it->inner || shim_role(it->sock) == SHIM_LISTENER)
		e.data.u64 = shim_epoll_cookie(COOKIE_LISTENER + (uint32_t)it->fd);
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

int shim_set_epfd(struct set *set)
{
	struct search s = {.o = &set->obj, .fd = -1};

	shim_fds_each(search_fd, &s);
	return s.fd;
}

int shim_item_bind(struct set *set, int epfd, struct shim_item *it)
{
	uint8_t role = shim_role(it->sock);
	int rc = 0;

	if (role != SHIM_CONN) {
		rc = kernel_ctl(epfd, EPOLL_CTL_ADD, it);
		if (rc < 0)
			return rc;
		it->in_kernel = true;
	}
	if (role == SHIM_CONN || (role == SHIM_LISTENER && shim_region_ok(it->sock->region)))
		rc = toed_bind(set, epfd, it);
	else if (role == SHIM_LISTENER && shim_attached())
		rc = set_equip(set, epfd); /* who waits has to hear of toed's end */
	return rc;
}

int shim_inner_bind(int epfd, struct shim_item *it)
{
	int rc = kernel_ctl(epfd, EPOLL_CTL_ADD, it);

	it->in_kernel = rc == 0;
	return rc;
}

static void item_unbind(struct shim_item *it, int epfd)
{
	if (it->in_kernel && epfd >= 0)
		shim_real()->epoll_ctl(epfd, EPOLL_CTL_DEL, it->fd, NULL);
	it->in_kernel = false;
	if (it->queue >= 0)
		shim_toed_unbind(it);
}

static void item_free(struct shim_item *it)
{
	struct shim_item **c = shim_set_cell(it->set, it->fd, false);

	if (c && *c == it)
		*c = NULL;
	for (struct shim_item **at = &it->set->nested; it->inner && *at; at = &(*at)->same) {
		if (*at == it) {
			*at = it->same;
			break;
		}
	}
	*it->prev = it->next;
	if (it->next)
		it->next->prev = it->prev;
	shim_slab_give(&shim_item_slab, it);
}

/* item_new makes an item of a socket, or of an inner set. */
static struct shim_item *item_new(struct set *set, struct shim_obj *o, int fd,
				  const struct epoll_event *e)
{
	struct shim_item **list;
	struct shim_item **c = shim_set_cell(set, fd, true),
			 *it = c ? shim_slab_take(&shim_item_slab) : NULL;

	if (!it)
		return NULL;
	memset(it, 0, sizeof *it);
	it->set = set;
	it->fd = fd;
	it->events = e->events;
	it->data = e->data;
	it->queue = -1;
	if (o->kind == SHIM_EPOLL) {
		it->inner = (struct set *)o;
		it->same = set->nested;
		set->nested = it;
		list = &it->inner->outer;
	} else {
		it->sock = (struct shim_sock *)o;
		list = &it->sock->items;
	}
	it->next = *list;
	it->prev = list;
	if (it->next)
		it->next->prev = &it->next;
	*list = it;
	*c = it;
	return it;
}

void shim_epoll_rebind(struct shim_sock *s)
{
	int saved = errno;

	if (!load_relaxed(&s->items))
		return;
	shim_mutex_lock(&shim_topology);
	for (struct shim_item *it = s->items; it; it = it->next) {
		int epfd = shim_set_epfd(it->set);

		shim_mutex_lock(&it->set->lock);
		item_unbind(it, epfd);
		it->disarmed = false;
		if (epfd >= 0)
			shim_item_bind(it->set, epfd, it);
		shim_mutex_unlock(&it->set->lock);
	}
	shim_mutex_unlock(&shim_topology);
	errno = saved;
}

void shim_epoll_home(struct shim_sock *s)
{
	int saved = errno;

	if (!load_relaxed(&s->items))
		return;
	shim_mutex_lock(&shim_topology);
	for (struct shim_item *it = s->items; it; it = it->next) {
		int epfd = it->set->stale ? -1 : shim_set_epfd(it->set);

		if (epfd < 0)
			continue; /* a set of the parent's: bound when the child uses it */
		shim_mutex_lock(&it->set->lock);
		if (it->queue >= 0)
			shim_toed_unbind(it);
		if (shim_region_ok(s->region))
			toed_bind(it->set, epfd, it);
		else
			set_equip(it->set, epfd);
		shim_mutex_unlock(&it->set->lock);
	}
	shim_mutex_unlock(&shim_topology);
	errno = saved;
}

void shim_epoll_forget(struct shim_sock *s)
{
	int saved = errno;

	if (!load_relaxed(&s->items))
		return;
	shim_mutex_lock(&shim_topology);
	while (s->items) {
		struct shim_item *it = s->items;
		struct set *set = it->set;
		int epfd = shim_role(s) == SHIM_LISTENER && !set->stale ? shim_set_epfd(set) : -1;

		shim_mutex_lock(&set->lock);
		item_unbind(it, epfd);
		item_free(it);
		shim_mutex_unlock(&set->lock);
	}
	shim_mutex_unlock(&shim_topology);
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
	for (int i = 0; i < set->nqueues; i++)
		shim_queue_leave(&set->queue[i]);
	shim_fd_unhide(&set->event_fd);
}

void shim_epoll_destroy(struct shim_obj *o)
{
	struct set *set = (struct set *)o, **at;
	int saved = errno;

	shim_mutex_lock(&shim_topology);
	for (at = &shim_sets; *at && *at != set; at = &(*at)->next)
		;
	if (*at)
		*at = set->next;
	while (set->outer) {
		struct set *outer = set->outer->set;

		/* The kernel takes it out by itself. */
		shim_mutex_lock(&outer->lock);
		item_free(set->outer);
		shim_mutex_unlock(&outer->lock);
	}
	set_strip(set);
	shim_mutex_unlock(&shim_topology);
	shim_slab_give(&shim_set_slab, set);
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

static bool item_is(const struct shim_item *it, const struct shim_obj *o)
{
	return (const void *)it->sock == o || (const void *)it->inner == o;
}

static int item_add(struct set *set, int epfd, struct shim_obj *o, int fd,
		    const struct epoll_event *e)
{
	struct shim_item **c = shim_set_cell(set, fd, false), *it;
	int rc;

	if ((e->events & EPOLLEXCLUSIVE) && (e->events & ~EXCLUSIVE_OK))
		return -EINVAL;
	if (c && *c && item_is(*c, o))
		return -EEXIST;
	if (c && *c) {
		/* The number means another socket now; the old one lives on under a duplicate. */
		it = *c;
		item_unbind(it, -1);
		item_free(it);
	}
	it = item_new(set, o, fd, e);
	if (!it)
		return -ENOMEM;
	rc = it->inner ? shim_inner_bind(epfd, it) : shim_item_bind(set, epfd, it);
	if (rc < 0) {
		item_unbind(it, epfd);
		item_free(it);
	}
	return rc;
}

static int item_change(struct set *set, int epfd, struct shim_obj *o, int fd, int op,
		       const struct epoll_event *e)
{
	struct shim_item **c = shim_set_cell(set, fd, false), *it = c ? *c : NULL;
	int rc = 0;

	if (!it || !item_is(it, o))
		return -ENOENT;
	if (op == EPOLL_CTL_DEL) {
		item_unbind(it, epfd);
		item_free(it);
		return 0;
	}
	if ((e->events | it->events) & EPOLLEXCLUSIVE)
		return -EINVAL; /* as the kernel: it can only be added so */
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

	if (!o)
		return shim_real()->epoll_ctl(epfd, op, fd, e);
	set = shim_set_get(epfd, true);
	if (!set || &set->obj == o || (!e && op != EPOLL_CTL_DEL)) {
		if (set)
			shim_obj_put(&set->obj);
		shim_obj_put(o);
		return shim_real()->epoll_ctl(epfd, op, fd, e);
	}
	if (unlikely(set->stale))
		shim_set_renew(set, epfd);
	shim_mutex_lock(&shim_topology);
	shim_mutex_lock(&set->lock);
	if (op == EPOLL_CTL_ADD)
		rc = item_add(set, epfd, o, fd, e);
	else if (op == EPOLL_CTL_MOD || op == EPOLL_CTL_DEL)
		rc = item_change(set, epfd, o, fd, op, e);
	else
		rc = -EINVAL;
	shim_mutex_unlock(&set->lock);
	shim_mutex_unlock(&shim_topology);
	if (rc == 0 && o->kind == SHIM_EPOLL)
		shim_epoll_watch(o);
	if (rc == -ENOENT)
		rc = shim_real()->epoll_ctl(epfd, op, fd, e) < 0 ? -errno : 0;
	shim_obj_put(&set->obj);
	shim_obj_put(o);
	errno = saved;
	return (int)shim_result(rc);
}
