/*
 * shim_stream.c - octets in and out of a slot's streams.
 *
 * A stream's octets live in chunks that a directory names. Of the receive stream toed writes the
 * directory; of the send stream we do, with chunks that toed has lent us. toed is trusted not to
 * harm us, but a chunk number is checked all the same: a damaged memory file must end in a
 * connection error, not in a fault somewhere in the program.
 */
#include "shim.h"

#include <string.h>

#define DIR_LEVEL_SHIFT 28u
#define DIR_CHUNK_MASK 0x0fffffffu
#define CHUNK_MASK (TOE_CHUNK_BYTES - 1u)

static uint8_t *chunk_at(const struct shim_region *r, uint32_t chunk)
{
	if (unlikely(chunk == 0 || chunk >= r->nchunks))
		return NULL;
	return r->chunk + ((size_t)chunk << TOE_CHUNK_SHIFT);
}

/* dir_cell returns the directory's cell for the chunk of the given index, NULL if there is none. */
static uint32_t *dir_cell(const struct shim_region *r, uint32_t *inline_dir, uint32_t dir,
			  uint64_t index)
{
	uint32_t level = dir >> DIR_LEVEL_SHIFT;
	uint32_t *cells;

	if (likely(level == 0))
		return &inline_dir[index % TOE_DIR_INLINE];
	cells = (uint32_t *)chunk_at(r, dir & DIR_CHUNK_MASK);
	if (level == 2 && cells)
		cells = (uint32_t *)chunk_at(
			r, load_acquire(&cells[index / TOE_DIR_CHUNK % TOE_DIR_CHUNK]));
	return cells ? &cells[index % TOE_DIR_CHUNK] : NULL;
}

/* rx_chunk finds the chunk that holds position pos. The directory may be replaced by a larger one
 * while we look: then look again. */
static const uint8_t *rx_chunk(struct shim_sock *s, uint64_t pos)
{
	for (;;) {
		uint32_t dir = load_acquire(&s->slot->rx_dir);
		uint32_t *cell =
			dir_cell(s->region, s->slot->rx_entry, dir, pos >> TOE_CHUNK_SHIFT);
		uint32_t chunk = cell ? load_acquire(cell) : 0;

		if (likely(load_acquire(&s->slot->rx_dir) == dir))
			return chunk_at(s->region, chunk);
	}
}

ssize_t shim_rx_copy(struct shim_sock *s, uint64_t pos, size_t n, shim_drain drain, void *arg)
{
	size_t done = 0;

	while (done < n) {
		size_t offset = (size_t)(pos + done) & CHUNK_MASK, part = TOE_CHUNK_BYTES - offset;
		const uint8_t *chunk = rx_chunk(s, pos + done);
		ssize_t got;

		if (!chunk)
			return done ? (ssize_t)done
				    : (shim_region_ok(s->region) ? -EIO : -ECONNRESET);
		if (part > n - done)
			part = n - done;
		got = drain(arg, chunk + offset, part);
		if (got < 0)
			return done ? (ssize_t)done : got;
		done += (size_t)got;
		if ((size_t)got < part)
			break;
	}
	return (ssize_t)done;
}

/* dir_take borrows a chunk and clears it for use as a directory; 0 if there is none. */
static uint32_t dir_take(struct shim_sock *s)
{
	uint32_t chunk = shim_loan_take(&s->region->chunk_loan[s->slot->worker]);
	uint8_t *memory = chunk_at(s->region, chunk);

	if (!memory)
		return 0;
	memset(memory, 0, TOE_CHUNK_BYTES);
	return chunk;
}

/* level2_reach makes the second-level directory for index exist. */
static bool level2_reach(struct shim_sock *s, uint32_t dir, uint64_t index)
{
	uint32_t *top = (uint32_t *)chunk_at(s->region, dir & DIR_CHUNK_MASK), *cell, sub;

	if (!top)
		return false;
	cell = &top[index / TOE_DIR_CHUNK % TOE_DIR_CHUNK];
	if (load_acquire(cell) != 0)
		return true;
	sub = dir_take(s);
	if (sub == 0)
		return false;
	store_release(cell, sub);
	return true;
}

/* tx_reach makes the send directory large enough to hold the chunk of the given index beside those
 * that are not acknowledged. Chunks before those belong to toed again and are not copied. */
