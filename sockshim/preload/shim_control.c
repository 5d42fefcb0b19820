/* shim_control.c - the control connection to toed, and the memory files that it hands out. */
#include "shim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>

/* How long an answer may take: toed answers from a thread of its own, in microseconds. */
#define ANSWER_SECONDS 5
/* After toed was there and turned us down, how long before we ask again: this, or as long as it
 * took to answer. That nobody serves the path costs little to find out, and is asked more often: a
 * toed that has come back is used at once, yet without one a program that opens thousands of
 * sockets a second is none the slower. */
#define RETRY_NS 100000000ull
#define ABSENT_NS 1000000ull

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct shim_session shim_session = {
	.control = -1,
	.wake = {[0 ... TOE_MAX_WORKERS - 1] = -1},
};
struct shim_region shim_regions[SHIM_REGIONS];

/* exchange_plainly is exchange with the calls that a confined process has; no descriptor can be
 * sent so, and what comes is lost. */
static int exchange_plainly(int control, struct toe_shm_msg *m, int fd)
{
	struct pollfd p = {.fd = control, .events = POLLRDHUP};
	uint32_t type = m->type, seq = m->seq;
	ssize_t n;

	/* A write to who has hung up would be a signal. */
	if (fd >= 0 || shim_real()->poll(&p, 1, 0) != 0 ||
	    shim_real()->write(control, m, sizeof *m) != sizeof *m)
		return -ENOTCONN;
	do
		n = shim_real()->read(control, m, sizeof *m);
	while ((n < 0 && errno == EINTR) || (n == sizeof *m && (m->type != type || m->seq != seq)));
	return n == sizeof *m ? -m->error : -ENOTCONN;
}

/* exchange sends a request with at most one descriptor, and reads its answer into *m. Descriptors
 * that come with it are put in fds, *nfds of them at most, the rest is closed. */
