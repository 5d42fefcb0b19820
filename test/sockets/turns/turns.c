/*
 * turns.c - what toed does to a socket while a thread is reading it.
 *
 * The library's own objects, linked with a toed of a few lines that changes a slot in memory.
 * Whenever the reader looks at the slot toed may have moved: every sequence of looks and moves is
 * tried. The wrapped functions (ld --wrap) are the looks; a wait lets toed finish.
 */
#include "../../../sockshim/preload/shim.h"

#include <stdlib.h>
#include <string.h>

enum { MOVES = 2, LOOKS = 24, OCTETS = 3 };

static struct toe_shm_region header;
static struct toe_shm_slot slot;
static uint8_t chunks[2 * TOE_CHUNK_BYTES];
static struct shim_region region = {
	.header = &header, .slot = &slot, .chunk = chunks, .nchunks = 2};

/* A toed makes move i before look at[i]; the moves keep their order. */
static void (*moves[MOVES])(void);
static int at[MOVES], moved, looks;

static void toed(void)
{
	while (moved < MOVES && looks >= at[moved])
		moves[moved++]();
	looks++;
}

#define LOOK(type, name, parameters, ...)            \
	type __real_##name parameters;               \
	type __wrap_##name parameters;               \
	type __wrap_##name parameters                \
	{                                            \
		type result;                         \
                                                     \
		toed();                              \
		result = __real_##name(__VA_ARGS__); \
		toed();                              \
		return result;                       \
	}

LOOK(bool, shim_rx_ended, (struct shim_sock * s), s)
LOOK(uint64_t, shim_unread, (struct shim_sock * s), s)
LOOK(uint64_t, shim_urgent, (const struct toe_shm_slot *p), p)

int __wrap_shim_wait_slot(struct shim_region *r, struct toe_shm_slot *p, uint32_t seq,
			  uint64_t deadline, uint32_t how);
int __wrap_shim_wait_slot(struct shim_region *r, struct toe_shm_slot *p, uint32_t seq,
			  uint64_t deadline, uint32_t how)
{
	(void)r, (void)how, (void)deadline;
	looks = LOOKS;
	toed();
	if (p->event_seq == seq) {
		printf("it waits for what has come\n");
		exit(1);
	}
	return 0;
}

/* What toed does, in the order in which it does it. */

static void octets_come(void)
{
	memcpy(chunks + TOE_CHUNK_BYTES, "abc", OCTETS);
	store_release(&slot.rx_entry[0], 1);
	store_release(&slot.rx_prod, OCTETS);
	__atomic_fetch_add(&slot.event_seq, 1, __ATOMIC_SEQ_CST);
}

static void urgent_octets_come(void)
{
	store_release(&slot.rx_urg, OCTETS);
	octets_come();
}

static void peer_closes(void)
{
	__atomic_fetch_or(&slot.rx_flags, TOE_RX_EOF, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&slot.event_seq, 1, __ATOMIC_SEQ_CST);
}

static void peer_resets(void)
{
	store_release(&slot.error, ECONNRESET);
	__atomic_fetch_or(&slot.rx_flags, TOE_RX_RESET, __ATOMIC_SEQ_CST);
	store_release(&slot.state, TOE_SLOT_CLOSED);
	__atomic_fetch_add(&slot.event_seq, 1, __ATOMIC_SEQ_CST);
}

/* One read. */
struct reading {
	const char *what;
	void (*moves[MOVES])(void);
	int flags;
	size_t room;
	ssize_t want; /* a read that does not wait may also give EAGAIN, one of urgent octets EINVAL
		       */
	ssize_t then; /* what a read afterwards gives */
};

static ssize_t read_with(struct shim_sock *s, int flags, size_t room)
{
	char into[8] = {0};
	struct iovec iov = {.iov_base = into, .iov_len = room};
	struct shim_iter it = {.iov = &iov, .count = 1};
	ssize_t n = shim_recv(s, -1, shim_iter_drain, &it, room, flags);

	if (n > 0 && memcmp(into, (flags & MSG_OOB) ? "c" : "abc", (size_t)n) != 0)
		return -EBADMSG;
	return n;
}

/* try_one reports whether the reader saw what it should with the moves where they are now. */
static bool try_one(const struct reading *r)
{
	struct shim_sock s = {.role = SHIM_CONN,
			      .region = &region,
			      .slot = &slot,
			      .opt.linger = -1,
			      .rx_step = ~0u};
	ssize_t n, then;

	memset(&slot, 0, sizeof slot);
	slot.state = TOE_SLOT_ESTABLISHED;
	memcpy(moves, r->moves, sizeof moves);
	moved = looks = 0;
	n = read_with(&s, r->flags, r->room);
	if (n == -EAGAIN && (r->flags & (MSG_DONTWAIT | MSG_OOB)))
		n = r->want;
	if (n == -EINVAL && (r->flags & MSG_OOB))
		n = r->want;
	looks = LOOKS;
	toed();
	then = read_with(&s, 0, sizeof "abc");
	if (n == r->want && (then == r->then || (then == OCTETS && (r->flags & MSG_DONTWAIT))))
		return true;
	printf("%s: %zd, then %zd, with moves before looks %d and %d\n", r->what, n, then, at[0],
	       at[1]);
	return false;
}

int main(void)
{
	static const struct reading readings[] = {
		{"octets, end", {octets_come, peer_closes}, 0, 8, OCTETS, 0},
		{"octets, reset", {octets_come, peer_resets}, 0, 8, OCTETS, -ECONNRESET},
		{"all octets, end", {octets_come, peer_closes}, MSG_WAITALL, 8, OCTETS, 0},
		{"at once", {octets_come, peer_closes}, MSG_DONTWAIT, 8, OCTETS, 0},
		{"peek", {octets_come, peer_closes}, MSG_PEEK, 8, OCTETS, OCTETS},
		{"peek at all",
		 {octets_come, peer_closes},
		 MSG_PEEK | MSG_WAITALL,
		 8,
		 OCTETS,
		 OCTETS},
		{"urgent", {urgent_octets_come, peer_closes}, MSG_OOB, 1, 1, OCTETS - 1},
	};
	int n = 0;

	for (size_t i = 0; i < sizeof readings / sizeof *readings; i++)
		for (at[0] = 0; at[0] <= LOOKS; at[0]++)
			for (at[1] = at[0]; at[1] <= LOOKS; at[1]++, n++)
				if (!try_one(&readings[i]))
					return 1;
	printf("%d turns\n", n);
	return 0;
}
