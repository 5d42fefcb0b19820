/*
 * shim_epoll_fork.c - epoll sets across fork. A child inherits the kernel's set but not the event
 * queues, which belong to the parent; a set becomes the child's own when the child first uses it.
 */
#include "shim_epoll.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void shim_epoll_before_fork(void)
{
	shim_mutex_lock(&shim_topology);
	for (struct set *set = shim_sets; set; set = set->next)
		shim_mutex_lock(&set->lock);
}

/* A child inherits the kernel's set but not the event queues, which belong to the parent. Each set
 * becomes its own when the child first uses it; until then nothing of it is touched. */
void shim_epoll_after_fork(bool child)
{
	if (child)
		shim_set_slab.lock = shim_item_slab.lock = (struct shim_mutex){0};
	for (struct set *set = shim_sets; set; set = set->next) {
		shim_mutex_unlock(&set->lock);
		if (!child)
			continue;
		set->stale = true;
		set->sleepers = 0;
		set->watched = false;
		for (int i = 0; i < set->nqueues; i++)
			set->queue[i].eq = -1;
	}
	shim_mutex_unlock(&shim_topology);
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
	if (!shim_epoll_is_cookie(data))
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

/* renew_item registers an item anew, if what there was is not copied. */
static void renew_item(struct set *set, int epfd, struct shim_item *it)
{
	uint8_t role = it->inner ? SHIM_KERNEL : shim_role(it->sock);

	if (it->inner) {
		if (it->inner->stale)
			shim_set_renew(it->inner, it->fd);
		shim_inner_bind(epfd, it);
		return;
	}
	if (role == SHIM_LISTENER)
		it->in_kernel = false;
	if (role == SHIM_LISTENER || role == SHIM_CONN)
		shim_item_bind(set, epfd, it);
}

/* set_renew makes an inherited set the child's own: a kernel set of its own under the same numbers,
 * and queues of its own. Linux would share one set; two processes cannot share a queue. */
void shim_set_renew(struct set *set, int epfd)
{
	struct replace r = {.o = &set->obj, .with = shim_real()->epoll_create1(EPOLL_CLOEXEC)};
	int saved = errno;

	if (r.with < 0)
		return;
	shim_mutex_lock(&shim_topology);
	shim_mutex_lock(&set->lock);
	if (set->stale) {
		copy_registrations(epfd, r.with);
		shim_fds_each(replace_fd, &r);
		for (int p = 0; set->page && p < SET_PAGES; p++) {
			for (int i = 0; set->page[p] && i < PAGE_ITEMS; i++) {
				struct shim_item *it = set->page[p][i];

				if (it && it->queue >= 0)
					shim_toed_unbind(it);
			}
		}
		for (int i = 0; i < set->nqueues; i++)
			shim_queue_leave(&set->queue[i]);
		set->nqueues = 0;
		set->short_of_queues = false;
		set->session = 0;
		shim_fd_unhide(&set->event_fd);
		set->stale = false;
		for (int p = 0; set->page && p < SET_PAGES; p++) {
			for (int i = 0; set->page[p] && i < PAGE_ITEMS; i++) {
				if (set->page[p][i])
					renew_item(set, epfd, set->page[p][i]);
			}
		}
	}
	shim_mutex_unlock(&set->lock);
	shim_mutex_unlock(&shim_topology);
	shim_real()->close(r.with);
	errno = saved;
}
