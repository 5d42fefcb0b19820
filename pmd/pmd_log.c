#define _GNU_SOURCE
#include "pmd_eal.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_log.h>

static struct {
	pthread_mutex_t lock;
	bool capturing;
	bool verbose;
	size_t len;
	char text[PMD_LOG_SIZE];
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static ssize_t
log_write(void *cookie, const char *buf, size_t size)
{
	(void)cookie;
	pthread_mutex_lock(&log_state.lock);
	if (log_state.capturing) {
		size_t room = sizeof(log_state.text) - log_state.len;
		size_t n = size < room ? size : room;

		memcpy(log_state.text + log_state.len, buf, n);
		log_state.len += n;
	}
	if (!log_state.capturing || log_state.verbose) {
		ssize_t ignored = write(STDERR_FILENO, buf, size);
		(void)ignored; /* there is nowhere left to complain */
	}
	pthread_mutex_unlock(&log_state.lock);
	return (ssize_t)size;
}

/* libbpf and libxdp, through which the AF_XDP driver loads its XDP program, print by themselves.
 * Their warnings go where DPDK's lines go; the rest is idle talk about section names. */
static int
bpf_print(int level, const char *format, va_list args)
{
	char line[256];
	int n;

	if (level != 0)
		return 0;
	n = vsnprintf(line, sizeof(line), format, args);
	if (n > 0)
		log_write(NULL, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	return n;
}

/* The libraries come with the driver's plugin, if at all, so they are looked up, not linked. */
static void
adopt_printer(const char *library, const char *setter)
{
	typedef int (*print_fn)(int, const char *, va_list);
	union {
		void *symbol;
		print_fn (*set)(print_fn);
	} u;
	void *h = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);

	if (h == NULL)
		return;
	u.symbol = dlsym(h, setter);
	if (u.symbol != NULL)
		u.set(bpf_print);
	dlclose(h);
}

void
pmd_log_adopt(void)
{
	adopt_printer("libbpf.so.1", "libbpf_set_print");
	adopt_printer("libxdp.so.1", "libxdp_set_print");
}

int
pmd_log_open(int verbose)
{
	static const cookie_io_functions_t io = {.write = log_write};
	static FILE *f;

	if (f != NULL)
		return 0;
	f = fopencookie(NULL, "w", io);
	if (f == NULL)
		return -errno;
	setvbuf(f, NULL, _IOLBF, 512);
	log_state.verbose = verbose != 0;
	rte_openlog_stream(f);
	return 0;
}

void
pmd_log_capture(int on)
{
	pthread_mutex_lock(&log_state.lock);
	log_state.capturing = on != 0;
	log_state.len = 0;
	pthread_mutex_unlock(&log_state.lock);
}

size_t
pmd_log_take(char *buf, size_t size)
{
	size_t n;

	pthread_mutex_lock(&log_state.lock);
	n = log_state.len < size ? log_state.len : size;
	memcpy(buf, log_state.text, n);
	log_state.len = 0;
	pthread_mutex_unlock(&log_state.lock);
	return n;
}
