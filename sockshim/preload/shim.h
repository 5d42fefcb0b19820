/*
 * shim.h - what the files of libtoe_shim.so share. README.md beside it explains the model.
 *
 * Errors: functions named shim_* return 0 or a count, or -errno; they do not touch errno unless
 * they say so. The interposed libc functions at the end of each file translate once, by
 * shim_result().
 */
#ifndef SHIM_H
#define SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../shm/toe_shm.h"

#define SHIM_API __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define fence_seq() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Limits. */
#define SHIM_FD_MAX (1 << 20) /* descriptors above are left to the kernel */
#define SHIM_REGIONS 256      /* memory files mapped at once: our own, inherited ones, others' */
#define SHIM_IDLE_REGIONS 8   /* so many of them stay mapped that no socket is in any more */

/* ---- shim_libc.c: the functions that we stand in front of ------------------------------- */

struct mmsghdr;
struct epoll_event;

/* clang-format off */
#define SHIM_LIBC(X)                                                                              \
	X(int, socket, (int, int, int))                                                           \
	X(int, bind, (int, const struct sockaddr *, socklen_t))                                   \
	X(int, connect, (int, const struct sockaddr *, socklen_t))                                \
	X(int, listen, (int, int))                                                                \
	X(int, accept, (int, struct sockaddr *, socklen_t *))                                     \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int))                               \
	X(int, shutdown, (int, int))                                                              \
	X(int, getsockname, (int, struct sockaddr *, socklen_t *))                                \
	X(int, getpeername, (int, struct sockaddr *, socklen_t *))                                \
	X(int, getsockopt, (int, int, int, void *, socklen_t *))                                  \
	X(int, setsockopt, (int, int, int, const void *, socklen_t))                              \
	X(ssize_t, read, (int, void *, size_t))                                                   \
	X(ssize_t, readv, (int, const struct iovec *, int))                                       \
	X(ssize_t, recv, (int, void *, size_t, int))                                              \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))          \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                          \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))               \
	X(ssize_t, write, (int, const void *, size_t))                                            \
	X(ssize_t, writev, (int, const struct iovec *, int))                                      \
	X(ssize_t, send, (int, const void *, size_t, int))                                        \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))  \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                    \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned, int))                                  \
	X(ssize_t, sendfile64, (int, int, int64_t *, size_t))                                     \
	X(ssize_t, splice, (int, int64_t *, int, int64_t *, size_t, unsigned))                    \
	X(ssize_t, pread64, (int, void *, size_t, int64_t))                                       \
	X(ssize_t, preadv64v2, (int, const struct iovec *, int, int64_t, int))                    \
	X(ssize_t, pwritev64v2, (int, const struct iovec *, int, int64_t, int))                   \
	X(int, close, (int))                                                                      \
	X(int, dup, (int))                                                                        \
	X(int, dup2, (int, int))                                                                  \
	X(int, dup3, (int, int, int))                                                             \
	X(int, fcntl64, (int, int, ...))                                                          \
	X(int, ioctl, (int, unsigned long, ...))                                                  \
	X(int, close_range, (unsigned, unsigned, int))                                            \
	X(int, fclose, (FILE *))                                                                  \
	X(FILE *, fdopen, (int, const char *))                                                    \
	X(int, vdprintf, (int, const char *, va_list))                                            \
	X(int, __vdprintf_chk, (int, int, const char *, va_list))                                 \
	X(int, poll, (struct pollfd *, nfds_t, int))                                              \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))       \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                     \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)) \
	X(int, epoll_create1, (int))                                                              \
	X(int, epoll_ctl, (int, int, int, struct epoll_event *))                                  \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))              \
	X(int, execve, (const char *, char *const[], char *const[]))                              \
	X(int, execv, (const char *, char *const[]))                                              \
	X(int, execvp, (const char *, char *const[]))                                             \
	X(int, execvpe, (const char *, char *const[], char *const[]))                             \
	X(int, fexecve, (int, char *const[], char *const[]))                                      \
	X(int, posix_spawn,                                                                       \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,  \
	   char *const[], char *const[]))                                                         \
	X(int, posix_spawnp,                                                                      \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,  \
	   char *const[], char *const[]))                                                         \
	X(int, execveat, (int, const char *, char *const[], char *const[], int))                  \
	X(int, system, (const char *))                                                            \
	X(FILE *, popen, (const char *, const char *))                                            \
	X(pid_t, _Fork, (void))                                                                   \
	X(int, clone, (int (*)(void *), void *, int, void *, ...))                                \
	X(int, pidfd_getfd, (int, int, unsigned))                                                 \
	X(int, chroot, (const char *))                                                            \
	X(int, unshare, (int))                                                                    \
	X(int, setns, (int, int))                                                                 \
	X(int, prctl, (int, ...))                                                                 \
	X(int, setrlimit64, (__rlimit_resource_t, const struct rlimit64 *))                       \
	X(int, prlimit64,                                                                         \
	  (pid_t, __rlimit_resource_t, const struct rlimit64 *, struct rlimit64 *))               \
	X(void, _exit, (int))                                                                     \
	X(long, syscall, (long, ...))
