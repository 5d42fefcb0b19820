/* shim_option.c - socket options of offloaded connections.
 *
 * The placeholder gets every option too: the kernel checks the value, keeps it for getsockopt, and
 * has it should the socket stay with the kernel. What acts on the connection is forwarded to toed.
 */
#include "shim.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* What the headers of older systems lack. */
#ifndef TCP_AO_ADD_KEY
#define TCP_AO_ADD_KEY 38
#define TCP_AO_DEL_KEY 39
#define TCP_AO_INFO 40
#define TCP_AO_GET_KEYS 41
#define TCP_AO_REPAIR 42
#endif
#ifndef TCP_IS_MPTCP
#define TCP_IS_MPTCP 43
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#define TCP_DELACK_MAX_US 46
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_RCVPRIORITY
#define SO_RCVPRIORITY 82
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef IP_PROTOCOL
#define IP_PROTOCOL 52
#endif
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11
#endif
#ifndef IPV6_FLOWLABEL_MGR
#define IPV6_FLOWLABEL_MGR 32
#define IPV6_FLOWINFO_SEND 33
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif
#ifndef IPV6_ROUTER_ALERT_ISOLATE
#define IPV6_ROUTER_ALERT_ISOLATE 30
#endif
#ifndef IPV6_RECVERR_RFC4884
#define IPV6_RECVERR_RFC4884 31
#endif
#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif
#ifndef IPV6_UNICAST_IF
#define IPV6_UNICAST_IF 76
#endif
#ifndef IPV6_RECVFRAGSIZE
#define IPV6_RECVFRAGSIZE 77
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

static const uint64_t second = 1000000000u;

static uint64_t timeval_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * second + (uint64_t)t->tv_usec * 1000u;
}

/* What toed has, by TOE_CC_*. */
static const char cc_names[][16] = {[TOE_CC_RENO] = "reno",
				    [TOE_CC_CUBIC] = "cubic",
				    [TOE_CC_DCTCP] = "dctcp",
				    [TOE_CC_BBR] = "bbr"};

/* Who honours an option; shim_options.h explains. */
enum how { BY_TOED, BY_SHIM, TOLD_BY_TOED, SAME_AS_KERNEL, IDLE_ONE, BY_KERNEL, NEVER_ONE };

struct option {
	int level, name;
	enum how how;
	uint32_t option;     /* BY_TOED: TOE_OPT_* */
	uint64_t factor;     /* to toed's unit */
	size_t offset, size; /* where an integer is kept; size 0: not kept */
};

#define FIELD(field) offsetof(struct shim_options, field), sizeof(((struct shim_options *)0)->field)
#define TOED(level, name, option, factor, field, text) \
	{level, name, BY_TOED, option, factor, FIELD(field)},
#define PASS(level, name, option, factor, text) {level, name, BY_TOED, option, factor, 0, 0},
#define ROW(level, name, how) {level, name, how, 0, 0, 0, 0},
#define SHIM(level, name, text) ROW(level, name, BY_SHIM)
#define TOLD(level, name, text) ROW(level, name, TOLD_BY_TOED)
#define SAME(level, name, text) ROW(level, name, SAME_AS_KERNEL)
#define IDLE(level, name, text) ROW(level, name, IDLE_ONE)
#define KERNEL(level, name, text) ROW(level, name, BY_KERNEL)
#define NEVER(level, name, text) ROW(level, name, NEVER_ONE)

static const struct option options[] = {
#include "shim_options.h"
};

#define NOPTIONS (sizeof options / sizeof *options)

static const struct option *option_find(int level, int name)
{
	for (size_t i = 0; i < NOPTIONS; i++)
		if (options[i].level == level && options[i].name == name)
			return &options[i];
	return NULL;
}

/* how_of says who honours an option. What we do not know only the kernel can. */
static enum how how_of(int level, int name)
{
	const struct option *o = option_find(level, name);

	return o ? o->how : BY_KERNEL;
}