static int exchange(int control, struct toe_shm_msg *m, int fd, int *fds, uint32_t *nfds)
{
	const struct shim_libc *libc = shim_real();
	uint32_t type = m->type, seq = m->seq = ++shim_session.seq, room = nfds ? *nfds : 0;
	struct iovec iov = {.iov_base = m, .iov_len = sizeof *m};
	union {
		char bytes[CMSG_SPACE(TOE_MSG_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control_data;
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	bool answers;
	ssize_t n;

	if (nfds)
		*nfds = 0;
	if (fd >= 0) {
		h.msg_control = control_data.bytes;
		h.msg_controllen = CMSG_SPACE(sizeof(int));
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	if (shim_confined)
		return exchange_plainly(control, m, fd);
	do
		n = libc->sendmsg(control, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (;;) {
		h.msg_control = control_data.bytes;
		h.msg_controllen = sizeof control_data.bytes;
		n = libc->recvmsg(control, &h, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		/* Of an answer that came too late the descriptors are not ours to use either. */
		answers = n == sizeof *m && m->type == type && m->seq == seq;
		for (c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
				int got;

				memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
				if (answers && nfds && *nfds < room)
					fds[(*nfds)++] = got;
				else
					libc->close(got);
			}
		}
		if (answers)
			return -m->error;
	}
}

void shim_region_drop(struct shim_region *r)
{
	static uint32_t times;

	if (!r)
		return;
	store_relaxed(&r->unused, __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED));
	__atomic_fetch_sub(&r->refs, 1, __ATOMIC_RELEASE);
}

static void region_unmap(struct shim_region *r)
{
	struct toe_shm_region *h = r->header;

	store_release(&r->id, 0);
	munmap(h, r->bytes);
}

/* regions_trim unmaps what nothing refers to: all that is toed's no longer, and what has not been
 * used for longest if there is much. toed, at the other end of control, is told (-1: it is
 * another). Under the session's lock, where alone an unused region is taken into use. */
static void regions_trim(int control)
{
	struct shim_region *oldest;
	int idle;

	do {
		oldest = NULL;
		idle = 0;
		for (int i = 0; i < SHIM_REGIONS; i++) {
			struct shim_region *r = &shim_regions[i];

			if (r->id == 0 || load_acquire(&r->refs) != 0)
				continue;
			if (!shim_region_ok(r)) {
				region_unmap(r);
				continue;
			}
			idle++;
			if (!oldest || (int32_t)(r->unused - oldest->unused) < 0)
				oldest = r;
		}
		if (idle > SHIM_IDLE_REGIONS && control >= 0) {
			struct toe_shm_msg m = {.type = TOE_MSG_DETACH, .region_id = oldest->id};
			int rc = exchange(control, &m, -1, NULL, NULL);

			if (rc < 0 && rc != -ENOENT)
				return;
			region_unmap(oldest);
			idle--;
		}
	} while (idle > SHIM_IDLE_REGIONS && control >= 0);
}

/* region_find returns the region with that number. Under the session's lock. */
static struct shim_region *region_find(uint32_t id)
{
	for (int i = 0; i < SHIM_REGIONS; i++)
		if (shim_regions[i].id == id && shim_region_ok(&shim_regions[i]))
			return &shim_regions[i];
	return NULL;
}

/* inside reports whether count items of size octets fit in the region at offset. */
static bool inside(const struct shim_region *r, uint64_t offset, uint64_t count, uint64_t size)
{
	return offset <= r->bytes && count * size <= r->bytes - offset;
}

/* region_map maps a region's memory file, and holds it. Under the session's lock. */
static struct shim_region *region_map(uint32_t id, int fd)
{
	struct shim_region *r = NULL;
	struct toe_shm_region *h;
	struct stat st;

	for (int i = 0; i < SHIM_REGIONS && !r; i++)
		if (shim_regions[i].id == 0)
			r = &shim_regions[i];
	if (!r || fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof *h)
		return NULL;
	h = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return NULL;
	madvise(h, (size_t)st.st_size, MADV_DONTDUMP);
	r->header = h;
	r->bytes = (size_t)st.st_size;
	memcpy(r->token, h->token, sizeof r->token);
	r->nworkers = h->nworkers;
	r->nslots = h->nslots;
	r->nchunks = h->nchunks;
	r->neqs = h->neqs;
	if (h->magic != TOE_SHM_MAGIC || h->abi != TOE_SHM_ABI || h->region_bytes != r->bytes ||
	    r->nworkers == 0 || r->nworkers > TOE_MAX_WORKERS || r->neqs > TOE_MAX_EQS ||
	    !inside(r, h->cmdq_off, r->nworkers, sizeof *r->cmdq) ||
	    !inside(r, h->eq_off, r->neqs, sizeof *r->eq) ||
	    !inside(r, h->slot_loan_off, r->nworkers, sizeof *r->slot_loan) ||
	    !inside(r, h->chunk_loan_off, r->nworkers, sizeof *r->chunk_loan) ||
	    !inside(r, h->slot_off, r->nslots, sizeof *r->slot) ||
	    !inside(r, h->chunk_off, r->nchunks, TOE_CHUNK_BYTES)) {
		shim_log(0, "toed's memory file is of another version; staying on the kernel");
		munmap(h, r->bytes);
		return NULL;
	}
	r->cmdq = (void *)((char *)h + h->cmdq_off);
	r->eq = (void *)((char *)h + h->eq_off);
	r->slot_loan = (void *)((char *)h + h->slot_loan_off);
	r->chunk_loan = (void *)((char *)h + h->chunk_loan_off);
	r->slot = (void *)((char *)h + h->slot_off);
	r->chunk = (uint8_t *)h + h->chunk_off;
	r->dead = 0;
	r->refs = 1;
	store_release(&r->id, id);
	return r;
}

/* take_over makes *held the descriptor fd: under the number that *held has already, so that a
 * thread that is using the number never meets a closed one. */
static void take_over(int *held, int fd)
{
	if (*held >= 0 && shim_real()->dup3(fd, *held, O_CLOEXEC) >= 0) {
		shim_real()->close(fd);
		return;
	}
	/* There is none yet, or the limit has been lowered below its number. */
	shim_fd_unhide(held);
	shim_fd_hide(fd, held);
}

static int dial(void)
{
	const struct shim_libc *libc = shim_real();
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	int fd, rc;

	if (strlen(shim_config.path) >= sizeof to.sun_path)
		return -ENAMETOOLONG;
	strcpy(to.sun_path, shim_config.path);
	fd = libc->socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	libc->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	libc->setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	do
		rc = libc->connect(fd, (struct sockaddr *)&to, sizeof to);
	while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		int e = errno;

		libc->close(fd);
		return -e;
	}
	return fd;
}

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof cookie;

	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		return 0;
	return cookie;
}

/* hello introduces us on a new connection and takes what toed gives: memory and wake descriptors.
 */
static int hello(int control)
{
	struct shim_session *c = &shim_session;
	struct toe_shm_msg m = {.type = TOE_MSG_HELLO, .magic = TOE_SHM_MAGIC, .abi = TOE_SHM_ABI};
	int fds[TOE_MSG_MAX_FDS];
	uint32_t nfds = TOE_MSG_MAX_FDS;
	struct shim_region *own = NULL;
	struct toe_shm_status *status = NULL;
	int rc;

	regions_trim(-1);
	rc = exchange(control, &m, -1, fds, &nfds);
	if (rc == 0 && (nfds < 3 || m.magic != TOE_SHM_MAGIC || m.abi != TOE_SHM_ABI))
		rc = -EPROTO;
	if (rc == 0 && !(own = region_map(m.region_id, fds[0])))
		rc = -ENOMEM;
	if (rc == 0 && nfds != 2 + own->nworkers)
		rc = -EMFILE; /* not all of them found a number */
	if (rc == 0) {
		status = mmap(NULL, sizeof *status, PROT_READ, MAP_SHARED, fds[1], 0);
		if (status == MAP_FAILED)
			rc = -ENOMEM;
	}
	if (rc < 0) {
		for (uint32_t i = 0; i < nfds; i++)
			shim_real()->close(fds[i]);
		if (own)
			store_relaxed(&own->dead, 1);
		shim_region_drop(own);
		return rc;
	}
	for (uint32_t i = 0; i < 2; i++)
		shim_real()->close(fds[i]);
	for (uint32_t i = 2; i < nfds; i++)
		take_over(&c->wake[i - 2], fds[i]);
	store_relaxed(&c->netns, netns_of(control));
	if (c->former_status)
		munmap(c->former_status, sizeof *status);
	c->former_status = c->status;
	c->status = status;
	c->nworkers = nfds - 2;
	shim_region_drop(c->former);
	c->former = c->own;
	store_release(&c->own, own);
	c->naddrs = m.naddrs <= TOE_MAX_ADDRS ? m.naddrs : TOE_MAX_ADDRS;
	memcpy(c->addr, m.u.addr, sizeof c->addr);
	return 0;
}

/* claim tells toed that this process, a child, uses the regions that its parent had mapped. */
static void claim(int control)
{
	bool lost = false;

	for (int i = 0; i < SHIM_REGIONS; i++) {
		struct shim_region *r = &shim_regions[i];
		struct toe_shm_msg m = {.type = TOE_MSG_ATTACH, .region_id = r->id};

		if (r->id == 0 || r->dead || r == shim_session.own)
			continue;
		memcpy(m.token, r->token, sizeof m.token);
		if (exchange(control, &m, -1, NULL, NULL) < 0) {
			store_relaxed(&r->dead, 1);
			lost = true;
		}
	}
	if (lost) {
		/* The toed that the parent had has ended, and this is another. */
		store_release(&shim_session.losses, shim_session.losses + 1);
		shim_listeners_lost();
	}
}

/* is_short reports whether an attempt failed for want of something of this process. */
static bool is_short(int rc)
{
	return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM;
}

/* turned_down notes that toed did not take us, as an attempt since began has found. */
static void turned_down(uint64_t began, int rc)
{
	uint64_t now = shim_now(), took = now - began;

	shim_session.retry_at = now + (took > RETRY_NS ? took : RETRY_NS);
	shim_log(is_short(rc) ? 1 : 0, "no offload: %s: %s", shim_config.path, strerror(-rc));
}

/* hung_up reports whether the control connection or the status page says that toed has ended. */
static bool hung_up(void)
{
	struct pollfd p = {.fd = load_relaxed(&shim_session.control), .events = POLLRDHUP};

	return (p.fd >= 0 && shim_real()->poll(&p, 1, 0) > 0 &&
		(p.revents & (POLLHUP | POLLRDHUP | POLLERR))) ||
	       (shim_session.status && !load_relaxed(&shim_session.status->alive));
}

int shim_attach(void)
{
	struct shim_session *c = &shim_session;
	int rc = 0, fd = -1, saved = errno;
	uint64_t began;

	if (shim_attached())
		return 0;
	if (shim_confined || shim_foreign())
		return -ENOTCONN;
	shim_mutex_lock(&c->lock);
	began = shim_now();
	if (!shim_attached() && began >= c->retry_at) {
		fd = rc = dial();
		if (rc >= 0) {
			rc = hello(fd);
			if (rc < 0)
				shim_real()->close(fd);
		}
		if (rc == 0) {
			claim(fd);
			take_over(&c->control, fd);
			c->number++;
			c->look_at = 0; /* listeners need not wait */
			store_release(&c->pid, shim_pid);
			shim_log(1, "attached to %s, region %u", shim_config.path, c->own->id);
		} else {
			if (rc == -ENOENT || rc == -ECONNREFUSED)
				c->retry_at = began + ABSENT_NS;
			else
				turned_down(began, rc);
			/* A child whose root directory has no control socket in it goes on in its
			 * parent's name: it holds the parent's connection open. If that has
			 * ended, so has what the child inherited. */
			if (c->pid != 0 && c->pid != shim_pid && hung_up())
				shim_toed_lost();
		}
	}
	rc = shim_attached() ? 0 : -ENOTCONN;
	shim_mutex_unlock(&c->lock);
	errno = saved;
	return rc;
}

int shim_attach_live(void)
{
	if (shim_attached())
		shim_toed_alive();
	return shim_attach();
}

void shim_toed_lost(void)
{
	for (int i = 0; i < SHIM_REGIONS; i++)
		if (shim_regions[i].id)
			store_release(&shim_regions[i].dead, 1);
	store_release(&shim_session.pid, 0);
	store_release(&shim_session.losses, shim_session.losses + 1);
	shim_session.away = shim_now();
	shim_listeners_lost();
}

bool shim_toed_alive(void)
{
	int saved = errno;

	if (load_acquire(&shim_session.pid) == 0)
		return false;
	if (hung_up()) {
		/* Another thread may have found that out as well, and may have attached anew. */
		shim_mutex_lock(&shim_session.lock);
		if (shim_session.pid != 0 && hung_up()) {
			shim_log(0, "toed is gone; its connections are reset");
			shim_toed_lost();
		}
		shim_mutex_unlock(&shim_session.lock);
	}
	errno = saved;
	return load_acquire(&shim_session.pid) != 0;
}

bool shim_ours(const uint8_t addr[16])
{
	for (uint32_t i = 0; i < shim_session.naddrs; i++)
		if (memcmp(shim_session.addr[i].addr, addr, 16) == 0)
			return true;
	return false;
}

/* ask is exchange on the session's connection, under its lock. */
static int ask(struct toe_shm_msg *m, int fd, int *fds, uint32_t *nfds)
{
	int rc = shim_attach(), saved = errno;

	if (rc < 0)
		return rc;
	shim_mutex_lock(&shim_session.lock);
	rc = exchange(shim_session.control, m, fd, fds, nfds);
	shim_mutex_unlock(&shim_session.lock);
	if (rc == -EPIPE || rc == -ECONNRESET)
		shim_toed_alive();
	errno = saved;
	return rc;
}

int shim_eq_alloc(struct shim_region *r, int event_fd)
{
	struct toe_shm_msg m = {.type = TOE_MSG_EQ_ALLOC, .region_id = r->id};
	int rc = ask(&m, event_fd, NULL, NULL);

	if (rc == 0 && m.eq >= r->neqs)
		rc = -EPROTO;
	return rc < 0 ? rc : (int)m.eq;
}

void shim_eq_free(struct shim_region *r, uint32_t eq)
{
	struct toe_shm_msg m = {.type = TOE_MSG_EQ_FREE, .region_id = r->id, .eq = eq};

	if (shim_attached() && shim_region_ok(r))
		ask(&m, -1, NULL, NULL);
}

int shim_probe_fd(int fd, struct shim_region **r, uint32_t *slot, uint32_t *gen)
{
	struct toe_shm_msg m = {.type = TOE_MSG_PROBE};
	int memory = -1, rc;
	uint32_t nfds = 1;

	rc = ask(&m, fd, &memory, &nfds);
	if (rc < 0)
		return rc;
	shim_mutex_lock(&shim_session.lock);
	*r = region_find(m.region_id);
	if (*r) {
		shim_region_hold(*r);
	} else if (nfds == 1) {
		*r = region_map(m.region_id, memory);
		regions_trim(shim_session.control);
	}
	shim_mutex_unlock(&shim_session.lock);
	if (nfds == 1)
		shim_real()->close(memory);
	if (!*r)
		return -EPROTO;
	if (m.slot == 0 || m.slot >= (*r)->nslots) {
		shim_region_drop(*r);
		return -EPROTO;
	}
	*slot = m.slot;
	*gen = m.gen;
	return 0;
}

int shim_show(int fd, bool asked)
{
	struct shim_session *c = &shim_session;
	struct toe_shm_msg m = {.type = TOE_MSG_PROBE};
	int rc;

	if (asked)
		store_relaxed(&c->shows, 1);
	if (!load_relaxed(&c->shows) && netns_of(fd) == load_relaxed(&c->netns))
		return 0;
	rc = ask(&m, fd, NULL, NULL);
	return rc == -EADDRINUSE ? rc : 0;
}

void shim_no_slot(int fd, const uint8_t addr[16], uint16_t port)
{
	struct toe_shm_msg m = {.type = TOE_MSG_NO_SLOT, .naddrs = addr ? 1 : 0, .slot = port};

	if (!shim_attached() || !shim_region_ok(shim_session.own))
		return; /* that is why */
	if (addr)
		memcpy(m.u.addr[0].addr, addr, sizeof m.u.addr[0].addr);
	ask(&m, fd, NULL, NULL);
	shim_log(1, "fd %d: left to the kernel, no slot", fd);
}

int shim_info(struct shim_region *r, uint32_t slot, uint32_t gen, struct toe_shm_msg *m)
{
	int rc;

	*m = (struct toe_shm_msg){
		.type = TOE_MSG_INFO, .region_id = r->id, .slot = slot, .gen = gen};
	rc = ask(m, -1, NULL, NULL);
	if (rc < 0)
		return rc;
	if (m->info_len > sizeof m->u.info)
		m->info_len = sizeof m->u.info;
	if (m->more.cc_info_len > sizeof m->more.cc_info)
		m->more.cc_info_len = sizeof m->more.cc_info;
	m->more.cc[sizeof m->more.cc - 1] = 0;
	return 0;
}

void shim_bye(void)
{
	struct toe_shm_msg m = {.type = TOE_MSG_BYE};

	if (!shim_attached() || shim_foreign() || shim_session.control < 0)
		return;
	if (!shim_confined)
		(void)!shim_real()->send(shim_session.control, &m, sizeof m, MSG_NOSIGNAL);
	else if (shim_toed_alive())
		(void)!shim_real()->write(shim_session.control, &m, sizeof m);
}
