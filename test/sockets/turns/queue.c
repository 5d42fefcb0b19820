/*
 * queue.c - two processes that share a listener and one connection in the kernel's queue.
 *
 * The library's own objects. Toed comes: one process has the listener there already, the other does
 * not. The second to see the connection has to wait until the first has accepted it: if both went
 * to accept, one would be left there, blocked, deaf to what comes by toed.
 */
#include "../../../sockshim/preload/shim.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct toe_shm_region header;
static struct shim_region *toeds = &shim_regions[0];
static struct shim_libc libc;
static int queue; /* the listener's descriptor */
static pid_t other;
static int gate[2]; /* the parent says that it has seen the connection, */
static bool *taken; /* and here that it has taken it */

/* sleeps reports whether a process is blocked in the kernel. */
static bool sleeps(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		abort();
	fclose(f);
	return state == 'S' || state == 'Z';
}

/* The parent, which has seen the connection, waits until its child can get no further. */
static int poll_parent(struct pollfd *fds, nfds_t n, int timeout)
{
	static bool told;
	int rc = libc.poll(fds, n, timeout);

	if (rc == 1 && fds[0].fd == queue && !told) {
		told = true;
		if (libc.write(gate[1], "x", 1) != 1)
			abort();
		while (!sleeps(other))
			libc.poll(NULL, 0, 1);
	}
	return rc;
}

/* The child must not see what the parent is about to take. */
static int poll_child(struct pollfd *fds, nfds_t n, int timeout)
{
	int rc = libc.poll(fds, n, timeout);

	if (rc == 1 && fds[0].fd == queue && !load_acquire(taken)) {
		printf("both have seen it\n");
		exit(1);
	}
	return rc;
}

static int knock(void)
{
	struct sockaddr_in to;
	socklen_t len = sizeof to;
	int fd = libc.socket(AF_INET, SOCK_STREAM, 0);

	if (libc.getsockname(queue, (struct sockaddr *)&to, &len) < 0 ||
	    libc.connect(fd, (struct sockaddr *)&to, len) < 0)
		abort();
	return fd;
}

static void in_child(struct shim_sock *s, bool there)
{
	char c;

	if (there)
		shim_place(s, toeds, 1);
	shim_libc_table.poll = poll_child;
	if (libc.read(gate[0], &c, 1) != 1)
		abort();
	exit(accept(queue, NULL, NULL) < 0);
}

/* share has the parent, the child or both with the listener at toed. */
static void share(bool parent, bool child)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct shim_sock *s = shim_sock_new(AF_INET, false);
	int status;

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	queue = shim_real()->socket(AF_INET, SOCK_STREAM, 0);
	if (queue < 0 || !s || pipe(gate) < 0 ||
	    shim_real()->bind(queue, (struct sockaddr *)&any, sizeof any) < 0 ||
	    shim_real()->listen(queue, 5) < 0)
		abort();
	shim_fd_bind(queue, &s->obj);
	shim_listen_alone(s, true);
	knock();
	other = fork();
	if (other == 0)
		in_child(s, child);
	if (parent)
		shim_place(s, toeds, 1);
	shim_libc_table.poll = poll_parent;
	if (accept(queue, NULL, NULL) < 0)
		abort();
	store_release(taken, true);
	knock(); /* for the child */
	if (waitpid(other, &status, 0) != other || status != 0)
		exit(1);
	exit(0);
}

int main(void)
{
	int status;

	snprintf(shim_config.path, sizeof shim_config.path, "/nowhere");
	libc = *shim_real();
	*toeds = (struct shim_region){.id = 1, .header = &header, .nworkers = 1, .nslots = 2};
	toeds->slot = mmap(NULL, 2 * sizeof *toeds->slot, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	taken = mmap(NULL, sizeof *taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	for (int way = 0; way < 4; way++) {
		*taken = false;
		fflush(stdout);
		if (fork() == 0)
			share(way & 1, way & 2);
		if (wait(&status) < 0 || status != 0) {
			printf("way %d: status %#x\n", way, status);
			return 1;
		}
	}
	printf("4 turns\n");
	return 0;
}
