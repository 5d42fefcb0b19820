#include "pmd_eal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

int
pmd_eal_init(int argc, char **argv)
{
	static atomic_flag started = ATOMIC_FLAG_INIT;
	static char **copy; /* EAL keeps and permutes it; the caller goes on to free its own */

	/* EAL knows that too, but prints before it says so. */
	if (atomic_flag_test_and_set(&started))
		return -EALREADY;
	copy = calloc((size_t)argc + 1, sizeof(*copy));
	if (copy == NULL)
		return -ENOMEM;
	for (int i = 0; i < argc; i++) {
		copy[i] = strdup(argv[i]);
		if (copy[i] == NULL)
			return -ENOMEM;
	}
	/* Without this libxdp would pin a dispatcher under /sys/fs/bpf, which outlives us. The
	 * interfaces that we drive are ours, nobody else's XDP programs need to run there. */
	setenv("LIBXDP_SKIP_DISPATCHER", "1", 0);
	rte_errno = 0;
	if (rte_eal_init(argc, copy) < 0)
		return rte_errno != 0 ? -rte_errno : -EINVAL;
	pmd_log_adopt();
	return 0;
}

int
pmd_eal_cleanup(void)
{
	return rte_eal_cleanup();
}

const char *
pmd_eal_runtime_dir(void)
{
	const char *dir = rte_eal_get_runtime_dir();

	return dir != NULL ? dir : "";
}

int
pmd_thread_register(void)
{
	if (rte_lcore_id() != LCORE_ID_ANY)
		return 0;
	return rte_thread_register() < 0 ? -rte_errno : 0;
}

void
pmd_thread_unregister(void)
{
	rte_thread_unregister();
}

char **
pmd_args_new(int n)
{
	return calloc((size_t)n, sizeof(char *));
}

void
pmd_args_set(char **args, int i, char *s)
{
	args[i] = s;
}

void
pmd_args_free(char **args, int n)
{
	for (int i = 0; i < n; i++)
		free(args[i]);
	free(args);
}

void
pmd_string_free(char *s)
{
	free(s);
}
