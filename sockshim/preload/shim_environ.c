/*
 * shim_environ.c - what a program that inherits sockets needs in its environment.
 *
 * Servers that start a new version of themselves hand it their sockets and an environment of their
 * own making (nginx's binary upgrade). Without LD_PRELOAD in it the new program would have
 * descriptors on which nothing ever comes. Who hands no socket of the TOE over decides for himself.
 */
#include "shim.h"

#include <fcntl.h>
#include <string.h>

#define PRELOAD 0
#define VARIABLES 4
static const char *const names[VARIABLES] = {"LD_PRELOAD", "TOE_SOCKET", "TOE_SPIN_US",
					     "TOE_SHIM_LOG"};
static char *kept[VARIABLES]; /* NAME=value as this program was started with, or NULL */

static const char *value_of(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && entry[n] == '=' ? entry + n + 1 : NULL;
}

static const char *find(char *const envp[], const char *name)
{
	const char *value = NULL;

	for (; envp && *envp && !value; envp++)
		value = value_of(*envp, name);
	return value;
}

void shim_environ_note(char *const envp[])
{
	for (int i = 0; i < VARIABLES; i++) {
		const char *value = find(envp, names[i]);
		size_t n = value ? strlen(names[i]) + strlen(value) + 2 : 0;

		/* A copy: programs write their title over the environment. */
		if (n && (kept[i] = shim_pages(n)))
			snprintf(kept[i], n, "%s=%s", names[i], value);
	}
}

/* lacks reports whether variable i has to be put into envp; *has is what there is. */
static bool lacks(char *const envp[], int i, const char **has)
{
	*has = find(envp, names[i]);
	if (!kept[i])
		return false;
	return !*has || (i == PRELOAD && !strstr(*has, value_of(kept[i], names[i])));
}

size_t shim_environ_room(char *const envp[])
{
	size_t entries = VARIABLES + 1, text = 0;
	bool any = false;

	for (int i = 0; i < VARIABLES; i++) {
		const char *has;

		if (!lacks(envp, i, &has))
			continue;
		any = true;
		if (has)
			text = strlen(kept[i]) + strlen(has) + 2;
	}
	if (!any)
		return 0;
	for (; envp && *envp; envp++)
		entries++;
	return entries * sizeof(char *) + text;
}

char *const *shim_environ_fill(char *const envp[], void *room)
{
	char **list = room, *text;
	size_t n = 0;
	const char *preloaded, *has;
	bool prepend = lacks(envp, PRELOAD, &preloaded) && preloaded;

	for (char *const *e = envp; e && *e; e++)
		if (!prepend || !value_of(*e, names[PRELOAD]))
			list[n++] = *e;
	for (int i = 0; i < VARIABLES; i++)
		if (lacks(envp, i, &has))
			list[n++] = kept[i];
	if (prepend) { /* what is preloaded besides comes after us */
		text = (char *)(list + n + 1);
		strcpy(stpcpy(stpcpy(text, kept[PRELOAD]), ":"), preloaded);
		for (size_t i = 0; i < n; i++)
			if (list[i] == kept[PRELOAD])
				list[i] = text;
	}
	list[n] = NULL;
	return list;
}
