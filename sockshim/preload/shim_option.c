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

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef TCP_AO_ADD_KEY
#define TCP_AO_ADD_KEY 38
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

/* The integer options that toed understands, the place where we keep them, and the factor to toed's
 * unit. Size 0: not kept. */
struct forward {
	int level, name;
	uint32_t option;
	uint64_t factor;
	size_t offset, size;
};

#define KEEP(field) offsetof(struct shim_options, field), sizeof(((struct shim_options *)0)->field)

static const struct forward forwards[] = {
	{IPPROTO_TCP, TCP_NODELAY, TOE_OPT_NODELAY, 1, KEEP(nodelay)},
	{IPPROTO_TCP, TCP_CORK, TOE_OPT_CORK, 1, KEEP(cork)},
	{SOL_SOCKET, SO_KEEPALIVE, TOE_OPT_KEEPALIVE, 1, KEEP(keepalive)},
	{IPPROTO_TCP, TCP_KEEPIDLE, TOE_OPT_KEEPIDLE, 1000000000u, KEEP(keepidle)},
	{IPPROTO_TCP, TCP_KEEPINTVL, TOE_OPT_KEEPINTVL, 1000000000u, KEEP(keepintvl)},
	{IPPROTO_TCP, TCP_KEEPCNT, TOE_OPT_KEEPCNT, 1, KEEP(keepcnt)},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, TOE_OPT_USER_TIMEOUT, 1000000u, KEEP(user_timeout)},
	{IPPROTO_TCP, TCP_MAXSEG, TOE_OPT_MAXSEG, 1, KEEP(maxseg)},
	{SOL_SOCKET, SO_RCVBUF, TOE_OPT_RCVBUF, 1, KEEP(rcvbuf)},
	{SOL_SOCKET, SO_SNDBUF, TOE_OPT_SNDBUF, 1, KEEP(sndbuf)},
	{SOL_SOCKET, SO_RCVBUFFORCE, TOE_OPT_RCVBUF, 1, KEEP(rcvbuf)},
	{SOL_SOCKET, SO_SNDBUFFORCE, TOE_OPT_SNDBUF, 1, KEEP(sndbuf)},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT, TOE_OPT_NOTSENT_LOWAT, 1, KEEP(notsent_lowat)},
	{IPPROTO_TCP, TCP_WINDOW_CLAMP, TOE_OPT_RCV_CLAMP, 1, KEEP(window_clamp)},
	{IPPROTO_TCP, TCP_SYNCNT, TOE_OPT_SYN_RETRIES, 1, KEEP(syncnt)},
	{IPPROTO_TCP, TCP_FASTOPEN, TOE_OPT_FASTOPEN, 1, KEEP(fastopen)},
	{IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, TOE_OPT_FASTOPEN_BARE, 1, KEEP(fastopen_bare)},
	{IPPROTO_IP, IP_TOS, TOE_OPT_TOS, 1, KEEP(tos)},
	{IPPROTO_IPV6, IPV6_TCLASS, TOE_OPT_TOS, 1, KEEP(tos)},
	{IPPROTO_IP, IP_TTL, TOE_OPT_TTL, 1, KEEP(ttl)},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS, TOE_OPT_TTL, 1, KEEP(ttl)},
	{IPPROTO_TCP, TCP_QUICKACK, TOE_OPT_QUICKACK, 1, 0, 0},
	{IPPROTO_TCP, TCP_LINGER2, TOE_OPT_LINGER2, 1000000000u, 0, 0},
};

#define NFORWARDS (sizeof forwards / sizeof *forwards)

static const struct forward *forward_find(int level, int name)
{
	for (size_t i = 0; i < NFORWARDS; i++)
		if (forwards[i].level == level && forwards[i].name == name)
			return &forwards[i];
	return NULL;
}

static void keep(struct shim_options *o, const struct forward *f, int value)
{
	char *p = (char *)o + f->offset;

	if (f->size == sizeof(uint8_t))
		*(uint8_t *)p = value != 0;
	else if (f->size == sizeof(uint32_t))
		*(uint32_t *)p = value < 0 ? 0 : (uint32_t)value;
}

static uint32_t kept(const struct shim_options *o, const struct forward *f)
{
	const char *p = (const char *)o + f->offset;

	if (f->size == sizeof(uint8_t))
		return *(const uint8_t *)p;
	return f->size == sizeof(uint32_t) ? *(const uint32_t *)p : 0;
}

/* kernel_only says which settings nobody but the kernel can honour: a socket that has one before it
 * is opened stays there. */
static bool kernel_only(int level, int name)
{
	if (level == IPPROTO_TCP) {
		switch (name) {
		case TCP_MD5SIG:
		case TCP_MD5SIG_EXT:
		case TCP_AO_ADD_KEY:
		case TCP_REPAIR:
		case TCP_ULP:
		case TCP_ZEROCOPY_RECEIVE:
		case TCP_FASTOPEN_KEY:
			return true;
		}
		return false;
	}
	if (level == SOL_SOCKET)
		return name == SO_ZEROCOPY || name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX ||
		       name == SO_MARK || name == SO_TIMESTAMPING || name == SO_ATTACH_FILTER ||
		       name == SO_ATTACH_BPF || name == SO_ATTACH_REUSEPORT_CBPF ||
		       name == SO_ATTACH_REUSEPORT_EBPF;
	return false;
}

