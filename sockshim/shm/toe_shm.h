/*
 * toe_shm.h - the shared-memory ABI between toed and its client processes. The only definition:
 * the Go layout is generated from it, the C shim includes it.
 *
 * A client process talks to toed over a control socket (AF_UNIX SOCK_SEQPACKET, one
 * toe_shm_msg a packet) and through one memory file, its *region*:
 *
 *   header | worker queues | event queues | loans | slots | chunks
 *
 * toed creates and seals the file; a client cannot resize it. Offsets are from the region's start.
 *
 * A *slot* is one offloaded socket: cursors, readiness, addresses, and the directories of its two
 * byte streams. A stream's octets live in *chunks* of TOE_CHUNK_BYTES; position p of a stream is
 * octet p mod TOE_CHUNK_BYTES of the chunk that entry p / TOE_CHUNK_BYTES of its directory names.
 * Positions are 64-bit, start at 0 and never wrap.
 *
 * Every 64-byte line has one writer, named in its comment: T toed, C the client side (under the
 * slot's lock where it says so), B both by atomic read-modify-write. toed believes nothing that a
 * client can write: it loads a value once, checks it, and uses only the copy.
 *
 * Fields are loaded and stored atomically: publish with release, observe with acquire; the sleep
 * and waiter flags are sequentially consistent on both sides (store, fence, re-check).
 */
#ifndef TOE_SHM_H
#define TOE_SHM_H

#include <stdint.h>

#define TOE_SHM_MAGIC 0x4d48534f454f5431ull /* "1TOEOSHM" */
#define TOE_SHM_ABI 4u

#define TOE_CHUNK_SHIFT 14u
#define TOE_CHUNK_BYTES (1u << TOE_CHUNK_SHIFT)
#define TOE_DIR_INLINE 16u /* directory entries in the slot: streams up to 15 chunks */
#define TOE_DIR_CHUNK (TOE_CHUNK_BYTES / 4u) /* entries in a directory chunk */
#define TOE_MAX_WORKERS 16u
#define TOE_MAX_EQS 512u
#define TOE_EQ_OWN 56u /* event queues that have a bit of a slot's masks each; those above share what is left */
#define TOE_EQ_BIT(eq) ((eq) < TOE_EQ_OWN ? (eq) : TOE_EQ_OWN + (eq) % (64u - TOE_EQ_OWN))
#define TOE_EQ_ENTRIES 1024u
#define TOE_CMD_ENTRIES 1024u
#define TOE_LOAN_ENTRIES 256u
#define TOE_TOKEN_BYTES 16u
#define TOE_MAX_ADDRS 16u
#define TOE_EORS 8u /* borders of messages that toed has not taken yet */

/* Status page: one read-only memory file for all clients. Writer T. */
struct toe_shm_worker_status {
	uint32_t sleeping; /* 1: after posting, write the wake eventfd */
	uint32_t pad0;
	uint64_t iterations;
	uint64_t pad1[6];
};

struct toe_shm_status {
	uint64_t magic;
	uint32_t abi;
	uint32_t alive; /* 0: toed ended in order */
	uint32_t nworkers;
	uint32_t pad0;
	uint64_t pad1[5];
	struct toe_shm_worker_status worker[TOE_MAX_WORKERS];
};

/* Region header. Writer T; constant after the attach but for the last line. */
struct toe_shm_region {
	uint64_t magic;
	uint32_t abi;
	uint32_t region_id; /* names the region in commands; 1-65535 */
	uint64_t region_bytes;
	uint8_t token[TOE_TOKEN_BYTES]; /* who can read it may attach to the region */
	uint32_t nworkers;
	uint32_t nslots;  /* slot 0 is never used */
	uint32_t nchunks; /* chunk 0 is never used */
	uint32_t neqs;
	uint64_t cmdq_off; /* nworkers x toe_shm_cmdq */
	uint64_t eq_off;   /* neqs x toe_shm_eq */
	uint64_t slot_loan_off;  /* nworkers x toe_shm_loan */
	uint64_t chunk_loan_off; /* nworkers x toe_shm_loan */
	uint64_t slot_off;  /* nslots x toe_shm_slot */
	uint64_t chunk_off; /* nchunks x TOE_CHUNK_BYTES, page aligned */
	uint64_t pad0[3];

