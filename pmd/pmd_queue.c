#include "pmd_queue.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* How often a full ring is tried again before the rest of a burst is dropped: drivers reclaim
 * descriptors only when called, so the second attempt often finds room. */
#define TX_RETRIES 4

#define STASH_LOW (PMD_STASH / 8)

struct pmd_queue {
	struct pmd_window w;
	struct rte_mempool *pool;
	struct rte_mbuf *burst[PMD_BURST]; /* for the drivers' calls */
	uint16_t port, queue;
	uint8_t prepare; /* checksum offloads are on: drivers want tx_prepare */
};

int
pmd_queue_new(uint16_t port, uint16_t queue, struct pmd_pool *pool, int socket, int prepare,
	      struct pmd_queue **out, struct pmd_window **w)
{
	struct pmd_queue *q = rte_zmalloc_socket("pmd_queue", sizeof(*q), RTE_CACHE_LINE_SIZE,
						 socket);

	if (q == NULL)
		return -ENOMEM;
	q->port = port;
	q->queue = queue;
	q->pool = (struct rte_mempool *)pool;
	q->prepare = prepare != 0;
	*out = q;
	*w = &q->w;
	return 0;
}

static void
give_back(struct pmd_window *w)
{
	if (w->frees_len == 0)
		return;
	rte_pktmbuf_free_bulk((struct rte_mbuf **)w->frees, w->frees_len);
	w->frees_len = 0;
}

void
pmd_queue_free(struct pmd_queue *q)
{
	give_back(&q->w);
	for (uint32_t i = 0; i < q->w.stash_len; i++)
		rte_pktmbuf_free((struct rte_mbuf *)q->w.stash[i].mbuf);
	rte_free(q);
}

/* Tops the stash up once it is half empty, so that the bulk call is worth it. A pool that runs low
 * may still have a few. */
static void
refill(struct pmd_queue *q)
{
	struct pmd_window *w = &q->w;
	struct rte_mbuf *m[PMD_STASH];
	uint32_t n = PMD_STASH - w->stash_len;

	if (w->stash_len > PMD_STASH / 2)
		return;
	if (rte_pktmbuf_alloc_bulk(q->pool, m, n) != 0) {
		n = STASH_LOW;
		if (rte_pktmbuf_alloc_bulk(q->pool, m, n) != 0)
			return;
	}
	for (uint32_t i = 0; i < n; i++) {
		w->stash[w->stash_len++] = (struct pmd_desc){
			.data = rte_pktmbuf_mtod(m[i], uint8_t *),
			.mbuf = (uintptr_t)m[i],
			.len = rte_pktmbuf_tailroom(m[i]),
		};
	}
}

void
pmd_refill(uintptr_t handle)
{
	struct pmd_queue *q = (struct pmd_queue *)handle;

	give_back(&q->w);
	refill(q);
}