static void keep(struct shim_options *o, const struct option *f, int value)
{
	char *p = (char *)o + f->offset;

	if (f->size == sizeof(uint8_t))
		*(uint8_t *)p = value != 0;
	else if (f->size == sizeof(uint32_t))
		*(uint32_t *)p = value < 0 ? 0 : (uint32_t)value;
}

static uint32_t kept(const struct shim_options *o, const struct option *f)
{
	const char *p = (const char *)o + f->offset;

	if (f->size == sizeof(uint8_t))
		return *(const uint8_t *)p;
	return f->size == sizeof(uint32_t) ? *(const uint32_t *)p : 0;
}

/* is_off reports whether a value leaves an option as it is on every new socket. */
static bool is_off(const void *value, socklen_t len)
{
	const uint8_t *b = value;

	for (socklen_t i = 0; i < len; i++)
		if (b[i] != 0)
			return false;
	return true;
}

/* kernel_only reports whether a setting is one that nobody but the kernel can honour: a socket that
 * has it before it is opened stays there. */
static bool kernel_only(int level, int name, const void *value, socklen_t len)
{
	enum how how = how_of(level, name);

	return (how == BY_KERNEL || how == NEVER_ONE) &&
	       (!shim_pointer_ok(value) || len > TOE_CHUNK_BYTES || !is_off(value, len));
}

/* verdict returns what the kernel says of a setting, asked with a socket that is used for nothing
 * else: its error, or -ENOPROTOOPT for what it would take. */
static int verdict(int domain, int level, int name, const void *value, socklen_t len)
{
	int fd = shim_real()->socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = -ENOPROTOOPT;

	if (fd < 0)
		return rc;
	if (shim_real()->setsockopt(fd, level, name, value, len) < 0)
		rc = -errno;
	shim_real()->close(fd);
	return rc;
}

/* refused returns the error of a setting that an offloaded connection cannot have any more, else 0.
 */
static int refused(struct shim_sock *s, int level, int name, const void *value, socklen_t len)
{
	if (kernel_only(level, name, value, len))
		return level == IPPROTO_TCP && name == TCP_ULP && len > 0
			       ? -ENOENT
			       : verdict(s->domain, level, name, value, len);
	if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
		return s->domain == AF_INET6 ? -EINVAL : 0;
	return level == IPPROTO_TCP && (name == TCP_FASTOPEN || name == TCP_FASTOPEN_CONNECT ||
					name == TCP_FASTOPEN_NO_COOKIE)
		       ? -EINVAL
		       : 0;
}

/* send_option tells toed. The slot holds one value at a time: the one before has to be taken. */
static void send_option(struct shim_sock *s, uint32_t option, uint64_t value)
{
	if (!shim_region_ok(s->region))
		return;
	shim_mutex_lock(&s->lock);
	shim_posted_wait(s->region, &s->option);
	store_release(&s->slot->req_value, value);
	shim_post_tracked(s->region, s->slot->worker, TOE_OP_SET_TCB_FIELD, s->slot_no, option,
			  &s->option);
	shim_mutex_unlock(&s->lock);
}

static bool ours(pid_t id)
{
	return id == shim_pid || (id > 0 && shim_real()->syscall(SYS_tgkill, shim_pid, id, 0) == 0);
}

/* The kernel keeps owner and flags for us. It signals whom the program names; toed signals nobody
 * but who asks, and with the signal's default number. */
void shim_signals(struct shim_sock *s, int fd)
{
	struct f_owner_ex owner = {0};
	int saved = errno, flags = shim_real()->fcntl64(fd, F_GETFL);
	uint8_t bits = 0;

	if (shim_real()->fcntl64(fd, F_GETOWN_EX, &owner) == 0 && owner.type != F_OWNER_PGRP &&
	    ours(owner.pid)) {
		bits = TOE_SIGNAL_URG;
		if (flags >= 0 && (flags & O_ASYNC) && shim_real()->fcntl64(fd, F_GETSIG) == 0)
			bits |= TOE_SIGNAL_IO;
	}
	errno = saved;
	if ((bits | s->signals) == 0)
		return;
	s->signals = bits;
	if (shim_role(s) != SHIM_CONN && shim_role(s) != SHIM_LISTENER)
		return;
	/* toed signals the process whose queue says so: a child's must not be its parent's. */
	if (!shim_attached() && shim_region_ok(s->region))
		shim_attach();
	send_option(s, TOE_OPT_SIGNALS, bits);
}