	/* line 2, T */
	uint32_t detached; /* 1: toed has dropped this region; every slot of it is dead (ECONNRESET) */
	uint32_t pad1[15];
};

/*
 * Command queue, client to worker: bounded, many producers, one consumer. Entry i is free for
 * position p (p mod entries == i) when stamp == p, filled when stamp == p + 1; the consumer sets
 * stamp = p + entries. A producer takes its position by fetch-add on tail and waits for the stamp.
 */
struct toe_shm_cmd {
	uint32_t stamp;
	uint8_t op; /* TOE_OP_* */
	uint8_t flags;
	uint16_t region; /* region of the slot */
	uint32_t slot;
	uint32_t arg;
};

struct toe_shm_cmdq {
	uint32_t tail; /* B, clients only */
	uint32_t pad0[15];
	struct toe_shm_cmd entry[TOE_CMD_ENTRIES];
};

/* Commands, named after Chelsio's CPL messages. Arguments that do not fit are in the slot. */
#define TOE_OP_ACT_OPEN_REQ 1u    /* connect: slot.req_* ; answer in slot.state */
#define TOE_OP_PASS_OPEN_REQ 2u   /* listen: slot.req_*, arg = backlog ; answer in slot.state */
#define TOE_OP_PASS_ACCEPT_RPL 3u /* slot was taken off the accept queue; slot.cookie is set; arg = listener's slot (same region) */
#define TOE_OP_TX_DATA 4u         /* slot.tx_prod moved; flags: TOE_TX_MORE */
#define TOE_OP_RX_DATA_ACK 5u     /* slot.rx_cons moved */
#define TOE_OP_SHUTDOWN 6u        /* arg = TOE_SHUT_* bits */
#define TOE_OP_CLOSE_CON_REQ 7u   /* the last descriptor of an unshared socket is closed: the slot is toed's again; arg: TOE_CLOSE_* */
#define TOE_OP_CLOSE_SHARED 8u    /* this process closed a socket that others may hold; the kernel will tell when the last is gone */
#define TOE_OP_ABORT_REQ 9u       /* SO_LINGER 0 close: as CLOSE_CON_REQ, with RST */
#define TOE_OP_SET_TCB_FIELD 10u  /* arg = option (TOE_OPT_*), value in slot.req_value */
#define TOE_OP_TX_CREDIT_REQ 11u  /* the chunk loan is empty and a writer waits for slot */
#define TOE_OP_SLOT_RETURN 12u    /* a loaned slot that was never opened comes back */

#define TOE_TX_MORE 1u
#define TOE_SHUT_RD 1u
#define TOE_SHUT_WR 2u

/* Options of SET_TCB_FIELD; units as in toe.Option. */
#define TOE_OPT_NODELAY 1u
#define TOE_OPT_CORK 2u
#define TOE_OPT_KEEPALIVE 3u
#define TOE_OPT_KEEPIDLE 4u
#define TOE_OPT_KEEPINTVL 5u
#define TOE_OPT_KEEPCNT 6u
#define TOE_OPT_RCVBUF 7u
#define TOE_OPT_QUICKACK 8u
#define TOE_OPT_USER_TIMEOUT 9u
#define TOE_OPT_MAXSEG 10u
#define TOE_OPT_LINGER2 11u
#define TOE_OPT_SNDBUF 12u
#define TOE_OPT_CC 13u /* TOE_CC_* */
#define TOE_OPT_MAX_PACING_RATE 14u
#define TOE_OPT_NOTSENT_LOWAT 15u
#define TOE_OPT_PMTU_DISCOVER 16u
#define TOE_OPT_FASTOPEN 17u /* listeners only */
#define TOE_OPT_TOS 18u
#define TOE_OPT_TTL 19u
#define TOE_OPT_FASTOPEN_BARE 20u /* listeners only: Fast Open without cookies */
#define TOE_OPT_SYN_RETRIES 21u	  /* before the handshake is complete */
#define TOE_OPT_RCV_CLAMP 22u
#define TOE_OPT_SIGNALS 23u /* TOE_SIGNAL_*: what the process that says so hears by signal; a process hears only of itself */
#define TOE_OPT_DEFER_ACCEPT 24u /* listeners only, seconds */

