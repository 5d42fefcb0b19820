/* The data path: one queue pair, and the arrays through which it speaks with Go. */
#ifndef PMD_QUEUE_H
#define PMD_QUEUE_H

#include <stdint.h>

#define PMD_BURST 64  /* frame.MaxBurst */
#define PMD_STASH 128 /* empty buffers kept at hand: two bursts */
#define PMD_FREES 256 /* buffers waiting to go back */

/* Frame flags, equal to frame.Flags (checked when Go compiles). */
enum {
	PMD_F_RX_IP_GOOD = 1 << 0,
	PMD_F_RX_IP_BAD = 1 << 1,
	PMD_F_RX_L4_GOOD = 1 << 2,
	PMD_F_RX_L4_BAD = 1 << 3,
	PMD_F_RX_HASH = 1 << 4,
	PMD_F_TX_IP = 1 << 5,
	PMD_F_TX_TCP = 1 << 6,
	PMD_F_TX_TSO = 1 << 7,
};

/* A buffer that crosses. In tx, data may stand anywhere in the buffer. */
struct pmd_desc {
	uint8_t *data;
	uintptr_t mbuf;
	uint32_t len;  /* octets; of an empty buffer: room */
	uint32_t hash; /* rx, with PMD_F_RX_HASH */
	uint16_t flags;
	uint16_t seg_size; /* tx, with PMD_F_TX_TSO; octets */
	uint8_t l2_len, l3_len, l4_len, pad;
};

struct pmd_counters {
	uint64_t rx_frames, rx_bytes;
	uint64_t rx_dropped; /* in several segments and too long to make one */
	uint64_t tx_frames, tx_bytes;
	uint64_t tx_refused; /* the ring stayed full */
	uint64_t tx_invalid; /* data outside of its buffer, or empty */
	uint64_t alloc_failed; /* buffers Go wanted while the pool was empty */
};

/* What both languages see. One thread uses a queue; in turn Go and C write it. */
struct pmd_window {
	struct pmd_desc rx[PMD_BURST];
	struct pmd_desc tx[PMD_BURST];
	struct pmd_desc stash[PMD_STASH]; /* the first stash_len hold buffers */
	uintptr_t frees[PMD_FREES];
	uint32_t stash_len, frees_len;
	struct pmd_counters counters;
};

struct pmd_pool;
struct pmd_queue;

int pmd_queue_new(uint16_t port, uint16_t queue, struct pmd_pool *pool, int socket, int prepare,
		  struct pmd_queue **q, struct pmd_window **w);
void pmd_queue_free(struct pmd_queue *q); /* gives the stash back */

/* Each call also gives back w->frees and refills w->stash. */
uint32_t pmd_receive(uintptr_t q);               /* fills w->rx, returns how many */
uint32_t pmd_transmit(uintptr_t q, uint32_t n);  /* sends w->tx[0..n), returns how many went */
void pmd_refill(uintptr_t q);

#endif