static uint16_t
rx_flags(uint64_t ol)
{
	uint16_t f = 0;

	if ((ol & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
		f |= PMD_F_RX_IP_GOOD;
	else if ((ol & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD)
		f |= PMD_F_RX_IP_BAD;
	if ((ol & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		f |= PMD_F_RX_L4_GOOD;
	else if ((ol & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		f |= PMD_F_RX_L4_BAD;
	if (ol & RTE_MBUF_F_RX_RSS_HASH)
		f |= PMD_F_RX_HASH;
	return f;
}

uint32_t
pmd_receive(uintptr_t handle)
{
	struct pmd_queue *q = (struct pmd_queue *)handle;
	struct pmd_window *w = &q->w;
	uint32_t n = 0;
	uint16_t got;

	give_back(w);
	got = rte_eth_rx_burst(q->port, q->queue, q->burst, PMD_BURST);
	for (uint16_t i = 0; i < got; i++) {
		struct rte_mbuf *m = q->burst[i];
		struct pmd_desc *d = &w->rx[n];

		if (unlikely(m->nb_segs > 1) && rte_pktmbuf_linearize(m) != 0) {
			w->counters.rx_dropped++;
			rte_pktmbuf_free(m);
			continue;
		}
		d->data = rte_pktmbuf_mtod(m, uint8_t *);
		d->mbuf = (uintptr_t)m;
		d->len = m->data_len;
		d->hash = m->hash.rss;
		d->flags = m->ol_flags != 0 ? rx_flags(m->ol_flags) : 0;
		w->counters.rx_bytes += m->data_len;
		n++;
	}
	w->counters.rx_frames += n;
	refill(q);
	return n;
}

/* Carries what Go decided about a frame over into its mbuf; false if that is impossible. */
static bool
dress(struct rte_mbuf *m, const struct pmd_desc *d)
{
	const uint8_t *start = m->buf_addr;
	uint64_t ol = 0;

	if (d->len == 0 || d->data < start || d->data > start + m->buf_len ||
	    d->len > (size_t)(start + m->buf_len - d->data))
		return false;
	m->data_off = (uint16_t)(d->data - start);
	m->data_len = (uint16_t)d->len;
	m->pkt_len = d->len;
	if (d->flags & (PMD_F_TX_IP | PMD_F_TX_TCP | PMD_F_TX_TSO)) {
		if (d->l2_len >= d->len)
			return false;
		bool v4 = (d->data[d->l2_len] >> 4) == 4;

		ol |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
		if (v4 && (d->flags & PMD_F_TX_IP))
			ol |= RTE_MBUF_F_TX_IP_CKSUM;
		if (d->flags & PMD_F_TX_TCP)
			ol |= RTE_MBUF_F_TX_TCP_CKSUM;
		if (d->flags & PMD_F_TX_TSO) {
			ol |= RTE_MBUF_F_TX_TCP_SEG;
			m->tso_segsz = d->seg_size;
		}
		m->l2_len = d->l2_len;
		m->l3_len = d->l3_len;
		m->l4_len = d->l4_len;
	}
	m->ol_flags = ol; /* of a received frame that is sent on, the receive flags go */
	return true;
}

/* Has the driver ready the burst's first n frames for its offloads, drops those it cannot send, and
 * returns how many are left. */
static uint16_t
prepare(struct pmd_queue *q, uint16_t n, uint64_t *bytes)
{
	uint16_t i = 0;

	for (;;) {
		i += rte_eth_tx_prepare(q->port, q->queue, q->burst + i, n - i);
		if (i >= n)
			return n;
		*bytes -= q->burst[i]->pkt_len;
		q->w.counters.tx_invalid++;
		rte_pktmbuf_free(q->burst[i]);
		n--;
		memmove(&q->burst[i], &q->burst[i + 1], (n - i) * sizeof(q->burst[0]));
	}
}

uint32_t
pmd_transmit(uintptr_t handle, uint32_t n)
{
	struct pmd_queue *q = (struct pmd_queue *)handle;
	struct pmd_window *w = &q->w;
	uint16_t ready = 0, sent = 0;
	uint64_t bytes = 0;

	give_back(w);
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = (struct rte_mbuf *)w->tx[i].mbuf;

		if (unlikely(!dress(m, &w->tx[i]))) {
			w->counters.tx_invalid++;
			rte_pktmbuf_free(m);
			continue;
		}
		bytes += m->pkt_len;
		q->burst[ready++] = m;
	}
	if (q->prepare)
		ready = prepare(q, ready, &bytes);
	for (int try = 0; sent < ready && try <= TX_RETRIES; try++)
		sent += rte_eth_tx_burst(q->port, q->queue, q->burst + sent, ready - sent);
	for (uint16_t i = sent; i < ready; i++)
		bytes -= q->burst[i]->pkt_len;
	if (sent < ready) {
		w->counters.tx_refused += ready - sent;
		rte_pktmbuf_free_bulk(q->burst + sent, ready - sent);
	}
	w->counters.tx_frames += sent;
	w->counters.tx_bytes += bytes;
	refill(q);
	return sent;
}