#define TOE_SIGNAL_URG 1u /* SIGURG with every urgent octet (F_SETOWN) */
#define TOE_SIGNAL_IO 2u  /* SIGIO with every change (O_ASYNC) */

/* Fast Open, req_fastopen */
#define TOE_FASTOPEN_USE 1u  /* connect: ask for a cookie, or use one */
#define TOE_FASTOPEN_HOLD 2u /* with USE: a SYN that can take octets waits for them; see syn_room */
#define TOE_FASTOPEN_BARE 4u /* with USE, or of a listener: without cookies */

/* Congestion control. */
#define TOE_CC_DEFAULT 0u
#define TOE_CC_RENO 1u
#define TOE_CC_CUBIC 2u
#define TOE_CC_DCTCP 3u
#define TOE_CC_BBR 4u

/*
 * Event queue, toed to one waiter (an epoll set, a thread in poll): slot numbers whose readiness
 * may have changed. A slot stands in it at most once: toed sets the queue's bit in the slot's
 * eq_pending before it pushes, the client clears it after it pops and before it looks at the slot.
 * An entry is empty when it is 0; toed fills it, the client empties it and then advances cons.
 * When the queue is full toed sets overflow instead, and takes the bit back: the client clears
 * overflow and looks at every slot it registered. After a push toed loads sleeping; if it is 1 it
 * swaps it to 0 and writes the eventfd that the client gave for the queue.
 *
 * A slot has 64 bits for queues, a region may have more of those: from TOE_EQ_OWN on several have one
 * bit. What is pushed to one of them is pushed to all, each time, for nobody knows who of them has
 * looked; so a slot may stand in such a queue more often than once, and in one whose client did not
 * ask. As others may want to hear of the slot too, a client sets such a bit and never clears it.
 *
 * Queues whose bit is set in eq_exclusive too, those of listeners, share the news: one of them that
 * sleeps hears of it; all of them do when none sleeps.
 *
 * What is pushed: everything that makes a slot readable, closed or faulty; that it became writable
 * only if the client had set tx_nospace.
 */
struct toe_shm_eq {
	uint32_t overflow; /* B */
	uint32_t pad0[15];
	uint32_t cons;     /* C */
	uint32_t sleeping; /* B */
	uint32_t pad1[14];
	uint32_t entry[TOE_EQ_ENTRIES]; /* B */
};

/*
 * Loan: numbers of free slots or chunks that a worker lends to the client in advance, so that it
 * can open a socket or write without asking. A worker owns the slots and chunks that it lends: a
 * slot's send stream takes chunks of the slot's worker only. One producer (T), many consumers: take
 * entry[cons] by compare-and-swap of cons. Empty when cons == prod.
 */
struct toe_shm_loan {
	uint32_t prod; /* T */
	uint32_t pad0[15];
	uint32_t cons; /* B, clients only */
	uint32_t pad1[15];
	uint32_t entry[TOE_LOAN_ENTRIES]; /* T */
};

/* slot.state. Writer T, except FREE/LOANED -> OPENING by the client before it posts an open. */
#define TOE_SLOT_FREE 0u
#define TOE_SLOT_LOANED 1u      /* in the loan queue or taken from it */
#define TOE_SLOT_OPENING 2u     /* an open was posted and is not decided */
#define TOE_SLOT_DECLINED 3u    /* not offloaded: slot.reason says why; the kernel socket goes on; return the slot */
#define TOE_SLOT_SYN_SENT 4u    /* active open under way */
#define TOE_SLOT_ESTABLISHED 5u /* both streams exist; see rx_flags, tx_flags for half-closes */
#define TOE_SLOT_LISTEN 6u      /* the receive stream carries toe_shm_accept records */
#define TOE_SLOT_CLOSED 7u      /* the connection is over; error says how; unread octets can still be read */

/* slot.reason: replies to this connection reach another worker; take a slot of that worker and ask it */
#define TOE_REASON_STEER 255u
/* slot.reason: toed wants to see the placeholder first: PROBE, then ask again */
#define TOE_REASON_SHOW 254u
/* slot.reason: the user's quota is used up, and the operator wants the program to fail: ENOBUFS */
#define TOE_REASON_NO_BUFS 253u
/* slot.reason: toe.ReasonInUse. The connection's addresses and ports are taken on the device, as by
 * one in TIME-WAIT: it would be taken for that one everywhere, so it is no connection for the kernel.
 * Another local port may do. */
