/* shim_uring.c - io_uring is refused: a ring's calls would meet the placeholder, past us.
 *
 * shim_syscall.c refuses what passes libc. liburing makes its system calls itself; those a seccomp
 * filter refuses. The kernel lets a process have one that is privileged, or that has given up
 * gaining privileges by exec; the latter is not ours to decide unless TOE_IO_URING says so.
 */
#include "shim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

bool shim_uring_allowed;

/* install puts the filter up: 0 or -1 with errno. The numbers are the same on all architectures. */
static int install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};

	return (int)shim_real()->syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
					 SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
}

void shim_uring_refuse(void)
{
	const char *how = getenv("TOE_IO_URING");
	int saved = errno;

	shim_uring_allowed = how && strcmp(how, "allow") == 0;
	if (shim_uring_allowed)
		return;
	/* A parent's filter is ours already: there would be one more with every exec. */
	if (shim_real()->syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != ENOSYS) {
		if (how && strcmp(how, "refuse") == 0)
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (install() < 0)
			shim_log(1, "io_uring is refused by syscall(2) only: %d", errno);
	}
	errno = saved;
}
