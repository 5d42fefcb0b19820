/* shim_io.c - reading and writing offloaded connections: the data path. */
#include "shim.h"

#include <fcntl.h>

bool shim_nonblock(struct shim_sock *s, int fd)
{
	int flags;

	if (likely(s->held))
		return load_relaxed(&s->slot->nonblock);
	flags = s->shared ? shim_real()->fcntl64(fd, F_GETFL) : -1;
	return flags >= 0 ? flags & O_NONBLOCK : s->nonblock;
}

void shim_set_nonblock(struct shim_sock *s, bool on)
{
	s->nonblock = on;
	if (s->held)
		store_relaxed(&s->slot->nonblock, on);
}

int shim_take_error(struct shim_sock *s)
{
	if (load_relaxed(&s->slot->error) == 0)
		return 0;
	return (int)__atomic_exchange_n(&s->slot->error, 0, __ATOMIC_ACQ_REL);
}

static uint64_t deadline_of(uint64_t timeout)
{
	return timeout ? shim_now() + timeout : SHIM_FOREVER;
}

static int timed_out(int rc)
{
	return rc == -ETIMEDOUT ? -EAGAIN : rc;
}

/* rx_advance moves rx_cons and lets toed know when enough has been read to matter for the window or
 * to give a chunk back. Small reads go untold: at most rx_step octets of window. */
static void rx_advance(struct shim_sock *s, uint64_t pos)
{
	store_release(&s->slot->rx_cons, pos);
	if (pos - s->rx_told >= s->rx_step) {
		s->rx_told = pos;
		shim_post_once(s->region, s->slot_no, TOE_OP_RX_DATA_ACK);
	}
}

/* rx_outcome says what a read returns that has found nothing in a stream that is over: 0 at its
 * end, -errno, or 1 if it is only not over for us: another thread has taken the error. */
static int rx_outcome(struct shim_sock *s)
{
	int e;

	if (load_acquire(&s->slot->rx_flags) & TOE_RX_FIN)
		return 0; /* an error that came after the peer's end is for those who write */
	e = shim_take_error(s);
	if (e)
		return -e;
	if (!shim_region_ok(s->region))
		return -ECONNRESET;
	return shim_rx_ended(s) ? 0 : 1;
}

/* rx_limit makes a read stop before the urgent octet, and one that begins there pass over it unless
 * it is in line: it was, or was to be, read by MSG_OOB. */
static void rx_limit(struct shim_sock *s, uint64_t urgent, bool peek, uint64_t *pos,
		     uint64_t *unread)
{
	if (urgent > *pos) {
		if (urgent - *pos < *unread)
			*unread = urgent - *pos;
	} else if (!s->opt.oobinline && *unread > 0) {
		++*pos;
		--*unread;
		if (!peek)
			rx_advance(s, *pos);
	}
}

/* Peeking copies once enough is there and moves nothing, so it never continues a copy. */
static ssize_t rx_step(struct shim_sock *s, shim_drain drain, void *arg, size_t len, size_t target,
		       bool peek)
{
	bool ended = unlikely(peek) && shim_rx_ended(s); /* before the look at how much there is */
	uint64_t pos = s->slot->rx_cons, unread = load_acquire(&s->slot->rx_prod) - pos;
	uint64_t urgent = shim_urgent(s->slot);
	ssize_t n;

	if (unlikely(urgent != UINT64_MAX))
		rx_limit(s, urgent, peek, &pos, &unread);
	if (unlikely(peek && s->opt.peek_off > 0)) {
		uint64_t skip = (uint64_t)s->opt.peek_off;

		pos += skip < unread ? skip : unread;
		unread -= skip < unread ? skip : unread;
	}
	if (unread == 0 || (peek && unread < target && !ended))
		return 0;
	n = shim_rx_copy(s, pos, len < unread ? len : (size_t)unread, drain, arg);
	if (unlikely(s->opt.peek_off >= 0) && n > 0)
		s->opt.peek_off = peek ? s->opt.peek_off + (int32_t)n
				       : (n < s->opt.peek_off ? s->opt.peek_off - (int32_t)n : 0);
	if (n > 0 && !peek)
		rx_advance(s, pos + (uint64_t)n);
	return n;
}