#define TOE_REASON_IN_USE 6u
/* toe.ReasonLoopback: the remote address is this host's own */
#define TOE_REASON_LOOPBACK 4u

/* slot.rx_flags, writer T */
#define TOE_RX_EOF 1u   /* the stream ends at rx_prod (FIN) */
#define TOE_RX_RESET 2u /* the connection was reset or timed out: slot.error */
#define TOE_RX_FIN 4u   /* the end is the peer's own: an error after it is not for readers */
/* slot.tx_flags, writer T */
#define TOE_TX_CLOSED 1u /* nothing more can be sent (our FIN is queued, or the connection is over) */

/* One record of a listener's receive stream: a connection that waits to be accepted. */
struct toe_shm_accept {
	uint32_t slot; /* in the listener's region */
	uint32_t gen;
};

struct toe_shm_slot {
	/* line 0, T: identity */
	uint32_t state;
	uint32_t gen;        /* changes when the slot is reused */
	uint16_t worker;     /* whose command queue takes this slot's commands; constant */
	uint16_t family;     /* 4 or 6, of the connection */
	uint16_t local_port; /* host order */
	uint16_t remote_port;
	uint8_t local_addr[16]; /* IPv4 mapped */
	uint8_t remote_addr[16];
	uint8_t reason; /* toe.Reason or TOE_REASON_STEER, valid in DECLINED */
	uint8_t steer;  /* the worker to ask instead, valid with TOE_REASON_STEER */
	uint16_t syn_room; /* SYN_SENT: the SYN waits for its first octets, and takes so many; 0 it has gone */
	uint8_t pad0[12];

	/* line 1, T: hot */
	uint64_t rx_prod;  /* the receive stream can be read up to here */
	uint64_t tx_cons;  /* the send stream is acknowledged up to here */
	uint64_t tx_limit; /* octets that tx_prod may be ahead of tx_cons */
	uint32_t rx_flags;
	uint32_t tx_flags;
	uint32_t event_seq; /* +1 with every change of this line or of state; the futex of blocked callers */
	uint32_t tx_lowat;  /* TCP_NOTSENT_LOWAT in force, octets; 0 none */
	uint32_t rx_dir;    /* 0: rx_entry; else (level << 28) | chunk of the directory, level 1 or 2 */
	uint32_t eor_cons;  /* entries of tx_eor before are taken */
	uint64_t tx_sent; /* the send stream was sent up to here, or further; valid with tx_lowat */
	uint64_t rx_urg;  /* the octet before this position is the peer's urgent one; 0 none ever */

	/* line 2, C: hot */
	uint64_t rx_cons; /* under rx_lock */
	uint64_t tx_prod; /* under tx_lock */
	uint32_t tx_dir;  /* as rx_dir */
	uint32_t tx_begun;  /* with syn_room: a writer has let the SYN go; under tx_lock */
	uint32_t cookie_lo; /* SO_COOKIE of the placeholder; 0 none */
	uint32_t cookie_hi;
	uint64_t tx_urg;      /* as rx_urg, of the send stream; before tx_prod reaches it; under tx_lock */
	uint64_t rx_urg_read; /* the rx_urg whose octet was read by MSG_OOB; under rx_lock */
	uint32_t eor_prod;    /* entries of tx_eor; moved before tx_prod reaches the border; under tx_lock */
	uint32_t nonblock;    /* 1: O_NONBLOCK, as the processes that have the descriptor set it last */
	uint32_t zerocopy;      /* MSG_ZEROCOPY: writes that are complete; under tx_lock */
	uint32_t zerocopy_told; /* of those the program has heard */

	/* line 3, B */
	uint64_t eq_mask;     /* event queues that want to hear of this slot (C) */
	uint64_t eq_pending;  /* event queues in which this slot stands */
	uint32_t cmd_pending; /* bit per TOE_OP_TX_DATA, TOE_OP_RX_DATA_ACK, 1 << op: posted and not yet drained */
	uint32_t waiters;     /* callers blocked on event_seq */
	uint32_t error;       /* pending SO_ERROR (errno), taken by swapping in 0 */
	uint32_t rx_lock;     /* 0 or the holder's thread id, TOE_LOCK_CONTENDED set when somebody waits */
	uint32_t tx_lock;
	uint32_t shared;      /* 1: more than one process may hold the socket (C) */
	uint32_t tx_nospace;  /* 1: a writer wants to hear when a third of tx_limit is free again */
	uint32_t pad3;
	uint64_t eq_exclusive; /* of eq_mask: those of which one is enough (C) */
	uint32_t pad4[2];

