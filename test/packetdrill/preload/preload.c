/*
 * Takes the system calls that packetdrill makes of its own on descriptors of the stack: getsockopt for
 * the assertions on TCP_INFO, TCP_CC_INFO and SO_MEMINFO, sendfile, and system, which runs the
 * commands of scripts. Load it with LD_PRELOAD; the plug-in fills in toe_packetdrill_hooks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/sendfile.h>

#include "../interface.h"

struct toe_hooks toe_packetdrill_hooks;

int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	if (toe_packetdrill_hooks.getsockopt) {
		int r = toe_packetdrill_hooks.getsockopt(fd, level, name, val, len);
		if (r != TOE_NOT_OURS)
			return r;
	}
	int (*libc)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
	return libc(fd, level, name, val, len);
}

ssize_t sendfile(int out, int in, off_t *off, size_t len)
{
	if (toe_packetdrill_hooks.sendfile) {
		ssize_t r = toe_packetdrill_hooks.sendfile(out, in, off, len);
		if (r != TOE_NOT_OURS)
			return r;
	}
	ssize_t (*libc)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile");
	return libc(out, in, off, len);
}

int system(const char *command)
{
	if (toe_packetdrill_hooks.system && command)
		toe_packetdrill_hooks.system(command);
	int (*libc)(const char *) = dlsym(RTLD_NEXT, "system");
	return libc(command);
}
