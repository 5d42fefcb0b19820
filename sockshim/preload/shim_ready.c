/* shim_ready.c - readiness of an offloaded socket: Linux' tcp_poll over the shared slot. */
#include "shim.h"

bool shim_rx_ended(struct shim_sock *s)
{
	return (load_acquire(&s->slot->rx_flags) & (TOE_RX_EOF | TOE_RX_RESET)) ||
	       (load_relaxed(&s->shut) & TOE_SHUT_RD) ||
	       load_acquire(&s->slot->state) == TOE_SLOT_CLOSED || !shim_region_ok(s->region);
}

bool shim_tx_ended(struct shim_sock *s)
{
	return (load_acquire(&s->slot->tx_flags) & TOE_TX_CLOSED) ||
	       (load_relaxed(&s->shut) & TOE_SHUT_WR) ||
	       load_acquire(&s->slot->state) == TOE_SLOT_CLOSED || !shim_region_ok(s->region);
}

uint64_t shim_tx_free(const struct toe_shm_slot *slot)
{
	uint64_t prod = load_relaxed(&slot->tx_prod), cons = load_acquire(&slot->tx_cons), sent;
	uint64_t limit = load_relaxed(&slot->tx_limit);
	uint32_t lowat = load_relaxed(&slot->tx_lowat);

	if (unlikely(lowat != 0)) {
		sent = load_acquire(&slot->tx_sent);
		if (prod - (sent > cons ? sent : cons) >= lowat)
			return 0;
	}
	return prod - cons < limit ? limit - (prod - cons) : 0;
}

bool shim_deferred(const struct toe_shm_slot *slot)
{
	return load_acquire(&slot->state) == TOE_SLOT_SYN_SENT && slot->syn_room != 0 &&
	       !load_relaxed(&slot->tx_begun);
}

static bool writable(const struct toe_shm_slot *slot)
{
	uint64_t room = shim_tx_free(slot);

	return room > 0 && room >= load_relaxed(&slot->tx_limit) / 3;
}

uint64_t shim_urgent(const struct toe_shm_slot *slot)
{
	uint64_t after = load_acquire(&slot->rx_urg);

	return likely(after == 0) || after <= load_relaxed(&slot->rx_cons) ? UINT64_MAX : after - 1;
}

uint64_t shim_unread(struct shim_sock *s)
{
	uint64_t cons = load_relaxed(&s->slot->rx_cons);
	uint64_t unread = load_acquire(&s->slot->rx_prod) - cons;

	return unread > 0 && unlikely(shim_urgent(s->slot) == cons) && !s->opt.oobinline
		       ? unread - 1
		       : unread;
}

/* listener_ready looks at region first: a listener can come to another slot meanwhile. */
static uint32_t listener_ready(struct shim_sock *s)
{
	struct shim_region *r = load_acquire(&s->region);

	return shim_region_ok(r) &&
			       load_acquire(&s->slot->rx_prod) - load_relaxed(&s->slot->rx_cons) >=
				       sizeof(struct toe_shm_accept)
		       ? EPOLLIN | EPOLLRDNORM
		       : 0;
}

uint32_t shim_ready(struct shim_sock *s, uint32_t want)
{
	if (s->role == SHIM_LISTENER)
		return listener_ready(s);

	struct toe_shm_slot *slot = s->slot;
	uint32_t state = load_acquire(&slot->state), mask = 0;
	bool dead = !shim_region_ok(s->region), rx_end, tx_end;
	uint64_t unread, urgent;

	rx_end = shim_rx_ended(s);
	tx_end = shim_tx_ended(s);
	if (dead || state == TOE_SLOT_CLOSED || (rx_end && tx_end))
		mask |= EPOLLHUP;
	if (rx_end)
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (state != TOE_SLOT_SYN_SENT && state != TOE_SLOT_OPENING) {
		unread = shim_unread(s);
		urgent = shim_urgent(slot);
		if (unlikely(urgent != UINT64_MAX) && load_acquire(&slot->rx_prod) > urgent &&
		    load_relaxed(&slot->rx_urg_read) != urgent + 1)
			mask |= EPOLLPRI;
		if (unread > 0 && unread >= s->opt.rcvlowat)
			mask |= EPOLLIN | EPOLLRDNORM;
		if (tx_end || writable(slot)) {
			mask |= EPOLLOUT | EPOLLWRNORM;
		} else if (want & (EPOLLOUT | EPOLLWRNORM)) {
			/* Ask to be told, then look again: space may have come in between. */
			store_relaxed(&slot->tx_nospace, 1);
			fence_seq();
			if (writable(slot))
				mask |= EPOLLOUT | EPOLLWRNORM;
		}
	} else if (unlikely(shim_deferred(slot))) {
		mask |= EPOLLOUT | EPOLLWRNORM; /* to write is what makes it connect */
	}
	if (dead || load_relaxed(&slot->error) ||
	    load_acquire(&slot->zerocopy) != load_relaxed(&slot->zerocopy_told))
		mask |= EPOLLERR;
	return mask;
}
