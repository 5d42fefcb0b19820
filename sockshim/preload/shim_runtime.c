/* shim_runtime.c - process-wide state: configuration, memory, locks, time, log. */
#include "shim.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLAB_GRAIN (64u << 10)
#define CONTENDED 0x80000000u /* in a mutex' word: somebody waits */

struct shim_config shim_config;
pid_t shim_pid;
__thread uint32_t shim_tid_cached __attribute__((tls_model("initial-exec")));

uint32_t shim_tid_fetch(void)
{
	return shim_tid_cached = (uint32_t)shim_real()->syscall(SYS_gettid);
}

bool shim_foreign(void)
{
	return getpid() != shim_pid;
}

uint64_t shim_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t shim_deadline(const struct timespec *t)
{
	const uint64_t second = 1000000000u, years = 100ull * 365 * 86400;

	if (!t || (uint64_t)t->tv_sec > years)
		return SHIM_FOREVER;
	if (t->tv_sec == 0 && t->tv_nsec == 0)
		return 0;
	return shim_now() + (uint64_t)t->tv_sec * second + (uint64_t)t->tv_nsec;
}

void *shim_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void **slab_link(struct shim_slab *slab, void *object)
{
	return (void **)((char *)object + slab->size - sizeof(void *));
}

void *shim_slab_take(struct shim_slab *slab)
{
	char *fresh = NULL;
	void *object = NULL;

	shim_mutex_lock(&slab->lock);
	/* Only the lock's holder takes, so that the first of the list stays where it is, but for
	 * others that are put before it. A signal handler that has interrupted the holder leaves
	 * the list alone. */
	if (slab->lock.depth == 0) {
		object = load_acquire(&slab->free);
		while (object &&
		       !__atomic_compare_exchange_n(&slab->free, &object, *slab_link(slab, object),
						    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			;
	}
	if (!object)
		object = fresh = shim_pages(SLAB_GRAIN);
	shim_mutex_unlock(&slab->lock);
	for (size_t i = slab->size; fresh && i + slab->size <= SLAB_GRAIN; i += slab->size)
		shim_slab_give(slab, fresh + i);
	return object;
}

void shim_slab_give(struct shim_slab *slab, void *object)
{
	void *first = load_relaxed(&slab->free);

	do
		*slab_link(slab, object) = first;
	while (!__atomic_compare_exchange_n(&slab->free, &first, object, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

void shim_mutex_lock(struct shim_mutex *m)
{
	uint32_t v = 0, mark = 0, tid = shim_tid();

	while (!__atomic_compare_exchange_n(&m->word, &v, tid | mark, false, __ATOMIC_ACQUIRE,
					    __ATOMIC_RELAXED)) {
		if ((v & ~CONTENDED) == tid) {
			m->depth++;
			return;
		}
		/* Who had to wait leaves the mark: others may be waiting still. */
		mark = CONTENDED;
		if ((v & CONTENDED) ||
		    __atomic_compare_exchange_n(&m->word, &v, v | CONTENDED, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			shim_futex_wait(&m->word, v | CONTENDED, SHIM_FOREVER, false);
		v = 0;
	}
}

void shim_mutex_unlock(struct shim_mutex *m)
{
	if (m->depth > 0)
		m->depth--;
	else if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) & CONTENDED)
		shim_futex_wake(&m->word, 1, false);
}

void shim_log_line(const char *format, ...)
{
	int saved = errno;
	char line[512];
	int type, n = snprintf(line, sizeof line, "toe_shim[%d]: ", (int)getpid());
	socklen_t len = sizeof type;
	va_list args;

	va_start(args, format);
	n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
	va_end(args);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	/* Not to a socket (inetd's programs): whose peer would read it, or be the end of us. */
	if (shim_real()->getsockopt(STDERR_FILENO, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		(void)!shim_real()->write(STDERR_FILENO, line, (size_t)n);
	errno = saved;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static void share(int fd, struct shim_obj *o, void *arg)
{
	(void)fd;
	(void)arg;
	if (o->kind == SHIM_SOCK)
		shim_sock_share((struct shim_sock *)o);
}

/* after_fork_child gives the child its own identity. It keeps the inherited control connection and
 * mappings until it first needs toed, so that the parent's end does not take the sockets along. */
static void after_fork_child(void)
{
	shim_tid_cached = 0;
	shim_tid(); /* now: it may be that the child cannot ask later */
	shim_pid = getpid();
	shim_mutex_unlock(&shim_session.lock);
	shim_fds_after_fork();
	shim_stdio_after_fork();
	shim_poll_after_fork();
	shim_epoll_after_fork(true);
}

static void after_fork_parent(void)
{
	shim_fds_each(share, NULL); /* another thread may have opened more before it was done */
	shim_mutex_unlock(&shim_session.lock);
	shim_epoll_after_fork(false);
}

void shim_before_fork(void)
{
	shim_epoll_before_fork();
	shim_mutex_lock(&shim_session.lock);
	shim_fds_each(share, NULL);
}

void shim_after_fork(bool child)
{
	if (child)
		after_fork_child();
	else
		after_fork_parent();
}

int pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

__attribute__((constructor)) static void start(void)
{
	shim_real();
	shim_pid = getpid();
	/* A copy: programs write their title over the environment (nginx's workers do). */
	const char *path = getenv("TOE_SOCKET");
	snprintf(shim_config.path, sizeof shim_config.path, "%s",
		 path && *path ? path : "/run/opentoe/toed.sock");
	shim_config.log_level = (int)number("TOE_SHIM_LOG", 0);
	shim_config.spin_ns = number("TOE_SPIN_US", 20) * 1000;
	shim_environ_note(environ);
	pthread_atfork(shim_before_fork, after_fork_parent, after_fork_child);
	shim_uring_refuse();
	for (int fd = 0; fd <= 2; fd++)
		shim_stdio_check(fd);
}