uint32_t shim_rx_step(uint32_t rcvbuf)
{
	return rcvbuf && rcvbuf / 4 < TOE_CHUNK_BYTES ? rcvbuf / 4 + 1 : TOE_CHUNK_BYTES;
}

void shim_options_request(struct shim_sock *s)
{
	struct toe_shm_slot *slot = s->slot;

	slot->req_nodelay = s->opt.nodelay;
	slot->req_keepalive = s->opt.keepalive;
	slot->req_cc = s->opt.cc;
	slot->req_rcvbuf = s->opt.rcvbuf;
	slot->req_clamp = s->opt.window_clamp;
	slot->req_synretries = (uint8_t)s->opt.syncnt;
	slot->req_user_timeout = s->opt.user_timeout;
	slot->req_sndbuf = s->opt.sndbuf;
	slot->req_maxseg = s->opt.maxseg;
	slot->req_lowat = s->opt.notsent_lowat;
	slot->req_max_pacing = s->opt.max_pacing;
	slot->req_fastopen = s->opt.fastopen_connect ? TOE_FASTOPEN_USE | TOE_FASTOPEN_HOLD : 0;
	if (s->opt.fastopen_bare)
		slot->req_fastopen |= TOE_FASTOPEN_BARE;
	slot->req_fastopen_len = s->opt.fastopen;
	slot->req_defer_accept = s->opt.defer_accept;
	slot->req_tos = (uint8_t)s->opt.tos;
	slot->req_ttl = (uint8_t)s->opt.ttl;
}

void shim_options_send(struct shim_sock *s)
{
	static const uint32_t later[] = {TOE_OPT_CORK, TOE_OPT_KEEPIDLE, TOE_OPT_KEEPINTVL,
					 TOE_OPT_KEEPCNT, TOE_OPT_USER_TIMEOUT};

	for (size_t i = 0; i < NOPTIONS; i++)
		for (size_t k = 0; k < sizeof later / sizeof *later; k++)
			if (options[i].option == later[k] && kept(&s->opt, &options[i]) != 0)
				send_option(s, options[i].option,
					    kept(&s->opt, &options[i]) * options[i].factor);
	if (s->opt.no_pmtu)
		send_option(s, TOE_OPT_PMTU_DISCOVER, 0);
	if (s->signals)
		send_option(s, TOE_OPT_SIGNALS, s->signals);
}

/* ---- settings that are no plain integers ---------------------------------------------------- */

/* cc_named returns the TOE_CC_* of a name as setsockopt takes it, TOE_CC_DEFAULT if toed has none
 * such. */
static uint8_t cc_named(const char *name, socklen_t len)
{
	size_t n = strnlen(name, len);

	for (uint8_t i = TOE_CC_RENO; i <= TOE_CC_BBR; i++)
		if (strlen(cc_names[i]) == n && memcmp(cc_names[i], name, n) == 0)
			return i;
	return TOE_CC_DEFAULT;
}

/* set_congestion is TCP_CONGESTION. What toed has, a socket that toed carries or may come to carry
 * can have without the kernel's consent; what only the kernel has keeps a socket there. */
