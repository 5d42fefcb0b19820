#define _GNU_SOURCE
#include "pmd_eal.h"

#include <errno.h>
#include <pthread.h>
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
