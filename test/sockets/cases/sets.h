/* sets.h - what the cases about epoll share. */
#ifndef SETS_H
#define SETS_H

#include "cases.h"

__attribute__((unused)) static void ctl(int ep, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	MUST(epoll_ctl(ep, op, fd, &e));
}

__attribute__((unused)) static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	ctl(ep, EPOLL_CTL_ADD, fd, events, data);
}

/* collect tells what a set has, ordered by data, which is below 64. */
__attribute__((unused)) static void collect(const char *what, int ep, int timeout)
{
	struct epoll_event e[64];
	int n = epoll_wait(ep, e, 64, timeout);
	char name[80];

	if (n <= 0)
		tell(what, n);
	for (uint64_t d = 0; n > 0 && d < 64; d++)
		for (int i = 0; i < n; i++)
			if (e[i].data.u64 == d) {
				snprintf(name, sizeof name, "%s: %llu", what, (unsigned long long)d);
				tell_events(name, e[i].events);
			}
}

/* hear_of waits until each of the sets' members in want was reported. */
__attribute__((unused)) static void hear_of(int ep, uint64_t want)
{
	while (want) {
		struct epoll_event e[8];
		int n = MUST(epoll_wait(ep, e, 8, -1));

		for (int i = 0; i < n; i++)
			want &= ~(1ull << e[i].data.u64);
	}
}

#endif