	/* line 4, T: directory of the receive stream */
	uint32_t rx_entry[TOE_DIR_INLINE]; /* chunk or 0 */
	/* line 5, B: directory of the send stream; see TOE_DIR_WRITING */
	uint32_t tx_entry[TOE_DIR_INLINE];

	/* line 6, C: arguments of an open, and of SET_TCB_FIELD */
	uint8_t req_local_addr[16]; /* zero: any */
	uint8_t req_remote_addr[16];
	uint16_t req_local_port; /* host order */
	uint16_t req_remote_port;
	uint16_t req_family; /* 4 or 6: of the socket */
	uint8_t req_v6only;
	uint8_t req_nodelay;
	uint8_t req_keepalive;
	uint8_t req_cc;       /* TOE_CC_* */
	uint8_t req_fastopen; /* TOE_FASTOPEN_* */
	uint8_t req_synretries; /* of the SYN, 0 default */
	uint32_t req_rcvbuf; /* octets, 0 default */
	uint32_t req_sndbuf;
	uint32_t req_maxseg;
	uint64_t req_value; /* option value of SET_TCB_FIELD */

	/* line 7, C: more arguments of an open; borders */
	uint64_t req_max_pacing;   /* octets per second, 0 no bound */
	uint32_t req_lowat;	   /* TCP_NOTSENT_LOWAT, octets, 0 none */
	uint32_t req_fastopen_len; /* PASS_OPEN_REQ: connections that may wait for their handshake's end, 0: no Fast Open */
	uint8_t req_tos; /* DSCP in the upper six bits */
	uint8_t req_ttl; /* or hop limit, 0 default */
	uint8_t req_reuseport; /* PASS_OPEN_REQ: SO_REUSEPORT, others of the user may listen there, too */
	uint8_t pad5;
	uint32_t req_clamp; /* TCP_WINDOW_CLAMP, octets, 0 none */
	uint32_t req_user_timeout; /* ms, 0 none */
	uint32_t req_defer_accept; /* PASS_OPEN_REQ: TCP_DEFER_ACCEPT, seconds, 0 none */
	uint32_t tx_eor[TOE_EORS]; /* MSG_EOR: the low half of the position after each message's end; under tx_lock */
};

#define TOE_LOCK_CONTENDED 0x80000000u

/*
 * Send directory entries. The writer sets TOE_DIR_WRITING (by fetch-or) while it fills a chunk that
 * is already in the directory, and clears it after tx_prod has moved. The chunk that a drained
 * stream ends in toed takes back by compare-and-swap from the plain number to 0, which fails while
 * the bit is set; meanwhile it holds the slot's tx_lock, for which it tries once. Chunks that
 * tx_cons has passed completely it takes without asking. Chunks for new entries come from the
 * chunk loan. Directories grow by level, never shrink while the stream holds octets: the producer
 * copies the live entries to the new directory (a chunk; level 2: a chunk of chunks), publishes
 * rx_dir or tx_dir, and goes on.
 */
#define TOE_DIR_WRITING 0x80000000u

/*
 * Control socket. Requests and answers are one toe_shm_msg each; descriptors travel beside them by
 * SCM_RIGHTS. An answer has the request's type and seq; error is 0 or an errno.
 */
#define TOE_MSG_HELLO 1u     /* magic, abi, prog -> region_id, naddrs, addr[]; fds: region, status page, wake eventfd of each worker */
#define TOE_MSG_ATTACH 2u    /* token of a region inherited by fork -> ok: this client may name its slots */
#define TOE_MSG_EQ_ALLOC 3u  /* region_id; fd: eventfd -> eq */
#define TOE_MSG_EQ_FREE 4u   /* region_id, eq */
#define TOE_MSG_PROBE 5u     /* fd: a TCP socket -> region_id, slot, gen; fd: region, if the client has it not yet. ENOENT: not offloaded; EACCES: by a client of another user, or the port may not be had; EADDRINUSE: it is taken in toed's network namespace */
#define TOE_MSG_INFO 6u      /* region_id, slot, gen (0: whatever it is) -> info = struct tcp_info as of linux/tcp.h, info_len; more */
#define TOE_MSG_BYE 7u       /* the process ends in order; no answer */
#define TOE_MSG_NO_SLOT 8u   /* fd: a TCP socket that is left to the kernel because no slot was lent; addr[0], slot: where it connects to, address and port, 0 if it listens -> ok: counted */
#define TOE_MSG_DETACH 9u    /* region_id: not the client's own, and it holds no socket of it any more -> ok */