/* recv_urgent is recv with MSG_OOB: Linux' tcp_recv_urg. */
static ssize_t recv_urgent(struct shim_sock *s, shim_drain drain, void *arg, size_t len, bool peek)
{
	struct toe_shm_slot *slot = s->slot;
	ssize_t rc = shim_slot_lock(&slot->rx_lock);
	uint64_t urgent;
	bool ended;

	if (rc < 0)
		return rc;
	ended = shim_rx_ended(s); /* before the look at what there is */
	urgent = shim_urgent(slot);
	if (s->opt.oobinline || urgent == UINT64_MAX || slot->rx_urg_read == urgent + 1) {
		rc = -EINVAL;
	} else if (load_acquire(&slot->rx_prod) > urgent) {
		if (len > 0)
			rc = shim_rx_copy(s, urgent, 1, drain, arg);
		if (rc >= 0 && !peek)
			store_relaxed(&slot->rx_urg_read, urgent + 1);
	} else {
		rc = ended ? 0 : -EAGAIN;
	}
	shim_slot_unlock(&slot->rx_lock);
	return rc;
}

/* unpeeked returns how many octets a read has before it, a peek without those that SO_PEEK_OFF
 * passes over. */
static uint64_t unpeeked(struct shim_sock *s, bool peek)
{
	uint64_t unread = shim_unread(s);
	uint64_t skip = unlikely(peek && s->opt.peek_off > 0) ? (uint64_t)s->opt.peek_off : 0;

	return unread > skip ? unread - skip : 0;
}

ssize_t shim_recv(struct shim_sock *s, int fd, shim_drain drain, void *arg, size_t len, int flags)
{
	struct toe_shm_slot *slot = s->slot;
	bool peek = flags & MSG_PEEK;
	uint64_t deadline = 0;
	size_t got = 0, target = s->opt.rcvlowat ? s->opt.rcvlowat : 1;
	bool ended, failed;
	ssize_t rc;

	if (unlikely(flags & MSG_ERRQUEUE)) {
		uint32_t first, last;

		return shim_completed(slot, &first, &last) ? 0 : -EAGAIN;
	}
	if (unlikely(flags & MSG_OOB))
		return recv_urgent(s, drain, arg, len, peek);
	if (flags & MSG_TRUNC)
		drain = shim_null_drain;
	if (flags & MSG_WAITALL || target > len)
		target = len > 0 ? len : 1;
	rc = shim_slot_lock(&slot->rx_lock);
	if (rc < 0)
		return rc;
	for (;;) {
		/* The sequence is read before the stream, so that no change goes unseen. */
		uint32_t seq = load_acquire(&slot->event_seq);

		rc = rx_step(s, drain, arg, len - got, target, peek);
		if (rc > 0)
			got += (size_t)rc;
		if (got >= target || rc < 0 || (peek && got > 0) ||
		    (got > 0 && unlikely(shim_urgent(slot) == slot->rx_cons)))
			break;
		if (unlikely(len == 0) && shim_unread(s) > 0)
			break;
		/* Whether it is over is asked once: if so now, all octets have come before. If it
		 * ends after this, so does the wait. */
		ended = shim_rx_ended(s);
		failed = load_acquire(&slot->error) != 0;
		if ((ended || (failed && !peek)) && unpeeked(s, peek) > 0)
			continue; /* the end came together with octets */
		if (ended || (failed && got == 0)) {
			rc = got ? 0 : rx_outcome(s);
			if (rc <= 0)
				break;
		}
		rc = -EAGAIN;
		if ((flags & MSG_DONTWAIT) || shim_nonblock(s, fd))
			break;
		if (deadline == 0)
			deadline = deadline_of(s->opt.rcvtimeo);
		shim_slot_unlock(&slot->rx_lock);
		rc = timed_out(shim_wait_slot(s->region, slot, seq, deadline, SHIM_SPIN));
		if (rc < 0)
			return got ? (ssize_t)got : rc;
		rc = shim_slot_lock(&slot->rx_lock);
		if (rc < 0)
			return got ? (ssize_t)got : rc;
	}
	shim_slot_unlock(&slot->rx_lock);
	return got ? (ssize_t)got : rc;
}

/* tx_outcome says whether the send stream takes octets: 1 yes, 0 not yet (connecting), -errno. */
static int tx_outcome(struct shim_sock *s)
{
	uint32_t state = load_acquire(&s->slot->state);
	int e;

	if (unlikely(load_relaxed(&s->slot->error))) {
		e = shim_take_error(s);
		if (e)
			return -e;
	}
	if (!shim_region_ok(s->region))
		return -ECONNRESET;
	if (shim_tx_ended(s))
		return -EPIPE;
	return state != TOE_SLOT_SYN_SENT && state != TOE_SLOT_OPENING;
}