/* clang-format on */

struct shim_libc {
#define X(ret, name, args) ret(*name) args;
	SHIM_LIBC(X)
#undef X
	bool ready;
};

extern struct shim_libc shim_libc_table;
void shim_libc_resolve(void);

/* shim_real returns libc's own functions. Safe before our constructor has run. */
static inline const struct shim_libc *shim_real(void)
{
	if (unlikely(!load_acquire(&shim_libc_table.ready)))
		shim_libc_resolve();
	return &shim_libc_table;
}

/* ---- shim_runtime.c: process-wide state, memory, locks, time, log --------------------------- */

struct shim_config {
	char path[256];	  /* toed's control socket */
	int log_level;	  /* 0 errors, 1 decisions, 2 more */
	uint64_t spin_ns; /* polled this long before a thread sleeps */
};

extern struct shim_config shim_config;
extern pid_t shim_pid; /* of the process that owns this memory; a vfork child differs from it */

#define shim_log(level, ...)                                    \
	do {                                                    \
		if (unlikely((level) <= shim_config.log_level)) \
			shim_log_line(__VA_ARGS__);             \
	} while (0)
void shim_log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* shim_before_fork and shim_after_fork are what fork's handlers do, for processes that are made
 * without them. */
void shim_before_fork(void);
void shim_after_fork(bool child);

/* shim_foreign reports whether this is a vfork child, which must not change its parent's tables. */
bool shim_foreign(void);

/* shim_tid returns the calling thread's kernel id. */
extern __thread uint32_t shim_tid_cached;
uint32_t shim_tid_fetch(void);
static inline uint32_t shim_tid(void)
{
	return likely(shim_tid_cached) ? shim_tid_cached : shim_tid_fetch();
}

/* shim_now returns CLOCK_MONOTONIC in nanoseconds. */
uint64_t shim_now(void);
#define SHIM_FOREVER UINT64_MAX
/* shim_deadline returns the time that is t from now, however far that is. No t: SHIM_FOREVER; no
 * time at all: 0. shim_time_ok reports whether the kernel would take t. */
