/*
 * away.c - toed ends while a thread begins to wait for a listener, and how the listener comes to
 * the next.
 *
 * The library's own objects, linked with a toed of a few lines. It ends before any of the thread's
 * looks at the clock or at the socket, or when the thread is about to sleep in the kernel; as soon
 * as the thread looks after its listeners, another toed has the listener, and a connection for it.
 */
#include "../../../sockshim/preload/shim.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { LOOKS = 40, OVERSLEPT_MS = 5000 };

static struct toe_shm_region header[2];
static struct toe_shm_slot slots[2][2];
static struct toe_shm_eq queues[2];
static struct shim_sock *listener;
static struct shim_libc libc;
static int at, looks;
static bool lost;

static void toed(void)
{
	if (!lost && looks++ >= at) {
		lost = true;
		shim_toed_lost();
	}
}

uint64_t __real_shim_now(void);
uint64_t __wrap_shim_now(void);
uint64_t __wrap_shim_now(void)
{
	toed();
	return __real_shim_now();
}

uint32_t __real_shim_ready(struct shim_sock *s, uint32_t want);
uint32_t __wrap_shim_ready(struct shim_sock *s, uint32_t want);
uint32_t __wrap_shim_ready(struct shim_sock *s, uint32_t want)
{
	toed();
	return __real_shim_ready(s, want);
}

int __wrap_shim_eq_alloc(struct shim_region *r, int event_fd);
int __wrap_shim_eq_alloc(struct shim_region *r, int event_fd)
{
	(void)r, (void)event_fd;
	return 0;
}

uint64_t __wrap_shim_relisten_slow(void);
uint64_t __wrap_shim_relisten_slow(void)
{
	struct shim_region *r = &shim_regions[1];

	r->dead = 0;
	r->slot[1].rx_prod = sizeof(struct toe_shm_accept);
	shim_session.pid = shim_pid;
	shim_session.number++;
	shim_session.homeless = 0;
	shim_place(listener, r, 1);
	shim_epoll_home(listener);
	return SHIM_FOREVER;
}

static void overslept(int n, bool forever)
{
	if (n > 0 || !forever)
		return;
	printf("toed ended at look %d, and the thread sleeps on\n", at);
	exit(1);
}

static int ppoll_within(struct pollfd *fds, nfds_t n, const struct timespec *t,
			const sigset_t *mask)
{
	static const struct timespec limit = {.tv_sec = OVERSLEPT_MS / 1000};
	int rc;

	looks = t ? looks : LOOKS;
	toed();
	rc = libc.ppoll(fds, n, t ? t : &limit, mask);
	overslept(rc, !t);
	return rc;
}

static int epoll_within(int epfd, struct epoll_event *events, int max, int timeout,
			const sigset_t *mask)
{
	int rc;

	looks = timeout >= 0 ? looks : LOOKS;
	toed();
	rc = libc.epoll_pwait(epfd, events, max, timeout >= 0 ? timeout : OVERSLEPT_MS, mask);
	overslept(rc, timeout < 0);
	return rc;
}

/* a_listener makes a socket that both the kernel and toed have listen. */
static int a_listener(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int fd = shim_real()->socket(AF_INET, SOCK_STREAM, 0);

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = shim_sock_new(AF_INET, false);
	if (fd < 0 || !listener || shim_real()->bind(fd, (struct sockaddr *)&any, sizeof any) < 0 ||
	    shim_real()->listen(fd, 1) < 0)
		abort();
	for (uint32_t i = 0; i < 2; i++)
		shim_regions[i] = (struct shim_region){.id = i + 1,
						       .dead = i,
						       .header = &header[i],
						       .nworkers = 1,
						       .nslots = 2,
						       .neqs = 1,
						       .eq = &queues[i],
						       .slot = slots[i]};
	shim_session.pid = shim_pid;
	shim_session.number = 1;
	shim_place(listener, &shim_regions[0], 1);
	listener->asked = 1;
	listener->role = SHIM_LISTENER;
	shim_fd_bind(fd, &listener->obj);
	libc = *shim_real();
	shim_libc_table.ppoll = ppoll_within;
	shim_libc_table.epoll_pwait = epoll_within;
	return fd;
}

/* What toed answers to a listen, and that it has. */
static uint32_t answer;
static bool answered;

int __wrap_shim_wait_slot(struct shim_region *r, struct toe_shm_slot *p, uint32_t seq,
			  uint64_t deadline, uint32_t how);
int __wrap_shim_wait_slot(struct shim_region *r, struct toe_shm_slot *p, uint32_t seq,
			  uint64_t deadline, uint32_t how)
{
	(void)r, (void)seq, (void)deadline, (void)how;
	if (shim_region_ok(listener->region)) {
		printf("before toed has answered it is in a place of toed's\n");
		exit(1);
	}
	p->state = answer;
	answered = true;
	return 0;
}

/* asking has toed take a listener or not; those who wait for it meanwhile take it for homeless. */
static bool asking(int fd)
{
	static struct toe_shm_cmdq queue;
	static struct toe_shm_loan slots_lent = {.prod = 1, .entry = {1}}, chunks_lent;
	struct shim_region *own = &shim_regions[1];
	uint8_t reason;
	uint32_t state;

	for (uint32_t i = 0; i < TOE_CMD_ENTRIES; i++)
		queue.entry[i].stamp = i;
	own->dead = 0;
	own->cmdq = &queue;
	own->slot_loan = &slots_lent;
	own->chunk_loan = &chunks_lent;
	shim_session.own = own;
	shim_listen_alone(listener, false);
	state = shim_listen_ask(listener, fd, 1, &reason);
	return answered && state == answer &&
	       (listener->region == own) == (answer == TOE_SLOT_LISTEN);
}

static bool declined(int fd)
{
	answer = TOE_SLOT_DECLINED;
	return asking(fd);
}

static bool taken(int fd)
{
	answer = TOE_SLOT_LISTEN;
	return asking(fd);
}

static bool by_poll(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	looks = 0;
	return poll(&p, 1, -1) == 1 && p.revents == POLLIN;
}

static bool by_epoll(int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 7};
	int epfd = epoll_create1(0);

	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) < 0)
		abort();
	looks = 0;
	return epoll_wait(epfd, &e, 1, -1) == 1 && e.events == EPOLLIN && e.data.u32 == 7;
}

int main(void)
{
	static bool (*const ways[])(int fd) = {declined, taken, by_poll, by_epoll};
	int status, n = 0;

	shim_config.spin_ns = 0;
	for (int way = 0; way < 4; way++)
		for (at = way < 2 ? LOOKS : 0; at <= LOOKS; at++, n++) {
			fflush(stdout);
			if (fork() == 0) {
				looks = -LOOKS; /* not before it waits */
				exit(ways[way](a_listener()) ? 0 : 2);
			}
			if (wait(&status) < 0 || status != 0) {
				printf("way %d, look %d: status %#x\n", way, at, status);
				return 1;
			}
		}
	printf("%d turns\n", n);
	return 0;
}
