/* shim_option.c - socket options of offloaded connections.
 *
 * The placeholder gets every option too: the kernel checks the value, keeps it for getsockopt, and
 * has it should the socket stay with the kernel. What acts on the connection is forwarded to toed.
 */
#include "shim.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>

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
		case TCP_CONGESTION:
		case TCP_ZEROCOPY_RECEIVE:
			return true;
		}
		return false;
	}
	if (level == SOL_SOCKET)
		return name == SO_ZEROCOPY || name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX ||
		       name == SO_MARK || name == SO_TIMESTAMPING || name == SO_ATTACH_FILTER ||
		       name == SO_ATTACH_BPF || name == SO_MAX_PACING_RATE;
	return false;
}

/* refused says which settings an offloaded connection cannot have any more. Fast open is no reason
 * to stay with the kernel: an ordinary handshake is within its contract. */
static bool refused(int level, int name)
{
	return kernel_only(level, name) ||
	       (level == IPPROTO_TCP &&
		(name == TCP_FASTOPEN || name == TCP_FASTOPEN_CONNECT || name == TCP_FASTOPEN_KEY));
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

uint32_t shim_rx_step(uint32_t rcvbuf)
{
	return rcvbuf && rcvbuf / 4 < TOE_CHUNK_BYTES ? rcvbuf / 4 + 1 : TOE_CHUNK_BYTES;
}

void shim_options_request(struct shim_sock *s)
{
	struct toe_shm_slot *slot = s->slot;

	slot->req_nodelay = s->opt.nodelay;
	slot->req_keepalive = s->opt.keepalive;
	slot->req_rcvbuf = s->opt.rcvbuf;
	slot->req_sndbuf = s->opt.sndbuf;
	slot->req_maxseg = s->opt.maxseg;
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
}

void shim_options_load(int fd, struct shim_options *o)
{
	struct linger l;
	struct timeval t;
	socklen_t len = sizeof l;

	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) == 0 && l.l_onoff)
		o->linger = l.l_linger;
	len = sizeof t;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &len) == 0)
		o->rcvtimeo = timeval_ns(&t);
	len = sizeof t;
	if (shim_real()->getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, &len) == 0)
		o->sndtimeo = timeval_ns(&t);
	for (size_t i = 0; i < NFORWARDS; i++) {
		const struct forward *f = &forwards[i];
		int value;

		/* A buffer size is known only as the kernel's default or twice what was asked. */
		if (f->size == 0 || f->option == TOE_OPT_RCVBUF || f->option == TOE_OPT_SNDBUF ||
		    f->option == TOE_OPT_MAXSEG)
			continue;
		len = sizeof value;
		if (shim_real()->getsockopt(fd, f->level, f->name, &value, &len) == 0 &&
		    (f->size == sizeof(uint8_t)))
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
	}
}

SHIM_API int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct shim_sock *s = shim_sock_get(fd);
	const struct forward *f;
	int rc;

	if (!s)
		return shim_real()->setsockopt(fd, level, name, value, len);
	if (shim_role(s) == SHIM_CONN && refused(level, name)) {
		shim_obj_put(&s->obj);
		return (int)shim_result(-ENOPROTOOPT);
	}
	if (kernel_only(level, name)) {
		rc = shim_real()->setsockopt(fd, level, name, value, len);
		if (rc == 0)
			s->opt.kernel_only = 1;
		shim_obj_put(&s->obj);
		return rc;
	}
	rc = shim_real()->setsockopt(fd, level, name, value, len);
	if (rc == 0) {
		remember(s, level, name, value);
		f = forward_find(level, name);
		if (f && len >= sizeof(int)) {
			int v = *(const int *)value;

			keep(&s->opt, f, v);
			if (f->option == TOE_OPT_RCVBUF)
				s->rx_step = shim_rx_step(s->opt.rcvbuf);
			if (shim_role(s) == SHIM_CONN)
				send_option(s, f->option, (uint64_t)(v < 0 ? 0 : v) * f->factor);
		}
	}
	shim_obj_put(&s->obj);
	return rc;
}

/* put_int answers an integer option, cut to the caller's room as the kernel does. */
static int put_int(int v, void *value, socklen_t *len)
{
	if (*len > sizeof v)
		*len = sizeof v;
	memcpy(value, &v, *len);
	return 0;
}

/* conn_option answers the options whose truth is with toed; -EAGAIN: ask the placeholder. */
static int conn_option(struct shim_sock *s, int level, int name, void *value, socklen_t *len)
{
	struct tcp_info info = {0};
	uint32_t n = sizeof info;
	int rc;

	if (level == SOL_SOCKET && name == SO_ERROR) {
		int e = shim_take_error(s);

		if (e == 0 && !shim_region_ok(s->region))
			e = ECONNRESET;
		return put_int(e, value, len);
	}
	if (level != IPPROTO_TCP)
		return -EAGAIN;
	switch (name) {
	case TCP_INFO:
		n = *len;
		rc = shim_info(s->region, s->slot_no, s->gen, value, &n);
		*len = n;
		return rc < 0 ? -EINVAL : 0;
	case TCP_MAXSEG:
		if (shim_info(s->region, s->slot_no, s->gen, &info, &n) < 0)
			return -EAGAIN;
		return put_int((int)info.tcpi_snd_mss, value, len);
	}
	return refused(level, name) ? -ENOPROTOOPT : -EAGAIN;
}

SHIM_API int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	struct shim_sock *s = shim_conn_get(fd);
	int rc = -EAGAIN;

	if (s) {
		rc = conn_option(s, level, name, value, len);
		shim_obj_put(&s->obj);
	}
	return rc == -EAGAIN ? shim_real()->getsockopt(fd, level, name, value, len)
			     : (int)shim_result(rc);
}