/* refused returns the error of a setting that an offloaded connection cannot have any more, else 0.
 */
static int refused(int level, int name)
{
	if (kernel_only(level, name))
		return -ENOPROTOOPT;
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
	slot->req_tos = (uint8_t)s->opt.tos;
	slot->req_ttl = (uint8_t)s->opt.ttl;
}

void shim_options_send(struct shim_sock *s)
{
	static const uint32_t later[] = {TOE_OPT_CORK, TOE_OPT_KEEPIDLE, TOE_OPT_KEEPINTVL,
					 TOE_OPT_KEEPCNT, TOE_OPT_USER_TIMEOUT};

	for (size_t i = 0; i < NFORWARDS; i++)
		for (size_t k = 0; k < sizeof later / sizeof *later; k++)
			if (forwards[i].option == later[k] && kept(&s->opt, &forwards[i]) != 0)
				send_option(s, forwards[i].option,
					    kept(&s->opt, &forwards[i]) * forwards[i].factor);
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
	uint8_t cc = value ? cc_named(value, len) : TOE_CC_DEFAULT;
	bool open = shim_role(s) == SHIM_CONN;
	int saved = errno, rc;

	if (open && cc == TOE_CC_DEFAULT)
		return value && len > 0 ? -ENOENT : -EINVAL;
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
	len = sizeof rate;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &len) == 0 &&
	    len == sizeof rate && rate <= INT64_MAX)
		o->max_pacing = rate;
	for (size_t i = 0; i < NFORWARDS; i++) {
		const struct forward *f = &forwards[i];
		int value;

		/* A buffer size is known only as the kernel's default or twice what was asked. */
		if (f->size == 0 || f->option == TOE_OPT_RCVBUF || f->option == TOE_OPT_SNDBUF ||
		    f->option == TOE_OPT_MAXSEG)
			continue;
		len = sizeof value;
		if (shim_real()->getsockopt(fd, f->level, f->name, &value, &len) == 0 &&
		    (f->size == sizeof(uint8_t) ||
		     ((f->option == TOE_OPT_TOS || f->option == TOE_OPT_TTL) && value > 0)))
			keep(o, f, value);
	}
}

void shim_options_apply(int fd, const struct shim_options *o)
{
	for (size_t i = 0; i < NFORWARDS; i++) {
		int value = (int)kept(o, &forwards[i]);

		if (value != 0)
			shim_real()->setsockopt(fd, forwards[i].level, forwards[i].name, &value,
						sizeof value);
	}
	if (o->cc != TOE_CC_DEFAULT)
		shim_real()->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc_names[o->cc],
					(socklen_t)strlen(cc_names[o->cc]));
	if (o->max_pacing != 0)
		shim_real()->setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &o->max_pacing,
					sizeof o->max_pacing);
	if (o->oobinline) {
		int one = 1;

		shim_real()->setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
	}
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
	case SO_RCVTIMEO:
		s->opt.rcvtimeo = timeval_ns(value);
		break;
	case SO_SNDTIMEO:
		s->opt.sndtimeo = timeval_ns(value);
		break;
	case SO_RCVLOWAT:
		s->opt.rcvlowat = (uint32_t) * (const int *)value;
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
	       option == TOE_OPT_TOS || option == TOE_OPT_TTL;
}

/* take_option acts on a setting that the kernel has accepted. */
static void take_option(struct shim_sock *s, int level, int name, const void *value, socklen_t len)
{
	const struct forward *f = forward_find(level, name);
	int v;

	remember(s, level, name, value);
	if (len < sizeof(int))
		return;
	if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE)
		set_pacing(s, value, len);
	v = *(const int *)value;
	note_flag(s, level, name, v);
	if (!f)
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

SHIM_API int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct shim_sock *s = shim_sock_get(fd);
	int rc = 0;

	if (!s)
		return shim_real()->setsockopt(fd, level, name, value, len);
	if (shim_role(s) == SHIM_CONN)
		rc = refused(level, name);
	else if (is_cookie_key(s, level, name))
		rc = -ENOPROTOOPT;
	if (rc == 0 && level == IPPROTO_TCP && name == TCP_CONGESTION) {
		rc = set_congestion(s, fd, value, len);
	} else if (rc == 0) {
		rc = shim_real()->setsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
		if (rc == 0 && kernel_only(level, name))
			s->opt.kernel_only = 1;
		else if (rc == 0)
			take_option(s, level, name, value, len);
	}
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

/* conn_option answers the options whose truth is with toed; -EAGAIN: ask the placeholder. */
static int conn_option(struct shim_sock *s, int level, int name, void *value, socklen_t *len)
{

	if (level == SOL_SOCKET && name == SO_ERROR) {
		int e = shim_take_error(s);

		if (e == 0 && !shim_region_ok(s->region))
			e = ECONNRESET;
		return put_int(e, value, len);
	}
	if (level == SOL_SOCKET && name == SO_PEEK_OFF)
		return put_int(s->opt.peek_off, value, len);
	if (asked(level, name))
		return ask_option(s, level, name, value, len);
	return kernel_only(level, name) ? -ENOPROTOOPT : -EAGAIN;
}

SHIM_API int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	struct shim_sock *s = shim_conn_get(fd);
	int rc = -EAGAIN;

	if (s) {
		rc = conn_option(s, level, name, value, len);
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