/* tell makes toed look at tx_prod. With more set toed may hold back a short last segment; such a
 * message is not merged with others, whose flag it would change. */
static void tell(struct shim_sock *s, bool more)
{
	if (!more)
		shim_post_once(s->region, s->slot_no, TOE_OP_TX_DATA);
	else if (!(load_relaxed(&s->slot->cmd_pending) & (1u << TOE_OP_TX_DATA)))
		shim_post(s->region, s->slot->worker, TOE_OP_TX_DATA, TOE_TX_MORE, s->slot_no, 0);
}

/* border_put notes that a message ends at pos, before toed can see its last octet. */
static bool border_put(struct shim_sock *s, uint64_t pos)
{
	struct toe_shm_slot *slot = s->slot;

	if (!shim_borders_wait(s))
		return false;
	store_relaxed(&slot->tx_eor[slot->eor_prod % TOE_EORS], (uint32_t)pos);
	store_release(&slot->eor_prod, slot->eor_prod + 1);
	return true;
}

bool shim_completed(struct toe_shm_slot *slot, uint32_t *first, uint32_t *last)
{
	uint32_t told = load_relaxed(&slot->zerocopy_told), sent;

	do {
		sent = load_acquire(&slot->zerocopy);
		if (sent == told)
			return false;
	} while (!__atomic_compare_exchange_n(&slot->zerocopy_told, &told, sent, false,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	*first = told;
	*last = sent - 1;
	return true;
}

/* complete notes that a write with MSG_ZEROCOPY needs its buffer no more. Who waits hears of it
 * from toed with the acknowledgement, as a writer would who waits for room. */
static void complete(struct toe_shm_slot *slot)
{
	store_release(&slot->zerocopy, slot->zerocopy + 1);
	store_relaxed(&slot->tx_nospace, 1);
}

/* tx_step appends up to len octets: how many, 0 for end of the source, -EAGAIN without space,
 * -ENOBUFS without a chunk. Large writes are told chunk by chunk, so that sending starts early. */
static ssize_t tx_step(struct shim_sock *s, shim_fill fill, void *arg, size_t len, int flags)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t space = shim_tx_free(slot);
	size_t n = TOE_CHUNK_BYTES - (size_t)(slot->tx_prod & (TOE_CHUNK_BYTES - 1));
	bool border;
	ssize_t rc;

	if (space == 0) {
		store_relaxed(&slot->tx_nospace, 1);
		fence_seq();
		space = shim_tx_free(slot);
		if (space == 0)
			return -EAGAIN;
	}
	if (n > space)
		n = (size_t)space;
	if (n > len)
		n = len;
	if (unlikely((flags & MSG_OOB) && n == len))
		store_release(&slot->tx_urg, slot->tx_prod + n); /* before toed can see the octet */
	border = unlikely((flags & MSG_EOR) && n == len) && border_put(s, slot->tx_prod + n);
	rc = shim_tx_copy(s, n, fill, arg);
	if (unlikely(border) && rc != (ssize_t)n)
		store_release(&slot->eor_prod, slot->eor_prod - 1);
	if (unlikely((flags & MSG_OOB) && n == len && rc != (ssize_t)n))
		store_release(&slot->tx_urg, 0);
	if (unlikely(flags & MSG_ZEROCOPY) && rc > 0)
		complete(slot);
	if (rc > 0)
		tell(s, (flags & MSG_MORE) && (size_t)rc == len);
	return rc;
}

/* chunk_comes waits for a moment until toed has filled the loan, which it does whenever it has
 * taken commands. */
static bool chunk_comes(struct shim_sock *s)
{
	struct toe_shm_loan *loan = &s->region->chunk_loan[s->slot->worker];
	uint64_t until = shim_now() + shim_config.spin_ns;

	do {
		if (load_acquire(&loan->prod) != load_relaxed(&loan->cons))
			return true;
	} while (shim_now() < until);
	return false;
}

/* tx_wait sleeps until it is worth writing on: a third of the limit is free, toed has lent chunks
 * to who starved, or the stream is over. It does not spin: every acknowledgement moves event_seq,
 * and toed wakes us only when tx_nospace or the credit is due. */
static int tx_wait(struct shim_sock *s, uint32_t seq, uint64_t deadline, bool starved)
{
	int rc;

	if (starved)
		return timed_out(shim_wait_slot(s->region, s->slot, seq, deadline, 0));
	do {
		rc = timed_out(shim_wait_slot(s->region, s->slot, seq, deadline, 0));
		seq = load_acquire(&s->slot->event_seq);
	} while (rc == 0 && !(shim_ready(s, EPOLLOUT) & (EPOLLOUT | EPOLLERR)));
	return rc;
}

/* syn_step lets a deferred SYN go, with as many octets as it takes: how many, or -ENOBUFS. */
static ssize_t syn_step(struct shim_sock *s, shim_fill fill, void *arg, size_t len)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t space = shim_tx_free(slot);
	ssize_t rc = 0;

	if (len > slot->syn_room)
		len = slot->syn_room;
	if (len > space)
		len = (size_t)space;
	if (len > 0)
		rc = shim_tx_copy(s, len, fill, arg);
	if (rc >= 0) {
		store_relaxed(&slot->tx_begun, 1);
		shim_post_once(s->region, s->slot_no, TOE_OP_TX_DATA);
	}
	return rc;
}

