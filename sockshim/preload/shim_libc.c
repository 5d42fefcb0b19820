/* shim_libc.c - libc's own versions of what we interpose. */
#include "shim.h"

#include <dlfcn.h>

struct shim_libc shim_libc_table;

/*
 * shim_libc_resolve may run before any constructor and in several threads at once: it writes the
 * same values each time and allocates nothing (a successful dlsym does not).
 */
void shim_libc_resolve(void)
{
#define X(ret, name, args) shim_libc_table.name = (ret(*) args)dlsym(RTLD_NEXT, #name);
	SHIM_LIBC(X)
#undef X
	store_release(&shim_libc_table.ready, true);
}