static int set_congestion(struct shim_sock *s, int fd, const void *value, socklen_t len)
{
	uint8_t cc = shim_pointer_ok(value) ? cc_named(value, len) : TOE_CC_DEFAULT;
	bool open = shim_role(s) == SHIM_CONN;
	int saved = errno, rc;

	if (open && (len < 1 || !shim_pointer_ok(value)))
		return len < 1 ? -EINVAL : -EFAULT;
	if (open && cc == TOE_CC_DEFAULT)
		return -ENOENT;
	rc = shim_real()->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, value, len) < 0 ? -errno : 0;
	if (rc < 0 && cc != TOE_CC_DEFAULT && (open || shim_attach_live() == 0))
		rc = 0;
	if (rc < 0)
		return rc;
	errno = saved;
	s->opt.cc = cc;
	s->opt.kernel_only |= cc == TOE_CC_DEFAULT;
	if (open || shim_role(s) == SHIM_LISTENER)
		send_option(s, TOE_OPT_CC, cc);
	return 0;
}

/* set_pacing notes SO_MAX_PACING_RATE, of 32 or 64 bits; all ones: no bound. The kernel has it. */
static void set_pacing(struct shim_sock *s, const void *value, socklen_t len)
{
	uint64_t rate = 0;
	uint32_t small;

	if (len >= sizeof rate) {
		memcpy(&rate, value, sizeof rate);
		rate = rate == UINT64_MAX ? 0 : rate;
	} else {
		memcpy(&small, value, sizeof small);
		rate = small == UINT32_MAX ? 0 : small;
	}
	s->opt.max_pacing = rate > INT64_MAX ? 0 : rate;
	if (shim_role(s) == SHIM_CONN || shim_role(s) == SHIM_LISTENER)
		send_option(s, TOE_OPT_MAX_PACING_RATE, s->opt.max_pacing);
}

static bool is_mtu_discover(int level, int name)
{
	return (level == IPPROTO_IP && name == IP_MTU_DISCOVER) ||
	       (level == IPPROTO_IPV6 && name == IPV6_MTU_DISCOVER);
}

void shim_options_load(int fd, struct shim_options *o)
{
	struct linger l;
	struct timeval t;
	socklen_t len = sizeof l;
	uint64_t rate;
	int on;

	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) == 0 && l.l_onoff)
		o->linger = l.l_linger;
	len = sizeof t;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &len) == 0)
		o->rcvtimeo = timeval_ns(&t);
	len = sizeof t;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, &len) == 0)
		o->sndtimeo = timeval_ns(&t);
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, &len) == 0)
		o->oobinline = on != 0;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &on, &len) == 0 && on > 1)
		o->rcvlowat = (uint32_t)on;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &len) == 0)
		o->reuseaddr = on != 0;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0)
		o->reuseport = on != 0;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &on, &len) == 0)
		o->peek_off = on;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, &len) == 0)
		o->inq = on != 0;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, &len) == 0)
		o->zerocopy = on != 0;
	len = sizeof on;
	if (shim_real()->getsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &on, &len) == 0)
		o->no_pmtu = on == IP_PMTUDISC_DONT;
	len = sizeof rate;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &len) == 0 &&
	    len == sizeof rate && rate <= INT64_MAX)
		o->max_pacing = rate;
	for (size_t i = 0; i < NOPTIONS; i++) {
		const struct option *f = &options[i];
		int value;

		/* A buffer size is known only as the kernel's default or twice what was asked. */
		if (f->size == 0 || f->option == TOE_OPT_RCVBUF || f->option == TOE_OPT_SNDBUF ||
		    f->option == TOE_OPT_MAXSEG)
			continue;
		len = sizeof value;
		if (shim_real()->getsockopt(fd, f->level, f->name, &value, &len) == 0 &&
		    (f->size == sizeof(uint8_t) ||
		     ((f->option == TOE_OPT_TOS || f->option == TOE_OPT_TTL ||
		       f->option == TOE_OPT_DEFER_ACCEPT) &&
		      value > 0)))
			keep(o, f, value);
	}
}

static void apply_int(int fd, int level, int name, int value)
{
	if (value != 0)
		shim_real()->setsockopt(fd, level, name, &value, sizeof value);
}

static void apply_time(int fd, int name, uint64_t ns)
{
	struct timeval t = {.tv_sec = (time_t)(ns / second),
			    .tv_usec = (suseconds_t)(ns % second / 1000)};

	if (ns != 0)
		shim_real()->setsockopt(fd, SOL_SOCKET, name, &t, sizeof t);
}