/* syn_outcome ends a send that let the SYN go, by the rules of Linux' tcp_sendmsg_fastopen. */
static ssize_t syn_outcome(struct shim_sock *s, size_t put, ssize_t rc)
{
	if (rc >= 0) {
		s->connecting = 0;
	} else if (rc == -EAGAIN || rc == -EINTR) {
		if (put == 0 && rc == -EAGAIN)
			return -EINPROGRESS;
	} else {
		shim_connect_failed(s);
		return rc == -EPIPE ? -ECONNABORTED : rc;
	}
	return put > 0 ? (ssize_t)put : rc;
}

ssize_t shim_send(struct shim_sock *s, int fd, shim_fill fill, void *arg, size_t len, int flags)
{
	struct toe_shm_slot *slot = s->slot;
	uint64_t deadline = 0;
	size_t put = 0;
	bool began = false; /* it was us who let the SYN go */
	ssize_t rc;

	if (!s->opt.zerocopy)
		flags &= ~MSG_ZEROCOPY;
	rc = shim_slot_lock(&slot->tx_lock);
	if (rc < 0)
		return rc;
	for (;;) {
		uint32_t seq = load_acquire(&slot->event_seq);
		bool starved;

		rc = tx_outcome(s);
		if (rc < 0)
			break;
		if (rc > 0) {
			rc = len > put ? tx_step(s, fill, arg, len - put, flags) : 0;
			if (rc > 0) {
				put += (size_t)rc;
				flags &= ~MSG_ZEROCOPY; /* once for all of it */
				if (put < len)
					continue;
			}
			if (rc >= 0 || (rc != -EAGAIN && rc != -ENOBUFS))
				break;
		} else if (unlikely(shim_deferred(slot))) {
			rc = syn_step(s, fill, arg, len);
			began = rc >= 0;
			if (began)
				put = (size_t)rc;
			if (put > 0 && (flags & MSG_ZEROCOPY)) {
				complete(slot);
				flags &= ~MSG_ZEROCOPY;
			}
		}
		starved = rc == -ENOBUFS;
		if (starved && chunk_comes(s))
			continue;
		if (starved) {
			store_relaxed(&slot->tx_nospace, 1);
			shim_post(s->region, slot->worker, TOE_OP_TX_CREDIT_REQ, 0, s->slot_no, 0);
		}
		rc = -EAGAIN;
		if ((flags & MSG_DONTWAIT) || shim_nonblock(s, fd))
			break;
		if (deadline == 0)
			deadline = deadline_of(s->opt.sndtimeo);
		shim_slot_unlock(&slot->tx_lock);
		rc = tx_wait(s, seq, deadline, starved);
		if (rc < 0)
			goto out;
		rc = shim_slot_lock(&slot->tx_lock);
		if (rc < 0)
			goto out;
	}
	shim_slot_unlock(&slot->tx_lock);
out:
	if (unlikely(began))
		return syn_outcome(s, put, rc);
	if (put > 0)
		return (ssize_t)put;
	if (rc == -EPIPE && !(flags & MSG_NOSIGNAL))
		raise(SIGPIPE);
	return rc;
}
