/*
 * shim_epoll.h - what the files of epoll share: sets, their items and event queues. shim_epoll.c
 * explains the model.
 */
#ifndef SHIM_EPOLL_H
#define SHIM_EPOLL_H

#include "shim.h"

#define SET_QUEUES 16 /* regions whose sockets one set can hold */
#define PAGE_ITEMS 512
#define SET_PAGES (SHIM_FD_MAX / PAGE_ITEMS)

/* The cookies under which we register in the kernel's set: an upper half that is no user-space
 * pointer and no small number, the same in every process, for one that gets another's set does not
 * know what to make of them but has to know them. The lower half says which. */
#define COOKIE_BASE (0xb5c0ffe1ull << 32)
#define COOKIE_EVENT 0u
#define COOKIE_TOED 1u
#define COOKIE_LISTENER 16u /* plus the descriptor */

#define ALWAYS (EPOLLERR | EPOLLHUP)
/* What may be asked for together with EPOLLEXCLUSIVE, as in Linux. */
#define EXCLUSIVE_OK (EPOLLEXCLUSIVE | EPOLLIN | EPOLLOUT | EPOLLET | EPOLLWAKEUP | ALWAYS)

struct link {
	struct link *next, *prev;
};

struct set;

struct shim_item {
	struct link ready; /* in set->ready; next NULL when not */
	struct shim_sock *sock;
	struct set *inner; /* a set in the set: no sock */
	struct set *set;
	struct shim_item *next, **prev; /* items of the same socket or inner set; under topology */
	struct shim_item *same;		/* items of the same set and slot; of inner sets */
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
	struct shim_region *region; /* held */
	int eq;			    /* -1: none could be had */
	bool lost;		    /* the region's end has been reported */
	bool armed; /* toed was told that we sleep, and whether it has noticed shows */
	struct shim_item **items; /* by slot: first item, others by same */
};

struct set {
	struct shim_obj obj;
	struct shim_mutex lock;
	struct set *next; /* all sets; under topology */
	struct link ready;
	uint32_t nready;
	struct shim_item *nested; /* the sets in this one, by same */
	struct shim_item *outer;  /* this one in other sets; under topology */
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

/* Every set of the process is in shim_sets; topology guards that list and the items of a socket.
 * Locks: topology, then a set's, then those of sets in it. An event queue has one consumer, the
 * holder of the set's lock. */
extern struct shim_mutex shim_topology;
extern struct set *shim_sets;
extern struct shim_slab shim_set_slab, shim_item_slab;

static inline uint64_t shim_epoll_cookie(uint32_t which)
{
	return COOKIE_BASE | which;
}

static inline bool shim_epoll_is_cookie(uint64_t data)
{
	return (data & ~0xffffffffull) == COOKIE_BASE;
}

struct set *shim_set_get(int epfd, bool make);
/* shim_set_cell is where the set keeps the item of a descriptor; NULL if there is none to keep. */
struct shim_item **shim_set_cell(struct set *set, int fd, bool make);
/* shim_set_kick wakes the threads that sleep on the set. */
void shim_set_kick(struct set *set);
/* shim_set_renew makes a set that was inherited by fork this process's own. */
void shim_set_renew(struct set *set, int epfd);
void shim_queue_sleeps(struct queue *q, uint32_t value);
void shim_queue_leave(struct queue *q);
/* shim_set_epfd returns a descriptor of the set, not always the one under which it was made; -1. */
int shim_set_epfd(struct set *set);
/* shim_inner_bind registers a set in the kernel's half of another. Under both locks of the model.
 */
int shim_inner_bind(int epfd, struct shim_item *it);

/* The ready list, under the set's lock. */
void shim_ready_add(struct set *set, struct shim_item *it);
void shim_ready_remove(struct set *set, struct shim_item *it);

uint32_t shim_item_mask(struct shim_item *it);
/* shim_item_bind puts an item where its socket's role belongs; shim_toed_unbind takes it off its
 * event queue. */
int shim_item_bind(struct set *set, int epfd, struct shim_item *it);
void shim_toed_unbind(struct shim_item *it);

#endif