void shim_options_apply(int fd, const struct shim_options *o)
{
	for (size_t i = 0; i < NOPTIONS; i++) {
		int value = (int)kept(o, &options[i]);

		if (value != 0)
			shim_real()->setsockopt(fd, options[i].level, options[i].name, &value,
						sizeof value);
	}
	if (o->cc != TOE_CC_DEFAULT)
		shim_real()->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc_names[o->cc],
					(socklen_t)strlen(cc_names[o->cc]));
	if (o->max_pacing != 0)
		shim_real()->setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &o->max_pacing,
					sizeof o->max_pacing);
	apply_int(fd, SOL_SOCKET, SO_OOBINLINE, o->oobinline);
	apply_int(fd, SOL_SOCKET, SO_RCVLOWAT, (int)o->rcvlowat);
	apply_int(fd, IPPROTO_TCP, TCP_INQ, o->inq);
	apply_int(fd, SOL_SOCKET, SO_ZEROCOPY, o->zerocopy);
	apply_time(fd, SO_RCVTIMEO, o->rcvtimeo);
	apply_time(fd, SO_SNDTIMEO, o->sndtimeo);
	if (o->linger >= 0) {
		struct linger l = {.l_onoff = 1, .l_linger = o->linger};

		shim_real()->setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	}
}

/* remember keeps what we act upon ourselves. The kernel has accepted the value. */
static void remember(struct shim_sock *s, int level, int name, const void *value)
{
	if (level != SOL_SOCKET)
		return;
	switch (name) {
	case SO_LINGER: {
		const struct linger *l = value;

		s->opt.linger = l->l_onoff ? l->l_linger : -1;
		break;
	}
	case SO_RCVTIMEO_NEW: /* the same structure where long has 64 bits */
	case SO_RCVTIMEO:
		s->opt.rcvtimeo = timeval_ns(value);
		break;
	case SO_SNDTIMEO_NEW:
	case SO_SNDTIMEO:
		s->opt.sndtimeo = timeval_ns(value);
		break;
	case SO_RCVLOWAT:
		s->opt.rcvlowat = (uint32_t) * (const int *)value;
		break;
	case SO_REUSEADDR:
		s->opt.reuseaddr = *(const int *)value != 0;
		break;
	case SO_REUSEPORT:
		s->opt.reuseport = *(const int *)value != 0;
		break;
	case SO_OOBINLINE:
		s->opt.oobinline = *(const int *)value != 0;
		break;
	}
}

/* note_flag keeps, and forwards, the settings that are one bit to us. */
static void note_flag(struct shim_sock *s, int level, int name, int value)
{
	if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT)
		s->opt.fastopen_connect = value != 0;
	if (level == IPPROTO_TCP && name == TCP_INQ)
		s->opt.inq = value != 0;
	if (level == SOL_SOCKET && name == SO_ZEROCOPY)
		s->opt.zerocopy = value != 0;
	if (level == SOL_SOCKET && name == SO_PEEK_OFF)
		s->opt.peek_off = value;
	if (is_mtu_discover(level, name)) {
		s->opt.no_pmtu = value == IP_PMTUDISC_DONT;
		if (shim_role(s) == SHIM_CONN)
			send_option(s, TOE_OPT_PMTU_DISCOVER, !s->opt.no_pmtu);
	}
}

/* listener_too says which settings a listener can still be given for its connections. The others
 * are set when a connection is accepted. */
static bool listener_too(uint32_t option)
{
	return option == TOE_OPT_NODELAY || option == TOE_OPT_KEEPALIVE ||
	       option == TOE_OPT_RCVBUF || option == TOE_OPT_SNDBUF || option == TOE_OPT_MAXSEG ||
	       option == TOE_OPT_RCV_CLAMP || option == TOE_OPT_FASTOPEN_BARE ||
	       option == TOE_OPT_NOTSENT_LOWAT || option == TOE_OPT_FASTOPEN ||
	       option == TOE_OPT_TOS || option == TOE_OPT_TTL || option == TOE_OPT_DEFER_ACCEPT;
}