static bool tx_reach(struct shim_sock *s, uint64_t index)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t first = load_acquire(&slot->tx_cons) >> TOE_CHUNK_SHIFT;
	uint32_t dir = slot->tx_dir, level = dir >> DIR_LEVEL_SHIFT, chunk;
	uint64_t room = level == 0 ? TOE_DIR_INLINE - 1 : TOE_DIR_CHUNK - 1;

	if (level < 2 && index - first >= room) {
		uint32_t bigger = dir_take(s);

		if (bigger == 0)
			return false;
		bigger |= (level + 1) << DIR_LEVEL_SHIFT;
		for (uint64_t i = first; i < index; i++) {
			uint32_t *from = dir_cell(s->region, slot->tx_entry, dir, i), *to;

			if (level == 1 && !level2_reach(s, bigger, i))
				return false; /* the chunks taken are lost until the region goes */
			to = dir_cell(s->region, slot->tx_entry, bigger, i);
			chunk = from ? load_acquire(from) : 0;
			store_release(to, chunk);
		}
		store_release(&slot->tx_dir, bigger);
		dir = bigger;
		level++;
	}
	return level < 2 || level2_reach(s, dir, index);
}

/* tx_chunk returns the chunk for position pos, with TOE_DIR_WRITING set in *cell when toed could
 * take it back otherwise; NULL when no chunk can be had. */
static uint8_t *tx_chunk(struct shim_sock *s, uint64_t pos, uint32_t **cell)
{
	uint64_t index = pos >> TOE_CHUNK_SHIFT;
	bool fresh = (pos & CHUNK_MASK) == 0;
	uint32_t chunk = 0;

	if (fresh && !tx_reach(s, index))
		return NULL;
	*cell = dir_cell(s->region, s->slot->tx_entry, s->slot->tx_dir, index);
	if (!*cell)
		return NULL;
	if (!fresh)
		chunk = __atomic_fetch_or(*cell, TOE_DIR_WRITING, __ATOMIC_ACQ_REL) &
			~TOE_DIR_WRITING;
	if (chunk == 0) {
		chunk = s->spare ? s->spare
				 : shim_loan_take(&s->region->chunk_loan[s->slot->worker]);
		s->spare = 0;
		if (chunk_at(s->region, chunk))
			store_release(*cell, fresh ? chunk : chunk | TOE_DIR_WRITING);
		else if (!fresh)
			store_release(*cell, 0);
	}
	return chunk_at(s->region, chunk);
}

ssize_t shim_tx_copy(struct shim_sock *s, size_t n, shim_fill fill, void *arg)
{
	struct toe_shm_slot *slot = s->slot;
	size_t done = 0;

	while (done < n) {
		uint64_t pos = slot->tx_prod;
		size_t offset = (size_t)pos & CHUNK_MASK, part = TOE_CHUNK_BYTES - offset;
		uint32_t *cell;
		uint8_t *chunk = tx_chunk(s, pos, &cell);
		ssize_t put;

		if (!chunk)
			return done ? (ssize_t)done : -ENOBUFS;
		if (part > n - done)
			part = n - done;
		put = fill(arg, chunk + offset, part);
		if (put > 0) {
			store_release(&slot->tx_prod, pos + (uint64_t)put);
			done += (size_t)put;
		}
		if (offset != 0)
			__atomic_fetch_and(cell, ~TOE_DIR_WRITING, __ATOMIC_ACQ_REL);
		else if (put <= 0)
			s->spare = load_relaxed(cell);
		if (put < 0)
			return done ? (ssize_t)done : put;
		if ((size_t)put < part)
			break;
	}
	return (ssize_t)done;
}

static ssize_t iter_copy(struct shim_iter *it, uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t done = 0;

	while (done < n && it->count > 0) {
		size_t part = it->iov->iov_len - it->offset;
		uint8_t *user = (uint8_t *)it->iov->iov_base + it->offset;

		if (part > n - done)
			part = n - done;
		if (unlikely(part > 0 && !shim_pointer_ok(user)))
			return -EFAULT;
		if (dst && part > 0)
			memcpy(dst + done, user, part);
		else if (part > 0)
			memcpy(user, src + done, part);
		done += part;
		it->offset += part;
		if (it->offset == it->iov->iov_len) {
			it->iov++;
			it->count--;
			it->offset = 0;
		}
	}
	return (ssize_t)done;
}

ssize_t shim_iter_fill(void *iter, uint8_t *dst, size_t n)
{
	return iter_copy(iter, dst, NULL, n);
}

ssize_t shim_iter_drain(void *iter, const uint8_t *src, size_t n)
{
	return iter_copy(iter, NULL, src, n);
}

ssize_t shim_null_drain(void *arg, const uint8_t *src, size_t n)
{
	(void)arg;
	(void)src;
	return (ssize_t)n;
}