#define TOE_MSG_MAX_FDS (2u + TOE_MAX_WORKERS)

struct toe_shm_addr {
	uint8_t addr[16]; /* IPv4 mapped */
	uint32_t prefix;  /* bits, of the 128 */
	uint32_t mtu;
};

/* What INFO tells besides struct tcp_info. */
struct toe_shm_more {
	char cc[16];	     /* name of the congestion control */
	uint8_t cc_info[32]; /* union tcp_cc_info as of linux/inet_diag.h */
	uint32_t cc_info_len;
	uint32_t path_mtu;    /* octets of IP packet */
	uint32_t unsent;      /* octets written and never sent */
	uint32_t meminfo[9]; /* SO_MEMINFO, as of linux/sock_diag.h */
};

struct toe_shm_msg {
	uint32_t type;
	uint32_t seq;
	int32_t error;
	uint32_t region_id;
	uint32_t slot;
	uint32_t gen;
	uint32_t eq;
	uint32_t abi;
	uint64_t magic;
	uint8_t token[TOE_TOKEN_BYTES];
	char prog[16]; /* what the client wants to be called; empty: as the kernel calls the process */
	uint32_t naddrs;
	uint32_t info_len;
	struct toe_shm_more more;
	union {
		struct toe_shm_addr addr[TOE_MAX_ADDRS];
		uint8_t info[384];
	} u;
};

#define TOE_ASSERT_OFFSET(type, field, off) \
	_Static_assert(__builtin_offsetof(struct type, field) == (off), #type "." #field)

_Static_assert(sizeof(struct toe_shm_worker_status) == 64, "toe_shm_worker_status");
_Static_assert(sizeof(struct toe_shm_status) == 64 + 64 * TOE_MAX_WORKERS, "toe_shm_status");
_Static_assert(sizeof(struct toe_shm_region) == 192, "toe_shm_region");
_Static_assert(sizeof(struct toe_shm_cmd) == 16, "toe_shm_cmd");
_Static_assert(sizeof(struct toe_shm_cmdq) == 64 + 16 * TOE_CMD_ENTRIES, "toe_shm_cmdq");
_Static_assert(sizeof(struct toe_shm_eq) == 128 + 4 * TOE_EQ_ENTRIES, "toe_shm_eq");
_Static_assert(sizeof(struct toe_shm_loan) == 128 + 4 * TOE_LOAN_ENTRIES, "toe_shm_loan");
_Static_assert(sizeof(struct toe_shm_slot) == 512, "toe_shm_slot");
TOE_ASSERT_OFFSET(toe_shm_region, detached, 128);
TOE_ASSERT_OFFSET(toe_shm_slot, rx_prod, 64);
TOE_ASSERT_OFFSET(toe_shm_slot, rx_cons, 128);
TOE_ASSERT_OFFSET(toe_shm_slot, eq_mask, 192);
TOE_ASSERT_OFFSET(toe_shm_slot, eq_exclusive, 240);
TOE_ASSERT_OFFSET(toe_shm_slot, rx_entry, 256);
TOE_ASSERT_OFFSET(toe_shm_slot, tx_entry, 320);
TOE_ASSERT_OFFSET(toe_shm_slot, req_local_addr, 384);
TOE_ASSERT_OFFSET(toe_shm_slot, req_value, 440);
TOE_ASSERT_OFFSET(toe_shm_slot, req_max_pacing, 448);
TOE_ASSERT_OFFSET(toe_shm_slot, tx_eor, 480);
_Static_assert(sizeof(struct toe_shm_more) == 96, "toe_shm_more");
_Static_assert(sizeof(struct toe_shm_msg) == 176 + 384, "toe_shm_msg");

#endif