/* take_option acts on a setting that the kernel has accepted. */
static void take_option(struct shim_sock *s, int level, int name, const void *value, socklen_t len)
{
	const struct option *f = option_find(level, name);
	int v;

	remember(s, level, name, value);
	if (len < sizeof(int))
		return;
	if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE)
		set_pacing(s, value, len);
	v = *(const int *)value;
	note_flag(s, level, name, v);
	if (!f || f->how != BY_TOED)
		return;
	keep(&s->opt, f, v);
	if (f->option == TOE_OPT_RCVBUF)
		s->rx_step = shim_rx_step(s->opt.rcvbuf);
	if (shim_role(s) == SHIM_CONN || (shim_role(s) == SHIM_LISTENER && listener_too(f->option)))
		send_option(s, f->option, (uint64_t)(v < 0 ? 0 : v) * f->factor);
}

/* is_cookie_key says whether the option is the key of Fast Open cookies of a listener whose cookies
 * toed makes too, with a key of its own. */
static bool is_cookie_key(struct shim_sock *s, int level, int name)
{
	return shim_role(s) == SHIM_LISTENER && level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY;
}

/* set_option is setsockopt of a socket of ours. */
static int set_option(struct shim_sock *s, int fd, int level, int name, const void *value,
		      socklen_t len)
{
	bool only = kernel_only(level, name, value, len);
	bool leave = only && shim_role(s) == SHIM_LISTENER;

	if (leave && s->held && load_relaxed(&s->slot->shared))
		return -ENOPROTOOPT; /* not ours alone to take from toed */
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return set_congestion(s, fd, value, len);
	if (shim_real()->setsockopt(fd, level, name, value, len) < 0)
		return -errno;
	if (!only) {
		take_option(s, level, name, value, len);
		return 0;
	}
	s->opt.kernel_only = 1;
	if (leave)
		shim_listen_kernel(s);
	return 0;
}

SHIM_API int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct shim_sock *s = shim_sock_get(fd);
	int rc = 0;

	if (!s)
		return shim_real()->setsockopt(fd, level, name, value, len);
	if (shim_role(s) == SHIM_CONN)
		rc = refused(s, level, name, value, len);
	else if (is_cookie_key(s, level, name))
		rc = -ENOPROTOOPT;
	if (rc == 0)
		rc = set_option(s, fd, level, name, value, len);
	shim_obj_put(&s->obj);
	return (int)shim_result(rc);
}

/* put_int answers an integer option, cut to the caller's room as the kernel does. */
static int put_int(int v, void *value, socklen_t *len)
{
	if (*len > sizeof v)
		*len = sizeof v;
	memcpy(value, &v, *len);
	return 0;
}

/* put_bytes answers an option of n octets, cut to the caller's room. */
static int put_bytes(const void *from, size_t n, void *value, socklen_t *len)
{
	if (*len > n)
		*len = (socklen_t)n;
	memcpy(value, from, *len);
	return 0;
}

/* asked says whether an option's truth is with toed and costs a question. */
static bool asked(int level, int name)
{
	if (level == IPPROTO_TCP)
		return name == TCP_INFO || name == TCP_CC_INFO || name == TCP_MAXSEG ||
		       name == TCP_CONGESTION;
	return (level == IPPROTO_IP && name == IP_MTU) ||
	       (level == IPPROTO_IPV6 && name == IPV6_MTU) ||
	       (level == SOL_SOCKET && name == SO_MEMINFO);
}