uint64_t shim_deadline(const struct timespec *t);
static inline bool shim_time_ok(const struct timespec *t)
{
	return !t || (t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

/* shim_pages returns zeroed memory of its own, NULL if there is none. Never malloc: the program's
 * allocator may be calling us. */
void *shim_pages(size_t bytes);

/* A slab hands out objects of one size. Memory once handed out stays mapped and keeps its type, so
 * that a reader who raced with a free sees an object of the same kind. */
struct shim_mutex {
	uint32_t word;	/* 0 or the owner's thread id, the top bit set when somebody waits */
	uint32_t depth; /* how often the owner has taken it besides */
};
struct shim_slab {
	struct shim_mutex lock;
	size_t size;
	void *free; /* list through the objects' last word */
};
void *shim_slab_take(struct shim_slab *slab);
void shim_slab_give(struct shim_slab *slab, void *object);

/* A process-private lock. The owner may take it again: a signal handler that interrupted the owner
 * must not wait for it. */
void shim_mutex_lock(struct shim_mutex *m);
void shim_mutex_unlock(struct shim_mutex *m);

static inline ssize_t shim_result(ssize_t rc)
{
	if (rc < 0) {
		errno = (int)-rc;
		return -1;
	}
	return rc;
}

/* ---- shim_control.c: the connection to toed and the mapped regions -------------------------- */

struct shim_region {
	uint32_t id;	 /* 0: free entry */
	uint32_t dead;	 /* toed has dropped it or is gone */
	uint32_t refs;	 /* sockets and event queues in it, and the session if it is its own */
	uint32_t unused; /* when refs came to be 0: which time that was */
	struct toe_shm_region *header;
	size_t bytes;
	uint8_t token[TOE_TOKEN_BYTES];
	uint32_t nworkers, nslots, nchunks, neqs;
	struct toe_shm_cmdq *cmdq;
	struct toe_shm_eq *eq;
	struct toe_shm_loan *slot_loan, *chunk_loan;
	struct toe_shm_slot *slot;
	uint8_t *chunk;
};

/* The session: one control connection of one process. */
struct shim_session {
	struct shim_mutex lock;
	pid_t pid;	 /* whose connection it is; 0 none */
	uint32_t number; /* +1 with every new connection */
	uint32_t seq;
	int control; /* -1 none; inherited and not ours while pid != shim_pid */
	int wake[TOE_MAX_WORKERS];
	uint32_t nworkers;
	struct toe_shm_status *status, *former_status;
	struct shim_region *own;    /* the region in which this process opens sockets */
	struct shim_region *former; /* the one before */
	struct toe_shm_addr addr[TOE_MAX_ADDRS];
	uint32_t naddrs;
	uint64_t retry_at; /* toed was not there, or turned us down: not to be asked before */
	uint32_t losses;   /* +1 each time a toed with all its regions is lost */
	uint32_t homeless; /* not 0: there may be listeners that toed has to be asked about */
	uint32_t alarms;   /* +1 after homeless: who waits has to look after them */
	uint64_t away;	   /* since when no toed could be had */
	uint64_t look_at;  /* when a waiting thread looks for toed next */
	uint64_t netns;	   /* SO_NETNS_COOKIE of the control connection, 0 not known */
	uint32_t shows;	   /* 1: toed wants to see every placeholder before it opens a socket */
};

extern struct shim_session shim_session;
extern struct shim_region shim_regions[SHIM_REGIONS];

/* shim_attach makes sure that this process has a session. -ENOTCONN: no toed, the kernel serves. */
int shim_attach(void);
/* shim_attach_live is shim_attach for who decides where a socket goes: it notices that toed has
 * ended, or been started again, since it was last heard of. One system call. */
int shim_attach_live(void);
static inline bool shim_attached(void)
{
	return load_acquire(&shim_session.pid) == shim_pid && shim_pid != 0;
}
/* shim_show lets toed see a placeholder that is about to be opened, where it has to, or where it
 * has asked to (again). 0 also when that was not needed; -EADDRINUSE: the port is taken for toed.
 */
int shim_show(int fd, bool asked);
/* shim_toed_alive looks whether toed has hung up, and marks every region dead if so. */
bool shim_toed_alive(void);
void shim_toed_lost(void);
/* shim_region_ok reports whether r is in use by toed. */
static inline bool shim_region_ok(struct shim_region *r)
{
	return !load_relaxed(&r->dead) && !load_acquire(&r->header->detached);
}
/* shim_region_hold keeps r mapped until shim_region_drop; the caller has it from somebody who holds
 * it. What has just been replaced (a listener's region, the session's own) is held until the next
 * comes: a thread that has read the pointer before may still be using it. */
static inline void shim_region_hold(struct shim_region *r)
{
	__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
}
void shim_region_drop(struct shim_region *r); /* NULL: nothing */
/* shim_ours reports whether the address, IPv4 mapped, is one of toed's own. */
bool shim_ours(const uint8_t addr[16]);
int shim_eq_alloc(struct shim_region *r, int event_fd); /* the queue's number or -errno */
/* shim_eq_want has toed push the slot to the queue. shim_eq_leave takes that back where it can: the
 * bit may be others' too, and then the queue hears of slots that it did not ask for. */
static inline void shim_eq_want(struct toe_shm_slot *slot, uint32_t eq)
{
	__atomic_fetch_or(&slot->eq_mask, 1ull << TOE_EQ_BIT(eq), __ATOMIC_SEQ_CST);
}
static inline void shim_eq_leave(struct toe_shm_slot *slot, uint32_t eq)
{
	if (eq < TOE_EQ_OWN)
		__atomic_fetch_and(&slot->eq_mask, ~(1ull << eq), __ATOMIC_SEQ_CST);
}
/* shim_eq_share says whether it is enough that one of several such queues hears of the slot. */
static inline void shim_eq_share(struct toe_shm_slot *slot, uint32_t eq, bool share)
{
	if (eq >= TOE_EQ_OWN)
		return;
	if (share)
		__atomic_fetch_or(&slot->eq_exclusive, 1ull << eq, __ATOMIC_SEQ_CST);
	else if (load_relaxed(&slot->eq_exclusive) & 1ull << eq)
		__atomic_fetch_and(&slot->eq_exclusive, ~(1ull << eq), __ATOMIC_SEQ_CST);
}
/* shim_eq_took notes that the slot was taken out of the queue. */
static inline void shim_eq_took(struct toe_shm_slot *slot, uint32_t eq)
{
	if (eq < TOE_EQ_OWN)
		__atomic_fetch_and(&slot->eq_pending, ~(1ull << eq), __ATOMIC_SEQ_CST);
}
void shim_eq_free(struct shim_region *r, uint32_t eq);
/* shim_probe_fd asks whether fd is an offloaded socket; -ENOENT if not. 0: the caller has to drop
 * *r. */
int shim_probe_fd(int fd, struct shim_region **r, uint32_t *slot, uint32_t *gen);
/* shim_no_slot tells that fd is left to the kernel for want of a slot: it connects to addr and
 * port, or listens, addr being NULL then. */
void shim_no_slot(int fd, const uint8_t addr[16], uint16_t port);
/* shim_info asks what toed knows of a socket; the lengths in the answer are checked. */
int shim_info(struct shim_region *r, uint32_t slot, uint32_t gen, struct toe_shm_msg *m);
void shim_bye(void);

/* ---- shim_queue.c: commands, loans, sleeping ------------------------------------------------ */

/* shim_post appends a command for a slot of r to our queue of worker w, and wakes the worker if it
 * sleeps. */
void shim_post(struct shim_region *r, uint32_t w, uint32_t op, uint32_t flags, uint32_t slot,
	       uint32_t arg);
/* shim_post_once does nothing if op is posted for the slot already and not drained. */
void shim_post_once(struct shim_region *r, uint32_t slot, uint32_t op);
/* shim_post_tracked is shim_post that remembers the command; shim_posted_wait returns when toed has
 * taken it. */
struct shim_posted {
	struct toe_shm_cmd *command; /* NULL: nothing to wait for */
	uint32_t position;
};
void shim_post_tracked(struct shim_region *r, uint32_t w, uint32_t op, uint32_t slot, uint32_t arg,
		       struct shim_posted *posted);
void shim_posted_wait(struct shim_region *r, struct shim_posted *posted);
struct shim_sock;
/* shim_borders_wait returns when toed has taken a border of s, so that there is room for another;
 * false if it never will. Under tx_lock. */
bool shim_borders_wait(struct shim_sock *s);
/* shim_loan_take returns a number from the loan, 0 if it is empty. */
uint32_t shim_loan_take(struct toe_shm_loan *loan);

/* shim_slot_lock takes the rx_lock or tx_lock of a slot; a dead holder's lock is taken over.
 * -EDEADLK: this thread holds it (a signal handler interrupted it). */
int shim_slot_lock(uint32_t *word);
void shim_slot_unlock(uint32_t *word);

/* shim_wait_slot returns when the slot's event_seq differs from seq, or after a while (the caller
 * looks again). -EINTR as the kernel would, -ETIMEDOUT at deadline (ns; SHIM_FOREVER none). With a
 * deadline or SHIM_NO_RESTART a signal always interrupts; else only a handler without SA_RESTART
 * does. With SHIM_SPIN it polls for a moment before it sleeps. */
#define SHIM_SPIN 1u
#define SHIM_NO_RESTART 2u
int shim_wait_slot(struct shim_region *r, struct toe_shm_slot *slot, uint32_t seq,
		   uint64_t deadline, unsigned how);
int shim_futex_wait(uint32_t *word, uint32_t value, uint64_t relative_ns, bool shared);
void shim_futex_wake(uint32_t *word, int count, bool shared);

/* ---- shim_fdtable.c: what each descriptor is ------------------------------------------------ */

enum shim_kind { SHIM_SOCK = 1, SHIM_EPOLL };

struct shim_obj {
	uint32_t refs; /* descriptors plus calls under way */
	uint32_t nfds; /* descriptors of this process */
	uint8_t kind;
};

/* What a TCP socket is. It starts undecided; connect and listen decide. */
enum shim_role {
	SHIM_UNDECIDED,
	SHIM_KERNEL,   /* the kernel carries it */
	SHIM_CONN,     /* offloaded connection, or one that is being opened */
	SHIM_LISTENER, /* the kernel listens, and toed when region is in use by it */
};

/* Socket options that we act upon, as they were last set. */
struct shim_options {
	uint64_t rcvtimeo, sndtimeo; /* ns, 0 none */
	uint64_t max_pacing;	     /* octets per second, 0 no bound */
	uint32_t rcvbuf, sndbuf;     /* octets, 0 default */
	uint32_t window_clamp;	     /* octets, 0 none */
	uint32_t notsent_lowat;	     /* octets, 0 none */
	uint32_t fastopen;	     /* a listener's queue, 0 no Fast Open */
	uint32_t syncnt;	     /* SYN retransmissions, 0 default */
	uint32_t defer_accept;	     /* seconds, 0 none */
	uint32_t rcvlowat;
	uint32_t maxseg;
	int32_t peek_off;  /* SO_PEEK_OFF, -1 off; under rx_lock */
	uint32_t tos, ttl; /* IP_TOS or IPV6_TCLASS, IP_TTL or IPV6_UNICAST_HOPS; 0 default */
	uint32_t keepidle, keepintvl, keepcnt, user_timeout; /* as given; 0 default */
	int32_t linger;					     /* seconds, -1 off */
	uint8_t nodelay, cork, keepalive, oobinline;
	uint8_t fastopen_connect, fastopen_bare;
	uint8_t inq;	  /* TCP_INQ */
	uint8_t zerocopy; /* SO_ZEROCOPY */
	uint8_t reuseaddr, reuseport;
	uint8_t no_pmtu;     /* IP_PMTUDISC_DONT */
	uint8_t cc;	     /* TOE_CC_* */
	uint8_t kernel_only; /* has a setting that only the kernel can honour */
};

struct shim_item;

struct shim_sock {
	struct shim_obj obj;
	uint8_t role;	    /* enum shim_role; published with release */
	uint8_t domain;	    /* AF_INET or AF_INET6 */
	uint8_t nonblock;   /* O_NONBLOCK of the file description as this process knows it */
	uint8_t connecting; /* a connect() has not been answered by 0 or its error */
	uint8_t shut;	    /* TOE_SHUT_* asked by this process */
	uint8_t turn;	    /* listener: alternates between toed and kernel */
	uint8_t held;	    /* the slot is ours: it has to be closed */
	uint8_t shared;	    /* another process may hold the descriptor */
	uint32_t asked;	    /* listener: toed was asked to take it, after so many losses less one */
	uint8_t signals;    /* TOE_SIGNAL_*: what this process is to hear by signal */
	int hold; /* descriptor that keeps the placeholder while a call outlives close; -1 */
	struct shim_mutex lock;		     /* role changes */
	struct shim_region *region, *former; /* both held */
	struct toe_shm_slot *slot;
	uint32_t slot_no, gen;
	uint64_t rx_told; /* rx_cons when RX_DATA_ACK was last posted; under rx_lock */
	uint32_t rx_step; /* octets read between two RX_DATA_ACK */
	uint32_t spare;	  /* a borrowed chunk into which nothing was written yet; under tx_lock */
	struct shim_options opt;
	struct shim_posted option; /* the last SET_TCB_FIELD; under lock */
	struct shim_item *items;   /* its registrations in epoll sets; under the topology lock */
	void *slab_link;
};

/* shim_obj_get returns what fd is, with a reference, or NULL: nothing of ours. Descriptors that the
 * process did not make itself are probed once. */
struct shim_obj *shim_obj_get(int fd);
void shim_obj_put(struct shim_obj *o);
struct shim_sock *shim_sock_get(int fd); /* any TCP socket */
struct shim_sock *shim_conn_get(int fd); /* in role SHIM_CONN only; the data path's entry */
/* shim_sock_adopt is shim_sock_get for connect and listen: it also takes back a socket that was
 * left to the kernel and is unused again. */
struct shim_sock *shim_sock_adopt(int fd);
struct shim_sock *shim_sock_new(int domain, bool nonblock);
/* shim_fd_bind makes fd stand for o; takes a descriptor's reference. */
void shim_fd_bind(int fd, struct shim_obj *o);
/* shim_fd_drop forgets fd before it is closed; with close posted for the last descriptor. When it
 * is closed, shim_fd_forget has to follow. */
void shim_fd_drop(int fd);
void shim_fd_pass(int fd);   /* fd is new, and the kernel's */
void shim_fd_forget(int fd); /* the kernel's fd may be another: it is probed when it is next used */
void shim_fd_dup(int from, int to);
bool shim_fd_own(int fd); /* one of the shim's own descriptors */
/* shim_fd_hide moves fd to a high number, close-on-exec, and remembers that the variable at where
 * holds it. Returns the number. */
int shim_fd_hide(int fd, int *where);
/* shim_fd_hide_waker is shim_fd_hide for an eventfd on which threads sleep; shim_fd_wake writes all
 * of those. */
int shim_fd_hide_waker(int fd, int *where);
void shim_fd_wake(void);
void shim_fd_unhide(int *where); /* closes it; *where = -1 */
int shim_fd_rehome(int fd);	 /* something is about to be put over our own fd: move it */
int shim_fd_highest(void);	 /* no descriptor of ours is above */
/* shim_fd_is reports whether fd still stands for s. */
bool shim_fd_is(int fd, struct shim_sock *s);
/* shim_fd_of returns a descriptor of s, which was called under the number fd: the program may have
 * closed that meanwhile. */
int shim_fd_of(struct shim_sock *s, int fd);
void shim_fds_probe(void); /* finds out what the descriptors are that nobody has used yet */
void shim_fds_each(void (*f)(int fd, struct shim_obj *o, void *arg), void *arg);
void shim_fds_after_fork(void);

static inline uint8_t shim_role(struct shim_sock *s)
{
	return load_acquire(&s->role);
}

/* ---- shim_environ.c -------------------------------------------------------------------------- */

/* shim_environ_note keeps what this program was started with. */
void shim_environ_note(char *const envp[]);
/* shim_environ_room returns how many octets shim_environ_fill needs to add to envp what brings the
 * shim into the next program; 0: nothing is missing. */
size_t shim_environ_room(char *const envp[]);
char *const *shim_environ_fill(char *const envp[], void *room);

/* ---- shim_stream.c: octets in and out of chunks --------------------------------------------- */

/* A fill puts up to n octets at dst, a drain takes up to n from src; both return how many, 0 for
 * no more, or -errno. */
typedef ssize_t (*shim_fill)(void *arg, uint8_t *dst, size_t n);
typedef ssize_t (*shim_drain)(void *arg, const uint8_t *src, size_t n);

struct shim_iter {
	const struct iovec *iov;
	size_t count;
	size_t offset; /* in iov[0] */
};
/* shim_pointer_ok reports whether a program can have memory at p at all: not below the first page,
 * not above user space. Where a pointer within is wrong nobody knows before it is used. */
static inline bool shim_pointer_ok(const void *p)
{
	return (uintptr_t)p - 4096 < (1ull << 56);
}
ssize_t shim_iter_fill(void *iter, uint8_t *dst, size_t n);
ssize_t shim_iter_drain(void *iter, const uint8_t *src, size_t n);
ssize_t shim_null_drain(void *arg, const uint8_t *src, size_t n);

/* Under rx_lock: drain up to n octets from pos, which rx_prod has passed. */
ssize_t shim_rx_copy(struct shim_sock *s, uint64_t pos, size_t n, shim_drain drain, void *arg);
/* Under tx_lock: append up to n octets; -ENOBUFS: no chunk can be had now. */
ssize_t shim_tx_copy(struct shim_sock *s, size_t n, shim_fill fill, void *arg);

/* ---- shim_io.c ------------------------------------------------------------------------------ */

/* shim_recv with no octets asked for waits, as in Linux, until there is something to read; 0. */

ssize_t shim_recv(struct shim_sock *s, int fd, shim_drain drain, void *arg, size_t len, int flags);
ssize_t shim_send(struct shim_sock *s, int fd, shim_fill fill, void *arg, size_t len, int flags);
/* shim_nonblock reports O_NONBLOCK, which the processes that have the descriptor share: by the
 * slot, or, while there is none, by the kernel. shim_set_nonblock notes that it was set. */
bool shim_nonblock(struct shim_sock *s, int fd);
void shim_set_nonblock(struct shim_sock *s, bool on);
/* shim_completed takes the completions of MSG_ZEROCOPY that the program has not heard of: the first
 * and the last number; false if there are none. */
bool shim_completed(struct toe_shm_slot *slot, uint32_t *first, uint32_t *last);
/* shim_take_error returns the pending error as a positive errno and clears it. */
int shim_take_error(struct shim_sock *s);

/* shim_urgent returns the position of the peer's urgent octet, which has not been passed by
 * reading; UINT64_MAX if there is none. */
uint64_t shim_urgent(const struct toe_shm_slot *slot);
/* shim_unread returns how many octets a read has before it, an urgent one that it passes over not
 * counted. */
uint64_t shim_unread(struct shim_sock *s);
/* shim_tx_free returns how many octets may be written now: by the limit, and not at all while more
 * is unsent than TCP_NOTSENT_LOWAT allows. */
uint64_t shim_tx_free(const struct toe_shm_slot *slot);

/* ---- shim_stdio.c --------------------------------------------------------------------------- */

/* shim_stdio_check is called when something new stands at a descriptor: should it be one of the
 * first three, the stream of that name must be able to read and write it. */
void shim_stdio_check(int fd);
void shim_stdio_after_fork(void);
/* shim_stdio_end writes what our streams hold. */
void shim_stdio_end(void);

/* ---- shim_uring.c --------------------------------------------------------------------------- */

extern bool shim_uring_allowed; /* TOE_IO_URING=allow */
/* shim_uring_refuse keeps the process from io_uring by whatever way it would take. */
void shim_uring_refuse(void);

/* ---- shim_open.c ---------------------------------------------------------------------------- */

/* shim_fastopen is what MSG_FASTOPEN does before the octets are written: it connects. 1: they are
 * for shim_send now, 0: for the kernel. flags are those of the send. */
int shim_fastopen(struct shim_sock *s, int fd, const struct sockaddr *to, socklen_t len, int flags);
/* shim_restarts reports whether an interrupted call goes on: every handler that can have
 * interrupted it has SA_RESTART. Which signal it was nobody tells us. */
bool shim_restarts(void);
/* shim_connect_failed makes s a socket that can be connected again. */
void shim_connect_failed(struct shim_sock *s);

/* shim_listen_kernel makes a listener that no other process holds the kernel's alone. */
void shim_listen_kernel(struct shim_sock *s);

/* shim_sock_close gives the slot back as the last close would. */
void shim_sock_close(struct shim_sock *s);
void shim_sock_share(struct shim_sock *s); /* another process may hold it from now on */

/* shim_place makes slot n of r the slot of s. Who reads the slot of a listener without its lock
 * reads region first. */
void shim_place(struct shim_sock *s, struct shim_region *r, uint32_t n);
/* shim_listen_ask asks toed to listen too: TOE_SLOT_LISTEN, or TOE_SLOT_DECLINED with the reason in
 * *reason, or TOE_SLOT_OPENING: no answer. In the latter cases s has no slot. Under lock. */
uint32_t shim_listen_ask(struct shim_sock *s, int fd, int backlog, uint8_t *reason);

/* ---- shim_relisten.c ------------------------------------------------------------------------ */

/* shim_listen_alone makes s a listener that toed does not have, yet. asked says whether toed has
 * been asked. Under lock. */
void shim_listen_alone(struct shim_sock *s, bool asked);
/* shim_no_region is the region of listeners that toed does not have; it is never in use. */
struct shim_region *shim_no_region(void);
/* shim_listeners_lost notes that toed has lost its half of all listeners. */
void shim_listeners_lost(void);
/* shim_alarmed reports whether listeners have to be looked after that had not when alarms was
 * read. */
static inline bool shim_alarmed(uint32_t alarms)
{
	return load_acquire(&shim_session.alarms) != alarms;
}
/* shim_relisten offers toed the listeners that it does not have, if it has come back. It returns
 * until when (ns) a thread may sleep before it has to ask again; SHIM_FOREVER when there is no need
 * to. Not under any lock. */
uint64_t shim_relisten_slow(void);
static inline uint64_t shim_relisten(void)
{
	return likely(!load_relaxed(&shim_session.homeless)) ? SHIM_FOREVER : shim_relisten_slow();
}

/* ---- shim_option.c -------------------------------------------------------------------------- */

void shim_options_load(int fd, struct shim_options *o);	       /* from the placeholder */
void shim_options_apply(int fd, const struct shim_options *o); /* to a placeholder of accept */
void shim_options_request(struct shim_sock *s);		       /* into slot.req_* before an open */
void shim_options_send(struct shim_sock *s); /* the ones that an open cannot carry */
/* shim_signals tells toed of the signals that fd's owner and flags ask for, now or when it comes to
 * carry the socket. */
void shim_signals(struct shim_sock *s, int fd);
/* shim_rx_step returns how many octets may be read between two RX_DATA_ACK. */
uint32_t shim_rx_step(uint32_t rcvbuf);

/* ---- shim_confine.c ------------------------------------------------------------------------- */

/* shim_confined says that the process runs under a filter of system calls: what it uses of them
 * from then on is read, write, poll, futex and close, and what the program asks for itself. */
extern bool shim_confined;
/* shim_confined_restarts says whether all signal handlers had SA_RESTART when that began. */
extern bool shim_confined_restarts;
/* shim_settle does what has to be done before the process gives up the right to. */
void shim_settle(void);
long shim_seccomp(const long *a); /* seccomp(2) */

/* ---- shim_ready.c --------------------------------------------------------------------------- */

/* shim_ready returns the EPOLL* bits of s as toed sees it (a listener's kernel half is not in it).
 * If want has EPOLLOUT and s cannot be written, toed is asked to tell when it can. */
uint32_t shim_ready(struct shim_sock *s, uint32_t want);
bool shim_rx_ended(struct shim_sock *s);
bool shim_tx_ended(struct shim_sock *s);
/* shim_deferred reports whether the SYN of a connect has not gone: it waits for the first octets.
 */
bool shim_deferred(const struct toe_shm_slot *slot);

/* ---- shim_poll.c ---------------------------------------------------------------------------- */

/* shim_poll is ppoll with an absolute deadline. */
int shim_poll(struct pollfd *fds, nfds_t n, uint64_t deadline, const sigset_t *mask);
/* shim_poll_one is that for events of one socket, whatever its descriptor means by now; fd is one
 * for the kernel's half. */
int shim_poll_one(struct shim_sock *s, int fd, short events, uint64_t deadline);
/* shim_poll_prepare makes the event queues with which the calling thread would wait on r. */
void shim_poll_prepare(struct shim_region *r);
void shim_poll_after_fork(void);

/* ---- shim_epoll*.c -------------------------------------------------------------------------- */

/* shim_epoll_rebind moves the registrations of s to where its role now belongs. */
void shim_epoll_rebind(struct shim_sock *s);
void shim_epoll_forget(struct shim_sock *s); /* s is closed */
/* shim_epoll_home registers with toed a listener that toed has just been asked about; what the
 * kernel has stays as it is. */
void shim_epoll_home(struct shim_sock *s);
void shim_epoll_destroy(struct shim_obj *o);
/* shim_epoll_watch is called before somebody polls an epoll descriptor itself: from then on the
 * kernel finds it readable when one of its sockets has something to report, and perhaps a moment
 * longer. shim_epoll_readable says whether it is. */
void shim_epoll_watch(struct shim_obj *o);
bool shim_epoll_readable(struct shim_obj *o);
void shim_epoll_before_fork(void);
void shim_epoll_after_fork(bool child);

#endif