/* ask_option answers such an option. */
static int ask_option(struct shim_sock *s, int level, int name, void *value, socklen_t *len)
{
	struct toe_shm_msg m;
	uint32_t mss;

	/* What was set is to be seen. */
	shim_mutex_lock(&s->lock);
	shim_posted_wait(s->region, &s->option);
	shim_mutex_unlock(&s->lock);
	if (shim_info(s->region, s->slot_no, s->gen, &m) < 0)
		return level == IPPROTO_TCP && name == TCP_INFO ? -EINVAL : -EAGAIN;
	if (level == SOL_SOCKET)
		return put_bytes(m.more.meminfo, sizeof m.more.meminfo, value, len);
	if (level != IPPROTO_TCP)
		return m.more.path_mtu ? put_int((int)m.more.path_mtu, value, len) : -EAGAIN;
	switch (name) {
	case TCP_INFO:
		return put_bytes(m.u.info, m.info_len, value, len);
	case TCP_CC_INFO:
		return put_bytes(m.more.cc_info, m.more.cc_info_len, value, len);
	case TCP_CONGESTION:
		return m.more.cc[0] ? put_bytes(m.more.cc, sizeof m.more.cc, value, len) : -EAGAIN;
	}
	memcpy(&mss, m.u.info + offsetof(struct tcp_info, tcpi_snd_mss), sizeof mss);
	return put_int((int)mss, value, len);
}

/* peer_name is SO_PEERNAME, which takes no more room than the name has. */
static int peer_name(int fd, void *value, socklen_t *len)
{
	struct sockaddr_storage ss;
	socklen_t whole = sizeof ss;

	if (getpeername(fd, (struct sockaddr *)&ss, &whole) < 0)
		return -errno;
	return *len > whole ? -EINVAL : put_bytes(&ss, whole, value, len);
}

/* here answers what the placeholder does not know: that of an accepted connection never had these
 * set, for they are about ports, and the offset moves with each peek. */
static bool here(const struct shim_options *o, int name, int *value)
{
	switch (name) {
	case SO_REUSEADDR:
		*value = o->reuseaddr;
		return true;
	case SO_REUSEPORT:
		*value = o->reuseport;
		return true;
	case SO_PEEK_OFF:
		*value = o->peek_off;
		return true;
	}
	return false;
}

/* conn_option answers the options whose truth is with toed; -EAGAIN: ask the placeholder. */
static int conn_option(struct shim_sock *s, int fd, int level, int name, void *value,
		       socklen_t *len)
{
	int kept;

	if (!shim_pointer_ok(len) || !shim_pointer_ok(value) || (int)*len < 0)
		return -EAGAIN; /* the kernel says what is wrong */
	if (level == SOL_SOCKET && name == SO_ERROR) {
		int e = shim_take_error(s);

		if (e == 0 && !shim_region_ok(s->region))
			e = ECONNRESET;
		return put_int(e, value, len);
	}
	if (level == SOL_SOCKET && name == SO_PEERNAME)
		return peer_name(fd, value, len);
	if (level == SOL_SOCKET && here(&s->opt, name, &kept))
		return put_int(kept, value, len);
	if (asked(level, name))
		return ask_option(s, level, name, value, len);
	return how_of(level, name) == NEVER_ONE ? -ENOPROTOOPT : -EAGAIN;
}

SHIM_API int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	struct shim_sock *s = shim_conn_get(fd);
	int rc = -EAGAIN;

	if (s) {
		rc = conn_option(s, fd, level, name, value, len);
		shim_obj_put(&s->obj);
	} else if (level == IPPROTO_TCP && (name == TCP_CONGESTION || name == TCP_FASTOPEN_KEY)) {
		s = shim_sock_get(fd);
		if (s && is_cookie_key(s, level, name))
			rc = -ENOPROTOOPT;
		else if (s && name == TCP_CONGESTION && shim_role(s) != SHIM_KERNEL &&
			 s->opt.cc != TOE_CC_DEFAULT)
			rc = put_bytes(cc_names[s->opt.cc], sizeof cc_names[0], value, len);
		if (s)
			shim_obj_put(&s->obj);
	}
	return rc == -EAGAIN ? shim_real()->getsockopt(fd, level, name, value, len)
			     : (int)shim_result(rc);
}
